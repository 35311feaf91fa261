//! MQTT clients that others wrote, told what to do: paho and MQTT.js in processes of their own, rumqttc in this one.
//! All take the same words, so that one scenario is played by each of them.
//!
//! A word is an object of JSON, a line of it where the actor is a process. `do` says what: `connect`, `reconnect` (the same
//! client once more, with what it remembers), `publish`, `subscribe`, `unsubscribe`, `disconnect`. What an actor tells has
//! an `event`: one answer to each word (`connected`, `refused`, `published`, `subscribed`, `unsubscribed`,
//! `disconnected`, or `closed` where the connection ended instead), and between them `message`, and `closed`. The
//! properties of a message have the names that `clients/paho_actor.py` lists.

mod process;
pub mod rumqttc_place;
mod rumqttc_v4;
mod rumqttc_v5;

use std::collections::VecDeque;
use std::fmt;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::stage::{LIMIT, Stage};

/// Words and answers on their way; an actor is told one thing after the other.
const ON_THE_WAY_MAX: usize = 1024;

/// Which client, over what, in which version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    pub library: Library,
    pub over: Over,
    pub version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Paho,
    MqttJs,
    Rumqttc,
}

/// What is under MQTT; whether TLS is under that depends on the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Tcp,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V3_1,
    V3_1_1,
    V5,
}

/// paho over TCP.
pub const fn paho(version: Version) -> Cast {
    Cast { library: Library::Paho, over: Over::Tcp, version }
}

/// MQTT.js.
pub const fn mqtt_js(over: Over, version: Version) -> Cast {
    Cast { library: Library::MqttJs, over, version }
}

/// rumqttc over TCP.
pub const fn rumqttc(version: Version) -> Cast {
    Cast { library: Library::Rumqttc, over: Over::Tcp, version }
}

impl Version {
    /// As the actors are told.
    fn as_str(self) -> &'static str {
        match self {
            Version::V3_1 => "3.1",
            Version::V3_1_1 => "3.1.1",
            Version::V5 => "5",
        }
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} over {:?} in {}", self.library, self.over, self.version.as_str())
    }
}

/// One client. Dropping it, or [`Actor::kill`], cuts its connection without a goodbye.
pub struct Actor {
    /// For what a failure says.
    name: String,
    party: String,
    version: Version,
    words: mpsc::Sender<Value>,
    events: mpsc::Receiver<Value>,
    playing: JoinHandle<()>,
    /// What was heard while an answer was awaited.
    heard: VecDeque<Heard>,
    /// What else happened while a message was awaited.
    happened: VecDeque<Value>,
}

/// A message as an actor heard it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub topic: String,
    pub payload: String,
    pub qos: u64,
    pub retain: bool,
    pub dup: bool,
    pub properties: Value,
}

impl Actor {
    /// Lets a client begin, which does not connect yet.
    pub fn enter(stage: &Stage, cast: Cast, party: &str) -> Actor {
        Actor::enter_at(place(stage, cast.over, party), cast, party)
    }

    /// As [`Actor::enter`], where the `url` of `place` is; over TLS it also has the files `ca`, `cert` and `key`.
    pub fn enter_at(place: Value, cast: Cast, party: &str) -> Actor {
        let (words, to_hear) = mpsc::channel(ON_THE_WAY_MAX);
        let (to_tell, events) = mpsc::channel(ON_THE_WAY_MAX);
        let playing = match (cast.library, cast.version) {
            (Library::Paho, _) => tokio::spawn(process::paho(place, to_hear, to_tell)),
            (Library::MqttJs, _) => tokio::spawn(process::mqtt_js(place, to_hear, to_tell)),
            (Library::Rumqttc, Version::V5) => tokio::spawn(rumqttc_v5::play(place, to_hear, to_tell)),
            (Library::Rumqttc, _) => tokio::spawn(rumqttc_v4::play(place, to_hear, to_tell)),
        };
        Actor {
            name: format!("{party}, {cast}"),
            party: party.to_owned(),
            version: cast.version,
            words,
            events,
            playing,
            heard: VecDeque::new(),
            happened: VecDeque::new(),
        }
    }

