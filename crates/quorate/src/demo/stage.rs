//! What the story needs: a folder, certificates, the broker, the parties' processes, and the operator's questions.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use quorate_client::api::{ApiClient, ApiError};
use quorate_domain::{Sha256, TxId};
use quorate_identity::authority::{Existing, FolderEntry, FolderPlan, fill_folder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::broker::{Broker, Sealing};
use super::{DemoArgs, broker, ceremony::Milestone};

use crate::certs::master_key;

/// Who is in the demo. `mallory` has a certificate and no invitation.
pub const PARTIES: [&str; 3] = ["alice", "bob", "carol"];
/// How long a development certificate of the demo is valid, in days.
const CERTIFICATE_DAYS: u32 = 365;
/// A visit takes well under a second; its own patience ends before this.
const VISIT_LIMIT: Duration = Duration::from_secs(45);
/// How long the broker may take to notice that somebody came or went.
const PRESENCE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(25);
/// How much of a failed process's error output is shown.
const STDERR_BYTES_MAX: u64 = 8 * 1024;

/// The demo's surroundings.
pub struct Stage {
    folder: PathBuf,
    /// Removed when dropped, unless it is to be kept.
    temporary: Option<TempDir>,
    certs: PathBuf,
    danger_keep_round2: bool,
    pub certificates: Vec<FolderEntry>,
    pub broker: Option<Broker>,
}

/// One visit of a party.
pub struct VisitPlan<'a> {
    pub party: &'a str,
    pub tx: &'a TxId,
    pub until: Milestone,
    /// The manifest to create the transaction with.
    pub create: Option<&'a Path>,
    /// What may be signed.
    pub approve: Option<Sha256>,
}

/// A party that is connected; it goes when [`Visiting::leave`] is called.
pub struct Visiting {
    party: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it said when it had done all it came for.
    pub done: Value,
}

