//! What runs: `broker.toml`, read once, checked as a whole, and handed on as plain typed data.
//!
//! `raw` deserialises (serde, every field optional and with its place in the file), `check` turns it into a
//! [`Config`] or collects what is wrong, `problems` tells all of it at once. Nothing reads the file or the
//! environment later. What a field means to MQTT, to the store or to the API is the matter of those rooms.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_domain::{AccessRules, CreationRules, PartyId};
use quorate_identity::{DangerAnonymous, TlsFiles, TlsVersion};

mod check;
mod checker;
mod lines;
mod listeners;
mod origin;
mod problems;
mod raw;
mod storage;
#[cfg(test)]
mod tests;

pub use origin::{Origin, OriginError};
pub use problems::{ConfigProblems, Problem};

/// The whole configuration, validated. Holding one means that every field is within its range; whether the files
/// that it names can be read is found out when they are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where MQTT clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where the HTTP API listens; `None` without an `[api]` table.
    pub api: Option<ApiConfig>,
    /// Where and how durably messages are kept.
    pub storage: StorageConfig,
    /// The bounds of one MQTT session.
    pub session: SessionConfig,
    /// Who may create transactions with whom; empty means that nobody may.
    pub rules: CreationRules,
    /// The other bounds of transactions.
    pub transactions: TransactionsConfig,
    /// Who may use ordinary topics; empty means that nobody may. It knows the admins of the API, where there is one.
    pub access: AccessRules,
    /// What the broker tells about itself over MQTT.
    pub sys: SysConfig,
    /// How live messages move inside the broker.
    pub lanes: LanesConfig,
    /// How the broker ends.
    pub drain: DrainConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Fault injection for tests; all off by default.
    pub danger: DangerConfig,
}

/// One `[[listener]]`. Its `kind` is two things here: what is under MQTT, and how MQTT is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs; unique.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What protects a connection, and by what its party is known.
    pub encryption: Encryption,
    /// How MQTT's bytes travel.
    pub framing: Framing,
    /// How long the handshakes before MQTT (TLS, WebSocket) may take together, from the accepted connection.
    pub handshake_timeout: Duration,
    /// How long the first MQTT packet may take, from the finished handshakes.
    pub connect_timeout: Duration,
    /// How many connections it holds at once; further ones are closed at once.
    pub connections_max: usize,
    /// How many connections it holds at once of one party; a further CONNECT is refused with 0x97.
    pub connections_per_party_max: usize,
    /// The largest MQTT packet, in bytes, that it reads; over WebSocket also the largest message.
    pub packet_bytes_max: u32,
}

/// What protects the connections of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// `tls` and `wss`: mutual TLS; the client's certificate names its party.
    Tls(TlsConfig),
    /// `tcp` and `ws`: nothing; the client's word names its party. For tests, on a loopback address.
    DangerPlaintext(DangerAnonymous),
}

/// How MQTT's bytes travel in a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// `tls` and `tcp`: as they are.
    Stream,
    /// `wss` and `ws`: in binary WebSocket messages.
    WebSocket {
        /// The web pages that may connect. A client that names none is no browser, and is let in.
        origins: Vec<Origin>,
    },
}

/// By what the parties of a broker are known. All its listeners have it in common, and its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identities {
    /// By certificates.
    Certificates,
    /// By client identifiers that nobody proves.
    DangerAnonymous,
}

/// `[listener.tls]` and `[api.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The PEM files, resolved against the folder of the configuration file.
    pub files: TlsFiles,
    /// The versions that are spoken; at least one.
    pub versions: Vec<TlsVersion>,
}

/// `[api]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// The parties that see everything and may close transactions.
    pub admins: Vec<PartyId>,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How many connections it holds at once; further ones wait unaccepted.
    pub connections_max: usize,
    /// The largest request body in bytes.
    pub body_bytes_max: usize,
    /// Its side of TLS.
    pub tls: TlsConfig,
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Where the store is.
    pub place: StorePlace,
    /// When a message counts as stored.
    pub durability: Durability,
    /// How many appends wait for the committer; a publisher beyond it waits.
    pub queue_max: usize,
    /// How many appends share one write and one sync.
    pub batch_max: usize,
    /// How much it takes.
    pub bounds: StorageBounds,
    /// Where the key is under which all is sealed; `None`: nothing is.
    pub master_key: Option<MasterKeyPlace>,
    /// Where backups of a running broker go; `None`: it makes none.
    pub backup_folder: Option<PathBuf>,
}

