//! Opening stores that this program did not write, or that somebody else has open.

use std::path::Path;

use quorate_domain::{Place, Seq, SessionKey, TxId, UnixMs, Volume};
use rocksdb::{DB, Options};

use super::families::Family;
use super::opening::{IDENTITIES_KEY, SCHEMA_KEY, SCHEMA_VERSION};
use super::{Batch, SharedStore, Store, StoreOptions, keys};
use crate::{Identities, LocalBackbone, OpenError};

/// How many records stand for messages that several queues hold, in a store that nobody has open.
pub(crate) fn count_ordinary(path: &Path) -> usize {
    count_all(path, "ordinary")
}

/// How many records a family has, in a store that nobody has open.
pub(crate) fn count_all(path: &Path, family: &str) -> usize {
    let store = Store::open(path, &sealed()).expect("it opens");
    let family = Family::ALL.into_iter().find(|it| it.name() == family).expect("a family");
    let mut count = 0;
    let every = |_: &[u8], _: &[u8]| {
        count += 1;
        Ok(None::<()>)
    };
    store.scan(family, &[], &[], usize::MAX, every).expect("readable");
    count
}

/// The queues in a store that nobody has open, the empty ones left out: how many messages each holds.
pub(crate) fn queues_in(path: &Path) -> Vec<u64> {
    let heads = Store::open(path, &sealed()).expect("it opens").queue_heads().expect("readable");
    let counted: Vec<u64> = heads.iter().map(|(_, head)| head.volume.messages).collect();
    let entries = count_all(path, "queue") - heads.len();
    assert_eq!(counted.iter().sum::<u64>(), entries as u64, "heads count what is there");
    counted.into_iter().filter(|messages| *messages > 0).collect()
}

/// Whatever is to be done some time is to be done now, in a store that nobody has open.
pub(crate) fn make_due(path: &Path) {
    let store = Store::open(path, &sealed()).expect("it opens");
    let mut batch = Batch::default();
    for (at, due) in store.due(UnixMs(u64::MAX - 1), usize::MAX).expect("readable") {
        batch.delete_due(at, &due);
        batch.put_due(UnixMs(1), &due);
    }
    store.write(&batch, true).expect("written");
}

/// Marks a copied store as a restore that has begun.
pub(crate) fn begin_restore(path: &Path) {
    Store::open(path, &sealed()).expect("it opens").begin_restore().expect("marked");
}

/// The wrapped keys of transactions in an open store.
pub(crate) fn wrapped_keys(local: &LocalBackbone) -> Vec<Vec<u8>> {
    let store = local.shared.store().expect("open");
    let keys = store.scan(Family::Keys, &[], &[], usize::MAX, |key, value| {
        Ok((key != super::keys::ORDINARY_KEY).then(|| value.to_vec()))
    });
    keys.expect("readable")
}

/// What a disk, or somebody at it, may do to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    ChangedPayload,
    LostRecord,
    LostEnd,
    OtherHead,
    LostSlot,
    OtherSlot,
    StrayCursor,
    CursorBeyond,
    LostMessage,
    LostEntry,
    LostKey,
    LostCharter,
    Unreadable,
    WrongSum,
}

/// Does it to a store that nobody has open.
pub(crate) fn do_damage(path: &Path, damage: Damage, tx: &TxId, session: &SessionKey) {
    let store = Store::open(path, &sealed()).expect("it opens");
    let mut batch = Batch::default();
    let get = |family: Family, key: &[u8]| store.get(family, key).expect("readable").expect("there");
    let slot: Place = "p2p/3/bob/carol".parse().expect("a place");
    match damage {
        Damage::ChangedPayload => {
            let mut record = get(Family::Log, &keys::log(tx, Seq(5)));
            *record.last_mut().expect("a tag") ^= 1;
            batch.put(Family::Log, keys::log(tx, Seq(5)), record);
        }
        Damage::LostRecord => batch.delete(Family::Log, keys::log(tx, Seq(5))),
        Damage::LostEnd => {
            let head = store.transaction(tx).expect("readable").expect("there").0.progress.last_seq;
            batch.delete(Family::Log, keys::log(tx, head));
        }
        Damage::OtherHead => {
            let mut resident = store.resident(tx).expect("readable").expect("there");
            resident.transaction.progress.head.0[0] ^= 1;
            batch.put_progress(&resident);
        }
        Damage::LostSlot => batch.delete(Family::Slots, keys::slot(tx, &slot)),
        Damage::OtherSlot => {
            let mut other = store.slot(tx, &slot).expect("readable").expect("written");
            other.sha256.0[0] ^= 1;
            batch.put_slot(tx, &slot, &other);
        }
        Damage::StrayCursor => {
            batch.put_cursor(session, &"some-other-transaction".parse().expect("an id"), Some(Seq(1)))
        }
        Damage::CursorBeyond => batch.put_cursor(session, tx, Some(Seq(1_000))),
        Damage::LostMessage => {
            let (key, _) = store.first(Family::Ordinary, &[]).expect("readable").expect("there");
            batch.delete(Family::Ordinary, key.to_vec());
        }
        Damage::LostEntry => {
            let (queue, head) = store.queue_heads().expect("readable").remove(0);
            batch.delete_queued(queue, head.last);
        }
        Damage::LostKey => batch.delete(Family::Keys, keys::transaction(tx)),
        Damage::LostCharter => batch.delete(Family::Transactions, keys::charter(tx)),
        Damage::Unreadable => batch.put(Family::Sessions, keys::session(session), vec![0xff]),
        Damage::WrongSum => batch.put_log_usage(Volume { messages: 1, bytes: 1 }),
    }
    store.write(&batch, true).expect("written");
}

