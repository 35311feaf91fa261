//! A broker that others wrote, as a process of its own: found, started, told to save, ended; always by its id.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use quorate_client::Identity;
use quorate_testkit::{TestCa, eventually, free_port};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

pub use rustix::process::Signal;

use super::Certificates;

/// How long it may take until it listens, and to end.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to write its memory to the disk.
const SAVE_LIMIT: Duration = Duration::from_secs(60);
/// Where Debian puts what is not for everybody's PATH.
const FOLDERS_BESIDE_PATH: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// What a peer is started with.
pub struct Invocation {
    pub configuration: String,
    pub speaks: Speaks,
    pub saving: Option<Saving>,
}

/// Which MQTT a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Mqtt5,
    Mqtt311Alone,
}

/// How a peer is told to write what it has in memory.
#[derive(Debug)]
pub struct Saving {
    pub signal: Signal,
    /// It is there when all is written.
    pub file: PathBuf,
}

/// Where the parts of a peer are.
pub struct Places<'a> {
    pub certificates: Certificates<'a>,
    pub store: &'a Path,
    pub port: u16,
}

/// A running peer. Dropping it kills it.
#[derive(Debug)]
pub struct Peer {
    folder: TempDir,
    ca: TestCa,
    port: u16,
    speaks: Speaks,
    saving: Option<Saving>,
    child: Child,
}

impl Peer {
    /// Starts `program` and waits until it listens.
    pub async fn start(program: &Path, invocation: fn(&Places<'_>) -> Invocation) -> anyhow::Result<Peer> {
        let folder = tempfile::tempdir()?;
        let ca = TestCa::new()?;
        let store = folder.path().join("store");
        fs::create_dir(&store)?;
        let port = free_port()?;
        let invocation = invocation(&Places { certificates: Certificates(ca.dir()), store: &store, port });
        let configuration = folder.path().join("peer.conf");
        fs::write(&configuration, invocation.configuration)?;
        let log = File::create(folder.path().join("peer.log"))?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let Invocation { speaks, saving, .. } = invocation;
        let mut peer = Peer { folder, ca, port, speaks, saving, child };
        peer.wait_until_it_listens().await.with_context(|| format!("{}:\n{}", program.display(), peer.log()))?;
        Ok(peer)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `host:port` for MQTT.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// A party of the CA that this peer trusts.
    pub fn identity(&self, name: &str) -> anyhow::Result<Identity> {
        self.ca.identity(name)
    }

    pub fn speaks_3_1_1_alone(&self) -> bool {
        self.speaks == Speaks::Mqtt311Alone
    }

    /// The folder of what it stores.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Has it write what it keeps in memory, where it keeps any, and waits until it is written.
    pub async fn save(&self) -> anyhow::Result<()> {
        let Some(Saving { signal, file }) = &self.saving else {
            return Ok(());
        };
        kill_process(Pid::from_child(&self.child), *signal).context("the signal to save")?;
        let saved = eventually(SAVE_LIMIT, || async {
            ensure!(file.exists(), "{} is not there", file.display());
            Ok(())
        });
        saved.await.context("it did not save")
    }

    /// Sends SIGTERM and waits. What a peer says of its end is its own matter.
    pub async fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("SIGTERM")?;
        let child = &mut self.child;
        let ended = eventually(START_LIMIT, || {
            let ended = child.try_wait();
            async move { ended?.context("it still runs") }
        });
        ended.await.map(drop)
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let address = self.address();
        let child = &mut self.child;
        let ended = eventually(START_LIMIT, || {
            let ended = child.try_wait();
            let address = &address;
            async move {
                if let Some(status) = ended? {
                    return Ok(Some(status));
                }
                TcpStream::connect(address).await.context("it does not listen")?;
                Ok(None)
            }
        });
        match ended.await? {
            Some(status) => bail!("it ended at its start: {status}"),
            None => Ok(()),
        }
    }

    fn log(&self) -> String {
        fs::read(self.folder.path().join("peer.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program: the one that was named, or else that in `target/venv/bin` beside this executable's folder, in PATH, or
/// where Debian puts it.
pub fn find(named: Option<&Path>, program: &str) -> Option<PathBuf> {
    if let Some(named) = named {
        return named.is_file().then(|| named.to_owned());
    }
    let executable = std::env::current_exe().ok();
    let venv =
        executable.as_deref().and_then(Path::parent).and_then(Path::parent).map(|target| target.join("venv/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = venv.into_iter().chain(std::env::split_paths(&path)).chain(FOLDERS_BESIDE_PATH.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_named_is_taken_from_nowhere_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("sh");
        assert_eq!(find(Some(&program), "sh"), None);
        fs::write(&program, "").expect("a file");
        assert_eq!(find(Some(&program), "sh"), Some(program));
        assert!(find(None, "sh").is_some());
        assert_eq!(find(None, "no-program-is-called-this"), None);
    }
}
