//! The workers: names become nodes, content becomes blobs.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crossbeam_channel::{TryRecvError, bounded, never, select};
use rustix::fs::{OFlags, Stat};

use super::super::error::{Error, Result};
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::pack::BlobKind;
use super::super::progress::Progress;
use super::super::writer::Packer;
use super::large::{self, Chunk, LargeJob};
use super::walk::{Batch, Part};
use super::{Dir, ProblemKind, Shared, Work};

/// Files above this many bytes go to a reader, which cuts them into chunks for all workers.
const LARGE_FILE: u64 = 8 << 20;
/// A file that changed while it was read is read again this often.
pub(super) const TRIES: u32 = 3;

/// Serves batches and chunks until both queues are closed. Chunks come first: their readers hold memory.
pub(super) fn run(shared: &Shared<'_>, work: Work) -> Result<()> {
    let Work {
        mut batches,
        chunks,
        large,
    } = work;
    let mut worker = Worker {
        shared,
        packer: shared.writer.packer(BlobKind::Data)?,
        buffer: Vec::new(),
    };
    // Readers live as long as somebody may still send them a file: as long as there are batches.
    let mut large = Some(large);
    loop {
        shared.check()?;
        match chunks.try_recv() {
            Ok(chunk) => {
                large::store_chunks(shared, &mut worker.packer, chunk, chunks.try_recv().ok())?;
                continue;
            }
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {}
        }
        select! {
            recv(chunks) -> chunk => match chunk {
                Ok(chunk) => large::store_chunks(shared, &mut worker.packer, chunk, None)?,
                Err(_) => break,
            },
            recv(batches) -> batch => match batch {
                Ok(batch) => {
                    let sender = large.as_ref().ok_or(Error::Cancelled)?;
                    worker.batch(batch, |job| sender.send(job).map_err(|_| Error::Cancelled))?;
                }
                Err(_) => {
                    large = None;
                    batches = never();
                }
            },
        }
    }
    worker.packer.flush()
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    packer: Packer,
    buffer: Vec<u8>,
}

/// What became of a name.
enum Outcome {
    /// It is as it was in the parent.
    Unchanged,
    /// It is new or changed.
    Node(Box<Node>),
    /// A reader has it.
    Later(Part),
    /// It is a problem, already told.
    Nothing,
}

