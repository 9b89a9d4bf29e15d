//! Large files and devices: readers read and cut, the workers hash, compress and seal.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::buffer::spare_capacity;
use rustix::fs::Stat;
use rustix::io::Errno;

use super::super::chunker::HUGE;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::super::pool::Pooled;
use super::super::progress::{Progress, receive};
use super::super::sha;
use super::super::writer::Packer;
use super::checkpoint::{Reading, Segment};
use super::worker::{TRIES, reply_to, same_content};
use super::{Dir, ProblemKind, Shared};

/// Size of a read buffer: four times the largest chunk of ordinary files.
pub(super) const BUFFER: usize = 8 << 20;
/// A buffer for huge files, whose chunks may be as large as the ordinary buffer.
const HUGE_BUFFER: usize = 16 << 20;
/// Holes at least this long are not read and cut the file; shorter ones are read as the zeros they are.
const HOLE: u64 = 1 << 20;
/// A hole is stored as blobs of zeros of this many bytes: one blob and two remainders, however long the hole.
const ZEROS: u64 = 4 << 20;
/// A file is cut at every multiple of this many bytes, wherever its content would be: so several threads can read it.
const SEGMENT: u64 = 256 << 20;
/// Threads that read one file: one alone is slower than two that hash what it reads. A huge one, of huge chunks, has one.
const HANDS: usize = 2;
/// Chunks of a device have this size, whatever they hold: a change never moves a cut.
pub(in super::super) const BLOCK: usize = 1 << 20;

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
    piece: Piece,
    pub(super) number: u32,
    pub(super) reply: Sender<(u32, Id)>,
}

enum Piece {
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

/// A stretch of a file.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    range: Range<u64>,
    /// Not to be read.
    hole: bool,
}

