//! One message on its way to the client: the views in which it appears, what it meets among the subscriptions, its place
//! in the window, and its PUBLISH.

use bytes::Bytes;
use bytestring::ByteString;
use quorate_domain::{
    Addressed, Lifetime, LogMessage, LogName, Manifest, MessageProperties, PartyTopic, Place, Qos, Seq, Sha256, TxId,
    TxTopic, UnixMs,
};
use quorate_wire::{Packet, PacketId, Publish, PublishProperties, QoS, UserProperties, encoded_len};

use crate::subscriptions::{Candidate, Meeting, View};
use crate::window::{Item, Past, Way};
use crate::{Effect, Session};

/// Whether a message went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Sent, or nothing to send.
    Done,
    /// Larger than the client takes: left out.
    LeftOut,
    /// The window is full.
    Blocked,
}

impl Session {
    /// Sends one log record in the views that subscriptions meet. `backfill`: for that subscription alone.
    pub(crate) fn pass(&mut self, addressed: &Addressed, backfill: Option<&str>) -> Passage {
        let message = &*addressed.message;
        let (tx, seq) = (&message.topic.tx, message.seq);
        let half_sent = self.rooms.get(tx).is_some_and(|room| room.is_half_sent(seq, backfill));
        if !half_sent && self.pass_view(addressed, View::Log(&message.topic), backfill) == Passage::Blocked {
            return Passage::Blocked;
        }
        if message.topic.place == Place::Manifest
            && self.is_invited(message)
            && self.pass_view(addressed, View::Inbox, backfill) == Passage::Blocked
        {
            if let Some(room) = self.rooms.get_mut(tx) {
                room.sent_half(seq, backfill);
            }
            return Passage::Blocked;
        }
        if message.topic.place == Place::State
            && let Some(room) = self.rooms.get_mut(tx)
        {
            room.closed = true;
        }
        Passage::Done
    }

    /// Whether a manifest lists this party: an initiator that is none of the parties hears it, but is not invited.
    fn is_invited(&self, manifest: &LogMessage) -> bool {
        // The deadline was judged when it was accepted.
        Manifest::parse(&manifest.payload, UnixMs(0)).is_ok_and(|manifest| manifest.parties.contains(&self.key.party))
    }

    fn pass_view(&mut self, addressed: &Addressed, view: View<'_>, backfill: Option<&str>) -> Passage {
        let message = &*addressed.message;
        let candidate = Candidate {
            tx: &message.topic.tx,
            seq: message.seq,
            author: message.from.as_ref().map(|author| &author.party),
            qos: message.qos,
            view,
        };
        let meeting = match backfill {
            None => self.subscriptions.meet(candidate),
            Some(filter) => self.subscriptions.meet_one(filter, candidate),
        };
        let Some(meeting) = meeting else { return Passage::Done };
        let topic = match view {
            View::Log(topic) => topic.to_string(),
            View::Inbox => PartyTopic::Inbox(self.key.party.clone()).to_string(),
        };
        let way = backfill.map_or(Way::Cursor, |filter| Way::Backfill(filter.to_owned()));
        let item = Item { log: LogName::Tx(message.topic.tx.clone()), seq: message.seq, topic: topic.clone(), way };
        let Some(left_s) = self.left_of(&item, &message.properties, message.at) else { return Passage::Done };
        let mut properties = outgoing(&message.properties, meeting.identifiers);
        properties.message_expiry_interval_s = left_s;
        properties.user_properties.extend(provenance(addressed));
        self.transmit(publish(topic, meeting.qos, properties, message.payload.clone()), item)
    }

    /// What a delivery says of its expiry, which may be nothing. `None`: its lifetime is over, and it is not to be begun any
    /// more (MQTT5 3.3.2-5); one that was begun is completed all the same (MQTT5 4.4.0-1), with nothing left.
    pub(crate) fn left_of(&self, item: &Item, properties: &MessageProperties, at: UnixMs) -> Option<Option<u32>> {
        match properties.lifetime(at, self.wall_clock()) {
            Lifetime::Unbounded => Some(None),
            Lifetime::Left(left_s) => Some(Some(left_s)),
            Lifetime::Over if self.window.past(item) == Past::None => None,
            Lifetime::Over => Some(Some(0)),
        }
    }

    /// What the interim state of this transaction meets.
    pub(crate) fn state_meeting(&self, tx: &TxId) -> Option<Meeting> {
        let topic = TxTopic { tx: tx.clone(), place: Place::State };
        self.subscriptions.meet(Candidate {
            tx,
            // Latest only: where a subscription starts in the log does not matter, so the highest number stands in.
            seq: Seq(u64::MAX),
            author: None,
            // It is no record, so it could not be found again to be sent under the same identifier.
            qos: Qos::AtLeastOnce,
            view: View::Log(&topic),
        })
    }

