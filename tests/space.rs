//! Room comes back: rooms that are created, completed, heard by all and purged leave nothing behind but their tombstones, in
//! the store and in the memory of a broker whose parties stay connected. `QUORATE_SPACE_TRANSACTIONS` sets how many; the long
//! form (`make space-test`) is 100,000 with 1,000,000 messages.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate_client::Client;
use quorate_testkit::{BrokerOptions, manifest};
use rand::RngCore;
use tokio::task::JoinHandle;

use crate::stage::{LIMIT, Stage, publish, subscribe};

const TRANSACTIONS_DEFAULT: usize = 400;
const PARTIES: [&str; 3] = ["alice", "bob", "carol"];
/// Said in each beside its manifest and its three results; ten messages in all.
const ROUNDS: usize = 2;
const PAYLOAD_BYTES: usize = 256;
/// What the store holds all the time, that the comparison is with something.
const BASE_MESSAGES: usize = 400;
const BASE_PAYLOAD_BYTES: usize = 64 << 10;
/// What a tombstone, and its key, take at most.
const TOMBSTONE_BYTES: u64 = 200;
/// Rooms that are under way at a time.
const AT_ONCE: usize = 8;
/// From the middle to the end, RocksDB's write buffers and block cache left out: what is left of each room would show.
const MEMORY_GROWTH_MAX: u64 = 32 << 20;

fn transactions() -> usize {
    let set = std::env::var("QUORATE_SPACE_TRANSACTIONS").ok();
    set.map_or(TRANSACTIONS_DEFAULT, |text| text.parse().expect("QUORATE_SPACE_TRANSACTIONS is a number"))
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    // A file may go between the look at the folder and the look at the file.
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// What the broker has in memory beside RocksDB's block cache and write buffers, which fill up to their bounds.
async fn memory_of(stage: &Stage) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", stage.broker().pid().expect("it runs"))).expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let resident = line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") << 10;
    let cache = metric(stage, "quorate_store_block_cache_bytes").await;
    let buffers = metric(stage, "quorate_store_write_buffers_bytes").await;
    resident.saturating_sub(cache + buffers)
}

async fn metric(stage: &Stage, name: &str) -> u64 {
    let metrics = stage.api("operator").text(&["metrics"]).await.expect("metrics");
    let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    found.unwrap_or_else(|| panic!("no {name} in {metrics}")) as u64
}

async fn purged(stage: &Stage) -> usize {
    metric(stage, "quorate_transactions_purged_total").await as usize
}

/// Hears and acknowledges all.
fn listener(mut client: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok(message) = client.next().await {
            if client.acknowledge(&message).await.is_err() {
                return;
            }
        }
    })
}

async fn one_room(speakers: &[Client; 3]) {
    let manifest = manifest(&PARTIES).without_join();
    let [alice, ..] = speakers;
    let text = manifest.json();
    publish(alice, &manifest.topic(), std::str::from_utf8(&text).expect("text")).await.expect("created");
    let tx = manifest.tx();
    for (client, party) in speakers.iter().zip(PARTIES) {
        for round in 0..ROUNDS {
            let said = format!("{round:0width$}", width = PAYLOAD_BYTES);
            publish(client, &format!("tx/{tx}/broadcast/{round}/{party}"), &said).await.expect("taken");
        }
    }
    for (client, party) in speakers.iter().zip(PARTIES) {
        publish(client, &format!("tx/{tx}/result/{party}"), "the result").await.expect("taken");
    }
}

async fn many_rooms(speakers: &std::sync::Arc<[Client; 3]>, count: usize) {
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..count {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await.expect("one is under way").expect("it ends well");
        }
        let speakers = speakers.clone();
        under_way.spawn(async move { one_room(&speakers).await });
    }
    while let Some(ended) = under_way.join_next().await {
        ended.expect("it ends well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_comes_back_when_transactions_are_purged() {
    let count = transactions();
    let options = BrokerOptions::default().set("transactions.purge_after_s", 0).set("storage.durability", "os");
    let mut stage = Stage::open_with(options).await;
    let mut heard = Vec::new();
    for party in PARTIES {
        let client = stage.client_as(party, "ear").await;
        subscribe(&client, "tx/+/#").await.expect("taken");
        heard.push(listener(client));
    }
    let speakers = [stage.client("alice").await, stage.client("bob").await, stage.client("carol").await];
    let base = stage.create(&speakers[0], &PARTIES).await;
    for _ in 0..BASE_MESSAGES {
        let mut said = vec![0; BASE_PAYLOAD_BYTES / 2];
        rand::thread_rng().fill_bytes(&mut said);
        publish(&speakers[0], &format!("tx/{base}/msg/alice/n"), &hex(&said)).await.expect("taken");
    }
    let speakers = std::sync::Arc::new(speakers);
    many_rooms(&speakers, count / 10).await;
    let store = stage.broker().store_path();
    let bytes_before = bytes_in(&store);
    let began = Instant::now();
    let mut memory = vec![memory_of(&stage).await];
    for _ in 1..10 {
        many_rooms(&speakers, count / 10).await;
        memory.push(memory_of(&stage).await);
    }
    let took = began.elapsed();
    let count = count / 10 * 10;
    let deadline = Instant::now() + LIMIT;
    while purged(&stage).await < count {
        assert!(Instant::now() < deadline, "{} of {count} are purged", purged(&stage).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tombstones = TOMBSTONE_BYTES * count as u64;
    let deadline = Instant::now() + LIMIT;
    while bytes_in(&store) > 2 * bytes_before + tombstones {
        assert!(Instant::now() < deadline, "{} bytes after {bytes_before}", bytes_in(&store));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    memory.push(memory_of(&stage).await);
    let mebibytes: Vec<_> = memory.iter().map(|bytes| bytes >> 20).collect();
    println!(
        "{count} transactions, {} messages; nine tenths of them in {:.1} s; store {bytes_before} bytes after the first tenth, {} \
         after all; memory after each tenth, and at the end: {mebibytes:?} MiB",
        count * (4 + ROUNDS * PARTIES.len()),
        took.as_secs_f64(),
        bytes_in(&store),
    );
    assert!(memory[10] < memory[4] + MEMORY_GROWTH_MAX, "memory grew: {mebibytes:?} MiB");
    for listener in heard {
        listener.abort();
    }
    stage.terminate().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
