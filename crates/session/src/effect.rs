//! What a session asks of the world. The driver carries effects out in the order in which they come.

use std::time::Duration;

use bytes::Bytes;
use quorate_domain::{
    CursorMoves, InflightRecord, MessageProperties, Qos, Refusal, Scope, Seq, SessionRecord, Standing, TxId, TxTopic,
};
use quorate_wire::{Packet, PacketId, ReasonCode};

/// One thing for the driver to do.
///
/// Of [`LookUp`](Effect::LookUp), [`ReadStandings`](Effect::ReadStandings), [`ReadLog`](Effect::ReadLog),
/// [`ReadState`](Effect::ReadState) and [`ReadQueue`](Effect::ReadQueue) together, and of [`Save`](Effect::Save), [`Hold`](Effect::Hold) and
/// [`Release`](Effect::Release), at most one each is outstanding of its kind, so that a session never holds more than one
/// page of its logs. What is to be stored is stored in the order of the effects; appends have an order of their own.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write this packet to the socket.
    Send(Packet),
    /// Append to a transaction's log; answered by `handle_committed` with the token.
    Append {
        /// Names the append in its answer.
        token: u64,
        /// Where it goes; the author it names is this session's party.
        topic: TxTopic,
        /// The client's bytes.
        payload: Bytes,
        /// How it was published.
        qos: Qos,
        /// At QoS 2: the packet identifier under which it is to be remembered until [`Effect::Release`].
        receipt: Option<PacketId>,
        /// What travels with them.
        properties: MessageProperties,
    },
    /// Publish to an ordinary topic; answered by `handle_committed` with the token. Publishes and appends are submitted
    /// in the order of the effects.
    Publish {
        /// Names the publish in its answer.
        token: u64,
        /// Where it goes; the rules let this session's party publish there.
        topic: String,
        /// The client's bytes.
        payload: Bytes,
        /// How it was published.
        qos: Qos,
        /// Whether it is to be retained.
        retain: bool,
        /// At QoS 2, in a session that outlives its connection: as for [`Effect::Append`].
        receipt: Option<PacketId>,
        /// What travels with them.
        properties: MessageProperties,
    },
    /// Look up which transactions these scopes cover for this party; answered by `handle_looked_up`.
    LookUp {
        /// No scope stands here twice, and none more than the session may have subscriptions.
        scopes: Vec<Scope>,
    },
    /// Read where this party stands in all its transactions; answered by `handle_standings`.
    ReadStandings,
    /// Read what this party may hear of a log; answered by `handle_log_page`.
    ReadLog {
        /// Which log.
        tx: TxId,
        /// Beyond this.
        after: Seq,
        /// At most so many messages.
        messages_max: usize,
        /// At most so many payload bytes, but one message at least.
        bytes_max: usize,
    },
    /// Read the interim state of an open or running transaction; answered by `handle_state`.
    ReadState {
        /// Which transaction.
        tx: TxId,
    },
    /// Read what waits in the session's queue of ordinary messages; answered by `handle_queue_page`.
    ReadQueue {
        /// Beyond this.
        after: Seq,
        /// At most so many messages.
        messages_max: usize,
        /// At most so many payload bytes, but one message at least.
        bytes_max: usize,
    },
    /// Store the session, durably where it outlives its connection; answered by `handle_saved`.
    Save {
        /// All of it.
        record: SessionRecord,
        /// Filters whose retained messages are to be put into the session's queue.
        replay: Vec<String>,
    },
    /// Forget the receipts of these publishes durably; answered by `handle_released`.
    Release(Vec<PacketId>),
    /// Keep these steps of deliveries at QoS 2 durably; answered by `handle_held`.
    Hold(Vec<InflightRecord>),
    /// Store what has moved, all or nothing; need not be synced, has no answer but `handle_cursors_lost`, which gives it
    /// back.
    SaveCursors(CursorMoves),
    /// A delivery was left out: it is larger than the client takes (MQTT5 3.1.2-24), or it was at QoS 0 and found no room.
    /// To be counted.
    LeftOut {
        /// Under which topic.
        topic: String,
    },
    /// Forget the will: the client said DISCONNECT. Only among the last effects, before all others; no answer.
    DiscardWill,
    /// Say the will after this time, unless the session is taken over before. Only among the last effects; no answer.
    LeaveWill {
        /// Zero: at once, before a successor is let in.
        delay: Duration,
    },
    /// Forget the session and its cursors. Only among the last effects; no answer.
    Remove,
    /// Flush what was sent, then close the connection.
    Close(CloseCause),
}

/// Why a session closes its connection: for the log, and to tell the peer's fault from ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseCause {
    /// The client sent DISCONNECT.
    #[error("the client disconnected")]
    ClientDisconnected,
    /// The client broke the protocol.
    #[error("protocol error ({code}): {reason}")]
    Protocol {
        /// What MQTT 5 clients are told.
        code: ReasonCode,
        /// What was wrong.
        reason: String,
    },
    /// A publish or subscribe was refused and the client has no other way to learn it (3.x, or QoS 0).
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Nothing came for one and a half times the keep alive (MQTT5 3.1.2.10).
    #[error("keep alive ran out")]
    KeepAlive,
    /// The same party connected anew with the same client id.
    #[error("taken over by a new connection")]
    TakenOver,
    /// The broker is shutting down.
    #[error("the broker is shutting down")]
    Draining,
    /// The store could not answer.
    #[error("storage fault: {0}")]
    Fault(String),
}

/// The backbone could not do what was asked; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// The answer to one scope of a [`Effect::LookUp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookedUp {
    /// The transaction does not list the party, or does not exist: the same answer for both.
    Refused,
    /// Where the party stands in each transaction of the scope.
    Standings(Vec<Standing>),
}

/// Whether the driver's write buffer takes more deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendRoom {
    /// It does.
    Open,
    /// It does not: the session produces answers, but no deliveries.
    Full,
}
