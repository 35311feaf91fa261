//! When wills are said that wait: those of connections that ended a while ago, and those that an earlier run left.
//!
//! Nothing here decides whether a will is said: [`SessionStore::say_will`] does, in the batch that forgets it. It passes
//! over one whose session was taken over since, so nobody tells the keeper that a client is back. A will without delay
//! comes here only where its connection could not have it said.
//!
//! [`SessionStore::say_will`]: quorate_backbone::SessionStore::say_will

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_backbone::{Backbone, StoreError};
use quorate_domain::SessionKey;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::draining::Draining;

/// Wills that wait in memory, one a session key. At the bound a further one stays in the store alone and is said after
/// the next start: late, but not too early, and not lost.
const WAITING_MAX: usize = 262_144;

/// Wills that are being said at a time, so that they share batches of the store.
const SAYING_MAX: usize = 64;

/// The pause after a store fault, for each will anew; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The wills that wait, as the connections see them.
#[derive(Debug, Default)]
pub(crate) struct Wills {
    waiting: Mutex<Waiting>,
    /// Told when an earlier will than all others may have come.
    word: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    by_due: BTreeSet<(Instant, Arc<SessionKey>)>,
    of_key: BTreeMap<Arc<SessionKey>, Left>,
}

/// One will that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    /// With what its session was taken over.
    epoch: u64,
    due: Instant,
    /// The pause before the next try, should this one fail.
    pause: Duration,
}

/// A will whose time has come.
#[derive(Debug, Clone)]
struct Due {
    key: Arc<SessionKey>,
    left: Left,
}

impl Wills {
    /// What an earlier run left, killed or drained, each due after its own delay or `delay_min_s`, whichever is longer:
    /// its client has that long to come back. To be read before anybody can connect, since wills of sessions that are
    /// connected stand in the store as well.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn left_behind(backbone: &Backbone, delay_min_s: u32) -> Result<Wills, StoreError> {
        let wills = Wills::default();
        for will in backbone.sessions.wills().await? {
            let delay = Duration::from_secs(u64::from(will.delay_s.max(delay_min_s)));
            wills.leave(Arc::new(will.key), will.epoch, delay);
        }
        Ok(wills)
    }

    /// Leaves a will, to be said after `delay`. It takes the place of an older one of this session.
    pub(crate) fn leave(&self, key: Arc<SessionKey>, epoch: u64, delay: Duration) {
        self.put(key, Left { epoch, due: Instant::now() + delay, pause: PAUSE });
    }

    fn put(&self, key: Arc<SessionKey>, left: Left) {
        if !self.lock().put(key, left) {
            tracing::warn!(
                waiting = WAITING_MAX,
                "too many wills wait: one is said after the next start of the broker"
            );
        }
        self.word.notify_one();
    }

    /// The next will whose time has come. Dropping the wait loses nothing.
    async fn due(&self) -> Due {
        loop {
            let first = match self.lock().take_due(Instant::now()) {
                Ok(due) => return due,
                Err(first) => first,
            };
            // The permit that `notify_one` leaves behind makes a will that is left before this wait wake it.
            tokio::select! {
                () = until(first) => {}
                () = self.word.notified() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

impl Waiting {
    /// False: there is no room. A connection that took long to end may come after its successor's has ended: the later
    /// epoch counts.
    fn put(&mut self, key: Arc<SessionKey>, left: Left) -> bool {
        match self.of_key.get(&key) {
            Some(other) if other.epoch > left.epoch => return true,
            Some(other) => {
                self.by_due.remove(&(other.due, Arc::clone(&key)));
            }
            None if self.of_key.len() >= WAITING_MAX => return false,
            None => {}
        }
        self.by_due.insert((left.due, Arc::clone(&key)));
        self.of_key.insert(key, left);
        true
    }

    /// A will whose time has come by `now`, or when that of the first comes, if any waits.
    fn take_due(&mut self, now: Instant) -> Result<Due, Option<Instant>> {
        let first = self.by_due.first().map(|(due, _)| *due);
        if first.is_none_or(|due| due > now) {
            return Err(first);
        }
        let taken = self.by_due.pop_first().and_then(|(_, key)| {
            let left = self.of_key.remove(&key)?;
            Some(Due { key, left })
        });
        taken.ok_or(None)
    }
}

/// Has wills said when their time comes.
pub(crate) struct WillKeeper {
    wills: Arc<Wills>,
    backbone: Backbone,
    draining: Draining,
    /// The last try met a store fault, and that was logged.
    is_failing: bool,
}

impl WillKeeper {
    pub(crate) fn new(wills: Arc<Wills>, backbone: Backbone, draining: Draining) -> Self {
        Self { wills, backbone, draining, is_failing: false }
    }

    /// Runs until the broker drains, which says none, or the store is closed.
    pub(crate) async fn run(mut self) {
        let mut saying = FuturesUnordered::new();
        let wills = Arc::clone(&self.wills);
        loop {
            tokio::select! {
                due = wills.due(), if saying.len() < SAYING_MAX => saying.push(say(self.backbone.clone(), due)),
                Some((due, said)) = saying.next(), if !saying.is_empty() => match said {
                    Ok(()) => self.is_failing = false,
                    Err(StoreError::Closed) => return,
                    Err(error) => self.try_again(due, &error.to_string()),
                },
                () = self.draining.begun() => return,
            }
        }
    }

    fn try_again(&mut self, Due { key, left }: Due, error: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(error, "a will could not be said; trying again");
        }
        let next = Left { due: Instant::now() + left.pause, pause: (left.pause * 2).min(PAUSE_MAX), ..left };
        self.wills.put(key, next);
    }
}

async fn say(backbone: Backbone, due: Due) -> (Due, Result<(), StoreError>) {
    let said = backbone.sessions.say_will(&due.key, due.left.epoch).await;
    (due, said)
}

#[cfg(test)]
impl Wills {
    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().of_key.len()
    }
}

#[cfg(test)]
mod tests;
