//! Every kind of listener, from outside: MQTT.js over TLS and over WebSocket in TLS, with a certificate; and over both
//! without, on a broker that is named dangerous. Who is refused at the door, and which stores such a broker opens.

use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use futures_util::{SinkExt, StreamExt};
use quorate_testkit::{BrokerOptions, BrokerProcess, eventually, manifest};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::stage::{LIMIT, Stage, hear, publish, subscribe};

const MQTT_JS: &str = include_str!("clients/mqttjs_party.js");
const VERSIONS: [u8; 2] = [4, 5];

/// More than one WebSocket message, in either direction.
const LONG: usize = 300_000;

/// Runs MQTT.js with a task that `clients/mqttjs_party.js` explains.
fn mqtt_js(task: &Value) -> Output {
    let modules = std::env::var("QUORATE_TEST_NODE_MODULES")
        .expect("QUORATE_TEST_NODE_MODULES names a node_modules with mqtt; `make test` sets it");
    Command::new("node")
        .args(["-e", MQTT_JS, "--", &task.to_string()])
        .env("NODE_PATH", modules)
        .stdin(Stdio::null())
        .output()
        .expect("node; `make test` installs it")
}

/// What MQTT.js heard.
fn heard(task: &Value) -> Vec<Value> {
    let output = mqtt_js(task);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{task}: {said}");
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A task for MQTT.js with what `more` sets.
fn task(url: &str, version: u8, client_id: &str, more: Value) -> Value {
    let mut task = json!({"url": url, "version": version, "client_id": client_id});
    let fields = task.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    task
}

fn certificate(stage: &Stage, party: &str) -> Value {
    let certs = stage.certificates(&[party]);
    let file = |name: &str| certs.join(name);
    json!({"ca": file("ca.pem"), "cert": file(&format!("{party}.pem")), "key": file(&format!("{party}.key.pem"))})
}

fn with(mut one: Value, other: Value) -> Value {
    one.as_object_mut().expect("an object").extend(other.as_object().expect("an object").clone());
    one
}

async fn stage() -> Stage {
    let options = BrokerOptions::default().with_web_socket().set("web_socket.origins", json!(["https://app.example"]));
    Stage::open_with(options).await
}

async fn dangerous() -> BrokerProcess {
    BrokerProcess::start_with(BrokerOptions::default().danger_anonymous().with_web_socket()).await.expect("a broker")
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_takes_part_over_tls_and_over_websocket_in_tls() {
    let stage = stage().await;
    let urls = [
        format!("mqtts://localhost:{}", stage.mqtt_port()),
        format!("wss://localhost:{}/mqtt", stage.broker().web_socket_port()),
    ];
    for (url, version) in urls.iter().flat_map(|url| VERSIONS.map(|version| (url, version))) {
        // A session of its own, so that nothing of the round before comes again.
        let tls = url.starts_with("mqtts");
        let mut alice = stage.client_as("alice", &format!("{tls}-{version}")).await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        publish(&alice, &format!("tx/{tx}/p2p/1/alice/bob"), "for MQTT.js").await.unwrap();
        publish(&alice, &format!("tx/{tx}/msg/alice/long"), &"x".repeat(LONG)).await.unwrap();

        let listen = json!({"subscribe": format!("tx/{tx}/+/#"), "expect": 4});
        let topic = |rest: &str| format!("tx/{tx}/{rest}");
        let say = json!({"publish": [[topic("echo/1/bob"), "from bob"], [topic("msg/bob/long"), {"x": LONG}]]});
        let more = with(with(certificate(&stage, "bob"), listen), say);
        let told: Vec<Value> = heard(&task(url, version, "mqttjs", more))
            .into_iter()
            .filter(|message| !message["topic"].as_str().unwrap().ends_with("/state"))
            .collect();
        for message in [
            json!({"topic": topic("p2p/1/alice/bob"), "payload": "for MQTT.js"}),
            json!({"topic": topic("msg/alice/long"), "bytes": LONG, "all_x": true}),
        ] {
            assert!(told.contains(&message), "{url} {version}: {message} is in {told:?}");
        }
        subscribe(&alice, &topic("echo/#")).await.unwrap();
        subscribe(&alice, &topic("msg/bob/#")).await.unwrap();
        let mut from_bob = hear(&mut alice, 2).await;
        from_bob.sort_by_key(|message| message.payload.len());
        assert_eq!(from_bob[0].payload, "from bob");
        assert_eq!(from_bob[1].payload, "x".repeat(LONG));
        assert!(from_bob.iter().all(|message| message.from.as_ref().unwrap().as_str() == "bob"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nobody_comes_in_over_websocket() {
    let stage = stage().await;
    let url = format!("wss://localhost:{}/mqtt", stage.broker().web_socket_port());
    let mut nobody = certificate(&stage, "bob");
    nobody.as_object_mut().unwrap().retain(|name, _| name == "ca");
    assert!(!mqtt_js(&task(&url, 5, "mqttjs", nobody)).status.success());
    assert_eq!(heard(&task(&url, 5, "mqttjs", certificate(&stage, "bob"))), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_js_takes_part_on_a_dangerous_broker_under_the_name_it_gives() {
    let broker = dangerous().await;
    let urls = [
        format!("mqtt://127.0.0.1:{}", broker.mqtt_port()),
        format!("ws://127.0.0.1:{}/mqtt", broker.web_socket_port()),
    ];
    for (url, version) in urls.iter().flat_map(|url| VERSIONS.map(|version| (url, version))) {
        let manifest = manifest(&["alice", "bob"]).without_join();
        let slot = format!("tx/{}/broadcast/1/alice", manifest.tx());
        let created = String::from_utf8(manifest.json().to_vec()).unwrap();
        let publish = json!({"publish": [[manifest.topic(), created], [slot, "hello"]]});
        assert!(heard(&task(url, version, "alice", publish)).is_empty());
        let listen = |filter: &str| json!({"subscribe": filter.replace("{tx}", manifest.tx()), "expect": 1});
        let told = heard(&task(url, version, "bob", listen("tx/{tx}/broadcast/#")));
        assert_eq!(told, [json!({"topic": slot, "payload": "hello"})], "{url} {version}");
        // Also here a party is in its own rooms alone, whether it says a party's name or not.
        for stranger in ["mallory", "not a party"] {
            let refused = mqtt_js(&task(url, version, stranger, listen("tx/{tx}/broadcast/#")));
            assert!(!refused.status.success(), "{url} {version} {stranger}");
            assert!(heard(&task(url, version, stranger, json!({}))).is_empty(), "it is let in, though");
        }
    }
}

/// Asks a dangerous broker, which has no TLS in the way, for a WebSocket.
async fn ask(broker: &BrokerProcess, headers: &[(&'static str, &str)]) -> Result<WebSocketStream<TcpStream>, Error> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.web_socket_port())).await.expect("a connection");
    let mut request = "ws://localhost/mqtt".into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    let upgraded = tokio::time::timeout(LIMIT, tokio_tungstenite::client_async(request, socket));
    upgraded.await.expect("an answer").map(|(messages, _)| messages)
}

/// The HTTP status of a refusal.
fn status(asked: Result<WebSocketStream<TcpStream>, Error>) -> u16 {
    match asked {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_for_mqtt_or_of_a_foreign_page_is_refused() {
    let broker = dangerous().await;
    let mqtt = ("sec-websocket-protocol", "mqtt");
    assert!(ask(&broker, &[mqtt]).await.is_ok());
    assert_eq!(status(ask(&broker, &[]).await), 400);
    assert_eq!(status(ask(&broker, &[("sec-websocket-protocol", "mqttv3.1")]).await), 400);
    assert_eq!(status(ask(&broker, &[mqtt, ("origin", "https://evil.example")]).await), 403);
}

#[tokio::test]
async fn a_text_message_closes_the_connection() {
    let broker = dangerous().await;
    let mut messages = ask(&broker, &[("sec-websocket-protocol", "mqtt")]).await.unwrap();
    messages.send(Message::text("\u{10}\u{d}\0\u{4}MQTT\u{4}\u{2}\0<\0\u{1}a")).await.unwrap();
    let answer = tokio::time::timeout(LIMIT, messages.next()).await.expect("an answer");
    let Some(Ok(Message::Close(Some(close)))) = answer else { panic!("no Close frame: {answer:?}") };
    assert_eq!(close.code, CloseCode::Unsupported);
}

#[tokio::test]
async fn a_store_of_proved_parties_and_one_of_unproved_ones_are_not_mixed_up() {
    let dangerous = || BrokerOptions::default().danger_anonymous();
    for (written, other) in [(BrokerOptions::default(), dangerous()), (dangerous(), BrokerOptions::default())] {
        let mut broker = BrokerProcess::start_with(written.clone()).await.unwrap();
        assert!(broker.restart_with(other).await.is_err());
        assert!(broker.log().contains("danger_anonymous"), "the log says why");
        eventually(LIMIT, async || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, broker.mqtt_port()))
                .await
                .err()
                .map(drop)
                .ok_or_else(|| anyhow::anyhow!("it listens"))
        })
        .await
        .unwrap();
        broker.restart_with(written).await.unwrap();
    }
}
