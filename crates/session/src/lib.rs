//! One MQTT session as a sans-IO state machine: packets and time in, effects out.
//!
//! There is no socket, no clock and no store here. A driver feeds a [`Session`] what happened (`handle_*`), with the
//! time since an origin that it fixed, and carries out what [`Session::poll_effect`] gives back. So the whole of the
//! protocol runs in virtual time, under random schedules, without a port.
//!
//! Reading order: [`Handshake`] judges the CONNECT; `session` holds the state and takes packets; `publish` is the way
//! in (client to log), with `receipts` for the rest of its handshake at QoS 2; `subscribe` decides what is heard;
//! `deliver` is the way out (log to client), with `transmit` for one message, `room` for how far one transaction is read,
//! `queue` for messages of ordinary topics, `moves` for what is stored as it hears on, `aliases` for short forms of topics, `will` for what is said at the end, `window` for what waits for an acknowledgement, and `outbox` for what waits until the store holds it.
//!
//! What a party may hear is not decided here: the backbone hands over only what [`quorate_domain::may_hear`] and, of
//! ordinary topics, [`quorate_domain::AccessRules::may_hear`] allow.

mod aliases;
mod answers;
mod deliver;
mod effect;
mod handshake;
mod keep_alive;
mod limits;
mod moves;
mod outbox;
mod publish;
mod queue;
mod receipts;
mod room;
mod session;
mod subscribe;
mod subscriptions;
mod transmit;
mod will;
mod window;

pub use effect::{CloseCause, Effect, Fault, LookedUp, SendRoom};
pub use handshake::{CLIENT_ID_BYTES_MAX, Handshake, Hello, Rejected};
pub use limits::Limits;
pub use session::Session;
