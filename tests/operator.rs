//! What an operator gets wrong is told with key and line, and what a command needs is said.

use std::process::Command;

use quorate_testkit::quorate_binary;

#[test]
fn a_bad_configuration_lists_all_problems_and_exits_with_64() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.toml");
    std::fs::write(
        &path,
        "[storage]\npath = \"data\"\ndurability = \"maybe\"\n[session]\ninflight_max = 0\nno_such_key = 1\n",
    )
    .unwrap();
    let output = Command::new(quorate_binary().unwrap()).args(["serve", "-c"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let told = String::from_utf8(output.stderr).unwrap();
    for part in ["durability", "no_such_key", "inflight_max", "listener", "line 3", "line 5", "line 6"] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let output =
        Command::new(quorate_binary().unwrap()).args(["serve", "-c", "/nonexistent/broker.toml"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/broker.toml"));
}

#[test]
fn a_missing_certificate_says_what_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(quorate_binary().unwrap())
        .args(["pub", "--as", "alice", "-t", "tx/x", "-m", "x", "--certs"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("quorate certs"), "{output:?}");
}
