//! A directory tree becomes a snapshot.
//!
//! ```text
//! walker ─ batches of names ─▶ workers: stat, compare, read, hash, compress, seal ─▶ packs ─▶ uploads
//!    │                            └─ large files ─▶ readers ─ chunks ─▶ (the same workers)
//!    └─ the same order of things ─▶ assembler: JSON of finished batches ─▶ tree blobs
//! ```
//!
//! The walker goes depth-first in the order of names and hands out promises in that order; the assembler redeems
//! them in the same order and so writes every directory as a stream, however large. Nothing holds a tree in memory:
//! what is in flight is bounded by the queues. An entry whose parent has the same ctime, mtime, size and inode
//! keeps its old JSON byte by byte (any change of content, attributes, owner or mode moves ctime), so an unchanged
//! directory has an unchanged id.
//!
//! What cannot be read is a [`Problem`] in the result, never a silence; the caller decides what it means.

mod assemble;
pub(super) mod checkpoint;
mod cutter;
mod large;
mod segments;
mod walk;
mod worker;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::Repository;
use super::backend::Kind;
use super::chunker::{Chunker, LARGE, NORMAL};
use super::crew::{Crew, Tally};
use super::error::{Error, Result};
use super::id::Id;
use super::local;
use super::lock::RepositoryLock;
use super::node::Node;
use super::pack::BlobKind;
use super::pool::Pool;
use super::progress::Progress;
use super::snapshot::{Snapshot, SnapshotInfo};
use super::writer::{WriteOptions, Writer};
pub use checkpoint::CheckpointOptions;
use checkpoint::Checkpoints;
pub(super) use cutter::{BLOCK, is_zero};
use large::Chunk;
pub(super) use large::LargeJob;

pub(super) use walk::{Batch, Item, Part};

/// Large files read at one time, while the workers hash them.
const READERS: usize = 2;
/// Tag of a snapshot that lacks something.
pub const INCOMPLETE: &str = "incomplete";
/// Tag of a snapshot in which files may be as they never were, by agreement.
const TORN: &str = "torn";
/// Chunks that wait for each worker, and for all of them at most: while a reader fills its next buffer, there is work, and
/// two at a time are hashed faster than two after each other.
const CHUNKS: (usize, usize) = (8, 24);
/// Promises between walker and assembler: bounds what is walked but not yet written.
const ITEMS: usize = 256;

/// How a directory is backed up.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Name of the directory node that stands for the source, such as `data`.
    pub name: String,
    /// What the snapshot says about itself.
    pub info: SnapshotInfo,
    /// An earlier snapshot of the same source: entries unchanged since are not read.
    pub parent: Option<Snapshot>,
    /// How blobs are written.
    pub write: WriteOptions,
    /// Whether packs a killed run left behind are looked for and used.
    pub adopt: bool,
    /// Where what was read is kept meanwhile; without it, a backup that was killed is read again from its beginning.
    pub checkpoint: Option<CheckpointOptions>,
    /// Whether files that change or go while they are read are no reason to call the snapshot incomplete: what a live
    /// copy of a volume at work cannot avoid.
    pub accept_torn: bool,
}

impl BackupOptions {
    /// Full backup of a source called `name`.
    pub fn new(name: impl Into<String>, info: SnapshotInfo) -> Self {
        BackupOptions {
            name: name.into(),
            info,
            parent: None,
            write: WriteOptions::default(),
            adopt: true,
            checkpoint: None,
            accept_torn: false,
        }
    }

    /// Whether a problem is one that was agreed to.
    pub fn accepts(&self, problem: &Problem) -> bool {
        self.accept_torn && matches!(problem.kind, ProblemKind::Torn | ProblemKind::Vanished)
    }
}

/// Why an entry is not in the snapshot as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// It could not be opened or read, or became something else: it is missing from the snapshot.
    Unreadable,
    /// It was listed and then gone: it is missing from the snapshot.
    Vanished,
    /// It changed each time it was read: what the snapshot has may never have existed as a whole.
    Torn,
    /// Its attributes could not be read: they are missing from the snapshot.
    Attributes,
    /// It is of a kind no repository can hold.
    Unsupported,
    /// Another file system is mounted here: it is not part of this volume.
    OtherFileSystem,
}

/// One entry that is not in the snapshot as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path below the source.
    pub path: String,
    /// What it means.
    pub kind: ProblemKind,
    /// The system's words.
    pub cause: String,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links, devices, pipes, sockets.
    pub others: u64,
    /// Length of all files in bytes, holes included.
    pub bytes: u64,
}