    /// Sends the interim state, unless the final one or the very same went out before.
    pub(crate) fn send_state(&mut self, tx: &TxId, seq: Seq, document: Bytes) {
        let digest = Sha256::of(&document);
        let meeting = self.state_meeting(tx);
        let room = self.rooms.entry(tx.clone()).or_default();
        room.state_wanted = false;
        let Some(meeting) = meeting else { return };
        if room.closed || room.state_sent == Some(digest) {
            return;
        }
        let topic = TxTopic { tx: tx.clone(), place: Place::State }.to_string();
        let mut properties = outgoing(&MessageProperties::default(), meeting.identifiers);
        properties.user_properties.push(numbered("quorate-seq", seq.0));
        let item = Item { log: LogName::Tx(tx.clone()), seq, topic: topic.clone(), way: Way::State };
        let passage = self.transmit(publish(topic, meeting.qos, properties, document), item);
        let Some(room) = self.rooms.get_mut(tx) else { return };
        match passage {
            Passage::Done | Passage::LeftOut => room.state_sent = Some(digest),
            Passage::Blocked => {
                room.state_wanted = true;
                self.deliveries.enqueue_room(tx);
            }
        }
    }

    /// Sends one PUBLISH through the window. One that is larger than the client takes is left out (MQTT5 3.1.2-25).
    pub(crate) fn transmit(&mut self, mut publish: Publish, item: Item) -> Passage {
        match self.window.past(&item) {
            Past::None => {}
            // The handshake that was begun goes on, whatever the subscription says by now.
            Past::Sent(qos) => publish.qos = qos,
            Past::Received => return Passage::Done,
        }
        if publish.qos > QoS::AtMostOnce {
            // Any identifier has the same length; the true one is known once the window admits it.
            publish.packet_id = Some(PacketId::MIN);
        }
        let packet = Packet::Publish(Box::new(publish));
        if let Some(bytes_max) = self.packet_bytes_max
            && encoded_len(&packet, self.version).is_ok_and(|bytes| bytes > bytes_max as usize)
        {
            self.emit(Effect::LeftOut { topic: item.topic });
            return Passage::LeftOut;
        }
        let Packet::Publish(mut publish) = packet else { return Passage::Done };
        if publish.qos > QoS::AtMostOnce {
            let Some(admission) = self.window.admit(item.clone(), publish.qos) else { return Passage::Blocked };
            publish.packet_id = Some(admission.packet_id);
            publish.dup = admission.dup;
            self.mark_sent(&item);
        }
        self.dispatch(publish);
        Passage::Done
    }

    fn mark_sent(&mut self, item: &Item) {
        let LogName::Tx(tx) = &item.log else { return };
        let Some(room) = self.rooms.get_mut(tx) else { return };
        match &item.way {
            Way::Cursor => room.sent(item.seq, None),
            Way::Backfill(filter) => room.sent(item.seq, Some(filter)),
            Way::State | Way::Queue => {}
        }
    }

    /// A delivery is done: the mark of its way may move.
    pub(crate) fn acknowledged(&mut self, item: &Item) {
        let LogName::Tx(tx) = &item.log else { return self.dequeue(item.seq) };
        let backfill = match &item.way {
            Way::State | Way::Queue => return,
            Way::Cursor => None,
            Way::Backfill(filter) => Some(filter.as_str()),
        };
        if let Some(room) = self.rooms.get_mut(tx) {
            room.acknowledged(item.seq, backfill);
            self.cursors_moved();
        }
    }
}

fn publish(topic: String, qos: QoS, properties: PublishProperties, payload: Bytes) -> Publish {
    Publish { dup: false, qos, retain: false, topic: topic.into(), packet_id: None, properties, payload }
}

pub(crate) fn outgoing(properties: &MessageProperties, subscription_identifiers: Vec<u32>) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.payload_format_indicator,
        response_topic: properties.response_topic.as_deref().map(ByteString::from),
        correlation_data: properties.correlation_data.clone(),
        user_properties: properties
            .user_properties
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
            .collect(),
        content_type: properties.content_type.as_deref().map(ByteString::from),
        subscription_identifiers,
        ..PublishProperties::default()
    }
}

/// Who said it, with which certificate, where it stands in the log: what the broker vouches for.
fn provenance(addressed: &Addressed) -> UserProperties {
    let message = &addressed.message;
    let mut properties = UserProperties::new();
    if let Some(author) = &message.from {
        properties.push((ByteString::from_static("quorate-from"), author.party.as_str().into()));
        properties.push((ByteString::from_static("quorate-cert"), author.certificate.to_string().into()));
    }
    properties.push(numbered("quorate-seq", message.seq.0));
    properties.push(numbered("quorate-prev", addressed.prev.0));
    properties.push(numbered("quorate-at", message.at.0));
    properties
}

fn numbered(name: &'static str, value: u64) -> (ByteString, ByteString) {
    (ByteString::from_static(name), value.to_string().into())
}
