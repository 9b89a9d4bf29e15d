//! The planner: walks the snapshot's trees, makes everything that has no content, and cuts content into windows.

use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::progress::Progress;
use super::super::tree::TreeReader;
use super::base::{Base, Believed};
use super::file::FileState;
use super::window::{Part, Window};
use super::{Dir, Link, LossClass, Shared, apply, push, release};

/// Content per window: large enough to make one request out of many small files.
const WINDOW_BYTES: u64 = 8 << 20;
const WINDOW_FILES: usize = 512;
/// Deeper trees are an attack; a real one is limited by the kernel's patience with its users.
const DEPTH_LIMIT: usize = 16 << 10;

/// The names in a directory, sorted.
pub(in super::super) fn list(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    // A descriptor of its own: listing moves the position of the one it uses.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut listing = RawDir::new(&own, buffer.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A directory on the way down.
struct Frame {
    dir: Arc<Dir>,
    tree: TreeReader,
    /// What was there before, for directories that were.
    present: Peekable<std::vec::IntoIter<Vec<u8>>>,
    /// What the target is believed to hold here.
    base: Base,
}

struct Planner<'a> {
    shared: &'a Shared<'a>,
    windows: Sender<Window<FileState>>,
    window: Window<FileState>,
    bytes: u64,
    stack: Vec<Frame>,
    /// The first path of each file that has several links.
    linked: BTreeMap<(u64, u64), Arc<[Vec<u8>]>>,
    links: Vec<Link>,
}

/// Plans everything below `root`, which becomes `fd`. Returns the hard links that are left to make.
pub(super) fn run(
    shared: &Shared<'_>,
    root: Node,
    base: Option<Id>,
    fd: OwnedFd,
    windows: Sender<Window<FileState>>,
) -> Result<Vec<Link>> {
    let mut planner = Planner {
        shared,
        windows,
        window: Window::default(),
        bytes: 0,
        stack: Vec::new(),
        linked: BTreeMap::new(),
        links: Vec::new(),
    };
    Progress::add(&shared.progress.files_total, 1);
    let top = Dir {
        fd,
        node: root,
        above: None,
        fresh: false,
    };
    planner.enter(top, base)?;
    while let Some(mut frame) = planner.stack.pop() {
        shared.check()?;
        match frame.tree.next_node()? {
            Some(node) => {
                planner.extras_before(&mut frame, Some(&node.name));
                let dir = Arc::clone(&frame.dir);
                let base = frame.base.take(&node.name);
                planner.stack.push(frame);
                Progress::add(&shared.progress.files_total, 1);
                planner.node(dir, node, base)?;
            }
            None => {
                planner.extras_before(&mut frame, None);
                release(shared, frame.dir);
            }
        }
    }
    planner.send_window()?;
    Ok(planner.links)
}

