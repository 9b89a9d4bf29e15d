//! The cutter: reads a file or a device piece by piece, and cuts it into chunks for the workers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::pool::Pooled;
use super::super::progress::receive;
use super::Shared;
use super::large::{Chunk, Piece};
use super::segments::Span;

/// Size of a read buffer: four times the largest chunk of ordinary files.
pub(super) const BUFFER: usize = 8 << 20;
/// A buffer for huge files, whose chunks may be as large as the ordinary buffer.
const HUGE_BUFFER: usize = 16 << 20;
/// A hole is stored as blobs of zeros of this many bytes: one blob and two remainders, however long the hole.
const ZEROS: u64 = 4 << 20;
/// Chunks of a device have this size, whatever they hold: a change never moves a cut.
pub(in super::super) const BLOCK: usize = 1 << 20;

/// Why a read ended: the source's fault, or the run's.
pub(super) enum Failure {
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
pub(super) struct Cutter<'a> {
    shared: &'a Shared<'a>,
    chunks: &'a Sender<Chunk>,
    file: &'a File,
    number: u32,
    /// Bytes cut so far.
    pub(super) total: u64,
    pub(super) all_zeros: bool,
    reply: Sender<(u32, Id)>,
    ids: Receiver<(u32, Id)>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, chunks: &'a Sender<Chunk>, file: &'a File) -> Self {
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
    pub(super) fn finish(self) -> Result<Vec<Id>> {
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

    pub(super) fn segment(&mut self, spans: &[Span], huge: bool) -> Result<(), Failure> {
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

    pub(super) fn extent(&mut self, offset: u64, length: u64) -> Result<(), Failure> {
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
