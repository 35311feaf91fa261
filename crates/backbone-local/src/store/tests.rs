//! Opening stores that this program did not write, or that somebody else has open.

use std::path::Path;

use rocksdb::{DB, Options};

use super::families::Family;
use super::{Batch, IDENTITIES_KEY, SCHEMA_KEY, SCHEMA_VERSION, SharedStore, Store};
use crate::{Identities, OpenError};

/// How many records stand for messages that several queues hold, in a store that nobody has open.
pub(crate) fn count_ordinary(path: &Path) -> usize {
    let store = Store::open(path, Identities::Certificates).expect("it opens");
    let mut count = 0;
    let every = |_: &[u8], _: &[u8]| {
        count += 1;
        Ok(None::<()>)
    };
    store.scan(Family::Ordinary, &[], &[], usize::MAX, every).expect("readable");
    count
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_store_opens_again_with_what_was_written() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put_session_epoch(7);
    Store::open(directory.path(), Identities::Certificates)
        .expect("it is made")
        .write(&batch, true)
        .expect("it is written");
    let store = Store::open(directory.path(), Identities::Certificates).expect("it opens again");
    assert_eq!(store.session_epoch().expect("readable"), 7);
}

#[test]
fn another_schema_version_is_refused_and_named() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put(Family::Meta, SCHEMA_KEY.to_vec(), 99_u32.to_be_bytes().to_vec());
    Store::open(directory.path(), Identities::Certificates)
        .expect("it is made")
        .write(&batch, true)
        .expect("it is written");
    let refused = Store::open(directory.path(), Identities::Certificates).map(drop).expect_err("another version");
    assert!(matches!(refused, OpenError::Schema { found: 99, expected: SCHEMA_VERSION }));
    assert!(refused.to_string().contains("99"));
}

#[test]
fn a_family_of_a_later_version_is_refused_and_named() {
    let directory = directory();
    drop(Store::open(directory.path(), Identities::Certificates).expect("it is made"));
    {
        let options = Options::default();
        let families = DB::list_cf(&options, directory.path()).expect("listed");
        let mut db = DB::open_cf(&options, directory.path(), families).expect("it opens");
        db.create_cf("from_the_future", &options).expect("a family");
    }
    let refused = Store::open(directory.path(), Identities::Certificates).map(drop).expect_err("an unknown family");
    assert!(matches!(refused, OpenError::UnknownFamily(name) if name == "from_the_future"));
}

#[test]
fn a_store_that_is_in_use_is_refused() {
    let directory = directory();
    let _held = Store::open(directory.path(), Identities::Certificates).expect("it is made");
    assert!(matches!(Store::open(directory.path(), Identities::Certificates).map(drop), Err(OpenError::Store(_))));
}

#[test]
fn readers_of_a_store_that_is_opened_again_read_to_the_end() {
    let directory = directory();
    let shared =
        std::sync::Arc::new(SharedStore::open(directory.path(), Identities::Certificates).expect("it is made"));
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
        drop(Store::open(directory.path(), written).expect("it is made"));
        let refused = Store::open(directory.path(), other).map(drop).expect_err("the other kind");
        assert!(
            matches!(&refused, OpenError::Identities { found, expected } if (*found, *expected) == (written, other))
        );
        assert!(refused.to_string().contains("danger_anonymous"), "{refused}");
        drop(Store::open(directory.path(), written).expect("it opens for its own kind"));
    }
}

#[test]
fn a_store_from_before_there_was_a_choice_is_one_of_certificates() {
    let directory = directory();
    {
        let store = Store::open(directory.path(), Identities::Certificates).expect("it is made");
        let meta = store.family(Family::Meta);
        store.db.delete_cf(meta, IDENTITIES_KEY).expect("it is taken away");
    }
    let refused = Store::open(directory.path(), Identities::DangerAnonymous).map(drop);
    assert!(matches!(refused, Err(OpenError::Identities { found: Identities::Certificates, .. })));
    drop(Store::open(directory.path(), Identities::Certificates).expect("it opens"));
}

#[test]
fn an_unknown_mark_of_identities_is_refused() {
    let directory = directory();
    let mut batch = Batch::default();
    batch.put(Family::Meta, IDENTITIES_KEY.to_vec(), b"hearsay".to_vec());
    let store = Store::open(directory.path(), Identities::Certificates).expect("it is made");
    store.write(&batch, true).expect("it is written");
    drop(store);
    for identities in [Identities::Certificates, Identities::DangerAnonymous] {
        let refused = Store::open(directory.path(), identities).map(drop);
        assert!(matches!(refused, Err(OpenError::Store(_))));
    }
}
