//! Checkpoints: what a backup has read so far, kept in the store while it runs, so that the next one after a kill reads
//! the rest only.
//!
//! ```text
//! state/<source>/tree     the root directory as far as it is written: finished directories below it are whole
//!                         the segments of large files that were read, of files that are not in it yet
//! ```
//!
//! The first is there before the first pack is sent, and empty: whether it exists says whether an earlier backup may have left
//! packs that no index names. In a large store it takes minutes to list all packs.
//!
//! Nothing that a checkpoint says is relied on. Its tree is compared with the files that are there as a parent's is, a segment
//! counts for a file with the same inode, size and times only, and blobs that never arrived are read again. The blocks
//! of a device have no times: what was read of it counts as long as it is a copy of the same snapshot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Repository;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::node::{Node, Time};
use super::super::progress::Progress;

/// Time between two checkpoints.
const EVERY: Duration = Duration::from_secs(60);
/// A checkpoint may take one in so much time, for of a directory with millions of entries it is large; but the next one
/// comes within so many times the usual.
const SHARE: u32 = 20;
const LATEST: u32 = 10;
/// Ids that a checkpoint names, at most: 8 MiB in memory, and a quarter of a TiB of large files that are in no directory yet.
const IDS: usize = 256 << 10;

/// Where and how often a backup keeps what it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Path below the store's root; every backup of the same source has the same.
    pub path: String,
    /// Time between two.
    pub every: Duration,
    /// The snapshot that the source is a copy of, by its driver and handle.
    pub frozen: Option<String>,
}

impl CheckpointOptions {
    /// Of what `host` calls `source`, once a minute.
    pub fn new(host: &str, source: &str) -> Self {
        let name = Id::of(format!("{host}\0{source}").as_bytes());
        CheckpointOptions {
            path: format!("state/{name}/tree"),
            every: EVERY,
            frozen: None,
        }
    }

    /// When the next is due after one that took `time`.
    pub(super) fn pause(&self, time: Duration) -> Duration {
        (time * SHARE).min(self.every * LATEST).max(self.every)
    }
}

/// What lies in the store.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct Checkpoint {
    /// Its own path: what was kept of one source is none of another's.
    path: String,
    frozen: Option<String>,
    /// The tree of the root directory, if that was written yet.
    tree: Option<Id>,
    large: Vec<Begun>,
}

impl Checkpoint {
    fn new(options: &CheckpointOptions, tree: Option<Id>, large: Vec<Begun>) -> Self {
        Checkpoint {
            path: options.path.clone(),
            frozen: options.frozen.clone(),
            tree,
            large,
        }
    }
}

/// A large file of which something was read.
#[derive(Default, Serialize, Deserialize)]
struct Begun {
    file: Identity,
    segments: Vec<Option<Segment>>,
}

/// A stretch of a large file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// How long it was found to be, in bytes.
    pub(super) length: u64,
    pub(super) content: Vec<Id>,
}

