//! Topic filters: what kind one is, and which topics of transactions and parties it matches. Filters over ordinary
//! topics are looked up in `SubscriptionIndex`; what a party may hear at all is `may_hear`'s to say, not a filter's.

use std::str::FromStr;
use std::sync::Arc;

use crate::ids::{Round, TxId};
use crate::party::PartyId;
use crate::topic::{PARTY, TX, TxTopic, check_levels, check_text};
use crate::topic_error::TopicError;

/// Which transactions a filter asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The one that it names.
    One(TxId),
    /// All that list the subscriber, also those to come.
    All,
}

/// A filter under `tx/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TxFilter {
    text: Arc<str>,
    scope: Scope,
    place: Pattern,
}

/// A filter under `party/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartyFilter {
    text: Arc<str>,
    names: Option<PartyId>,
    pattern: Pattern,
}

/// What a filter is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterClass {
    /// Under `tx/`.
    Tx(TxFilter),
    /// Under `party/`.
    Party(PartyFilter),
    /// `$share/{group}/{inner}`.
    Shared {
        /// Who shares.
        group: String,
        /// What is shared, as it was written. Its wildcards are well placed; nothing else is known of it.
        inner: String,
        /// Whether `inner` is under `tx/` or `party/`, where nothing is shared.
        reserved: bool,
    },
    /// Anything else. It never matches a topic under `tx/` or `party/`, also where it starts with a wildcard.
    Ordinary(String),
}

/// Reads a filter. Refuses what MQTT forbids, and under `tx/` and `party/` whatever no topic could match, so that
/// nobody waits for ever on a misspelt subscription.
pub fn classify_filter(filter: &str) -> Result<FilterClass, TopicError> {
    check_text(filter)?;
    check_levels(filter)?;
    check_wildcards(filter)?;
    let (first, rest) = split_level(filter);
    match first {
        TX => TxFilter::parse(filter, rest).map(FilterClass::Tx),
        PARTY => PartyFilter::parse(filter, rest).map(FilterClass::Party),
        "$share" => classify_shared(rest),
        _ => Ok(FilterClass::Ordinary(filter.to_owned())),
    }
}

impl TxFilter {
    fn parse(filter: &str, rest: Option<&str>) -> Result<TxFilter, TopicError> {
        let rest = rest.ok_or(TopicError::Missing { level: 2, expected: "{tx}, `+` or `#`" })?;
        let (id, place) = split_level(rest);
        let scope = match id {
            "+" | "#" => Scope::All,
            id => Scope::One(id.parse().map_err(|source| TopicError::Identifier { level: 2, source })?),
        };
        let place = match place {
            None if id == "#" => Pattern::everything(),
            None => return Err(TopicError::Missing { level: 3, expected: "`#`, `manifest`, `join`, ..." }),
            Some(place) => Pattern::parse(place),
        };
        place.check(PLACES, 3, TX)?;
        Ok(TxFilter { text: filter.into(), scope, place })
    }

    /// Which transactions it asks for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the topic is meant.
    pub fn matches(&self, topic: &TxTopic) -> bool {
        let in_scope = match &self.scope {
            Scope::One(tx) => *tx == topic.tx,
            Scope::All => true,
        };
        in_scope && self.place.matches(topic.place.levels())
    }
}

impl PartyFilter {
    fn parse(filter: &str, rest: Option<&str>) -> Result<PartyFilter, TopicError> {
        let rest = rest.ok_or(TopicError::Missing { level: 2, expected: "{cn}, `+` or `#`" })?;
        let pattern = Pattern::parse(rest);
        if !pattern.open_ended && pattern.levels.len() < 2 {
            return Err(TopicError::Missing { level: 3, expected: "`#`, `inbox` or `presence`" });
        }
        let names = match pattern.levels.first() {
            Some(Level::Literal(party)) => {
                Some(party.parse().map_err(|source| TopicError::Identifier { level: 2, source })?)
            }
            Some(Level::Any) | None => None,
        };
        pattern.check(PARTY_TOPICS, 2, PARTY)?;
        Ok(PartyFilter { text: filter.into(), names, pattern })
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The party that it names, where it names one.
    pub fn names(&self) -> Option<&PartyId> {
        self.names.as_ref()
    }

    /// Whether this party's inbox is meant.
    pub fn matches_inbox(&self, party: &PartyId) -> bool {
        self.pattern.matches([party.as_str(), "inbox"].into_iter())
    }

    /// Whether this party's presence is meant.
    pub fn matches_presence(&self, party: &PartyId) -> bool {
        self.pattern.matches([party.as_str(), "presence"].into_iter())
    }
}

fn classify_shared(rest: Option<&str>) -> Result<FilterClass, TopicError> {
    let (group, inner) = rest.and_then(|rest| rest.split_once('/')).ok_or(TopicError::Share)?;
    if group.is_empty() || inner.is_empty() || group.contains(['+', '#']) {
        return Err(TopicError::Share);
    }
    let reserved = matches!(split_level(inner).0, TX | PARTY);
    Ok(FilterClass::Shared { group: group.to_owned(), inner: inner.to_owned(), reserved })
}

fn split_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}

