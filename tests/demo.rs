//! The demo from outside: it ends well, twice in a row, and the broker's store does not hold what adds up to the key.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use quorate_testkit::quorate_binary;
use serde_json::Value;

/// A FROST scalar: the part of a round-2 package that is secret stands at its end.
const SCALAR_BYTES: usize = 32;

fn demo(arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(quorate_binary().expect("the built binary"))
        .args(["demo", "--certs"])
        .arg(folder.join("certs"))
        .args(arguments)
        .output()
        .expect("the binary starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Every file below a folder, as one string of bytes.
fn contents(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => bytes.extend(contents(&path)),
            false => bytes.extend(fs::read(&path).expect("a file")),
        }
    }
    bytes
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// In no spelling that a store or a log could use.
fn holds_in_any_spelling(haystack: &[u8], secret: &[u8]) -> bool {
    let spellings = [secret.to_vec(), hex::encode(secret).into_bytes(), BASE64_STANDARD.encode(secret).into_bytes()];
    spellings.iter().any(|spelling| holds(haystack, spelling))
}

#[test]
fn the_demo_ends_in_a_valid_signature_twice_in_a_row() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for _ in 0..2 {
        let output = demo(&[], folder.path());
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(text.lines().last(), Some("signature: valid"), "{text}");
    }
}

#[test]
fn the_brokers_store_holds_no_round_2_package_in_the_clear() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stage = folder.path().join("stage");
    let stage_argument = stage.to_str().expect("text");
    let output = demo(&["--json", "--danger-keep-round2", "--dir", stage_argument], folder.path());
    let steps: Vec<Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a step"))
        .collect();
    assert_eq!(steps.last().map(|step| &step["valid"]), Some(&Value::Bool(true)));

    // What is end-to-end encrypted is not in the clear even where the broker seals nothing.
    let mut haystack = contents(&stage.join("store"));
    haystack.extend(fs::read(stage.join("broker.log")).expect("a log"));
    let mut packages = 0;
    for party in ["alice", "bob", "carol"] {
        let path = stage.join(format!("{party}.state.json"));
        assert_eq!(fs::metadata(&path).expect("a state file").permissions().mode() & 0o777, 0o600);
        let state: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let rooms = state["rooms"].as_object().expect("rooms").values();
        for package in rooms.filter_map(|room| room["protocol"]["keygen"]["danger_round2"].as_array()).flatten() {
            let package = hex::decode(package.as_str().expect("text")).expect("hexadecimal");
            let secret = &package[package.len() - SCALAR_BYTES..];
            assert!(!holds_in_any_spelling(&haystack, secret), "a round-2 package for {party} is in the store");
            packages += 1;
        }
    }
    assert_eq!(packages, 6, "each of three parties gets a package from the two others");

    // The search can find: the public key is in the results, which nobody hides.
    assert!(holds(&haystack, &public_key(&steps)), "the search does not find what is there");
}

#[test]
fn the_brokers_store_is_sealed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stage = folder.path().join("stage");
    let output = demo(&["--json", "--dir", stage.to_str().expect("text")], folder.path());
    let text = String::from_utf8(output.stdout).expect("text");
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("one object a step")).collect();
    let haystack = contents(&stage.join("store"));
    assert!(holds(&haystack, b"broadcast/"), "there is a store, and its topics are in the clear");
    assert!(!holds(&haystack, &public_key(&steps)), "what everybody said is in the store as they said it");
}

/// The key that the parties generated; it is in their results.
fn public_key(steps: &[Value]) -> Vec<u8> {
    let key = steps.iter().find_map(|step| step["facts"]["key"].as_str().filter(|_| step["name"] == "verify"));
    hex::decode(key.expect("a verify step")).expect("hexadecimal")
}
