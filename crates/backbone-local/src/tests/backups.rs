//! Backups of a running store, and what becomes of a store that is put back from one.

use std::fs;

use quorate_backbone::{BackupName, UpkeepError};
use quorate_domain::{Closer, Refusal, TxState};

use super::{create, directory, open, options, party, publish, read, soon, tx};
use crate::{BackupError, LocalBackbone, LocalOptions, OpenError, restore};

fn quiet(_: &str, _: u64, _: u64) {}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_aborts_what_was_open_and_takes_no_transaction_before_it_is_confirmed() {
    let folder = directory();
    let (running, back) = (folder.path().join("data"), folder.path().join("back"));
    let local = open(&running, None);
    let backbone = local.backbone();
    let first_life = backbone.registry.incarnation();
    for n in 1..=3 {
        create(&backbone, &tx(n)).await;
        publish(&backbone, &tx(n), "bob", "broadcast/1/bob", "before").await.expect("accepted");
    }
    soon(backbone.log.close(&tx(3), Closer::Admin(party("operator")), "done".to_owned())).await.expect("closed");
    let name = BackupName::new("nightly").expect("a name");
    let made = soon(backbone.upkeep.back_up(&name)).await.expect("made");
    assert_eq!(soon(backbone.upkeep.back_up(&name)).await, Err(UpkeepError::Occupied));
    publish(&backbone, &tx(1), "bob", "broadcast/2/bob", "after").await.expect("it goes on");
    soon(local.shut_down()).await;

    let put_back = || LocalOptions { ..options(&back) };
    let restored = soon(restore(&made, put_back(), &mut quiet)).await.expect("restored");
    assert_eq!((restored.transactions, restored.aborted), (3, 2));
    assert_ne!(restored.incarnation, first_life);
    let refused = soon(restore(&made, put_back(), &mut quiet)).await.expect_err("nothing is written over");
    assert!(matches!(refused, BackupError::Occupied(path) if path == back));

    let local = open(&back, None);
    let backbone = local.backbone();
    assert_eq!(backbone.registry.incarnation(), restored.incarnation);
    for (n, reason) in [(1, "restored"), (2, "restored"), (3, "closed by the operator operator: done")] {
        let transaction = soon(backbone.registry.transaction(&tx(n))).await.expect("readable").expect("it is there");
        assert_eq!(transaction.progress.state, TxState::Aborted);
        assert_eq!(transaction.progress.reason.as_deref(), Some(reason));
        let log = read(&backbone, &tx(n), "carol").await;
        assert_eq!(log[1].message.payload, "before");
        assert!(log[2].message.from.is_none(), "the end, which everybody hears");
        let said = String::from_utf8_lossy(&log[2].message.payload).into_owned();
        assert_eq!(said.contains(&restored.incarnation.to_string()), n < 3, "{said}");
    }
    // The slot that was written after the backup is not open.
    let again = publish(&backbone, &tx(1), "bob", "broadcast/2/bob", "other").await;
    assert_eq!(again, Err(Refusal::NotAuthorized));
    assert!(backbone.upkeep.is_restore_unconfirmed());
    let early = publish(&backbone, &tx(4), "alice", "manifest", manifest(4)).await;
    assert!(matches!(&early, Err(Refusal::QuotaExceeded(why)) if why.contains("restored")), "{early:?}");
    soon(local.shut_down()).await;

    // Nor does a restart confirm anything.
    let local = open(&back, None);
    let backbone = local.backbone();
    assert!(backbone.upkeep.is_restore_unconfirmed());
    soon(backbone.upkeep.confirm_restore()).await.expect("confirmed");
    assert!(!backbone.upkeep.is_restore_unconfirmed());
    publish(&backbone, &tx(4), "alice", "manifest", manifest(4)).await.expect("transactions begin again");
    soon(local.shut_down()).await;
    let local = open(&back, None);
    assert!(!local.backbone().upkeep.is_restore_unconfirmed());
    soon(local.shut_down()).await;
}

fn manifest(n: usize) -> String {
    format!(r#"{{"tx":"{}","initiator":"alice","protocol":"t","parties":["alice","bob"],"threshold":2}}"#, tx(n))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_is_served_by_nobody_and_can_be_finished() {
    let folder = directory();
    let (running, back) = (folder.path().join("data"), folder.path().join("back"));
    let local = open(&running, None);
    create(&local.backbone(), &tx(1)).await;
    let made = soon(local.backbone().upkeep.back_up(&BackupName::new("b").expect("a name"))).await.expect("made");
    soon(local.shut_down()).await;
    // Cut short after the files were copied, before what is open was aborted.
    let beside = back.with_extension("restoring");
    fs::create_dir_all(&beside).expect("made");
    super::durability::copy_files(&made, &beside);
    crate::store::tests::begin_restore(&beside);
    fs::rename(&beside, &back).expect("moved");
    let refused = LocalBackbone::open(options(&back), &prometheus::Registry::new()).map(drop);
    assert!(matches!(refused, Err(OpenError::RestoreUnfinished)));
    let restored = soon(restore(&made, options(&back), &mut quiet)).await.expect("finished");
    assert_eq!(restored.aborted, 1);
    soon(open(&back, None).shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_is_refused_and_leaves_nothing() {
    let folder = directory();
    let back = folder.path().join("back");
    let refused = soon(restore(&folder.path().join("nothing"), options(&back), &mut quiet)).await.expect_err("none");
    assert!(matches!(refused, BackupError::Open(OpenError::Missing)), "{refused}");
    fs::create_dir(&back).expect("made");
    fs::write(back.join("file"), "somebody's").expect("written");
    let local = open(&folder.path().join("data"), None);
    let made = soon(local.backbone().upkeep.back_up(&BackupName::new("b").expect("a name"))).await.expect("made");
    soon(local.shut_down()).await;
    let refused = soon(restore(&made, options(&back), &mut quiet)).await.expect_err("occupied");
    assert!(matches!(refused, BackupError::Occupied(_)), "{refused}");
    assert!(back.join("file").exists());
}