/// `+` and `#` fill their level, and `#` is the last one.
pub(crate) fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut closed = false;
    for (number, level) in filter.split('/').enumerate() {
        if closed || (level.len() > 1 && level.contains(['+', '#'])) {
            return Err(TopicError::WildcardPlacement { level: number + usize::from(!closed) });
        }
        closed = level == "#";
    }
    Ok(())
}

/// The levels of a filter below its first ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pattern {
    levels: Box<[Level]>,
    /// It ends in `#`: any number of levels may follow, also none (MQTT5 4.7.1.2).
    open_ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Level {
    /// `+`
    Any,
    Literal(Box<str>),
}

impl Pattern {
    fn everything() -> Pattern {
        Pattern { levels: Box::default(), open_ended: true }
    }

    fn parse(text: &str) -> Pattern {
        let open_ended = text == "#" || text.ends_with("/#");
        let levels = text.split('/').filter(|level| *level != "#");
        let level = |text: &str| if text == "+" { Level::Any } else { Level::Literal(text.into()) };
        Pattern { levels: levels.map(level).collect(), open_ended }
    }

    fn matches<'a>(&self, mut topic: impl Iterator<Item = &'a str>) -> bool {
        let fits = self.levels.iter().all(|level| match (level, topic.next()) {
            (Level::Any, Some(_)) => true,
            (Level::Literal(literal), Some(text)) => **literal == *text,
            (_, None) => false,
        });
        fits && (self.open_ended || topic.next().is_none())
    }

    /// Refuses a pattern that no topic of these shapes could match. `level` is the number of its first level in the
    /// filter. Where the pattern's own words say which shape is meant, the refusal says what is wrong with it.
    fn check(&self, shapes: &[&[Shape]], level: usize, under: &'static str) -> Result<(), TopicError> {
        let mut meant = None;
        for shape in shapes {
            match self.check_shape(shape, level) {
                Ok(()) => return Ok(()),
                Err(refusal) if self.names_a_word_of(shape) => meant = Some(refusal),
                Err(_) => {}
            }
        }
        Err(meant.unwrap_or(TopicError::NothingMatches { under }))
    }

    fn names_a_word_of(&self, shape: &[Shape]) -> bool {
        self.levels.iter().zip(shape).any(|(level, shape)| match (level, shape) {
            (Level::Literal(literal), Shape::Word(word)) => **literal == **word,
            _ => false,
        })
    }

    fn check_shape(&self, shape: &[Shape], first: usize) -> Result<(), TopicError> {
        for (number, level) in self.levels.iter().enumerate() {
            let part = match shape.get(number) {
                Some(part) => part,
                None if matches!(shape.last(), Some(Shape::Rest)) => &Shape::Rest,
                None => return Err(TopicError::Surplus { level: first + number - 1 }),
            };
            part.check(level, first + number)?;
        }
        match shape.get(self.levels.len()) {
            Some(part) if !self.open_ended => {
                Err(TopicError::Missing { level: first + self.levels.len(), expected: part.expected() })
            }
            _ => Ok(()),
        }
    }
}

/// What belongs into one level of a topic.
enum Shape {
    Word(&'static str),
    Round,
    Party,
    /// One level or more, of any kind.
    Rest,
}

use Shape::{Party, Rest, Round as AnyRound, Word};

const PLACES: &[&[Shape]] = &[
    &[Word("manifest")],
    &[Word("state")],
    &[Word("join"), Party],
    &[Word("broadcast"), AnyRound, Party],
    &[Word("echo"), AnyRound, Party],
    &[Word("p2p"), AnyRound, Party, Party],
    &[Word("result"), Party],
    &[Word("abort"), Party],
    &[Word("msg"), Party, Rest],
];

const PARTY_TOPICS: &[&[Shape]] = &[&[Party, Word("inbox")], &[Party, Word("presence")]];

impl Shape {
    fn check(&self, level: &Level, number: usize) -> Result<(), TopicError> {
        let Level::Literal(text) = level else { return Ok(()) };
        let identifier = match self {
            Shape::Word(word) if **word == **text => Ok(()),
            Shape::Word(word) => return Err(TopicError::Missing { level: number, expected: word }),
            Shape::Round => Round::from_str(text).map(drop),
            Shape::Party => PartyId::from_str(text).map(drop),
            Shape::Rest => Ok(()),
        };
        identifier.map_err(|source| TopicError::Identifier { level: number, source })
    }

    fn expected(&self) -> &'static str {
        match self {
            Shape::Word(word) => word,
            Shape::Round => "{round} or `+`",
            Shape::Party => "a party id or `+`",
            Shape::Rest => "a level or `#`",
        }
    }
}

#[cfg(test)]
mod tests;