/// How much a store takes; at a bound publishers are refused with 0x97.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageBounds {
    /// Messages in all logs and queues, and retained; `None`: the disk is the bound.
    pub messages_max: Option<u64>,
    /// Their payloads in bytes.
    pub bytes_max: Option<u64>,
    /// Messages that one party said in transactions that are not purged yet.
    pub party_messages_max: u64,
    /// Their payloads in bytes.
    pub party_bytes_max: u64,
    /// Bytes that stay free on the disk.
    pub disk_free_min_bytes: u64,
}

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeyPlace {
    /// In this file, resolved against the folder of the configuration file.
    File(PathBuf),
    /// In this variable of the environment.
    Environment(String),
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// In this folder, resolved against the folder of the configuration file.
    Folder(PathBuf),
    /// In a fresh folder that is deleted when the broker ends.
    Temporary,
}

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has it.
    Fsync,
    /// When the operating system has it: a power cut may lose acknowledged messages and reopen slots.
    Os,
}

/// `[session]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Unacknowledged deliveries to one client.
    pub inflight_max: u16,
    /// The Receive Maximum of CONNACK: unacknowledged publishes of one client.
    pub receive_maximum: u16,
    /// Bytes of one client's publishes that wait for the store; beyond it the socket is not read.
    pub pending_bytes_max: usize,
    /// The longest keep alive in seconds; 0: any goes.
    pub keep_alive_max_s: u16,
    /// The longest time in seconds that a session outlives its connection.
    pub session_expiry_max_s: u32,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// The Topic Alias Maximum of CONNACK: topic aliases that a client of MQTT 5 may use on one connection.
    pub topic_alias_max: u16,
    /// Messages that wait in the queue of ordinary topics of one session. At the bound a publish that this session is
    /// to hear at QoS 1 or 2 is refused with 0x97.
    pub queue_messages_max: usize,
    /// The same in bytes of payload.
    pub queue_bytes_max: u64,
}

/// `[transactions]`, beside its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionsConfig {
    /// The least time in seconds that a will under `tx/` waits. A start of the broker counts it anew.
    pub will_delay_s: u32,
    /// Messages that one party may say in one transaction.
    pub party_messages_max: u64,
    /// Their payloads in bytes.
    pub party_bytes_max: u64,
    /// How long a closed transaction is kept once every party has acknowledged its final state, from its end.
    pub purge_after: Duration,
    /// How long it is kept in any case.
    pub retain_closed_for: Duration,
}

/// `[sys]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysConfig {
    /// How often `$SYS/broker/...` is published; `None`: never.
    pub interval: Option<Duration>,
}

/// `[lanes]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanesConfig {
    /// How many lanes carry live messages.
    pub count: usize,
    /// What the lanes are made of.
    pub movement: Movement,
}

/// What the lanes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// rumqttd's router.
    Rumqttd,
    /// Plain channels, to measure what the router costs.
    Channels,
}

/// `[drain]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long connections have to end after SIGTERM.
    pub limit: Duration,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The least severe level that is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[danger]`: what no broker in use may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DangerConfig {
    /// Every k-th lane message is lost, to show that nothing depends on them.
    pub drop_lane_message_every: Option<NonZeroU32>,
}

impl Config {
    /// By what the parties of this broker are known.
    pub fn identities(&self) -> Identities {
        let dangerous = |listener: &Listener| matches!(listener.encryption, Encryption::DangerPlaintext(_));
        match self.listeners.iter().any(dangerous) {
            true => Identities::DangerAnonymous,
            false => Identities::Certificates,
        }
    }

    /// Reads and checks a configuration file. Relative paths in it count from the folder that it stands in.
    ///
    /// # Errors
    /// All problems of the file at once, each with its key and line; the binary answers them with exit code 64.
    pub fn load(path: &Path) -> Result<Config, ConfigProblems> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigProblems::whole_file(path, format!("cannot be read: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, folder).map_err(|problems| ConfigProblems::new(path, problems))
    }

    /// Checks a configuration that is already in memory; `folder` is where relative paths count from.
    ///
    /// # Errors
    /// All problems at once.
    pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
        let (raw, problems) = raw::RawConfig::read(text)?;
        check::config(raw, text, folder, problems)
    }
}
