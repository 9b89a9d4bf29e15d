//! Large files and devices: readers read and cut, the workers hash, compress and seal.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::Stat;

use super::super::chunker::HUGE;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::pool::Pooled;
use super::super::progress::Progress;
use super::super::sha;
use super::super::writer::Packer;
use super::checkpoint::{Reading, Segment};
use super::cutter::{Cutter, Failure};
use super::segments::{Span, segments};
use super::worker::{TRIES, reply_to, same_content};
use super::{Dir, ProblemKind, Shared};

/// Threads that read one file: one alone is slower than two that hash what it reads. A huge one, of huge chunks, has one.
const HANDS: usize = 2;

/// A file or a part of a device to be read.
pub(in super::super) struct LargeJob {
    file: Arc<File>,
    node: Node,
    source: Source,
    reply: Sender<Option<Vec<u8>>>,
}

enum Source {
    File {
        dir: Arc<Dir>,
        stat: Box<Stat>,
        reading: Arc<Reading>,
    },
    /// `node.size` bytes of a device from this offset.
    Extent { offset: u64, path: String },
}

impl LargeJob {
    pub(super) fn file(
        file: File,
        stat: Stat,
        node: Node,
        dir: Arc<Dir>,
        reading: Arc<Reading>,
        reply: Sender<Option<Vec<u8>>>,
    ) -> Self {
        let source = Source::File {
            dir,
            stat: Box::new(stat),
            reading,
        };
        LargeJob {
            file: Arc::new(file),
            node,
            source,
            reply,
        }
    }

    /// The node must have its size; its content is filled in. The reply is `None` if it is all zeros.
    pub(in super::super) fn extent(
        file: Arc<File>,
        offset: u64,
        node: Node,
        path: String,
        reply: Sender<Option<Vec<u8>>>,
    ) -> Self {
        LargeJob {
            file,
            node,
            source: Source::Extent { offset, path },
            reply,
        }
    }
}

/// A piece of a file for a worker to store.
pub(super) struct Chunk {
    pub(super) piece: Piece,
    pub(super) number: u32,
    pub(super) reply: Sender<(u32, Id)>,
}

pub(super) enum Piece {
    Data(Arc<Pooled>, Range<usize>),
    Zeros(usize),
}

impl Piece {
    /// What there is to hash.
    fn data(&self) -> Option<&[u8]> {
        match self {
            Piece::Data(buffer, range) => Some(&buffer[range.clone()]),
            Piece::Zeros(_) => None,
        }
    }
}

/// Stores a chunk or two, which are hashed in the time of one, and tells their readers the ids.
pub(super) fn store_chunks(
    shared: &Shared<'_>,
    packer: &mut Packer,
    first: Chunk,
    second: Option<Chunk>,
) -> Result<()> {
    let next = second.as_ref().and_then(|second| second.piece.data());
    let (first_id, second_id) = match first.piece.data().zip(next) {
        Some((first, second)) => Some(sha::pair(first, second)).unzip(),
        None => (None, None),
    };
    store_chunk(shared, packer, first, first_id)?;
    match second {
        Some(second) => store_chunk(shared, packer, second, second_id),
        None => Ok(()),
    }
}

/// Stores a chunk, whose id may be known already.
fn store_chunk(
    shared: &Shared<'_>,
    packer: &mut Packer,
    chunk: Chunk,
    known: Option<Id>,
) -> Result<()> {
    let (id, length) = match &chunk.piece {
        Piece::Data(buffer, range) => {
            let data = &buffer[range.clone()];
            let id = known.unwrap_or_else(|| Id::of(data));
            packer.store_as(id, data)?;
            (id, data.len())
        }
        Piece::Zeros(length) => (packer.store_zeros(*length)?, *length),
    };
    Progress::add(&shared.progress.bytes_done, length as u64);
    Progress::add(&shared.read, 1);
    reply_to(chunk, id);
    Ok(())
}

/// Serves jobs until nobody can send one any more.
pub(super) fn run(
    shared: &Shared<'_>,
    jobs: &Receiver<LargeJob>,
    chunks: &Sender<Chunk>,
) -> Result<()> {
    for job in jobs {
        shared.check()?;
        let LargeJob {
            file,
            node,
            source,
            reply,
        } = job;
        let finished = match source {
            Source::File { dir, stat, reading } => {
                read_file(shared, chunks, &file, node, &dir, *stat, &reading)?
            }
            Source::Extent { offset, path } => {
                read_extent(shared, chunks, &file, node, offset, &path)?
            }
        };
        if let Some(node) = &finished {
            shared.count(node);
        }
        let json = finished.map(|node| {
            let mut json = Vec::new();
            node.write_json(&mut json);
            json
        });
        reply.send(json).map_err(|_| Error::Cancelled)?;
    }
    Ok(())
}

