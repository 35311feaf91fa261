//! What every client does with a broker, played by each of those that others wrote, over each kind of listener and in each
//! version. mosquitto's clients, which say one thing each, have theirs in `mosquitto.rs`.

use quorate_testkit::BrokerOptions;
use serde_json::{Value, json};

use crate::actors::{Actor, Cast, Library, Over, Version, lasting, mqtt_js, paho, payloads, rumqttc, with};
use crate::stage::Stage;

/// Bytes of a large payload: more than one frame of TLS or WebSocket, less than the broker's largest packet.
const LARGE_BYTES: usize = 900 * 1024;
/// What waits over a kill.
const WAITING: usize = 20;

fn with_certificates() -> BrokerOptions {
    BrokerOptions::default().with_open_topics().with_web_socket()
}

fn dangerous() -> BrokerOptions {
    with_certificates().danger_anonymous()
}

/// All scenarios, on one broker; the last of them kills it.
async fn play(cast: Cast, options: BrokerOptions) {
    let mut stage = Stage::open_with(options).await;
    every_qos(&stage, cast).await;
    unsubscribe(&stage, cast).await;
    retained(&stage, cast).await;
    will(&stage, cast).await;
    shared(&stage, cast).await;
    large(&stage, cast).await;
    if cast.version == Version::V5 {
        request_and_response(&stage, cast).await;
        properties(&stage, cast).await;
    }
    kill(&mut stage, cast).await;
}

async fn every_qos(stage: &Stage, cast: Cast) {
    let mut alice = Actor::connected(stage, cast, "alice").await;
    let mut bob = Actor::connected(stage, cast, "bob").await;
    for granted in 0..=2 {
        let filter = format!("qos/{granted}/+");
        bob.subscribe(&filter, granted).await;
        for said in 0..=2 {
            let topic = format!("qos/{granted}/{said}");
            alice.publish(&topic, "said", said).await;
            let heard = bob.next().await;
            assert_eq!((heard.topic, heard.qos), (topic, granted.min(said)), "{cast}");
            assert_eq!((heard.payload.as_str(), heard.retain, heard.dup), ("said", false, false), "{cast}");
        }
    }
    alice.disconnect().await;
    bob.disconnect().await;
}

async fn unsubscribe(stage: &Stage, cast: Cast) {
    let mut bob = Actor::connected(stage, cast, "bob").await;
    bob.subscribe("left/#", 1).await;
    bob.subscribe("kept", 1).await;
    bob.unsubscribe("left/#").await;
    bob.publish("left", "not heard", 1).await;
    bob.publish("kept", "heard", 1).await;
    assert_eq!(bob.next().await.payload, "heard", "{cast}");
}

async fn retained(stage: &Stage, cast: Cast) {
    let mut alice = Actor::connected(stage, cast, "alice").await;
    for payload in ["first", "second"] {
        alice.publish_with(json!({"topic": "retained", "payload": payload, "retain": true})).await;
    }
    let mut bob = Actor::connected(stage, cast, "bob").await;
    bob.subscribe("retained", 1).await;
    let heard = bob.next().await;
    assert_eq!((heard.payload.as_str(), heard.retain), ("second", true), "{cast}");
    alice.publish_with(json!({"topic": "retained", "payload": "", "retain": true})).await;
    assert!(!bob.next().await.retain, "{cast}: said while bob was subscribed");
    let mut carol = Actor::connected(stage, cast, "carol").await;
    carol.subscribe("retained", 1).await;
    alice.publish("retained", "end", 1).await;
    assert_eq!(carol.hear_until("end").await, Vec::<String>::new(), "{cast}");
}

async fn will(stage: &Stage, cast: Cast) {
    let mut bob = Actor::connected(stage, cast, "bob").await;
    bob.subscribe("gone/+", 2).await;
    let will = |payload: &str| json!({"will": {"topic": "gone/alice", "payload": payload, "qos": 1, "retain": false}});
    Actor::connected_with(stage, cast, "alice", will("discarded")).await.disconnect().await;
    Actor::connected_with(stage, cast, "alice", will("said")).await.kill().await;
    let heard = bob.next().await;
    assert_eq!((heard.payload.as_str(), heard.qos), ("said", 1), "{cast}");
}

