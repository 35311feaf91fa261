//! The built broker as a process of its own: started, killed, restarted, ended; always by its id.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use quorate_client::api::ApiClient;
use quorate_client::{Client, ConnectOptions, Identity};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::binary::quorate_binary;
use crate::ca::TestCa;
use crate::config::{BrokerOptions, Identities, Places};
use crate::ports::free_port;
use crate::wait::eventually;

/// The API admin that every test broker knows.
const OPERATOR: &str = "operator";
/// How long a broker may take until it answers; a machine that compiles at the same time is slow.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a broker may take to end after SIGTERM: its own drain limit (10 s) and some.
const EXIT_LIMIT: Duration = Duration::from_secs(20);
/// How often a start is tried again with other ports, if another process took them first.
const START_TRIES: usize = 3;
/// How much of the log a failure shows.
const LOG_LINES_SHOWN: usize = 60;

/// A running (or killed) broker with a CA, a store and ports of its own. Dropping it kills it; where the test
/// panics, the end of its log is printed.
#[derive(Debug)]
pub struct BrokerProcess {
    folder: TempDir,
    ca: TestCa,
    binary: PathBuf,
    options: BrokerOptions,
    mqtt_port: u16,
    web_socket_port: u16,
    api_port: u16,
    child: Option<Child>,
}

impl BrokerProcess {
    /// Starts a broker with the defaults and waits until it is ready.
    ///
    /// # Errors
    /// When the binary is missing or the broker does not become ready; the end of its log is in the message.
    pub async fn start() -> anyhow::Result<BrokerProcess> {
        BrokerProcess::start_with(BrokerOptions::default()).await
    }

    /// Starts a broker with what `options` sets and waits until it is ready.
    ///
    /// # Errors
    /// As [`BrokerProcess::start`].
    pub async fn start_with(options: BrokerOptions) -> anyhow::Result<BrokerProcess> {
        let mut broker = BrokerProcess {
            folder: tempfile::tempdir()?,
            ca: TestCa::new()?,
            binary: quorate_binary()?,
            options,
            mqtt_port: 0,
            web_socket_port: 0,
            api_port: 0,
            child: None,
        };
        for tries_left in (0..START_TRIES).rev() {
            broker.mqtt_port = free_port()?;
            broker.web_socket_port = free_port()?;
            broker.api_port = free_port()?;
            match broker.spawn().await {
                Ok(()) => break,
                Err(_) if tries_left > 0 && broker.log().contains("in use") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(broker)
    }

    /// Kills the broker with SIGKILL, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the broker is not running")?;
        child.kill().context("SIGKILL")?;
        child.wait().context("waiting for the killed broker")?;
        Ok(())
    }

    /// Starts the broker again on the same ports and the same store; kills it first where it runs.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.kill9()?;
        }
        self.spawn().await
    }

    /// Starts the broker again and does not wait: for a kill while it starts. [`BrokerProcess::restart`] is next.
    ///
    /// # Errors
    /// When it does not start at all.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            self.kill9()?;
        }
        self.start_process()
    }

    /// As [`BrokerProcess::restart`], with other options.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn restart_with(&mut self, options: BrokerOptions) -> anyhow::Result<()> {
        self.options = options;
        self.restart().await
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Errors
    /// When it is not running.
    pub fn send_sigterm(&self) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the broker is not running")?;
        kill_process(Pid::from_child(child), Signal::TERM).context("SIGTERM")
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.send_sigterm()?;
        self.exit_status().await
    }

    /// Waits until the broker has ended by itself.
    ///
    /// # Errors
    /// When it is not running, or does not end in time.
    pub async fn exit_status(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("the broker is not running")?;
        let status = eventually(EXIT_LIMIT, || {
            let status = child.try_wait();
            async move { status?.context("the broker still runs") }
        });
        let status = status.await?;
        self.child = None;
        Ok(status)
    }

    /// The process id.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("the broker is not running")?.id())
    }

    /// `host:port` for MQTT.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.mqtt_port)
    }

    /// The port for MQTT.
    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_port
    }

    /// The port for MQTT over WebSocket, where the options ask for it.
    pub fn web_socket_port(&self) -> u16 {
        self.web_socket_port
    }

    /// Whether it believes its clients without TLS ([`BrokerOptions::danger_anonymous`]).
    pub fn is_danger_anonymous(&self) -> bool {
        self.options.identities() == Identities::DangerAnonymous
    }

    /// The address of the HTTP API, without a path.
    pub fn api_base(&self) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.api_port)
    }

    /// The CA that this broker trusts.
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// A party of this broker's CA.
    ///
    /// # Errors
    /// When `cn` is not a party id.
    pub fn identity(&self, cn: &str) -> anyhow::Result<Identity> {
        self.ca.identity(cn)
    }

    /// What a client of this broker connects with; a test changes what it wants otherwise.
    ///
    /// # Errors
    /// When `cn` is not a party id.
    pub fn connect_options(&self, cn: &str, client_id: &str) -> anyhow::Result<ConnectOptions> {
        Ok(ConnectOptions::new(self.address(), self.identity(cn)?, client_id))
    }

    /// Connects as `cn` with `cn` as the client id: a session that is resumed and outlives the connection.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn client(&self, cn: &str) -> anyhow::Result<Client> {
        self.client_with(self.connect_options(cn, cn)?).await
    }

    /// Connects with these options.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn client_with(&self, options: ConnectOptions) -> anyhow::Result<Client> {
        Ok(Client::connect(options).await?)
    }

    /// The HTTP API as `cn`; `operator` is an admin.
    ///
    /// # Errors
    /// When `cn` is not a party id.
    pub fn api(&self, cn: &str) -> anyhow::Result<ApiClient> {
        Ok(ApiClient::new(&self.api_base(), &self.identity(cn)?)?)
    }

    /// The folder of the store.
    pub fn store_path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("broker.toml")
    }

    /// The file with all that the broker printed, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("broker.log")
    }

    /// All that the broker printed.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    async fn spawn(&mut self) -> anyhow::Result<()> {
        self.start_process()?;
        let ready = self.wait_until_ready().await;
        if let Err(error) = ready {
            if self.child.is_some() {
                self.kill9()?;
            }
            return Err(error.context(self.log_end()));
        }
        Ok(())
    }

    fn start_process(&mut self) -> anyhow::Result<()> {
        let places = Places {
            certs: self.ca.dir(),
            store: &self.store_path(),
            mqtt_port: self.mqtt_port,
            web_socket_port: self.web_socket_port,
            api_port: self.api_port,
        };
        fs::write(self.config_path(), self.options.to_toml(&places))?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let child = Command::new(&self.binary)
            .args([Path::new("serve"), Path::new("-c"), &self.config_path()])
            .envs(self.options.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.binary.display().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let api = match self.options.identities() {
            Identities::Certificates => Some(self.api(OPERATOR)?),
            Identities::DangerAnonymous => None,
        };
        let address = self.address();
        let child = self.child.as_mut().context("the broker is not running")?;
        let ended = eventually(READY_LIMIT, || {
            let ended = child.try_wait();
            let (api, address) = (&api, &address);
            async move {
                if let Some(status) = ended? {
                    return Ok(Some(status));
                }
                if let Some(api) = api {
                    api.ready().await.context("the API is not ready")?;
                }
                TcpStream::connect(address).await.context("MQTT is not ready")?;
                Ok(None)
            }
        });
        if let Some(status) = ended.await? {
            self.child = None;
            bail!("the broker ended at its start: {status}");
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("the end of the broker's log:\n{}\n", shown.join("\n"))
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone after this.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_end());
        }
    }
}
