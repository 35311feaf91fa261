//! Opening a store: whether it is one of ours, of this version, of this kind of broker, under this master key; and what
//! is wrong where it does not open.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand;
use quorate_domain::{Incarnation, TxId};

use super::families::{self, Access, Family};
use super::sealing::{DataKey, MasterKey, OrdinarySealer};
use super::{Batch, Store, StoreFault, keys};
use crate::{Identities, OpenError};

/// The layout of keys and records. A store of another version is not opened.
pub(super) const SCHEMA_VERSION: u32 = 4;
pub(super) const SCHEMA_KEY: &[u8] = b"schema";
/// By what the parties of the store are known.
pub(super) const IDENTITIES_KEY: &[u8] = b"identities";
const INCARNATION_KEY: &[u8] = b"incarnation";
/// Names the master key under which something is sealed here.
const MASTER_KEY_KEY: &[u8] = b"master_key";
/// How far a restore has come; nothing: there was none, or the operator has confirmed it.
const RESTORE_KEY: &[u8] = b"restore";

/// What a store is opened with.
#[derive(Debug, Clone)]
pub(crate) struct StoreOptions {
    pub(crate) identities: Identities,
    pub(crate) master_key: Option<MasterKey>,
}

/// What opens and seals.
#[derive(Default)]
pub(crate) struct Vault {
    pub(super) master: Option<MasterKey>,
    pub(super) ordinary: Option<OrdinarySealer>,
}

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restore {
    /// Transactions of the backup may still be open.
    Begun,
    /// They are aborted; the operator has not confirmed yet that new ones may come.
    Unconfirmed,
}

/// A data key, and how it is stored.
pub(crate) type NewKey = (Arc<DataKey>, Vec<u8>);

impl Vault {
    /// A key for a new transaction, and how it is stored; none where nothing is sealed.
    pub(crate) fn new_key(&self, tx: &TxId) -> Result<Option<NewKey>, StoreFault> {
        let key = |master: &MasterKey| master.new_key(&keys::transaction(tx));
        self.master.as_ref().map(key).transpose()
    }
}

impl Restore {
    fn mark(self) -> &'static [u8] {
        match self {
            Restore::Begun => b"begun",
            Restore::Unconfirmed => b"unconfirmed",
        }
    }
}

