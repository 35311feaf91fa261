//! The subscriptions of one session, and which of them a message meets.

use std::collections::BTreeMap;

use quorate_domain::{PartyFilter, PartyId, Qos, Scope, Seq, SubscriptionRecord, TxFilter, TxId, TxTopic};
use quorate_wire::QoS;

/// What a filter asks for.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    /// Under `tx/`.
    Tx(TxFilter),
    /// Under `party/`.
    Party(PartyFilter),
    /// Ordinary topics. What matches it is routed by the backbone.
    Ordinary,
    /// Ordinary topics, shared.
    Shared,
}

/// The two ways in which one log record may appear to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View<'a> {
    /// Under its own topic.
    Log(&'a TxTopic),
    /// A manifest, in the party's inbox.
    Inbox,
}

impl Filter {
    /// Whether the backbone routes what it matches.
    pub(crate) fn is_ordinary(&self) -> bool {
        matches!(self, Filter::Ordinary | Filter::Shared)
    }
}

/// One subscription.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: Filter,
    pub(crate) record: SubscriptionRecord,
}

impl Subscription {
    /// Whether messages of this transaction may meet it.
    fn covers(&self, tx: &TxId, party: &PartyId) -> bool {
        match &self.filter {
            Filter::Tx(filter) => match filter.scope() {
                Scope::One(one) => one == tx,
                Scope::All => true,
            },
            Filter::Party(filter) => filter.matches_inbox(party),
            Filter::Ordinary | Filter::Shared => false,
        }
    }

    fn matches(&self, view: View<'_>, party: &PartyId) -> bool {
        match (&self.filter, view) {
            (Filter::Tx(filter), View::Log(topic)) => filter.matches(topic),
            (Filter::Party(filter), View::Inbox) => filter.matches_inbox(party),
            _ => false,
        }
    }

    /// Whether it starts after this message (Retain Handling 2 starts at the head of the log).
    fn starts_after(&self, tx: &TxId, seq: Seq) -> bool {
        is_within(&self.record.starts, tx, seq)
    }

    /// Whether it hears this message by a backfill of its own.
    fn backfills(&self, tx: &TxId, seq: Seq) -> bool {
        is_within(&self.record.backfilled_to, tx, seq)
    }

    /// The QoS of a delivery: its own or the publisher's, whichever is lower (MQTT5 3.8.4-8).
    fn effective_qos(&self, published: Qos) -> QoS {
        let granted = match self.record.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        granted.min(to_wire(published))
    }
}

/// What one message meets among the subscriptions: one delivery, however many overlap (MQTT5 3.3.4-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) qos: QoS,
    pub(crate) identifiers: Vec<u32>,
}

/// A message as subscriptions see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) tx: &'a TxId,
    pub(crate) seq: Seq,
    pub(crate) author: Option<&'a PartyId>,
    pub(crate) qos: Qos,
    pub(crate) view: View<'a>,
}

/// All subscriptions of a session, by filter.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    party: PartyId,
    by_filter: BTreeMap<String, Subscription>,
}

impl Subscriptions {
    pub(crate) fn new(party: PartyId) -> Self {
        Self { party, by_filter: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_filter.len()
    }

    /// What they keep of a transaction that is no more.
    pub(crate) fn forget(&mut self, tx: &TxId) {
        for subscription in self.by_filter.values_mut() {
            subscription.record.starts.retain(|(of, _)| of != tx);
            subscription.record.backfilled_to.retain(|(of, _)| of != tx);
        }
    }

    /// Whether any of them hears logs of transactions.
    pub(crate) fn have_rooms(&self) -> bool {
        self.by_filter.values().any(|subscription| !subscription.filter.is_ordinary())
    }

    pub(crate) fn find(&self, filter: &str) -> Option<&Subscription> {
        self.by_filter.get(filter)
    }

    pub(crate) fn insert(&mut self, subscription: Subscription) {
        self.by_filter.insert(subscription.record.filter.clone(), subscription);
    }

    pub(crate) fn remove(&mut self, filter: &str) -> Option<Subscription> {
        self.by_filter.remove(filter)
    }

    pub(crate) fn records(&self) -> Vec<SubscriptionRecord> {
        self.by_filter.values().map(|subscription| subscription.record.clone()).collect()
    }

    /// Whether any subscription may meet messages of this transaction.
    pub(crate) fn cover(&self, tx: &TxId) -> bool {
        self.by_filter.values().any(|subscription| subscription.covers(tx, &self.party))
    }

    /// What a message meets on the cursor's way.
    pub(crate) fn meet(&self, candidate: Candidate<'_>) -> Option<Meeting> {
        let of_cursor = self.by_filter.values().filter(|it| !it.backfills(candidate.tx, candidate.seq));
        self.merge(of_cursor, candidate)
    }

    /// What a message meets of one subscription, as its backfill asks.
    pub(crate) fn meet_one(&self, filter: &str, candidate: Candidate<'_>) -> Option<Meeting> {
        self.merge(self.by_filter.get(filter).into_iter(), candidate)
    }

    /// The highest QoS of all that match, and all their identifiers (MQTT5 3.3.4-2, 3.3.4-3). Under `tx/` the
    /// publisher is a party, so No Local leaves out what the party itself said, on whichever connection.
    fn merge<'s>(&self, among: impl Iterator<Item = &'s Subscription>, candidate: Candidate<'_>) -> Option<Meeting> {
        let mut meeting: Option<Meeting> = None;
        for subscription in among {
            let own = candidate.author == Some(&self.party) && subscription.record.no_local;
            if own
                || !subscription.matches(candidate.view, &self.party)
                || subscription.starts_after(candidate.tx, candidate.seq)
            {
                continue;
            }
            let qos = subscription.effective_qos(candidate.qos);
            let merged = meeting.get_or_insert(Meeting { qos, identifiers: Vec::new() });
            merged.qos = merged.qos.max(qos);
            merged.identifiers.extend(subscription.record.identifier);
        }
        meeting
    }
}

/// Whether a message lies within what these ends of logs bound. Standings come in the order of their ids, and so the ends
/// stand.
fn is_within(ends: &[(TxId, Seq)], tx: &TxId, seq: Seq) -> bool {
    ends.binary_search_by(|(room, _)| room.cmp(tx)).is_ok_and(|place| seq <= ends[place].1)
}

pub(crate) fn to_wire(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}
