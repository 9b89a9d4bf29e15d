//! Block volumes: a device as a directory of extents, in a form that plain `restic restore` and `dd` can bring back.
//!
//! ```text
//! /<name>/0000/0000000      bytes 0 to 1 GiB                 /<name>/<extent / 16>/<extent>
//! /<name>/0000/0000001      1 GiB to 2 GiB                   dd of=/dev/x bs=1G seek=<extent> conv=notrunc
//! ```
//!
//! Every extent is cut into blocks of 1 MiB whatever it holds, so a change never moves a cut, and an unchanged extent keeps
//! its node. An extent of zeros does not exist. The size of the device is on the root node.

mod earlier;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, bounded};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};

use earlier::Earlier;

use super::Repository;
use super::backup::{
    BLOCK, BackupOptions, BackupResult, Item, LargeJob, Part as JsonPart, Shared, is_zero,
    run_pipeline,
};
use super::error::{Error, Result};
use super::id::{Hasher, Id};
use super::node::{Node, NodeKind};
use super::progress::Progress;
use super::restore::window::{Part, Target, Window, Worker};
use super::restore::{self, RestoreOptions, RestoreResult};
use super::snapshot::Snapshot;
use super::tree::TreeReader;

const EXTENT: u64 = 1 << 30;
const EXTENTS_PER_DIRECTORY: u64 = 16;
/// Blocks compared, fetched and written at one time by one thread.
const BLOCKS_AT_ONCE: usize = 8;

/// The outcome of comparing a device with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether the device is right"]
pub struct DeviceVerification {
    /// Size of the captured device in bytes.
    pub bytes: u64,
    /// SHA-256 over the ids of all blocks of the snapshot, in order.
    pub expected: Id,
    /// The same over the blocks found.
    pub found: Id,
    /// Offsets of the first blocks that differ, at most a hundred.
    pub different: Vec<u64>,
}

impl Repository {
    /// Backs up a block device, or a file as if it were one.
    ///
    /// # Errors
    /// As [`Repository::backup_directory`], and [`Error::Local`] when any part of the device cannot be read: a device
    /// with a gap in it is not a backup.
    pub fn backup_device(
        &self,
        source: &Path,
        options: &BackupOptions,
        progress: &Progress,
    ) -> Result<BackupResult> {
        let path = source.display().to_string();
        let (file, size) = open(source, false)?;
        let file = Arc::new(file);
        Progress::add(&progress.bytes_total, size);
        let mut result = self.commit_run(options, progress, |shared| {
            run_pipeline(shared, options.write.worker_count(), |items, _, large| {
                feed(shared, options, &file, size, &path, &items, &large)
            })
        })?;
        result.totals.bytes = size;
        Ok(result)
    }

    /// Writes a captured device onto `target`, which may be larger. Blocks that are right already are not written.
    ///
    /// # Errors
    /// [`Error::TargetTooSmall`]; the store's; [`Error::Local`] when the target cannot be written.
    pub fn restore_device(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        options: &RestoreOptions,
        progress: &Progress,
    ) -> Result<RestoreResult> {
        self.locked_to_read(|| self.write_device(snapshot, target, options, progress))
    }

    fn write_device(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        options: &RestoreOptions,
        progress: &Progress,
    ) -> Result<RestoreResult> {
        self.index_to_read()?;
        let layout = Layout::read(self, snapshot, &options.path)?;
        let (file, size) = open(target, true)?;
        let path = target.display().to_string();
        if size < layout.size {
            return Err(Error::TargetTooSmall {
                path,
                size,
                needed: layout.size,
            });
        }
        Progress::add(&progress.bytes_total, layout.size);
        let device = Arc::new(Device { file, path });
        let shared = restore::Shared::new(self, options, progress);
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..options.worker_count() {
                scope.spawn(|| shared.settle(restore_extents(&shared, &layout, &device, &next)));
            }
        });
        shared.outcome()?;
        device.file.sync_all().map_err(device.failed("flush"))?;
        let mut result = shared.finish();
        result.totals.bytes = layout.size;
        Ok(result)
    }

    /// The size in bytes of the device that was captured as `path`; `None` when that is a directory.
    pub fn device_size(&self, snapshot: &Snapshot, path: &str) -> Result<Option<u64>> {
        let size = self.find_node(snapshot, path)?.device_size;
        Ok(Some(size).filter(|size| *size > 0))
    }

    /// Compares a device with a captured one, block by block. What `target` has beyond its size does not count.
    pub fn verify_device(
        &self,
        snapshot: &Snapshot,
        target: &Path,
        path: &str,
        progress: &Progress,
    ) -> Result<DeviceVerification> {
        self.index_to_read()?;
        let layout = Layout::read(self, snapshot, path)?;
        let (file, size) = open(target, false)?;
        let name = target.display().to_string();
        if size < layout.size {
            return Err(Error::TargetTooSmall {
                path: name,
                size,
                needed: layout.size,
            });
        }
        Progress::add(&progress.bytes_total, layout.size);
        let device = Device { file, path: name };
        let next = AtomicU64::new(0);
        let sums = Mutex::new(Vec::new());
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| verify_extents(progress, &layout, &device, &next, &sums)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.sort_unstable_by_key(|sum: &ExtentSum| sum.number);
        let (mut expected, mut found) = (Hasher::new(), Hasher::new());
        let mut different = Vec::new();
        for sum in sums {
            expected.update(&sum.expected.0);
            found.update(&sum.found.0);
            different.extend(sum.different);
        }
        different.truncate(100);
        let (expected, found) = (expected.finish(), found.finish());
        Ok(DeviceVerification {
            bytes: layout.size,
            expected,
            found,
            different,
        })
    }
}

