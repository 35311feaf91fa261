//! SUBSCRIBE and UNSUBSCRIBE: which filters are granted, and where a new subscription starts.

use bytestring::ByteString;
use quorate_domain::{
    CursorMoves, FilterClass, PartyFilter, PartyId, Refusal, Scope, Seq, Standing, SubscriptionRecord, TxId,
    classify_filter,
};
use quorate_wire::{
    Packet, PacketId, ReasonCode, ReasonProperties, RetainHandling, SubAck, Subscribe, SubscribeFilter, UnsubAck,
    Unsubscribe, Version,
};

use crate::answers::{reason_code, reason_properties, reason_string};
use crate::deliver::Comparison;
use crate::room::Room;
use crate::session::{Changes, Saving};
use crate::subscriptions::{Filter, Subscription};
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

/// A filter that may be granted.
#[derive(Debug)]
struct Asked {
    filter: Filter,
    /// Where the rights of transactions decide, which answer of the look-up is its own: filters of one scope share one.
    answer: Option<usize>,
}

impl Subscription {
    /// A stored subscription, if its filter is (still) one that this broker serves.
    pub(crate) fn restore(record: SubscriptionRecord) -> Option<Self> {
        let filter = read(&record.filter).ok()?;
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
        let filter = self.judge(filter)?;
        let answer = scope(&filter).map(|scope| {
            scopes.iter().position(|known| *known == scope).unwrap_or_else(|| {
                scopes.push(scope);
                scopes.len() - 1
            })
        });
        Ok(Asked { filter, answer })
    }

    /// What the filter alone decides.
    fn judge(&self, text: &str) -> Result<Filter, Refusal> {
        let party = &self.key.party;
        let filter = read(text)?;
        match &filter {
            Filter::Party(filter) => check_party_filter(filter, party)?,
            // Of a shared one, what is shared counts.
            Filter::Ordinary | Filter::Shared if !self.access.may_subscribe(party, shared_filter(text)) => {
                return Err(Refusal::NotAuthorized);
            }
            Filter::Tx(_) | Filter::Ordinary | Filter::Shared => {}
        }
        Ok(filter)
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
        let mut changes = Changes::default();
        let mut first_refusal = None;
        for Entry { record, judged } in subscribing.entries {
            let outcome = judged.and_then(|Asked { filter, answer }| {
                let answers = result.as_ref().map_err(|fault| Refusal::StorageFault(fault.0.clone()))?;
                match answer.map(|answer| answers.get(answer)) {
                    None => self.grant_ordinary(filter, record, &mut changes),
                    Some(Some(LookedUp::Standings(standings))) => self.grant(filter, record, standings, &mut changes),
                    Some(_) => Err(Refusal::NotAuthorized),
                }
            });
            reason_codes.push(outcome.unwrap_or_else(|refusal| {
                let code = suback_code(&refusal);
                first_refusal.get_or_insert(refusal);
                code
            }));
        }
        let reason = first_refusal.map(|refusal| reason_string(&refusal));
        self.answer_subscribe(subscribing.packet_id, reason_codes, reason, changes);
        self.pump();
    }

    /// In MQTT 3.1 a SUBACK cannot say no (MQTT3.1 3.9), so the connection does.
    fn answer_subscribe(
        &mut self,
        packet_id: PacketId,
        reason_codes: Vec<ReasonCode>,
        reason: Option<ByteString>,
        changes: Changes,
    ) {
        // What was said to the party while the look-up was under way met no subscription yet: heads are compared again.
        if !changes.added.is_empty() && self.subscriptions.have_rooms() {
            self.deliveries.want_standings(Comparison::Logs);
        }
        if self.version == Version::V3_1 && reason_codes.iter().any(|code| code.is_error()) {
            for filter in &changes.added {
                self.withdraw(filter);
            }
            return self.close(CloseCause::Refused(Refusal::NotAuthorized));
        }
        let nothing_granted = reason_codes.iter().all(|code| code.is_error());
        let properties = reason.map(|reason| reason_properties(reason, self.wants_reasons)).unwrap_or_default();
        let suback = Packet::SubAck(SubAck { packet_id, reason_codes, properties });
        if nothing_granted {
            self.send(suback);
        } else {
            self.save_then(suback, changes);
        }
    }

    fn grant(
        &mut self,
        filter: Filter,
        record: SubscriptionRecord,
        standings: &[Standing],
        changes: &mut Changes,
    ) -> Result<ReasonCode, Refusal> {
        let granted = granted(&record);
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
        changes.added.push(record.filter.clone());
        if record.retain_handling == RetainHandling::DoNotSend as u8 {
            self.start_at_heads(filter, record, standings);
        } else {
            self.start_at_beginnings(filter, record, standings);
        }
        Ok(granted)
    }

