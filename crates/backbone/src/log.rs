//! The log of a transaction, as the rest of the house sees it: append, read, close.

use async_trait::async_trait;
use bytes::Bytes;
use quorate_domain::{
    Author, Closer, LogPage, MessageProperties, PartyId, Qos, Refusal, Seq, SessionKey, TxId, TxTopic,
};
use tokio::sync::mpsc;

use crate::StoreError;

/// A message that asks to be appended. Who its author is has been verified by then (invariant 3); whether the author
/// may write there has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The topic, which names the transaction and the place in it.
    pub topic: TxTopic,
    /// Whose message it is.
    pub author: Author,
    /// The bytes of the message.
    pub payload: Bytes,
    /// How it was published.
    pub qos: Qos,
    /// What else the publisher said about it.
    pub properties: MessageProperties,
    /// Of a publish at QoS 2: what it is remembered by, so that it enters the log once however often it is sent. It
    /// becomes durable together with the message; a refusal leaves none.
    pub receipt: Option<Receipt>,
}

/// What a publish at QoS 2 is remembered by until the client releases it ([`SessionStore::release`]).
///
/// [`SessionStore::release`]: crate::SessionStore::release
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Whose publish it is.
    pub session: SessionKey,
    /// What the session was taken over with. From an earlier owner nothing is taken: [`Refusal::Superseded`].
    pub epoch: u64,
    /// Under which it came.
    pub packet_id: u16,
}

/// An append that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where in the log it stands.
    pub seq: Seq,
    /// Whether it stood there already: identical bytes by the same party to a slot that it wrote, or a publish at QoS 2
    /// that has its receipt.
    pub repeated: bool,
}

/// The outcome of one append.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The token that came with the append.
    pub token: u64,
    /// What became of it.
    pub outcome: Result<Appended, Refusal>,
}

/// Where the outcome of an append goes. The capacity of the channel must be at least the number of appends that its
/// owner lets be pending, so that an outcome always finds room: the committer never waits for one connection.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Comes back with the outcome.
    pub token: u64,
    /// The owner's channel, one for all of its appends.
    pub to: mpsc::Sender<Completed>,
}

impl Completion {
    /// Tells the outcome. An owner that is gone does not hear it; an owner whose channel is full broke its promise and
    /// does not hear it either, which is logged.
    pub fn complete(self, outcome: Result<Appended, Refusal>) {
        let token = self.token;
        if let Err(mpsc::error::TrySendError::Full(_)) = self.to.try_send(Completed { token, outcome }) {
            tracing::error!(token, "an outcome found no room in its owner's channel and was dropped");
        }
    }
}

/// How much of a log to read at once. At least one message is given where there is one, also if it is longer than `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// At most this many messages.
    pub messages: usize,
    /// At most this many bytes of payload.
    pub bytes: usize,
}

/// The logs of all transactions.
#[async_trait]
pub trait TransactionLog: Send + Sync {
    /// Asks for an append. Waits only for room in the queue; the outcome comes through `completion` once the message is
    /// durable (invariant 1). Appends submitted by one caller one after the other are decided in that order.
    async fn submit(&self, append: Append, completion: Completion) -> Result<(), StoreError>;

    /// Appends and waits until it is durable.
    async fn append(&self, append: Append) -> Result<Appended, Refusal> {
        let (to, mut outcome) = mpsc::channel(1);
        self.submit(append, Completion { token: 0, to })
            .await
            .map_err(|error| Refusal::StorageFault(error.to_string()))?;
        match outcome.recv().await {
            Some(completed) => completed.outcome,
            None => Err(Refusal::StorageFault(StoreError::Closed.to_string())),
        }
    }

    /// What `reader` may hear of a log after `after`, in `Seq` order. A transaction that does not exist and one that
    /// does not list the reader give the same page: empty, and at its end.
    async fn read(&self, tx: &TxId, reader: &PartyId, after: Seq, limit: ReadLimit) -> Result<LogPage, StoreError>;

    /// Closes a transaction; its closing record is durable when this returns.
    async fn close(&self, tx: &TxId, by: Closer, reason: String) -> Result<(), Refusal>;
}
