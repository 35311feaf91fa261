//! Which sessions hear a message of an ordinary topic, and how: subscriptions of their own, merged into one delivery
//! each, and of each shared subscription one member. Whoever is found here is asked for at
//! [`AccessRules::may_hear`](crate::AccessRules::may_hear), for every message.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::access_rules::AccessRules;
use crate::filter::{FilterClass, classify_filter};
use crate::message::Qos;
use crate::ordinary::{Manner, OrdinaryMessage, Share};
use crate::session_record::{SessionKey, SubscriptionRecord};
use crate::subscription_index::SubscriptionIndex;

/// What the router has to know of a session beside its subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// Whether it outlives its connection, so that messages may wait for it.
    pub durable: bool,
    /// Whether it is connected.
    pub present: bool,
}

/// A session that is to hear a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// Which session.
    pub key: Arc<SessionKey>,
    /// What it is like.
    pub subscriber: Subscriber,
    /// How it hears the message.
    pub manner: Manner,
}

/// The subscriptions of all sessions to ordinary topics.
#[derive(Debug)]
pub struct Router {
    access: Arc<AccessRules>,
    numbers: HashMap<Arc<SessionKey>, Number>,
    sessions: HashMap<Number, Session>,
    next_number: Number,
    own: SubscriptionIndex<(Number, usize)>,
    shared: SubscriptionIndex<Share>,
    members: BTreeMap<Share, Members>,
    subscriptions: usize,
}

/// Names a session within the router: short, in the order in which they came.
type Number = u64;

#[derive(Debug)]
struct Session {
    key: Arc<SessionKey>,
    subscriber: Subscriber,
    /// Each at a place of its own, in the order in which they came.
    subscriptions: BTreeMap<usize, Subscription>,
    /// The place of each filter; `None`: it is none of ordinary topics.
    places: HashMap<String, Option<usize>>,
    next_place: usize,
}

#[derive(Debug)]
struct Subscription {
    target: Target,
    options: Options,
}

/// What a subscription says beside its filter.
#[derive(Debug)]
struct Options {
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<u32>,
}

#[derive(Debug)]
enum Target {
    Own(String),
    Shared(Share),
}

/// The members of a shared subscription, each with the place of the subscription among its own.
#[derive(Debug, Default)]
struct Members {
    places: BTreeMap<Number, usize>,
    /// Who had the last message: the turn goes on behind it.
    served: Number,
}

impl Router {
    /// Without sessions. `access` decides over every delivery.
    pub fn new(access: Arc<AccessRules>) -> Router {
        Router {
            access,
            numbers: HashMap::new(),
            sessions: HashMap::new(),
            next_number: 1,
            own: SubscriptionIndex::new(),
            shared: SubscriptionIndex::new(),
            members: BTreeMap::new(),
            subscriptions: 0,
        }
    }

