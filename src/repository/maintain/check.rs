//! Is a repository whole? Every index, every pack, every tree, and if asked every byte.
//!
//! Everything wrong is found and told, not only the first. A fault means that something a snapshot needs, or may need,
//! is not as it was written; a note means that something is superfluous or unfinished, which harms nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::Repository;
use super::super::backend::Kind;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::key::KeyFile;
use super::super::pack::{self, LENGTH_FIELD, PackedBlob};
use super::super::progress::Progress;
use super::super::read::{open_stored, plain_of};
use super::super::snapshot::Snapshot;
use super::catalog::{Catalog, Listed};
use super::reachable::{self, Known};

/// Threads that read packs: each holds one.
const READERS: usize = 4;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Which object, or which path of which snapshot.
    pub place: String,
    /// What is wrong, with its causes.
    pub what: String,
}

impl Fault {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Fault {
            place: place.into(),
            what: what.into(),
        }
    }

    fn of(place: impl Into<String>, error: &Error) -> Self {
        Fault::new(place, crate::causes::in_one_line(error))
    }
}

/// What a check found.
#[derive(Debug, Default)]
#[must_use = "it says whether the repository is whole"]
pub struct CheckReport {
    /// Snapshots walked.
    pub snapshots: u64,
    /// Trees walked.
    pub trees: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Bytes read and proven; 0 unless that was asked for.
    pub bytes_read: u64,
    /// Everything wrong, sorted.
    pub faults: Vec<Fault>,
    /// What is superfluous or unfinished.
    pub notes: Vec<String>,
}

impl Repository {
    /// Checks that every snapshot can be restored: index files, packs and their sizes, trees and the blobs they name; with
    /// `read_data` also every byte of every pack. Writes nothing but a lock.
    ///
    /// # Errors
    /// When the store cannot be read at all. What is wrong with what was read is in the report.
    pub fn check(&self, read_data: bool, progress: &Progress) -> Result<CheckReport> {
        self.locked_to_read(|| Checker::new(self, progress).run(read_data))
    }
}

struct Checker<'a> {
    repository: &'a Repository,
    progress: &'a Progress,
    report: CheckReport,
}

impl<'a> Checker<'a> {
    fn new(repository: &'a Repository, progress: &'a Progress) -> Self {
        Checker {
            repository,
            progress,
            report: CheckReport::default(),
        }
    }

    fn run(mut self, read_data: bool) -> Result<CheckReport> {
        self.keys()?;
        let faults = &mut self.report.faults;
        let catalog = Catalog::read(self.repository, |error| found(faults, error))?;
        self.packs(&catalog);
        self.snapshots(&catalog)?;
        if read_data {
            self.data(&catalog)?;
        }
        self.report.faults.sort();
        self.report.faults.dedup();
        Ok(self.report)
    }

    fn keys(&mut self) -> Result<()> {
        let backend = self.repository.backend();
        for (id, _) in backend.wait(backend.list_ids(Kind::Key))? {
            let object = Kind::Key.path(&id);
            let read = backend.wait(backend.get(&object)).and_then(|bytes| {
                if Id::of(&bytes) != id {
                    let object = object.clone();
                    return Err(Error::Tampered { object });
                }
                KeyFile::parse(&bytes, &object).map(drop)
            });
            if let Err(error) = read {
                found(&mut self.report.faults, error)?;
            }
        }
        Ok(())
    }

    fn packs(&mut self, catalog: &Catalog) {
        self.report.packs = catalog.listed.len() as u64;
        for (id, listed) in &catalog.listed {
            let place = Kind::Pack.path(id);
            match catalog.stored.get(id) {
                None => self.fault(place, "an index names it and the store does not have it"),
                Some(stored) if stored.size != listed.size() => {
                    let (should, is) = (listed.size(), stored.size);
                    self.fault(place, format!("it has {is} bytes where {should} should be"));
                }
                Some(_) => {}
            }
        }
        let orphans: Vec<u64> = catalog.orphans().map(|(_, stored)| stored.size).collect();
        if !orphans.is_empty() {
            let (count, bytes) = (orphans.len(), orphans.iter().sum::<u64>());
            self.report.notes.push(format!(
                "{count} packs with {bytes} bytes are in no index: an interrupted save left them; the next save \
                 uses them, or a prune removes them"
            ));
        }
        let repeated = catalog.listed.values().filter(|one| one.times > 1).count();
        if repeated > 0 {
            self.report.notes.push(format!(
                "{repeated} packs are in several index files, which is harmless; a prune joins them"
            ));
        }
    }

    fn snapshots(&mut self, catalog: &Catalog) -> Result<()> {
        let snapshots = self.load_snapshots()?;
        self.report.snapshots = snapshots.len() as u64;
        let known = known(catalog);
        let faults = &mut self.report.faults;
        // The walk reads trees through the index in memory.
        if let Err(error) = self.repository.index_to_read() {
            found(faults, error)?;
        }
        let reachable =
            reachable::walk(self.repository, &snapshots, &known, self.progress, |at| {
                let fault = Fault::of(at.place, &at.error);
                found(faults, at.error)?;
                faults.pop();
                faults.push(fault);
                Ok(())
            })?;
        self.report.trees = reachable.trees;
        let unused = known
            .keys()
            .filter(|blob| !reachable.blobs.contains(blob))
            .count();
        if unused > 0 {
            let note = format!("{unused} blobs are needed by no snapshot; a prune frees them");
            self.report.notes.push(note);
        }
        Ok(())
    }

