//! Tells the members of open and running transactions how these stand, whenever that changes or a party comes or goes.
//!
//! Interim states only: the final state is a record of the log and travels with it. Each transaction is announced at
//! most once in [`ANNOUNCE_INTERVAL`]; a change in between waits for the interval's end, and several become one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::pending;
use std::time::Duration;

use quorate_backbone::{Backbone, StoreError};
use quorate_domain::{PartyId, TxId};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::effects::all_standings;
use crate::metrics::Metrics;

/// The shortest time between two state documents of one transaction (transactions.md).
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(250);

/// Parties that one read of the list of presences gives.
const PARTIES_PAGE: usize = 256;

/// Announces states until the backbone closes, or it is dropped.
pub(crate) struct StateAnnouncer {
    backbone: Backbone,
    presences: broadcast::Receiver<PartyId>,
    pace: Pace,
    missed: Missed,
    metrics: Metrics,
}

/// Changes of presence whose transactions could not be read: tried again after an interval.
#[derive(Debug, Default)]
struct Missed {
    parties: HashSet<PartyId>,
    anybody: bool,
    due: Option<Instant>,
}

impl Missed {
    fn put(&mut self, came: Came) {
        match came {
            Came::Parties(parties) => self.parties.extend(parties),
            Came::Anybody => self.anybody = true,
            Came::End => return,
        }
        self.due.get_or_insert_with(|| Instant::now() + ANNOUNCE_INTERVAL);
    }

    /// What was missed, once it is due; never, where nothing was.
    async fn due(&mut self) -> Came {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
        let Missed { parties, anybody, .. } = std::mem::take(self);
        if anybody { Came::Anybody } else { Came::Parties(parties) }
    }
}

impl StateAnnouncer {
    /// Watches from now on.
    pub(crate) fn new(backbone: Backbone, metrics: Metrics) -> Self {
        let presences = backbone.presence.watch();
        Self { backbone, presences, pace: Pace::default(), missed: Missed::default(), metrics }
    }

    /// Runs for as long as the backbone does.
    pub(crate) async fn run(mut self) {
        let changed = self.backbone.registry.changed();
        loop {
            let due = tokio::select! {
                transactions = changed.take() => self.due_now(transactions),
                came = next_change(&mut self.presences) => {
                    if came == Came::End {
                        return;
                    }
                    self.due_after(came).await
                }
                came = self.missed.due() => self.due_after(came).await,
                () = self.pace.wait() => self.pace.take_due(Instant::now()),
            };
            for tx in due {
                match self.announce(&tx).await {
                    Ok(()) => {}
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%tx, %error, "the state of a transaction was not announced; trying again");
                        self.pace.again(tx);
                    }
                }
            }
        }
    }

    /// What is to be announced now that somebody came or went.
    async fn due_after(&mut self, came: Came) -> Vec<TxId> {
        let parties = match came {
            Came::Parties(parties) => parties,
            Came::Anybody => all_parties(&self.backbone).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "changes of presence were not announced; trying again");
                self.missed.put(Came::Anybody);
                HashSet::new()
            }),
            Came::End => HashSet::new(),
        };
        let transactions = self.transactions_of(parties).await;
        self.due_now(transactions)
    }

    fn due_now(&mut self, transactions: impl IntoIterator<Item = TxId>) -> Vec<TxId> {
        let now = Instant::now();
        transactions.into_iter().filter(|tx| self.pace.admit(tx, now)).collect()
    }

    async fn transactions_of(&mut self, parties: HashSet<PartyId>) -> HashSet<TxId> {
        let mut transactions = HashSet::new();
        for party in parties {
            match all_standings(&self.backbone, &party).await {
                Ok(standings) => transactions.extend(
                    standings.into_iter().filter(|standing| !standing.state.is_closed()).map(|standing| standing.tx),
                ),
                Err(error) => {
                    tracing::warn!(%error, "a change of presence was not announced; trying again");
                    self.missed.put(Came::Parties(HashSet::from([party])));
                }
            }
        }
        transactions
    }

    async fn announce(&self, tx: &TxId) -> Result<(), StoreError> {
        let Some(transaction) = self.backbone.registry.transaction(tx).await? else {
            return Ok(());
        };
        if transaction.progress.state.is_closed() {
            return Ok(());
        }
        let document = transaction.state_document(self.backbone.registry.incarnation(), &|party: &PartyId| {
            self.backbone.presence.is_present(party)
        });
        let members: Vec<PartyId> = transaction.charter.members().cloned().collect();
        self.backbone.fanout.publish_state(&members, tx, transaction.progress.last_seq, document.to_bytes());
        self.metrics.state_documents.inc();
        Ok(())
    }
}