/// Reads a file until it holds still. `None` if it cannot be read, which is told.
fn read_file(
    shared: &Shared<'_>,
    chunks: &Sender<Chunk>,
    file: &File,
    mut node: Node,
    dir: &Dir,
    mut stat: Stat,
    reading: &Reading,
) -> Result<Option<Node>> {
    for attempt in 1..=TRIES {
        let read = read_content(shared, chunks, file, &mut node, &stat, reading);
        let read = match read {
            Ok(length) => rustix::fs::fstat(file)
                .map(|after| (length, after))
                .map_err(io::Error::from),
            Err(Failure::Local(error)) => Err(error),
            Err(Failure::Fatal(error)) => return Err(error),
        };
        let (length, after) = match read {
            Ok(read) => read,
            Err(error) => {
                shared.problem(dir.path(&node.name), ProblemKind::Unreadable, error);
                return Ok(None);
            }
        };
        if same_content(&stat, &after) && length == node.size {
            return Ok(Some(node));
        }
        let fresh = local::node_to_read(&node.name, NodeKind::File, &after);
        node = node.changed(fresh);
        if attempt == TRIES {
            node.size = length;
            shared.torn(dir, &mut node);
        }
        stat = after;
    }
    Ok(Some(node))
}

/// Reads a file once, and gives its node holes and content. Returns how long it was.
fn read_content(
    shared: &Shared<'_>,
    chunks: &Sender<Chunk>,
    file: &File,
    node: &mut Node,
    stat: &Stat,
    reading: &Reading,
) -> Result<u64, Failure> {
    node.holes = match local::is_sparse(stat) {
        true => local::holes_of(file, node.size)?,
        false => Vec::new(),
    };
    let (segments, huge) = (segments(node.size, &node.holes), node.size > HUGE);
    let length = |spans: &Vec<Span>| spans.iter().map(Span::length).sum();
    let lengths: Vec<u64> = segments.iter().map(length).collect();
    (shared.checkpoints).begin(reading, node, &lengths, shared.progress);
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(spans) = segments.get(number) else {
                return Ok(());
            };
            if reading.has(number) {
                continue;
            }
            let mut cutter = Cutter::new(shared, chunks, file);
            if let Err(failure) = cutter.segment(spans, huge) {
                next.store(segments.len(), Ordering::Relaxed);
                return Err(failure);
            }
            let length = cutter.total;
            let content = cutter.finish()?;
            reading.set(number, Segment { length, content });
        }
    };
    let hands = if huge { 1 } else { HANDS };
    std::thread::scope(|scope| {
        let helpers = 1..hands.min(segments.len());
        let helpers: Vec<_> = helpers.map(|_| scope.spawn(work)).collect();
        helpers.into_iter().fold(work(), |done, helper| {
            let helped = helper.join();
            done.and(helped.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    })?;
    let mut length = 0;
    node.content.clear();
    for (segment, expected) in reading.segments().into_iter().zip(lengths) {
        length += segment.length;
        node.content.extend(segment.content);
        // What was read behind a new end was read before it: nothing belongs there any more.
        if segment.length < expected {
            break;
        }
    }
    Ok(length)
}

/// Reads an extent of a device in fixed blocks. `None` if it is all zeros.
fn read_extent(
    shared: &Shared<'_>,
    chunks: &Sender<Chunk>,
    file: &File,
    mut node: Node,
    offset: u64,
    path: &str,
) -> Result<Option<Node>> {
    let mut cutter = Cutter::new(shared, chunks, file);
    match cutter.extent(offset, node.size) {
        Ok(()) => {}
        Err(Failure::Fatal(error)) => return Err(error),
        // A hole in a device's data would be silent corruption: there is no partial capture of a device.
        Err(Failure::Local(source)) => {
            let path = path.to_owned();
            return Err(Error::Local {
                operation: "read the device",
                path,
                source,
            });
        }
    }
    let empty = cutter.all_zeros;
    node.content = cutter.finish()?;
    Ok((!empty).then_some(node))
}
