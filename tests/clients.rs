//! Any MQTT client with a certificate can take part: mosquitto's and paho's, 3.1.1 and 5.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::stage::{Stage, hear, publish, subscribe};

const PAHO: &str = include_str!("clients/paho_party.py");

fn mosquitto(stage: &Stage, program: &str, party: &str, version: &str) -> Command {
    mosquitto_at(stage, program, party, version, "1")
}

/// A client of mosquitto at this QoS.
pub fn mosquitto_at(stage: &Stage, program: &str, party: &str, version: &str, qos: &str) -> Command {
    let mut command = Command::new(program);
    let certs = stage.certificates(&[party]);
    command
        .args(["-h", "localhost", "-p", &stage.mqtt_port().to_string(), "-V", version])
        .arg("--cafile")
        .arg(certs.join("ca.pem"))
        .arg("--cert")
        .arg(certs.join(format!("{party}.pem")))
        .arg("--key")
        .arg(certs.join(format!("{party}.key.pem")))
        .args(["-i", &format!("mosquitto-{party}"), "-q", qos]);
    command
}

pub fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", Path::new(&program).display()))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_take_part_in_3_1_1_and_5() {
    for version in ["mqttv311", "5"] {
        let stage = Stage::open().await;
        let mut alice = stage.client("alice").await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "to bob").await.unwrap();

        let filter = format!("tx/{tx}/broadcast/#");
        let heard =
            output(mosquitto(&stage, "mosquitto_sub", "bob", version).args(["-t", &filter, "-C", "1", "-W", "20"]));
        assert_eq!(text(&heard.stdout).trim(), "to bob", "{version}: {}", text(&heard.stderr));

        let slot = format!("tx/{tx}/broadcast/1/bob");
        let said = output(mosquitto(&stage, "mosquitto_pub", "bob", version).args(["-t", &slot, "-m", "from bob"]));
        assert!(said.status.success(), "{version}: {}", text(&said.stderr));
        subscribe(&alice, &format!("tx/{tx}/broadcast/1/bob")).await.unwrap();
        assert_eq!(hear(&mut alice, 1).await[0].payload, "from bob");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_is_told_that_a_slot_is_taken() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let slot = format!("tx/{tx}/echo/1/bob");
    let publish = |said: &str| output(mosquitto(&stage, "mosquitto_pub", "bob", "5").args(["-t", &slot, "-m", said]));
    assert!(publish("first").status.success());
    let refused = publish("second");
    let told = text(&refused.stderr) + &text(&refused.stdout);
    assert!(told.contains("131") || told.contains("mplementation"), "mosquitto_pub said of the refusal: {told}");
    let log = stage.api("alice").log(&tx, 0).await.unwrap().to_string();
    assert_eq!(log.matches("echo/1/bob").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mosquitto_stranger_hears_nothing() {
    let stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "secret").await.unwrap();
    let filter = format!("tx/{tx}/#");
    let heard = output(mosquitto(&stage, "mosquitto_sub", "mallory", "5").args(["-t", &filter, "-C", "1", "-W", "3"]));
    assert!(heard.stdout.is_empty());
    assert!(text(&heard.stderr).contains("denied"), "mosquitto_sub was not told: {}", text(&heard.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_takes_part_in_3_1_1_and_5() {
    let python = std::env::var("QUORATE_TEST_PYTHON")
        .expect("QUORATE_TEST_PYTHON names a Python with paho-mqtt; `make test` sets it");
    for version in ["3.1.1", "5"] {
        let stage = Stage::open().await;
        let mut alice = stage.client("alice").await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        publish(&alice, &format!("tx/{tx}/p2p/1/alice/bob"), "for paho").await.unwrap();
        let mut command = Command::new(&python);
        command
            .args(["-c", PAHO, version, "localhost", &stage.mqtt_port().to_string()])
            .arg(stage.certificates(&["bob"]))
            .args(["bob", &tx]);
        let outcome = output(&mut command);
        assert!(outcome.status.success(), "{version}: {}{}", text(&outcome.stdout), text(&outcome.stderr));
        assert_eq!(text(&outcome.stdout).trim(), "heard: for paho", "{version}");
        subscribe(&alice, &format!("tx/{tx}/echo/#")).await.unwrap();
        let echo = hear(&mut alice, 1).await.remove(0);
        assert_eq!((echo.payload.as_ref(), echo.from.unwrap().as_str()), (&b"for paho"[..], "bob"));
    }
}
