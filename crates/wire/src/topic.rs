//! The syntax of topic names and topic filters, shared subscriptions included (MQTT5 4.7, 4.8.2).
//!
//! What a topic means, and who may use it, is `domain`'s.

use crate::ReasonCode;

/// What a shared subscription's filter starts with (MQTT5 4.8.2-1).
pub const SHARE_PREFIX: &str = "$share/";

/// Longest topic name or filter in bytes (MQTT5 4.7.3-3).
const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Why a topic name or filter is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No character at all.
    #[error("the topic is empty")]
    Empty,
    /// U+0000.
    #[error("the topic contains the null character")]
    Null,
    /// More than 65,535 bytes.
    #[error("the topic has more than 65,535 bytes")]
    TooLong,
    /// `+` or `#` in a topic name.
    #[error("the topic name contains a wildcard")]
    Wildcard,
    /// `#` that is not the whole last level of a filter.
    #[error("`#` must be the whole last level of a filter")]
    HashPlacement,
    /// `+` that is not a whole level of a filter.
    #[error("`+` must be a whole level of a filter")]
    PlusPlacement,
    /// `$share/` with no group, or with a wildcard in it.
    #[error("a shared subscription needs a group without wildcards")]
    ShareGroup,
    /// `$share/{group}` with no filter behind it.
    #[error("a shared subscription needs a filter behind its group")]
    ShareFilter,
}

impl TopicError {
    /// The clause that it breaks.
    pub const fn clause(self) -> &'static str {
        match self {
            TopicError::Empty => "MQTT5 4.7.3-1",
            TopicError::Null => "MQTT5 4.7.3-2",
            TopicError::TooLong => "MQTT5 4.7.3-3",
            TopicError::Wildcard => "MQTT5 4.7.0-1",
            TopicError::HashPlacement => "MQTT5 4.7.1-1",
            TopicError::PlusPlacement => "MQTT5 4.7.1-2",
            TopicError::ShareGroup => "MQTT5 4.8.2-1",
            TopicError::ShareFilter => "MQTT5 4.8.2-2",
        }
    }

    /// The reason code for a topic name in a PUBLISH or a will. For a filter it is always `TopicFilterInvalid`.
    pub const fn reason_code(self) -> ReasonCode {
        ReasonCode::TopicNameInvalid
    }
}

/// A well-formed filter, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterSyntax<'a> {
    /// The group of a shared subscription.
    pub shared_group: Option<&'a str>,
    /// What topic names are compared with.
    pub filter: &'a str,
}

/// Checks the syntax of a topic name.
///
/// # Errors
/// Empty, too long, U+0000, or a wildcard.
pub fn check_topic_name(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        return Err(TopicError::Empty);
    }
    if name.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    // Without an early exit the compiler compares many bytes at once; nearly all names are good.
    let suspect = name.bytes().fold(false, |found, byte| found | matches!(byte, 0 | b'+' | b'#'));
    match suspect {
        false => Ok(()),
        true if name.bytes().any(|byte| byte == 0) => Err(TopicError::Null),
        true => Err(TopicError::Wildcard),
    }
}

/// Checks the syntax of a topic filter and takes a shared subscription apart.
///
/// # Errors
/// Empty, too long, U+0000, a misplaced wildcard, or a malformed `$share/{group}/{filter}`.
pub fn check_filter(filter: &str) -> Result<FilterSyntax<'_>, TopicError> {
    if filter.is_empty() {
        return Err(TopicError::Empty);
    }
    if filter.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    if filter.bytes().any(|byte| byte == 0) {
        return Err(TopicError::Null);
    }
    let Some(shared) = shared_part(filter) else {
        check_wildcards(filter)?;
        return Ok(FilterSyntax { shared_group: None, filter });
    };
    let (group, filter) = match shared.split_once('/') {
        Some((group, filter)) => (group, Some(filter)),
        None => (shared, None),
    };
    if group.is_empty() || group.contains(['+', '#']) {
        return Err(TopicError::ShareGroup);
    }
    let filter = filter.filter(|filter| !filter.is_empty()).ok_or(TopicError::ShareFilter)?;
    check_wildcards(filter)?;
    Ok(FilterSyntax { shared_group: Some(group), filter })
}

