//! The walker: lists directories depth-first in the order of names and promises their entries in that order.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{FileType, Mode, OFlags, RawDir};

use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::progress::Progress;
use super::super::tree::{TreeReader, peek_name};
use super::checkpoint::Reading;
use super::{Dir, ProblemKind, Shared};

/// Names per batch: enough to make the hand-over cheap, few enough to keep all workers busy in one directory.
const BATCH: usize = 64;
/// Bytes of directory entries per call.
const LISTING: usize = 64 << 10;

/// What the assembler is promised.
pub(in super::super) enum Item {
    /// A directory begins.
    Enter(Box<Node>),
    /// Entries of the directory that is open.
    Entries(Receiver<Vec<Part>>),
    /// The directory is complete.
    Leave,
    /// Everything is: a queue that closes without it was cut short.
    End,
}

/// JSON of consecutive nodes, or the promise of it.
pub(in super::super) enum Part {
    Json(Vec<u8>),
    /// Of a large file; checkpoints know what was read of it as long as this is there.
    Later(Receiver<Option<Vec<u8>>>, Option<Arc<Reading>>),
}

/// Consecutive names of one directory for a worker to make nodes of.
pub(in super::super) struct Batch {
    pub(super) dir: Arc<Dir>,
    bytes: Vec<u8>,
    entries: Vec<BatchEntry>,
    pub(super) reply: Sender<Vec<Part>>,
}

struct BatchEntry {
    name: (usize, usize),
    old: (usize, usize),
}

impl Batch {
    /// Each name with the JSON it had before; that is empty if it had none.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| {
            (
                &self.bytes[entry.name.0..entry.name.1],
                &self.bytes[entry.old.0..entry.old.1],
            )
        })
    }
}

/// The names of a directory, in one allocation: a directory may have a million.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    entries: Vec<(u32, u16, FileType)>,
}

impl Names {
    fn name(&self, index: usize) -> &[u8] {
        let (start, length, _) = self.entries[index];
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }

    fn push(&mut self, name: &CStr, kind: FileType) -> Option<()> {
        let name = name.to_bytes();
        if name == b"." || name == b".." {
            return Some(());
        }
        let start = u32::try_from(self.bytes.len()).ok()?;
        self.entries
            .push((start, u16::try_from(name.len()).ok()?, kind));
        self.bytes.extend_from_slice(name);
        Some(())
    }

    fn list(dir: &Dir) -> io::Result<Names> {
        let mut names = Names::default();
        let mut buffer = Vec::with_capacity(LISTING);
        let mut listing = RawDir::new(&dir.fd, buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let too_many = || io::Error::other("more than 4 GiB of names in one directory");
            names
                .push(entry.file_name(), entry.file_type())
                .ok_or_else(too_many)?;
        }
        let Names { bytes, entries } = &mut names;
        let name = |entry: &(u32, u16, FileType)| {
            &bytes[entry.0 as usize..entry.0 as usize + usize::from(entry.1)]
        };
        entries.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        Ok(names)
    }
}

/// A directory as it was seen before, read in step with ours.
struct Old {
    reader: TreeReader,
    current: Option<(Vec<u8>, Vec<u8>)>,
}

impl Old {
    fn open(shared: &Shared<'_>, tree: &Id) -> Option<Self> {
        // A parent that cannot be read only costs time: everything is read anew.
        match TreeReader::open(shared.repository, tree) {
            Ok(reader) => Some(Old {
                reader,
                current: None,
            }),
            Err(error) => {
                tracing::warn!(%error, "a directory as it was before is not readable");
                None
            }
        }
    }

    /// The JSON that `name` had. Names must be asked for in ascending order.
    fn take(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some((old, _)) = &self.current {
                match old.as_slice().cmp(name) {
                    Ordering::Equal => return self.current.take().map(|(_, json)| json),
                    Ordering::Greater => return None,
                    Ordering::Less => {}
                }
            }
            let json = match self.reader.next_raw() {
                Ok(Some(json)) => json.to_vec(),
                Ok(None) => {
                    self.current = None;
                    return None;
                }
                Err(error) => {
                    tracing::warn!(%error, "a directory as it was before is damaged");
                    self.current = None;
                    return None;
                }
            };
            let name = peek_name(&json).or_else(|| Node::parse(&json).ok().map(|node| node.name));
            self.current = Some((name.unwrap_or_default(), json));
        }
    }
}

