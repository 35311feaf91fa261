//! One run: a broker is started, filled while some are absent, looked at, drained, and ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_client::{Client, ConnectOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Load;
use super::figures::{Delivered, Figures, Memory, Stored};
use super::scene::{Scene, absent_of};
use crate::clock::Clock;
use crate::disk;
use crate::phase::{self, Cost, Counter};
use crate::process::Process;
use crate::receiver::{Goal, Heard, receive};
use crate::sender::{Place, Sent, Task, send};
use crate::subject::{Kind, Programs, Subject};

/// How long a broker is left alone before memory and disk are looked at, the same for every one: what it does in the
/// background for what has just been stored belongs to it.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Measures one broker with one load.
pub async fn measure(kind: Kind, programs: &Programs, load: &Load) -> anyhow::Result<Figures> {
    let subject = Subject::start(kind, programs, load.messages).await.context("it did not start")?;
    let figures = measure_started(&subject, kind, load).await?;
    subject.end().await.context("ending it")?;
    Ok(figures)
}

async fn measure_started(subject: &Subject, kind: Kind, load: &Load) -> anyhow::Result<Figures> {
    let process = subject.process()?;
    let Scene { publishers, absent, present } = Scene::build(subject, kind, load).await?;
    sleep(SETTLED_AFTER).await;
    let before_bytes = process.resident_bytes()?;
    let disk_before = disk::bytes_below(&subject.store())?;

    let clock = Arc::new(Clock::new());
    clock.begin_measuring();
    let mut listening = Listening::start(&clock);
    for client in present {
        listening.add(client, Goal::Unknown, load);
    }
    let began = Instant::now();
    let (filled, cost) = fill(publishers, load, &clock, process, kind).await?;
    let acknowledged: u64 = filled.per_absent.iter().sum();
    let heard = listening.end(acknowledged, load.phase_max).await?;
    let heard = (load.present > 0)
        .then(|| Delivered::new(heard, acknowledged * u64::from(load.present), began, Instant::now(), &cost));
    sleep(SETTLED_AFTER).await;
    let after_storing_bytes = process.resident_bytes()?;
    subject.save().await?;
    let disk_after = disk::bytes_below(&subject.store())?;

    let (drained, drain_cost) = drain(absent, &filled.per_absent, load, process, kind).await?;
    drop(filled.publishers);
    Ok(Figures {
        stored: Stored::new(filled.sent, &cost),
        heard,
        drained,
        memory: Memory {
            before_bytes,
            after_storing_bytes,
            draining_bytes_max: drain_cost.resident_bytes_max,
            peak_bytes: process.peak_resident_bytes()?,
        },
        // Without a message there is no figure a message; 1 keeps it a number.
        disk_bytes_per_message: disk_after.saturating_sub(disk_before) as f64 / acknowledged.max(1) as f64,
    })
}

/// What filling leaves.
struct Filled {
    sent: Sent,
    /// Acknowledged messages for each absent session.
    per_absent: Vec<u64>,
    /// They stay connected, so that memory before and after is compared with the same connections.
    publishers: Vec<Client>,
}

async fn fill(
    publishers: Vec<(Client, Place)>,
    load: &Load,
    clock: &Arc<Clock>,
    process: Process,
    kind: Kind,
) -> anyhow::Result<(Filled, Cost)> {
    let done = Arc::new(Counter::default());
    let until = Instant::now() + load.phase_max;
    let mut tasks = JoinSet::new();
    for (place_in_list, (client, place)) in publishers.into_iter().enumerate() {
        let sender = u32::try_from(place_in_list)?;
        let messages = share(load.messages, u64::from(sender), u64::from(load.publishers));
        let (inflight, payload_bytes) = (load.inflight, load.payload_bytes);
        let task = Task { sender, place, payload_bytes, inflight, messages, until };
        let (clock, done) = (clock.clone(), done.clone());
        tasks.spawn(async move {
            let sent = send(&client, &task, &clock, &done).await;
            (place_in_list, client, sent)
        });
    }
    let mut filled = Filled { sent: Sent::new(), per_absent: vec![0; load.absent as usize], publishers: Vec::new() };
    let all_sent = async {
        while let Some(ended) = tasks.join_next().await {
            let (place_in_list, client, sent) = ended?;
            filled.per_absent[absent_of(place_in_list, load)] += sent.acknowledged.all;
            filled.sent.add(sent);
            filled.publishers.push(client);
        }
        anyhow::Ok(())
    };
    let name = format!("{}: storing", kind.name());
    let (outcome, cost) = phase::watch(name, load.messages, &done, process, all_sent).await?;
    outcome?;
    Ok((filled, cost))
}

async fn drain(
    absent: Vec<ConnectOptions>,
    expected: &[u64],
    load: &Load,
    process: Process,
    kind: Kind,
) -> anyhow::Result<(Delivered, Cost)> {
    let clock = Arc::new(Clock::new());
    let mut listening = Listening::start(&clock);
    let done = listening.done.clone();
    let total = expected.iter().sum();
    let began = Instant::now();
    let work = async {
        for (options, &expected) in absent.into_iter().zip(expected) {
            let client = Client::connect(options).await.context("an absent session did not come back")?;
            listening.add(client, Goal::Messages(expected), load);
        }
        listening.end_as_told(load.phase_max).await
    };
    let (heard, cost) = phase::watch(format!("{}: draining", kind.name()), total, &done, process, work).await?;
    Ok((Delivered::new(heard?, total, began, Instant::now(), &cost), cost))
}

/// Receivers at work.
struct Listening {
    clock: Arc<Clock>,
    done: Arc<Counter>,
    goals: Vec<watch::Sender<Goal>>,
    tasks: JoinSet<Heard>,
}

impl Listening {
    fn start(clock: &Arc<Clock>) -> Listening {
        Listening { clock: clock.clone(), done: Arc::default(), goals: Vec::new(), tasks: JoinSet::new() }
    }

    fn add(&mut self, client: Client, goal: Goal, load: &Load) {
        let (tell, goal) = watch::channel(goal);
        self.tasks.spawn(receive(client, goal, load.publishers, self.clock.clone(), self.done.clone()));
        self.goals.push(tell);
    }

    /// Tells each how many messages it is to hear, and ends them as [`Listening::end_as_told`] does.
    async fn end(self, messages: u64, limit: Duration) -> anyhow::Result<Heard> {
        for goal in &self.goals {
            goal.send_replace(Goal::Messages(messages));
        }
        self.end_as_told(limit).await
    }

    /// Waits until each has heard what it is to hear, at most so long, and then stops those who have not.
    async fn end_as_told(mut self, limit: Duration) -> anyhow::Result<Heard> {
        let mut heard = Heard::new();
        match timeout(limit, join_all(&mut self.tasks, &mut heard)).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                for goal in &self.goals {
                    goal.send_replace(Goal::Stop);
                }
                join_all(&mut self.tasks, &mut heard).await?;
            }
        }
        Ok(heard)
    }
}

/// Cancel safe: who has been joined has been counted.
async fn join_all(tasks: &mut JoinSet<Heard>, heard: &mut Heard) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        heard.add(ended?);
    }
    Ok(())
}

/// What one of `parts` sends, so that all together send `whole`.
fn share(whole: u64, part: u64, parts: u64) -> u64 {
    whole / parts + u64::from(part < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        let shares: Vec<u64> = (0..3).map(|part| share(11, part, 3)).collect();
        assert_eq!(shares, [4, 4, 3]);
    }
}
