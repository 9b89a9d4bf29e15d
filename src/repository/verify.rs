//! Proof: a directory is compared with a snapshot, entry by entry and byte by byte.
//!
//! Both sides get a digest by the same rule, in the order of names: structure, names, kinds, sizes, content, link targets and
//! device numbers. Content enters as the ids of its blobs, cut where the snapshot is cut, so the found digest equals the
//! expected one only if every byte is right. Owners, modes, times and attributes are compared and reported one by one instead,
//! because a target may refuse some of them by declaration.

mod content;
mod entry;
mod fingerprint;
mod walk;

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, bounded};

use super::Repository;
use super::backup::Totals;
use super::crew::Crew;
use super::error::{Error, Result};
use super::id::{Hasher, Id};
use super::local;
use super::node::{Node, NodeKind};
use super::progress::{Progress, receive};
use super::restore::{LossClass, open_target};
use super::snapshot::Snapshot;
pub use fingerprint::{fingerprint_device, fingerprint_directory};
use walk::Item;

/// Promises between the walker and the digest.
const ITEMS: usize = 256;

/// How a directory is compared.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The directory of the snapshot that the target must equal, such as `data`.
    pub path: String,
    /// Whether `security.selinux` is compared.
    pub selinux: bool,
    /// Threads that read and hash; 0 means one for each CPU, at least 2 and at most 16.
    pub workers: usize,
}

impl VerifyOptions {
    /// Compares with the directory `path` of the snapshot.
    pub fn new(path: impl Into<String>) -> Self {
        VerifyOptions {
            path: path.into(),
            selinux: false,
            workers: 0,
        }
    }

    fn worker_count(&self) -> usize {
        match self.workers {
            0 => readers(),
            count => count,
        }
    }
}

/// Threads that read and hash where nobody says how many.
fn readers() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 16)
}

/// How an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceClass {
    /// The target does not have it.
    Missing,
    /// Only the target has it.
    Extra,
    /// It is of another kind.
    Kind,
    /// Its content, link target or device number differs.
    Content,
    /// It cannot be read.
    Unreadable,
    /// An attribute differs that a restore may report as lost in this class.
    Attribute(LossClass),
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Path below the target.
    pub path: String,
    /// How it differs.
    pub class: DifferenceClass,
    /// What was expected and what was found.
    pub detail: String,
}

impl Difference {
    /// The class of what is lost; `None` when more than an attribute differs.
    pub fn loss(&self) -> Option<LossClass> {
        match self.class {
            DifferenceClass::Attribute(class) => Some(class),
            _ => None,
        }
    }

    /// Whether it is a loss of a class in `accepted`.
    pub fn is_accepted(&self, accepted: &[LossClass]) -> bool {
        self.loss().is_some_and(|class| accepted.contains(&class))
    }
}

/// One side of the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    /// What was counted.
    pub totals: Totals,
    /// SHA-256 over all entries in order.
    pub digest: Id,
}

/// The outcome of a comparison.
#[derive(Debug)]
#[must_use = "it says whether the target is right"]
pub struct Verification {
    /// What the snapshot says.
    pub expected: TreeDigest,
    /// What is there.
    pub found: TreeDigest,
    /// Every difference, sorted by path.
    pub differences: Vec<Difference>,
}

impl Verification {
    /// Whether nothing differs, or only attributes of the classes in `accepted`.
    pub fn is_equal_except(&self, accepted: &[LossClass]) -> bool {
        self.is_equal_but(|difference| difference.is_accepted(accepted))
    }

    /// Whether nothing differs but what is expected to.
    pub fn is_equal_but(&self, expected: impl Fn(&Difference) -> bool) -> bool {
        let special = DifferenceClass::Attribute(LossClass::Special);
        // A device or pipe that is not there is in one digest only; then the list of differences is the proof.
        let listed = self.differences.iter().any(|one| one.class == special);
        (listed || self.expected.digest == self.found.digest)
            && self.differences.iter().all(expected)
    }
}

/// A digest as it grows.
pub(super) struct Summer {
    hasher: Hasher,
    totals: Totals,
}

impl Summer {
    pub(super) fn new() -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"ferry tree v1\0");
        Summer {
            hasher,
            totals: Totals::default(),
        }
    }

    /// An entry: `content` is the ids of its blobs. Lengths precede what varies, so that no two trees look alike.
    fn entry(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File => self.totals.files += 1,
            NodeKind::Directory => self.totals.directories += 1,
            _ => self.totals.others += 1,
        }
        self.totals.bytes += node.size;
        self.hasher.update(&[node.kind as u8]);
        for bytes in [&node.name, &node.link_target] {
            self.hasher.update(&(bytes.len() as u64).to_le_bytes());
            self.hasher.update(bytes);
        }
        for number in [node.size, node.device, node.content.len() as u64] {
            self.hasher.update(&number.to_le_bytes());
        }
        for id in &node.content {
            self.hasher.update(&id.0);
        }
    }

    fn leave(&mut self) {
        self.hasher.update(&[0xff]);
    }

    fn finish(self) -> TreeDigest {
        TreeDigest {
            totals: self.totals,
            digest: self.hasher.finish(),
        }
    }
}