/// What a killed backup had read of a directory, and the parent's: the first that knows an entry is asked.
struct Before(Vec<Old>);

impl Before {
    fn open(shared: &Shared<'_>, trees: &[Id]) -> Self {
        Before(
            trees
                .iter()
                .filter_map(|tree| Old::open(shared, tree))
                .collect(),
        )
    }

    /// What `name` was, as JSON. Names must be asked for in ascending order.
    fn take<'b>(&'b mut self, name: &'b [u8]) -> impl Iterator<Item = Vec<u8>> + 'b {
        self.0.iter_mut().filter_map(|old| old.take(name))
    }
}

/// A directory on the way down.
struct Frame {
    dir: Arc<Dir>,
    names: Names,
    next: usize,
    before: Before,
}

/// Opens the source itself; here a symbolic link is what the user meant.
pub(super) fn open_root(source: &Path, name: &str) -> Result<Arc<Dir>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(source, flags, Mode::empty()).map_err(|errno| Error::Local {
        operation: "open the directory",
        path: source.display().to_string(),
        source: errno.into(),
    })?;
    Ok(Arc::new(Dir {
        fd,
        name: name.as_bytes().to_vec(),
        above: None,
    }))
}

struct Walker<'a> {
    shared: &'a Shared<'a>,
    items: Sender<Item>,
    batches: Sender<Batch>,
    device: u64,
    stack: Vec<Frame>,
}

/// Walks `root` to its end. `before` is what it was before, as trees.
pub(super) fn walk(
    shared: &Shared<'_>,
    root: Arc<Dir>,
    before: &[Id],
    items: Sender<Item>,
    batches: Sender<Batch>,
) -> Result<()> {
    let unreadable = |source: io::Error| Error::Local {
        operation: "read the directory",
        path: local::display(&root.name),
        source,
    };
    let stat = rustix::fs::fstat(&root.fd).map_err(|errno| unreadable(errno.into()))?;
    #[allow(clippy::unnecessary_cast)] // Its width differs between architectures.
    let device = stat.st_dev as u64;
    let mut walker = Walker {
        shared,
        items,
        batches,
        device,
        stack: Vec::new(),
    };
    // The root is what was asked for: that it cannot be listed is a failure, not a problem.
    let names = Names::list(&root).map_err(unreadable)?;
    let node = walker.directory_node(&root, &stat);
    Progress::add(&shared.progress.files_total, 1);
    walker.enter(root, node, names, before)?;
    while walker.step()? {}
    walker.send(Item::End)
}

