//! Who may use ordinary topics: `[[acl.rule]]` of the config. Every delivery of an ordinary message is decided by
//! [`AccessRules::may_hear`] alone, as every delivery of a transaction is by [`may_hear`](crate::may_hear).

use crate::access_topic::{AccessTopic, first_level};
use crate::cn_pattern::CnPattern;
use crate::party::PartyId;
use crate::topic::{PARTY, TX};

/// The first level of the topics on which the broker tells about itself.
pub(crate) const SYS: &str = "$SYS";

/// Whether a rule lets in or keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It lets in.
    Allow,
    /// It keeps out.
    Deny,
}

/// What is done with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A message is said there.
    Publish,
    /// What is said there is heard.
    Subscribe,
}

/// One `[[acl.rule]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// What it does to those whom it names.
    pub permission: Permission,
    /// Which actions it names.
    pub actions: Vec<Action>,
    /// Which topics it names.
    pub topics: Vec<AccessTopic>,
    /// Which parties it names.
    pub parties: Vec<CnPattern>,
}

/// The rules for ordinary topics. The first that names the party, the action and the topic decides; where none does,
/// the answer is no. The default has no rule and no admin, and so allows nothing.
///
/// Topics under `tx/` and `party/` are not decided here: asked about one, every answer is no. Under `$SYS/` admins hear
/// everything and nobody publishes, whatever the rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessRules {
    rules: Vec<AccessRule>,
    admins: Vec<PartyId>,
}

/// To whom a topic or a filter belongs, by its first level.
enum Realm {
    /// Transactions and parties, which have their own rights.
    Reserved,
    /// The broker, which tells about itself.
    Sys,
    /// Whom the rules name.
    Ordinary,
}

impl AccessRule {
    fn names(&self, party: &PartyId, action: Action) -> bool {
        self.actions.contains(&action) && self.parties.iter().any(|pattern| pattern.matches(party))
    }
}

impl AccessRules {
    /// These rules, in this order, with these admins.
    pub fn new(rules: Vec<AccessRule>, admins: Vec<PartyId>) -> AccessRules {
        AccessRules { rules, admins }
    }

    /// Whether `party` may say something under this topic.
    pub fn may_publish(&self, party: &PartyId, topic: &str) -> bool {
        match Realm::of(topic) {
            Realm::Reserved | Realm::Sys => false,
            Realm::Ordinary => self.first_that_names(party, Action::Publish, topic) == Permission::Allow,
        }
    }

    /// Whether `party` may hear a message of this topic. This is the whole of it for ordinary topics: it is asked for
    /// every delivery, whatever subscription it comes by and however old that is.
    pub fn may_hear(&self, party: &PartyId, topic: &str) -> bool {
        match Realm::of(topic) {
            Realm::Reserved => false,
            Realm::Sys if self.admins.contains(party) => true,
            Realm::Sys | Realm::Ordinary => self.first_that_names(party, Action::Subscribe, topic) == Permission::Allow,
        }
    }

    /// Whether a subscription of `party` to `filter` is accepted; of a shared one, `filter` is what is shared.
    ///
    /// Yes is no leave to hear: [`may_hear`](Self::may_hear) says that for each message. So it is enough here that an
    /// allowed topic exists which the filter matches, as far as one topic of one rule at a time can tell; only a filter
    /// that could bring nothing is refused, so that the client knows. To ask for more than is allowed, as for `#` where
    /// `home/#` is, is no reason to be refused.
    pub fn may_subscribe(&self, party: &PartyId, filter: &str) -> bool {
        match Realm::of(filter) {
            Realm::Reserved => return false,
            Realm::Sys if self.admins.contains(party) => return true,
            Realm::Sys | Realm::Ordinary => {}
        }
        for rule in self.rules.iter().filter(|rule| rule.names(party, Action::Subscribe)) {
            let mut topics = rule.topics.iter();
            match rule.permission {
                Permission::Allow if topics.any(|topic| topic.overlaps(party, filter)) => return true,
                Permission::Deny if topics.any(|topic| topic.covers(party, filter)) => return false,
                Permission::Allow | Permission::Deny => {}
            }
        }
        false
    }

