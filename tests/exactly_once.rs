//! QoS 2 with clients that others wrote: both ways, and over brokers that are killed in the middle of handshakes.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_client::Client;
use rand::Rng;

use crate::clients::{mosquitto_at, output, text};
use crate::stage::{LIMIT, Stage, hear, publish, subscribe};

const PAHO: &str = include_str!("clients/paho_exactly_once.py");
const KILLS: usize = 6;
/// At 10 ms each, more than the kills take.
const MESSAGES: usize = 250;

fn paho(stage: &Stage, version: &str, party: &str, tx: &str, role: &str) -> Child {
    let python = std::env::var("QUORATE_TEST_PYTHON")
        .expect("QUORATE_TEST_PYTHON names a Python with paho-mqtt; `make test` sets it");
    Command::new(python)
        .args(["-c", PAHO, version, "localhost", &stage.mqtt_port().to_string()])
        .arg(stage.certificates(&[party]))
        .args([party, tx, role, &MESSAGES.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts")
}

/// The lines that it printed, once it has ended.
async fn lines(child: Child) -> Vec<String> {
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    text(&ended.stdout).lines().map(str::to_owned).collect()
}

/// All that is in the log under this topic, in its order.
async fn said(stage: &Stage, tx: &str, party: &str, topic: &str) -> Vec<String> {
    let mut client: Client = stage.client_as(party, "reader").await;
    publish(&client, &format!("tx/{tx}/msg/{party}/end"), "end").await.unwrap();
    subscribe(&client, &format!("tx/{tx}/msg/#")).await.unwrap();
    let mut said = Vec::new();
    loop {
        let message = hear(&mut client, 1).await.remove(0);
        if message.topic.ends_with("/end") {
            return said;
        }
        if message.topic == topic {
            said.push(String::from_utf8(message.payload.to_vec()).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_paho_says_at_qos_2_is_stored_and_heard_once_over_kills() {
    for version in ["3.1.1", "5"] {
        let mut stage = Stage::open().await;
        let alice = stage.client("alice").await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        drop(alice);
        let hearing = paho(&stage, version, "bob", &tx, "hear");
        let saying = paho(&stage, version, "alice", &tx, "say");
        for _ in 0..KILLS {
            let pause = rand::thread_rng().gen_range(250..500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            stage.kill_and_restart().await;
        }
        lines(saying).await;
        let stored = said(&stage, &tx, "alice", &format!("tx/{tx}/msg/alice/n")).await;
        let heard = lines(hearing).await;
        assert_eq!(heard, stored, "heard as stored, {version}");
        // After a loss paho says what is new before what it says again.
        let mut numbers: Vec<usize> = stored.iter().map(|number| number.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "each once, {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_speaks_and_hears_at_qos_2() {
    for version in ["mqttv311", "5"] {
        let stage = Stage::open().await;
        let alice = stage.client("alice").await;
        let tx = stage.create(&alice, &["alice", "bob"]).await;
        let slot = format!("tx/{tx}/broadcast/1/alice");
        let pub_2 = || mosquitto_at(&stage, "mosquitto_pub", "alice", version, "2");
        let spoken = output(pub_2().args(["-t", &slot, "-m", "once"]));
        assert!(spoken.status.success(), "{version}: {}", text(&spoken.stderr));
        let filter = format!("tx/{tx}/broadcast/#");
        let mut sub_2 = mosquitto_at(&stage, "mosquitto_sub", "bob", version, "2");
        let heard = output(sub_2.args(["-t", &filter, "-C", "1", "-W", "20", "-F", "%q %p"]));
        assert_eq!(text(&heard.stdout).trim(), "2 once", "{version}: {}", text(&heard.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_hears_once_at_qos_2_with_a_kill_in_between() {
    const COUNT: usize = 100;
    let mut stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let topic = format!("tx/{tx}/msg/alice/n");
    say_at_qos_2(&alice, &topic, 0..COUNT).await;
    let hear = |stage: &Stage| {
        let mut sub_2 = mosquitto_at(stage, "mosquitto_sub", "bob", "mqttv311", "2");
        output(sub_2.args(["-c", "-t", &topic, "-C", &COUNT.to_string(), "-W", "30"]))
    };
    let before = hear(&stage);
    stage.kill_and_restart().await;
    let alice = stage.client("alice").await;
    say_at_qos_2(&alice, &topic, COUNT..2 * COUNT).await;
    let heard = text(&before.stdout) + &text(&hear(&stage).stdout);
    let expected: Vec<String> = (0..2 * COUNT).map(|number| number.to_string()).collect();
    assert_eq!(heard.lines().collect::<Vec<_>>(), expected, "{}", text(&before.stderr));
}

async fn say_at_qos_2(client: &Client, topic: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let published = client.publish(topic, number.to_string().into(), quorate_wire::QoS::ExactlyOnce);
        tokio::time::timeout(LIMIT, published).await.expect("an answer").expect("taken");
    }
}