/// As the tests of the whole backbone open their stores.
fn sealed() -> StoreOptions {
    StoreOptions { master_key: Some(crate::tests::master_key()), ..options() }
}

fn options() -> StoreOptions {
    of(Identities::Certificates)
}

fn of(identities: Identities) -> StoreOptions {
    StoreOptions { identities, master_key: None }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_store_opens_again_with_what_was_written() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put_session_epoch(7);
    Store::open(directory.path(), &options()).expect("it is made").write(&batch, true).expect("it is written");
    let store = Store::open(directory.path(), &options()).expect("it opens again");
    assert_eq!(store.session_epoch().expect("readable"), 7);
}

#[test]
fn another_schema_version_is_refused_and_named() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put(Family::Meta, SCHEMA_KEY.to_vec(), 99_u32.to_be_bytes().to_vec());
    Store::open(directory.path(), &options()).expect("it is made").write(&batch, true).expect("it is written");
    let refused = Store::open(directory.path(), &options()).map(drop).expect_err("another version");
    assert!(matches!(refused, OpenError::Schema { found: 99, expected: SCHEMA_VERSION }));
    assert!(refused.to_string().contains("99"));
}

#[test]
fn a_family_of_a_later_version_is_refused_and_named() {
    let directory = directory();
    drop(Store::open(directory.path(), &options()).expect("it is made"));
    {
        let options = Options::default();
        let families = DB::list_cf(&options, directory.path()).expect("listed");
        let mut db = DB::open_cf(&options, directory.path(), families).expect("it opens");
        db.create_cf("from_the_future", &options).expect("a family");
    }
    let refused = Store::open(directory.path(), &options()).map(drop).expect_err("an unknown family");
    assert!(matches!(refused, OpenError::UnknownFamily(name) if name == "from_the_future"));
}

#[test]
fn a_store_that_is_in_use_is_refused() {
    let directory = directory();
    let _held = Store::open(directory.path(), &options()).expect("it is made");
    assert!(matches!(Store::open(directory.path(), &options()).map(drop), Err(OpenError::Locked)));
}

#[test]
fn readers_of_a_store_that_is_opened_again_read_to_the_end() {
    let directory = directory();
    let shared = std::sync::Arc::new(SharedStore::open(directory.path(), options()).expect("it is made"));
    let reader = shared.store().expect("it is open");
    let reopening = std::thread::spawn({
        let shared = shared.clone();
        move || shared.reopen()
    });
    assert_eq!(reader.session_epoch().expect("readable"), 0);
    drop(reader);
    reopening.join().expect("the thread ends").expect("it opens again");
    assert_eq!(shared.store().expect("it is open").session_epoch().expect("readable"), 0);
}

#[test]
fn a_store_of_proved_parties_and_one_of_unproved_ones_are_not_mixed_up() {
    let kinds = [Identities::Certificates, Identities::DangerAnonymous];
    for (written, other) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
        let directory = directory();
        drop(Store::open(directory.path(), &of(written)).expect("it is made"));
        let refused = Store::open(directory.path(), &of(other)).map(drop).expect_err("the other kind");
        assert!(
            matches!(&refused, OpenError::Identities { found, expected } if (*found, *expected) == (written, other))
        );
        assert!(refused.to_string().contains("danger_anonymous"), "{refused}");
        drop(Store::open(directory.path(), &of(written)).expect("it opens for its own kind"));
    }
}

#[test]
fn an_unknown_mark_of_identities_is_refused() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put(Family::Meta, IDENTITIES_KEY.to_vec(), b"hearsay".to_vec());
    let store = Store::open(directory.path(), &options()).expect("it is made");
    store.write(&batch, true).expect("it is written");
    drop(store);
    for identities in [Identities::Certificates, Identities::DangerAnonymous] {
        let refused = Store::open(directory.path(), &of(identities)).map(drop);
        assert!(matches!(refused, Err(OpenError::Damaged(_))));
    }
}