    fn first_that_names(&self, party: &PartyId, action: Action, topic: &str) -> Permission {
        let names = |rule: &&AccessRule| {
            rule.names(party, action) && rule.topics.iter().any(|named| named.matches(party, topic))
        };
        self.rules.iter().find(names).map_or(Permission::Deny, |rule| rule.permission)
    }
}

impl Realm {
    fn of(topic: &str) -> Realm {
        match first_level(topic) {
            TX | PARTY => Realm::Reserved,
            SYS => Realm::Sys,
            _ => Realm::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::party;

    const BOTH: &[Action] = &[Action::Publish, Action::Subscribe];

    fn rule(permission: Permission, actions: &[Action], topics: &[&str], parties: &[&str]) -> AccessRule {
        AccessRule {
            permission,
            actions: actions.to_vec(),
            topics: topics.iter().map(|topic| topic.parse().expect("a topic")).collect(),
            parties: parties.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
        }
    }

    fn allow(actions: &[Action], topics: &[&str], parties: &[&str]) -> AccessRule {
        rule(Permission::Allow, actions, topics, parties)
    }

    fn deny(actions: &[Action], topics: &[&str], parties: &[&str]) -> AccessRule {
        rule(Permission::Deny, actions, topics, parties)
    }

    fn rules(rules: Vec<AccessRule>) -> AccessRules {
        AccessRules::new(rules, vec![party("operator")])
    }

    #[test]
    fn without_a_rule_nothing_is_allowed() {
        let rules = AccessRules::default();
        for topic in ["a", "/", "$SYS/broker/uptime"] {
            assert!(!rules.may_publish(&party("alice"), topic));
            assert!(!rules.may_hear(&party("alice"), topic));
            assert!(!rules.may_subscribe(&party("alice"), topic));
        }
        assert!(!rules.may_subscribe(&party("alice"), "#"));
    }

    #[test]
    fn the_first_rule_that_names_party_action_and_topic_decides() {
        let rules = rules(vec![
            deny(&[Action::Publish], &["news/#"], &["bob"]),
            allow(BOTH, &["news/#", "chat/+"], &["*"]),
            deny(BOTH, &["chat/private"], &["*"]),
        ]);
        let (alice, bob) = (party("alice"), party("bob"));
        assert!(rules.may_publish(&alice, "news/today") && !rules.may_publish(&bob, "news/today"));
        assert!(rules.may_hear(&bob, "news/today"), "another action");
        assert!(rules.may_publish(&bob, "chat/all"), "another topic");
        assert!(rules.may_publish(&bob, "chat/private"), "an earlier rule has decided");
        assert!(!rules.may_hear(&alice, "chat/a/b") && !rules.may_publish(&alice, "elsewhere"));
    }

    #[test]
    fn a_topic_with_the_name_is_each_partys_own() {
        let rules = rules(vec![allow(BOTH, &["home/%u/#"], &["*"])]);
        assert!(rules.may_publish(&party("alice"), "home/alice/lamp"));
        assert!(!rules.may_publish(&party("bob"), "home/alice/lamp") && !rules.may_hear(&party("bob"), "home/alice"));
        assert!(rules.may_subscribe(&party("bob"), "home/+/lamp"), "bob hears bob's");
        assert!(!rules.may_subscribe(&party("bob"), "home/alice/#"));
    }

    #[test]
    fn under_sys_admins_hear_others_as_a_rule_says_and_nobody_publishes() {
        let open = rules(vec![allow(BOTH, &["#"], &["*"])]);
        let (operator, alice) = (party("operator"), party("alice"));
        for topic in ["$SYS", "$SYS/broker/uptime"] {
            assert!(open.may_hear(&operator, topic) && open.may_subscribe(&operator, topic));
            assert!(!open.may_hear(&alice, topic) && !open.may_subscribe(&alice, topic), "`#` does not name it");
        }
        let told = rules(vec![allow(BOTH, &["$SYS/broker/#"], &["alice"]), deny(BOTH, &["$SYS/#"], &["*"])]);
        assert!(told.may_hear(&alice, "$SYS/broker/uptime") && told.may_subscribe(&alice, "$SYS/#"));
        assert!(!told.may_hear(&alice, "$SYS/other") && !told.may_hear(&party("bob"), "$SYS/broker/uptime"));
        assert!(told.may_hear(&operator, "$SYS/other") && told.may_subscribe(&operator, "$SYS/#"));
        for name in ["operator", "alice"] {
            assert!(!told.may_publish(&party(name), "$SYS/broker/uptime"));
        }
        assert!(open.may_hear(&alice, "elsewhere/$SYS"), "it is the first level that counts");
    }

    #[test]
    fn topics_of_transactions_and_parties_are_not_decided_here() {
        let rules = rules(vec![allow(BOTH, &["#", "+/+/#", "%u/#"], &["*"])]);
        for name in ["alice", "tx", "party", "operator"] {
            for topic in ["tx", "tx/0123456789abcdef/state", "party", "party/alice/inbox"] {
                assert!(!rules.may_publish(&party(name), topic), "{name} {topic}");
                assert!(!rules.may_hear(&party(name), topic), "{name} {topic}");
                assert!(!rules.may_subscribe(&party(name), topic), "{name} {topic}");
            }
            assert!(!rules.may_subscribe(&party(name), "tx/#"));
            assert!(rules.may_hear(&party(name), "txs/a"));
        }
    }

    #[test]
    fn a_subscription_that_could_bring_nothing_is_refused() {
        let rules = rules(vec![
            deny(&[Action::Subscribe], &["home/secret/#"], &["*"]),
            allow(&[Action::Subscribe], &["home/#"], &["*"]),
            allow(&[Action::Publish], &["in/#"], &["*"]),
        ]);
        let alice = party("alice");
        for filter in ["#", "+/lamp", "home/#", "home/+/x", "+/secret"] {
            assert!(rules.may_subscribe(&alice, filter), "{filter}");
        }
        for filter in ["home/secret", "home/secret/+", "in/#", "elsewhere/+", "/#", "$SYS/#"] {
            assert!(!rules.may_subscribe(&alice, filter), "{filter}");
        }
        assert!(!rules.may_hear(&alice, "home/secret/x"), "also where `#` is subscribed to");
    }

    fn any_rule() -> impl Strategy<Value = AccessRule> {
        let topics = vec!["a", "a/#", "a/+", "+/b", "%u/b", "#", "b", "$SYS/#", "b/%u"];
        let permission = prop::sample::select(vec![Permission::Allow, Permission::Deny]);
        let actions = prop::sample::select(vec![BOTH, &BOTH[..1], &BOTH[1..]]);
        let topics = prop::sample::subsequence(topics, 1..3);
        let parties = prop::sample::select(vec!["*", "alice", "b*"]);
        (permission, actions, topics, parties)
            .prop_map(|(permission, actions, topics, party)| rule(permission, actions, &topics, &[party]))
    }

    proptest! {
        /// The promise of `may_subscribe`: no subscription that could bring something is refused.
        #[test]
        fn whoever_may_hear_a_topic_may_subscribe_to_what_matches_it(
            access in prop::collection::vec(any_rule(), 0..6),
            name in prop::sample::select(vec!["alice", "bob", "operator"]),
        ) {
            let (access, name) = (rules(access), party(name));
            for topic in ["a", "a/b", "a/a", "b", "b/b", "alice/b", "b/bob", "/b", "$SYS/x"] {
                for filter in ["a", "a/#", "a/+", "+/b", "#", "+", "b/#", "/b", "$SYS/#", "$SYS/+"] {
                    let matched = filter.parse::<AccessTopic>().expect("a filter").matches(&name, topic);
                    if matched && access.may_hear(&name, topic) {
                        prop_assert!(access.may_subscribe(&name, filter), "{} {} {:?}", topic, filter, access);
                    }
                }
            }
        }
    }
}
