//! What was acknowledged is there again: after a process that was killed, and after an orderly end.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use quorate_backbone::{Append, Receipt, Start, StoreError};
use quorate_domain::{
    InflightRecord, InflightStep, LogName, Refusal, Seq, SessionExpiry, SessionRecord, UnackedRecord, UnixMs,
};

use super::{LASTING, append, create, directory, open, party, publish, read, session, soon, tx};
use crate::{LocalBackbone, OpenError};

/// The files as they are on the disk at this moment: what a killed process leaves behind.
pub(super) fn copy_files(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("a directory") {
        let path = file.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if name != "LOCK" {
            fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    const MESSAGES: usize = 200;
    let (running, killed) = (directory(), directory());
    let local = open(running.path(), None);
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    let mut acknowledged = Vec::new();
    for n in 0..MESSAGES {
        let rest = if n % 2 == 0 { format!("broadcast/{n}/bob") } else { "msg/bob/n".to_owned() };
        acknowledged.push(publish(&backbone, &tx(1), "bob", &rest, n.to_string()).await.expect("accepted").seq);
    }
    let key = session("bob");
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await.expect("taken over");
    let record = SessionRecord { expiry: SessionExpiry::Never, ..SessionRecord::default() };
    soon(backbone.sessions.save(&key, owner.epoch, &record, &[])).await.expect("saved");
    soon(backbone.presence.announce(&key, UnixMs(5))).await.expect("announced");
    let receipt = Receipt { session: key.clone(), epoch: owner.epoch, packet_id: 7 };
    let at_qos_2 = Append { receipt: Some(receipt.clone()), ..append(&tx(1), "bob", "msg/bob/n", "once") };
    acknowledged.push(soon(backbone.log.append(at_qos_2.clone())).await.expect("accepted").seq);
    let topic = format!("tx/{}/manifest", tx(1));
    let delivery = UnackedRecord { packet_id: 1, log: LogName::Tx(tx(1)), seq: Seq(1), topic, backfill: None };
    let held = InflightRecord { delivery, step: InflightStep::Held };
    soon(backbone.sessions.hold(&key, owner.epoch, std::slice::from_ref(&held))).await.expect("held");
    copy_files(running.path(), killed.path());

    let again = open(killed.path(), None);
    let backbone_again = again.backbone();
    let page = read(&backbone_again, &tx(1), "carol").await;
    let found: Vec<_> = page[1..].iter().map(|addressed| addressed.message.seq).collect();
    assert_eq!(found, acknowledged);
    assert_eq!(page, read(&backbone, &tx(1), "carol").await);
    // Slots stay written, numbers go on, epochs are not given twice, and whoever was online no longer is.
    let taken = publish(&backbone_again, &tx(1), "bob", "broadcast/0/bob", "other").await;
    assert!(matches!(taken, Err(Refusal::SlotTaken { .. })));
    let next = publish(&backbone_again, &tx(1), "bob", "msg/bob/n", "next").await.expect("accepted");
    assert!(Some(&next.seq) > acknowledged.last());
    let resumed =
        soon(backbone_again.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(2))).await.expect("resumed");
    let stored = resumed.stored.expect("the session goes on");
    assert!(resumed.epoch > owner.epoch);
    assert_eq!((stored.receipts, stored.inflight), (vec![7], vec![held]));
    let retried = Append { receipt: Some(Receipt { epoch: resumed.epoch, ..receipt }), ..at_qos_2 };
    assert!(soon(backbone_again.log.append(retried)).await.expect("accepted").repeated);
    let status = soon(backbone_again.presence.status(&key.party)).await.expect("readable").expect("seen before");
    assert!(!status.online && status.epoch == 1);
    soon(backbone_again.presence.announce(&key, UnixMs(9))).await.expect("announced");
    let status = soon(backbone_again.presence.status(&key.party)).await.expect("readable").expect("seen before");
    assert!(status.online && status.epoch == 2);
    soon(again.shut_down()).await;
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_refuses_what_comes_later_and_lets_go_of_the_store() {
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    create(&backbone, &tx(1)).await;
    assert_eq!(backbone.health.ready(), Ok(()));
    soon(local.shut_down()).await;
    assert!(backbone.health.ready().is_err());
    let late = publish(&backbone, &tx(1), "bob", "msg/bob/n", "late").await;
    assert_eq!(late, Err(Refusal::StorageFault(StoreError::Closed.to_string())));
    assert_eq!(soon(backbone.registry.transaction(&tx(1))).await, Err(StoreError::Closed));
    let again = open(directory.path(), None);
    assert_eq!(read(&again.backbone(), &tx(1), "bob").await.len(), 1);
    soon(again.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_not_opened() {
    let directory = directory();
    let local = open(directory.path(), None);
    let refused = LocalBackbone::open(super::options(directory.path()), &prometheus::Registry::new());
    assert!(matches!(refused.map(drop), Err(OpenError::Locked)));
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_transactions_are_all_kept() {
    const TRANSACTIONS: usize = 2_000;
    const WRITERS: usize = 100;
    const MESSAGES: usize = 4;
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = local.backbone();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let backbone = backbone.clone();
        writers.push(tokio::spawn(async move {
            for n in (writer..TRANSACTIONS).step_by(WRITERS) {
                create(&backbone, &tx(n)).await;
                for m in 0..MESSAGES {
                    publish(&backbone, &tx(n), "bob", &format!("broadcast/{m}/bob"), format!("{n}"))
                        .await
                        .expect("accepted");
                }
            }
        }));
    }
    for writer in writers {
        soon(writer).await.expect("the writer ends well");
    }
    soon(local.shut_down()).await;
    let again = open(directory.path(), None);
    let backbone = again.backbone();
    let mut standings = Vec::new();
    loop {
        let after = standings.last().map(|standing: &quorate_domain::Standing| standing.tx.clone());
        let page = soon(backbone.registry.standings(&party("carol"), after.as_ref(), 333)).await.expect("readable");
        if page.is_empty() {
            break;
        }
        standings.extend(page);
    }
    assert_eq!(standings.len(), TRANSACTIONS);
    for (n, standing) in standings.iter().enumerate() {
        assert_eq!((&standing.tx, standing.head), (&tx(n), Seq(1 + MESSAGES as u64)));
    }
    for n in (0..TRANSACTIONS).step_by(97) {
        let page = read(&backbone, &tx(n), "carol").await;
        assert_eq!(page.len(), 1 + MESSAGES);
        assert!(page[1..].iter().all(|addressed| addressed.message.payload == n.to_string()));
    }
    soon(again.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_does_not_run_backwards_in_a_log() {
    let directory = directory();
    let local = open(directory.path(), None);
    let backbone = Arc::new(local.backbone());
    create(&backbone, &tx(1)).await;
    let appends = (0..50).map(|n| backbone.log.append(append(&tx(1), "bob", "msg/bob/n", n.to_string())));
    for append in appends {
        soon(append).await.expect("accepted");
    }
    let page = read(&backbone, &tx(1), "bob").await;
    assert!(page.is_sorted_by_key(|addressed| addressed.message.at));
    soon(local.shut_down()).await;
}
