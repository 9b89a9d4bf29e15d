//! Giving back what no snapshot needs, so that a kill between any two requests loses nothing.
//!
//! ```text
//! exclusive lock ─▶ what is needed ─▶ copy what is needed out of packs that are mostly waste ─▶ new packs, indexed
//!                                                      ─▶ new index files without the waste ─▶ old index files go
//!                                                      ─▶ packs that no index names any more go
//! ```
//!
//! At every instant each needed blob is in a pack that exists, named by an index file that exists. A prune that was
//! killed leaves blobs twice, or packs that no index names; the next one begins anew and removes them. Nothing is
//! remembered in between.
//!
//! A pack that no index names may belong to a save that was killed and will be resumed: such packs are left alone until
//! they are older than a grace period. What its job left beside the repository stays for half a year. If anything that a snapshot needs is missing, nothing is removed at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::Repository;
use super::super::backend::Kind;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::index::{IndexFile, IndexPack};
use super::super::lock::RepositoryLock;
use super::super::pack::{BlobKind, PackedBlob};
use super::super::progress::Progress;
use super::super::read::{open_stored, plain_of};
use super::super::writer::{BLOBS_PER_INDEX, WriteOptions, Writer, save_index};
use super::catalog::{Catalog, Listed};
use super::check::known;
use super::reachable::{self, Reachable};

/// Objects deleted at once, after a look at the lock.
const DELETES: usize = 16;

/// Where jobs leave their results, and saves what they have read so far.
const JOBS: &str = "state";
/// Age at which those are removed: nobody resumes a run of half a year ago.
const OLD_JOB: SignedDuration = SignedDuration::from_hours(180 * 24);

/// How much is given back, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PruneOptions {
    /// Share of the repository that may stay waste, 0 to 1: less of it means that more is copied. restic's is 0.05.
    pub max_unused: f64,
    /// Age at which packs that no index names are removed.
    pub grace: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How copied blobs are written.
    pub write: WriteOptions,
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            max_unused: 0.05,
            grace: Duration::from_secs(24 * 3600),
            dry_run: false,
            write: WriteOptions::default(),
        }
    }
}

/// What a prune did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Packs that stay as they are.
    pub packs_kept: u64,
    /// Packs whose needed blobs were copied into others.
    pub packs_rewritten: u64,
    /// Bytes copied.
    pub bytes_rewritten: u64,
    /// Packs removed, the rewritten ones among them.
    pub packs_removed: u64,
    /// Their size in bytes.
    pub bytes_removed: u64,
    /// Packs in no index that are younger than the grace period.
    pub packs_waiting: u64,
    /// Their size in bytes.
    pub bytes_waiting: u64,
    /// Bytes of waste that stay in kept packs.
    pub bytes_unused: u64,
}

impl Repository {
    /// Removes what no snapshot needs. Takes an exclusive lock: nobody else may work on the repository meanwhile.
    ///
    /// # Errors
    /// [`Error::Locked`]; [`Error::BlobMissing`], [`Error::Damaged`] and [`Error::Tampered`] when the repository is not
    /// whole, and then nothing was removed; whatever the store refuses.
    pub fn prune(&self, options: &PruneOptions, progress: &Progress) -> Result<PruneReport> {
        let writing = self.writing();
        let pruned = self.locked_exclusively(|lock| {
            self.refresh_index(&writing)?;
            Pruner {
                repository: self,
                options,
                progress,
                lock,
            }
            .run()
        });
        // Packs moved: whatever this process remembers is of the past.
        self.forget_index();
        pruned
    }
}

struct Pruner<'a> {
    repository: &'a Repository,
    options: &'a PruneOptions,
    progress: &'a Progress,
    lock: &'a RepositoryLock,
}

/// What is to be done with each pack.
struct Plan<'c> {
    keep: Vec<Id>,
    /// With the needed blobs that only this pack is to hold.
    rewrite: BTreeMap<Id, Vec<&'c PackedBlob>>,
    remove: BTreeSet<Id>,
    unused: u64,
}

