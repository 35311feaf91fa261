//! A publishing client that keeps to the letter of MQTT: what was not answered is sent again after a reconnect, in its
//! order, with its packet identifier and DUP, and what was released is released again. Now and then one of MQTT 5 forgets
//! everything instead (Clean Start), so that there is something of which nobody knows whether it was taken.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use quorate_wire::{Packet, PacketId, Publish, PublishProperties, QoS, Version};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::ground::{BETWEEN_ATTEMPTS, Phase, Said, Speech};
use super::line::{Door, Greeting, Line, ack, broken, next_packet_id};

/// Messages without an answer.
const WINDOW: usize = 16;
/// It speaks in bursts: some messages, then a pause.
const BURST_MAX: usize = 6;
const PAUSE_MAX_MS: u64 = 30;
/// One reconnect in so many is a new beginning.
const FORGETS_EVERY: u32 = 8;

pub struct Mouth {
    speech: Speech,
    door: Door,
    version: Version,
    phase: watch::Receiver<Phase>,
    /// Whether the broker has its session.
    has_session: bool,
    outgoing: VecDeque<Outgoing>,
    last_packet_id: PacketId,
}

struct Outgoing {
    said: Said,
    packet_id: PacketId,
    /// QoS 2, after PUBREC.
    is_released: bool,
}

impl Mouth {
    pub fn new(speech: Speech, door: Door, version: Version, phase: watch::Receiver<Phase>) -> Mouth {
        Mouth {
            speech,
            door,
            version,
            phase,
            has_session: false,
            outgoing: VecDeque::new(),
            last_packet_id: PacketId::MIN,
        }
    }

    /// Speaks, over every loss of its connection, until the load is gone.
    pub async fn run(mut self) {
        while self.phase.has_changed().is_ok() {
            let forgets = self.version == Version::V5 && self.speech.rng().gen_ratio(1, FORGETS_EVERY);
            let greeting = Greeting {
                client_id: self.speech.voice().name.clone(),
                version: self.version,
                clean_start: self.version == Version::V5 && (forgets || !self.has_session),
                receive_maximum: 1,
            };
            // The broker may be in the middle of being killed: what a connection ends with says nothing.
            if let Ok((line, session_present)) = Line::open(&self.door, &greeting).await {
                self.begin(greeting.clean_start, session_present);
                let _ = self.speak(line).await;
            }
            sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    fn begin(&mut self, clean_start: bool, session_present: bool) {
        let ground = self.speech.ground().clone();
        let expected = self.has_session && !clean_start;
        if session_present != expected {
            let name = &self.speech.voice().name;
            ground.model().fault(format!("{name}: session present {session_present}, not {expected}"));
        }
        self.has_session = true;
        if clean_start {
            for outgoing in self.outgoing.drain(..).filter(|outgoing| !outgoing.is_released) {
                ground.model().given_up(outgoing.said.id);
            }
        }
    }

    async fn speak(&mut self, mut line: Line) -> io::Result<()> {
        self.repeat(&mut line);
        line.flush().await?;
        let mut next_burst = Instant::now();
        loop {
            let phase = *self.phase.borrow_and_update();
            let may_speak = phase == Phase::Speak && self.outgoing.len() < WINDOW;
            tokio::select! {
                packet = line.packet() => self.take(packet?, &mut line)?,
                () = sleep_until(next_burst), if may_speak => {
                    self.burst(&mut line);
                    next_burst = Instant::now() + Duration::from_millis(self.speech.rng().gen_range(1..PAUSE_MAX_MS));
                }
                changed = self.phase.changed() => changed.map_err(|_| broken("no load"))?,
            }
            line.flush().await?;
        }
    }

    fn repeat(&mut self, line: &mut Line) {
        for outgoing in &self.outgoing {
            if outgoing.is_released {
                line.queue(&Packet::PubRel(ack(outgoing.packet_id)));
            } else {
                self.speech.ground().model().says_again(outgoing.said.id);
                line.queue(&self.publish(outgoing, true));
            }
        }
    }

    fn burst(&mut self, line: &mut Line) {
        for _ in 0..self.speech.rng().gen_range(1..=BURST_MAX) {
            if self.outgoing.len() >= WINDOW {
                return;
            }
            let said = self.speech.next();
            let in_use: Vec<PacketId> = self.outgoing.iter().map(|outgoing| outgoing.packet_id).collect();
            let packet_id = next_packet_id(&mut self.last_packet_id, |id| !in_use.contains(&id));
            let outgoing = Outgoing { said, packet_id, is_released: false };
            line.queue(&self.publish(&outgoing, false));
            self.outgoing.push_back(outgoing);
        }
    }

    fn publish(&self, outgoing: &Outgoing, dup: bool) -> Packet {
        Packet::Publish(Box::new(Publish {
            dup,
            qos: if self.speech.voice().qos == 2 { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
            retain: false,
            topic: outgoing.said.topic.as_str().into(),
            packet_id: Some(outgoing.packet_id),
            properties: PublishProperties::default(),
            payload: outgoing.said.payload.clone(),
        }))
    }

    fn take(&mut self, packet: Packet, line: &mut Line) -> io::Result<()> {
        let (answer, is_end) = match packet {
            Packet::PubAck(answer) => (answer, true),
            Packet::PubRec(answer) if answer.reason_code.is_error() => (answer, true),
            Packet::PubRec(answer) => (answer, false),
            Packet::PubComp(answer) => return self.complete(answer.packet_id),
            other => return Err(broken(&format!("{other:?}"))),
        };
        let Some(at) = self.outgoing.iter().position(|outgoing| outgoing.packet_id == answer.packet_id) else {
            return self.unsolicited(answer.packet_id);
        };
        let outgoing = &mut self.outgoing[at];
        if !outgoing.is_released {
            let mut model = self.speech.ground().model();
            match answer.reason_code.is_error() {
                true => model.refused(outgoing.said.id, answer.reason_code as u8),
                false => model.taken(outgoing.said.id),
            }
        }
        if is_end {
            self.outgoing.remove(at);
        } else {
            outgoing.is_released = true;
            line.queue(&Packet::PubRel(ack(answer.packet_id)));
        }
        Ok(())
    }

    fn complete(&mut self, packet_id: PacketId) -> io::Result<()> {
        let released = |outgoing: &Outgoing| outgoing.packet_id == packet_id && outgoing.is_released;
        match self.outgoing.iter().position(released) {
            Some(at) => {
                self.outgoing.remove(at);
                Ok(())
            }
            None => self.unsolicited(packet_id),
        }
    }

    fn unsolicited(&self, packet_id: PacketId) -> io::Result<()> {
        let fault = format!("{}: an answer to {packet_id}, which is not under way", self.speech.voice().name);
        self.speech.ground().model().fault(fault.clone());
        Err(broken(&fault))
    }
}
