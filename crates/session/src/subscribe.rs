//! SUBSCRIBE and UNSUBSCRIBE: which filters are granted, and where a new subscription starts.

use quorate_domain::{
    CursorMoves, FilterClass, Refusal, Scope, Seq, Standing, SubscriptionRecord, TxId, classify_filter,
};
use quorate_wire::{
    Packet, PacketId, ReasonCode, ReasonProperties, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, Version,
};

use crate::answers::reason_code;
use crate::deliver::Comparison;
use crate::room::Room;
use crate::session::Saving;
use crate::subscriptions::{RoomFilter, Subscription};
use crate::{CloseCause, Effect, Fault, LookedUp, Session};

/// A SUBSCRIBE that waits for its look-up. Meanwhile no further packet is read.
#[derive(Debug)]
pub(crate) struct Subscribing {
    packet_id: PacketId,
    entries: Vec<Entry>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
struct Entry {
    record: SubscriptionRecord,
    judged: Result<Asked, Refusal>,
}

/// A filter that the rights of transactions decide.
#[derive(Debug)]
struct Asked {
    filter: RoomFilter,
    /// Which answer of the look-up is its own: filters of one scope share one.
    answer: usize,
}

impl Subscription {
    /// A stored subscription, if its filter is (still) one that this broker serves.
    pub(crate) fn restore(record: SubscriptionRecord) -> Option<Self> {
        let filter = judge(&record.filter, None).ok()?;
        Some(Self { filter, record })
    }
}

impl Session {
    pub(crate) fn handle_subscribe(&mut self, subscribe: Subscribe) {
        let mut scopes = Vec::new();
        let mut entries = Vec::with_capacity(subscribe.filters.len());
        for (place, filter) in subscribe.filters.into_iter().enumerate() {
            let judged = self.judge_entry(place, &filter.filter, &mut scopes);
            entries.push(Entry { judged, record: to_record(filter, subscribe.subscription_identifier) });
        }
        let nothing_to_look_up = scopes.is_empty();
        self.subscribing = Some(Subscribing { packet_id: subscribe.packet_id, entries });
        if nothing_to_look_up {
            self.handle_looked_up(Ok(Vec::new()));
        } else {
            self.emit(Effect::LookUp { scopes });
        }
    }

    /// What a filter decides by itself, and which scope has to be looked up for the rest. A packet may hold any number of
    /// filters; of those beyond the bound none is looked up.
    fn judge_entry(&self, place: usize, filter: &str, scopes: &mut Vec<Scope>) -> Result<Asked, Refusal> {
        if place >= self.limits.subscriptions_max {
            return Err(self.too_many_subscriptions());
        }
        let filter = judge(filter, Some(&self.key.party))?;
        let scope = scope(&filter);
        let answer = scopes.iter().position(|known| *known == scope).unwrap_or_else(|| {
            scopes.push(scope);
            scopes.len() - 1
        });
        Ok(Asked { filter, answer })
    }

    fn too_many_subscriptions(&self) -> Refusal {
        Refusal::QuotaExceeded(format!("a session has at most {} subscriptions", self.limits.subscriptions_max))
    }

    /// The answer to [`Effect::LookUp`]: one a scope, in order.
    pub fn handle_looked_up(&mut self, result: Result<Vec<LookedUp>, Fault>) {
        let Some(subscribing) = self.subscribing.take() else { return };
        if !self.is_open() {
            return;
        }
        let mut reason_codes = Vec::with_capacity(subscribing.entries.len());
        let mut added = Vec::new();
        for Entry { record, judged } in subscribing.entries {
            let outcome = judged.and_then(|Asked { filter, answer }| {
                let answers = result.as_ref().map_err(|fault| Refusal::StorageFault(fault.0.clone()))?;
                let Some(LookedUp::Standings(standings)) = answers.get(answer) else {
                    return Err(Refusal::NotAuthorized);
                };
                self.grant(filter, record, standings, &mut added)
            });
            reason_codes.push(outcome.unwrap_or_else(|refusal| suback_code(&refusal)));
        }
        self.answer_subscribe(subscribing.packet_id, reason_codes, added);
        self.pump();
    }

