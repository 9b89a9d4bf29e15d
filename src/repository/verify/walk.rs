//! The walker of a comparison: the snapshot's directories and the target's, in step.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;

use super::super::error::{Error, Result};
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::progress::Progress;
use super::super::restore::list;
use super::super::tree::TreeReader;
use super::entry::{Batch, Pair, compare_attributes};
use super::{DifferenceClass, LossClass, Shared, nameless};

const BATCH: usize = 64;

/// What the digests are promised, in order.
pub(super) enum Item {
    /// A directory begins; `there` tells whether the target has it.
    Directory { expected: Box<Node>, there: bool },
    /// It ends.
    Leave { there: bool },
    /// Entries of it.
    Entries(Receiver<Vec<Pair>>),
    /// Something only the target has.
    Extra(Box<Node>),
    /// Everything is complete.
    End,
}

/// A directory of the target.
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    name: Vec<u8>,
    above: Option<Arc<Dir>>,
}

impl Dir {
    /// The target itself.
    pub(super) fn root(fd: OwnedFd) -> Arc<Self> {
        let name = Vec::new();
        Arc::new(Dir {
            fd,
            name,
            above: None,
        })
    }

    /// A directory in another.
    pub(super) fn below(above: &Arc<Self>, fd: OwnedFd, name: Vec<u8>) -> Arc<Self> {
        let above = Some(Arc::clone(above));
        Arc::new(Dir { fd, name, above })
    }

    /// Path of `name` in this directory, below the target.
    pub(super) fn path(&self, name: &[u8]) -> String {
        let mut parts = vec![name];
        let mut dir = self;
        while let Some(above) = &dir.above {
            parts.push(&dir.name);
            dir = above;
        }
        parts.reverse();
        local::display(&parts.join(&b'/'))
    }
}

struct Frame {
    tree: TreeReader,
    /// `None` below a directory that the target does not have.
    dir: Option<Arc<Dir>>,
    present: Peekable<std::vec::IntoIter<Vec<u8>>>,
    batch: Vec<Node>,
    /// A directory met while the batch before it was not sent yet.
    pending: Option<Node>,
}

struct Walker<'a> {
    shared: &'a Shared<'a>,
    items: &'a Sender<Item>,
    batches: &'a Sender<Batch>,
    stack: Vec<Frame>,
    /// Where the first link of each file was found.
    links: BTreeMap<(u64, u64), Option<(u64, u64)>>,
}

/// Compares everything below `root` with `fd`.
pub(super) fn run(
    shared: &Shared<'_>,
    root: Node,
    fd: OwnedFd,
    items: &Sender<Item>,
    batches: &Sender<Batch>,
) -> Result<()> {
    let mut walker = Walker {
        shared,
        items,
        batches,
        stack: Vec::new(),
        links: BTreeMap::new(),
    };
    let root = nameless(root);
    walker.enter(root, Some(Dir::root(fd)))?;
    while walker.step()? {}
    walker.send(Item::End)
}

