//! `check`: a sound store is called sound whatever is in it, and each kind of damage is found and named.

use std::path::Path;

use quorate_backbone::{Append, Receipt, Start};
use quorate_domain::{Agreement, CursorMoves, Seq, SessionExpiry, UnixMs};

use super::{LASTING, append, create, directory, open, options, publish, session, soon, tx};
use crate::store::tests::{Damage, do_damage};
use crate::{CheckReport, LocalOptions, OpenError, check};

fn look(path: &Path) -> CheckReport {
    check(&options(path), &mut |_, _, _| {}).expect("it opens")
}

/// A store with something of everything in it.
async fn fill(path: &Path) {
    let local = open(path, None);
    let backbone = local.backbone();
    for n in 1..=2 {
        create(&backbone, &tx(n)).await;
        for round in 0..20 {
            let place = format!("p2p/{round}/bob/{}", if round % 2 == 0 { "alice" } else { "carol" });
            publish(&backbone, &tx(n), "bob", &place, format!("said {round}")).await.expect("accepted");
            publish(&backbone, &tx(n), "carol", "msg/carol/n", "said").await.expect("accepted");
        }
    }
    let key = session("bob");
    let owner = soon(backbone.sessions.take_over(&key, Start::Resume, &LASTING, UnixMs(1))).await.expect("taken");
    let moves = CursorMoves { cursors: vec![(tx(1), Some(Seq(7)))], ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(&key, owner.epoch, &moves)).await.expect("saved");
    let receipt = Receipt { session: key.clone(), epoch: owner.epoch, packet_id: 9 };
    let at_qos_2 = Append { receipt: Some(receipt), ..append(&tx(1), "bob", "msg/bob/n", "once") };
    soon(backbone.log.append(at_qos_2)).await.expect("accepted");
    for name in ["alice", "dave"] {
        super::space::subscribe(&backbone, name, "news").await;
    }
    for _ in 0..3 {
        super::space::say(&backbone, "news", Some(3_600)).await;
    }
    let passing = Agreement { expiry: SessionExpiry::AtDisconnect, will: None };
    let start = Start::Clean;
    soon(backbone.sessions.take_over(&session("erin"), start, &passing, UnixMs(1))).await.expect("taken");
    soon(backbone.presence.announce(&session("erin"), UnixMs(5))).await.expect("announced");
    soon(local.shut_down()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_store_is_called_sound() {
    let directory = directory();
    fill(directory.path()).await;
    let report = look(directory.path());
    assert_eq!(report.findings, []);
    assert_eq!((report.transactions, report.unopened), (2, 0));
    assert_eq!(report.chained, 2 * 41 + 1);
    // Without the master key what is sealed is not opened, and all else is looked at.
    let blind = LocalOptions { master_key: None, ..options(directory.path()) };
    let report = check(&blind, &mut |_, _, _| {}).expect("it opens");
    assert_eq!((report.transactions, report.unopened, report.chained), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_in_use_or_is_none_is_not_looked_at() {
    let directory = directory();
    let nothing = check(&options(&directory.path().join("nothing")), &mut |_, _, _| {});
    assert!(matches!(nothing, Err(OpenError::Missing)), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_found_where_it_is() {
    let cases = [
        (Damage::ChangedPayload, "log", "sealed record in the store is corrupt"),
        (Damage::LostRecord, "log", "it comes after"),
        (Damage::LostEnd, "log", "the last record"),
        (Damage::OtherHead, "log", "the head of the hash chain"),
        (Damage::LostSlot, "slots", "not taken"),
        (Damage::OtherSlot, "slots", "it says"),
        (Damage::StrayCursor, "cursors", "not there"),
        (Damage::CursorBeyond, "cursors", "the log ends at"),
        (Damage::LostMessage, "ordinary", "not there"),
        (Damage::LostEntry, "queue", "it counts"),
        (Damage::LostKey, "log", ""),
        (Damage::LostCharter, "transactions", "no charter"),
        (Damage::Unreadable, "sessions", "corrupt"),
        (Damage::WrongSum, "usage", "it says"),
    ];
    for (damage, family, says) in cases {
        let directory = directory();
        fill(directory.path()).await;
        do_damage(directory.path(), damage, &tx(1), &session("bob"));
        let report = look(directory.path());
        if damage == Damage::LostKey {
            // Nothing tells a lost key from one that was destroyed: what it sealed is closed, and counted as such.
            assert_eq!(report.unopened, 1, "{report:?}");
            continue;
        }
        let found = report.findings.iter().any(|it| it.family == family && it.problem.contains(says));
        assert!(found, "{damage:?}: {family}, {says:?} in {:#?}", report.findings);
    }
}