impl Worker<'_> {
    fn batch(&mut self, batch: Batch, send: impl Fn(LargeJob) -> Result<()>) -> Result<()> {
        let mut parts = Vec::new();
        let mut json = Vec::new();
        for (name, old) in batch.entries() {
            self.shared.check()?;
            let before = json.len();
            if before > 0 {
                json.push(b',');
            }
            match self.entry(&batch.dir, name, old, &send)? {
                Outcome::Unchanged => {
                    json.extend_from_slice(old);
                    Progress::add(&self.shared.unchanged, 1);
                }
                Outcome::Node(node) => {
                    node.write_json(&mut json);
                    self.shared.count(&node);
                    Progress::add(&self.shared.read, 1);
                }
                Outcome::Later(part) => {
                    json.truncate(before);
                    if !json.is_empty() {
                        parts.push(Part::Json(std::mem::take(&mut json)));
                    }
                    parts.push(part);
                }
                Outcome::Nothing => json.truncate(before),
            }
        }
        if !json.is_empty() {
            parts.push(Part::Json(json));
        }
        // Nobody waits for it any more only if the run was stopped.
        batch.reply.send(parts).map_err(|_| Error::Cancelled)
    }

    fn entry(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        old: &[u8],
        send: &impl Fn(LargeJob) -> Result<()>,
    ) -> Result<Outcome> {
        let stat = match local::stat_at(dir.fd.as_fd(), name) {
            Ok(stat) => stat,
            Err(error) => return Ok(self.lost(dir, name, &error)),
        };
        let Some(kind) = local::kind_of(&stat) else {
            let cause = format!("file type {:o}", stat.st_mode >> 12);
            self.shared
                .problem(dir.path(name), ProblemKind::Unsupported, cause);
            return Ok(Outcome::Nothing);
        };
        if !old.is_empty() && self.unchanged(old, kind, &stat) {
            return Ok(Outcome::Unchanged);
        }
        match kind {
            NodeKind::File => self.file(dir, name, send),
            NodeKind::Directory => {
                let cause = "it became a directory after it was listed";
                self.shared
                    .problem(dir.path(name), ProblemKind::Unreadable, cause);
                Ok(Outcome::Nothing)
            }
            _ => Ok(self.other(dir, name, kind, &stat)),
        }
    }

    /// Any change of content, attributes, owner, mode or name moves ctime; size, mtime and inode guard against
    /// file systems that are careless with it.
    fn unchanged(&self, old: &[u8], kind: NodeKind, stat: &Stat) -> bool {
        let Ok(node) = Node::parse(old) else {
            return false;
        };
        let fresh = local::node_of(&node.name, kind, stat);
        let same = node.is_trusted()
            && node.kind == kind
            && node.ctime == fresh.ctime
            && node.mtime == fresh.mtime
            && node.size == fresh.size
            && node.inode == fresh.inode;
        let taken = same && self.shared.take_over(&node);
        if taken {
            Progress::add(&self.shared.progress.bytes_total, node.size);
        }
        taken
    }

    fn lost(&self, dir: &Dir, name: &[u8], error: &io::Error) -> Outcome {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ProblemKind::Vanished,
            _ => ProblemKind::Unreadable,
        };
        self.shared.problem(dir.path(name), kind, error);
        Outcome::Nothing
    }

    fn lacks_attributes(&self, dir: &Dir, node: &mut Node, cause: io::Error) {
        node.distrust();
        self.shared
            .problem(dir.path(&node.name), ProblemKind::Attributes, cause);
    }

    fn other(&self, dir: &Dir, name: &[u8], kind: NodeKind, stat: &Stat) -> Outcome {
        let mut node = local::node_to_read(name, kind, stat);
        if kind == NodeKind::Symlink {
            match rustix::fs::readlinkat(&dir.fd, name, Vec::new()) {
                Ok(target) => node.link_target = target.into_bytes(),
                Err(errno) => return self.lost(dir, name, &errno.into()),
            }
        }
        match local::xattrs_at(dir.fd.as_fd(), name) {
            Ok(xattrs) => node.xattrs = xattrs,
            Err(error) => self.lacks_attributes(dir, &mut node, error),
        }
        Outcome::Node(Box::new(node))
    }

    fn file(
        &mut self,
        dir: &Arc<Dir>,
        name: &[u8],
        send: &impl Fn(LargeJob) -> Result<()>,
    ) -> Result<Outcome> {
        let opened = open_file(dir, name);
        let (file, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(self.lost(dir, name, &error)),
        };
        let mut node = local::node_to_read(name, NodeKind::File, &stat);
        match local::xattrs_of_fd(&file) {
            Ok(xattrs) => node.xattrs = xattrs,
            Err(error) => self.lacks_attributes(dir, &mut node, error),
        }
        Progress::add(&self.shared.progress.bytes_total, node.size);
        if node.size > LARGE_FILE {
            let (reply, promise) = bounded(1);
            let reading = self.shared.checkpoints.reading();
            let part = Part::Later(promise, Some(Arc::clone(&reading)));
            send(LargeJob::file(
                file,
                stat,
                node,
                Arc::clone(dir),
                reading,
                reply,
            ))?;
            return Ok(Outcome::Later(part));
        }
        self.small_file(dir, name, &file, stat, node)
    }

    fn small_file(
        &mut self,
        dir: &Dir,
        name: &[u8],
        file: &File,
        mut stat: Stat,
        mut node: Node,
    ) -> Result<Outcome> {
        for attempt in 1..=TRIES {
            let read = read_whole(file, &stat, &mut self.buffer, &mut node);
            let after = match read.and_then(|()| Ok(rustix::fs::fstat(file)?)) {
                Ok(after) => after,
                Err(error) => return Ok(self.lost(dir, name, &error)),
            };
            let length = self.buffer.len() as u64;
            if same_content(&stat, &after) && length == node.size {
                break;
            }
            node = node.changed(local::node_to_read(name, NodeKind::File, &after));
            node.size = length;
            if attempt == TRIES {
                self.shared.torn(dir, &mut node);
            }
            stat = after;
        }
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let (blob, after) = rest.split_at(self.shared.normal.cut(rest));
            node.content.push(self.packer.store(blob)?.0);
            rest = after;
        }
        Progress::add(&self.shared.progress.bytes_done, node.size);
        Ok(Outcome::Node(Box::new(node)))
    }
}

/// Opens a regular file and makes sure that it still is one.
fn open_file(dir: &Dir, name: &[u8]) -> io::Result<(File, Stat)> {
    let file = File::from(local::open_at(dir.fd.as_fd(), name, OFlags::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    match local::kind_of(&stat) {
        Some(NodeKind::File) => Ok((file, stat)),
        _ => Err(io::Error::other(
            "it was replaced by something else after it was listed",
        )),
    }
}

/// Whether a file was left alone between two looks at it.
pub(super) fn same_content(before: &Stat, after: &Stat) -> bool {
    before.st_size == after.st_size
        && local::mtime_of(before) == local::mtime_of(after)
        && local::ctime_of(before) == local::ctime_of(after)
}

fn read_whole(file: &File, stat: &Stat, buffer: &mut Vec<u8>, node: &mut Node) -> io::Result<()> {
    if local::is_sparse(stat) {
        node.holes = local::holes_of(file, node.size)?;
    }
    // One byte more than expected, to see growth without another call. By position, so that a second attempt starts
    // at the beginning and `SEEK_HOLE` does not disturb it.
    let limit = node.size as usize + 1;
    buffer.resize(limit, 0);
    let mut got = 0;
    while got < limit {
        match file.read_at(&mut buffer[got..], got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // A regular file gives less than it was asked for at its end only.
        if got as u64 == node.size {
            break;
        }
    }
    buffer.truncate(got);
    Ok(())
}

/// Tells a chunk's id. Nobody waits for it any more if the rest of its file could not be read.
pub(super) fn reply_to(chunk: Chunk, id: super::super::id::Id) {
    chunk.reply.send((chunk.number, id)).ok();
}
