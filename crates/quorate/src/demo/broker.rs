//! The demo's broker: the same binary as `quorate serve`, on free ports, with a store of its own, as a child process
//! that can be killed.

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use quorate_client::api::ApiClient;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::certs::master_key;

/// How long the broker may take until it is ready, and until it has drained.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(25);
/// Another process may take a port between its choice and the broker's start.
const PORT_ATTEMPTS: u32 = 3;
/// How much of the log a failure shows.
const LOG_LINES: usize = 20;

/// Whether the broker seals what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    Sealed,
    /// So that a test can look for what must not be there even so.
    DangerOpen,
}

/// A running broker, or one that was killed and can be started again.
pub struct Broker {
    child: Option<Child>,
    folder: PathBuf,
    /// `host:port` for MQTT.
    pub address: String,
    /// The API's base.
    pub api: String,
}

impl Broker {
    /// Writes `broker.toml` into `folder`, starts the broker and waits until it is ready. Its certificates are in
    /// `certs`, an absolute path.
    pub async fn start(folder: &Path, certs: &Path, sealing: Sealing) -> anyhow::Result<Self> {
        for attempt in 1.. {
            let (mqtt, api) = free_ports()?;
            let config = folder.join("broker.toml");
            fs::write(&config, configuration(certs, sealing, mqtt, api)?)
                .with_context(|| format!("cannot write {}", config.display()))?;
            let mut broker = Self {
                child: None,
                folder: folder.to_owned(),
                address: format!("127.0.0.1:{mqtt}"),
                api: format!("https://localhost:{api}"),
            };
            match broker.launch(&operator(&broker.api, certs)?).await {
                Ok(()) => return Ok(broker),
                Err(_) if attempt < PORT_ATTEMPTS && broker.log_tail().contains("in use") => {}
                Err(error) => {
                    return Err(error.context(format!("the broker's last log lines:\n{}", broker.log_tail())));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// SIGKILL, and gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the broker is not running")?;
        child.kill().await.context("cannot kill the broker")
    }

    /// Starts it again, on the same ports and the same store.
    pub async fn restart(&mut self, operator: &ApiClient) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "the broker is still running");
        self.launch(operator).await
    }

    /// SIGTERM, and waits until it has drained.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("the broker is not running")?;
        let pid = child.id().context("the broker ended by itself")?;
        // The shell's own `kill`: the program of that name is not on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().await;
        ensure!(sent.context("cannot start sh")?.success(), "cannot send SIGTERM to the broker");
        timeout(PATIENCE, child.wait())
            .await
            .context("the broker does not drain")?
            .context("cannot wait for the broker")
    }

    pub fn log_path(&self) -> PathBuf {
        log_path(&self.folder)
    }

    pub fn log_tail(&self) -> String {
        log_tail(&self.folder)
    }

    async fn launch(&mut self, operator: &ApiClient) -> anyhow::Result<()> {
        let executable = std::env::current_exe().context("cannot find this program's own file")?;
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log: File = log.with_context(|| format!("cannot write {}", self.log_path().display()))?;
        let child = Command::new(executable)
            .arg("serve")
            .arg("-c")
            .arg(self.folder.join("broker.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the broker")?;
        self.child = Some(child);
        self.wait_until_ready(operator).await
    }

    async fn wait_until_ready(&mut self, operator: &ApiClient) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut last = String::new();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("the broker ended: {}", status.context("cannot wait for the broker")?);
            }
            // Both addresses are bound before either is served.
            match operator.ready().await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the broker is not ready after {} s: {last}", PATIENCE.as_secs())
    }
}

/// The API as the operator asks it.
pub fn operator(api: &str, certs: &Path) -> anyhow::Result<ApiClient> {
    Ok(ApiClient::new(api, &crate::connect::load_identity(certs, "operator")?)?)
}

/// Where the broker of this folder logs to.
pub fn log_path(folder: &Path) -> PathBuf {
    folder.join("broker.log")
}

/// The last lines of the log; empty where there is none.
pub fn log_tail(folder: &Path) -> String {
    let text = fs::read(log_path(folder)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Both are held until both are known, so that they differ.
fn free_ports() -> anyhow::Result<(u16, u16)> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("no free port");
    let (mqtt, api) = (bind()?, bind()?);
    Ok((mqtt.local_addr()?.port(), api.local_addr()?.port()))
}

fn configuration(certs: &Path, sealing: Sealing, mqtt: u16, api: u16) -> anyhow::Result<String> {
    // A JSON string is a TOML string.
    let file = |name: &str| serde_json::to_string(&certs.join(name)).context("the certificate folder is not UTF-8");
    let tls = format!(
        "certificate = {}\nkey = {}\nclient_ca = {}",
        file("broker.pem")?,
        file("broker.key.pem")?,
        file("ca.pem")?
    );
    let master_key = match sealing {
        Sealing::Sealed => format!("master_key_file = {}", file(master_key::FILE)?),
        Sealing::DangerOpen => String::new(),
    };
    Ok(format!(
        r#"# Written by `quorate demo`.
[[listener]]
name = "mqtt"
kind = "tls"
address = "127.0.0.1:{mqtt}"
[listener.tls]
{tls}

[api]
address = "127.0.0.1:{api}"
admins = ["operator"]
[api.tls]
{tls}

[storage]
path = "store"
{master_key}

[[transactions.rule]]
initiator = ["*"]
may_invite = ["*"]
"#
    ))
}