/// Whose presence changed.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// These parties'.
    Parties(HashSet<PartyId>),
    /// Word of some was lost: it may be anybody's.
    Anybody,
    /// Nobody's any more: the backbone is gone.
    End,
}

/// Waits for a change of presence and takes all that are known by then. Dropping the wait loses nothing.
async fn next_change(presences: &mut broadcast::Receiver<PartyId>) -> Came {
    let mut parties = HashSet::new();
    match presences.recv().await {
        Ok(party) => parties.insert(party),
        Err(RecvError::Closed) => return Came::End,
        Err(RecvError::Lagged(_)) => return Came::Anybody,
    };
    loop {
        match presences.try_recv() {
            Ok(party) => parties.insert(party),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Came::Parties(parties),
            Err(TryRecvError::Lagged(_)) => return Came::Anybody,
        };
    }
}

/// Every party that was ever seen.
async fn all_parties(backbone: &Backbone) -> Result<HashSet<PartyId>, StoreError> {
    let mut parties = HashSet::new();
    let mut after: Option<PartyId> = None;
    loop {
        let page = backbone.presence.list(after.as_ref(), PARTIES_PAGE).await?;
        let is_last = page.len() < PARTIES_PAGE;
        after = page.last().map(|status| status.party.clone());
        parties.extend(page.into_iter().map(|status| status.party));
        if is_last {
            return Ok(parties);
        }
    }
}

/// Which transactions were announced within the last interval, and which of them are to be announced again. Since all
/// intervals are equally long, they end in the order in which they began.
#[derive(Debug, Default)]
struct Pace {
    ends: VecDeque<(Instant, TxId)>,
    /// True: changed since.
    recent: HashMap<TxId, bool>,
}

impl Pace {
    /// Whether a transaction may be announced at once. If so its interval begins; if not it is due at the interval's end.
    fn admit(&mut self, tx: &TxId, now: Instant) -> bool {
        if let Some(changed) = self.recent.get_mut(tx) {
            *changed = true;
            return false;
        }
        self.begin(tx.clone(), now);
        true
    }

    /// Announce it once more at the end of its interval.
    fn again(&mut self, tx: TxId) {
        if let Some(changed) = self.recent.get_mut(&tx) {
            *changed = true;
        }
    }

    /// Ends when some interval ends.
    async fn wait(&self) {
        match self.ends.front() {
            Some((end, _)) => sleep_until(*end).await,
            None => pending().await,
        }
    }

    /// The transactions that changed during an interval that is over by now; a new one begins for each.
    fn take_due(&mut self, now: Instant) -> Vec<TxId> {
        let mut due = Vec::new();
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            let Some((_, tx)) = self.ends.pop_front() else { break };
            if self.recent.remove(&tx) == Some(true) {
                due.push(tx);
            }
        }
        for tx in &due {
            self.begin(tx.clone(), now);
        }
        due
    }

    fn begin(&mut self, tx: TxId, now: Instant) {
        self.recent.insert(tx.clone(), false);
        self.ends.push_back((now + ANNOUNCE_INTERVAL, tx));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(n: u32) -> TxId {
        TxId::new(&format!("announced-transaction-{n}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn many_changes_within_an_interval_become_one_announcement_at_its_end() {
        let mut pace = Pace::default();
        let start = Instant::now();
        assert!(pace.admit(&tx(1), start));
        assert!(!pace.admit(&tx(1), start));
        assert!(!pace.admit(&tx(1), start + ANNOUNCE_INTERVAL / 2));
        assert!(pace.admit(&tx(2), start + ANNOUNCE_INTERVAL / 2));
        assert!(pace.take_due(start + ANNOUNCE_INTERVAL / 2).is_empty());
        pace.wait().await;
        assert_eq!(Instant::now(), start + ANNOUNCE_INTERVAL);
        assert_eq!(pace.take_due(Instant::now()), [tx(1)]);
        assert!(!pace.admit(&tx(1), Instant::now()), "the announcement at the end began an interval of its own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_is_quiet_is_forgotten() {
        let mut pace = Pace::default();
        assert!(pace.admit(&tx(1), Instant::now()));
        pace.wait().await;
        assert!(pace.take_due(Instant::now()).is_empty());
        assert!(pace.recent.is_empty() && pace.ends.is_empty());
    }
}
