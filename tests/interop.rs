//! The broker for conformance suites: what `tests/interop.toml` promises.

use std::path::Path;
use std::process::Stdio;

use quorate_testkit::quorate_binary;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::actors::{Actor, Version, paho};
use crate::stage::LIMIT;

const INTEROP: &str = include_str!("interop.toml");

/// A broker whose system has `temporary` as its temporary directory, on a port that is free.
fn start(folder: &Path, temporary: &Path) -> (Child, Lines<BufReader<ChildStderr>>) {
    let file = folder.join("interop.toml");
    std::fs::write(&file, INTEROP.replace("127.0.0.1:21999", "127.0.0.1:0")).unwrap();
    let mut child = Command::new(quorate_binary().unwrap())
        .args(["serve", "-c"])
        .arg(&file)
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap()).lines();
    (child, log)
}

/// Where it listens, once it does.
async fn address(log: &mut Lines<BufReader<ChildStderr>>) -> String {
    let listening = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if let Some((_, rest)) = line.split_once("interop=") {
                return rest.split('"').next().unwrap().to_owned();
            }
        }
        panic!("it ended before it listened");
    };
    timeout(LIMIT, listening).await.expect("it listens")
}

/// What is answered to a CONNECT of MQTT 3.1.1 with a clean session and this identifier.
async fn connack(address: &str, client_id: &str) -> [u8; 4] {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = u8::try_from(client_id.len()).unwrap();
    let mut packet = vec![0x10, 12 + length];
    packet.extend(b"\0\x04MQTT\x04\x02\0\x3c\0");
    packet.push(length);
    packet.extend(client_id.as_bytes());
    socket.write_all(&packet).await.unwrap();
    let mut answer = [0; 4];
    timeout(LIMIT, socket.read_exact(&mut answer)).await.expect("an answer").unwrap();
    answer
}

fn folders(of: &Path) -> usize {
    std::fs::read_dir(of).unwrap().count()
}

#[tokio::test]
async fn the_broker_for_conformance_suites_lets_everybody_in_and_leaves_nothing_behind() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut child, mut log) = start(folder.path(), temporary.path());
    let address = address(&mut log).await;
    for client_id in ["", "alice", "with spaces"] {
        assert_eq!(connack(&address, client_id).await, [0x20, 2, 0, 0], "{client_id:?}");
    }
    assert_eq!(folders(temporary.path()), 1, "its store");
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = timeout(LIMIT, child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(folders(temporary.path()), 0, "the store is gone");
    assert_eq!(folders(folder.path()), 1, "nothing was written beside the configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_client_of_any_name_speaks_and_hears_on_the_broker_for_conformance_suites() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_broker, mut log) = start(folder.path(), temporary.path());
    let place = json!({"url": format!("mqtt://{}", address(&mut log).await)});
    for version in [Version::V3_1_1, Version::V5] {
        for client_id in
            ["", "alice", "\u{fc}/1 2", "an identifier that is longer than any party's name: 0123456789 0123456789"]
        {
            let mut actor = Actor::enter_at(place.clone(), paho(version), "anybody");
            let connected = actor.try_connect(json!({"client_id": client_id})).await;
            assert_eq!(connected["event"], "connected", "{client_id:?}: {connected}");
            let is_assigned = connected["assigned"].as_str().is_some_and(|assigned| !assigned.is_empty());
            assert_eq!(is_assigned, client_id.is_empty() && version == Version::V5, "{connected}");
            actor.subscribe("any/+", 2).await;
            for qos in 0..=2 {
                actor.publish("any/topic", client_id, qos).await;
                let heard = actor.next().await;
                assert_eq!((heard.payload.as_str(), heard.qos), (client_id, qos));
            }
            actor.subscribe("$SYS/broker/version", 0).await;
            assert!(actor.next().await.payload.starts_with("quorate"));
            actor.disconnect().await;
        }
    }
}
