//! Sessions between connections.

use quorate_domain::{
    Agreement, CursorMoves, Seq, SessionExpiry, SessionKey, SessionRecord, StoredSession, SubscriptionRecord, TxId,
};

use super::fixtures::{ms, session, soon, tx};
use crate::{Backbone, SaveError, Start, TakenOver};

fn record(filter: &str, expiry: SessionExpiry, disconnected_at: Option<u64>) -> SessionRecord {
    SessionRecord {
        expiry,
        disconnected_at: disconnected_at.map(ms),
        subscriptions: vec![SubscriptionRecord {
            filter: filter.to_owned(),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 2,
            identifier: Some(7),
            starts: vec![(tx("subscribed"), Seq(3))],
            backfilled_to: vec![(tx("backfilled"), Seq(5))],
        }],
        ..SessionRecord::default()
    }
}

async fn take_over(backbone: &Backbone, key: &SessionKey, start: Start, now: u64) -> TakenOver {
    let agreement = Agreement::lasting(SessionExpiry::Never);
    let taken_over = backbone.sessions.take_over(key, start, &agreement, ms(now));
    soon(taken_over).await.expect("the session is taken over")
}

async fn save(backbone: &Backbone, key: &SessionKey, epoch: u64, record: &SessionRecord) -> Result<(), SaveError> {
    soon(backbone.sessions.save(key, epoch, record, &[])).await
}

async fn save_cursor(
    backbone: &Backbone,
    key: &SessionKey,
    epoch: u64,
    tx: &TxId,
    seq: Option<Seq>,
) -> Result<(), SaveError> {
    let moves = CursorMoves { cursors: vec![(tx.clone(), seq)], ..CursorMoves::default() };
    soon(backbone.sessions.save_cursors(key, epoch, &moves)).await
}

/// After a take-over nothing that the owner before writes counts.
pub async fn a_take_over_fences_the_owner_before(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("fence"));
    let old = take_over(&backbone, &key, Start::Resume, 1).await;
    save(&backbone, &key, old.epoch, &record("tx/#", SessionExpiry::Never, None)).await.expect("the owner saves");
    let new = take_over(&backbone, &key, Start::Resume, 2).await;
    assert!(new.epoch > old.epoch);
    let superseded = Err(SaveError::Superseded);
    let stale = record("tx/+/p2p/#", SessionExpiry::Never, None);
    assert_eq!(save(&backbone, &key, old.epoch, &stale).await, superseded);
    assert_eq!(save_cursor(&backbone, &key, old.epoch, &tx, Some(Seq(9))).await, superseded);
    assert_eq!(soon(backbone.sessions.remove(&key, old.epoch)).await, superseded);
    let after = take_over(&backbone, &key, Start::Resume, 3).await;
    assert_eq!(after.stored, new.stored);
}

/// Record and cursors come back as they were last saved.
pub async fn what_was_saved_is_found_again(backbone: Backbone) {
    let key = session("alice", "phone");
    let (first, second) = (tx("cursor-first"), tx("cursor-second"));
    let owner = take_over(&backbone, &key, Start::Resume, 1).await;
    assert_eq!(owner.stored, None);
    let kept = record("tx/#", SessionExpiry::After(60), Some(1_000));
    save(&backbone, &key, owner.epoch, &record("other", SessionExpiry::Never, None)).await.expect("the owner saves");
    save(&backbone, &key, owner.epoch, &kept).await.expect("the owner saves");
    for (tx, seq) in [(&first, Some(1)), (&second, Some(5)), (&first, Some(8))] {
        save_cursor(&backbone, &key, owner.epoch, tx, seq.map(Seq)).await.expect("saved");
    }
    save_cursor(&backbone, &key, owner.epoch, &second, None).await.expect("deleted");
    let again = take_over(&backbone, &key, Start::Resume, 2_000).await;
    let expected = StoredSession { record: kept, cursors: vec![(first, Seq(8))], ..StoredSession::default() };
    assert_eq!(again.stored, Some(expected));
}