/// What follows `$share/`; empty for a bare `$share`, which names no group either.
fn shared_part(filter: &str) -> Option<&str> {
    match filter.strip_prefix(SHARE_PREFIX) {
        Some(rest) => Some(rest),
        None => (filter == "$share").then_some(""),
    }
}

fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        match level {
            "#" if last => {}
            "+" => {}
            _ if level.contains('#') => return Err(TopicError::HashPlacement),
            _ if level.contains('+') => return Err(TopicError::PlusPlacement),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_have_a_character_and_no_wildcard() {
        for good in ["a", "/", "a//b", "/a", "a/", "$SYS/x", " ", "tx/\u{feff}/\u{10ffff}"] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_topic_name(""), Err(TopicError::Empty), "MQTT5 4.7.3-1");
        assert_eq!(check_topic_name("a\0"), Err(TopicError::Null), "MQTT5 4.7.3-2");
        assert_eq!(check_topic_name(&"x".repeat(65_535)), Ok(()), "MQTT5 4.7.3-3");
        assert_eq!(check_topic_name(&"x".repeat(65_536)), Err(TopicError::TooLong), "MQTT5 4.7.3-3");
        for bad in ["+", "#", "a/+", "a+b", "a/#", "a#"] {
            assert_eq!(check_topic_name(bad), Err(TopicError::Wildcard), "MQTT5 4.7.0-1 {bad}");
        }
    }

    #[test]
    fn wildcards_of_a_filter_are_whole_levels() {
        for good in ["#", "+", "a/#", "+/#", "+/+", "/+", "/", "a/+/b", "//#", "$SYS/#", "$shared/x"] {
            assert_eq!(check_filter(good), Ok(FilterSyntax { shared_group: None, filter: good }));
        }
        for bad in ["a#", "#/a", "a/#/b", "##", "a/b#", "+#"] {
            assert_eq!(check_filter(bad), Err(TopicError::HashPlacement), "MQTT5 4.7.1-1 {bad}");
        }
        for bad in ["a+", "+a", "++", "a/b+/c"] {
            assert_eq!(check_filter(bad), Err(TopicError::PlusPlacement), "MQTT5 4.7.1-2 {bad}");
        }
        assert_eq!(check_filter(""), Err(TopicError::Empty), "MQTT5 4.7.3-1");
        assert_eq!(check_filter("a\0b"), Err(TopicError::Null), "MQTT5 4.7.3-2");
        assert_eq!(check_filter(&"x".repeat(65_536)), Err(TopicError::TooLong), "MQTT5 4.7.3-3");
    }

    #[test]
    fn shared_subscriptions_name_a_group_and_a_filter() {
        for (text, group, filter) in [
            ("$share/g/a", "g", "a"),
            ("$share/g//", "g", "/"),
            ("$share/g/#", "g", "#"),
            ("$share/$share/+/x", "$share", "+/x"),
        ] {
            let expected = FilterSyntax { shared_group: Some(group), filter };
            assert_eq!(check_filter(text), Ok(expected), "MQTT5 4.8.2-1");
        }
        for bad in ["$share", "$share/", "$share//a", "$share/+/a", "$share/#", "$share/a#/b"] {
            assert_eq!(check_filter(bad), Err(TopicError::ShareGroup), "MQTT5 4.8.2-1 {bad}");
        }
        for bad in ["$share/g", "$share/g/"] {
            assert_eq!(check_filter(bad), Err(TopicError::ShareFilter), "MQTT5 4.8.2-2 {bad}");
        }
        assert_eq!(check_filter("$share/g/a#"), Err(TopicError::HashPlacement), "MQTT5 4.7.1-1");
    }
}
