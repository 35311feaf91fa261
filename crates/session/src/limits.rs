//! The bounds of one session, as the configuration sets them.

/// Bounds that hold for every session of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// QoS 1 deliveries that may wait for their PUBACK at a time; the client's Receive Maximum lowers it. At the bound
    /// the session reads no further in its logs.
    pub inflight_max: u16,
    /// Publishes of the client that may wait for the disk at a time: the Receive Maximum that CONNACK announces. A
    /// client of MQTT 5 that exceeds it is disconnected (0x93); of a 3.x client the socket is not read meanwhile.
    pub receive_maximum: u16,
    /// Payload bytes of those publishes; at the bound the socket is not read.
    pub pending_bytes_max: usize,
    /// Bytes of the largest packet that the client may send; announced in CONNACK, enforced by the decoder.
    pub packet_bytes_max: u32,
    /// Longest keep alive in seconds; a longer one (or none) is replaced by it in MQTT 5. 0: any goes.
    pub keep_alive_max_s: u16,
    /// Longest session expiry in seconds; a longer one is lowered to it, and CONNACK says so.
    pub session_expiry_max_s: u32,
    /// Topic aliases that a client of MQTT 5 may use on one connection; announced in CONNACK, where it is not 0. It also
    /// bounds those that the session uses towards the client, beside what the client says.
    pub topic_alias_max: u16,
    /// Seconds that a will under `tx/` waits at least.
    pub tx_will_delay_s: u32,
    /// Subscriptions of one session; one more is refused with 0x97.
    pub subscriptions_max: usize,
}

impl Limits {
    /// The most appends that a session leaves unanswered: the capacity of its completion channel. One above the
    /// Receive Maximum, since the publish that exceeds it must be read to be refused.
    pub fn pending_publishes_max(&self) -> usize {
        usize::from(self.receive_maximum) + 1
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflight_max: 256,
            receive_maximum: 256,
            pending_bytes_max: 4 << 20,
            packet_bytes_max: (1 << 20) + (64 << 10),
            keep_alive_max_s: 3_600,
            session_expiry_max_s: 30 * 24 * 3_600,
            topic_alias_max: 64,
            tx_will_delay_s: 30,
            subscriptions_max: 100,
        }
    }
}