    /// Takes a session in, or what has changed of it: what it subscribed to before stays where it is. Of `records`, those
    /// of `tx/` and `party/` are passed over.
    pub fn put(&mut self, key: &SessionKey, subscriber: Subscriber, records: &[SubscriptionRecord]) {
        let number = self.number(key);
        let Some(session) = self.sessions.get_mut(&number) else { return };
        session.subscriber = subscriber;
        let asked: HashSet<&str> = records.iter().map(|record| record.filter.as_str()).collect();
        for subscription in session.withdraw(|filter| !asked.contains(filter)) {
            self.take_out(number, subscription);
        }
        for record in records {
            self.subscribe(number, record);
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, key: &SessionKey) {
        let Some(number) = self.numbers.remove(key) else { return };
        let Some(mut session) = self.sessions.remove(&number) else { return };
        for subscription in session.withdraw(|_| true) {
            self.take_out(number, subscription);
        }
    }

    /// What is known of a session.
    pub fn subscriber(&self, key: &SessionKey) -> Option<Subscriber> {
        self.session(key).map(|session| session.subscriber)
    }

    /// Whether a session subscribes to this filter for itself.
    pub fn subscribes(&self, key: &SessionKey, filter: &str) -> bool {
        let is_of_it = |it: &Subscription| matches!(&it.target, Target::Own(own) if own == filter);
        self.session(key).is_some_and(|session| session.subscriptions.values().any(is_of_it))
    }

    /// Subscriptions to ordinary topics, of all sessions.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Who hears a message, each session once for its own subscriptions and once for each shared one that chose it.
    /// `publisher`: the session that published it, for No Local. An absent session hears at QoS 1 and 2 only, and only
    /// where it outlives its connection.
    pub fn route(&mut self, message: &OrdinaryMessage, publisher: Option<&SessionKey>) -> Vec<Routed> {
        let mut routed = self.route_to_own(message, publisher);
        let mut shares: Vec<Share> = self.shared.matches(&message.topic).cloned().collect();
        shares.dedup();
        routed.extend(shares.iter().filter_map(|share| self.choose(share, message, None)));
        routed
    }

    /// Another member of a shared subscription, for a message that `left` has not acknowledged and will not.
    pub fn route_again(&mut self, share: &Share, message: &OrdinaryMessage, left: &SessionKey) -> Option<Routed> {
        self.choose(share, message, Some(left))
    }

    /// How a session hears a retained message by a subscription that was just made with this filter (MQTT5 3.3.1.3).
    /// `None`: it does not.
    pub fn meet_retained(&self, key: &SessionKey, filter: &str, message: &OrdinaryMessage) -> Option<Manner> {
        let subscriptions = &self.session(key)?.subscriptions;
        let is_of_it = |it: &&Subscription| matches!(&it.target, Target::Own(own) if own == filter);
        let subscription = subscriptions.values().find(is_of_it)?;
        let mut alone = SubscriptionIndex::new();
        alone.insert(filter, ());
        let hears = alone.matches(&message.topic).next().is_some() && self.access.may_hear(&key.party, &message.topic);
        hears.then(|| Manner {
            qos: subscription.options.qos.min(message.qos),
            retain: true,
            identifiers: subscription.options.identifier.into_iter().collect(),
            share: None,
        })
    }

    fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(self.numbers.get(key)?)
    }

    /// The number of a session; one that is new comes after all others.
    fn number(&mut self, key: &SessionKey) -> Number {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let (key, number) = (Arc::new(key.clone()), self.next_number);
        self.next_number += 1;
        self.numbers.insert(key.clone(), number);
        self.sessions.insert(number, Session::new(key));
        number
    }

    /// Brings a subscription in, or changes the one with this filter.
    fn subscribe(&mut self, number: Number, record: &SubscriptionRecord) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        match session.places.get(&record.filter) {
            Some(None) => return,
            Some(Some(place)) => {
                if let Some(subscription) = session.subscriptions.get_mut(place) {
                    subscription.options = Options::of(record);
                }
                return;
            }
            None => {}
        }
        let subscription = Subscription::read(record);
        let place = subscription.is_some().then(|| session.new_place());
        session.places.insert(record.filter.clone(), place);
        let (Some(subscription), Some(place)) = (subscription, place) else { return };
        match &subscription.target {
            Target::Own(filter) => self.own.insert(filter, (number, place)),
            Target::Shared(share) => {
                self.shared.insert(&share.filter, share.clone());
                self.members.entry(share.clone()).or_default().places.insert(number, place);
            }
        }
        session.subscriptions.insert(place, subscription);
        self.subscriptions += 1;
    }

    /// Takes out of the indices what a session does not subscribe to any more.
    fn take_out(&mut self, number: Number, (place, subscription): (usize, Subscription)) {
        self.subscriptions -= 1;
        match &subscription.target {
            Target::Own(filter) => {
                self.own.remove(filter, &(number, place));
            }
            Target::Shared(share) => self.leave(share, number),
        }
    }

    fn leave(&mut self, share: &Share, number: Number) {
        let Some(members) = self.members.get_mut(share) else { return };
        members.places.remove(&number);
        if members.places.is_empty() {
            self.members.remove(share);
            self.shared.remove(&share.filter, share);
        }
    }

    fn route_to_own(&self, message: &OrdinaryMessage, publisher: Option<&SessionKey>) -> Vec<Routed> {
        let mut found: Vec<(Number, usize)> = self.own.matches(&message.topic).copied().collect();
        found.sort_unstable();
        let of_sessions = found.chunk_by(|(one, _), (other, _)| one == other);
        let routed = of_sessions.filter_map(|places| {
            let session = self.sessions.get(&places[0].0)?;
            let is_publisher = publisher.is_some_and(|publisher| *publisher == *session.key);
            let met = places.iter().filter_map(|(_, place)| session.subscriptions.get(place));
            let manner = merge(met.filter(|it| !(it.options.no_local && is_publisher)), message)?;
            session.hears(manner, message, &self.access)
        });
        routed.collect()
    }

    /// The member whose turn it is among those that are present; among those that come back, where none is.
    fn choose(&mut self, share: &Share, message: &OrdinaryMessage, left: Option<&SessionKey>) -> Option<Routed> {
        let Self { access, sessions, members, .. } = self;
        let members = members.get_mut(share)?;
        let behind = members.places.range((Bound::Excluded(members.served), Bound::Unbounded));
        let in_turn = behind.chain(members.places.range(..=members.served));
        let mut second = None;
        for (number, place) in in_turn {
            let Some(session) = sessions.get(number) else { continue };
            if left.is_some_and(|left| *left == *session.key) {
                continue;
            }
            let Some(subscription) = session.subscriptions.get(place) else { continue };
            let manner = subscription.manner(message, Some(share.clone()));
            let Some(routed) = session.hears(manner, message, access) else { continue };
            if session.subscriber.present {
                members.served = *number;
                return Some(routed);
            }
            second.get_or_insert((*number, routed));
        }
        let (number, routed) = second?;
        members.served = number;
        Some(routed)
    }
}