async fn shared(stage: &Stage, cast: Cast) {
    let mut members = Vec::new();
    for party in ["bob", "carol"] {
        let mut member = Actor::connected(stage, cast, party).await;
        member.subscribe("$share/group/work", 1).await;
        members.push(member);
    }
    let mut alice = Actor::connected(stage, cast, "alice").await;
    for number in 0..10 {
        alice.publish("work", &number.to_string(), 1).await;
    }
    let mut heard = Vec::new();
    for member in &mut members {
        heard.extend(member.hear(5).await);
    }
    let mut numbers = payloads(&heard);
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "{cast}");
}

async fn large(stage: &Stage, cast: Cast) {
    let mut alice = Actor::connected(stage, cast, "alice").await;
    alice.subscribe("large", 2).await;
    let payload = "x".repeat(LARGE_BYTES);
    for qos in 0..=2 {
        alice.publish("large", &payload, qos).await;
        let heard = alice.next().await;
        assert!(heard.payload == payload, "{cast}: {} bytes at QoS {qos}", heard.payload.len());
    }
}

async fn request_and_response(stage: &Stage, cast: Cast) {
    let mut bob = Actor::connected(stage, cast, "bob").await;
    bob.subscribe("requests", 1).await;
    let mut alice = Actor::connected(stage, cast, "alice").await;
    alice.subscribe("responses/alice", 1).await;
    let back = json!({"response_topic": "responses/alice", "correlation": "request 7"});
    alice.publish_with(with(json!({"topic": "requests", "payload": "6 * 7"}), back)).await;
    let request = bob.next().await;
    let response = json!({
        "topic": request.properties["response_topic"], "correlation": request.properties["correlation"], "payload": "42",
    });
    bob.publish_with(response).await;
    let response = alice.next().await;
    assert_eq!((response.payload.as_str(), &response.properties["correlation"]), ("42", &json!("request 7")), "{cast}");
}

async fn properties(stage: &Stage, cast: Cast) {
    let mut bob = Actor::connected(stage, cast, "bob").await;
    bob.subscribe("properties", 1).await;
    let said = json!({"content_type": "text/plain", "user": [["a", "1"], ["a", "2"], ["b", ""]]});
    bob.publish_with(with(json!({"topic": "properties", "payload": "said"}), said.clone())).await;
    assert_eq!(bob.next().await.properties, said, "{cast}");
}

/// Both sessions go on: what was said while the listener was away, and what the other wanted to say while the broker was.
async fn kill(stage: &mut Stage, cast: Cast) {
    let (mut alice, _) = Actor::resumed(stage, cast, "alice").await;
    let (mut bob, _) = Actor::resumed(stage, cast, "bob").await;
    bob.subscribe("waiting", 2).await;
    stage.kill();
    alice.closed().await;
    bob.closed().await;
    alice.start_publish(json!({"topic": "waiting", "payload": "first"})).await;
    stage.restart().await;
    // CONNACK of 3.1 says nothing of a session.
    let is_told = cast.version != Version::V3_1;
    assert_eq!(alice.reconnect().await, is_told, "{cast}: a session");
    assert_eq!(alice.answer().await["event"], "published", "{cast}");
    for number in 0..WAITING {
        alice.publish("waiting", &number.to_string(), 1 + number as u64 % 2).await;
    }
    stage.kill_and_restart().await;
    alice.closed().await;
    for actor in [&mut alice, &mut bob] {
        assert_eq!(actor.reconnect().await, is_told, "{cast}: a session");
    }
    alice.publish("waiting", "end", 2).await;
    let heard = bob.hear_until("end").await;
    // A client hears a message of QoS 2 later than its PUBLISH: only those of one QoS are in order.
    let of_qos =
        |qos: usize| heard.iter().filter(move |said| said.parse().is_ok_and(|number: usize| 1 + number % 2 == qos));
    for qos in 1..=2 {
        let expected: Vec<String> = (qos - 1..WAITING).step_by(2).map(|number| number.to_string()).collect();
        assert_eq!(of_qos(qos).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "{cast}: at QoS {qos}");
    }
    assert_eq!((heard.len(), heard[0].as_str()), (1 + WAITING, "first"), "{cast}");
}

