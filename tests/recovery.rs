//! A store that does not open as it was left: each kind has its answer, in words that an operator can act on, and nothing is
//! made worse. And the operator's tools: a look through a store, a backup, what is put back from it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quorate_testkit::{BrokerOptions, quorate_binary};
use quorate_wire::ReasonCode;
use serde_json::{Value, json};

use crate::stage::{LIMIT, Stage, hear, publish, refusal, subscribe};

/// A broker that has something in its store, killed.
async fn killed_with(messages: usize) -> (Stage, String) {
    let mut stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    for n in 0..messages {
        publish(&alice, &format!("tx/{tx}/broadcast/{n}/alice"), &format!("said {n}")).await.expect("taken");
    }
    stage.kill();
    (stage, tx)
}

/// Runs a command of the binary to its end.
fn quorate(arguments: &[&str]) -> Output {
    let mut child = Command::new(quorate_binary().expect("built"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let deadline = std::time::Instant::now() + LIMIT;
    while child.try_wait().expect("a process").is_none() {
        if std::time::Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.wait_with_output().expect("its output")
}

/// What `quorate serve` says where it does not start.
pub fn does_not_start(stage: &Stage) -> String {
    let config = stage.broker().config_path();
    let output = quorate(&["serve", "-c", config.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check_store(stage: &Stage, path: Option<&Path>) -> Output {
    let config = stage.broker().config_path();
    let mut arguments = vec!["check", "store", "--json", "-c", config.to_str().expect("text")];
    if let Some(path) = path {
        arguments.extend(["--path", path.to_str().expect("text")]);
    }
    quorate(&arguments)
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The files of a store that end so, the largest first.
fn files(store: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).expect("a file").len()));
    files
}

/// Starts the broker and ends it in order, so that all is in table files.
async fn written_out(messages: usize) -> (Stage, String) {
    let (mut stage, tx) = killed_with(messages).await;
    stage.restart().await;
    stage.terminate().await;
    (stage, tx)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_the_log_of_writes_is_left_out_and_all_that_was_acknowledged_is_there() {
    let (mut stage, tx) = killed_with(20).await;
    let log = files(&stage.broker().store_path(), ".log").remove(0);
    // A record that was being written when the power went: its header, and half of what it announces.
    let mut file = OpenOptions::new().append(true).open(&log).expect("a log");
    file.write_all(&[0xab, 0xcd, 0xef, 0x01, 0x00, 0x10, 0x01, 0x55, 0x55, 0x55]).expect("written");
    drop(file);
    stage.restart().await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/broadcast/#")).await.expect("taken");
    assert_eq!(hear(&mut bob, 20).await.len(), 20);
    stage.terminate().await;
    assert_eq!(report(&check_store(&stage, None))["sound"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_file_is_named_and_nothing_is_changed() {
    let (stage, _) = written_out(20).await;
    let table = files(&stage.broker().store_path(), ".sst").remove(0);
    let away = table.with_extension("away");
    fs::rename(&table, &away).expect("moved");
    let told = does_not_start(&stage);
    let name = table.file_name().expect("a name").to_string_lossy().into_owned();
    for part in ["the store is damaged", &name, "quorate check store", "quorate store restore"] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let looked = check_store(&stage, None);
    assert_eq!(looked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&looked.stderr).contains(&name));
    fs::rename(&away, &table).expect("moved back");
    assert_eq!(report(&check_store(&stage, None))["sound"], json!(true), "with the file, all is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_table_file_is_found_and_never_delivered_as_if_it_were_whole() {
    let (mut stage, tx) = written_out(200).await;
    let table = files(&stage.broker().store_path(), ".sst").remove(0);
    let mut bytes = fs::read(&table).expect("readable");
    for byte in &mut bytes[64..128] {
        *byte ^= 0x5a;
    }
    fs::write(&table, bytes).expect("written");
    let looked = check_store(&stage, None);
    assert_eq!(looked.status.code(), Some(1));
    let report = report(&looked);
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|it| it["problem"].to_string().contains("Corruption")), "{report}");
    // The broker may start, since not all is read then; what it cannot read it neither invents nor skips.
    if stage_starts(&mut stage).await {
        let mut bob = stage.client("bob").await;
        subscribe(&bob, &format!("tx/{tx}/broadcast/#")).await.ok();
        let mut expected = 0;
        while let Ok(Ok(message)) = tokio::time::timeout(std::time::Duration::from_secs(3), bob.next()).await {
            assert_eq!(message.payload, format!("said {expected}"), "in order, without a gap");
            expected += 1;
        }
        assert!(expected < 200, "something cannot be read");
    }
}

async fn stage_starts(stage: &mut Stage) -> bool {
    stage.try_restart().await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_told_to_whoever_comes_second() {
    let stage = Stage::open().await;
    let told = does_not_start(&stage);
    assert!(told.contains("the store is in use by another process"), "{told}");
    let looked = check_store(&stage, None);
    assert_eq!(looked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&looked.stderr).contains("a broker has it open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_may_not_be_written_says_so() {
    let (stage, _) = killed_with(3).await;
    let mut disk = match crate::disk_full::ReadOnly::over(&stage.broker().store_path()) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("left out: nothing can be mounted here ({error})"),
    };
    let told = does_not_start(&stage);
    assert!(told.contains("the store cannot be written"), "{told}");
    assert_eq!(report(&check_store(&stage, None))["sound"], json!(true), "it can be looked at");
    disk.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_master_key_is_told_and_without_one_nothing_opens() {
    let (stage, _) = killed_with(3).await;
    let key = stage.broker().ca().dir().join("master.key");
    let right = fs::read(&key).expect("readable");
    for (text, says) in [("0".repeat(64), "sealed under the master key"), ("short".to_owned(), "64 hexadecimal digits")]
    {
        fs::write(&key, &text).expect("written");
        let told = does_not_start(&stage);
        assert!(told.contains(says), "{told}");
        assert!(!told.contains(&text), "the key itself is not repeated");
    }
    fs::remove_file(&key).expect("removed");
    assert!(does_not_start(&stage).contains("quorate certs init"));
    fs::write(&key, right).expect("written");
    assert_eq!(report(&check_store(&stage, None))["sound"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broker_is_backed_up_and_put_back_as_the_handbook_says() {
    let backups = tempfile::tempdir().expect("a folder");
    let options = BrokerOptions::default().set("storage.backup_folder", backups.path().to_str().expect("text"));
    let mut stage = Stage::open_with(options).await;
    let certs = stage.certificates(&["alice", "bob", "operator", "mallory"]);
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    publish(&alice, &format!("tx/{tx}/broadcast/1/alice"), "before").await.expect("taken");
    let api = stage.broker().api_base();
    let as_ = |party: &str, arguments: &[&str]| {
        let certs = certs.to_str().expect("text");
        quorate(&[arguments, &["--as", party, "--certs", certs, "--api", &api]].concat())
    };
    let made = as_("operator", &["store", "backup", "nightly"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let backup = backups.path().join("nightly");
    assert_eq!(String::from_utf8_lossy(&made.stdout).trim(), backup.to_str().expect("text"));
    for (party, name, why) in [
        ("mallory", "mine", "404"),
        ("operator", "nightly", "already"),
        ("operator", "../outside", "a backup is named"),
    ] {
        let refused = as_(party, &["store", "backup", name]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(why), "{told}");
    }
    publish(&alice, &format!("tx/{tx}/broadcast/2/alice"), "after").await.expect("taken");
    assert_eq!(report(&check_store(&stage, Some(&backup)))["sound"], json!(true));

    let config = stage.broker().config_path();
    let restore = ["store", "restore", "--from", backup.to_str().expect("text"), "-c", config.to_str().expect("text")];
    stage.terminate().await;
    let occupied = quorate(&restore);
    assert!(String::from_utf8_lossy(&occupied.stderr).contains("move it away first"));
    let store = stage.broker().store_path();
    fs::rename(&store, store.with_extension("damaged")).expect("moved");
    let restored = quorate(&restore);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert!(String::from_utf8_lossy(&restored.stdout).contains("aborted   1 of 1"));

    stage.restart().await;
    let shown = stage.api("operator").transaction(&tx).await.expect("it is there");
    assert_eq!((&shown["state"]["state"], &shown["state"]["reason"]), (&json!("aborted"), &json!("restored")));
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/#")).await.expect("taken");
    let heard = hear(&mut bob, 3).await;
    assert_eq!(heard[1].payload, "before");
    let end: Value = serde_json::from_slice(&heard[2].payload).expect("JSON");
    assert_eq!((&end["reason"], &end["incarnation"]), (&json!("restored"), &shown["state"]["incarnation"]));
    let alice = stage.client("alice").await;
    let manifest = quorate_testkit::manifest(&["alice", "bob"]);
    let early = publish(&alice, &manifest.topic(), std::str::from_utf8(&manifest.json()).expect("text")).await;
    assert_eq!(refusal(early), Some(ReasonCode::QuotaExceeded));
    let confirmed = as_("operator", &["store", "confirm"]);
    assert!(confirmed.status.success(), "{}", String::from_utf8_lossy(&confirmed.stderr));
    stage.create(&alice, &["alice", "bob"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_folder_that_cannot_be_made_says_so() {
    let (stage, _) = killed_with(1).await;
    let parent = tempfile::tempdir().expect("a folder");
    let file = parent.path().join("file");
    fs::write(&file, "in the way").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    let config = stage.broker().config_path();
    let text = fs::read_to_string(&config).expect("readable");
    let store = stage.broker().store_path();
    let other = text.replace(store.to_str().expect("text"), file.join("store").to_str().expect("text"));
    let elsewhere = parent.path().join("broker.toml");
    fs::write(&elsewhere, other).expect("written");
    let output = quorate(&["serve", "-c", elsewhere.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("directory cannot be made"));
}
