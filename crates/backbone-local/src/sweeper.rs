//! After a purge: the wrapped keys are to be in no file any more, and the room is to come back. That takes merging files,
//! which is not the committer's work: a thread of its own does it, one round after another.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::store::SharedStore;

/// Purges come in rounds of slices; one sweep for what came within this time.
const GATHER: Duration = Duration::from_secs(1);
/// A sweep takes longer the more keys there are; no more than this share of the time is spent on sweeps.
const SHARE: u32 = 10;

/// Asks for sweeps. Where one waits already, another is not needed.
pub(crate) struct Sweeper {
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// Starts the thread, which ends with this.
    pub(crate) fn start(shared: Arc<SharedStore>) -> std::io::Result<Self> {
        let (wanted, rounds) = sync_channel(1);
        let thread = thread::Builder::new().name("sweeper".to_owned()).spawn(move || run(&shared, &rounds))?;
        Ok(Self { wanted: Some(wanted), thread: Some(thread) })
    }

    /// Something was purged.
    pub(crate) fn sweep(&self) {
        if let Some(wanted) = &self.wanted {
            // Full: a round is still to come. Closed: the store is.
            let _ = wanted.try_send(());
        }
    }
}

impl Drop for Sweeper {
    /// Whoever opens the store next finds it alone.
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sweeper did not end well");
        }
    }
}

fn run(shared: &SharedStore, rounds: &Receiver<()>) {
    let mut gather = GATHER;
    while rounds.recv().is_ok() {
        if rounds.recv_timeout(gather) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        let began = Instant::now();
        let swept = shared.store().and_then(|store| store.sweep());
        if let Err(error) = swept {
            tracing::warn!(%error, "what was purged could not be swept from the files; the next purge tries again");
        }
        gather = GATHER.max(began.elapsed() * SHARE);
    }
}
