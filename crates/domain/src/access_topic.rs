//! The topics that an access rule names: filters as MQTT has them, in which `%u` stands for the party's name. Here is
//! what they match, and how they stand to a filter that a client subscribes to; what a rule then decides is
//! `access_rules`' matter.

use std::fmt;
use std::str::FromStr;

use crate::access_rules::SYS;
use crate::filter::check_wildcards;
use crate::party::PartyId;

use crate::topic::{PARTY, TX, check_levels, check_text};
use crate::topic_error::TopicError;

/// What stands for the party's name.
const NAME: &str = "%u";

/// A topic filter in which `%u` stands for the name of the party that is asked about, as a whole level or as part of
/// one. A party's name holds neither `/` nor a wildcard, so that it never changes the form of the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTopic {
    text: Box<str>,
    levels: Box<[Level]>,
    /// It ends in `#`: any number of levels may follow, also none (MQTT5 4.7.1.2).
    open_ended: bool,
}

/// Why a text is no [`AccessTopic`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessTopicError {
    /// It is no topic filter.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// It is under `tx/` or `party/`.
    #[error("no rule decides on topics under `{0}/`: who uses them follows from each transaction")]
    Reserved(&'static str),
    /// It begins with `$share/`.
    #[error("a rule names what is shared, without `$share/` and the group")]
    Shared,
    /// It holds a `%` that is not the one of `%u`.
    #[error("level {level}: `%` stands in `{NAME}` only, which is the party's name")]
    Percent {
        /// Where.
        level: usize,
    },
    /// A party's name would decide which topics of the broker are meant.
    #[error("level 1: a level that begins with `$` holds no `{NAME}`")]
    NameAfterDollar,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// `+`
    Any,
    Literal(Box<str>),
    /// It holds `%u`, perhaps more than once.
    OfParty(Box<str>),
}

impl AccessTopic {
    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the topic is meant where `party` asks.
    pub(crate) fn matches(&self, party: &PartyId, topic: &str) -> bool {
        if self.skips_sys(topic) {
            return false;
        }
        let mut said = topic.split('/');
        self.fits(party, &mut said) && (self.open_ended || said.next().is_none())
    }

    /// Whether every topic that `filter` matches is meant where `party` asks.
    pub(crate) fn covers(&self, party: &PartyId, filter: &str) -> bool {
        if self.skips_sys(filter) {
            return false;
        }
        let asked = Asked::new(filter);
        let mut levels = asked.levels.split('/');
        // A level `+` of the filter is met by `+` alone here: no literal, and no name, is written so.
        self.fits(party, &mut levels) && (self.open_ended || !asked.open_ended && levels.next().is_none())
    }

    /// Whether some topic is meant where `party` asks, and matched by `filter`, too.
    pub(crate) fn overlaps(&self, party: &PartyId, filter: &str) -> bool {
        let asked = Asked::new(filter);
        if self.skips_sys(filter) || (asked.levels.starts_with('+') && self.text.starts_with('$')) {
            return false;
        }
        let (mut here, mut there) = (self.levels.iter(), asked.levels.split('/'));
        loop {
            match (here.next(), there.next()) {
                (Some(level), Some(asked)) if asked == "+" || level.matches(party, asked) => {}
                (Some(_), Some(_)) => return false,
                (Some(_), None) => return asked.open_ended,
                (None, Some(_)) => return self.open_ended,
                (None, None) => return true,
            }
        }
    }

    /// Whether each of these levels has its counterpart, which is taken.
    fn fits<'a>(&self, party: &PartyId, others: &mut impl Iterator<Item = &'a str>) -> bool {
        self.levels.iter().all(|level| others.next().is_some_and(|other| level.matches(party, other)))
    }

    /// What the broker tells about itself is meant by those topics alone that name it. (Other topics that begin with `$`
    /// are named by a wildcard too: in a subscription it would not match them (MQTT5 4.7.2-1), but a rule for all topics
    /// is to be one.)
    fn skips_sys(&self, other: &str) -> bool {
        first_level(other) == SYS && matches!(self.levels.first(), Some(Level::Any))
    }
}

impl FromStr for AccessTopic {
    type Err = AccessTopicError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_text(text)?;
        check_levels(text)?;
        check_wildcards(text)?;
        let first = first_level(text);
        match first {
            TX => return Err(AccessTopicError::Reserved(TX)),
            PARTY => return Err(AccessTopicError::Reserved(PARTY)),
            "$share" => return Err(AccessTopicError::Shared),
            _ if first.starts_with('$') && first.contains(NAME) => return Err(AccessTopicError::NameAfterDollar),
            _ => {}
        }
        if let Some(level) = text.split('/').position(|level| level.replace(NAME, "").contains('%')) {
            return Err(AccessTopicError::Percent { level: level + 1 });
        }
        let written = Asked::new(text);
        Ok(AccessTopic {
            text: text.into(),
            levels: written.levels.split('/').map(Level::new).collect(),
            open_ended: written.open_ended,
        })
    }
}

