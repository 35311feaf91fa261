//! The command line by hand: what the README's first ten minutes do, against a broker of the test's own.

use std::path::Path;
use std::process::{Command, Output};

use quorate_testkit::quorate_binary;
use serde_json::Value;

use crate::stage::{Stage, at};

fn run(arguments: &[&str]) -> Output {
    Command::new(quorate_binary().unwrap()).args(arguments).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(told.contains(why), "no {why:?} in: {told}");
}

/// A command of a party against the stage's broker.
struct As<'a> {
    party: &'a str,
    certs: &'a Path,
    broker: String,
    api: String,
}

impl<'a> As<'a> {
    fn new(stage: &Stage, certs: &'a Path, party: &'a str) -> Self {
        Self { party, certs, broker: stage.broker().address(), api: stage.broker().api_base() }
    }

    fn mqtt(&self, arguments: &[&str]) -> Output {
        self.run(arguments, &["--broker", &self.broker])
    }

    fn http(&self, arguments: &[&str]) -> Output {
        self.run(arguments, &["--api", &self.api])
    }

    fn run(&self, arguments: &[&str], place: &[&str]) -> Output {
        let certs = self.certs.to_str().unwrap();
        run(&[arguments, &["--as", self.party, "--certs", certs], place].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_minutes_of_the_readme_are_true() {
    let stage = Stage::open().await;
    let certs = stage.certificates(&["alice", "bob", "mallory", "operator"]);
    let [alice, bob, mallory, operator] =
        ["alice", "bob", "mallory", "operator"].map(|party| As::new(&stage, &certs, party));
    let create = ["tx", "create", "--parties", "alice,bob", "--threshold", "2", "--protocol", "demo", "--no-join"];
    let tx = stdout(&alice.http(&create)).split_whitespace().last().unwrap().to_owned();
    let (slot, room) = (format!("tx/{tx}/broadcast/1/alice"), format!("tx/{tx}/#"));

    stdout(&alice.mqtt(&["pub", "-t", &slot, "-m", "hello bob"]));
    let heard = stdout(&bob.mqtt(&["sub", "-t", &room, "--count", "3", "--timeout", "30", "--json"]));
    let payloads: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(payloads.iter().any(|message| message["topic"] == slot && message["from"] == "alice"), "{heard}");

    refused(&mallory.mqtt(&["sub", "-t", &room, "--timeout", "5"]), "not authorized");
    refused(&alice.mqtt(&["pub", "-t", &slot, "-m", "other"]), "slot-taken");

    assert!(stdout(&operator.http(&["party", "list"])).contains("bob"));
    let shown: Value = serde_json::from_str(&stdout(&operator.http(&["party", "show", "alice", "--json"]))).unwrap();
    assert_eq!(at(&shown, "/online"), false);
    assert!(stdout(&operator.http(&["tx", "show", &tx])).contains("running"));
    assert!(stdout(&bob.http(&["tx", "list"])).contains(&tx));
    stdout(&operator.http(&["tx", "close", &tx]));
    assert!(stdout(&alice.http(&["tx", "show", &tx])).contains("aborted"));
    refused(&mallory.http(&["tx", "show", &tx]), "404");
}

#[test]
fn certs_are_made_once_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    stdout(&run(&["certs", "init", "--dir", dir, "--parties", "alice"]));
    let before = std::fs::read(folder.path().join("alice.pem")).unwrap();
    stdout(&run(&["certs", "init", "--dir", dir, "--parties", "alice"]));
    assert_eq!(std::fs::read(folder.path().join("alice.pem")).unwrap(), before, "a second run keeps what is there");
    stdout(&run(&["certs", "issue", "dave", "--dir", dir]));
    let shown = stdout(&run(&["certs", "show", folder.path().join("dave.pem").to_str().unwrap()]));
    assert!(shown.contains("dave"), "{shown}");
}
