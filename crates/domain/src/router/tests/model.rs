//! The router against a naive one, which walks all subscriptions of all sessions for every message.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::fixtures::matches_naively;

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const TOPICS: [&str; 8] = ["a", "a/b", "a/b/a", "b", "/b", "$c/b", "closed/b", "$SYS/b"];
const FILTERS: [&str; 12] =
    ["a", "a/b", "a/#", "+/b", "#", "+", "a/+/a", "/b", "$c/#", "closed/#", "tx/#", "party/+/b"];
const SHARED_FILTERS: [&str; 6] =
    ["$share/g/a/#", "$share/h/a/#", "$share/g/#", "$share/g/+/b", "$share/h/$c/b", "$share/g/tx/#"];

/// Sessions in the order in which they came.
struct Model {
    access: Arc<AccessRules>,
    sessions: Vec<Known>,
    /// How many have come.
    arrivals: usize,
    /// Which arrival had the last message of a share.
    served: BTreeMap<Share, usize>,
}

struct Known {
    arrival: usize,
    key: SessionKey,
    subscriber: Subscriber,
    records: Vec<SubscriptionRecord>,
}

/// The share that a filter names, if it names one of ordinary topics.
fn share_of(filter: &str) -> Option<Share> {
    let (group, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    (!is_reserved(filter)).then(|| Share { group: group.to_owned(), filter: filter.to_owned() })
}

fn is_reserved(filter: &str) -> bool {
    filter.starts_with("tx/") || filter.starts_with("party/")
}

fn is_own(filter: &str) -> bool {
    !filter.starts_with("$share/") && !is_reserved(filter)
}

fn qos_of(record: &SubscriptionRecord, message: &OrdinaryMessage) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(record.qos)].min(message.qos)
}

impl Known {
    fn member(&self, share: &Share) -> Option<&SubscriptionRecord> {
        self.records.iter().find(|record| share_of(&record.filter).as_ref() == Some(share))
    }

    fn can_hear(&self, qos: Qos, message: &OrdinaryMessage, access: &AccessRules) -> bool {
        let waits = self.subscriber.durable && qos != Qos::AtMostOnce;
        (self.subscriber.present || waits) && access.may_hear(&self.key.party, &message.topic)
    }

    fn routed(&self, manner: Manner) -> Routed {
        Routed { key: self.key.clone().into(), subscriber: self.subscriber, manner }
    }
}

impl Model {
    fn new(access: Arc<AccessRules>) -> Model {
        Model { access, sessions: Vec::new(), arrivals: 0, served: BTreeMap::new() }
    }

    fn find(&mut self, key: &SessionKey) -> Option<&mut Known> {
        self.sessions.iter_mut().find(|known| known.key == *key)
    }

    fn put(&mut self, key: &SessionKey, subscriber: Subscriber, records: &[SubscriptionRecord]) {
        let Some(known) = self.find(key) else {
            self.arrivals += 1;
            let (arrival, key, records) = (self.arrivals, key.clone(), records.to_vec());
            return self.sessions.push(Known { arrival, key, subscriber, records });
        };
        known.subscriber = subscriber;
        // What stays keeps its place, what is new comes behind it.
        let place = |filter: &str| known.records.iter().position(|record| record.filter == filter);
        let mut records = records.to_vec();
        records.sort_by_key(|record| place(&record.filter).unwrap_or(usize::MAX));
        known.records = records;
        self.forget_turns();
    }

    fn remove(&mut self, key: &SessionKey) {
        self.sessions.retain(|known| known.key != *key);
        self.forget_turns();
    }

    /// A share that loses its last member begins anew.
    fn forget_turns(&mut self) {
        let sessions = &self.sessions;
        self.served.retain(|share, _| sessions.iter().any(|known| known.member(share).is_some()));
    }

    fn subscriptions(&self) -> usize {
        let records = self.sessions.iter().flat_map(|known| &known.records);
        records.filter(|record| is_own(&record.filter) || share_of(&record.filter).is_some()).count()
    }

    fn route(&mut self, message: &OrdinaryMessage, publisher: Option<&SessionKey>) -> Vec<Routed> {
        let mut routed: Vec<Routed> =
            self.sessions.iter().filter_map(|known| self.own_delivery(known, message, publisher)).collect();
        let records = self.sessions.iter().flat_map(|known| &known.records);
        let shares: BTreeSet<Share> = records.filter_map(|record| share_of(&record.filter)).collect();
        for share in shares.iter().filter(|share| matches_naively(&share.filter, &message.topic)) {
            routed.extend(self.choose(share, message, None));
        }
        routed
    }

