//! The other transactions: a talker and a listener each, at a fixed pace, whatever else the broker does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use quorate_client::{Client, PublishTicket, QoS};
use quorate_testkit::{BrokerProcess, manifest};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::clock::{Clock, Tally};
use crate::listening::Listening;
use crate::receiver::{Goal, Heard};
use crate::sender::Place;
use crate::stamp::Stamp;

/// How long they talk before it counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the last messages may take.
const LAST_DELIVERIES_LIMIT: Duration = Duration::from_secs(60);
/// Publishes of one talker without an answer; beyond it the talker waits, and its messages count from when they were due.
const UNDERWAY_MAX: usize = 256;

/// Who talks, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    pub rooms: u32,
    /// From one message of a room to its next.
    pub every: Duration,
    pub payload_bytes: usize,
}

/// Lets them talk while `meanwhile` goes on, and gives what was heard with its latencies. `name` keeps the parties of one
/// call apart from those of another.
pub async fn talk<T>(
    broker: &BrokerProcess,
    talk: &Talk,
    name: &str,
    meanwhile: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Tally, T)> {
    let clock = Arc::new(Clock::new());
    let (over, is_over) = watch::channel(false);
    let mut listening = Listening::start(&clock, talk.rooms);
    let mut talkers = JoinSet::new();
    for room in 0..talk.rooms {
        let (talker, listener) = (format!("talker-{name}-{room}"), format!("listener-{name}-{room}"));
        let client = broker.client(&talker).await?;
        let manifest = manifest(&[&talker, &listener]).without_join();
        client.publish(&manifest.topic(), manifest.json(), QoS::AtLeastOnce).await.context("creating a room")?;
        let hearing = broker.client(&listener).await?;
        hearing.subscribe("tx/#", QoS::AtLeastOnce).await?;
        listening.add(hearing, Goal::Unknown);
        let place = Place::Slots { tx: manifest.tx().to_owned(), party: talker };
        talkers.spawn(say(client, place, room, *talk, clock.clone(), is_over.clone()));
    }
    sleep(WARM_UP).await;
    clock.begin_measuring();
    let outcome = meanwhile.await;
    over.send_replace(true);
    let mut said = vec![0; talk.rooms as usize];
    while let Some(ended) = talkers.join_next().await {
        let (room, count) = ended?.context("a talker")?;
        said[room as usize] = count;
    }
    let Heard { messages, broken, .. } = listening.end(&said, LAST_DELIVERIES_LIMIT).await?;
    let all: u64 = said.iter().sum();
    ensure!(messages.all >= all, "{} of {all} messages of others were heard {broken:?}", messages.all);
    Ok((messages, outcome?))
}

/// Says one message after the other when it is due, until it is over; gives how many.
async fn say(
    client: Client,
    place: Place,
    room: u32,
    talk: Talk,
    clock: Arc<Clock>,
    is_over: watch::Receiver<bool>,
) -> anyhow::Result<(u32, u64)> {
    let (to, mut underway) = mpsc::channel::<PublishTicket>(UNDERWAY_MAX);
    let answers = tokio::spawn(async move {
        while let Some(ticket) = underway.recv().await {
            ticket.acknowledged().await?;
        }
        anyhow::Ok(())
    });
    // Rooms begin one after the other within an interval, so that they do not all speak at once.
    let first = Instant::now() + talk.every * room / talk.rooms;
    let mut due = interval_at(first, talk.every);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number: u64 = 0;
    while !*is_over.borrow() {
        let was_due = due.tick().await;
        let late_ns = u64::try_from(was_due.elapsed().as_nanos())?;
        number += 1;
        let stamp = Stamp { sender: room, number, began_ns: clock.now_ns().saturating_sub(late_ns) };
        let payload = stamp.payload(talk.payload_bytes);
        let ticket = client.start_publish(&place.topic(number), payload, QoS::AtLeastOnce).await?;
        if to.send(ticket).await.is_err() {
            break;
        }
    }
    drop(to);
    answers.await?.context("a message was not taken")?;
    client.disconnect().await?;
    Ok((room, number))
}
