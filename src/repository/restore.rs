//! A snapshot becomes a directory tree again.
//!
//! ```text
//! planner: trees in order ─▶ directories, links, devices at once; files ─▶ windows of blobs
//! workers: window ─▶ what is there already? ─▶ ranged reads, joined ─▶ open, decompress, check ─▶ write ─▶ metadata
//! ```
//!
//! A window is a few megabytes of consecutive content, so memory is bounded whatever the tree looks like, and
//! the blobs of neighbouring files, which lie side by side in a pack, cost one request. A directory gets its
//! metadata when the last thing in it is done, so its times are right.
//!
//! Every operation goes through a directory descriptor and one checked name: a hostile repository can name no
//! place outside the target. Content that does not match its id is an error; an attribute that the target refuses
//! is a [`Loss`] in the result. Running it again finishes what was begun and fetches only what differs.

mod apply;
mod base;
mod file;
mod plan;
mod probe;
pub(super) mod window;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::bounded;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::Repository;
use super::backup::Totals;
use super::crew::{Crew, Tally};
use super::error::{Error, Result};
use super::id::Id;
use super::local;
use super::node::{Node, Time};
use super::progress::Progress;
use super::snapshot::Snapshot;
pub(super) use plan::list;
pub use probe::ExpectedLoss;

/// How a snapshot is restored.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The directory of the snapshot that becomes the target, such as `data`.
    pub path: String,
    /// Whether entries of the target that the snapshot does not have are deleted; otherwise they are reported.
    pub delete_extra: bool,
    /// Whether `security.selinux` is restored. Labels differ between clusters and the kubelet sets them.
    pub selinux: bool,
    /// What the target is believed to hold: pieces that this snapshot has at the same place are not read to see whether
    /// they are there. Who sets it must compare the target afterwards, and restore again without it if it differs.
    pub base: Option<Snapshot>,
    /// Threads that fetch and write; 0 means two for each CPU, at least 4 and at most 16.
    pub workers: usize,
}

impl RestoreOptions {
    /// Restores the directory `path` of the snapshot.
    pub fn new(path: impl Into<String>) -> Self {
        RestoreOptions {
            path: path.into(),
            delete_extra: false,
            selinux: false,
            base: None,
            workers: 0,
        }
    }

    pub(super) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism()
                .map_or(4, |n| 2 * n.get())
                .clamp(4, 16),
            count => count,
        }
    }
}

/// What the target did not take.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum LossClass {
    /// Owner or group.
    Owner,
    /// Permission bits.
    Mode,
    /// Modification time.
    Times,
    /// An extended attribute of no other class.
    Xattr,
    /// A POSIX ACL.
    Acl,
    /// A file capability.
    Capability,
    /// An SELinux label that was asked for.
    Selinux,
    /// A device, pipe, or socket.
    Special,
    /// A hard link.
    HardLink,
    /// A name the target cannot hold, or an entry in the way that cannot be removed.
    Name,
}

impl std::fmt::Display for LossClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LossClass::Owner => "owner",
            LossClass::Mode => "mode",
            LossClass::Times => "times",
            LossClass::Xattr => "xattr",
            LossClass::Acl => "acl",
            LossClass::Capability => "capability",
            LossClass::Selinux => "selinux",
            LossClass::Special => "special",
            LossClass::HardLink => "hard-link",
            LossClass::Name => "name",
        })
    }
}

/// One thing the target did not take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Path below the target.
    pub path: String,
    /// What was lost.
    pub class: LossClass,
    /// The system's words.
    pub cause: String,
}

/// A finished restore.
#[derive(Debug)]
#[must_use = "the losses say what the target did not take"]
pub struct RestoreResult {
    /// What was restored or found equal.
    pub totals: Totals,
    /// What the target did not take, sorted by path.
    pub losses: Vec<Loss>,
    /// Entries of the target that the snapshot does not have; deleted if that was asked for.
    pub extra: Vec<String>,
    /// Bytes that were there already and proven equal.
    pub bytes_reused: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// What all threads of one restore share.
pub(super) struct Shared<'a> {
    repository: &'a Repository,
    options: &'a RestoreOptions,
    progress: &'a Progress,
    losses: Mutex<Vec<Loss>>,
    extra: Mutex<Vec<String>>,
    crew: Crew,
    tally: Tally,
    reused: AtomicU64,
    written: AtomicU64,
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(item);
}

fn take_sorted<T: Ord>(list: Mutex<Vec<T>>) -> Vec<T> {
    let mut list = list.into_inner().unwrap_or_else(PoisonError::into_inner);
    list.sort();
    list
}

