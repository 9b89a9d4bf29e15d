//! The fingerprint of a volume: a digest of everything in it, made without a snapshot to compare with.
//!
//! Two volumes that the storage made of one snapshot have equal fingerprints: structure, names, kinds, sizes, modes, owners,
//! times of modification, hard links, extended attributes, link targets, device numbers, and content, which enters as the ids
//! of pieces of one MiB. Left out is what reading or mounting changes: other times, numbers of inodes and devices, the label
//! of SELinux. It tells whether two volumes differ and not where, and is never compared with the digest of a snapshot.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::vec;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{OFlags, Stat};

use super::super::backup::Totals;
use super::super::error::{Error, Result};
use super::super::id::{Hasher, Id};
use super::super::local;
use super::super::node::{Node, NodeKind, Time};
use super::super::progress::{Progress, receive};
use super::super::restore::{list, open_target};
use super::content::{Content, Piece};
use super::entry::other;
use super::walk::Dir;
use super::{ITEMS, Reading, Summer, TreeDigest, readers};

/// Entries that a worker takes at one time.
const BATCH: usize = 64;
/// What of a file or device has an id of its own.
const PIECE: u64 = 1 << 20;
/// Set by what mounts the volume.
const SELINUX: &[u8] = b"security.selinux";

/// What the digest is promised, in the order of names.
enum Item {
    Directory(Box<Node>),
    Entries(Receiver<Vec<Node>>),
    Leave,
    /// Everything is complete: a queue that closes without it was cut short.
    End,
}

/// Consecutive entries of a directory whose content is not known yet.
struct Batch {
    dir: Arc<Dir>,
    nodes: Vec<Node>,
    reply: Sender<Vec<Node>>,
}

/// The fingerprint of everything below a directory.
///
/// # Errors
/// [`Error::Local`] when anything cannot be read, [`Error::Cancelled`].
pub fn fingerprint_directory(target: &Path, progress: &Progress) -> Result<TreeDigest> {
    local::raise_file_limit();
    let fd = open_target(target)?;
    let workers = readers();
    let reading = Reading::new(workers, progress);
    let sum = std::thread::scope(|scope| {
        let reading = &reading;
        let (item_in, items) = bounded(ITEMS);
        let (batch_in, batches) = bounded(2 * workers);
        for _ in 0..workers {
            let batches = batches.clone();
            scope.spawn(move || reading.settle(work(reading, &batches)));
        }
        drop(batches);
        scope.spawn(move || reading.settle(Walker::new(reading, item_in, batch_in).run(fd)));
        let sum = sum(reading, &items);
        if sum.is_err() {
            reading.crew.stop();
        }
        sum
    });
    match reading.crew.take_failure() {
        Some(failure) => Err(failure),
        None => sum,
    }
}

/// The fingerprint of a device: of its first `length` bytes, or of all it has.
///
/// # Errors
/// [`Error::Local`] when it cannot be read, [`Error::TargetTooSmall`], [`Error::Cancelled`].
pub fn fingerprint_device(
    target: &Path,
    length: Option<u64>,
    progress: &Progress,
) -> Result<TreeDigest> {
    let path = target.display().to_string();
    let (file, size) = super::super::device::open(target, false)?;
    let length = length.unwrap_or(size);
    if size < length {
        return Err(Error::TargetTooSmall {
            path,
            size,
            needed: length,
        });
    }
    Progress::add(&progress.bytes_total, length);
    let reading = Reading::new(readers(), progress);
    let ids = Content::default().ids(&reading, &file, &pieces(length))?;
    let ids = ids.map_err(|source| Error::Local {
        operation: "read the device",
        path,
        source,
    })?;
    let mut hasher = Hasher::new();
    ids.iter().for_each(|id| hasher.update(&id.0));
    Ok(TreeDigest {
        totals: Totals {
            bytes: length,
            ..Totals::default()
        },
        digest: hasher.finish(),
    })
}

fn pieces(length: u64) -> Vec<Piece> {
    let piece = |number: u64| {
        let offset = number * PIECE;
        let length = PIECE.min(length - offset) as usize;
        Piece { offset, length }
    };
    (0..length.div_ceil(PIECE)).map(piece).collect()
}

/// A directory on the way down.
struct Frame {
    dir: Arc<Dir>,
    names: vec::IntoIter<Vec<u8>>,
}

/// Lists directories, and says what there is.
struct Walker<'a> {
    reading: &'a Reading<'a>,
    items: Sender<Item>,
    batches: Sender<Batch>,
    stack: Vec<Frame>,
}

impl<'a> Walker<'a> {
    fn new(reading: &'a Reading<'a>, items: Sender<Item>, batches: Sender<Batch>) -> Self {
        Walker {
            reading,
            items,
            batches,
            stack: Vec::new(),
        }
    }

