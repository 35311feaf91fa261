//! mosquitto's clients on ordinary topics, in 3.1, 3.1.1 and 5.

use std::process::Stdio;

use quorate_testkit::BrokerOptions;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::actors::{Actor, Version, paho, with};
use crate::clients::{mosquitto_at, output, text};
use crate::stage::{LIMIT, Stage};

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];
const LARGE_BYTES: usize = 900 * 1024;
const WAITING: usize = 20;

/// mosquitto_sub while it runs.
pub struct Subscriber {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Subscriber {
    /// Begins, with these arguments, and waits for its SUBACK.
    pub async fn begin(stage: &Stage, party: &str, version: &str, qos: &str, arguments: &[&str]) -> Subscriber {
        let sub = mosquitto_at(stage, "mosquitto_sub", party, version, qos);
        // Its lines come when it prints them, not when there are many; `-d` makes it tell of its packets.
        let mut command = Command::new("stdbuf");
        command.arg("-oL").arg(sub.get_program()).args(sub.get_args()).args(["-d", "-W", "30"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("`make test` installs mosquitto's clients");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut subscriber = Subscriber { child, lines };
        while !subscriber.line().await.expect("a SUBACK").contains("received SUBACK") {}
        subscriber
    }

    /// The rest of the next line that begins with `said `; `None`: it has ended.
    pub async fn said(&mut self) -> Option<String> {
        loop {
            if let Some(said) = self.line().await?.strip_prefix("said ") {
                return Some(said.to_owned());
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        tokio::time::timeout(LIMIT, self.lines.next_line()).await.expect("a line").expect("text")
    }
}

async fn stage() -> Stage {
    Stage::open_with(BrokerOptions::default().with_open_topics()).await
}

/// mosquitto_pub, which succeeds.
fn say(stage: &Stage, version: &str, qos: &str, arguments: &[&str]) {
    let said = output(mosquitto_at(stage, "mosquitto_pub", "alice", version, qos).args(arguments));
    assert!(said.status.success(), "{version}: {}", text(&said.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_speaks_and_hears_at_every_qos() {
    for version in VERSIONS {
        let stage = stage().await;
        let mut bob = Subscriber::begin(&stage, "bob", version, "2", &["-t", "qos/#", "-F", "said %q %r %t %p"]).await;
        for qos in ["0", "1", "2"] {
            say(&stage, version, qos, &["-t", "qos/any", "-m", "hello"]);
            assert_eq!(bob.said().await.unwrap(), format!("{qos} 0 qos/any hello"), "{version}");
        }
        let mut carol = Subscriber::begin(&stage, "carol", version, "1", &["-t", "qos/#", "-F", "said %q"]).await;
        say(&stage, version, "2", &["-t", "qos/any", "-m", "hello"]);
        assert_eq!(carol.said().await.unwrap(), "1", "{version}: what it asked for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_is_told_that_a_topic_is_closed() {
    let stage = Stage::open().await;
    let pub_1 =
        |version| output(mosquitto_at(&stage, "mosquitto_pub", "alice", version, "1").args(["-t", "a", "-m", "x"]));
    let told = pub_1("mqttv5");
    let told = text(&told.stderr) + &text(&told.stdout);
    assert!(told.contains("Not authorized"), "mosquitto_pub said of the refusal: {told}");
    assert!(!pub_1("mqttv311").status.success(), "the connection is closed");
    let heard = output(mosquitto_at(&stage, "mosquitto_sub", "alice", "mqttv311", "1").args(["-t", "a", "-W", "20"]));
    assert!(text(&heard.stderr).contains("denied"), "mosquitto_sub was not told: {}", text(&heard.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mosquitto_retains_comes_first_until_it_is_cleared() {
    for version in VERSIONS {
        let stage = stage().await;
        let first = async || {
            Subscriber::begin(&stage, "bob", version, "1", &["-t", "kept", "-C", "1", "-F", "said %r %p"]).await
        };
        say(&stage, version, "1", &["-t", "kept", "-m", "hello", "-r"]);
        assert_eq!(first().await.said().await.unwrap(), "1 hello", "{version}");
        say(&stage, version, "1", &["-t", "kept", "-n", "-r"]);
        let mut bob = first().await;
        say(&stage, version, "1", &["-t", "kept", "-m", "live", "-r"]);
        assert_eq!(bob.said().await.unwrap(), "0 live", "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_will_of_mosquitto_is_said_when_it_is_killed() {
    for version in VERSIONS {
        let stage = stage().await;
        let mut bob = Actor::connected(&stage, paho(Version::V3_1_1), "bob").await;
        bob.subscribe("gone", 2).await;
        let will = ["-t", "any", "--will-topic", "gone", "--will-payload", "alice is gone", "--will-qos", "1"];
        let mut alice = Subscriber::begin(&stage, "alice", version, "1", &will).await;
        alice.child.kill().await.unwrap();
        let heard = bob.next().await;
        assert_eq!((heard.payload.as_str(), heard.qos), ("alice is gone", 1), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_mosquitto_goes_on_after_a_kill_of_the_broker() {
    for version in VERSIONS {
        let mut stage = stage().await;
        let mut kept = vec!["-c", "-t", "waiting/#"];
        if version == "mqttv5" {
            kept.extend(["-x", "3600"]);
        }
        let mut sub_2 = mosquitto_at(&stage, "mosquitto_sub", "bob", version, "2");
        let subscribed = output(sub_2.args(&kept).args(["-E", "-W", "20"]));
        assert!(subscribed.status.success(), "{version}: {}", text(&subscribed.stderr));
        let mut alice = Actor::connected(&stage, paho(Version::V5), "alice").await;
        for number in 0..WAITING {
            alice.publish("waiting/n", &number.to_string(), 2).await;
        }
        stage.kill_and_restart().await;
        let mut sub_2 = mosquitto_at(&stage, "mosquitto_sub", "bob", version, "2");
        let heard = output(sub_2.args(&kept).args(["-C", &WAITING.to_string(), "-W", "20"]));
        let expected: Vec<String> = (0..WAITING).map(|number| number.to_string()).collect();
        assert_eq!(text(&heard.stdout).lines().collect::<Vec<_>>(), expected, "{version}: {}", text(&heard.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_speaks_and_hears_a_large_payload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, "x".repeat(LARGE_BYTES)).unwrap();
    for version in VERSIONS {
        let stage = stage().await;
        let mut bob = Subscriber::begin(&stage, "bob", version, "1", &["-t", "large", "-F", "said %l"]).await;
        say(&stage, version, "1", &["-t", "large", "-f", file.to_str().unwrap()]);
        assert_eq!(bob.said().await.unwrap(), LARGE_BYTES.to_string(), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_and_paho_keep_what_a_message_carries() {
    let stage = stage().await;
    let shown = ["-t", "carried", "-F", "said %C|%R|%D|%P|%p"];
    let mut bob = Subscriber::begin(&stage, "bob", "mqttv5", "1", &shown).await;
    let mut carol = Actor::connected(&stage, paho(Version::V5), "carol").await;
    carol.subscribe("carried", 1).await;
    let mut said = vec!["-t", "carried", "-m", "hello", "-D", "publish", "content-type", "text/plain"];
    said.extend(["-D", "publish", "response-topic", "back", "-D", "publish", "correlation-data", "7"]);
    said.extend(["-D", "publish", "user-property", "a", "1", "-D", "publish", "user-property", "a", "2"]);
    say(&stage, "mqttv5", "1", &said);
    assert_eq!(bob.said().await.unwrap(), "text/plain|back|7|a:1 a:2|hello");
    let properties = json!({
        "content_type": "text/plain", "response_topic": "back", "correlation": "7", "user": [["a", "1"], ["a", "2"]],
    });
    assert_eq!(carol.next().await.properties, properties);
    carol.publish_with(with(json!({"topic": "carried", "payload": "from paho"}), properties)).await;
    assert_eq!(bob.said().await.unwrap(), "text/plain|back|7|a:1 a:2|from paho");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_mosquitto_rr_is_answered() {
    let stage = stage().await;
    let mut bob = Actor::connected(&stage, paho(Version::V5), "bob").await;
    bob.subscribe("requests", 1).await;
    let mut rr = mosquitto_at(&stage, "mosquitto_rr", "alice", "mqttv5", "1");
    rr.args(["-t", "requests", "-e", "responses/alice", "-m", "6 * 7", "-W", "20"]);
    let asked = tokio::task::spawn_blocking(move || output(&mut rr));
    let request = bob.next().await;
    assert_eq!((request.payload.as_str(), &request.properties["response_topic"]), ("6 * 7", &json!("responses/alice")));
    let mut response = json!({"topic": "responses/alice", "payload": "42"});
    if let Some(correlation) = request.properties["correlation"].as_str() {
        response = with(response, json!({"correlation": correlation}));
    }
    bob.publish_with(response).await;
    let answered = asked.await.unwrap();
    assert_eq!(text(&answered.stdout).trim(), "42", "{}", text(&answered.stderr));
}