impl<'a> Shared<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        options: &'a RestoreOptions,
        progress: &'a Progress,
    ) -> Self {
        Shared {
            repository,
            options,
            progress,
            losses: Mutex::default(),
            extra: Mutex::default(),
            crew: Crew::default(),
            tally: Tally::default(),
            reused: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    fn loss(&self, path: String, class: LossClass, cause: impl ToString) {
        let cause = cause.to_string();
        tracing::debug!(path, ?class, cause, "loss");
        push(&self.losses, Loss { path, class, cause });
    }

    pub(super) fn check(&self) -> Result<()> {
        self.crew.check(self.progress)
    }

    pub(super) fn settle(&self, result: Result<()>) {
        self.crew.settle(result);
    }

    fn count(&self, node: &Node) {
        self.tally.count(node, self.progress);
    }
}

/// A directory of the target that still has work in it.
struct Dir {
    fd: OwnedFd,
    node: Node,
    above: Option<Arc<Dir>>,
    /// Made by this restore: nothing in it can be in the way.
    fresh: bool,
}

impl Dir {
    /// Path of `name` in this directory, below the target.
    fn path(&self, name: &[u8]) -> String {
        local::display(&self.parts(name).join(&b'/'))
    }

    fn parts<'p>(&'p self, name: &'p [u8]) -> Vec<&'p [u8]> {
        let mut parts = vec![name];
        let mut dir = self;
        while let Some(above) = &dir.above {
            parts.push(&dir.node.name);
            dir = above;
        }
        parts.reverse();
        parts
    }
}

/// Gives up one hold on a directory. Whoever gives up the last one finishes it, and then the ones above.
fn release(shared: &Shared<'_>, dir: Arc<Dir>) {
    let mut next = Some(dir);
    while let Some(dir) = next.take().and_then(Arc::into_inner) {
        apply::directory(shared, &dir);
        shared.count(&dir.node);
        next = dir.above;
    }
}

/// A hard link to be made when all content is there.
struct Link {
    parts: Vec<Vec<u8>>,
    first: Arc<[Vec<u8>]>,
    directory_times: (Time, Time),
    node: Node,
}

impl Repository {
    /// Restores a directory of `snapshot` into the existing directory `target`.
    ///
    /// # Errors
    /// The store's; [`Error::Tampered`] for content that is not what it should be; [`Error::Local`] when the target
    /// cannot be written, as when it is full. What was restored until then stays and is used by the next call.
    pub fn restore_directory(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        options: &RestoreOptions,
        progress: &Progress,
    ) -> Result<RestoreResult> {
        local::raise_file_limit();
        self.locked_to_read(|| {
            self.index_to_read()?;
            let root = self.find_node(snapshot, &options.path)?;
            // One that cannot be read only costs time.
            let base = (options.base.as_ref())
                .and_then(|base| self.find_node(base, &options.path).ok()?.subtree);
            let fd = open_target(target)?;
            let shared = Shared::new(self, options, progress);
            run(&shared, root, base, fd)?;
            shared.outcome()?;
            Ok(shared.finish())
        })
    }
}

impl Shared<'_> {
    /// The failure that started it all, if any thread failed.
    pub(super) fn outcome(&self) -> Result<()> {
        self.crew.take_failure().map_or(Ok(()), Err)
    }

    pub(super) fn progress(&self) -> &Progress {
        self.progress
    }

    pub(super) fn finish(self) -> RestoreResult {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RestoreResult {
            totals: self.tally.totals(),
            bytes_reused: count(&self.reused),
            bytes_written: count(&self.written),
            losses: take_sorted(self.losses),
            extra: take_sorted(self.extra),
        }
    }
}

pub(super) fn open_target(target: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(target, flags, Mode::empty()).map_err(|errno| Error::Local {
        operation: "open the target directory",
        path: target.display().to_string(),
        source: errno.into(),
    })
}

fn run(shared: &Shared<'_>, root: Node, base: Option<Id>, fd: OwnedFd) -> Result<()> {
    let local = |operation| {
        move |errno: rustix::io::Errno| Error::Local {
            operation,
            path: "the target".to_owned(),
            source: errno.into(),
        }
    };
    let top = rustix::io::fcntl_dupfd_cloexec(&fd, 0).map_err(local("open"))?;
    let links = std::thread::scope(|scope| {
        let workers = shared.options.worker_count();
        let (sender, windows) = bounded(workers);
        for _ in 0..workers {
            let windows = windows.clone();
            scope.spawn(move || shared.settle(window::run(shared, &windows)));
        }
        drop(windows);
        match plan::run(shared, root, base, fd, sender) {
            Ok(links) => links,
            Err(error) => {
                shared.settle(Err(error));
                Vec::new()
            }
        }
    });
    if shared.crew.is_stopped() {
        return Ok(());
    }
    for link in &links {
        shared.check()?;
        apply::link(shared, &top, link);
    }
    // One flush for the whole volume instead of one for each file.
    rustix::fs::syncfs(&top).map_err(local("flush"))
}