impl Pruner<'_> {
    fn run(&self) -> Result<PruneReport> {
        let catalog = Catalog::read(self.repository, Err)?;
        let reachable = self.reachable(&catalog)?;
        let plan = self.plan(&catalog, &reachable, true)?;
        let mut report = self.report(&catalog, &plan);
        if self.options.dry_run {
            return Ok(report);
        }
        if plan.rewrite.is_empty() {
            self.finish(&catalog, &plan)?;
            return Ok(report);
        }
        report.bytes_rewritten = self.rewrite(&plan)?;
        // What was copied is in the store and its index by now; seen from there, the old packs are waste.
        let catalog = Catalog::read(self.repository, Err)?;
        let plan = self.plan(&catalog, &reachable, false)?;
        self.finish(&catalog, &plan)?;
        Ok(report)
    }

    fn reachable(&self, catalog: &Catalog) -> Result<Reachable> {
        let snapshots = self.repository.snapshots::<&str>(&[])?;
        let known = known(catalog);
        reachable::walk(
            self.repository,
            &snapshots,
            &known,
            self.progress,
            |at| match at.error {
                Error::Damaged { what, .. } => Err(Error::damaged(at.place, what)),
                error => Err(error),
            },
        )
    }

    /// Sorts the packs. Of a blob that is in several, the pack with the least waste keeps it.
    fn plan<'c>(
        &self,
        catalog: &'c Catalog,
        reachable: &Reachable,
        rewrite: bool,
    ) -> Result<Plan<'c>> {
        let there = |id: &Id| catalog.stored.contains_key(id);
        let needed = |blob: &PackedBlob| reachable.blobs.contains(&(blob.kind, blob.id));
        let mut packs: Vec<(&Id, &Listed, u64)> = catalog
            .listed
            .iter()
            .filter(|(id, _)| there(id))
            .map(|(id, listed)| {
                (
                    id,
                    listed,
                    length(listed.blobs.iter().filter(|b| needed(b))),
                )
            })
            .collect();
        packs.sort_by(|a, b| {
            share(b.2, b.1)
                .total_cmp(&share(a.2, a.1))
                .then(a.0.cmp(b.0))
        });
        let mut held: BTreeSet<(BlobKind, Id)> = BTreeSet::new();
        let mut plan = Plan {
            keep: Vec::new(),
            rewrite: BTreeMap::new(),
            remove: catalog
                .listed
                .keys()
                .filter(|id| !there(id))
                .copied()
                .collect(),
            unused: 0,
        };
        let (mut used, mut wasteful) = (0, Vec::new());
        for (id, listed, _) in packs {
            let mine: Vec<&PackedBlob> = listed
                .blobs
                .iter()
                .filter(|blob| needed(blob) && held.insert((blob.kind, blob.id)))
                .collect();
            let mine_length = length(mine.iter().copied());
            let waste = length(listed.blobs.iter()) - mine_length;
            used += mine_length;
            if mine.is_empty() {
                plan.remove.insert(*id);
                continue;
            }
            self.expect_size(catalog, id, listed)?;
            match waste {
                0 => plan.keep.push(*id),
                waste => {
                    plan.unused += waste;
                    wasteful.push((*id, mine, waste, mine_length));
                }
            }
        }
        if let Some((kind, id)) = reachable.blobs.iter().find(|blob| !held.contains(blob)) {
            tracing::debug!(?kind, %id, "a needed blob is in no pack");
            return Err(Error::BlobMissing { id: *id });
        }
        // As restic counts it: the waste may be this share of what is there in the end.
        let share = self.options.max_unused.clamp(0.0, 0.99);
        let allowed = (used as f64 * share / (1.0 - share)) as u64;
        // The most wasteful first: the least is copied for what is gained.
        wasteful.sort_by(|a, b| {
            let ratio = |one: &(Id, Vec<&PackedBlob>, u64, u64)| one.2 as f64 / one.3 as f64;
            ratio(b).total_cmp(&ratio(a)).then(a.0.cmp(&b.0))
        });
        for (id, mine, waste, _) in wasteful {
            if rewrite && plan.unused > allowed {
                plan.unused -= waste;
                plan.rewrite.insert(id, mine);
            } else {
                plan.keep.push(id);
            }
        }
        Ok(plan)
    }

    /// A needed pack that was cut short is no reason to remove anything anywhere.
    fn expect_size(&self, catalog: &Catalog, id: &Id, listed: &Listed) -> Result<()> {
        let is = catalog.stored.get(id).map_or(0, |stored| stored.size);
        let should = listed.size();
        if is == should {
            return Ok(());
        }
        let what = format!("it has {is} bytes where {should} should be");
        Err(Error::damaged(Kind::Pack.path(id), what))
    }

    fn report(&self, catalog: &Catalog, plan: &Plan<'_>) -> PruneReport {
        let mut report = PruneReport {
            packs_kept: plan.keep.len() as u64,
            packs_rewritten: plan.rewrite.len() as u64,
            bytes_rewritten: plan
                .rewrite
                .values()
                .map(|mine| length(mine.iter().copied()))
                .sum(),
            bytes_unused: plan.unused,
            ..PruneReport::default()
        };
        let (gone, waiting) = self.orphans(catalog);
        let gone = plan.rewrite.keys().chain(&plan.remove).chain(&gone);
        for stored in gone.filter_map(|id| catalog.stored.get(id)) {
            report.packs_removed += 1;
            report.bytes_removed += stored.size;
        }
        for stored in waiting.iter().filter_map(|id| catalog.stored.get(id)) {
            report.packs_waiting += 1;
            report.bytes_waiting += stored.size;
        }
        report
    }

    /// The packs that no index names: those past the grace period, and the younger ones.
    fn orphans(&self, catalog: &Catalog) -> (Vec<Id>, Vec<Id>) {
        let now = Timestamp::now();
        let old = |modified: Timestamp| {
            // A clock that is ahead of ours makes a pack younger than it is, never older.
            let age = Duration::try_from(now.duration_since(modified)).unwrap_or_default();
            age >= self.options.grace
        };
        let orphans = catalog
            .orphans()
            .map(|(id, stored)| (*id, old(stored.modified)));
        let (gone, waiting): (Vec<_>, Vec<_>) = orphans.partition(|(_, old)| *old);
        let ids = |list: Vec<(Id, bool)>| list.into_iter().map(|(id, _)| id).collect();
        (ids(gone), ids(waiting))
    }

    /// Copies the needed blobs of wasteful packs into new ones. Each is opened and proven on the way.
    fn rewrite(&self, plan: &Plan<'_>) -> Result<u64> {
        let sent = self.progress.bytes_transferred.clone();
        let writer = Writer::counting(self.repository, self.options.write, sent, None);
        let copied = self.copy(plan, &writer);
        // An upload's failure is the cause of whatever came after it.
        writer.take_error()?;
        copied?;
        writer.finish()?;
        Ok(writer.bytes())
    }

    fn copy(&self, plan: &Plan<'_>, writer: &Writer) -> Result<()> {
        let mut data = writer.packer(BlobKind::Data)?;
        let mut trees = writer.packer(BlobKind::Tree)?;
        let total = plan
            .rewrite
            .values()
            .map(|mine| length(mine.iter().copied()))
            .sum();
        Progress::add(&self.progress.bytes_total, total);
        let backend = self.repository.backend();
        for (id, mine) in &plan.rewrite {
            self.progress.check()?;
            self.lock.check()?;
            let object = Kind::Pack.path(id);
            let pack = backend.wait(backend.get(&object))?;
            for blob in mine {
                let range = blob.offset as usize..blob.offset as usize + blob.length as usize;
                let sealed = pack.get(range).ok_or_else(|| {
                    Error::damaged(&object, format!("blob {} is cut off", blob.id))
                })?;
                let mut opened = sealed.to_vec();
                open_stored(self.repository, &blob.id, &mut opened)?;
                plain_of(&blob.id, opened, blob.uncompressed_length.unwrap_or(0))?;
                let packer = match blob.kind {
                    BlobKind::Data => &mut data,
                    BlobKind::Tree => &mut trees,
                };
                packer.copy(blob, sealed)?;
                Progress::add(&self.progress.bytes_done, u64::from(blob.length));
            }
        }
        data.flush()?;
        trees.flush()?;
        Ok(())
    }

    /// New index files, then the old ones, then the packs: in this order only. What old jobs left can wait.
    fn finish(&self, catalog: &Catalog, plan: &Plan<'_>) -> Result<()> {
        let (orphans, _) = self.orphans(catalog);
        let repeated = catalog.listed.values().any(|listed| listed.times > 1);
        let few = catalog.listed.len().div_ceil(64) + 1;
        let changes = !plan.remove.is_empty() || repeated || catalog.indexes.len() > 2 * few;
        self.progress.check()?;
        self.lock.check()?;
        if changes {
            let new = self.write_index(catalog, plan)?;
            self.lock.check()?;
            let old = catalog.indexes.iter().filter(|id| !new.contains(id));
            self.delete(Kind::Index, old)?;
        }
        let gone = plan
            .remove
            .iter()
            .filter(|id| catalog.stored.contains_key(id));
        self.delete(Kind::Pack, gone.chain(&orphans))?;
        if let Err(error) = self.forget_jobs() {
            tracing::warn!(%error, "what old jobs left stays");
        }
        Ok(())
    }

    fn write_index(&self, catalog: &Catalog, plan: &Plan<'_>) -> Result<BTreeSet<Id>> {
        let backend = self.repository.backend();
        let mut written = BTreeSet::new();
        let mut file = IndexFile::default();
        let mut blobs = 0;
        for (number, id) in plan.keep.iter().enumerate() {
            let Some(listed) = catalog.listed.get(id) else {
                continue;
            };
            let pack = IndexPack {
                id: *id,
                blobs: listed.blobs.clone(),
            };
            blobs += pack.blobs.len();
            file.packs.push(pack);
            if blobs >= BLOBS_PER_INDEX || number + 1 == plan.keep.len() {
                written.insert(backend.wait(save_index(self.repository, &file))?);
                (file.packs, blobs) = (Vec::new(), 0);
            }
        }
        Ok(written)
    }

    fn forget_jobs(&self) -> Result<()> {
        let (backend, now) = (self.repository.backend(), Timestamp::now());
        for found in backend.wait(backend.list(JOBS))? {
            let written = Timestamp::from_second(found.last_modified.timestamp()).unwrap_or(now);
            if now.duration_since(written) > OLD_JOB {
                self.lock.check()?;
                backend.wait(backend.delete(found.location.as_ref()))?;
            }
        }
        Ok(())
    }

    fn delete<'i>(&self, kind: Kind, ids: impl Iterator<Item = &'i Id>) -> Result<()> {
        let backend = self.repository.backend();
        let objects: Vec<String> = ids.map(|id| kind.path(id)).collect();
        for together in objects.chunks(DELETES) {
            self.lock.check()?;
            let deletes = together.iter().map(|object| backend.delete(object));
            backend.wait(try_join_all(deletes))?;
        }
        Ok(())
    }
}

fn length<'b>(blobs: impl Iterator<Item = &'b PackedBlob>) -> u64 {
    blobs.map(|blob| u64::from(blob.length)).sum()
}

/// How much of a pack is needed.
fn share(needed: u64, listed: &Listed) -> f64 {
    needed as f64 / length(listed.blobs.iter()).max(1) as f64
}