impl Store {
    /// Opens the store at `path`, or makes one there.
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        Self::open_as(path, options, Access::Write)
    }

    /// Opens the store at `path` to look at it. It must be there, and nobody may have it open.
    pub(crate) fn open_to_look(path: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        Self::open_as(path, options, Access::Look)
    }

    fn open_as(path: &Path, options: &StoreOptions, access: Access) -> Result<Self, OpenError> {
        let db = families::open(path, access)?;
        let mut store = Self { db, vault: Vault::default().into(), incarnation: Incarnation([0; 16]) };
        let version = store.meta(SCHEMA_KEY)?;
        match version.as_deref() {
            None => store.write_marks(options.identities)?,
            Some(bytes) if bytes == SCHEMA_VERSION.to_be_bytes() => store.check_identities(options.identities)?,
            Some(bytes) => {
                let found = <[u8; 4]>::try_from(bytes).map_or(0, u32::from_be_bytes);
                return Err(OpenError::Schema { found, expected: SCHEMA_VERSION });
            }
        }
        store.incarnation = store.read_incarnation()?;
        store.vault = store.open_vault(options.master_key.clone(), access)?.into();
        Ok(store)
    }

    /// One batch: no crash leaves a store that is marked by half.
    fn write_marks(&self, identities: Identities) -> Result<(), OpenError> {
        let mut batch = Batch::default();
        batch.put(Family::Meta, SCHEMA_KEY.to_vec(), SCHEMA_VERSION.to_be_bytes().to_vec());
        batch.put(Family::Meta, IDENTITIES_KEY.to_vec(), identities_mark(identities).to_vec());
        batch.put(Family::Meta, INCARNATION_KEY.to_vec(), new_incarnation()?.0.to_vec());
        self.write(&batch, true).map_err(|error| opening(&error))
    }

    fn check_identities(&self, expected: Identities) -> Result<(), OpenError> {
        let mark = self.meta(IDENTITIES_KEY)?;
        let known = [Identities::Certificates, Identities::DangerAnonymous];
        let found = known.into_iter().find(|&identities| Some(identities_mark(identities)) == mark.as_deref());
        match found {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(OpenError::Identities { found, expected }),
            None => Err(OpenError::Damaged("its mark of identities is not one that this program knows".to_owned())),
        }
    }

    fn read_incarnation(&self) -> Result<Incarnation, OpenError> {
        let mark = self.meta(INCARNATION_KEY)?;
        let bytes = mark.and_then(|mark| <[u8; 16]>::try_from(mark).ok());
        bytes.map(Incarnation).ok_or_else(|| OpenError::Damaged("it has no incarnation".to_owned()))
    }

    /// What was sealed once needs its master key for ever; what was not may be sealed from now on.
    fn open_vault(&self, master: Option<MasterKey>, access: Access) -> Result<Vault, OpenError> {
        let found = self.meta(MASTER_KEY_KEY)?.map(hex::encode);
        let (master, found) = match (master, found) {
            (None, None) => return Ok(Vault::default()),
            (None, Some(_)) if access == Access::Look => return Ok(Vault::default()),
            (None, Some(found)) => return Err(OpenError::MasterKeyMissing { found }),
            (Some(master), found) => (master, found),
        };
        match found {
            Some(found) if found != master.id() => Err(OpenError::MasterKey { found, given: master.id() }),
            None if access == Access::Look => Ok(Vault::default()),
            _ => self.open_ordinary(master),
        }
    }

    fn open_ordinary(&self, master: MasterKey) -> Result<Vault, OpenError> {
        let of = keys::ORDINARY_KEY;
        let stored = self.get(Family::Keys, of).map_err(|error| opening(&error))?;
        let ordinary = match stored {
            Some(wrapped) => OrdinarySealer::unwrap(&master, of, &wrapped).map_err(|error| opening(&error))?,
            None => {
                let (sealer, wrapped) = OrdinarySealer::generate(&master, of).map_err(|error| opening(&error))?;
                let mut batch = Batch::default();
                batch.put(Family::Keys, of.to_vec(), wrapped);
                let id = hex::decode(master.id()).unwrap_or_default();
                batch.put(Family::Meta, MASTER_KEY_KEY.to_vec(), id);
                self.write(&batch, true).map_err(|error| opening(&error))?;
                sealer
            }
        };
        Ok(Vault { master: Some(master), ordinary: Some(ordinary) })
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
        self.get(Family::Meta, key).map_err(|error| opening(&error))
    }

    /// Which life of the store this is.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// How far a restore has come.
    pub(crate) fn restore(&self) -> Result<Option<Restore>, StoreFault> {
        let mark = self.get(Family::Meta, RESTORE_KEY)?;
        Ok(match mark.as_deref() {
            None => None,
            Some(b"unconfirmed") => Some(Restore::Unconfirmed),
            // Whatever else stands there: transactions may be open that must not be.
            Some(_) => Some(Restore::Begun),
        })
    }

    /// This store is a backup that was put into the place of another: another life begins.
    pub(crate) fn begin_restore(&mut self) -> Result<(), OpenError> {
        let incarnation = new_incarnation()?;
        let mut batch = Batch::default();
        batch.put(Family::Meta, INCARNATION_KEY.to_vec(), incarnation.0.to_vec());
        batch.put_restore(Some(Restore::Begun));
        self.write(&batch, true).map_err(|error| opening(&error))?;
        self.incarnation = incarnation;
        Ok(())
    }
}

impl Batch {
    pub(crate) fn put_restore(&mut self, restore: Option<Restore>) {
        match restore {
            Some(restore) => self.put(Family::Meta, RESTORE_KEY.to_vec(), restore.mark().to_vec()),
            None => self.delete(Family::Meta, RESTORE_KEY.to_vec()),
        }
    }
}

fn new_incarnation() -> Result<Incarnation, OpenError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| OpenError::Store("the system gives no random bytes".to_owned()))?;
    Ok(Incarnation(bytes))
}

fn opening(error: &StoreFault) -> OpenError {
    match error {
        StoreFault::Rocks(error) => of_rocks(error),
        StoreFault::Corrupt { .. } => OpenError::Damaged(error.to_string()),
        other => OpenError::Store(other.to_string()),
    }
}

/// What RocksDB tells in words, as an operator can act on it.
pub(super) fn of_rocks(error: &rocksdb::Error) -> OpenError {
    let text = error.to_string();
    let has = |part: &str| text.contains(part);
    if has("lock hold by current process") || has("Resource temporarily unavailable") {
        OpenError::Locked
    } else if has("No space left on device") || has("Disk quota exceeded") {
        OpenError::Full(text)
    } else if has("Read-only file system") || has("Permission denied") {
        OpenError::ReadOnly(text)
    } else if text.starts_with("Corruption") || has("No such file or directory") || has("checksum") {
        OpenError::Damaged(text)
    } else {
        OpenError::Store(text)
    }
}

fn identities_mark(identities: Identities) -> &'static [u8] {
    match identities {
        Identities::Certificates => b"certificates",
        Identities::DangerAnonymous => b"danger_anonymous",
    }
}
