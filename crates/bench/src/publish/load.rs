//! The load: transactions with their parties, run until enough is measured, and what was seen meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_client::QoS;
use quorate_testkit::{BrokerProcess, manifest};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::batches::Batches;
use super::publisher::Task;
use super::{Target, listener, look, publisher};
use crate::clock::{Clock, Tally};
use crate::process::Process;

/// How long the last messages may take after the last publish; beyond it they count as lost.
const LAST_DELIVERIES_LIMIT: Duration = Duration::from_secs(60);
/// What to load the broker with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    pub transactions: u32,
    pub payload_bytes: usize,
    pub inflight: u16,
    pub target: Target,
    pub amount: Amount,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// For a time, after a warm-up.
    Time { warm_up: Duration, measured: Duration },
    /// So many messages a transaction.
    Messages(u64),
}

/// What was seen.
#[derive(Debug)]
pub struct Seen {
    pub elapsed: Duration,
    pub acknowledged: Tally,
    pub delivered: Tally,
    pub broker_cpu: Duration,
    pub generator_cpu: Duration,
    /// `None` where the broker's metrics do not tell.
    pub batches: Option<Batches>,
}

/// All parties, at work.
struct Parties {
    /// Each with the place of its transaction.
    publishers: JoinSet<anyhow::Result<(usize, Tally)>>,
    listeners: JoinSet<anyhow::Result<Tally>>,
    /// One a transaction: how many messages its listeners wait for, once that is known.
    expected: Vec<watch::Sender<Option<u64>>>,
}

/// What is read at the beginning and at the end of the measured time.
struct Mark {
    at: Instant,
    broker_cpu: Duration,
    generator_cpu: Duration,
}

/// Runs the load. Fails where a message that was acknowledged does not reach both listeners, in order.
pub async fn run(broker: &BrokerProcess, load: &Load) -> anyhow::Result<Seen> {
    let clock = Arc::new(Clock::new());
    let (gate, at_gate) = watch::channel(false);
    let mut parties = Parties::connect(broker, load, &clock, &at_gate).await?;
    if let Amount::Time { warm_up, .. } = load.amount {
        gate.send_replace(true);
        parties.pause(warm_up).await?;
    }
    let look_before = look(broker).await?;
    let begin = Mark::read(broker)?;
    clock.begin_measuring();
    gate.send_replace(true);
    let (acknowledged, delivered, end, look_after) = match load.amount {
        Amount::Time { measured, .. } => {
            parties.pause(measured).await?;
            clock.end_measuring();
            let end = Mark::read(broker)?;
            let look_after = look(broker).await?;
            let acknowledged = parties.wait_for_publishers().await?;
            (acknowledged, parties.wait_for_listeners().await?, end, look_after)
        }
        Amount::Messages(_) => {
            let acknowledged = parties.wait_for_publishers().await?;
            let delivered = parties.wait_for_listeners().await?;
            (acknowledged, delivered, Mark::read(broker)?, look(broker).await?)
        }
    };
    Ok(Seen {
        elapsed: end.at - begin.at,
        acknowledged,
        delivered,
        broker_cpu: end.broker_cpu.saturating_sub(begin.broker_cpu),
        generator_cpu: end.generator_cpu.saturating_sub(begin.generator_cpu),
        batches: look_after.zip(look_before).and_then(|(after, before)| after.since(before)),
    })
}

impl Mark {
    fn read(broker: &BrokerProcess) -> anyhow::Result<Mark> {
        Ok(Mark {
            at: Instant::now(),
            broker_cpu: Process::Id(broker.pid()?).cpu_time()?,
            generator_cpu: Process::Own.cpu_time()?,
        })
    }
}

impl Parties {
    async fn connect(
        broker: &BrokerProcess,
        load: &Load,
        clock: &Arc<Clock>,
        gate: &watch::Receiver<bool>,
    ) -> anyhow::Result<Parties> {
        let mut parties = Parties { publishers: JoinSet::new(), listeners: JoinSet::new(), expected: Vec::new() };
        for index in 0..load.transactions {
            parties.add_transaction(broker, load, clock, gate, index).await?;
        }
        Ok(parties)
    }

    async fn add_transaction(
        &mut self,
        broker: &BrokerProcess,
        load: &Load,
        clock: &Arc<Clock>,
        gate: &watch::Receiver<bool>,
        index: u32,
    ) -> anyhow::Result<()> {
        let [party, listeners @ ..] = ["publisher", "listener-a", "listener-b"].map(|role| format!("{role}-{index}"));
        let manifest = manifest(&[&party, &listeners[0], &listeners[1]]).without_join();
        let client = broker.client(&party).await?;
        client.publish(&manifest.topic(), manifest.json(), QoS::AtLeastOnce).await.context("creating a transaction")?;
        let tx = manifest.tx().to_owned();
        let (tell, expected) = watch::channel(None);
        for name in &listeners {
            let client = broker.client(name).await?;
            client.subscribe(&load.target.filter(&tx), QoS::AtLeastOnce).await.context("subscribing")?;
            self.listeners.spawn(listener::listen(client, expected.clone(), clock.clone()));
        }
        let task = Task {
            tx,
            party,
            target: load.target,
            payload_bytes: load.payload_bytes,
            inflight: load.inflight,
            messages: match load.amount {
                Amount::Messages(messages) => Some(messages),
                Amount::Time { .. } => None,
            },
        };
        let (clock, mut gate, place) = (clock.clone(), gate.clone(), self.expected.len());
        self.publishers.spawn(async move {
            gate.wait_for(|open| *open).await.context("the run was given up")?;
            Ok((place, publisher::publish(client, task, clock).await?))
        });
        self.expected.push(tell);
        Ok(())
    }

    /// Lets them work; nobody ends meanwhile unless something is wrong.
    async fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            Some(ended) = self.publishers.join_next() => Err(early(ended?.map(drop), "publisher")),
            Some(ended) = self.listeners.join_next() => Err(early(ended?.map(drop), "listener")),
        }
    }

    /// Tells each transaction's listeners what to wait for, as soon as its publisher is done.
    async fn wait_for_publishers(&mut self) -> anyhow::Result<Tally> {
        let mut sum = Tally::new();
        while let Some(ended) = self.publishers.join_next().await {
            let (place, tally) = ended?.context("a publisher")?;
            self.expected[place].send_replace(Some(tally.all));
            sum.add(&tally);
        }
        Ok(sum)
    }

    async fn wait_for_listeners(&mut self) -> anyhow::Result<Tally> {
        let mut sum = Tally::new();
        let all_heard = async {
            while let Some(ended) = self.listeners.join_next().await {
                sum.add(&ended?.context("a listener")?);
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LAST_DELIVERIES_LIMIT, all_heard)
            .await
            .context("acknowledged messages were not delivered in time")??;
        Ok(sum)
    }
}

fn early(ended: anyhow::Result<()>, who: &str) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("a {who} ended before its time"),
        Err(error) => error.context(format!("a {who}")),
    }
}