/// A clean start forgets the session, and the next one finds nothing of it either.
pub async fn a_clean_start_forgets(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("clean"));
    let owner = take_over(&backbone, &key, Start::Resume, 1).await;
    let kept = record("tx/#", SessionExpiry::Never, None);
    save(&backbone, &key, owner.epoch, &kept).await.expect("the owner saves");
    save_cursor(&backbone, &key, owner.epoch, &tx, Some(Seq(4))).await.expect("saved");
    let clean = take_over(&backbone, &key, Start::Clean, 2).await;
    assert_eq!(clean.stored, None);
    save(&backbone, &key, clean.epoch, &kept).await.expect("the owner saves");
    let resumed = take_over(&backbone, &key, Start::Resume, 3).await;
    let stored = resumed.stored.expect("the new record");
    assert_eq!(stored.cursors, [], "no cursor of the session that was forgotten");
}

/// A session whose time is over is not resumed.
pub async fn an_expired_session_is_forgotten(backbone: Backbone) {
    let key = session("alice", "phone");
    for (expiry, now, goes_on) in [
        (SessionExpiry::After(5), 5_999, true),
        (SessionExpiry::After(5), 6_000, false),
        (SessionExpiry::AtDisconnect, 1_000, false),
        (SessionExpiry::Never, u64::MAX, true),
    ] {
        let owner = take_over(&backbone, &key, Start::Clean, 0).await;
        save(&backbone, &key, owner.epoch, &record("tx/#", expiry, Some(1_000))).await.expect("the owner saves");
        let next = take_over(&backbone, &key, Start::Resume, now).await;
        assert_eq!(next.stored.is_some(), goes_on, "{expiry:?} at {now}");
    }
}

/// What a CONNECT says of the expiry holds from the take-over on, also if nothing is ever saved and no end is recorded.
pub async fn a_take_over_says_how_long_a_session_lasts(backbone: Backbone) {
    let key = session("alice", "phone");
    let take_over = async |expiry, now| {
        let agreement = Agreement::lasting(expiry);
        let taken_over = backbone.sessions.take_over(&key, Start::Resume, &agreement, ms(now));
        soon(taken_over).await.expect("the session is taken over")
    };
    assert_eq!(take_over(SessionExpiry::AtDisconnect, 0).await.stored, None);
    assert_eq!(take_over(SessionExpiry::After(5), 0).await.stored, None, "the one before ended with its connection");
    let owner = take_over(SessionExpiry::After(5), 90_000).await;
    assert!(owner.stored.is_some(), "no end of its connection is recorded");
    save(&backbone, &key, owner.epoch, &record("tx/#", SessionExpiry::After(5), Some(100_000))).await.expect("saved");
    assert!(take_over(SessionExpiry::After(5), 101_000).await.stored.is_some());
    assert!(take_over(SessionExpiry::AtDisconnect, 900_000).await.stored.is_some(), "the old end counts no more");
    assert_eq!(take_over(SessionExpiry::Never, 900_001).await.stored, None);
}

/// Nothing is left of a removed session, and an owner from before cannot pass for a later one.
pub async fn a_removed_session_is_gone_and_its_epoch_stays_used(backbone: Backbone) {
    let (key, tx) = (session("alice", "phone"), tx("removed"));
    let owner = take_over(&backbone, &key, Start::Resume, 1).await;
    let kept = record("tx/#", SessionExpiry::Never, None);
    save(&backbone, &key, owner.epoch, &kept).await.expect("the owner saves");
    save_cursor(&backbone, &key, owner.epoch, &tx, Some(Seq(4))).await.expect("saved");
    soon(backbone.sessions.remove(&key, owner.epoch)).await.expect("the owner removes");
    let superseded = Err(SaveError::Superseded);
    assert_eq!(save(&backbone, &key, owner.epoch, &kept).await, superseded);
    let next = take_over(&backbone, &key, Start::Resume, 2).await;
    assert_eq!(next.stored, None);
    assert!(next.epoch > owner.epoch);
    assert_eq!(save(&backbone, &key, owner.epoch, &kept).await, superseded);
}

/// A session belongs to (party, client id): the same client id of another party is another session.
pub async fn sessions_of_two_parties_with_one_client_id_are_two(backbone: Backbone) {
    let (alice, bob) = (session("alice", "phone"), session("bob", "phone"));
    let of_alice = take_over(&backbone, &alice, Start::Resume, 1).await;
    let of_bob = take_over(&backbone, &bob, Start::Resume, 1).await;
    let kept = record("tx/#", SessionExpiry::Never, None);
    save(&backbone, &alice, of_alice.epoch, &kept).await.expect("alice owns hers");
    soon(backbone.sessions.remove(&bob, of_bob.epoch)).await.expect("bob owns his");
    let again = take_over(&backbone, &alice, Start::Resume, 2).await;
    assert!(again.stored.is_some());
}