    fn own_delivery(&self, known: &Known, message: &OrdinaryMessage, publisher: Option<&SessionKey>) -> Option<Routed> {
        let met: Vec<_> = known
            .records
            .iter()
            .filter(|record| is_own(&record.filter) && matches_naively(&record.filter, &message.topic))
            .filter(|record| !(record.no_local && publisher == Some(&known.key)))
            .collect();
        let qos = met.iter().map(|record| qos_of(record, message)).max()?;
        let manner = Manner {
            qos,
            retain: message.retain && met.iter().any(|record| record.retain_as_published),
            identifiers: met.iter().filter_map(|record| record.identifier).collect(),
            share: None,
        };
        known.can_hear(qos, message, &self.access).then(|| known.routed(manner))
    }

    fn choose(&mut self, share: &Share, message: &OrdinaryMessage, left: Option<&SessionKey>) -> Option<Routed> {
        let served = self.served.get(share).copied().unwrap_or(0);
        let mut can_hear: Vec<(&Known, &SubscriptionRecord)> = self
            .sessions
            .iter()
            .filter(|known| left != Some(&known.key))
            .filter_map(|known| Some((known, known.member(share)?)))
            .filter(|(known, record)| known.can_hear(qos_of(record, message), message, &self.access))
            .collect();
        // Those that are there first; of these, those behind whoever had the last one.
        can_hear.sort_by_key(|(known, _)| (!known.subscriber.present, known.arrival <= served, known.arrival));
        let (known, record) = can_hear.first()?;
        let manner = Manner {
            qos: qos_of(record, message),
            retain: message.retain && record.retain_as_published,
            identifiers: record.identifier.into_iter().collect(),
            share: Some(share.clone()),
        };
        let (routed, arrival) = (known.routed(manner), known.arrival);
        self.served.insert(share.clone(), arrival);
        Some(routed)
    }

