//! What a broker consists of, how it starts and how it drains.
//!
//! Everything that can fail for want of a file or an address fails in [`Broker::bind`], before anything is served.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate_backbone::{Backbone, StoreError};
use quorate_domain::PartyId;
use quorate_http::{Api, HttpLimits};
use quorate_identity::TlsError;
use quorate_session::Limits;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;

use crate::config::{ApiConfig, Config, Encryption, Framing, Listener, SessionConfig, TlsConfig, TransactionsConfig};
use crate::connection::{Entrance, Manner, Shared, Terms};
use crate::draining::Draining;
use crate::listener;
use crate::live::{ListenerNumber, LiveSessions, PartyRoom};
use crate::metrics::Metrics;
use crate::state_announcer::StateAnnouncer;
use crate::sys::SysPublisher;
use crate::wills::{WillKeeper, Wills};

/// What the API speaks above TLS, and what a WebSocket begins with.
const HTTP_ALPN: &[&[u8]] = &[b"http/1.1"];

/// How long the API has to answer what is under way once it is told to end; a little above its own limit.
const API_END_LIMIT: Duration = Duration::from_secs(6);

/// Why a broker could not start.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// An address cannot be listened on: taken, not of this machine, or a port that needs rights.
    #[error("{name} cannot listen on {address}: {source}")]
    Bind {
        /// Which listener, or the API.
        name: String,
        /// Where it should listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificates of a listener cannot be used.
    #[error("the TLS of {name} cannot be set up: {source}")]
    Tls {
        /// Which listener, or the API.
        name: String,
        /// What is wrong with them.
        source: TlsError,
    },
    /// The wills that an earlier run left cannot be read.
    #[error("the wills in the store cannot be read: {0}")]
    Wills(#[from] StoreError),
    /// A metric cannot be registered: the registry belongs to another broker.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A broker whose sockets are bound and whose certificates are read.
pub struct Broker {
    doors: Vec<Door>,
    api: Option<ApiDoor>,
    drain_limit: Duration,
    sys_interval: Option<Duration>,
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
}

struct Door {
    socket: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    manner: Manner,
}

struct ApiDoor {
    socket: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    limits: HttpLimits,
    api: Api,
}

impl Broker {
    /// Reads the certificates and binds every address; connections wait in the kernel until [`Broker::run`].
    ///
    /// # Errors
    /// The first thing that is missing: see [`BrokerError`].
    pub async fn bind(
        config: Config,
        backbone: Backbone,
        metrics: prometheus::Registry,
    ) -> Result<Broker, BrokerError> {
        let (drain, draining) = watch::channel(false);
        let mut doors = Vec::with_capacity(config.listeners.len());
        for (number, listener) in config.listeners.into_iter().enumerate() {
            let limits = limits(&config.session, &config.transactions, listener.packet_bytes_max);
            doors.push(Door::bind(ListenerNumber(number), listener, limits).await?);
        }
        let api = match config.api {
            Some(api) => Some(ApiDoor::bind(api, &backbone, &metrics, &draining).await?),
            None => None,
        };
        let live = Arc::new(LiveSessions::default());
        let metrics = Metrics::register(&metrics)?;
        let wills = Arc::new(Wills::left_behind(&backbone, config.transactions.will_delay_s).await?);
        let access = Arc::new(config.access);
        let shared = Arc::new(Shared { backbone, access, wills, live, metrics, draining: Draining::new(draining) });
        let (drain_limit, sys_interval) = (config.drain.limit, config.sys.interval);
        Ok(Broker { doors, api, drain_limit, sys_interval, shared, drain })
    }

    /// Where MQTT clients connect, in the order of the configuration; with the ports that the system chose for port 0.
    pub fn listener_addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|door| door.address).collect()
    }

    /// Where the API listens.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(|api| api.address)
    }

    /// Serves until `shutdown` resolves, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.log_addresses();
        // Dropping a set ends its tasks: none outlives this call, however it ends.
        let _background = background(&self.shared, self.sys_interval);
        let (end_api, api_ends) = watch::channel(false);
        let mut api = JoinSet::new();
        if let Some(door) = self.api {
            api.spawn(quorate_http::serve(door.socket, door.tls, door.limits, door.api, api_ends));
        }
        let mut listeners = JoinSet::new();
        for door in self.doors {
            let shared = Arc::clone(&self.shared);
            listeners.spawn(listener::serve(door.socket, door.connections_max, door.manner, shared));
        }
        shutdown.await;
        tracing::info!(limit_ms = self.drain_limit.as_millis(), "draining: no new connections, every client is told");
        self.drain.send_replace(true);
        all_ended(&mut listeners, self.drain_limit, "connections").await;
        end_api.send_replace(true);
        all_ended(&mut api, API_END_LIMIT, "the API").await;
    }

    fn log_addresses(&self) {
        let mqtt: Vec<String> =
            self.doors.iter().map(|door| format!("{}={}", door.manner.listener, door.address)).collect();
        let api = self.api_address().map_or_else(|| "none".to_owned(), |address| address.to_string());
        tracing::info!(mqtt = mqtt.join(" "), api, "listening");
    }
}