    /// Begins and connects, with a new session that ends with its connection.
    pub async fn connected(stage: &Stage, cast: Cast, party: &str) -> Actor {
        Actor::connected_with(stage, cast, party, json!({})).await
    }

    /// As [`Actor::connected`], with what is set otherwise.
    pub async fn connected_with(stage: &Stage, cast: Cast, party: &str, more: Value) -> Actor {
        let mut actor = Actor::enter(stage, cast, party);
        actor.connect(more).await;
        actor
    }

    /// Begins and connects with a session that goes on; gives whether there was one.
    pub async fn resumed(stage: &Stage, cast: Cast, party: &str) -> (Actor, bool) {
        let mut actor = Actor::enter(stage, cast, party);
        let present = actor.connect(lasting()).await;
        (actor, present)
    }

    /// Connects, and gives whether the broker had a session.
    pub async fn connect(&mut self, more: Value) -> bool {
        let answer = self.try_connect(more).await;
        self.expect(answer, "connected")["session_present"].as_bool().expect("a session or none")
    }

    /// Connects, or is refused: the answer as it is.
    pub async fn try_connect(&mut self, more: Value) -> Value {
        let usual = json!({
            "do": "connect", "version": self.version.as_str(), "client_id": self.party, "clean": true,
        });
        self.ask(with(usual, more)).await
    }

    /// The same client once more, after its connection was closed; gives whether the broker had a session.
    pub async fn reconnect(&mut self) -> bool {
        let answer = self.ask(json!({"do": "reconnect"})).await;
        self.expect(answer, "connected")["session_present"].as_bool().expect("a session or none")
    }

    /// Subscribes, and is granted this QoS.
    pub async fn subscribe(&mut self, filter: &str, qos: u64) {
        self.subscribe_with(json!({"filter": filter, "qos": qos})).await;
    }

    /// Subscribes with options of MQTT 5, and is granted what it asks for.
    pub async fn subscribe_with(&mut self, subscription: Value) {
        let qos = subscription["qos"].as_u64();
        let code = self.try_subscribe(subscription).await;
        assert_eq!(Some(code), qos, "granted to {}", self.name);
    }

    /// Subscribes, and gives what SUBACK says.
    pub async fn try_subscribe(&mut self, subscription: Value) -> u64 {
        let answer = self.ask(with(json!({"do": "subscribe"}), subscription)).await;
        code(&self.expect(answer, "subscribed"))
    }

    pub async fn unsubscribe(&mut self, filter: &str) {
        let answer = self.ask(json!({"do": "unsubscribe", "filter": filter})).await;
        self.expect(answer, "unsubscribed");
    }

