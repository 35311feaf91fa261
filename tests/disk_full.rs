//! A disk that is really full: a small file system of the test's own (tmpfs, so as root, or where user namespaces may
//! mount). Publishers are told, nothing that was acknowledged is lost, what is stored is delivered, `/readyz` says why, and
//! the broker goes on by itself when there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorate_client::{Client, ClientError};
use quorate_testkit::{BrokerOptions, eventually};
use quorate_wire::ReasonCode;
use tempfile::TempDir;

use crate::stage::{LIMIT, Stage, hear, publish, subscribe};

const DISK_BYTES: usize = 64 << 20;
/// What stands in the way, and is taken away: more than half, since a store that is opened writes its log of writes out as
/// tables, and needs as much room again for that.
const BALLAST_BYTES: usize = 36 << 20;
const PAYLOAD_BYTES: usize = 64 << 10;
/// More than the disk holds.
const MESSAGES_MAX: usize = 2_000;

fn mount(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("mount").args(arguments).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn unmount(path: &Path) {
    // Lazily: whoever still has a file there keeps it until it ends.
    let _ = Command::new("umount").arg("-l").arg(path).output();
}

/// A folder that cannot be written for as long as this lives.
pub struct ReadOnly {
    path: Option<PathBuf>,
}

impl ReadOnly {
    /// Puts a read-only view of a folder over it.
    pub fn over(path: &Path) -> anyhow::Result<Self> {
        let text = path.to_str().expect("text");
        mount(&["--bind", text, text])?;
        let disk = Self { path: Some(path.to_owned()) };
        mount(&["-o", "remount,bind,ro", text])?;
        Ok(disk)
    }

    pub fn end(&mut self) {
        if let Some(path) = self.path.take() {
            unmount(&path);
        }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        self.end();
    }
}

/// A small disk, partly full.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={DISK_BYTES}");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs", folder.path().to_str().expect("text")])?;
        let disk = Self { folder };
        fs::write(disk.ballast(), vec![1; BALLAST_BYTES])?;
        Ok(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    async fn stage(&self, disk_free_min_bytes: usize) -> Stage {
        let store = self.folder.path().join("store");
        let options = BrokerOptions::default()
            .set("storage.path", store.to_str().expect("text"))
            .set("storage.disk_free_min_bytes", disk_free_min_bytes);
        Stage::open_with(options).await
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(self.folder.path());
    }
}

/// Publishes until the broker says no: what was acknowledged, and the refusal.
async fn fill(alice: &Client, tx: &str) -> (usize, ReasonCode) {
    for n in 0..MESSAGES_MAX {
        match publish(alice, &format!("tx/{tx}/msg/alice/n"), &said(n)).await {
            Ok(()) => {}
            Err(ClientError::Refused { code, .. }) => return (n, code),
            Err(error) => panic!("neither taken nor refused: {error}"),
        }
    }
    panic!("{MESSAGES_MAX} messages of {PAYLOAD_BYTES} bytes fit on a disk of {DISK_BYTES}");
}

/// Not to be compressed.
fn said(n: usize) -> String {
    let mut state = n as u64 + 1;
    let mut text = format!("{n} ");
    while text.len() < PAYLOAD_BYTES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}"));
    }
    text
}

async fn readiness(stage: &Stage) -> Result<(), String> {
    stage.api("operator").ready().await.map(drop).map_err(|error| error.to_string())
}

async fn until_ready(stage: &Stage) {
    let look = || async { readiness(stage).await.map_err(anyhow::Error::msg) };
    eventually(LIMIT, look).await.expect("it goes on by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_refuses_in_time_and_goes_on_when_there_is_room() {
    let disk = match SmallDisk::new() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("left out: nothing can be mounted here ({error})"),
    };
    let mut stage = disk.stage(16 << 20).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let (taken, code) = fill(&alice, &tx).await;
    assert_eq!(code, ReasonCode::QuotaExceeded);
    let why = readiness(&stage).await.expect_err("not ready");
    assert!(why.contains("nearly full"), "{why}");
    // What is stored is delivered, and the cursor of who heard it is stored: a restart repeats nothing.
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/msg/#")).await.expect("taken");
    for (n, message) in hear(&mut bob, taken).await.iter().enumerate() {
        assert_eq!(message.payload, said(n), "message {n}");
    }
    fs::remove_file(disk.ballast()).expect("removed");
    until_ready(&stage).await;
    publish(&alice, &format!("tx/{tx}/msg/alice/n"), "after").await.expect("taken again");
    assert_eq!(hear(&mut bob, 1).await[0].payload, "after");
    stage.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_loses_nothing_that_was_acknowledged() {
    let disk = match SmallDisk::new() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("left out: nothing can be mounted here ({error})"),
    };
    let mut stage = disk.stage(0).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let (taken, code) = fill(&alice, &tx).await;
    // Of what was being written nobody knows whether it is there; of what comes then everybody does.
    assert!([ReasonCode::UnspecifiedError, ReasonCode::QuotaExceeded].contains(&code), "{code:?}");
    let outcome = publish(&alice, &format!("tx/{tx}/msg/alice/n"), "too much").await;
    assert!(matches!(&outcome, Err(ClientError::Refused { code: ReasonCode::QuotaExceeded, .. })), "{outcome:?}");
    let why = readiness(&stage).await.expect_err("not ready");
    assert!(why.contains("No space left") || why.contains("full"), "{why}");
    fs::remove_file(disk.ballast()).expect("removed");
    until_ready(&stage).await;
    publish(&alice, &format!("tx/{tx}/msg/alice/n"), "after").await.expect("taken again");
    stage.kill_and_restart().await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/msg/#")).await.expect("taken");
    for (n, message) in hear(&mut bob, taken).await.iter().enumerate() {
        assert_eq!(message.payload, said(n), "message {n}");
    }
    // What was refused as unknown may be there; after it, what was taken again.
    let last = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let message = hear(&mut bob, 1).await.remove(0);
            if message.payload == "after" {
                return;
            }
            assert_eq!(message.payload, said(taken));
        }
    });
    last.await.expect("it is there");
    stage.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_a_broker_does_not_start_says_why_and_finds_all_once_there_is_room() {
    let disk = match SmallDisk::new() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("left out: nothing can be mounted here ({error})"),
    };
    let mut stage = disk.stage(0).await;
    let alice = stage.client("alice").await;
    let tx = stage.create(&alice, &["alice", "bob"]).await;
    let (taken, _) = fill(&alice, &tx).await;
    stage.kill();
    // The last bytes, which a refused write left.
    let filler = disk.folder.path().join("filler");
    while fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&filler)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[1; 4096]))
        .is_ok()
    {}
    let told = crate::recovery::does_not_start(&stage);
    assert!(told.contains("the disk is full: make room"), "{told}");
    fs::remove_file(disk.ballast()).expect("removed");
    stage.restart().await;
    let mut bob = stage.client("bob").await;
    subscribe(&bob, &format!("tx/{tx}/msg/#")).await.expect("taken");
    for (n, message) in hear(&mut bob, taken).await.iter().enumerate() {
        assert_eq!(message.payload, said(n), "message {n}");
    }
    stage.terminate().await;
}