/// Opens a device and finds its size in bytes.
pub(super) fn open(path: &Path, write: bool) -> Result<(File, u64)> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |operation, source| {
        let path = path.display().to_string();
        Error::Local {
            operation,
            path,
            source,
        }
    };
    let flags = OFlags::CLOEXEC.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(flags)
        .open(path);
    let file = file.map_err(|error| failed("open the device", error))?;
    let size = rustix::fs::seek(&file, SeekFrom::End(0));
    let size = size.map_err(|error| failed("find the size of", error.into()))?;
    Ok((file, size))
}

/// Promises the extents of a device in order, in directories of sixteen.
fn feed(
    shared: &Shared<'_>,
    options: &BackupOptions,
    file: &Arc<File>,
    size: u64,
    path: &str,
    items: &Sender<Item>,
    large: &Sender<LargeJob>,
) -> Result<()> {
    let send = |item| items.send(item).map_err(|_| Error::Cancelled);
    let root = Node {
        device_size: size,
        ..Node::new(options.name.as_str(), NodeKind::Directory, 0o700)
    };
    send(Item::Enter(Box::new(root)))?;
    let mut earlier = Earlier::open(shared);
    let extents = size.div_ceil(EXTENT);
    for number in 0..extents {
        shared.check()?;
        if number.is_multiple_of(EXTENTS_PER_DIRECTORY) {
            let name = format!("{:04}", number / EXTENTS_PER_DIRECTORY);
            send(Item::Enter(Box::new(Node::new(
                name,
                NodeKind::Directory,
                0o700,
            ))))?;
        }
        let mut node = Node::new(format!("{number:07}"), NodeKind::File, 0o600);
        node.size = EXTENT.min(size - number * EXTENT);
        let part = if let Some(json) = earlier.take(shared, &node, number) {
            JsonPart::Json(json)
        } else {
            let (reply, promise) = bounded(1);
            let offset = number * EXTENT;
            let job = LargeJob::extent(Arc::clone(file), offset, node, path.to_owned(), reply);
            large.send(job).map_err(|_| Error::Cancelled)?;
            JsonPart::Later(promise, None)
        };
        let (parts, entries) = bounded(1);
        parts.send(vec![part]).map_err(|_| Error::Cancelled)?;
        send(Item::Entries(entries))?;
        if (number + 1).is_multiple_of(EXTENTS_PER_DIRECTORY) || number + 1 == extents {
            send(Item::Leave)?;
        }
    }
    send(Item::Leave)?;
    send(Item::End)
}

/// A captured device: its size, and the blocks of the extents that are not zeros.
struct Layout {
    size: u64,
    /// For each extent its blocks; none for one of zeros.
    extents: Vec<Vec<Id>>,
    zero: Id,
    last_zero: Id,
    repository: Repository,
}

impl Layout {
    fn read(repository: &Repository, snapshot: &Snapshot, path: &str) -> Result<Self> {
        let damaged = |what: &str| Error::damaged(path, what);
        let root = repository.find_node(snapshot, path)?;
        let size = root.device_size;
        if size == 0 {
            return Err(damaged("it is not a captured device"));
        }
        let count = usize::try_from(size.div_ceil(EXTENT)).map_err(|_| damaged("too large"))?;
        let mut extents = vec![Vec::new(); count];
        let open = |node: &Node| {
            let tree = node
                .subtree
                .ok_or_else(|| damaged("a directory without a tree"))?;
            TreeReader::open(repository, &tree)
        };
        for directory in open(&root)? {
            for extent in open(&directory?)? {
                let extent = extent?;
                let name = std::str::from_utf8(&extent.name)
                    .ok()
                    .and_then(|name| name.parse().ok());
                let number: usize = name.ok_or_else(|| damaged("an extent without a number"))?;
                let length = EXTENT.min(size.saturating_sub(number as u64 * EXTENT));
                let slot = extents
                    .get_mut(number)
                    .ok_or_else(|| damaged("an extent too many"))?;
                if extent.content.len() as u64 != length.div_ceil(BLOCK as u64) {
                    return Err(damaged("an extent of the wrong length"));
                }
                *slot = extent.content;
            }
        }
        let zero = Id::of(&vec![0; BLOCK]);
        let last_zero = Id::of(&vec![0; (size % BLOCK as u64) as usize]);
        Ok(Layout {
            size,
            extents,
            zero,
            last_zero,
            repository: repository.clone(),
        })
    }