    /// A filter over ordinary topics: the backbone routes by it once the session is saved, and brings what is retained
    /// (MQTT5 3.8.4); not to a shared one (MQTT5 4.8.2).
    fn grant_ordinary(
        &mut self,
        filter: Filter,
        record: SubscriptionRecord,
        changes: &mut Changes,
    ) -> Result<ReasonCode, Refusal> {
        let is_new = self.subscriptions.find(&record.filter).is_none();
        if is_new && self.subscriptions.len() >= self.limits.subscriptions_max {
            return Err(self.too_many_subscriptions());
        }
        let wants_retained = record.retain_handling == RetainHandling::SendAtSubscribe as u8
            || (is_new && record.retain_handling != RetainHandling::DoNotSend as u8);
        if wants_retained && matches!(filter, Filter::Ordinary) {
            changes.replay.push(record.filter.clone());
        }
        if is_new {
            changes.added.push(record.filter.clone());
        }
        changes.ordinary = true;
        let granted = granted(&record);
        self.subscriptions.insert(Subscription { filter, record });
        Ok(granted)
    }

    /// Retain Handling 0 and 1, and all of 3.x: the subscription hears all that was ever said.
    fn start_at_beginnings(&mut self, filter: Filter, mut record: SubscriptionRecord, standings: &[Standing]) {
        for standing in standings {
            let room = self.rooms.entry(standing.tx.clone()).or_default();
            let backfilled_to = room.begin_backfill(&record.filter, self.window.left_to(&standing.tx));
            record.backfilled_to.extend(backfilled_to.map(|until| (standing.tx.clone(), until)));
            if standing.last_addressed > room.position() {
                room.fall_behind(standing.last_addressed);
            }
            self.deliveries.enqueue_room(&standing.tx);
        }
        self.subscriptions.insert(Subscription { filter, record });
        self.forget_states(standings);
        self.want_states(standings);
    }

    /// Retain Handling 2: it hears what is said from now on.
    fn start_at_heads(&mut self, filter: Filter, record: SubscriptionRecord, standings: &[Standing]) {
        let starts: Vec<(TxId, Seq)> = standings.iter().map(|standing| (standing.tx.clone(), standing.head)).collect();
        for standing in standings {
            // Where an older subscription covers the transaction too, its past is still owed to that one.
            if self.subscriptions.cover(&standing.tx) {
                self.rooms.entry(standing.tx.clone()).or_default().fall_behind(standing.last_addressed);
                self.deliveries.enqueue_room(&standing.tx);
            } else {
                self.rooms.entry(standing.tx.clone()).or_insert_with(|| Room::at(standing.head));
            }
        }
        self.subscriptions.insert(Subscription { filter, record: SubscriptionRecord { starts, ..record } });
    }

    pub(crate) fn handle_unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let is_ordinary = |filter: &str| self.subscriptions.find(filter).is_some_and(|it| it.filter.is_ordinary());
        let ordinary = unsubscribe.filters.iter().any(|filter| is_ordinary(filter));
        let reason_codes: Vec<ReasonCode> = unsubscribe.filters.iter().map(|filter| self.withdraw(filter)).collect();
        self.forget_uncovered_rooms();
        // What is complete of them is settled with them: a later subscription to the same hears it anew.
        self.save_cursors();
        let reason_codes = if self.version == Version::V5 { reason_codes } else { Vec::new() };
        let unsuback =
            UnsubAck { packet_id: unsubscribe.packet_id, reason_codes, properties: ReasonProperties::default() };
        self.save_then(Packet::UnsubAck(unsuback), Changes { ordinary, ..Changes::default() });
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

/// What kind of filter it is.
fn read(filter: &str) -> Result<Filter, Refusal> {
    match classify_filter(filter).map_err(|error| Refusal::TopicInvalid(error.to_string()))? {
        FilterClass::Tx(filter) => Ok(Filter::Tx(filter)),
        FilterClass::Party(filter) => Ok(Filter::Party(filter)),
        FilterClass::Shared { reserved: true, .. } => Err(Refusal::SharedNotSupported),
        FilterClass::Shared { .. } => Ok(Filter::Shared),
        FilterClass::Ordinary(_) => Ok(Filter::Ordinary),
    }
}

fn check_party_filter(filter: &PartyFilter, party: &PartyId) -> Result<(), Refusal> {
    if filter.names().is_some_and(|named| named != party) {
        return Err(Refusal::NotAuthorized);
    }
    if !filter.matches_inbox(party) {
        return Err(Refusal::Unsupported("presence is told over HTTP in this version".to_owned()));
    }
    Ok(())
}

/// What is shared by `$share/{group}/{filter}`; any other filter is its own.
fn shared_filter(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

/// What has to be looked up for a filter: nothing where the rules for ordinary topics decide.
fn scope(filter: &Filter) -> Option<Scope> {
    match filter {
        Filter::Tx(filter) => Some(filter.scope().clone()),
        Filter::Party(_) => Some(Scope::All),
        Filter::Ordinary | Filter::Shared => None,
    }
}

fn granted(record: &SubscriptionRecord) -> ReasonCode {
    match record.qos {
        0 => ReasonCode::Success,
        1 => ReasonCode::GrantedQoS1,
        _ => ReasonCode::GrantedQoS2,
    }
}

fn to_record(filter: SubscribeFilter, identifier: Option<u32>) -> SubscriptionRecord {
    SubscriptionRecord {
        no_local: filter.no_local,
        retain_as_published: filter.retain_as_published,
        retain_handling: filter.retain_handling as u8,
        identifier,
        ..SubscriptionRecord::new(filter.filter.to_string(), filter.qos as u8)
    }
}

fn suback_code(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::TopicInvalid(_) => ReasonCode::TopicFilterInvalid,
        other => reason_code(other),
    }
}
