//! How the bytes of volumes cross: from a claim on A into the store, from the store into a claim on B.
//!
//! ```text
//! A: claim ── snapshot ──▶ temporary claim ── mover pod ──▶ store ──▶ mover pod ── claim :B
//!                          in Ferry's namespace                       in Ferry's namespace
//! ```
//!
//! Users who may not make a privileged namespace move without privileges: the pods then work in the application's
//! namespaces, as the application's user, and what that costs is declared.
//!
//! Claims that a pod mounts together are carried by one mover, so that volumes which are only made now are made where one
//! node reaches them all.
//!
//! The pipeline knows only the [`Movers`] trait, so that the restore engine can be tested without a
//! cluster. Whatever implements it keeps three promises: every call may be repeated after a kill and
//! finishes what the first began; a claim is reported loaded only after every entry was read back and
//! compared; and [`Movers::clean`] removes everything of the run, also what an earlier process left.

use std::future::Future;
use std::time::Duration;

use crate::capture::{Proof, SavedVolume};
use crate::event::Direction;
use crate::plan::VolumeMove;

mod access;
mod admission;
mod api;
mod clean;
mod clones;
pub(crate) mod depot;
mod error;
mod follow;
mod gc;
mod group;
mod links;
mod load;
mod movers;
mod names;
mod near;
mod party;
mod pod;
pub(crate) mod relay;
mod save;
mod settings;
mod shared;
mod snapshot;
mod stand_by;
mod wait;
mod work;

pub use admission::{WITHOUT_NAMESPACE, refuses_namespace};
pub use depot::{Depot, DepotAccess, DepotError, DepotWish};
pub use error::DataError;
pub use gc::{Leftover, Owner as LeftoverOf, leftovers};
pub use movers::ClusterMovers;
pub use names::MOVER as MOVER_LABEL;
pub use settings::{MoverSettings, MoverStore};
pub use snapshot::snapshot_class;

/// A volume's data on B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What was found there.
    pub proof: Proof,
    /// What was saved in place of what the storage held, when B's storage did not take that over.
    pub instead: Option<SavedVolume>,
}

/// Carries the data of volumes. Every method may be called again after it failed or was killed.
pub trait Movers: Sync {
    /// Freezes the claim on A at one instant. Called for all volumes of a run before the first
    /// [`Movers::save`]; one that exists already is kept, so that a resumed run shows the same instant.
    fn snapshot(&self, volume: &VolumeMove) -> impl Future<Output = Result<(), DataError>> + Send;

    /// While A still works: does ahead what a save or a load of these volumes, which one mover carries, needs beside
    /// the data, so that a cutover does not wait for it. A failure costs time and nothing else.
    fn stand_by(
        &self,
        party: &[&VolumeMove],
        way: Direction,
    ) -> impl Future<Output = Result<(), DataError>> + Send;

    /// Removes what still stands by when a run ends before its data has arrived.
    fn stand_down(&self) -> impl Future<Output = Result<(), DataError>> + Send;

    /// Carries the data of claims that travel together into the store, and says of each what came of it. A volume
    /// this run has saved already is not read again.
    fn save(
        &self,
        party: &[&VolumeMove],
    ) -> impl Future<Output = Vec<Result<SavedVolume, DataError>>> + Send;

    /// Carries the data from the store into claims on B that travel together, or has the storage do it, reads it back, and
    /// returns what was found in each; it equals what was saved, else that claim's load fails, and no other's. What was
    /// accepted to be lost is told and does not count.
    fn load(
        &self,
        party: &[(&VolumeMove, &SavedVolume)],
    ) -> impl Future<Output = Vec<Result<Loaded, DataError>>> + Send;

    /// How long a mover worked at a volume in this process: without making its claim and starting its pod, which
    /// a cutover does while A still works.
    fn took(&self, volume: &VolumeMove, way: Direction) -> Option<Duration>;

    /// Removes what a save or a load of the claim that ended well left beside its result: nobody has to wait
    /// for it. What it cannot remove, [`Movers::clean`] does.
    fn tidy(
        &self,
        volume: &VolumeMove,
        way: Direction,
    ) -> impl Future<Output = Result<(), DataError>> + Send;

    /// Removes every pod, Secret, claim, snapshot and namespace that this run made for its movers.
    fn clean(&self) -> impl Future<Output = Result<(), DataError>> + Send;
}