    /// The blocks of an extent: offset on the device, length, and id.
    fn blocks(&self, number: u64) -> impl Iterator<Item = (u64, usize, Id)> {
        let start = number * EXTENT;
        let end = self.size.min(start + EXTENT);
        let ids = &self.extents[number as usize];
        (start..end)
            .step_by(BLOCK)
            .enumerate()
            .map(move |(index, offset)| {
                let length = (BLOCK as u64).min(end - offset) as usize;
                let zero = if length == BLOCK {
                    self.zero
                } else {
                    self.last_zero
                };
                (offset, length, ids.get(index).copied().unwrap_or(zero))
            })
    }

    fn is_zero(&self, id: &Id) -> bool {
        *id == self.zero || *id == self.last_zero
    }
}

/// A device as something to write to.
struct Device {
    file: File,
    path: String,
}

impl Device {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::Local {
            operation,
            path,
            source,
        }
    }

    fn read<'b>(&self, offset: u64, length: usize, scratch: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        scratch.resize(length, 0);
        self.file
            .read_exact_at(scratch, offset)
            .map_err(self.failed("read"))?;
        Ok(scratch)
    }
}

impl Target for Device {
    fn in_hole(&self, _offset: u64, _length: u64) -> bool {
        true
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let mut scratch = Vec::new();
        if is_zero(self.read(offset, length as usize, &mut scratch)?) {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.file, flags, offset, length).is_ok() {
            return Ok(());
        }
        // Devices that cannot discard take zeros.
        scratch.fill(0);
        self.file
            .write_all_at(&scratch, offset)
            .map_err(self.failed("write"))
    }

    fn has(&self, offset: u64, length: usize, id: &Id, scratch: &mut Vec<u8>) -> Result<bool> {
        Ok(Id::of(self.read(offset, length, scratch)?) == *id)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file
            .write_all_at(data, offset)
            .map_err(self.failed("write"))
    }
}

fn restore_extents(
    shared: &restore::Shared<'_>,
    layout: &Layout,
    device: &Arc<Device>,
    next: &AtomicU64,
) -> Result<()> {
    let mut worker = Worker::new(shared)?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= layout.extents.len() as u64 {
            return Ok(());
        }
        let mut window = Window::default();
        for (offset, length, id) in layout.blocks(number) {
            shared.check()?;
            if layout.is_zero(&id) {
                // Also extents of zeros, which are in no pack.
                device.punch(offset, length as u64)?;
                Progress::add(&shared.progress().bytes_done, length as u64);
                continue;
            }
            let blobs = vec![(id, layout.repository.locate(&id)?)];
            window.parts.push(Part {
                file: Arc::clone(device),
                offset,
                blobs,
            });
            if window.parts.len() == BLOCKS_AT_ONCE {
                worker.window(&std::mem::take(&mut window))?;
            }
        }
        worker.window(&window)?;
    }
}

struct ExtentSum {
    number: u64,
    expected: Id,
    found: Id,
    different: Vec<u64>,
}

fn verify_extents(
    progress: &Progress,
    layout: &Layout,
    device: &Device,
    next: &AtomicU64,
    sums: &Mutex<Vec<ExtentSum>>,
) -> Result<()> {
    let mut scratch = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= layout.extents.len() as u64 {
            return Ok(());
        }
        let (mut expected, mut found) = (Hasher::new(), Hasher::new());
        let mut different = Vec::new();
        for (offset, length, id) in layout.blocks(number) {
            progress.check()?;
            let data = device.read(offset, length, &mut scratch)?;
            let there = if layout.is_zero(&id) && is_zero(data) {
                id
            } else {
                Id::of(data)
            };
            expected.update(&id.0);
            found.update(&there.0);
            if there != id {
                different.push(offset);
            }
            Progress::add(&progress.bytes_done, length as u64);
        }
        let (expected, found) = (expected.finish(), found.finish());
        let sum = ExtentSum {
            number,
            expected,
            found,
            different,
        };
        sums.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sum);
    }
}
