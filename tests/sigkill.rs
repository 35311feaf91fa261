//! SIGKILL at random moments under load: what got its PUBACK reaches every listed party, in order, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_client::{Client, Message};
use quorate_domain::Seq;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::stage::{Reach, Stage, hear_until, publish, seqs_grow, subscribe};

const KILLS: usize = 50;
const PARTIES: [&str; 3] = ["alice", "bob", "carol"];
/// Publishes that a party has under way at a time.
const INFLIGHT: usize = 20;

/// Publishes to both rooms until told to stop; gives what was acknowledged, as (transaction, payload).
fn publisher(
    reach: Reach,
    party: &'static str,
    rooms: Vec<String>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Vec<(String, String)>> {
    tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let Ok(client) = reach.try_client(0).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            while !stop.load(Ordering::Relaxed) {
                if publish_some(&client, party, &rooms, &mut number, &mut acknowledged).await.is_err() {
                    break;
                }
            }
        }
        acknowledged
    })
}

async fn publish_some(
    client: &Client,
    party: &str,
    rooms: &[String],
    number: &mut usize,
    acknowledged: &mut Vec<(String, String)>,
) -> Result<(), quorate_client::ClientError> {
    let mut tickets = Vec::new();
    for _ in 0..INFLIGHT {
        *number += 1;
        let room = &rooms[*number % rooms.len()];
        let said = format!("{party} {number}");
        // Slots and free-form messages in turn: both are promised.
        let topic = match *number % 3 {
            0 => format!("tx/{room}/broadcast/{number}/{party}"),
            _ => format!("tx/{room}/msg/{party}/n"),
        };
        let ticket = client.start_publish(&topic, said.clone().into(), quorate_wire::QoS::AtLeastOnce).await?;
        tickets.push((room.clone(), said, ticket));
    }
    for (room, said, ticket) in tickets {
        ticket.acknowledged().await?;
        acknowledged.push((room, said));
    }
    Ok(())
}

/// A party with one durable session that listens all the while, over every kill.
fn listener(reach: Reach, stop: Arc<AtomicBool>) -> JoinHandle<Vec<Message>> {
    tokio::spawn(async move {
        let mut heard = Vec::new();
        loop {
            let Ok(mut client) = reach.try_client(0).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            if subscribe(&client, "tx/+/#").await.is_err() {
                continue;
            }
            while let Ok(next) = tokio::time::timeout(Duration::from_secs(3), client.next()).await {
                let Ok(message) = next else { break };
                if client.acknowledge(&message).await.is_err() {
                    break;
                }
                heard.push(message);
            }
            if stop.load(Ordering::Relaxed) {
                return heard;
            }
        }
    })
}

fn by_room(messages: &[Message]) -> BTreeMap<String, Vec<(Seq, String)>> {
    let mut rooms: BTreeMap<String, Vec<(Seq, String)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for message in messages.iter().filter(|message| is_said(&message.topic)) {
        let room = message.topic.split('/').nth(1).unwrap().to_owned();
        let seq = message.seq.unwrap();
        if seen.insert((room.clone(), seq)) {
            let said = String::from_utf8(message.payload.to_vec()).unwrap();
            rooms.entry(room).or_default().push((seq, said));
        }
    }
    rooms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_fifty_kills() {
    // A seed that once failed is set here: QUORATE_TEST_SEED=... (the moments of the kills still vary with the machine).
    let seed: u64 = std::env::var("QUORATE_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::open().await;
    let alice = stage.client("alice").await;
    let rooms = vec![stage.create(&alice, &PARTIES).await, stage.create(&alice, &PARTIES).await];
    drop(alice);
    let (stop_speaking, stop_listening) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let publishers: Vec<_> = ["alice", "bob"]
        .map(|party| publisher(stage.reach(party, &["publisher"]), party, rooms.clone(), stop_speaking.clone()))
        .into();
    let carol = listener(stage.reach("carol", &["listener"]), stop_listening.clone());
    let mallory = listener(stage.reach("mallory", &["listener"]), stop_listening.clone());
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.gen_range(20..200))).await;
        stage.kill_and_restart().await;
    }
    stop_speaking.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    stop_listening.store(true, Ordering::Relaxed);
    assert!(acknowledged.len() > KILLS * 20, "too little load to mean anything: {}", acknowledged.len());
    println!("{} acknowledged over {KILLS} kills", acknowledged.len());

    let carol = by_room(&carol.await.unwrap());
    check("carol, who listened over all kills", &carol, &acknowledged);
    assert!(mallory.await.unwrap().is_empty(), "mallory heard something");
    for party in PARTIES {
        let heard = replay(&stage, party, &rooms).await;
        check(party, &heard, &acknowledged);
        assert_eq!(heard, carol, "{party} and carol heard the same");
    }
}

/// What the publishers said, not what the broker and the markers did.
fn is_said(topic: &str) -> bool {
    topic.ends_with("/n") || topic.contains("/broadcast/")
}

/// All that a party hears that comes with a new session: up to a marker that it says itself.
async fn replay(stage: &Stage, party: &str, rooms: &[String]) -> BTreeMap<String, Vec<(Seq, String)>> {
    let mut client = stage.client_as(party, "replay").await;
    let mut all = Vec::new();
    for room in rooms {
        let marker = format!("tx/{room}/msg/{party}/marker");
        publish(&client, &marker, "marker").await.unwrap();
        // One subscription, so that the order is one.
        subscribe(&client, &format!("tx/{room}/#")).await.unwrap();
        let heard = hear_until(&mut client, |message| message.topic == marker).await;
        let heard: Vec<Message> = heard.into_iter().filter(|message| is_said(&message.topic)).collect();
        assert!(seqs_grow(&heard));
        all.extend(heard);
    }
    by_room(&all)
}

fn check(who: &str, heard: &BTreeMap<String, Vec<(Seq, String)>>, acknowledged: &[(String, String)]) {
    for (room, messages) in heard {
        assert!(messages.windows(2).all(|pair| pair[0].0 < pair[1].0), "{who} heard {room} out of order");
    }
    let heard: BTreeSet<(&str, &str)> =
        heard.iter().flat_map(|(room, said)| said.iter().map(|(_, said)| (room.as_str(), said.as_str()))).collect();
    for (room, said) in acknowledged {
        assert!(heard.contains(&(room.as_str(), said.as_str())), "{who} never heard {said:?} in {room}");
    }
}
