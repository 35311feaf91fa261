//! What this room counts. Every name stands in [`Metric`]; no label carries a party, a transaction or a client id.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics of the broker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    ConnectionsOpen,
    SessionsConnected,
    ConnectionsAccepted,
    ConnectionsRefused,
    ConnectionsEnded,
    PacketsReceived,
    PacketsSent,
    BytesReceived,
    BytesSent,
    TakeOvers,
    PublishesReceived,
    PublishesSent,
    OrdinaryPublishes,
    DeliveriesLeftOut,
    WillsLeft,
    SendBufferFull,
    StateDocuments,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Metric::ConnectionsOpen => "quorate_connections_open",
            Metric::SessionsConnected => "quorate_sessions_connected",
            Metric::ConnectionsAccepted => "quorate_connections_accepted_total",
            Metric::ConnectionsRefused => "quorate_connections_refused_total",
            Metric::ConnectionsEnded => "quorate_connections_ended_total",
            Metric::PacketsReceived => "quorate_packets_received_total",
            Metric::PacketsSent => "quorate_packets_sent_total",
            Metric::BytesReceived => "quorate_bytes_received_total",
            Metric::BytesSent => "quorate_bytes_sent_total",
            Metric::TakeOvers => "quorate_take_overs_total",
            Metric::PublishesReceived => "quorate_publishes_received_total",
            Metric::PublishesSent => "quorate_publishes_sent_total",
            Metric::OrdinaryPublishes => "quorate_ordinary_publishes_total",
            Metric::DeliveriesLeftOut => "quorate_deliveries_left_out_total",
            Metric::WillsLeft => "quorate_wills_left_total",
            Metric::SendBufferFull => "quorate_send_buffer_full_total",
            Metric::StateDocuments => "quorate_state_documents_total",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Metric::ConnectionsOpen => "TCP connections of MQTT listeners that are open now, handshakes included.",
            Metric::SessionsConnected => "MQTT sessions with a connection now.",
            Metric::ConnectionsAccepted => "TCP connections that an MQTT listener took on.",
            Metric::ConnectionsRefused => "Connections that never became a session, by the step that refused them.",
            Metric::ConnectionsEnded => "Sessions whose connection ended, by cause.",
            Metric::PacketsReceived => "MQTT packets decoded, CONNECT left out.",
            Metric::PacketsSent => "MQTT packets put into a send buffer.",
            Metric::BytesReceived => "Bytes of MQTT received, without TLS and WebSocket.",
            Metric::BytesSent => "Bytes of MQTT put into a send buffer, without TLS and WebSocket.",
            Metric::TakeOvers => "Connections ended by a new one of the same party and client id.",
            Metric::PublishesReceived => "PUBLISH packets decoded.",
            Metric::PublishesSent => "PUBLISH packets put into a send buffer.",
            Metric::OrdinaryPublishes => "Publishes to ordinary topics that the rules allow.",
            Metric::DeliveriesLeftOut => {
                "Deliveries left out: larger than the client takes, or at QoS 0 to a client that does not keep up."
            }
            Metric::WillsLeft => "Wills of connections that ended without DISCONNECT, to be said at once or later.",
            Metric::SendBufferFull => "Times that a send buffer filled up and deliveries to it stopped for a while.",
            Metric::StateDocuments => "State documents published to the members of a transaction.",
        }
    }
}

/// The step at which a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedAt {
    /// The listener holds `connections_max` connections.
    Cap,
    /// TLS, or the certificate's party.
    Tls,
    /// The WebSocket upgrade.
    Upgrade,
    /// No valid CONNECT in time.
    Connect,
    /// The CONNECT was understood and refused.
    Session,
}

impl RefusedAt {
    fn label(self) -> &'static str {
        match self {
            RefusedAt::Cap => "cap",
            RefusedAt::Tls => "tls",
            RefusedAt::Upgrade => "upgrade",
            RefusedAt::Connect => "connect",
            RefusedAt::Session => "session",
        }
    }
}

/// The registered metrics, cheap to count with.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) connections_open: IntGauge,
    pub(crate) sessions_connected: IntGauge,
    pub(crate) connections_accepted: IntCounter,
    connections_refused: IntCounterVec,
    connections_ended: IntCounterVec,
    pub(crate) packets_received: IntCounter,
    pub(crate) packets_sent: IntCounter,
    pub(crate) bytes_received: IntCounter,
    pub(crate) bytes_sent: IntCounter,
    pub(crate) take_overs: IntCounter,
    pub(crate) publishes_received: IntCounter,
    pub(crate) publishes_sent: IntCounter,
    pub(crate) ordinary_publishes: IntCounter,
    pub(crate) deliveries_left_out: IntCounter,
    pub(crate) wills_left: IntCounter,
    pub(crate) send_buffer_full: IntCounter,
    pub(crate) state_documents: IntCounter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Fails where the registry already holds one of the names: two brokers cannot share a registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            connections_open: gauge(registry, Metric::ConnectionsOpen)?,
            sessions_connected: gauge(registry, Metric::SessionsConnected)?,
            connections_accepted: counter(registry, Metric::ConnectionsAccepted)?,
            connections_refused: counters(registry, Metric::ConnectionsRefused, "at")?,
            connections_ended: counters(registry, Metric::ConnectionsEnded, "cause")?,
            packets_received: counter(registry, Metric::PacketsReceived)?,
            packets_sent: counter(registry, Metric::PacketsSent)?,
            bytes_received: counter(registry, Metric::BytesReceived)?,
            bytes_sent: counter(registry, Metric::BytesSent)?,
            take_overs: counter(registry, Metric::TakeOvers)?,
            publishes_received: counter(registry, Metric::PublishesReceived)?,
            publishes_sent: counter(registry, Metric::PublishesSent)?,
            ordinary_publishes: counter(registry, Metric::OrdinaryPublishes)?,
            deliveries_left_out: counter(registry, Metric::DeliveriesLeftOut)?,
            wills_left: counter(registry, Metric::WillsLeft)?,
            send_buffer_full: counter(registry, Metric::SendBufferFull)?,
            state_documents: counter(registry, Metric::StateDocuments)?,
        })
    }

    /// Counts a connection that never became a session.
    pub(crate) fn refused(&self, at: RefusedAt) {
        self.connections_refused.with_label_values(&[at.label()]).inc();
    }

    /// Counts a session's connection that ended; `cause` is one of a fixed set of words.
    pub(crate) fn ended(&self, cause: &'static str) {
        self.connections_ended.with_label_values(&[cause]).inc();
    }
}

fn gauge(registry: &Registry, metric: Metric) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(metric.name(), metric.help())?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counter(registry: &Registry, metric: Metric) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(metric.name(), metric.help())?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(registry: &Registry, metric: Metric, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(metric.name(), metric.help()), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// Holds a gauge one higher for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(IntGauge);

impl Held {
    pub(crate) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