/// What runs beside the connections.
fn background(shared: &Shared, sys_interval: Option<Duration>) -> JoinSet<()> {
    let (backbone, metrics) = (&shared.backbone, &shared.metrics);
    let mut tasks = JoinSet::new();
    tasks.spawn(StateAnnouncer::new(backbone.clone(), metrics.clone()).run());
    tasks.spawn(WillKeeper::new(Arc::clone(&shared.wills), backbone.clone(), shared.draining.clone()).run());
    if let Some(interval) = sys_interval {
        tasks.spawn(SysPublisher::new(backbone.clone(), metrics.clone(), interval).run());
    }
    tasks
}

impl Door {
    async fn bind(number: ListenerNumber, listener: Listener, limits: Limits) -> Result<Door, BrokerError> {
        let name = format!("listener {:?}", listener.name);
        let (entrance, address) = match &listener.encryption {
            Encryption::Tls(tls) => {
                let alpn: &[&[u8]] = if listener.framing == Framing::Stream { &[] } else { HTTP_ALPN };
                (Entrance::Tls(server_config(tls, alpn, &name)?), listener.address)
            }
            Encryption::DangerPlaintext(danger) => {
                tracing::warn!(listener = listener.name, "danger: no encryption here, and every client is believed");
                (Entrance::DangerPlaintext(*danger), danger.address())
            }
        };
        let (socket, address) = bind(address, name).await?;
        let manner = Manner {
            listener: listener.name,
            entrance,
            framing: listener.framing,
            handshake_timeout: listener.handshake_timeout,
            terms: Terms {
                connect_timeout: listener.connect_timeout,
                party_room: PartyRoom { listener: number, connections_max: listener.connections_per_party_max },
                limits,
            },
        };
        Ok(Door { socket, address, connections_max: listener.connections_max, manner })
    }
}

impl ApiDoor {
    async fn bind(
        config: ApiConfig,
        backbone: &Backbone,
        metrics: &prometheus::Registry,
        draining: &watch::Receiver<bool>,
    ) -> Result<ApiDoor, BrokerError> {
        let name = "the API".to_owned();
        let tls = server_config(&config.tls, HTTP_ALPN, &name)?;
        let (socket, address) = bind(config.address, name).await?;
        let limits = HttpLimits {
            handshake_timeout: config.handshake_timeout,
            header_timeout: config.header_timeout,
            connections_max: config.connections_max,
            body_bytes_max: config.body_bytes_max,
        };
        let admins: Vec<PartyId> = config.admins;
        let api = Api { backbone: backbone.clone(), admins, metrics: metrics.clone(), draining: draining.clone() };
        Ok(ApiDoor { socket, address, tls, limits, api })
    }
}

async fn bind(address: SocketAddr, name: String) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bound.await.map_err(|source| BrokerError::Bind { name, address, source })
}

fn server_config(tls: &TlsConfig, alpn: &[&[u8]], name: &str) -> Result<Arc<ServerConfig>, BrokerError> {
    quorate_identity::server_config(&tls.files, &tls.versions, alpn)
        .map_err(|source| BrokerError::Tls { name: name.to_owned(), source })
}

fn limits(session: &SessionConfig, transactions: &TransactionsConfig, packet_bytes_max: u32) -> Limits {
    Limits {
        inflight_max: session.inflight_max,
        receive_maximum: session.receive_maximum,
        pending_bytes_max: session.pending_bytes_max,
        packet_bytes_max,
        keep_alive_max_s: session.keep_alive_max_s,
        session_expiry_max_s: session.session_expiry_max_s,
        subscriptions_max: session.subscriptions_max,
        topic_alias_max: session.topic_alias_max,
        tx_will_delay_s: transactions.will_delay_s,
    }
}

/// Waits until all tasks have ended; those that have not within the limit are cut.
async fn all_ended(tasks: &mut JoinSet<()>, limit: Duration, what: &str) {
    let ended = timeout(limit, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(limit_ms = limit.as_millis(), "{what} did not end in time and are cut");
        tasks.shutdown().await;
    }
}