    /// In MQTT 3.1 a SUBACK cannot say no (MQTT3.1 3.9), so the connection does.
    fn answer_subscribe(&mut self, packet_id: PacketId, reason_codes: Vec<ReasonCode>, added: Vec<String>) {
        // What was said to the party while the look-up was under way met no subscription yet: heads are compared again.
        if !added.is_empty() {
            self.deliveries.want_standings(Comparison::Logs);
        }
        if self.version == Version::V3_1 && reason_codes.iter().any(|code| code.is_error()) {
            for filter in &added {
                self.withdraw(filter);
            }
            return self.close(CloseCause::Refused(Refusal::NotAuthorized));
        }
        let nothing_granted = reason_codes.iter().all(|code| code.is_error());
        let suback = Packet::SubAck(SubAck { packet_id, reason_codes, properties: ReasonProperties::default() });
        if nothing_granted {
            self.send(suback);
        } else {
            self.save_then(suback, added);
        }
    }

    fn grant(
        &mut self,
        filter: RoomFilter,
        record: SubscriptionRecord,
        standings: &[Standing],
        added: &mut Vec<String>,
    ) -> Result<ReasonCode, Refusal> {
        let granted = match record.qos {
            0 => ReasonCode::Success,
            1 => ReasonCode::GrantedQoS1,
            _ => ReasonCode::GrantedQoS2,
        };
        if let Some(existing) = self.subscriptions.find(&record.filter) {
            let SubscriptionRecord { starts, backfilled_to, .. } = existing.record.clone();
            let sends_state = record.retain_handling == RetainHandling::SendAtSubscribe as u8;
            let record = SubscriptionRecord { starts, backfilled_to, ..record };
            self.subscriptions.insert(Subscription { filter, record });
            if sends_state {
                self.forget_states(standings);
                self.want_states(standings);
            }
            return Ok(granted);
        }
        if self.subscriptions.len() >= self.limits.subscriptions_max {
            return Err(self.too_many_subscriptions());
        }
        added.push(record.filter.clone());
        if record.retain_handling == RetainHandling::DoNotSend as u8 {
            self.start_at_heads(filter, record, standings);
        } else {
            self.start_at_beginnings(filter, record, standings);
        }
        Ok(granted)
    }

    /// Retain Handling 0 and 1, and all of 3.x: the subscription hears all that was ever said.
    fn start_at_beginnings(&mut self, filter: RoomFilter, mut record: SubscriptionRecord, standings: &[Standing]) {
        for standing in standings {
            let room = self.rooms.entry(standing.tx.clone()).or_default();
            let backfilled_to = room.begin_backfill(&record.filter, self.window.left_to(&standing.tx));
            record.backfilled_to.extend(backfilled_to.map(|until| (standing.tx.clone(), until)));
            if standing.last_addressed > room.position() {
                room.fall_behind(standing.last_addressed);
            }
            self.deliveries.enqueue(&standing.tx);
        }
        self.subscriptions.insert(Subscription { filter, record });
        self.forget_states(standings);
        self.want_states(standings);
    }

    /// Retain Handling 2: it hears what is said from now on.
    fn start_at_heads(&mut self, filter: RoomFilter, record: SubscriptionRecord, standings: &[Standing]) {
        let starts: Vec<(TxId, Seq)> = standings.iter().map(|standing| (standing.tx.clone(), standing.head)).collect();
        for standing in standings {
            // Where an older subscription covers the transaction too, its past is still owed to that one.
            if self.subscriptions.cover(&standing.tx) {
                self.rooms.entry(standing.tx.clone()).or_default().fall_behind(standing.last_addressed);
                self.deliveries.enqueue(&standing.tx);
            } else {
                self.rooms.entry(standing.tx.clone()).or_insert_with(|| Room::at(standing.head));
            }
        }
        self.subscriptions.insert(Subscription { filter, record: SubscriptionRecord { starts, ..record } });
    }