impl Walker<'_> {
    fn send(&self, item: Item) -> Result<()> {
        self.items.send(item).map_err(|_| Error::Cancelled)
    }

    fn directory_node(&self, dir: &Dir, stat: &rustix::fs::Stat) -> Box<Node> {
        let mut node = local::node_of(&dir.name, NodeKind::Directory, stat);
        match local::xattrs_of_fd(dir.fd.as_fd()) {
            Ok(xattrs) => node.xattrs = xattrs,
            Err(error) => {
                self.shared
                    .problem(dir.path(b""), ProblemKind::Attributes, error);
            }
        }
        Box::new(node)
    }

    fn enter(&mut self, dir: Arc<Dir>, node: Box<Node>, names: Names, before: &[Id]) -> Result<()> {
        Progress::add(
            &self.shared.progress.files_total,
            names.entries.len() as u64,
        );
        self.send(Item::Enter(node))?;
        let before = Before::open(self.shared, before);
        self.stack.push(Frame {
            dir,
            names,
            next: 0,
            before,
        });
        Ok(())
    }

    /// One batch or one directory further; false when the root is complete.
    fn step(&mut self) -> Result<bool> {
        self.shared.check()?;
        let Some(frame) = self.stack.last_mut() else {
            return Ok(false);
        };
        if frame.next == frame.names.entries.len() {
            self.stack.pop();
            self.send(Item::Leave)?;
            return Ok(true);
        }
        if is_directory(frame) {
            let index = frame.next;
            frame.next += 1;
            let name = frame.names.name(index).to_vec();
            let before: Vec<Vec<u8>> = frame.before.take(&name).collect();
            let dir = Arc::clone(&frame.dir);
            self.descend(dir, name, &before)?;
            return Ok(true);
        }
        let (reply, promise) = bounded(1);
        let batch = next_batch(frame, reply);
        self.send(Item::Entries(promise))?;
        self.batches.send(batch).map_err(|_| Error::Cancelled)?;
        Ok(true)
    }

    fn descend(&mut self, above: Arc<Dir>, name: Vec<u8>, before: &[Vec<u8>]) -> Result<()> {
        if above.above.is_none() && is_file_systems_own(&above, &name) {
            Progress::add(&self.shared.progress.files_done, 1);
            return Ok(());
        }
        let path = above.path(&name);
        match self.open_directory(above, name) {
            Ok((dir, stat, names)) => {
                #[allow(clippy::unnecessary_cast)] // Its width differs between architectures.
                if stat.st_dev as u64 != self.device {
                    self.shared
                        .problem(path, ProblemKind::OtherFileSystem, "a mount point");
                    return Ok(());
                }
                let before = before.iter().filter_map(|json| Node::parse(json).ok());
                let mut trees: Vec<Id> = before.filter_map(|node| node.subtree).collect();
                // What did not change before the kill is the same in both.
                trees.dedup();
                let node = self.directory_node(&dir, &stat);
                self.enter(dir, node, names, &trees)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.shared.problem(path, ProblemKind::Vanished, error);
                Ok(())
            }
            Err(error) => {
                self.shared.problem(path, ProblemKind::Unreadable, error);
                Ok(())
            }
        }
    }

    fn open_directory(
        &self,
        above: Arc<Dir>,
        name: Vec<u8>,
    ) -> io::Result<(Arc<Dir>, rustix::fs::Stat, Names)> {
        let fd = local::open_at(above.fd.as_fd(), &name, OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&fd)?;
        let dir = Arc::new(Dir {
            fd,
            name,
            above: Some(above),
        });
        let names = Names::list(&dir)?;
        Ok((dir, stat, names))
    }
}

/// Whether the next name is a directory. Some file systems do not say it in the listing.
fn is_directory(frame: &mut Frame) -> bool {
    let index = frame.next;
    if frame.names.entries[index].2 == FileType::Unknown {
        let stat = local::stat_at(frame.dir.fd.as_fd(), frame.names.name(index));
        let kind = stat.map_or(FileType::RegularFile, |s| {
            FileType::from_raw_mode(s.st_mode)
        });
        frame.names.entries[index].2 = kind;
    }
    frame.names.entries[index].2 == FileType::Directory
}

fn next_batch(frame: &mut Frame, reply: Sender<Vec<Part>>) -> Batch {
    let mut batch = Batch {
        dir: Arc::clone(&frame.dir),
        bytes: Vec::new(),
        entries: Vec::new(),
        reply,
    };
    while frame.next < frame.names.entries.len()
        && batch.entries.len() < BATCH
        && !is_directory(frame)
    {
        let name = frame.names.name(frame.next);
        let old = frame.before.take(name).next().unwrap_or_default();
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(name);
        let middle = batch.bytes.len();
        batch.bytes.extend_from_slice(&old);
        let end = batch.bytes.len();
        batch.entries.push(BatchEntry {
            name: (start, middle),
            old: (middle, end),
        });
        frame.next += 1;
    }
    batch
}

/// What belongs to the file system and not to its user: a `lost+found` that is empty or, read without privileges, kept
/// for root; and the snapshots of an NFS filer.
fn is_file_systems_own(root: &Dir, name: &[u8]) -> bool {
    match name {
        b".snapshot" => true,
        b"lost+found" => {
            let opened = local::open_at(root.fd.as_fd(), name, OFlags::DIRECTORY);
            match opened {
                Ok(fd) => {
                    let dir = Dir {
                        fd,
                        name: Vec::new(),
                        above: None,
                    };
                    Names::list(&dir).is_ok_and(|names| names.entries.is_empty())
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let stat = local::stat_at(root.fd.as_fd(), name);
                    stat.is_ok_and(|stat| stat.st_uid == 0)
                }
                Err(_) => false,
            }
        }
        _ => false,
    }
}