impl Walker<'_> {
    fn send(&self, item: Item) -> Result<()> {
        self.items.send(item).map_err(|_| Error::Cancelled)
    }

    fn enter(&mut self, node: Node, dir: Option<Arc<Dir>>) -> Result<()> {
        let tree = node
            .subtree
            .ok_or_else(|| Error::damaged("a directory", "it has no tree"))?;
        let tree = TreeReader::open(self.shared.repository, &tree)?;
        let mut present = Vec::new();
        if let Some(dir) = &dir {
            // The root of a whole snapshot has no metadata to compare.
            if dir.above.is_some() || node.mode != 0 {
                self.directory(&node, dir);
            }
            match list(&dir.fd) {
                Ok(names) => present = names,
                Err(error) => {
                    self.shared
                        .differs(dir.path(b""), DifferenceClass::Unreadable, error);
                }
            }
        }
        Progress::add(&self.shared.reading.progress.files_done, 1);
        self.send(Item::Directory {
            expected: Box::new(node),
            there: dir.is_some(),
        })?;
        let present = present.into_iter().peekable();
        self.stack.push(Frame {
            tree,
            dir,
            present,
            batch: Vec::new(),
            pending: None,
        });
        Ok(())
    }

    fn directory(&self, node: &Node, dir: &Dir) {
        let path = || match &dir.above {
            Some(above) => above.path(&dir.name),
            None => "/".to_owned(),
        };
        let found = rustix::fs::fstat(&dir.fd)
            .map_err(std::io::Error::from)
            .and_then(|stat| {
                let mut found = local::node_of(&node.name, NodeKind::Directory, &stat);
                found.xattrs = local::xattrs_of_fd(&dir.fd)?;
                Ok(found)
            });
        match found {
            Ok(found) => compare_attributes(self.shared, node, &found, &path),
            Err(error) => self
                .shared
                .differs(path(), DifferenceClass::Unreadable, error),
        }
    }

    /// One node further; false at the end.
    fn step(&mut self) -> Result<bool> {
        self.shared.reading.check()?;
        let Some(mut frame) = self.stack.pop() else {
            return Ok(false);
        };
        let node = match frame.pending.take() {
            Some(node) => Some(node),
            None => frame.tree.next_node()?,
        };
        let name = node.as_ref().map(|node| node.name.as_slice());
        let extra_first = frame
            .present
            .peek()
            .is_some_and(|p| name.is_none_or(|name| p.as_slice() < name));
        let directory = node
            .as_ref()
            .is_some_and(|node| node.kind == NodeKind::Directory);
        let full = frame.batch.len() >= BATCH;
        if !frame.batch.is_empty() && (extra_first || directory || full || node.is_none()) {
            self.flush(&mut frame)?;
        }
        if extra_first {
            self.extra(&mut frame)?;
            frame.pending = node;
            self.keep_or_leave(frame, false)?;
            return Ok(true);
        }
        let Some(node) = node else {
            self.keep_or_leave(frame, true)?;
            return Ok(true);
        };
        frame.present.next_if(|present| *present == node.name);
        if directory {
            let dir = self.open(&frame, &node);
            self.stack.push(frame);
            self.enter(node, dir)?;
        } else {
            Progress::add(&self.shared.reading.progress.bytes_total, node.size);
            self.link(&frame, &node);
            frame.batch.push(node);
            self.stack.push(frame);
        }
        Ok(true)
    }

    fn keep_or_leave(&mut self, frame: Frame, leave: bool) -> Result<()> {
        if leave {
            return self.send(Item::Leave {
                there: frame.dir.is_some(),
            });
        }
        self.stack.push(frame);
        Ok(())
    }

    fn flush(&self, frame: &mut Frame) -> Result<()> {
        let nodes = std::mem::take(&mut frame.batch);
        let (reply, promise) = bounded(1);
        self.send(Item::Entries(promise))?;
        let batch = Batch {
            dir: frame.dir.clone(),
            nodes,
            reply,
        };
        self.batches.send(batch).map_err(|_| Error::Cancelled)
    }

    fn extra(&self, frame: &mut Frame) -> Result<()> {
        let (Some(dir), Some(name)) = (&frame.dir, frame.present.next()) else {
            return Ok(());
        };
        if dir.above.is_none() && matches!(name.as_slice(), b"lost+found" | b".snapshot") {
            return Ok(());
        }
        let stat = local::stat_at(dir.fd.as_fd(), &name);
        let kind = stat
            .as_ref()
            .ok()
            .and_then(local::kind_of)
            .unwrap_or(NodeKind::File);
        self.shared
            .differs(dir.path(&name), DifferenceClass::Extra, kind.as_str());
        self.send(Item::Extra(Box::new(Node::new(name, kind, 0))))
    }

    /// Opens the target's directory, or tells why not.
    fn open(&self, frame: &Frame, node: &Node) -> Option<Arc<Dir>> {
        let above = frame.dir.as_ref()?;
        match local::open_at(above.fd.as_fd(), &node.name, OFlags::DIRECTORY) {
            Ok(fd) => Some(Dir::below(above, fd, node.name.clone())),
            Err(error) => {
                let class = match error.kind() {
                    std::io::ErrorKind::NotFound => DifferenceClass::Missing,
                    std::io::ErrorKind::NotADirectory => DifferenceClass::Kind,
                    _ => DifferenceClass::Unreadable,
                };
                self.shared.differs(above.path(&node.name), class, error);
                None
            }
        }
    }

    /// Links of one file must be links of one file.
    fn link(&mut self, frame: &Frame, node: &Node) {
        let Some(dir) = frame.dir.as_ref().filter(|_| node.links > 1) else {
            return;
        };
        #[allow(clippy::unnecessary_cast)] // Their width differs between architectures.
        let found = local::stat_at(dir.fd.as_fd(), &node.name)
            .ok()
            .map(|stat| (stat.st_ino as u64, stat.st_dev as u64));
        let first = self
            .links
            .entry((node.inode, node.device_id))
            .or_insert(found);
        if *first != found && found.is_some() {
            let class = DifferenceClass::Attribute(LossClass::HardLink);
            self.shared
                .differs(dir.path(&node.name), class, "not a link of the same file");
        }
    }
}
