//! A session that hears ordinary topics, as the behaviours use it.

use std::time::Duration;

use bytes::Bytes;
use quorate_domain::{
    Agreement, CursorMoves, Delivery, InflightRecord, InflightStep, LogName, MessageProperties, Qos, Queued, Refusal,
    Seq, SessionExpiry, SessionKey, SessionRecord, SubscriptionRecord, UnackedRecord, UnixMs, Will,
};

use super::fixtures::{EVERYTHING, author, session, soon};
use crate::{Appended, Backbone, Mailbox, Publication, Start};

/// A connected session and what it subscribes to.
pub(super) struct Listener {
    backbone: Backbone,
    pub(super) key: SessionKey,
    pub(super) epoch: u64,
    pub(super) mailbox: Mailbox,
    expiry: SessionExpiry,
    subscriptions: Vec<SubscriptionRecord>,
}

/// A subscription at QoS 2 with nothing special about it.
pub(super) fn to(filter: &str) -> SubscriptionRecord {
    SubscriptionRecord::new(filter, 2)
}

/// A publish at QoS 1 by a party that has no session.
pub(super) fn says(from: &str, topic: &str, payload: &str) -> Publication {
    Publication {
        topic: topic.to_owned(),
        author: Some(author(from)),
        session: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: MessageProperties::default(),
        receipt: None,
    }
}

pub(super) async fn publish(backbone: &Backbone, publication: Publication) -> Result<Appended, Refusal> {
    soon(backbone.topics.publish(publication)).await
}

/// The same, and it is taken.
pub(super) async fn say(backbone: &Backbone, publication: Publication) {
    publish(backbone, publication).await.expect("the publish is taken");
}

impl Listener {
    /// A new session that outlives its connection.
    pub(super) async fn lasting(backbone: &Backbone, party: &str, filter: &str) -> Listener {
        let mut listener = Self::connect(backbone, party, Start::Clean, SessionExpiry::Never, None).await;
        listener.subscribe(to(filter), &[]).await;
        listener
    }

    /// A new session that ends with its connection.
    pub(super) async fn passing(backbone: &Backbone, party: &str, filter: &str) -> Listener {
        let mut listener = Self::connect(backbone, party, Start::Clean, SessionExpiry::AtDisconnect, None).await;
        listener.subscribe(to(filter), &[]).await;
        listener
    }

    pub(super) async fn connect(
        backbone: &Backbone,
        party: &str,
        start: Start,
        expiry: SessionExpiry,
        will: Option<Will>,
    ) -> Listener {
        let key = session(party, "listener");
        let mailbox = backbone.fanout.mailbox(&key);
        let agreement = Agreement { expiry, will };
        let taken = soon(backbone.sessions.take_over(&key, start, &agreement, UnixMs(1))).await.expect("taken over");
        let subscriptions = taken.stored.map(|stored| stored.record.subscriptions).unwrap_or_default();
        Listener { backbone: backbone.clone(), key, epoch: taken.epoch, mailbox, expiry, subscriptions }
    }

    /// The same session on another connection.
    pub(super) async fn come_back(backbone: &Backbone, party: &str) -> Listener {
        Self::connect(backbone, party, Start::Resume, SessionExpiry::Never, None).await
    }

    pub(super) async fn subscribe(&mut self, subscription: SubscriptionRecord, replay: &[&str]) {
        self.subscriptions.retain(|known| known.filter != subscription.filter);
        self.subscriptions.push(subscription);
        let replay: Vec<String> = replay.iter().map(|filter| (*filter).to_owned()).collect();
        self.save(None, &replay).await;
    }

    pub(super) async fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions.retain(|known| known.filter != filter);
        self.save(None, &[]).await;
    }

    async fn save(&self, disconnected_at: Option<UnixMs>, replay: &[String]) {
        let record = SessionRecord {
            expiry: self.expiry,
            disconnected_at,
            subscriptions: self.subscriptions.clone(),
            ..SessionRecord::default()
        };
        soon(self.backbone.sessions.save(&self.key, self.epoch, &record, replay)).await.expect("saved");
    }

    /// The connection ends; the session goes on, or not.
    pub(super) async fn leave(self) {
        drop(self.mailbox);
        if self.expiry == SessionExpiry::AtDisconnect {
            soon(self.backbone.sessions.remove(&self.key, self.epoch)).await.expect("removed");
        } else {
            let now = UnixMs(u64::MAX / 2);
            let record = SessionRecord {
                expiry: self.expiry,
                disconnected_at: Some(now),
                subscriptions: self.subscriptions.clone(),
                ..SessionRecord::default()
            };
            soon(self.backbone.sessions.save(&self.key, self.epoch, &record, &[])).await.expect("saved");
        }
    }

    /// The connection ended so long ago that the session is over, and nobody has taken it away yet. The session was to
    /// last for no time.
    pub(super) async fn expire(self) {
        assert_eq!(self.expiry, SessionExpiry::After(0));
        self.save(Some(UnixMs(1)), &[]).await;
    }

    /// What waits in the queue.
    pub(super) async fn queue(&self) -> Vec<Queued> {
        let page = self.backbone.topics.read_queue(&self.key, Seq::ZERO, EVERYTHING);
        soon(page).await.expect("the queue can be read").entries
    }

    /// The payloads of what waits in the queue.
    pub(super) async fn waiting(&self) -> Vec<String> {
        self.queue().await.iter().map(payload).collect()
    }

    /// Waits until so many messages wait in the queue, and gives their payloads.
    pub(super) async fn until_waiting(&self, count: usize) -> Vec<String> {
        let looking = async {
            loop {
                let waiting = self.waiting().await;
                if waiting.len() == count {
                    return waiting;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon(looking).await
    }

    pub(super) async fn dequeue(&self, seqs: &[Seq]) {
        let moves = CursorMoves { dequeued: seqs.to_vec(), ..CursorMoves::default() };
        soon(self.backbone.sessions.save_cursors(&self.key, self.epoch, &moves)).await.expect("stored");
    }

    /// A delivery of this queue is under way at QoS 2.
    pub(super) async fn hold(&self, queued: &Queued) {
        let delivery = UnackedRecord {
            packet_id: 1,
            log: LogName::Queue,
            seq: queued.seq,
            topic: queued.message.topic.clone(),
            backfill: None,
        };
        let records = [InflightRecord { delivery, step: InflightStep::Held }];
        soon(self.backbone.sessions.hold(&self.key, self.epoch, &records)).await.expect("held");
    }

    /// The next live copy.
    pub(super) async fn next(&mut self) -> Queued {
        match soon(self.mailbox.recv()).await {
            Delivery::Queued(queued) => *queued,
            other => panic!("a message of an ordinary topic was expected, not {other:?}"),
        }
    }
}

pub(super) fn payload(queued: &Queued) -> String {
    String::from_utf8_lossy(&queued.message.payload).into_owned()
}
