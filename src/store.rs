//! Where captures and runs live: a restic repository, and sealed files beside it.
//!
//! ```text
//! <store>/repo/…                      a restic repository: `restic -r <store>/repo` works on it
//! <store>/captures/<id>               sealed; written last: a capture without it does not exist
//! <store>/runs/<id>/plan              sealed
//! <store>/runs/<id>/journal/<seq>     sealed, each made once
//! ```
//!
//! With `repository` this is the only module that knows `object_store`. Whoever can write to the
//! bucket can neither read nor forge what is in it: every file is sealed with the repository's key
//! and says inside what its name is, so that one cannot be passed off as another. Opening a store and
//! reading from it writes nothing.

mod advice;
mod bucket;
mod captures;
mod carry;
mod check;
mod error;
mod files;
mod forget;
mod location;
pub mod retention;
mod runs;
pub mod velero;

use std::sync::Arc;

use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

pub(crate) use advice::advice;
pub(crate) use bucket::AUTHORITIES;
pub use bucket::{Cloud, MoverAccess};
pub use captures::CaptureSummary;
pub use error::StoreError;
pub use forget::{Group, Kept, Retention};
pub use location::Location;

use crate::data::Depot;
use crate::event::Events;
use crate::repository::Repository;
use location::Place;

/// What opens a store. Never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for those who hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// An open store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    location: Location,
    objects: Arc<dyn ObjectStore>,
    for_movers: MoverAccess,
    repository: Repository,
}

impl Store {
    /// Makes a new store: `url` is a folder, `file:///folder`, or a bucket as in `s3://bucket/prefix`, which is
    /// reached with what its cloud's own tools take from the environment.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one already, and all that can go wrong with a place.
    pub async fn init(url: &str, password: &Password) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let place = location.make()?;
        Self::of(location, place, password, Repository::init).await
    }

    /// Opens a store. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotARepository`], [`StoreError::WrongPassword`], [`StoreError::Unreachable`],
    /// [`StoreError::Denied`].
    pub async fn open(url: &str, password: &Password) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let place = location.open()?;
        Self::of(location, place, password, Repository::open).await
    }

    /// Opens the store in a depot.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_depot(depot: &Depot, password: &Password) -> Result<Self, StoreError> {
        let (location, place) = in_depot(depot);
        Self::of(location, place, password, Repository::open).await
    }

    /// Makes the store in a depot.
    ///
    /// # Errors
    /// As [`Store::init`].
    pub async fn init_depot(depot: &Depot, password: &Password) -> Result<Self, StoreError> {
        let (location, place) = in_depot(depot);
        Self::of(location, place, password, Repository::init).await
    }

    async fn of(
        location: Location,
        place: Place,
        password: &Password,
        enter: fn(Arc<dyn ObjectStore>, &str) -> crate::repository::Result<Repository>,
    ) -> Result<Self, StoreError> {
        let Place {
            objects,
            for_movers,
        } = place;
        let (handle, secret) = (objects.clone(), password.clone());
        let entered = blocking(move || enter(handle, secret.expose())).await;
        let repository =
            entered.map_err(|error| StoreError::from_first_contact(&location, error))?;
        Ok(Self {
            location,
            objects,
            for_movers,
            repository,
        })
    }

    /// Tells from now on when the store is away and waited for, and when it is there again. Once `stop` is cancelled, it
    /// is waited for no longer.
    pub fn attend_outages(&self, events: Events, stop: CancellationToken) {
        let outage = self.repository.outage();
        outage.tell(move |reason| match reason {
            Some(reason) => {
                events.warning(format!("the store is waited for: {reason}"));
            }
            None => events.notice("the store answers again"),
        });
        outage.heed(stop);
    }

    /// Where the store is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The object store, with the store's root as its root.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.objects.clone()
    }

    /// With what movers reach it by themselves.
    pub fn for_movers(&self) -> &MoverAccess {
        &self.for_movers
    }

    /// The restic repository in it.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The repository's id, as `restic cat config` shows it.
    pub fn repository_id(&self) -> String {
        self.repository.id().to_owned()
    }

    /// Runs a blocking repository call where blocking is allowed.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Repository) -> crate::repository::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let repository = self.repository.clone();
        let result = blocking(move || call(&repository)).await;
        result.map_err(|error| StoreError::from_repository(&self.location, error))
    }
}

/// A depot as a place.
fn in_depot(depot: &Depot) -> (Location, Place) {
    let location = Location::Depot {
        context: depot.cluster().name().into(),
        name: depot.name().into(),
    };
    let for_movers = MoverAccess {
        depot: Some(depot.access().clone()),
        ..MoverAccess::default()
    };
    let objects = depot.objects();
    (
        location,
        Place {
            objects,
            for_movers,
        },
    )
}

/// Runs what blocks on a thread for that, and hands a panic on.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests;
