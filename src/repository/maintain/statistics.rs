//! How large a repository is, and how much of that somebody needs.

use serde::Serialize;

use super::super::Repository;
use super::super::error::Result;
use super::super::progress::Progress;
use super::catalog::Catalog;
use super::check::known;
use super::reachable;

/// The figures of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Snapshots.
    pub snapshots: u64,
    /// Index files.
    pub index_files: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Their size in bytes: what the data costs in the store.
    pub stored_bytes: u64,
    /// Blobs in the index, each counted once.
    pub blobs: u64,
    /// Their length in bytes before compression and sealing.
    pub plain_bytes: u64,
    /// Blobs that no snapshot needs, and copies of others.
    pub unused_blobs: u64,
    /// What those cost in the store, in bytes: a prune frees it.
    pub unused_bytes: u64,
    /// Packs in no index: left by an interrupted save, or on their way.
    pub unindexed_packs: u64,
    /// Their size in bytes.
    pub unindexed_bytes: u64,
}

impl Repository {
    /// Counts. Reads every index file and every tree.
    ///
    /// # Errors
    /// Also when a tree that a snapshot needs is not there or damaged: `check` tells all of them.
    pub fn statistics(&self, progress: &Progress) -> Result<Statistics> {
        self.locked_to_read(|| {
            self.index_to_read()?;
            let catalog = Catalog::read(self, Err)?;
            let snapshots = self.snapshots::<&str>(&[])?;
            let known = known(&catalog);
            let reachable =
                reachable::walk(self, &snapshots, &known, progress, |at| Err(at.error))?;
            let mut seen = std::collections::BTreeSet::new();
            let mut figures = Statistics {
                snapshots: snapshots.len() as u64,
                index_files: catalog.indexes.len() as u64,
                packs: catalog.listed.len() as u64,
                blobs: known.len() as u64,
                plain_bytes: known.values().map(|length| u64::from(*length)).sum(),
                ..Statistics::default()
            };
            for listed in catalog.listed.values() {
                figures.stored_bytes += listed.size();
                for blob in &listed.blobs {
                    let key = (blob.kind, blob.id);
                    if !reachable.blobs.contains(&key) || !seen.insert(key) {
                        figures.unused_blobs += 1;
                        figures.unused_bytes += u64::from(blob.length);
                    }
                }
            }
            for (_, stored) in catalog.orphans() {
                figures.unindexed_packs += 1;
                figures.unindexed_bytes += stored.size;
            }
            Ok(figures)
        })
    }
}