    fn run(mut self, root: OwnedFd) -> Result<()> {
        let root = Dir::root(root);
        let stat = rustix::fs::fstat(&root.fd).map_err(|errno| failed(&root, b"", errno.into()))?;
        self.enter(root, Vec::new(), &stat)?;
        while let Some(mut frame) = self.stack.pop() {
            self.reading.check()?;
            match self.entries(&mut frame)? {
                Some((name, stat)) => {
                    let inner = open(&frame.dir, &name)?;
                    self.stack.push(frame);
                    self.enter(inner, name, &stat)?;
                }
                None => self.send(Item::Leave)?,
            }
        }
        self.send(Item::End)
    }

    fn send(&self, item: Item) -> Result<()> {
        self.items.send(item).map_err(|_| Error::Cancelled)
    }

    fn enter(&mut self, dir: Arc<Dir>, name: Vec<u8>, stat: &Stat) -> Result<()> {
        let unreadable = |error| failed(&dir, b"", error);
        let mut node = local::node_of(&name, NodeKind::Directory, stat);
        node.xattrs = local::xattrs_of_fd(&dir.fd).map_err(unreadable)?;
        let names = list(&dir.fd).map_err(unreadable)?;
        Progress::add(&self.reading.progress.files_total, names.len() as u64);
        self.send(Item::Directory(Box::new(node)))?;
        let names = names.into_iter();
        self.stack.push(Frame { dir, names });
        Ok(())
    }

    /// Hands entries to the workers until a directory comes, or none does any more.
    fn entries(&self, frame: &mut Frame) -> Result<Option<(Vec<u8>, Stat)>> {
        let mut nodes = Vec::new();
        let below = loop {
            let Some(name) = frame.names.next() else {
                break None;
            };
            let stat = local::stat_at(frame.dir.fd.as_fd(), &name);
            let stat = stat.map_err(|error| failed(&frame.dir, &name, error))?;
            let kind = local::kind_of(&stat).unwrap_or(NodeKind::Socket);
            if kind == NodeKind::Directory {
                break Some((name, stat));
            }
            let node = local::node_of(&name, kind, &stat);
            Progress::add(&self.reading.progress.bytes_total, node.size);
            nodes.push(node);
            if nodes.len() == BATCH {
                self.promise(&frame.dir, std::mem::take(&mut nodes))?;
            }
        };
        if !nodes.is_empty() {
            self.promise(&frame.dir, nodes)?;
        }
        Ok(below)
    }

    fn promise(&self, dir: &Arc<Dir>, nodes: Vec<Node>) -> Result<()> {
        let (reply, promise) = bounded(1);
        self.send(Item::Entries(promise))?;
        let dir = Arc::clone(dir);
        let batch = Batch { dir, nodes, reply };
        self.batches.send(batch).map_err(|_| Error::Cancelled)
    }
}

fn open(dir: &Arc<Dir>, name: &[u8]) -> Result<Arc<Dir>> {
    let fd = local::open_at(dir.fd.as_fd(), name, OFlags::DIRECTORY);
    let fd = fd.map_err(|error| failed(dir, name, error))?;
    Ok(Dir::below(dir, fd, name.to_vec()))
}

fn failed(dir: &Dir, name: &[u8], source: io::Error) -> Error {
    Error::Local {
        operation: "read",
        path: dir.path(name),
        source,
    }
}

/// Serves batches until there are no more.
fn work(reading: &Reading<'_>, batches: &Receiver<Batch>) -> Result<()> {
    let mut content = Content::default();
    for Batch {
        dir,
        mut nodes,
        reply,
    } in batches
    {
        for node in &mut nodes {
            reading.check()?;
            let read = match node.kind {
                NodeKind::File => file(reading, &mut content, &dir, node)?,
                _ => other(&dir, node),
            };
            read.map_err(|error| failed(&dir, &node.name, error))?;
            Progress::add(&reading.progress.files_done, 1);
        }
        reply.send(nodes).map_err(|_| Error::Cancelled)?;
    }
    Ok(())
}

fn file(
    reading: &Reading<'_>,
    content: &mut Content,
    dir: &Dir,
    node: &mut Node,
) -> Result<io::Result<()>> {
    let file = match local::open_at(dir.fd.as_fd(), &node.name, OFlags::empty()) {
        Ok(fd) => File::from(fd),
        Err(error) => return Ok(Err(error)),
    };
    match local::xattrs_of_fd(&file) {
        Ok(xattrs) => node.xattrs = xattrs,
        Err(error) => return Ok(Err(error)),
    }
    let ids = content.ids(reading, &file, &pieces(node.size))?;
    Ok(ids.map(|ids| node.content = ids))
}

/// Redeems the walker's promises in order.
fn sum(reading: &Reading<'_>, items: &Receiver<Item>) -> Result<TreeDigest> {
    let mut sum = Summer::new();
    let mut links = HashMap::new();
    while let Some(item) = receive(items, || reading.check())? {
        match item {
            Item::Directory(node) => add(&mut sum, &mut links, *node),
            Item::Entries(promise) => {
                let nodes = receive(&promise, || reading.check())?.ok_or(Error::Cancelled)?;
                nodes
                    .into_iter()
                    .for_each(|node| add(&mut sum, &mut links, node));
            }
            Item::Leave => sum.leave(),
            Item::End => return Ok(sum.finish()),
        }
    }
    Err(Error::Cancelled)
}

