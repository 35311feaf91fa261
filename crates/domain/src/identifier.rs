//! What the names in a topic may look like, and the newtypes that prove that they do. Which name means what is said
//! where each type is declared (`party.rs`, `ids.rs`).

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// It is too short or too long.
    #[error("{kind} of {bytes} bytes, where {min} to {max} are allowed")]
    Length {
        /// What it should have been.
        kind: &'static str,
        /// The length that was found.
        bytes: usize,
        /// The shortest that is allowed.
        min: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// It starts with something else than a letter or digit, where it must.
    #[error("{kind} that starts with {character:?}, where a letter or digit must stand")]
    Start {
        /// What it should have been.
        kind: &'static str,
        /// The first character.
        character: char,
    },
    /// It holds a character that is not allowed.
    #[error("{kind} with {character:?} at byte {position}, where A-Z a-z 0-9 {others} are allowed")]
    Character {
        /// What it should have been.
        kind: &'static str,
        /// The first character that is not allowed.
        character: char,
        /// Its place, in bytes from 0.
        position: usize,
        /// What is allowed beside letters and digits.
        others: &'static str,
    },
}

/// The rule of one kind of identifier: ASCII letters and digits, and a few others.
pub(crate) struct Rule {
    /// With its article, as an error says it.
    pub kind: &'static str,
    pub bytes_min: usize,
    pub bytes_max: usize,
    /// Allowed beside letters and digits.
    pub others: &'static str,
    /// Whether the first character must be a letter or digit.
    pub starts_alphanumeric: bool,
}

impl Rule {
    pub(crate) fn check(&self, text: &str) -> Result<(), IdentifierError> {
        let kind = self.kind;
        if !(self.bytes_min..=self.bytes_max).contains(&text.len()) {
            return Err(IdentifierError::Length { kind, bytes: text.len(), min: self.bytes_min, max: self.bytes_max });
        }
        let refused =
            |&(_, character): &(usize, char)| !character.is_ascii_alphanumeric() && !self.others.contains(character);
        if let Some((position, character)) = text.char_indices().find(refused) {
            return Err(IdentifierError::Character { kind, character, position, others: self.others });
        }
        match text.chars().next() {
            Some(character) if self.starts_alphanumeric && !character.is_ascii_alphanumeric() => {
                Err(IdentifierError::Start { kind, character })
            }
            _ => Ok(()),
        }
    }
}

/// Declares a validated, cheaply cloned string newtype.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks the text against the rule of this type.
            pub fn new(text: &str) -> Result<Self, $crate::identifier::IdentifierError> {
                $rule.check(text)?;
                Ok(Self(text.into()))
            }

            /// The text, exactly as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::identifier::IdentifierError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        $crate::serde_text::serde_as_text!($name);
    };
}
pub(crate) use identifier;
