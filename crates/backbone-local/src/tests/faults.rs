//! A disk that fails: nothing is acknowledged that may not be there, and afterwards it goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use quorate_backbone::{Append, Receipt, Start};
use quorate_domain::{CursorMoves, Refusal, Seq, UnixMs};

use super::{LASTING, append, create, directory, options, publish, read, session, soon, tx, until};
use crate::store::{Batch, Disk, RealDisk, Store, StoreFault};
use crate::{LocalBackbone, Purpose};

/// How many of the next calls fail.
#[derive(Default)]
pub(super) struct Faults {
    /// Writes that fail and leave nothing.
    pub(super) writes: AtomicU32,
    /// Writes that fail after they took place.
    pub(super) syncs: AtomicU32,
    probes: AtomicU32,
    /// What the disk says is free; 0: the truth.
    free_bytes: AtomicU64,
    /// How long each write takes more, in milliseconds.
    delay_ms: AtomicU64,
}

struct FaultyDisk {
    disk: RealDisk,
    faults: Arc<Faults>,
}

fn due(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
}

impl Disk for FaultyDisk {
    fn write(&mut self, store: &Store, batch: &Batch, sync: bool) -> Result<(), StoreFault> {
        std::thread::sleep(Duration::from_millis(self.faults.delay_ms.load(Ordering::Acquire)));
        if due(&self.faults.writes) {
            return Err(StoreFault::Injected("no space left on device"));
        }
        self.disk.write(store, batch, sync)?;
        if due(&self.faults.syncs) {
            return Err(StoreFault::Injected("the sync failed"));
        }
        Ok(())
    }

    fn probe(&mut self) -> Result<(), StoreFault> {
        if due(&self.faults.probes) {
            return Err(StoreFault::Injected("still no space left on device"));
        }
        self.disk.probe()
    }

    fn free_bytes(&mut self) -> Option<u64> {
        match self.faults.free_bytes.load(Ordering::Acquire) {
            0 => self.disk.free_bytes(),
            bytes => Some(bytes),
        }
    }
}

