//! What is in a file, by the ids of the pieces that the snapshot has of it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::progress::Progress;
use super::super::sha;
use super::Reading;

/// Pieces from which on the threads that have nothing else to do help with a file.
const LARGE: usize = 64;
/// Pieces that a thread takes at one time.
const RUN: usize = 8;
/// Holes at least this long are not read.
const HOLE: usize = 1 << 20;

/// A piece of a file.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// Hashes pieces, with buffers that are used again.
#[derive(Default)]
pub(super) struct Content {
    buffers: [Vec<u8>; 2],
    /// The id of the last run of zeros asked for.
    zeros: Option<(usize, Id)>,
}

impl Content {
    /// The ids of `pieces`, or why they cannot be read.
    pub(super) fn ids(
        &mut self,
        reading: &Reading<'_>,
        file: &File,
        pieces: &[Piece],
    ) -> Result<io::Result<Vec<Id>>> {
        let helpers = match pieces.len() >= LARGE {
            true => reading.helpers.swap(0, Ordering::AcqRel),
            false => 0,
        };
        let (next, ids) = (
            AtomicUsize::new(0),
            Mutex::new(vec![Id([0; 32]); pieces.len()]),
        );
        let work = |content: &mut Content| -> Result<io::Result<()>> {
            loop {
                let start = next.fetch_add(RUN, Ordering::Relaxed);
                let Some(rest) = pieces.get(start..).filter(|rest| !rest.is_empty()) else {
                    return Ok(Ok(()));
                };
                match content.run(reading, file, &rest[..RUN.min(rest.len())])? {
                    Ok(run) => {
                        let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
                        ids[start..start + run.len()].copy_from_slice(&run);
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let done = std::thread::scope(|scope| {
            let helping: Vec<_> = (0..helpers)
                .map(|_| scope.spawn(|| work(&mut Content::default())))
                .collect();
            let mut done = work(self);
            for helper in helping {
                let helped = helper.join().unwrap_or(Err(Error::Cancelled));
                if matches!(done, Ok(Ok(()))) {
                    done = helped;
                }
            }
            done
        });
        reading.helpers.fetch_add(helpers, Ordering::AcqRel);
        let ids = ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(done?.map(|()| ids))
    }

    /// The ids of some pieces, two at a time.
    fn run(
        &mut self,
        reading: &Reading<'_>,
        file: &File,
        pieces: &[Piece],
    ) -> Result<io::Result<Vec<Id>>> {
        let mut ids = Vec::with_capacity(pieces.len());
        for two in pieces.chunks(2) {
            reading.check()?;
            match self.two(file, two) {
                Ok(found) => ids.extend(found.into_iter().take(two.len())),
                Err(error) => return Ok(Err(error)),
            }
            let length: usize = two.iter().map(|piece| piece.length).sum();
            Progress::add(&reading.progress.bytes_done, length as u64);
        }
        Ok(Ok(ids))
    }

    fn two(&mut self, file: &File, pieces: &[Piece]) -> io::Result<[Id; 2]> {
        let mut known = [None; 2];
        let mut lengths = [0; 2];
        for (slot, piece) in pieces.iter().enumerate() {
            // A long hole is not read: it is what it is.
            if piece.length >= HOLE && in_hole(file, *piece) {
                known[slot] = Some(self.zeros(piece.length));
            } else {
                lengths[slot] = read(file, *piece, &mut self.buffers[slot])?;
            }
        }
        let [a, b] = &self.buffers;
        let (a, b) = (&a[..lengths[0]], &b[..lengths[1]]);
        let (a, b) = match known {
            [None, None] if pieces.len() == 2 => sha::pair(a, b),
            [first, second] => (
                first.unwrap_or_else(|| Id::of(a)),
                second.unwrap_or_else(|| Id::of(b)),
            ),
        };
        Ok([a, b])
    }

    fn zeros(&mut self, length: usize) -> Id {
        match self.zeros {
            Some((cached, id)) if cached == length => id,
            _ => {
                let id = Id::of(&vec![0; length]);
                self.zeros = Some((length, id));
                id
            }
        }
    }
}

/// Reads a piece to the beginning of `buffer`. Returns how much of it there is.
fn read(file: &File, piece: Piece, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.len() < piece.length {
        buffer.resize(piece.length, 0);
    }
    let mut got = 0;
    while got < piece.length {
        match file.read_at(&mut buffer[got..piece.length], piece.offset + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn in_hole(file: &File, piece: Piece) -> bool {
    let end = piece.offset + piece.length as u64;
    if file.metadata().map_or(0, |meta| meta.len()) < end {
        return false;
    }
    match rustix::fs::seek(file.as_fd(), SeekFrom::Data(piece.offset)) {
        Ok(data) => data >= end,
        Err(error) => error == Errno::NXIO,
    }
}