/// Adds an entry with all its attributes. `links` numbers the files that have several names, in order of the first.
fn add(sum: &mut Summer, links: &mut HashMap<(u64, u64), u64>, mut node: Node) {
    sum.entry(&node);
    let next = links.len() as u64 + 1;
    node.inode = match node.links {
        0 | 1 => 0,
        _ => *links.entry((node.device_id, node.inode)).or_insert(next),
    };
    node.device_id = 0;
    (node.atime, node.ctime) = (Time::default(), Time::default());
    node.xattrs.retain(|xattr| xattr.name != SELINUX);
    // They are in the sum already.
    node.content = Vec::<Id>::new();
    let mut json = Vec::new();
    node.write_json(&mut json);
    sum.hasher.update(&(json.len() as u64).to_le_bytes());
    sum.hasher.update(&json);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn of(path: &Path) -> TreeDigest {
        fingerprint_directory(path, &Progress::default()).unwrap()
    }

    /// A copy as `cp -a` makes it: everything equal but inodes and times of change.
    fn copy(from: &Path, to: &Path, sparse: &str) {
        let done = std::process::Command::new("cp")
            .args(["-a", sparse])
            .arg(from)
            .arg(to)
            .status();
        assert!(done.unwrap().success());
    }

    fn tree(root: &Path) {
        std::fs::create_dir_all(root.join("deep/er")).unwrap();
        std::fs::write(root.join("deep/er/file"), "content").unwrap();
        std::fs::hard_link(root.join("deep/er/file"), root.join("again")).unwrap();
        std::fs::write(root.join("other"), "content").unwrap();
        symlink("deep/er", root.join("link")).unwrap();
        let sparse = File::create(root.join("sparse")).unwrap();
        sparse.set_len(70 << 20).unwrap();
        for number in 0..200 {
            std::fs::write(root.join(format!("{number}")), [number as u8; 10]).unwrap();
        }
    }

    #[test]
    fn copies_have_one_fingerprint_and_any_change_another() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        tree(&one);
        copy(&one, &two, "--sparse=never");
        let wanted = of(&one);
        assert_eq!(wanted, of(&two));
        assert_eq!(wanted.totals.bytes, 3 * 7 + (70 << 20) + 2000);
        let differs = |what: &str, change: &dyn Fn(&Path)| {
            let changed = temp.path().join("changed");
            copy(&one, &changed, "--sparse=always");
            let root = std::fs::metadata(&changed).unwrap().modified().unwrap();
            change(&changed);
            File::open(&changed).unwrap().set_modified(root).unwrap();
            assert_ne!(of(&changed), wanted, "{what}");
            std::fs::remove_dir_all(&changed).unwrap();
        };
        differs("a byte", &|root| {
            let path = root.join("other");
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            std::fs::write(&path, "Content").unwrap();
            File::open(&path).unwrap().set_modified(time).unwrap();
        });
        differs("a byte in a hole", &|root| {
            let file = File::options()
                .write(true)
                .open(root.join("sparse"))
                .unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            std::os::unix::fs::FileExt::write_at(&file, b"x", 69 << 20).unwrap();
            file.set_modified(time).unwrap();
        });
        differs("a name", &|root| {
            std::fs::rename(root.join("other"), root.join("otter")).unwrap();
        });
        differs("a mode", &|root| {
            let mode = std::fs::metadata(root.join("other")).unwrap().mode();
            let mode = std::fs::Permissions::from_mode(mode ^ 0o100);
            std::fs::set_permissions(root.join("other"), mode).unwrap();
        });
        differs("a time", &|root| {
            let file = File::open(root.join("other")).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            file.set_modified(time).unwrap();
        });
        differs("a target", &|root| {
            std::fs::remove_file(root.join("link")).unwrap();
            symlink("deep/or", root.join("link")).unwrap();
        });
        differs("which names are one file", &|root| {
            std::fs::remove_file(root.join("again")).unwrap();
            copy(
                &root.join("deep/er/file"),
                &root.join("again"),
                "--sparse=auto",
            );
        });
        differs("an entry", &|root| {
            std::fs::remove_file(root.join("7")).unwrap();
        });
    }

    #[test]
    fn a_device_is_as_long_as_the_one_it_is_compared_with() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("device");
        let noise: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 7) as u8).collect();
        std::fs::write(&path, &noise).unwrap();
        let of = |length| fingerprint_device(&path, length, &Progress::default());
        let wanted = of(None).unwrap();
        assert_eq!(wanted.totals.bytes, 3 << 20);
        let larger: Vec<u8> = noise.iter().copied().chain([1; 4096]).collect();
        std::fs::write(&path, &larger).unwrap();
        assert_eq!(of(Some(3 << 20)).unwrap(), wanted);
        assert_ne!(of(None).unwrap(), wanted);
        let small = of(Some(4 << 20)).unwrap_err();
        assert!(matches!(small, Error::TargetTooSmall { .. }), "{small}");
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let missing = temp.path().join("missing");
        let error = fingerprint_directory(&missing, &Progress::default()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
