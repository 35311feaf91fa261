//! The store as readers and the committer share it, so that it can be closed and opened again under them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::{Store, StoreFault, StoreOptions};
use crate::OpenError;

/// How long to wait until readers have let go of a store that is to be opened again. A read takes milliseconds.
const READERS_LEAVE_MAX: Duration = Duration::from_secs(10);
const READERS_LOOK_EVERY: Duration = Duration::from_millis(2);

/// The store of a backbone.
pub(crate) struct SharedStore {
    path: PathBuf,
    options: StoreOptions,
    place: RwLock<Place>,
}

enum Place {
    Open(Arc<Store>),
    Reopening,
    Closed,
}

impl SharedStore {
    /// Opens the store at `path`.
    pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let store = Store::open(path, &options)?;
        Ok(Self { path: path.to_owned(), options, place: RwLock::new(Place::Open(Arc::new(store))) })
    }

    /// The store, to be let go of soon.
    pub(crate) fn store(&self) -> Result<Arc<Store>, StoreFault> {
        match &*self.place.read().unwrap_or_else(PoisonError::into_inner) {
            Place::Open(store) => Ok(store.clone()),
            Place::Reopening => Err(StoreFault::Reopening),
            Place::Closed => Err(StoreFault::Closed),
        }
    }

    /// Closes the store and opens it again, so that what is in it is what is on the disk. The committer's to call.
    pub(crate) fn reopen(&self) -> Result<(), StoreFault> {
        if let Place::Open(store) = self.replace(Place::Reopening)
            && let Err(store) = wait_until_alone(store)
        {
            self.replace(Place::Open(store));
            return Err(StoreFault::Held);
        }
        match Store::open(&self.path, &self.options) {
            Ok(store) => {
                self.replace(Place::Open(Arc::new(store)));
                Ok(())
            }
            Err(error) => Err(StoreFault::NotOpened(error)),
        }
    }

    /// Closes the store for good; what is being read is read to its end.
    pub(crate) fn close(&self) {
        self.replace(Place::Closed);
    }

    fn replace(&self, place: Place) -> Place {
        std::mem::replace(&mut *self.place.write().unwrap_or_else(PoisonError::into_inner), place)
    }
}

/// Waits until nobody else holds the store, and drops it; gives it back if somebody keeps it.
fn wait_until_alone(mut store: Arc<Store>) -> Result<(), Arc<Store>> {
    let deadline = Instant::now() + READERS_LEAVE_MAX;
    loop {
        match Arc::try_unwrap(store) {
            Ok(_) => return Ok(()),
            Err(held) if Instant::now() >= deadline => return Err(held),
            Err(held) => store = held,
        }
        thread::sleep(READERS_LOOK_EVERY);
    }
}