    pub(crate) fn handle_unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let reason_codes: Vec<ReasonCode> = unsubscribe.filters.iter().map(|filter| self.withdraw(filter)).collect();
        self.forget_uncovered_rooms();
        // What is complete of them is settled with them: a later subscription to the same hears it anew.
        self.save_cursors();
        let reason_codes = if self.version == Version::V5 { reason_codes } else { Vec::new() };
        let unsuback =
            UnsubAck { packet_id: unsubscribe.packet_id, reason_codes, properties: ReasonProperties::default() };
        self.save_then(Packet::UnsubAck(unsuback), Vec::new());
    }

    fn withdraw(&mut self, filter: &str) -> ReasonCode {
        if self.subscriptions.remove(filter).is_none() {
            return ReasonCode::NoSubscriptionExisted;
        }
        for room in self.rooms.values_mut() {
            room.end_backfill(filter);
        }
        ReasonCode::Success
    }

    /// A room that no subscription covers any more is forgotten with its cursor: whoever subscribes again hears all.
    fn forget_uncovered_rooms(&mut self) {
        let subscriptions = &self.subscriptions;
        let forgotten: Vec<TxId> = self.rooms.keys().filter(|tx| !subscriptions.cover(tx)).cloned().collect();
        for tx in &forgotten {
            self.rooms.remove(tx);
            self.window.forget(tx);
        }
        if !forgotten.is_empty() && self.is_durable() {
            let cursors = forgotten.into_iter().map(|tx| (tx, None)).collect();
            self.emit(Effect::SaveCursors(CursorMoves { cursors, ..CursorMoves::default() }));
        }
    }

    /// The store did not take the session: what the client would have been told is not true.
    pub(crate) fn handle_save_failed(&mut self, saving: Saving, fault: Fault) {
        for filter in &saving.added {
            self.withdraw(filter);
        }
        self.goodbye(ReasonCode::UnspecifiedError, "storage fault, retry later");
        self.close(CloseCause::Fault(fault.0));
    }
}

/// What the filter alone decides. `party`: whose session it is; `None` for one that was granted before.
fn judge(filter: &str, party: Option<&quorate_domain::PartyId>) -> Result<RoomFilter, Refusal> {
    match classify_filter(filter).map_err(|error| Refusal::TopicInvalid(error.to_string()))? {
        FilterClass::Tx(filter) => Ok(RoomFilter::Tx(filter)),
        FilterClass::Party(filter) => {
            let Some(party) = party else { return Ok(RoomFilter::Party(filter)) };
            if filter.names().is_some_and(|named| named != party) {
                return Err(Refusal::NotAuthorized);
            }
            if !filter.matches_inbox(party) {
                return Err(Refusal::Unsupported("presence is told over HTTP in this version".to_owned()));
            }
            Ok(RoomFilter::Party(filter))
        }
        FilterClass::Shared { .. } => Err(Refusal::SharedNotSupported),
        // Ordinary topics are allowed by rules alone, and there are none yet.
        FilterClass::Ordinary(_) => Err(Refusal::NotAuthorized),
    }
}

fn scope(filter: &RoomFilter) -> Scope {
    match filter {
        RoomFilter::Tx(filter) => filter.scope().clone(),
        RoomFilter::Party(_) => Scope::All,
    }
}

fn to_record(filter: SubscribeFilter, identifier: Option<u32>) -> SubscriptionRecord {
    SubscriptionRecord {
        filter: filter.filter.to_string(),
        qos: filter.qos as u8,
        no_local: filter.no_local,
        retain_as_published: filter.retain_as_published,
        retain_handling: filter.retain_handling as u8,
        identifier,
        starts: Vec::new(),
        backfilled_to: Vec::new(),
    }
}

fn suback_code(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::TopicInvalid(_) => ReasonCode::TopicFilterInvalid,
        other => reason_code(other),
    }
}