/// A finished backup. It exists in the store even if there are problems; whether it counts is the caller's decision.
#[derive(Debug)]
#[must_use = "the problems say what is missing"]
pub struct BackupResult {
    /// The snapshot; tagged `incomplete` if there are problems, or `torn` if all of them are accepted.
    pub snapshot: Snapshot,
    /// What it holds.
    pub totals: Totals,
    /// Entries taken from the parent, or from what a killed run had read, without being read.
    pub unchanged: u64,
    /// What is not in it as it should be, sorted by path.
    pub problems: Vec<Problem>,
    /// Bytes of packs sent to the store.
    pub bytes_added: u64,
    /// Packs of a killed run that were used.
    pub packs_adopted: u64,
    /// Their size in bytes.
    pub bytes_adopted: u64,
}

/// What all threads of one backup share.
pub(super) struct Shared<'a> {
    repository: &'a Repository,
    writer: &'a Writer,
    progress: &'a Progress,
    checkpoints: Checkpoints<'a>,
    normal: Chunker,
    large: Chunker,
    buffers: Pool,
    problems: Mutex<Vec<Problem>>,
    crew: Crew,
    tally: Tally,
    unchanged: AtomicU64,
    /// Entries and chunks that were read.
    read: AtomicU64,
}

impl<'a> Shared<'a> {
    fn new(
        repository: &'a Repository,
        writer: &'a Writer,
        progress: &'a Progress,
        checkpoints: Checkpoints<'a>,
    ) -> Self {
        let secret = &repository.config().chunker_polynomial;
        Shared {
            repository,
            writer,
            progress,
            checkpoints,
            normal: Chunker::new(secret, NORMAL),
            large: Chunker::new(secret, LARGE),
            buffers: Pool::new(cutter::BUFFER),
            problems: Mutex::default(),
            crew: Crew::default(),
            tally: Tally::default(),
            unchanged: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    fn problem(&self, path: String, kind: ProblemKind, cause: impl ToString) {
        let problem = Problem {
            path,
            kind,
            cause: cause.to_string(),
        };
        tracing::debug!(path = problem.path, kind = ?kind, cause = problem.cause, "problem");
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(problem);
    }

    pub(super) fn repository(&self) -> &Repository {
        self.repository
    }

    pub(super) fn progress(&self) -> &Progress {
        self.progress
    }

    /// The tree of the root as far as an earlier attempt came at the very same source.
    pub(super) fn frozen_tree(&self) -> Option<Id> {
        self.checkpoints.frozen_tree()
    }

    /// Takes an entry as it was seen before, if all of its content is there. A device's, or one that is unchanged.
    pub(super) fn take_over(&self, node: &Node) -> bool {
        let index = self.repository.index();
        if !node.content.iter().all(|id| index.contains(id)) {
            return false;
        }
        self.count(node);
        Progress::add(&self.progress.bytes_done, node.size);
        true
    }

    /// A file that never held still.
    fn torn(&self, dir: &Dir, node: &mut Node) {
        node.distrust();
        let cause = format!("it changed during each of {} reads", worker::TRIES);
        self.problem(dir.path(&node.name), ProblemKind::Torn, cause);
    }

    pub(super) fn check(&self) -> Result<()> {
        self.crew.check(self.progress)
    }

    /// The outcome of a thread: its failure stops the others.
    fn settle(&self, result: Result<()>) {
        self.crew.settle(result);
    }

    fn count(&self, node: &Node) {
        self.tally.count(node, self.progress);
    }

    /// The failure that started it all, if any thread failed.
    fn outcome<T>(&self, result: Result<T>) -> Result<T> {
        self.writer.take_error()?;
        self.crew.take_failure().map_or(result, Err)
    }
}

/// The receiving ends a worker serves.
#[derive(Clone)]
struct Work {
    batches: Receiver<Batch>,
    chunks: Receiver<Chunk>,
    large: Sender<LargeJob>,
}

impl Repository {
    /// Backs up the directory `source`, which is read and never changed.
    ///
    /// # Errors
    /// The store's, the lock's, [`Error::Cancelled`], and [`Error::Local`] if `source` itself cannot be opened. Anything
    /// below it that cannot be read is in the result instead.
    pub fn backup_directory(
        &self,
        source: &Path,
        options: &BackupOptions,
        progress: &Progress,
    ) -> Result<BackupResult> {
        local::raise_file_limit();
        let root = walk::open_root(source, &options.name)?;
        self.commit_run(options, progress, |shared| {
            let parent = parent_root(shared.repository, options)?;
            let parent = parent.and_then(|node| node.subtree);
            let trees: Vec<Id> = shared
                .checkpoints
                .tree()
                .into_iter()
                .chain(parent)
                .collect();
            run_pipeline(shared, options.write.worker_count(), |items, batches, _| {
                walk::walk(shared, root, &trees, items, batches)
            })
        })
    }

    /// Lock, index, adoption, the run itself, and the three commit points.
    pub(super) fn commit_run(
        &self,
        options: &BackupOptions,
        progress: &Progress,
        run: impl FnOnce(&Shared<'_>) -> Result<Id>,
    ) -> Result<BackupResult> {
        let writing = self.writing();
        self.locked(|lock| {
            self.refresh_index(&writing)?;
            self.run_locked(options, progress, lock, run)
        })
    }

    fn run_locked(
        &self,
        options: &BackupOptions,
        progress: &Progress,
        lock: &RepositoryLock,
        run: impl FnOnce(&Shared<'_>) -> Result<Id>,
    ) -> Result<BackupResult> {
        let sent = Arc::clone(&progress.bytes_transferred);
        let checkpoints = Checkpoints::open(self, options.checkpoint.as_ref());
        let writer = Writer::counting(self, options.write, sent, checkpoints.first());
        let (packs_adopted, bytes_adopted) = if options.adopt && checkpoints.interrupted() {
            self.adopt_orphans(&writer)?
        } else {
            (0, 0)
        };
        let shared = Shared::new(self, &writer, progress, checkpoints);
        let result = run(&shared);
        let tree = shared.outcome(result)?;
        let (totals, unchanged) = (
            shared.tally.totals(),
            shared.unchanged.load(Ordering::Relaxed),
        );
        let Shared {
            problems,
            checkpoints,
            ..
        } = shared;
        let mut problems = problems
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        problems.sort();
        writer.finish()?;
        progress.check()?;
        lock.check()?;
        let parent = options.parent.as_ref().and_then(|parent| parent.id);
        let paths = vec![format!("/{}", options.name)];
        let mut snapshot = Snapshot::new(tree, paths, &options.info, parent);
        if problems.iter().any(|problem| !options.accepts(problem)) {
            snapshot.tags.push(INCOMPLETE.into());
        } else if !problems.is_empty() {
            snapshot.tags.push(TORN.into());
        }
        let snapshot = self.commit(snapshot)?;
        checkpoints.remove(writer.bytes() > 0);
        let backend = self.backend();
        let may_delete = || backend.wait(backend.tidy(&Kind::Index.absent()));
        if writer.has_indexes_to_merge() && lock.alone()? && may_delete()? {
            writer.merge_indexes()?;
        }
        let bytes_added = writer.bytes();
        Ok(BackupResult {
            snapshot,
            totals,
            unchanged,
            problems,
            bytes_added,
            packs_adopted,
            bytes_adopted,
        })
    }
}

/// The parent's node for the source: the one of the same name.
fn parent_root(repository: &Repository, options: &BackupOptions) -> Result<Option<Node>> {
    let Some(parent) = &options.parent else {
        return Ok(None);
    };
    match repository.find_node(parent, &options.name) {
        Ok(node) => Ok(Some(node)),
        Err(Error::PathNotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts workers and readers, lets `feed` produce items on a thread of its own, and assembles on this one.
pub(super) fn run_pipeline(
    shared: &Shared<'_>,
    workers: usize,
    feed: impl FnOnce(Sender<Item>, Sender<Batch>, Sender<LargeJob>) -> Result<()> + Send,
) -> Result<Id> {
    let (item_in, items) = bounded(ITEMS);
    let (batch_in, batches) = bounded(2 * workers);
    let (large_in, large_jobs) = unbounded();
    let (chunk_in, chunks) = bounded((CHUNKS.0 * workers).min(CHUNKS.1));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (batches, chunks, large) = (batches.clone(), chunks.clone(), large_in.clone());
            let work = Work {
                batches,
                chunks,
                large,
            };
            scope.spawn(move || shared.settle(worker::run(shared, work)));
        }
        for _ in 0..READERS {
            let (jobs, chunks) = (large_jobs.clone(), chunk_in.clone());
            scope.spawn(move || shared.settle(large::run(shared, &jobs, &chunks)));
        }
        // The threads hold the only ends that are left: each queue closes when its last user ends.
        drop((batches, chunks, chunk_in, large_jobs));
        scope.spawn(move || shared.settle(feed(item_in, batch_in, large_in)));
        let assembled = assemble::run(shared, items);
        if let Err(error) = &assembled
            && !matches!(error, Error::Cancelled)
        {
            tracing::debug!(%error, "the assembler stops");
        }
        if assembled.is_err() {
            shared.crew.stop();
        }
        assembled
    })
}

/// A packer for trees and one for data are all a run needs to know about kinds.
fn tree_packer(shared: &Shared<'_>) -> Result<super::writer::Packer> {
    shared.writer.packer(BlobKind::Tree)
}

/// A directory that is being read; kept open by everything that still needs names in it.
struct Dir {
    fd: std::os::fd::OwnedFd,
    name: Vec<u8>,
    above: Option<Arc<Dir>>,
}

impl Dir {
    /// Path of `name` in this directory, below the source.
    fn path(&self, name: &[u8]) -> String {
        let mut parts = vec![name];
        let mut dir = Some(self);
        while let Some(current) = dir {
            if current.above.is_some() {
                parts.push(&current.name);
            }
            dir = current.above.as_deref();
        }
        parts.reverse();
        local::display(&parts.join(&b'/'))
    }
}