impl fmt::Display for AccessTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl Level {
    fn new(text: &str) -> Level {
        match text {
            "+" => Level::Any,
            text if text.contains(NAME) => Level::OfParty(text.into()),
            text => Level::Literal(text.into()),
        }
    }

    fn matches(&self, party: &PartyId, said: &str) -> bool {
        match self {
            Level::Any => true,
            Level::Literal(literal) => **literal == *said,
            Level::OfParty(template) => matches_with_name(template, party.as_str(), said),
        }
    }
}

/// Whether `said` is the template with the name in it. It is called for every message, and so builds no text.
fn matches_with_name(template: &str, name: &str, said: &str) -> bool {
    let mut rest = Some(said);
    for (number, piece) in template.split(NAME).enumerate() {
        if number > 0 {
            rest = rest.and_then(|rest| rest.strip_prefix(name));
        }
        rest = rest.and_then(|rest| rest.strip_prefix(piece));
    }
    rest == Some("")
}

/// The first level of a topic or filter.
pub(crate) fn first_level(text: &str) -> &str {
    text.split_once('/').map_or(text, |(first, _)| first)
}

/// A well-formed filter without its `#`.
struct Asked<'a> {
    levels: &'a str,
    open_ended: bool,
}

impl<'a> Asked<'a> {
    fn new(filter: &'a str) -> Asked<'a> {
        match filter {
            // No topic is empty, so that these two have one level more than they show.
            "#" => Asked { levels: "+", open_ended: true },
            "/#" => Asked { levels: "/+", open_ended: true },
            filter => match filter.strip_suffix("/#") {
                Some(levels) => Asked { levels, open_ended: true },
                None => Asked { levels: filter, open_ended: false },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::party;

    fn topic(text: &str) -> AccessTopic {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn matches(filter: &str, said: &str) -> bool {
        topic(filter).matches(&party("alice"), said)
    }

    #[test]
    fn wildcards_match_as_in_mqtt() {
        assert!(matches("a/#", "a") && matches("a/#", "a/b/c") && !matches("a/#", "ab"));
        assert!(matches("a/+", "a/") && !matches("a/+", "a") && !matches("a/+", "a/b/c"));
        assert!(matches("#", "a") && matches("#", "/") && matches("+/+", "/"));
        assert!(!matches("#", "$SYS/broker") && !matches("+/broker", "$SYS/broker"));
        assert!(matches("$SYS/#", "$SYS/broker") && matches("$SYS/#", "$SYS"));
    }

    #[test]
    fn the_name_stands_for_the_party_in_a_level_and_in_a_part_of_one() {
        assert!(matches("home/%u/#", "home/alice/lamp") && !matches("home/%u/#", "home/bob/lamp"));
        assert!(matches("to-%u", "to-alice") && !matches("to-%u", "to-alice2") && !matches("to-%u", "alice"));
        assert!(matches("%u:%u/x", "alice:alice/x") && !matches("%u:%u/x", "alice:bob/x"));
        assert!(matches("%u%u", "alicealice") && !matches("%u%u", "alice"));
        assert!(!topic("%u").matches(&party("a"), "a/b"));
    }

    #[test]
    fn what_no_rule_may_name_is_refused_with_the_reason() {
        for (text, message) in [
            ("", "the topic is empty"),
            ("a/#/b", "level 2: `+` and `#` stand alone in their level, and nothing follows `#`"),
            ("a/+%u", "level 2: `+` and `#` stand alone in their level, and nothing follows `#`"),
            ("tx/+/state", "no rule decides on topics under `tx/`: who uses them follows from each transaction"),
            ("tx", "no rule decides on topics under `tx/`: who uses them follows from each transaction"),
            ("party/%u/inbox", "no rule decides on topics under `party/`: who uses them follows from each transaction"),
            ("$share/group/a", "a rule names what is shared, without `$share/` and the group"),
            ("a/%c", "level 2: `%` stands in `%u` only, which is the party's name"),
            ("100%/a", "level 1: `%` stands in `%u` only, which is the party's name"),
            ("a/%%uu", "level 2: `%` stands in `%u` only, which is the party's name"),
            ("$%u/#", "level 1: a level that begins with `$` holds no `%u`"),
        ] {
            let refusal = text.parse::<AccessTopic>().expect_err(text);
            assert_eq!(refusal.to_string(), message, "{text}");
        }
        for text in ["txs/#", "a/tx/b", "$SYS/#", "+/%u", "$own/%u"] {
            assert_eq!(topic(text).as_str(), text);
        }
    }

    #[test]
    fn a_filter_that_asks_for_no_more_is_covered() {
        let covers = |by: &str, filter: &str| topic(by).covers(&party("alice"), filter);
        assert!(covers("#", "+/a") && covers("+/#", "#") && covers("/+/#", "/#") && covers("a/+", "a/b"));
        assert!(covers("home/%u/#", "home/alice/+") && !covers("home/%u/#", "home/+/lamp"));
        assert!(!covers("a/+/#", "a/#"), "`a` itself is not covered");
        assert!(covers("#", "$c/#") && !covers("#", "$SYS/#") && covers("$SYS/#", "$SYS/broker/+"));
    }

    #[test]
    fn two_filters_overlap_where_a_topic_matches_both() {
        let overlaps = |one: &str, filter: &str| topic(one).overlaps(&party("alice"), filter);
        assert!(overlaps("a/+", "+/b") && overlaps("a/#", "a") && overlaps("#", "+") && overlaps("a", "#"));
        assert!(overlaps("home/%u/#", "home/+/lamp") && !overlaps("home/%u/#", "home/bob/lamp"));
        assert!(overlaps("a/+/#", "a/b") && !overlaps("a/+", "a/b/c") && !overlaps("a/b", "a/c"));
        assert!(!overlaps("$SYS/#", "#") && !overlaps("+/a", "$SYS/a") && overlaps("$SYS/#", "$SYS/+"));
        assert!(!overlaps("/#", "+"), "no topic is empty");
    }

    /// MQTT5 4.7 and the name, written down without thought for speed. `reserved`: the first levels that a leading
    /// wildcard passes over.
    fn matches_naively(filter: &str, said: &str, reserved: fn(&str) -> bool) -> bool {
        fn levels_match(filter: &[&str], said: &[&str]) -> bool {
            match (filter, said) {
                (["#"], _) | ([], []) => true,
                (["+", filter @ ..], [_, said @ ..]) => levels_match(filter, said),
                ([literal, filter @ ..], [level, said @ ..]) if literal == level => levels_match(filter, said),
                _ => false,
            }
        }
        let filter = filter.replace(NAME, "alice");
        let (filter, said): (Vec<_>, Vec<_>) = (filter.split('/').collect(), said.split('/').collect());
        let passed_over = reserved(said[0]) && matches!(filter[0], "+" | "#");
        !passed_over && levels_match(&filter, &said)
    }

    /// All topics of up to four levels. `other` is a level that no filter names, and four levels are one more than the
    /// filters have: whatever distinguishes two of the filters shows here.
    fn all_topics() -> Vec<String> {
        const LEVELS: [&str; 7] = ["a", "b-alice", "alice", "$c", SYS, "", "other"];
        let mut all: Vec<String> = LEVELS.iter().map(|level| (*level).to_owned()).collect();
        let mut longest = all.clone();
        for _ in 1..4 {
            longest = longest.iter().flat_map(|topic| LEVELS.map(|level| format!("{topic}/{level}"))).collect();
            all.extend_from_slice(&longest);
        }
        all.retain(|topic| !topic.is_empty());
        all
    }

    fn any_filter(name: &'static str) -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b-%u", "%u", "$c", SYS, "", "+"]);
        (prop::collection::vec(level, 0..4), any::<bool>())
            .prop_map(move |(mut levels, open_ended)| {
                if open_ended || levels.is_empty() {
                    levels.truncate(2);
                    levels.push("#");
                }
                levels.join("/").replace(NAME, name)
            })
            .prop_filter("a filter is not empty", |filter| !filter.is_empty())
    }

    proptest! {
        #[test]
        fn what_is_covered_and_what_overlaps_is_what_the_topics_say(
            rule in any_filter(NAME),
            filter in any_filter("alice"),
        ) {
            let (rule, alice) = (topic(&rule), party("alice"));
            let topics = all_topics();
            let named = |said: &str| matches_naively(rule.as_str(), said, |level| level == SYS);
            let wanted = |said: &str| matches_naively(&filter, said, |level| level.starts_with('$'));
            for said in &topics {
                prop_assert_eq!(rule.matches(&alice, said), named(said), "{} {}", rule, said);
            }
            let mut asked = topics.iter().filter(|said| wanted(said));
            let both = |said: &&String| named(said);
            prop_assert_eq!(rule.covers(&alice, &filter), asked.clone().all(|said| both(&said)), "{} {}", rule, filter);
            prop_assert_eq!(rule.overlaps(&alice, &filter), asked.any(|said| both(&said)), "{} {}", rule, filter);
        }
    }
}
