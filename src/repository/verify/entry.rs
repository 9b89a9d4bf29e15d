//! The workers of a comparison: stat, attributes, and the hash of every blob's range.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::OFlags;

use super::super::error::{Error, Result};
use super::super::local;
use super::super::node::{Node, NodeKind, Xattr};
use super::super::progress::Progress;
use super::content::{Content, Piece};
use super::walk::Dir;
use super::{DifferenceClass, LossClass, Shared};

/// Consecutive nodes of one directory to be compared with the target's.
pub(super) struct Batch {
    pub(super) dir: Option<Arc<Dir>>,
    pub(super) nodes: Vec<Node>,
    pub(super) reply: Sender<Vec<Pair>>,
}

/// A node, and what the target has in its place.
pub(super) struct Pair {
    pub(super) expected: Node,
    pub(super) found: Option<Node>,
}

/// Serves batches until there are no more.
pub(super) fn run(shared: &Shared<'_>, batches: &Receiver<Batch>) -> Result<()> {
    let mut worker = Worker {
        shared,
        content: Content::default(),
    };
    for Batch { dir, nodes, reply } in batches {
        let mut pairs = Vec::with_capacity(nodes.len());
        for expected in nodes {
            shared.reading.check()?;
            let found = match &dir {
                Some(dir) => worker.compare(dir, &expected)?,
                None => None,
            };
            Progress::add(&shared.reading.progress.files_done, 1);
            pairs.push(Pair { expected, found });
        }
        reply.send(pairs).map_err(|_| Error::Cancelled)?;
    }
    Ok(())
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    content: Content,
}

impl Worker<'_> {
    fn compare(&mut self, dir: &Dir, expected: &Node) -> Result<Option<Node>> {
        let path = || dir.path(&expected.name);
        let stat = match local::stat_at(dir.fd.as_fd(), &expected.name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let class = match expected.kind {
                    NodeKind::File | NodeKind::Directory | NodeKind::Symlink => {
                        DifferenceClass::Missing
                    }
                    // What a target may refuse to make.
                    _ => DifferenceClass::Attribute(LossClass::Special),
                };
                let detail = format!("missing: {}", expected.kind.as_str());
                self.shared.differs(path(), class, detail);
                return Ok(None);
            }
            Err(error) => {
                self.shared
                    .differs(path(), DifferenceClass::Unreadable, error);
                return Ok(None);
            }
        };
        let kind = local::kind_of(&stat).unwrap_or(NodeKind::Socket);
        let mut found = local::node_of(&expected.name, kind, &stat);
        if kind != expected.kind {
            let detail = format!(
                "{} expected, {} found",
                expected.kind.as_str(),
                kind.as_str()
            );
            self.shared.differs(path(), DifferenceClass::Kind, detail);
            return Ok(Some(found));
        }
        let read = match kind {
            NodeKind::File => self.file(dir, expected, &mut found)?,
            _ => other(dir, &mut found),
        };
        if let Err(error) = read {
            self.shared
                .differs(path(), DifferenceClass::Unreadable, error);
            return Ok(Some(found));
        }
        let same = found.content == expected.content
            && found.size == expected.size
            && found.link_target == expected.link_target
            && found.device == expected.device;
        if !same {
            self.shared.differs(
                path(),
                DifferenceClass::Content,
                content_detail(expected, &found),
            );
        }
        compare_attributes(self.shared, expected, &found, &path);
        Ok(Some(found))
    }

    /// Hashes the file in the snapshot's pieces. What lies beyond them shows in the size.
    fn file(&mut self, dir: &Dir, expected: &Node, found: &mut Node) -> Result<io::Result<()>> {
        let file = match local::open_at(dir.fd.as_fd(), &expected.name, OFlags::empty()) {
            Ok(fd) => File::from(fd),
            Err(error) => return Ok(Err(error)),
        };
        match local::xattrs_of_fd(&file) {
            Ok(xattrs) => found.xattrs = xattrs,
            Err(error) => return Ok(Err(error)),
        }
        let mut pieces = Vec::with_capacity(expected.content.len());
        let mut offset = 0;
        for id in &expected.content {
            let length = self.shared.repository.locate(id)?.plain_length() as usize;
            pieces.push(Piece { offset, length });
            offset += length as u64;
        }
        Ok(self
            .content
            .ids(&self.shared.reading, &file, &pieces)?
            .map(|ids| found.content = ids))
    }
}

/// Reads what is known of an entry that is neither a file nor a directory.
pub(super) fn other(dir: &Dir, found: &mut Node) -> io::Result<()> {
    if found.kind == NodeKind::Symlink {
        found.link_target =
            rustix::fs::readlinkat(&dir.fd, found.name.as_slice(), Vec::new())?.into_bytes();
    }
    found.xattrs = local::xattrs_at(dir.fd.as_fd(), &found.name)?;
    Ok(())
}

fn content_detail(expected: &Node, found: &Node) -> String {
    if expected.size != found.size {
        return format!("{} bytes expected, {} found", expected.size, found.size);
    }
    if expected.kind == NodeKind::Symlink {
        let (a, b) = (
            local::display(&expected.link_target),
            local::display(&found.link_target),
        );
        return format!("target {a:?} expected, {b:?} found");
    }
    if expected.device != found.device {
        return format!(
            "device {} expected, {} found",
            expected.device, found.device
        );
    }
    let pairs = expected.content.iter().zip(&found.content);
    let wrong = pairs.filter(|(a, b)| a != b).count();
    format!("{wrong} of {} pieces differ", expected.content.len())
}

/// Reports every attribute that differs, each under the class a restore would report its loss.
pub(super) fn compare_attributes(
    shared: &Shared<'_>,
    expected: &Node,
    found: &Node,
    path: &dyn Fn() -> String,
) {
    let differs = |class, detail: String| {
        shared.differs(path(), DifferenceClass::Attribute(class), detail);
    };
    if (expected.uid, expected.gid) != (found.uid, found.gid) {
        let detail = format!(
            "{}:{} expected, {}:{} found",
            expected.uid, expected.gid, found.uid, found.gid
        );
        differs(LossClass::Owner, detail);
    }
    // A symbolic link has no mode of its own.
    if expected.kind != NodeKind::Symlink && expected.mode != found.mode {
        differs(
            LossClass::Mode,
            format!("{:04o} expected, {:04o} found", expected.mode, found.mode),
        );
    }
    if expected.mtime != found.mtime {
        differs(
            LossClass::Times,
            format!("{:?} expected, {:?} found", expected.mtime, found.mtime),
        );
    }
    let compared = |xattr: &&Xattr| shared.options.selinux || xattr.name != b"security.selinux";
    let missing = |a: &Node, b: &Node| -> Vec<Xattr> {
        a.xattrs
            .iter()
            .filter(compared)
            .filter(|x| !b.xattrs.contains(x))
            .cloned()
            .collect()
    };
    for xattr in missing(expected, found) {
        let class = LossClass::of_xattr(&xattr.name);
        differs(
            class,
            format!("{} missing or different", local::display(&xattr.name)),
        );
    }
    for xattr in missing(found, expected) {
        if !expected.xattrs.iter().any(|own| own.name == xattr.name) {
            let class = LossClass::of_xattr(&xattr.name);
            differs(
                class,
                format!("{} not expected", local::display(&xattr.name)),
            );
        }
    }
}