/// What a file is recognised by, as an entry of a parent is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Identity {
    fn of(node: &Node) -> Self {
        let pair = |time: Time| (time.seconds, time.nanoseconds);
        Identity {
            inode: node.inode,
            size: node.size,
            mtime: pair(node.mtime),
            ctime: pair(node.ctime),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A large file that is being read. Checkpoints know of it as long as somebody holds on to it, which is until its node is
/// in its directory.
#[derive(Default)]
pub(in super::super) struct Reading(Mutex<Begun>);

impl Reading {
    /// Whether a segment was read.
    pub(super) fn has(&self, number: usize) -> bool {
        lock(&self.0).segments[number].is_some()
    }

    pub(super) fn set(&self, number: usize, segment: Segment) {
        lock(&self.0).segments[number] = Some(segment);
    }

    /// The segments that were read, in order.
    pub(super) fn segments(&self) -> Vec<Segment> {
        lock(&self.0).segments.iter().flatten().cloned().collect()
    }
}

/// The checkpoints of one backup: what the killed one before it left, and what this one leaves.
pub(super) struct Checkpoints<'a> {
    repository: &'a Repository,
    options: Option<&'a CheckpointOptions>,
    /// Whether there is one in the store.
    there: AtomicBool,
    /// Whether an earlier attempt may have left packs.
    interrupted: bool,
    tree: Option<Id>,
    /// Whether both are copies of one snapshot.
    frozen: bool,
    begun: Mutex<BTreeMap<Identity, Vec<Option<Segment>>>>,
    readings: Mutex<Vec<Weak<Reading>>>,
}

impl<'a> Checkpoints<'a> {
    /// Reads what is there. A checkpoint that cannot be read only costs time.
    pub(super) fn open(repository: &'a Repository, options: Option<&'a CheckpointOptions>) -> Self {
        let found = options.map(|options| read(repository, &options.path));
        let interrupted = !matches!(found, Some(Err(Error::NotFound { .. })));
        let found = found.transpose().unwrap_or_else(|error| {
            if interrupted {
                tracing::warn!(%error, "what an earlier attempt has read is not known; it is read again");
            }
            None
        });
        let frozen = found.as_ref().and_then(|found| found.frozen.as_ref());
        let frozen = frozen.is_some() && frozen == options.and_then(|own| own.frozen.as_ref());
        let (tree, large) = found.map_or((None, Vec::new()), |found| (found.tree, found.large));
        let begun = large.into_iter().map(|one| (one.file, one.segments));
        Checkpoints {
            repository,
            options,
            there: AtomicBool::new(interrupted),
            interrupted,
            tree,
            frozen,
            begun: Mutex::new(begun.collect()),
            readings: Mutex::default(),
        }
    }

    pub(super) fn options(&self) -> Option<&CheckpointOptions> {
        self.options
    }

    /// Whether an earlier attempt may have left packs that no index names.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// What is to be in the store before the first pack is: a path, and what to seal there. Nothing, if there is
    /// something already.
    pub(super) fn first(&self) -> Option<(String, Vec<u8>)> {
        let options = self.options.filter(|_| !self.interrupted)?;
        let first = Checkpoint::new(options, None, Vec::new());
        Some((options.path.clone(), serde_json::to_vec(&first).ok()?))
    }

    /// The root directory as far as an earlier attempt came.
    pub(super) fn tree(&self) -> Option<Id> {
        self.tree
    }

    /// The same, if this source cannot have changed since.
    pub(super) fn frozen_tree(&self) -> Option<Id> {
        self.tree.filter(|_| self.frozen)
    }

    /// A file whose reading begins.
    pub(super) fn reading(&self) -> Arc<Reading> {
        let reading = Arc::new(Reading::default());
        let mut readings = lock(&self.readings);
        readings.retain(|reading| reading.strong_count() > 0);
        readings.push(Arc::downgrade(&reading));
        reading
    }

    /// Begins an attempt at a file that is to be read in segments of these lengths; the last goes a byte too far. Those
    /// of an earlier backup that are there and whole need not be read; they are counted as done.
    pub(super) fn begin(
        &self,
        reading: &Reading,
        node: &Node,
        lengths: &[u64],
        progress: &Progress,
    ) {
        let file = Identity::of(node);
        let earlier = node.is_trusted().then(|| lock(&self.begun).remove(&file));
        let mut segments = earlier.flatten().unwrap_or_default();
        segments.resize(lengths.len(), None);
        let index = self.repository.index();
        let mut end = 0;
        for (segment, length) in segments.iter_mut().zip(lengths) {
            end += length;
            let length = length - u64::from(end > node.size);
            segment.take_if(|segment| {
                segment.length != length || !segment.content.iter().all(|id| index.contains(id))
            });
        }
        let read = segments.iter().flatten().map(|segment| segment.length);
        Progress::add(&progress.bytes_done, read.sum());
        *lock(&reading.0) = Begun { file, segments };
    }

    /// The segments of files that are in no directory yet; those that are waited for are the first.
    fn large(&self) -> Vec<Begun> {
        let (mut large, mut left) = (Vec::new(), IDS);
        for reading in lock(&self.readings).iter().filter_map(Weak::upgrade) {
            let begun = lock(&reading.0);
            let segments = begun.segments.iter().map(|segment| {
                let segment = segment.as_ref()?;
                left = left.checked_sub(segment.content.len())?;
                Some(segment.clone())
            });
            let segments: Vec<_> = segments.collect();
            if segments.iter().any(Option::is_some) {
                let file = begun.file;
                large.push(Begun { file, segments });
            }
        }
        large
    }

    /// Keeps what was read: `tree` is the root directory so far. Whether it is kept decides nothing.
    pub(super) fn keep(&self, tree: Id) {
        let Some(options) = self.options else { return };
        let large = self.large();
        self.there.store(true, Ordering::Relaxed);
        let kept = serde_json::to_vec(&Checkpoint::new(options, Some(tree), large))
            .map_err(|error| Error::damaged("a new checkpoint", error))
            .and_then(|json| self.repository.put_sealed(&options.path, &json));
        match kept {
            Ok(()) => tracing::debug!("what was read so far is kept"),
            Err(error) => tracing::warn!(%error, "what was read so far is not kept"),
        }
    }

    /// Removes it: the backup is complete. Where that is not allowed it stays, and is compared with what is there.
    /// `sent` is whether the first was written.
    pub(super) fn remove(&self, sent: bool) {
        if let Some(options) = self.options
            && (sent || self.there.load(Ordering::Relaxed))
            && let Err(error) = self.repository.delete_sealed(&options.path)
        {
            tracing::debug!(%error, "what was read is still kept");
        }
    }
}

fn read(repository: &Repository, path: &str) -> Result<Checkpoint> {
    parse(&repository.get_sealed(path)?, path)
}

/// Reads the checkpoint at `path`.
pub(in super::super) fn parse(plain: &[u8], path: &str) -> Result<Checkpoint> {
    let found: Checkpoint =
        serde_json::from_slice(plain).map_err(|error| Error::damaged(path, error))?;
    match found.path == path {
        true => Ok(found),
        false => Err(Error::damaged(path, "it is of another source")),
    }
}
