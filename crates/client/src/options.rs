//! What a connection is opened with.

use quorate_wire::Version;

use crate::Identity;

/// Everything that [`crate::Client::connect`] needs.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `host:port` of the broker.
    pub address: String,
    /// The name that the broker's certificate must carry.
    pub server_name: String,
    /// Who connects.
    pub identity: Identity,
    /// The session's name among this party's sessions. Empty: the broker makes one up (with `clean_start`).
    pub client_id: String,
    /// Forget what the broker kept for this client id.
    pub clean_start: bool,
    /// Seconds that the broker keeps the session after the connection ends; `u32::MAX` is for ever. Not in 3.x.
    pub session_expiry_s: u32,
    /// Longest silence in seconds; 0 turns keep alive off.
    pub keep_alive_s: u16,
    /// How many messages the broker may send before the first is acknowledged; 0 counts as 1. Not announced in 3.x.
    pub receive_maximum: u16,
    /// Protocol version.
    pub version: Version,
}

impl ConnectOptions {
    /// The usual: MQTT 5, the session is resumed and kept for a day, 30 s keep alive, 64 messages in flight, the
    /// server's name is the host of `address`.
    pub fn new(address: impl Into<String>, identity: Identity, client_id: impl Into<String>) -> Self {
        let address = address.into();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let server_name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self {
            address,
            server_name,
            identity,
            client_id: client_id.into(),
            clean_start: false,
            session_expiry_s: SESSION_EXPIRY_S,
            keep_alive_s: KEEP_ALIVE_S,
            receive_maximum: RECEIVE_MAXIMUM,
            version: Version::V5,
        }
    }
}

/// A day: long enough for a party that is away overnight.
const SESSION_EXPIRY_S: u32 = 86_400;
/// Notices a dead broker within a minute.
const KEEP_ALIVE_S: u16 = 30;
/// Fills a round trip of 10 ms at 6,400 messages a second.
const RECEIVE_MAXIMUM: u16 = 64;