impl Span {
    fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A file's stretches, in segments that can be read each by itself. The last goes one byte beyond the file's end, unless
/// that is a hole, so that growth is noticed.
fn segments(size: u64, holes: &[(u64, u64)]) -> Vec<Vec<Span>> {
    let mut segments: Vec<Vec<Span>> = Vec::new();
    let mut position = 0;
    let mut go_on = |to: u64, hole: bool| {
        while position < to {
            let end = (position - position % SEGMENT + SEGMENT).min(to);
            let range = position..end;
            let span = Span { range, hole };
            match segments.last_mut() {
                Some(segment) if position % SEGMENT > 0 => segment.push(span),
                _ => segments.push(vec![span]),
            }
            position = end;
        }
        position
    };
    for &(start, length) in holes.iter().filter(|(_, length)| *length >= HOLE) {
        go_on(start, false);
        go_on(start + length, true);
    }
    let ends_in_hole = go_on(0, false) == size && size > 0;
    if !ends_in_hole {
        go_on(size + 1, false);
    }
    segments
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

/// Why a read ended: the source's fault, or the run's.
enum Failure {
    Local(io::Error),
    Fatal(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Local(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Fatal(error)
    }
}

/// Cuts one file and collects the ids of its chunks.
struct Cutter<'a> {
    shared: &'a Shared<'a>,
    chunks: &'a Sender<Chunk>,
    file: &'a File,
    number: u32,
    total: u64,
    all_zeros: bool,
    reply: Sender<(u32, Id)>,
    ids: Receiver<(u32, Id)>,
}

impl<'a> Cutter<'a> {
    fn new(shared: &'a Shared<'a>, chunks: &'a Sender<Chunk>, file: &'a File) -> Self {
        let (reply, ids) = unbounded();
        Cutter {
            shared,
            chunks,
            file,
            number: 0,
            total: 0,
            all_zeros: true,
            reply,
            ids,
        }
    }

    fn send(&mut self, piece: Piece) -> Result<()> {
        self.total += match &piece {
            Piece::Data(_, range) => range.len() as u64,
            Piece::Zeros(length) => *length as u64,
        };
        let chunk = Chunk {
            piece,
            number: self.number,
            reply: self.reply.clone(),
        };
        self.number += 1;
        self.chunks.send(chunk).map_err(|_| Error::Cancelled)
    }

    /// Waits for the workers and returns the ids in order.
    fn finish(self) -> Result<Vec<Id>> {
        let Cutter {
            shared,
            number,
            reply,
            ids,
            ..
        } = self;
        drop(reply);
        let mut sorted = vec![None; number as usize];
        while let Some((number, id)) = receive(&ids, || shared.check())? {
            sorted[number as usize] = Some(id);
        }
        sorted
            .into_iter()
            .collect::<Option<_>>()
            .ok_or(Error::Cancelled)
    }

    fn segment(&mut self, spans: &[Span], huge: bool) -> Result<(), Failure> {
        for span in spans {
            match span.hole {
                true => self.zeros(span.length())?,
                false => self.data(span.range.clone(), huge)?,
            }
        }
        Ok(())
    }

    fn zeros(&mut self, mut length: u64) -> Result<(), Failure> {
        while length > 0 {
            self.shared.check()?;
            let piece = length.min(ZEROS);
            self.send(Piece::Zeros(piece as usize))?;
            length -= piece;
        }
        Ok(())
    }

    /// Cuts a range by content, as far as there is any.
    fn data(&mut self, range: Range<u64>, huge: bool) -> Result<(), Failure> {
        let chunker = match huge {
            true => &self.shared.large,
            false => &self.shared.normal,
        };
        let max = chunker.sizes().max;
        let Range {
            start: mut position,
            end,
        } = range;
        let mut carry: Option<(Arc<Pooled>, Range<usize>)> = None;
        loop {
            self.shared.check()?;
            let mut buffer = self.shared.buffers.take();
            if huge {
                buffer.reserve(HUGE_BUFFER);
            }
            if let Some((last, rest)) = carry.take() {
                buffer.extend_from_slice(&last[rest]);
            }
            let capacity = if huge { HUGE_BUFFER } else { BUFFER };
            let want = (capacity - buffer.len()).min((end - position) as usize);
            let got = self.fill(&mut buffer, position, want)?;
            position += got as u64;
            let last = got < want || position == end;
            let buffer = Arc::new(buffer);
            let mut start = 0;
            while start < buffer.len() && (last || buffer.len() - start >= max) {
                let length = chunker.cut(&buffer[start..]);
                self.send(Piece::Data(Arc::clone(&buffer), start..start + length))?;
                start += length;
            }
            if last {
                return Ok(());
            }
            carry = Some((Arc::clone(&buffer), start..buffer.len()));
        }
    }

    fn extent(&mut self, offset: u64, length: u64) -> Result<(), Failure> {
        let mut position = 0;
        while position < length {
            self.shared.check()?;
            let mut buffer = self.shared.buffers.take();
            let want = (length - position).min(BUFFER as u64) as usize;
            let got = self.fill(&mut buffer, offset + position, want)?;
            if got < want {
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the device became shorter");
                return Err(Failure::Local(error));
            }
            position += got as u64;
            let buffer = Arc::new(buffer);
            for start in (0..buffer.len()).step_by(BLOCK) {
                let range = start..(start + BLOCK).min(buffer.len());
                if is_zero(&buffer[range.clone()]) {
                    self.send(Piece::Zeros(range.len()))?;
                } else {
                    self.all_zeros = false;
                    self.send(Piece::Data(Arc::clone(&buffer), range))?;
                }
            }
        }
        Ok(())
    }

    /// Appends up to `want` bytes from `position`; fewer only at the end of the file.
    fn fill(&self, buffer: &mut Vec<u8>, position: u64, want: usize) -> io::Result<usize> {
        let start = buffer.len();
        buffer.reserve(want);
        while buffer.len() < start + want {
            let position = position + (buffer.len() - start) as u64;
            // Into memory as it is: zeroing it first would cost as much as hashing a tenth of it.
            match rustix::io::pread(self.file, spare_capacity(buffer), position) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The buffer may have had room for more than was asked for.
        buffer.truncate(start + want);
        Ok(buffer.len() - start)
    }
}

/// Whether all bytes are zero; compares with a block of zeros, which is a `memcmp`.
pub(in super::super) fn is_zero(data: &[u8]) -> bool {
    static ZERO: [u8; 4096] = [0; 4096];
    data.chunks(ZERO.len())
        .all(|part| *part == ZERO[..part.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(range: Range<u64>) -> Span {
        Span { range, hole: false }
    }

    fn hole(range: Range<u64>) -> Span {
        Span { range, hole: true }
    }

    #[test]
    fn segments_are_all_of_a_file_and_one_byte_that_should_not_be_there() {
        assert_eq!(segments(0, &[]), [[data(0..1)]]);
        assert_eq!(segments(7, &[]), [[data(0..8)]]);
        let past = SEGMENT..SEGMENT + 1;
        let two = [[data(0..SEGMENT)], [data(past)]];
        assert_eq!(segments(SEGMENT, &[]), two);
    }

    #[test]
    fn long_holes_are_cut_out_and_short_ones_are_not() {
        let (long, short) = ((HOLE, 2 * HOLE), (4 * HOLE, HOLE - 1));
        let spans = [
            data(0..HOLE),
            hole(HOLE..3 * HOLE),
            data(3 * HOLE..6 * HOLE + 1),
        ];
        assert_eq!(segments(6 * HOLE, &[long, short]), [spans]);
        // One that goes on in the next segment, to the file's end.
        let (start, size) = (SEGMENT - HOLE, SEGMENT + HOLE);
        let first = vec![data(0..start), hole(start..SEGMENT)];
        let all = [first, vec![hole(SEGMENT..size)]];
        assert_eq!(segments(size, &[(start, 2 * HOLE)]), all);
    }
}
