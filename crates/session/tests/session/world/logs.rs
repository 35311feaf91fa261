//! Logs in memory, whose `Seq` advances by 7.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_domain::*;

use super::tx_id;

/// Sequence numbers advance by this, so that nothing comes to rely on numbers without gaps.
const SEQ_STEP: u64 = 7;

/// One record of a log, with those who may hear it.
pub struct Record {
    pub message: Arc<LogMessage>,
    pub addressees: Vec<(PartyId, Seq)>,
}

/// One log, with the parties that its transaction lists.
#[derive(Default)]
pub struct Log {
    pub parties: Vec<PartyId>,
    pub records: Vec<Record>,
    pub closed: bool,
}

impl Log {
    pub fn head(&self) -> Seq {
        self.records.last().map_or(Seq::ZERO, |record| record.message.seq)
    }

    pub fn last_addressed(&self, party: &PartyId) -> Seq {
        self.records
            .iter()
            .rev()
            .find(|record| record.addressees.iter().any(|(to, _)| to == party))
            .map_or(Seq::ZERO, |record| record.message.seq)
    }
}

/// All logs.
#[derive(Default)]
pub struct Logs(pub BTreeMap<TxId, Log>);

impl Logs {
    /// Creates a transaction, with its manifest as the first record.
    pub fn create(&mut self, number: usize, parties: &[PartyId]) -> TxId {
        let tx = tx_id(number);
        self.0.insert(tx.clone(), Log { parties: parties.to_vec(), ..Log::default() });
        let names: Vec<&str> = parties.iter().map(|party| party.as_str()).collect();
        let manifest = serde_json::json!({
            "tx": tx, "initiator": names[0], "protocol": "test", "parties": names, "threshold": 2,
        });
        self.append(&tx, &parties[0].clone(), Place::Manifest, manifest.to_string().into());
        tx
    }

    /// Appends as the committer would: who hears it is the domain's rule, in short.
    pub fn append(&mut self, tx: &TxId, from: &PartyId, place: Place, payload: Bytes) -> Seq {
        self.append_at(Qos::ExactlyOnce, tx, from, place, payload)
    }

    pub fn append_at(&mut self, qos: Qos, tx: &TxId, from: &PartyId, place: Place, payload: Bytes) -> Seq {
        let log = self.0.get_mut(tx).unwrap();
        let seq = Seq(log.head().0 + SEQ_STEP);
        let hears = |party: &PartyId| !matches!(&place, Place::P2p { to, .. } if to != party);
        let addressees = log.parties.iter().filter(|p| hears(p)).map(|p| (p.clone(), log.last_addressed(p))).collect();
        let message = LogMessage {
            seq,
            at: UnixMs(1_000 + seq.0),
            topic: TxTopic { tx: tx.clone(), place },
            from: Some(Author { party: from.clone(), certificate: Sha256([7; 32]) }),
            qos,
            properties: MessageProperties::default(),
            payload,
        };
        log.records.push(Record { message: Arc::new(message), addressees });
        seq
    }

    /// The live copy of a record for a party.
    pub fn live_copy(&self, tx: &TxId, seq: Seq, party: &PartyId) -> Option<Delivery> {
        let record = self.0[tx].records.iter().find(|record| record.message.seq == seq)?;
        let (_, prev) = record.addressees.iter().find(|(to, _)| to == party)?;
        Some(Delivery::Log(Addressed { message: record.message.clone(), prev: *prev }))
    }

    pub fn page(&self, tx: &TxId, party: &PartyId, after: Seq, messages_max: usize) -> LogPage {
        let log = &self.0[tx];
        let mut page = LogPage { messages: Vec::new(), scanned_to: after, head: log.head() };
        for record in log.records.iter().filter(|record| record.message.seq > after) {
            if page.messages.len() == messages_max {
                return page;
            }
            page.scanned_to = record.message.seq;
            if let Some((_, prev)) = record.addressees.iter().find(|(to, _)| to == party) {
                page.messages.push(Addressed { message: record.message.clone(), prev: *prev });
            }
        }
        page.scanned_to = log.head();
        page
    }

    pub fn standing(&self, tx: &TxId, party: &PartyId) -> Option<Standing> {
        let log = self.0.get(tx)?;
        log.parties.contains(party).then(|| Standing {
            tx: tx.clone(),
            state: if log.closed { TxState::Completed } else { TxState::Open },
            last_addressed: log.last_addressed(party),
            head: log.head(),
        })
    }

    pub fn standings(&self, party: &PartyId) -> Vec<Standing> {
        self.0.keys().filter_map(|tx| self.standing(tx, party)).collect()
    }
}