    fn load_snapshots(&mut self) -> Result<Vec<Snapshot>> {
        let backend = self.repository.backend();
        let mut snapshots = Vec::new();
        for (id, _) in backend.wait(backend.list_ids(Kind::Snapshot))? {
            match self.repository.snapshot(&id.to_string()) {
                Ok(snapshot) => snapshots.push(snapshot),
                // Forgotten since it was listed.
                Err(Error::SnapshotNotFound { .. }) => {}
                Err(error) => found(&mut self.report.faults, error)?,
            }
        }
        Ok(snapshots)
    }

    /// Reads every pack that is listed and there.
    fn data(&mut self, catalog: &Catalog) -> Result<()> {
        let packs: Vec<(&Id, &Listed)> = catalog
            .listed
            .iter()
            .filter(|(id, _)| catalog.stored.contains_key(id))
            .collect();
        let total = packs.iter().map(|(_, listed)| listed.size()).sum();
        Progress::add(&self.progress.bytes_total, total);
        let next = AtomicUsize::new(0);
        let faults = Mutex::new(Vec::new());
        let (repository, progress) = (self.repository, self.progress);
        let work = || -> Result<()> {
            while let Some((id, listed)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress.check()?;
                let mut wrong = Vec::new();
                if let Err(error) = read_pack(repository, id, listed, &mut wrong) {
                    found(&mut wrong, error)?;
                }
                Progress::add(&progress.bytes_done, listed.size());
                let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
                faults.append(&mut wrong);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..READERS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        self.report.bytes_read = total;
        let faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.report.faults.extend(faults);
        Ok(())
    }

    fn fault(&mut self, place: String, what: impl Into<String>) {
        self.report.faults.push(Fault::new(place, what));
    }
}

/// What an error of one object means: a fault of that object, or the end when the store itself does not answer.
fn found(faults: &mut Vec<Fault>, error: Error) -> Result<()> {
    let place = match &error {
        Error::Tampered { object }
        | Error::Damaged { object, .. }
        | Error::Unsupported { object, .. }
        | Error::NotFound { object } => object.clone(),
        Error::BlobMissing { id } => format!("blob {id}"),
        _ => return Err(error),
    };
    faults.push(Fault::of(place, &error));
    Ok(())
}

/// The plain length of every blob that an index names in a pack that is there.
pub(super) fn known(catalog: &Catalog) -> Known {
    let there = |id: &Id| catalog.stored.contains_key(id);
    catalog
        .listed
        .iter()
        .filter(|(id, _)| there(id))
        .flat_map(|(_, listed)| &listed.blobs)
        .map(|blob| ((blob.kind, blob.id), blob.plain_length()))
        .collect()
}

/// Reads one pack: its name, its header, and each blob.
fn read_pack(
    repository: &Repository,
    id: &Id,
    listed: &Listed,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    let object = Kind::Pack.path(id);
    let data = repository
        .backend()
        .wait(repository.backend().get(&object))?;
    if Id::of(&data) != *id {
        faults.push(Fault::new(&object, "its content is not what its name says"));
    }
    match header(repository, &data) {
        Ok(blobs) if blobs == listed.blobs => {}
        Ok(_) => faults.push(Fault::new(&object, "its header and the index disagree")),
        Err(what) => faults.push(Fault::new(&object, what)),
    }
    for blob in &listed.blobs {
        let range = blob.offset as usize..blob.offset as usize + blob.length as usize;
        let Some(sealed) = data.get(range) else {
            faults.push(Fault::new(&object, format!("blob {} is cut off", blob.id)));
            continue;
        };
        let mut sealed = sealed.to_vec();
        let opened = open_stored(repository, &blob.id, &mut sealed).and_then(|()| {
            let uncompressed = blob.uncompressed_length.unwrap_or(0);
            plain_of(&blob.id, sealed, uncompressed)
        });
        if let Err(error) = opened {
            faults.push(Fault::of(&object, &error));
        }
    }
    Ok(())
}

fn header(repository: &Repository, data: &[u8]) -> Result<Vec<PackedBlob>, String> {
    let cut = || "it is cut short".to_owned();
    let end = data
        .len()
        .checked_sub(LENGTH_FIELD as usize)
        .ok_or_else(cut)?;
    let field: [u8; 4] = data[end..].try_into().map_err(|_| cut())?;
    let length = u32::from_le_bytes(field) as usize;
    let start = end.checked_sub(length).ok_or_else(cut)?;
    let mut sealed = data[start..end].to_vec();
    let plain = repository.sealer().open(&mut sealed);
    let plain = plain.map_err(|_| "its header fails authentication".to_owned())?;
    pack::parse_header(plain, data.len() as u64)
}