    fn meet_retained(&mut self, key: &SessionKey, filter: &str, message: &OrdinaryMessage) -> Option<Manner> {
        let access = self.access.clone();
        let known = self.find(key)?;
        let record = known.records.iter().find(|record| record.filter == filter && is_own(filter))?;
        let is_met = matches_naively(filter, &message.topic) && access.may_hear(&key.party, &message.topic);
        let identifiers = record.identifier.into_iter().collect();
        is_met.then(|| Manner { qos: qos_of(record, message), retain: true, identifiers, share: None })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(SessionKey, Subscriber, Vec<SubscriptionRecord>),
    /// Put again with the records that it has.
    ComeOrGo(SessionKey, Subscriber),
    Remove(SessionKey),
    Route(OrdinaryMessage, Option<SessionKey>),
    RouteAgain(Share, OrdinaryMessage, SessionKey),
    MeetRetained(SessionKey, &'static str, OrdinaryMessage),
}

fn any_key() -> impl Strategy<Value = SessionKey> {
    prop::sample::select(&NAMES[..]).prop_map(key)
}

fn any_subscriber() -> impl Strategy<Value = Subscriber> {
    (any::<bool>(), any::<bool>()).prop_map(|(durable, present)| Subscriber { durable, present })
}

fn any_records() -> impl Strategy<Value = Vec<SubscriptionRecord>> {
    let filters = [&FILTERS[..], &SHARED_FILTERS[..]].concat();
    let said = (0..3_u8, any::<bool>(), any::<bool>(), prop::option::of(1..9_u32));
    let said = prop::collection::vec(said, filters.len());
    (prop::sample::subsequence(filters, 0..8), said).prop_map(|(filters, said)| {
        let record = |(filter, (qos, no_local, retain_as_published, identifier)): (&str, _)| SubscriptionRecord {
            qos,
            no_local,
            retain_as_published,
            identifier,
            ..to(filter)
        };
        filters.into_iter().zip(said).map(record).collect()
    })
}

fn any_message() -> impl Strategy<Value = OrdinaryMessage> {
    let qos = prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]);
    (prop::sample::select(&TOPICS[..]), qos, any::<bool>()).prop_map(|(topic, qos, retain)| OrdinaryMessage {
        qos,
        retain,
        ..message(topic)
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let shares: Vec<Share> = SHARED_FILTERS.iter().filter_map(|filter| share_of(filter)).collect();
    prop_oneof![
        3 => (any_key(), any_subscriber(), any_records()).prop_map(|(key, it, records)| Step::Put(key, it, records)),
        1 => (any_key(), any_subscriber()).prop_map(|(key, it)| Step::ComeOrGo(key, it)),
        1 => any_key().prop_map(Step::Remove),
        6 => (any_message(), prop::option::of(any_key())).prop_map(|(message, key)| Step::Route(message, key)),
        2 => (prop::sample::select(shares), any_message(), any_key())
            .prop_map(|(share, message, key)| Step::RouteAgain(share, message, key)),
        1 => (any_key(), prop::sample::select(&FILTERS[..]), any_message())
            .prop_map(|(key, filter, message)| Step::MeetRetained(key, filter, message)),
    ]
}

/// A router into which every session comes anew, with what it subscribes to now.
fn rebuilt(router: &Router, model: &Model) -> Router {
    let mut rebuilt = Router::new(open_access());
    for known in &model.sessions {
        rebuilt.put(&known.key, known.subscriber, &known.records);
    }
    // Whose turn it was, in the new numbers.
    for (share, members) in &router.members {
        let served = router.sessions.keys().filter(|number| **number <= members.served).count();
        rebuilt.members.get_mut(share).expect("it has members").served = served as Number;
    }
    rebuilt
}

fn sorted(mut routed: Vec<Routed>) -> Vec<Routed> {
    routed.sort_by(|one, other| (&one.key, &one.manner.share).cmp(&(&other.key, &other.manner.share)));
    routed
}

proptest! {
    #[test]
    fn the_router_routes_like_the_naive_model(steps in prop::collection::vec(any_step(), 0..60)) {
        let (mut router, mut model) = (Router::new(open_access()), Model::new(open_access()));
        for step in steps {
            match step {
                Step::Put(key, subscriber, records) => {
                    router.put(&key, subscriber, &records);
                    model.put(&key, subscriber, &records);
                }
                Step::ComeOrGo(key, subscriber) => {
                    if let Some(known) = model.find(&key) {
                        known.subscriber = subscriber;
                        router.put(&key, subscriber, &known.records);
                    }
                }
                Step::Remove(key) => {
                    router.remove(&key);
                    model.remove(&key);
                }
                Step::Route(message, publisher) => {
                    let routed = sorted(router.route(&message, publisher.as_ref()));
                    prop_assert_eq!(routed, sorted(model.route(&message, publisher.as_ref())), "{:?}", message);
                }
                Step::RouteAgain(share, message, left) => {
                    let routed = router.route_again(&share, &message, &left);
                    prop_assert_eq!(routed, model.choose(&share, &message, Some(&left)), "{:?}", message);
                }
                Step::MeetRetained(key, filter, message) => {
                    let manner = router.meet_retained(&key, filter, &message);
                    prop_assert_eq!(manner, model.meet_retained(&key, filter, &message), "{} {:?}", filter, message);
                }
            }
            prop_assert_eq!(router.subscriptions(), model.subscriptions());
        }
        NAMES.iter().for_each(|name| router.remove(&key(name)));
        assert_holds_nothing(&router);
        prop_assert!(router.numbers.is_empty() && router.sessions.is_empty());
    }
    #[test]
    fn a_router_that_was_changed_is_like_one_that_is_built_anew(steps in prop::collection::vec(any_step(), 0..60)) {
        let (mut router, mut model) = (Router::new(open_access()), Model::new(open_access()));
        for step in steps {
            match step {
                Step::Put(key, subscriber, records) => {
                    router.put(&key, subscriber, &records);
                    model.put(&key, subscriber, &records);
                }
                Step::Remove(key) => {
                    router.remove(&key);
                    model.remove(&key);
                }
                Step::Route(message, publisher) => drop(router.route(&message, publisher.as_ref())),
                Step::ComeOrGo(..) | Step::RouteAgain(..) | Step::MeetRetained(..) => {}
            }
        }
        let mut rebuilt = rebuilt(&router, &model);
        prop_assert_eq!(router.subscriptions(), rebuilt.subscriptions());
        for topic in TOPICS {
            prop_assert_eq!(router.own.matches(topic).count(), rebuilt.own.matches(topic).count(), "{}", topic);
            for _ in NAMES {
                let (one, other) = (router.route(&message(topic), None), rebuilt.route(&message(topic), None));
                prop_assert_eq!(sorted(one), sorted(other), "{}", topic);
            }
        }
    }
}