impl Stage {
    /// Makes the folder, and the certificates that are missing.
    pub fn prepare(args: &DemoArgs) -> anyhow::Result<Self> {
        let temporary = || TempDir::with_prefix("quorate-demo-").context("cannot make a temporary folder");
        let (folder, temporary) = match (&args.dir, args.keep) {
            (Some(folder), _) => (clear_folder(folder)?, None),
            (None, true) => (temporary()?.keep(), None),
            (None, false) => {
                let temporary = temporary()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let parties = ["operator"].iter().chain(&PARTIES).chain(&["mallory"]).map(|name| (*name).to_owned()).collect();
        let plan = FolderPlan {
            servers: vec![("broker".to_owned(), names)],
            parties,
            days: CERTIFICATE_DAYS,
            existing: Existing::Keep,
        };
        let certificates = fill_folder(&args.certs, &plan)
            .with_context(|| format!("cannot make certificates in {}", args.certs.display()))?;
        master_key::keep_or_make(&args.certs)?;
        let certs = args.certs.canonicalize().with_context(|| format!("cannot find {}", args.certs.display()))?;
        Ok(Self { folder, temporary, certs, danger_keep_round2: args.danger_keep_round2, certificates, broker: None })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder stays when the demo is over.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    pub async fn start_broker(&mut self) -> anyhow::Result<&Broker> {
        let sealing = if self.danger_keep_round2 { Sealing::DangerOpen } else { Sealing::Sealed };
        Ok(self.broker.insert(Broker::start(&self.folder, &self.certs, sealing).await?))
    }

    /// SIGKILL, then started again on the same store. Gives both process ids.
    pub async fn kill_and_restart_broker(&mut self) -> anyhow::Result<(Option<u32>, Option<u32>)> {
        let operator = self.operator()?;
        let broker = self.broker.as_mut().context("there is no broker")?;
        let before = broker.pid();
        broker.kill().await?;
        broker.restart(&operator).await?;
        Ok((before, broker.pid()))
    }

    pub fn operator(&self) -> anyhow::Result<ApiClient> {
        broker::operator(&self.broker()?.api, &self.certs)
    }

    /// The broker's log, for a failure.
    pub fn log(&self) -> Option<(PathBuf, String)> {
        self.broker.as_ref().map(|broker| (broker.log_path(), broker.log_tail()))
    }

    /// Starts a visit and waits until the party has done what it came for; it is still connected then.
    pub async fn visit(&self, plan: &VisitPlan<'_>) -> anyhow::Result<Visiting> {
        let mut command = self.party_command("visit", plan.party, plan.tx)?;
        let until = serde_json::to_value(plan.until)?;
        command.arg("--state").arg(self.folder.join(format!("{}.state.json", plan.party)));
        command.arg("--until").arg(until.as_str().unwrap_or_default()).arg("--hold");
        if let Some(manifest) = plan.create {
            command.arg("--create").arg(manifest);
        }
        if let Some(payload) = plan.approve {
            command.arg("--approve").arg(payload.to_string());
        }
        if self.danger_keep_round2 {
            command.arg("--danger-keep-round2");
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", plan.party))?;
        let output = child.stdout.take().context("a child without standard output")?;
        let mut visiting =
            Visiting { party: plan.party.to_owned(), child, lines: BufReader::new(output).lines(), done: Value::Null };
        match timeout(VISIT_LIMIT, visiting.wait_until_done()).await {
            Ok(outcome) => outcome?,
            Err(_) => bail!("{} is not done after {} s", plan.party, VISIT_LIMIT.as_secs()),
        }
        Ok(visiting)
    }

    /// A whole visit: come, do it, go. Gives what the party said at its end.
    pub async fn visit_and_leave(&self, plan: &VisitPlan<'_>) -> anyhow::Result<Value> {
        self.visit(plan).await?.leave().await
    }

    /// Lets somebody who is not invited try every door of a transaction. Gives how many were shut: all of them.
    pub async fn intrude(&self, party: &str, tx: &TxId) -> anyhow::Result<usize> {
        let mut command = self.party_command("intrude", party, tx)?;
        command.arg("--api").arg(&self.broker()?.api);
        let output = timeout(VISIT_LIMIT, command.output()).await.context("an intruder takes too long")??;
        if !output.status.success() {
            bail!("{party}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    }

    /// Asks the API who of the parties is present until it is exactly these, and gives what it said of each.
    pub async fn presence(&self, expected: &[&str]) -> anyhow::Result<Vec<Value>> {
        let operator = self.operator()?;
        let started = Instant::now();
        loop {
            let mut parties = Vec::new();
            for party in PARTIES {
                parties.push(match operator.party(party).await {
                    // Nobody has heard of it yet.
                    Err(ApiError::Problem { status: 404, .. }) => {
                        serde_json::json!({ "party": party, "online": false })
                    }
                    other => other?,
                });
            }
            let online = |party: &Value| party["online"] == Value::Bool(true);
            let found: Vec<&str> =
                parties.iter().filter(|party| online(party)).filter_map(|party| party["party"].as_str()).collect();
            if found == expected {
                return Ok(parties);
            }
            ensure!(
                started.elapsed() < PRESENCE_LIMIT,
                "the API says that {found:?} are present, though {expected:?} are"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What the operator sees of a transaction.
    pub async fn transaction(&self, tx: &TxId) -> anyhow::Result<Value> {
        Ok(self.operator()?.transaction(tx.as_str()).await?)
    }

    fn broker(&self) -> anyhow::Result<&Broker> {
        self.broker.as_ref().context("there is no broker")
    }

    fn party_command(&self, role: &str, party: &str, tx: &TxId) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.args(["demo", role, "--party", party, "--tx", tx.as_str(), "--server-name", "localhost"]);
        command.args(["--broker", &self.broker()?.address]).arg("--certs").arg(&self.certs);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

impl Visiting {
    /// Closes the party's standard input, which is its sign to go, and waits until it has gone.
    pub async fn leave(mut self) -> anyhow::Result<Value> {
        drop(self.child.stdin.take());
        let status = timeout(VISIT_LIMIT, self.child.wait()).await.context("a party does not go")??;
        match status.success() {
            true => Ok(self.done),
            false => Err(self.failure().await),
        }
    }

    async fn wait_until_done(&mut self) -> anyhow::Result<()> {
        while let Some(line) = self.lines.next_line().await? {
            let event: Value = serde_json::from_str(&line).with_context(|| format!("{} said: {line}", self.party))?;
            if event["event"] == "done" {
                self.done = event;
                return Ok(());
            }
        }
        Err(self.failure().await)
    }

    /// What the party said before it ended.
    async fn failure(&mut self) -> anyhow::Error {
        let mut text = Vec::new();
        if let Some(errors) = self.child.stderr.take() {
            // Whatever can be read is better than nothing.
            let _ = errors.take(STDERR_BYTES_MAX).read_to_end(&mut text).await;
        }
        anyhow::anyhow!("{}: {}", self.party, String::from_utf8_lossy(&text).trim())
    }
}

/// Makes the folder, and removes what an earlier demo left in it; nothing else is touched.
fn clear_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let mut leftovers = vec![folder.join("broker.toml"), broker::log_path(&folder)];
    leftovers.extend(PARTIES.iter().map(|party| folder.join(format!("{party}.state.json"))));
    for file in leftovers {
        gone(fs::remove_file(&file)).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let store = folder.join("store");
    gone(fs::remove_dir_all(&store)).with_context(|| format!("cannot remove {}", store.display()))?;
    Ok(folder)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
