//! The way out: receivers at work, each with its goal.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::phase::Counter;
use crate::receiver::{Goal, Heard, receive};

/// Receivers at work.
pub struct Listening {
    /// How many senders they hear.
    senders: u32,
    clock: Arc<Clock>,
    done: Arc<Counter>,
    goals: Vec<watch::Sender<Goal>>,
    tasks: JoinSet<Heard>,
}

impl Listening {
    pub fn start(clock: &Arc<Clock>, senders: u32) -> Listening {
        Listening { senders, clock: clock.clone(), done: Arc::default(), goals: Vec::new(), tasks: JoinSet::new() }
    }

    /// What all of them have heard, for those who watch.
    pub fn done(&self) -> Arc<Counter> {
        self.done.clone()
    }

    /// One more.
    pub fn add(&mut self, client: Client, goal: Goal) {
        let (tell, goal) = watch::channel(goal);
        self.tasks.spawn(receive(client, goal, self.senders, self.clock.clone(), self.done.clone()));
        self.goals.push(tell);
    }

    /// Tells each how many messages it is to hear, and ends them as [`Listening::end_as_told`] does.
    pub async fn end(self, messages: &[u64], limit: Duration) -> anyhow::Result<Heard> {
        for (goal, &messages) in self.goals.iter().zip(messages) {
            goal.send_replace(Goal::Messages(messages));
        }
        self.end_as_told(limit).await
    }

    /// Waits until each has heard what it is to hear, at most so long, and then stops those who have not.
    pub async fn end_as_told(mut self, limit: Duration) -> anyhow::Result<Heard> {
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
