//! A listening client that keeps to the letter of MQTT: one durable session, subscribed once; a QoS 2 message that it has
//! received and that was not released is the same message when it comes again.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_wire::{Packet, PacketId, Publish, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, Version};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::ground::{BETWEEN_ATTEMPTS, Ground};
use super::line::{Door, Greeting, Line, ack, broken};
use super::model::{EarId, Heard};

/// A lazy listener acknowledges when so many have come, or nothing more comes.
const LAZY_ACKS: usize = 9;
const SILENCE: Duration = Duration::from_millis(15);

/// What is subscribed to, and whether that is granted.
#[derive(Debug, Clone)]
pub struct Wish {
    pub filter: String,
    pub is_granted: bool,
}

/// How it listens.
#[derive(Debug, Clone)]
pub struct Manner {
    pub greeting: Greeting,
    pub qos: QoS,
    pub wishes: Vec<Wish>,
    /// Whether it subscribes on each connection: who is not heard tries again.
    pub insists: bool,
    pub is_lazy: bool,
}

pub struct Listener {
    pub ground: Arc<Ground>,
    pub ear: EarId,
    pub door: Door,
    pub manner: Manner,
    /// Whether it is to be connected.
    pub presence: watch::Receiver<bool>,
    /// Told once it has subscribed.
    pub ready: Option<oneshot::Sender<()>>,
    pub memory: Memory,
}

/// What it knows of its session.
#[derive(Default)]
pub struct Memory {
    is_known: bool,
    is_subscribed: bool,
    /// Received at QoS 2, not released.
    received: HashMap<PacketId, Bytes>,
    /// Lazy acknowledgements.
    held: Vec<Packet>,
}

impl Listener {
    /// Listens, over every loss of its connection, until nobody tells it any more whether it is to be there.
    pub async fn run(mut self) {
        while self.presence.wait_for(|is_here| *is_here).await.is_ok() {
            let mut greeting = self.manner.greeting.clone();
            greeting.clean_start = !self.memory.is_known && greeting.version == Version::V5;
            // The broker may be in the middle of being killed: what a connection ends with says nothing.
            if let Ok((line, session_present)) = Line::open(&self.door, &greeting).await {
                self.begin(session_present);
                let _ = self.listen(line).await;
            }
            if self.presence.has_changed().is_err() {
                return;
            }
            sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    fn begin(&mut self, session_present: bool) {
        let mut model = self.ground.model();
        model.connects(self.ear);
        if session_present != self.memory.is_known {
            let (client, known) = (&self.manner.greeting.client_id, self.memory.is_known);
            model.fault(format!("{client}: session present {session_present}, known {known}"));
        }
        self.memory.is_known = true;
        self.memory.held.clear();
    }

    async fn listen(&mut self, mut line: Line) -> io::Result<()> {
        if self.manner.insists || !self.memory.is_subscribed {
            line.queue(&self.subscribe());
            line.flush().await?;
        }
        loop {
            if !*self.presence.borrow_and_update() {
                return line.close().await;
            }
            tokio::select! {
                packet = line.packet() => self.take(packet?, &mut line)?,
                () = sleep(SILENCE), if !self.memory.held.is_empty() => self.acknowledge_held(&mut line),
                changed = self.presence.changed() => if changed.is_err() {
                    return line.close().await;
                },
            }
            line.flush().await?;
        }
    }

    fn subscribe(&self) -> Packet {
        let filter = |wish: &Wish| SubscribeFilter {
            filter: wish.filter.as_str().into(),
            qos: self.manner.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            subscription_identifier: None,
            user_properties: Vec::new(),
            filters: self.manner.wishes.iter().map(filter).collect(),
        })
    }

    fn take(&mut self, packet: Packet, line: &mut Line) -> io::Result<()> {
        match packet {
            Packet::Publish(publish) => self.take_publish(&publish, line),
            Packet::PubRel(release) => {
                self.memory.received.remove(&release.packet_id);
                line.queue(&Packet::PubComp(ack(release.packet_id)));
            }
            Packet::SubAck(suback) => self.take_answers(&suback.reason_codes),
            other => return Err(broken(&format!("{other:?}"))),
        }
        Ok(())
    }

    fn take_publish(&mut self, publish: &Publish, line: &mut Line) {
        let Some(packet_id) = publish.packet_id else { return self.hear(publish) };
        let answer = match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(ack(packet_id)),
            _ => Packet::PubAck(ack(packet_id)),
        };
        match self.memory.received.get(&packet_id) {
            None => self.hear(publish),
            Some(payload) if publish.qos == QoS::ExactlyOnce && publish.dup && *payload == publish.payload => {}
            Some(_) => {
                let client = &self.manner.greeting.client_id;
                let (topic, dup) = (&publish.topic, publish.dup);
                let fault = format!("{client}: {packet_id} is in use, and came on {topic} with DUP {dup}");
                self.ground.model().fault(fault);
            }
        }
        if publish.qos == QoS::ExactlyOnce {
            self.memory.received.insert(packet_id, publish.payload.clone());
        }
        self.memory.held.push(answer);
        if !self.manner.is_lazy || self.memory.held.len() >= LAZY_ACKS {
            self.acknowledge_held(line);
        }
    }

    fn acknowledge_held(&mut self, line: &mut Line) {
        for answer in self.memory.held.drain(..) {
            line.queue(&answer);
        }
    }

    fn hear(&mut self, publish: &Publish) {
        let property = |name: &str| {
            let found = publish.properties.user_properties.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| &**value)
        };
        let heard = Heard {
            topic: &publish.topic,
            payload: &publish.payload,
            qos: publish.qos as u8,
            place: property("quorate-seq").and_then(|seq| seq.parse().ok()),
            from: property("quorate-from"),
        };
        self.ground.model().hears(self.ear, &heard);
    }

    fn take_answers(&mut self, codes: &[ReasonCode]) {
        for (wish, code) in self.manner.wishes.iter().zip(codes) {
            if code.is_error() == wish.is_granted {
                let client = &self.manner.greeting.client_id;
                self.ground.model().fault(format!("{client}: {} was answered with {code:?}", wish.filter));
            }
        }
        self.memory.is_subscribed = true;
        if let Some(ready) = self.ready.take() {
            // Whoever does not wait for it does not care.
            let _ = ready.send(());
        }
    }
}