impl Session {
    fn new(key: Arc<SessionKey>) -> Session {
        let subscriber = Subscriber { durable: false, present: false };
        Session { key, subscriber, subscriptions: BTreeMap::new(), places: HashMap::new(), next_place: 0 }
    }

    fn new_place(&mut self) -> usize {
        self.next_place += 1;
        self.next_place - 1
    }

    /// Takes out the subscriptions of which this is true, with their places.
    fn withdraw(&mut self, is_withdrawn: impl Fn(&str) -> bool) -> Vec<(usize, Subscription)> {
        let Session { subscriptions, places, .. } = self;
        let withdrawn = places.extract_if(|filter, _| is_withdrawn(filter));
        withdrawn.filter_map(|(_, place)| subscriptions.remove_entry(&place?)).collect()
    }

    /// This session with a message, if it may hear it and there is a way to it.
    fn hears(&self, manner: Manner, message: &OrdinaryMessage, access: &AccessRules) -> Option<Routed> {
        let Subscriber { durable, present } = self.subscriber;
        let is_reached = present || (durable && manner.qos > Qos::AtMostOnce);
        let hears = is_reached && access.may_hear(&self.key.party, &message.topic);
        hears.then(|| Routed { key: self.key.clone(), subscriber: self.subscriber, manner })
    }
}

impl Subscription {
    /// A subscription to ordinary topics; `None`: it is none.
    fn read(record: &SubscriptionRecord) -> Option<Subscription> {
        let target = match classify_filter(&record.filter).ok()? {
            FilterClass::Ordinary(filter) => Target::Own(filter),
            FilterClass::Shared { group, inner, reserved: false } => Target::Shared(Share { group, filter: inner }),
            FilterClass::Shared { .. } | FilterClass::Tx(_) | FilterClass::Party(_) => return None,
        };
        Some(Subscription { target, options: Options::of(record) })
    }

    fn manner(&self, message: &OrdinaryMessage, share: Option<Share>) -> Manner {
        Manner {
            qos: self.options.qos.min(message.qos),
            retain: self.options.retain_as_published && message.retain,
            identifiers: self.options.identifier.into_iter().collect(),
            share,
        }
    }
}

impl Options {
    fn of(record: &SubscriptionRecord) -> Options {
        let qos = match record.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        };
        let &SubscriptionRecord { no_local, retain_as_published, identifier, .. } = record;
        Options { qos, no_local, retain_as_published, identifier }
    }
}

/// One delivery for all subscriptions of a session that match (MQTT5 3.3.4-2, 3.3.4-3).
fn merge<'s>(mut met: impl Iterator<Item = &'s Subscription>, message: &OrdinaryMessage) -> Option<Manner> {
    let first = met.next()?.manner(message, None);
    Some(met.fold(first, |merged, subscription| {
        let manner = subscription.manner(message, None);
        let mut identifiers = merged.identifiers;
        identifiers.extend(manner.identifiers);
        Manner { qos: merged.qos.max(manner.qos), retain: merged.retain || manner.retain, identifiers, share: None }
    }))
}

#[cfg(test)]
mod tests;