pub(super) fn open(path: &Path) -> (LocalBackbone, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let disk = FaultyDisk { disk: RealDisk::new(path), faults: faults.clone() };
    let local = LocalBackbone::open_on(Box::new(disk), options(path), Purpose::Serve, &prometheus::Registry::new());
    (local.expect("it opens"), faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_told_and_the_retry_is_acknowledged_once() {
    const FOR_A_WHILE: u32 = 1_000;
    let directory = directory();
    let (local, faults) = open(directory.path());
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    faults.probes.store(FOR_A_WHILE, Ordering::Release);
    faults.writes.store(1, Ordering::Release);

    let failed = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "one").await;
    assert!(matches!(failed, Err(Refusal::StorageFault(_))), "{failed:?}");
    let reason = backbone.health.ready().expect_err("not ready");
    assert!(reason.contains("no space left"), "{reason}");
    // While the disk is full, all is refused without a try, which is told apart, and what is there can be read.
    let refused = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "one").await;
    assert_eq!(refused, Err(Refusal::QuotaExceeded("the disk is full".to_owned())));
    let take_over = soon(backbone.sessions.take_over(&session("bob"), Start::Clean, &LASTING, UnixMs(1))).await;
    assert!(take_over.is_err());
    assert_eq!(read(&backbone, &tx(1), "carol").await.len(), 1);

    faults.probes.store(0, Ordering::Release);
    until("ready again", || backbone.health.ready().is_ok()).await;
    let retried = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "one").await.expect("accepted");
    assert!(!retried.repeated);
    assert_eq!(read(&backbone, &tx(1), "carol").await.len(), 2);
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_the_retry_finds_what_is_on_the_disk() {
    let directory = directory();
    let (local, faults) = open(directory.path());
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    faults.syncs.store(1, Ordering::Release);
    let unknown = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "one").await;
    assert!(matches!(unknown, Err(Refusal::StorageFault(_))), "{unknown:?}");
    until("ready again", || backbone.health.ready().is_ok()).await;
    // It did take place: other bytes are refused, the same are acknowledged, and it is there once.
    let other = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "two").await;
    assert!(matches!(other, Err(Refusal::SlotTaken { .. })));
    let retried = publish(&backbone, &tx(1), "bob", "broadcast/1/bob", "one").await.expect("accepted");
    assert!(retried.repeated);
    let page = read(&backbone, &tx(1), "carol").await;
    assert_eq!(page.len(), 2);
    assert_eq!(page[1].prev, Seq(1));
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_does_not_keep_the_end_waiting() {
    let directory = directory();
    let (local, faults) = open(directory.path());
    faults.probes.store(u32::MAX, Ordering::Release);
    faults.writes.store(u32::MAX, Ordering::Release);
    let backbone = local.backbone();
    let failed = soon(backbone.presence.announce(&session("bob"), UnixMs(1))).await;
    assert!(failed.is_err());
    assert!(!backbone.presence.is_present(&session("bob").party));
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_a_publish_at_qos_2_finds_its_receipt() {
    let directory = directory();
    let (local, faults) = open(directory.path());
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    let key = session("bob");
    let take_over = async || soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await;
    let at_qos_2 = |epoch| Append {
        receipt: Some(Receipt { session: key.clone(), epoch, packet_id: 7 }),
        ..append(&tx(1), "bob", "msg/bob/n", "once")
    };
    let owner = take_over().await.expect("taken over");
    faults.syncs.store(1, Ordering::Release);
    let unknown = soon(backbone.log.append(at_qos_2(owner.epoch))).await;
    assert!(matches!(unknown, Err(Refusal::StorageFault(_))), "{unknown:?}");
    until("ready again", || backbone.health.ready().is_ok()).await;
    // It did take place, with its receipt: the next connection knows.
    let next = take_over().await.expect("taken over");
    assert_eq!(next.stored.expect("the session goes on").receipts, [7]);
    let retried = soon(backbone.log.append(at_qos_2(next.epoch))).await.expect("accepted");
    assert!(retried.repeated);
    assert_eq!(read(&backbone, &tx(1), "carol").await.len(), 2);
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_disk_batches_grow_and_what_is_stored_is_read_meanwhile() {
    const DELAY_MS: u64 = 300;
    const MESSAGES: usize = 200;
    let directory = directory();
    let faults = Arc::new(Faults::default());
    let disk = FaultyDisk { disk: RealDisk::new(directory.path()), faults: faults.clone() };
    let metrics = prometheus::Registry::new();
    let options = options(directory.path());
    let local = LocalBackbone::open_on(Box::new(disk), options, Purpose::Serve, &metrics).expect("it opens");
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    let commits = || {
        let families = metrics.gather();
        let family = families.iter().find(|family| family.name() == "quorate_commits_total").expect("a counter");
        family.get_metric()[0].get_counter().get_value()
    };
    let before = commits();
    faults.delay_ms.store(DELAY_MS, Ordering::Release);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..MESSAGES {
        let backbone = backbone.clone();
        waiting.spawn(async move { backbone.log.append(append(&tx(1), "bob", "msg/bob/n", n.to_string())).await });
    }
    // The first of them is being written; who reads does not wait for it, nor sees what is not durable.
    let read_meanwhile =
        tokio::time::timeout(Duration::from_millis(DELAY_MS / 2), read(&backbone, &tx(1), "carol")).await;
    assert_eq!(read_meanwhile.expect("a read does not wait for a write").len(), 1);
    while let Some(outcome) = soon(waiting.join_next()).await {
        outcome.expect("it ends").expect("accepted");
    }
    let batches = commits() - before;
    assert!(batches <= 6.0, "{MESSAGES} messages in {batches} batches");
    assert_eq!(backbone.health.ready(), Ok(()), "slow is not broken");
    faults.delay_ms.store(0, Ordering::Release);
    assert_eq!(read(&backbone, &tx(1), "carol").await.len(), 1 + MESSAGES);
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_takes_no_words_and_still_all_that_is_not_words() {
    let directory = directory();
    let (local, faults) = open(directory.path());
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    faults.free_bytes.store(1, Ordering::Release);
    until("the broker has noticed", || backbone.health.ready().is_err()).await;
    let refused = publish(&backbone, &tx(1), "bob", "msg/bob/n", "one").await;
    assert!(matches!(&refused, Err(Refusal::QuotaExceeded(why)) if why.contains("nearly full")), "{refused:?}");
    // Sessions, cursors and presence are kept, so that who comes finds all and hears nothing twice.
    let key = session("bob");
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await.expect("taken over");
    let moves = CursorMoves { cursors: vec![(tx(1), Some(Seq(1)))], ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
    soon(backbone.presence.announce(&key, UnixMs(1))).await.expect("announced");
    faults.free_bytes.store(0, Ordering::Release);
    until("there is room again", || backbone.health.ready().is_ok()).await;
    publish(&backbone, &tx(1), "bob", "msg/bob/n", "one").await.expect("taken again");
    soon(local.shut_down()).await;
}