/// Aliases of topics, for those that have them.
async fn aliases(cast: Cast) {
    let stage = Stage::open_with(with_certificates()).await;
    let mut bob =
        Actor::connected_with(&stage, mqtt_js(Over::Tcp, Version::V5), "bob", json!({"aliases_max": 2})).await;
    bob.subscribe("aliased/#", 1).await;
    let mut alice = Actor::connected_with(&stage, cast, "alice", json!({"assign_aliases": true})).await;
    let topics = ["aliased/1", "aliased/2", "aliased/3"];
    for (round, said) in ["introduced", "by alias"].into_iter().enumerate() {
        for (number, topic) in topics.into_iter().enumerate() {
            let is_named = round == 0 || cast.library == Library::MqttJs;
            let alias = if cast.library == Library::Paho { json!({"alias": number + 1}) } else { json!({}) };
            let message = json!({"topic": if is_named { topic } else { "" }, "payload": said});
            alice.publish_with(with(message, alias)).await;
            let heard = bob.next().await;
            assert_eq!((heard.topic.as_str(), heard.payload.as_str()), (topic, said), "{cast}");
        }
    }
    // More topics than aliases: the one that was said last has one.
    alice.publish("aliased/3", "again", 1).await;
    let again = bob.next().await;
    assert_eq!((again.topic.as_str(), &again.properties["by_alias"]), ("aliased/3", &Value::Bool(true)), "{cast}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_plays_every_scenario_in_3_1() {
    play(paho(Version::V3_1), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_plays_every_scenario_in_3_1_1() {
    play(paho(Version::V3_1_1), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_plays_every_scenario_in_5() {
    play(paho(Version::V5), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_plays_every_scenario_in_3_1_1() {
    play(rumqttc(Version::V3_1_1), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_plays_every_scenario_in_5() {
    play(rumqttc(Version::V5), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_over_tls_in_3_1_1() {
    play(mqtt_js(Over::Tcp, Version::V3_1_1), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_over_tls_in_5() {
    play(mqtt_js(Over::Tcp, Version::V5), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_over_websocket_in_tls_in_3_1_1() {
    play(mqtt_js(Over::WebSocket, Version::V3_1_1), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_over_websocket_in_tls_in_5() {
    play(mqtt_js(Over::WebSocket, Version::V5), with_certificates()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_on_a_dangerous_broker_in_3_1_1() {
    for over in [Over::Tcp, Over::WebSocket] {
        play(mqtt_js(over, Version::V3_1_1), dangerous()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_plays_every_scenario_on_a_dangerous_broker_in_5() {
    for over in [Over::Tcp, Over::WebSocket] {
        play(mqtt_js(over, Version::V5), dangerous()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_client_goes_on_with_another() {
    let stage = Stage::open_with(with_certificates()).await;
    let (mut bob, _) = Actor::resumed(&stage, paho(Version::V3_1_1), "bob").await;
    bob.subscribe("waiting", 2).await;
    bob.disconnect().await;
    let mut alice = Actor::connected(&stage, rumqttc(Version::V3_1_1), "alice").await;
    let casts = [
        mqtt_js(Over::WebSocket, Version::V5),
        rumqttc(Version::V5),
        mqtt_js(Over::Tcp, Version::V3_1_1),
        rumqttc(Version::V3_1_1),
        paho(Version::V5),
    ];
    for cast in casts {
        for qos in 1..=2 {
            alice.publish("waiting", &format!("for {cast} at {qos}"), qos).await;
        }
        let mut bob = Actor::enter(&stage, cast, "bob");
        assert!(bob.connect(lasting()).await, "{cast}");
        let expected = [format!("for {cast} at 1"), format!("for {cast} at 2")];
        assert_eq!(payloads(&bob.hear(2).await), expected);
        // Complete: what is heard in the next round is new.
        bob.publish("elsewhere", "answered", 2).await;
        bob.disconnect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_aliases_stand_for_topics_both_ways() {
    aliases(paho(Version::V5)).await;
    aliases(mqtt_js(Over::WebSocket, Version::V5)).await;
}
