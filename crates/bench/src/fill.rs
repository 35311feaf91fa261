//! The way in: all publishers send at once, until everything is sent or the time is up.

use std::sync::Arc;
use std::time::Instant;

use quorate_client::Client;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::phase::{self, Cost, Counter};
use crate::process::Process;
use crate::scene::{Load, absent_of};
use crate::sender::{Place, Sent, Task, send};

/// What filling leaves.
pub struct Filled {
    pub sent: Sent,
    /// Acknowledged messages for each absent session.
    pub per_absent: Vec<u64>,
    /// They stay connected, so that memory before and after is compared with the same connections.
    pub publishers: Vec<Client>,
}

/// Has each publisher send its share; `name` is shown meanwhile.
pub async fn fill(
    publishers: Vec<(Client, Place)>,
    load: &Load,
    clock: &Arc<Clock>,
    process: Process,
    name: String,
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
    let (outcome, cost) = phase::watch(name, load.messages, &done, process, all_sent).await?;
    outcome?;
    Ok((filled, cost))
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