impl Planner<'_> {
    fn enter(&mut self, dir: Dir, base: Option<Id>) -> Result<()> {
        if self.stack.len() > DEPTH_LIMIT {
            return Err(Error::damaged(
                "the snapshot",
                "its directories are nested without end",
            ));
        }
        let tree = dir
            .node
            .subtree
            .ok_or_else(|| Error::damaged("a directory", "it has no tree"))?;
        let tree = TreeReader::open(self.shared.repository, &tree)?;
        let present = match dir.fresh {
            true => Vec::new(),
            false => list(&dir.fd).map_err(|source| Error::Local {
                operation: "list the directory",
                path: dir.path(b""),
                source,
            })?,
        };
        let present = present.into_iter().peekable();
        self.stack.push(Frame {
            dir: Arc::new(dir),
            tree,
            present,
            base: Base::open(self.shared.repository, base),
        });
        Ok(())
    }

    /// Entries of the target up to `name` that the snapshot does not have.
    fn extras_before(&self, frame: &mut Frame, name: Option<&[u8]>) {
        let before = |present: &Vec<u8>| name.is_none_or(|name| present.as_slice() < name);
        while let Some(extra) = frame.present.next_if(before) {
            let root = frame.dir.above.is_none();
            if root && matches!(extra.as_slice(), b"lost+found" | b".snapshot") {
                continue;
            }
            let left_over = FileState::is_temporary(&extra);
            if !left_over {
                push(&self.shared.extra, frame.dir.path(&extra));
            }
            if (left_over || self.shared.options.delete_extra)
                && let Err(error) = apply::remove(frame.dir.fd.as_fd(), &extra)
            {
                self.shared
                    .loss(frame.dir.path(&extra), LossClass::Name, error);
            }
        }
        if let Some(name) = name {
            frame.present.next_if(|present| present == name);
        }
    }

    fn node(&mut self, above: Arc<Dir>, node: Node, base: Option<Node>) -> Result<()> {
        match node.kind {
            NodeKind::Directory => match make_directory(&above, &node) {
                Ok((fd, fresh)) => {
                    let dir = Dir {
                        fd,
                        node,
                        above: Some(above),
                        fresh,
                    };
                    return self.enter(dir, base.and_then(|base| base.subtree));
                }
                Err(error) => self.refused(&above, &node, error)?,
            },
            NodeKind::File => return self.file(above, node, base),
            _ => {
                apply::special(self.shared, &above, &node);
                self.shared.count(&node);
            }
        }
        release(self.shared, above);
        Ok(())
    }

    /// A name the target does not take is a loss; a target that takes nothing any more is a failure.
    fn refused(&self, dir: &Dir, node: &Node, error: io::Error) -> Result<()> {
        let path = dir.path(&node.name);
        match error.kind() {
            io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
                self.shared.loss(path, LossClass::Name, error);
                Ok(())
            }
            _ => Err(Error::Local {
                operation: "create",
                path,
                source: error,
            }),
        }
    }

    fn file(&mut self, dir: Arc<Dir>, node: Node, base: Option<Node>) -> Result<()> {
        if node.links > 1 {
            let parts: Vec<Vec<u8>> = dir
                .parts(&node.name)
                .into_iter()
                .map(<[u8]>::to_vec)
                .collect();
            let key = (node.inode, node.device_id);
            if let Some(first) = self.linked.get(&key) {
                let directory_times = (dir.node.atime, dir.node.mtime);
                let first = Arc::clone(first);
                self.links.push(Link {
                    parts,
                    first,
                    directory_times,
                    node,
                });
                release(self.shared, dir);
                return Ok(());
            }
            self.linked.insert(key, parts.into());
        }
        Progress::add(&self.shared.progress.bytes_total, node.size);
        let blobs = node.content.clone();
        let believed = base.map(|base| Believed::new(self.shared.repository, base));
        let state = Arc::new(FileState::new(dir, node, believed));
        let (mut offset, mut start, mut part) = (0u64, 0u64, Vec::new());
        for id in blobs {
            let location = self.shared.repository.locate(&id)?;
            let length = u64::from(location.plain_length());
            part.push((id, location));
            offset += length;
            self.bytes += length;
            if self.bytes >= WINDOW_BYTES {
                state.mark_split();
                let blobs = std::mem::take(&mut part);
                self.window.parts.push(Part {
                    file: Arc::clone(&state),
                    offset: start,
                    blobs,
                });
                start = offset;
                self.send_window()?;
            }
        }
        if offset != state.node().size {
            let what = format!(
                "its blobs have {offset} bytes, its size is {}",
                state.node().size
            );
            return Err(Error::damaged(state.path(), what));
        }
        if !part.is_empty() || start == 0 {
            self.window.parts.push(Part {
                file: state,
                offset: start,
                blobs: part,
            });
        } else {
            FileState::release(self.shared, state)?;
        }
        if self.window.parts.len() >= WINDOW_FILES {
            self.send_window()
        } else {
            Ok(())
        }
    }

    fn send_window(&mut self) -> Result<()> {
        self.bytes = 0;
        let window = std::mem::take(&mut self.window);
        if window.parts.is_empty() {
            return Ok(());
        }
        self.windows.send(window).map_err(|_| Error::Cancelled)
    }
}

/// Makes a directory, or takes the one that is there. Returns whether it is new.
fn make_directory(above: &Dir, node: &Node) -> io::Result<(OwnedFd, bool)> {
    let (dir, name) = (above.fd.as_fd(), node.name.as_slice());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700));
    let fresh = match make() {
        Ok(()) => true,
        Err(Errno::EXIST) => {
            let stat = local::stat_at(dir, name)?;
            match local::kind_of(&stat) {
                Some(NodeKind::Directory) => {
                    // Restored before with a mode that keeps its owner out, and we are no more than that.
                    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
                    if ours && stat.st_mode & 0o700 != 0o700 {
                        apply::change_mode(dir, name, stat.st_mode & 0o7777 | 0o700)?;
                    }
                    false
                }
                _ => {
                    rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
                    make()?;
                    true
                }
            }
        }
        Err(error) => return Err(error.into()),
    };
    Ok((rustix::fs::openat(dir, name, flags, Mode::empty())?, fresh))
}