    /// Publishes, and is told that it was taken.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: u64) {
        self.publish_with(json!({"topic": topic, "payload": payload, "qos": qos})).await;
    }

    /// Publishes with flags and properties, and is told that it was taken.
    pub async fn publish_with(&mut self, message: Value) {
        let answer = self.try_publish(message).await;
        let code = code(&self.expect(answer, "published"));
        // MQTT 5: taken, though nobody hears it.
        assert!([0, 0x10].contains(&code), "{} was told {code:#x}", self.name);
    }

    /// Publishes: the answer as it is.
    pub async fn try_publish(&mut self, message: Value) -> Value {
        self.start_publish(message).await;
        self.answer().await
    }

    /// Publishes and does not wait: [`Actor::answer`] is to be awaited for each.
    pub async fn start_publish(&mut self, message: Value) {
        let word = with(json!({"do": "publish", "qos": 1, "retain": false}), message);
        self.words.send(word).await.expect("an actor that plays");
    }

    /// Says goodbye.
    pub async fn disconnect(self) {
        self.disconnect_with(json!({})).await;
    }

    /// Says goodbye with a `code` of MQTT 5.
    pub async fn disconnect_with(mut self, more: Value) {
        let answer = self.ask(with(json!({"do": "disconnect"}), more)).await;
        self.expect(answer, "disconnected");
    }

    /// Cuts its connection without a goodbye: a process is sent SIGKILL.
    pub async fn kill(mut self) {
        self.playing.abort();
        let ended = (&mut self.playing).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "{} had ended before", self.name);
    }

    /// Waits until its connection is closed by the broker, or with it; gives the reason code, where one came.
    pub async fn closed(&mut self) -> Option<u64> {
        let answer = self.answer().await;
        self.expect(answer, "closed")["code"].as_u64()
    }

    /// The next message.
    pub async fn next(&mut self) -> Heard {
        while self.heard.is_empty() {
            let event = self.event("a message").await;
            self.keep(event);
        }
        self.heard.pop_front().expect("one was heard")
    }

    /// The next `count` messages.
    pub async fn hear(&mut self, count: usize) -> Vec<Heard> {
        let mut heard = Vec::with_capacity(count);
        while heard.len() < count {
            heard.push(self.next().await);
        }
        heard
    }

    /// The payloads of the messages before the one with this payload: whatever was to come has come by then.
    pub async fn hear_until(&mut self, last: &str) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            let heard = self.next().await;
            if heard.payload == last {
                return payloads;
            }
            payloads.push(heard.payload);
        }
    }

    /// The answer to what it was told.
    pub async fn answer(&mut self) -> Value {
        loop {
            if let Some(happened) = self.happened.pop_front() {
                return happened;
            }
            let event = self.event("an answer").await;
            self.keep(event);
        }
    }

    async fn ask(&mut self, word: Value) -> Value {
        self.words.send(word).await.expect("an actor that plays");
        self.answer().await
    }

    async fn event(&mut self, awaited: &str) -> Value {
        let event = tokio::time::timeout(LIMIT, self.events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("{} waits in vain for {awaited}", self.name));
        event.unwrap_or_else(|| panic!("{} has failed, and waits for {awaited}", self.name))
    }

    fn keep(&mut self, event: Value) {
        match event["event"].as_str() {
            Some("message") => self.heard.push_back(Heard::read(&event)),
            _ => self.happened.push_back(event),
        }
    }

    fn expect(&self, answer: Value, event: &str) -> Value {
        assert_eq!(answer["event"], event, "{} was told {answer}", self.name);
        answer
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.playing.abort();
    }
}

impl Heard {
    fn read(event: &Value) -> Heard {
        let text = |name: &str| event[name].as_str().expect(name).to_owned();
        let flag = |name: &str| event[name].as_bool().expect(name);
        Heard {
            topic: text("topic"),
            payload: text("payload"),
            qos: event["qos"].as_u64().expect("qos"),
            retain: flag("retain"),
            dup: flag("dup"),
            properties: event["properties"].clone(),
        }
    }
}

/// A session that outlives its connection, in 3.x and in 5.
pub fn lasting() -> Value {
    json!({"clean": false, "session_expiry_s": 3600})
}

/// The code of an answer.
pub fn code(answer: &Value) -> u64 {
    answer["code"].as_u64().unwrap_or_else(|| panic!("no code in {answer}"))
}

/// The payloads.
pub fn payloads(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(|message| message.payload.as_str()).collect()
}

/// `usual` with what `more` sets.
pub fn with(mut usual: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    usual.as_object_mut().expect("an object").extend(more);
    usual
}

/// Where the broker is, and by which files its party is known there.
pub fn place(stage: &Stage, over: Over, party: &str) -> Value {
    let broker = stage.broker();
    let (plain, protected, port, path) = match over {
        Over::Tcp => ("mqtt", "mqtts", broker.mqtt_port(), ""),
        Over::WebSocket => ("ws", "wss", broker.web_socket_port(), "/mqtt"),
    };
    if broker.is_danger_anonymous() {
        return json!({"url": format!("{plain}://127.0.0.1:{port}{path}")});
    }
    let certs = stage.certificates(&[party]);
    json!({
        "url": format!("{protected}://localhost:{port}{path}"),
        "ca": certs.join("ca.pem"),
        "cert": certs.join(format!("{party}.pem")),
        "key": certs.join(format!("{party}.key.pem")),
    })
}