/// What all threads of one comparison share.
struct Shared<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    differences: Mutex<Vec<Difference>>,
    reading: Reading<'a>,
}

/// What threads that read files share.
struct Reading<'a> {
    progress: &'a Progress,
    crew: Crew,
    /// Threads that may be started to help with one large file, so that it is not left to one.
    helpers: AtomicUsize,
}

impl<'a> Reading<'a> {
    fn new(workers: usize, progress: &'a Progress) -> Self {
        Reading {
            progress,
            crew: Crew::default(),
            helpers: AtomicUsize::new(workers - 1),
        }
    }

    fn check(&self) -> Result<()> {
        self.crew.check(self.progress)
    }

    fn settle(&self, result: Result<()>) {
        self.crew.settle(result);
    }
}

impl Shared<'_> {
    fn differs(&self, path: String, class: DifferenceClass, detail: impl ToString) {
        let difference = Difference {
            path,
            class,
            detail: detail.to_string(),
        };
        self.differences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(difference);
    }
}

impl Repository {
    /// Compares the directory `target` with a directory of `snapshot`.
    ///
    /// # Errors
    /// The store's; [`Error::Local`] when `target` itself cannot be opened. Anything below it that cannot be read is a
    /// difference.
    pub fn verify_directory(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        options: &VerifyOptions,
        progress: &Progress,
    ) -> Result<Verification> {
        local::raise_file_limit();
        self.index_to_read()?;
        let root = self.find_node(snapshot, &options.path)?;
        let fd = open_target(target)?;
        let shared = Shared {
            repository: self,
            options,
            differences: Mutex::default(),
            reading: Reading::new(options.worker_count(), progress),
        };
        let sums = std::thread::scope(|scope| {
            let shared = &shared;
            let workers = options.worker_count();
            let (item_in, items) = bounded(ITEMS);
            let (batch_in, batches) = bounded(2 * workers);
            for _ in 0..workers {
                let batches = batches.clone();
                scope.spawn(move || shared.reading.settle(entry::run(shared, &batches)));
            }
            drop(batches);
            scope.spawn(move || {
                let walked = walk::run(shared, root, fd, &item_in, &batch_in);
                shared.reading.settle(walked);
            });
            let sums = sum(shared, &items);
            if sums.is_err() {
                shared.reading.crew.stop();
            }
            sums
        });
        if let Some(failure) = shared.reading.crew.take_failure() {
            return Err(failure);
        }
        let (expected, found) = sums?;
        let mut differences = shared
            .differences
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        differences.sort();
        Ok(Verification {
            expected,
            found,
            differences,
        })
    }

    /// The digest of a directory of `snapshot`, from its trees alone: what [`Repository::verify_directory`] expects.
    pub fn digest(&self, snapshot: &Snapshot, path: &str) -> Result<TreeDigest> {
        use super::tree::TreeReader;
        self.index_to_read()?;
        let mut sum = Summer::new();
        let open = |node: &Node| -> Result<TreeReader> {
            let tree = node
                .subtree
                .ok_or_else(|| Error::damaged(path, "it is not a directory"))?;
            TreeReader::open(self, &tree)
        };
        let root = nameless(self.find_node(snapshot, path)?);
        sum.entry(&root);
        let mut readers = vec![open(&root)?];
        while let Some(reader) = readers.last_mut() {
            match reader.next_node()? {
                Some(node) => {
                    sum.entry(&node);
                    if node.kind == NodeKind::Directory {
                        readers.push(open(&node)?);
                    }
                }
                None => {
                    sum.leave();
                    readers.pop();
                }
            }
        }
        Ok(sum.finish())
    }
}

/// The root's name is what the capture called it; the target's is its own.
fn nameless(mut root: Node) -> Node {
    root.name.clear();
    root
}

/// Redeems the walker's promises in order into the two digests.
fn sum(shared: &Shared<'_>, items: &Receiver<Item>) -> Result<(TreeDigest, TreeDigest)> {
    let (mut expected, mut found) = (Summer::new(), Summer::new());
    while let Some(item) = receive(items, || shared.reading.check())? {
        match item {
            Item::Directory {
                expected: node,
                there,
            } => {
                expected.entry(&node);
                if there {
                    found.entry(&node);
                }
            }
            Item::Leave { there } => {
                expected.leave();
                if there {
                    found.leave();
                }
            }
            Item::Entries(promise) => {
                let pairs =
                    receive(&promise, || shared.reading.check())?.ok_or(Error::Cancelled)?;
                for pair in pairs {
                    expected.entry(&pair.expected);
                    if let Some(node) = &pair.found {
                        found.entry(node);
                    }
                }
            }
            Item::Extra(node) => found.entry(&node),
            Item::End => return Ok((expected.finish(), found.finish())),
        }
    }
    Err(Error::Cancelled)
}
