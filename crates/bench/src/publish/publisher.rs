//! One publisher: keeps its window full, and notes when each PUBACK came.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_client::{Client, Handle, PublishTicket, QoS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Target;
use crate::clock::{Clock, Tally};

/// What a publisher does.
#[derive(Debug, Clone)]
pub struct Task {
    pub tx: String,
    pub party: String,
    pub target: Target,
    pub payload_bytes: usize,
    pub inflight: u16,
    /// Ends after so many; `None`: when the clock says so.
    pub messages: Option<u64>,
}

/// One publish on its way.
struct Underway {
    ticket: PublishTicket,
    began_ns: u64,
    /// Its place in the window, free again when this is dropped.
    _place: OwnedSemaphorePermit,
}

/// Publishes until it is over; gives what was acknowledged. Every publish is acknowledged by then, or it fails.
pub async fn publish(client: Client, task: Task, clock: Arc<Clock>) -> anyhow::Result<Tally> {
    let (to, underway) = mpsc::channel(usize::from(task.inflight));
    let counting = tokio::spawn(count_acknowledged(underway, clock.clone()));
    let sent = send_all(&client.handle(), &task, &clock, to).await;
    let acknowledged = counting.await?;
    // The count's error says why; the sender's only says that the connection is gone.
    let acknowledged = acknowledged?;
    sent?;
    client.disconnect().await?;
    Ok(acknowledged)
}

async fn send_all(handle: &Handle, task: &Task, clock: &Clock, to: mpsc::Sender<Underway>) -> anyhow::Result<()> {
    let window = Arc::new(Semaphore::new(usize::from(task.inflight)));
    let mut number: u64 = 0;
    loop {
        let place = window.clone().acquire_owned().await?;
        let is_done = task.messages.map_or_else(|| clock.is_over(), |messages| number == messages);
        if is_done {
            return Ok(());
        }
        number += 1;
        let began_ns = clock.now_ns();
        let payload = stamped(began_ns, number, task.payload_bytes);
        let ticket = handle.start_publish(&topic(task, number), payload, QoS::AtLeastOnce).await?;
        let underway = Underway { ticket, began_ns, _place: place };
        if to.send(underway).await.is_err() {
            // The counter has ended over an error, which it returns.
            return Ok(());
        }
    }
}

/// PUBACKs come in the order of the publishes, so waiting for the oldest misses none.
async fn count_acknowledged(mut underway: mpsc::Receiver<Underway>, clock: Arc<Clock>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    while let Some(Underway { ticket, began_ns, _place }) = underway.recv().await {
        ticket.acknowledged().await?;
        tally.record(&clock, began_ns);
    }
    Ok(tally)
}

fn topic(task: &Task, number: u64) -> String {
    let Task { tx, party, .. } = task;
    match task.target {
        Target::Slots => format!("tx/{tx}/broadcast/{number}/{party}"),
        Target::Messages => format!("tx/{tx}/msg/{party}/load"),
    }
}

/// The time, the number, and filling; no two messages are equal.
fn stamped(began_ns: u64, number: u64, bytes: usize) -> Bytes {
    let mut payload = BytesMut::with_capacity(bytes);
    payload.put_u64(began_ns);
    payload.put_u64(number);
    payload.resize(bytes, 0x5a);
    payload.freeze()
}

/// When a message was published, and its number.
pub fn stamp_of(payload: &[u8]) -> Option<(u64, u64)> {
    let (began_ns, rest) = payload.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some((u64::from_be_bytes(*began_ns), u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let payload = stamped(7, 9, 256);
        assert_eq!(payload.len(), 256);
        assert_eq!(stamp_of(&payload), Some((7, 9)));
        assert_eq!(stamp_of(&payload[..15]), None);
    }
}
