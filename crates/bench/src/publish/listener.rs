//! One listener: notes when each message came, acknowledges it, and checks that none is missing or out of order.

use std::sync::Arc;

use anyhow::{Context, ensure};
use quorate_client::{Client, Message};
use tokio::sync::watch;

use super::publisher::stamp_of;
use crate::clock::{Clock, Tally};

/// Listens until `expected` is known and has come; gives what was delivered.
pub async fn listen(
    mut client: Client,
    mut expected: watch::Receiver<Option<u64>>,
    clock: Arc<Clock>,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    loop {
        let known = *expected.borrow_and_update();
        if known.is_some_and(|expected| tally.all >= expected) {
            client.disconnect().await?;
            return Ok(tally);
        }
        tokio::select! {
            message = client.next() => {
                let message = message?;
                note(&message, &mut tally, &clock)?;
                client.acknowledge(&message).await?;
            }
            told = expected.changed() => told.context("the run was given up")?,
        }
    }
}

/// A message that came again (its number is not above the count) is not counted again; a number that is skipped would
/// be a message lost.
fn note(message: &Message, tally: &mut Tally, clock: &Clock) -> anyhow::Result<()> {
    let (began_ns, number) = stamp_of(&message.payload).context("a message that this run did not publish")?;
    ensure!(number <= tally.all + 1, "message {number} came after message {}", tally.all);
    if number == tally.all + 1 {
        tally.record(clock, began_ns);
    }
    Ok(())
}
