//! A window of content: what is missing is fetched in few requests, opened, checked, and written where it belongs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use futures::{StreamExt as _, TryStreamExt as _};

use super::super::Repository;
use super::super::backend::Kind;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::index::Location;
use super::super::progress::Progress;
use super::super::{crypto, sha};
use super::Shared;
use super::file::FileState;

/// Two blobs this close in a pack are one request: cheaper than another round trip.
const GAP: u64 = 128 << 10;
/// Bytes of one request.
const REQUEST: u64 = 8 << 20;
/// Requests of one window at one time.
const REQUESTS: usize = 8;

/// What content is written to.
pub(in super::super) trait Target {
    /// Whether the range may be a hole; whether its content is zeros is the caller's to know.
    fn in_hole(&self, offset: u64, length: u64) -> bool;
    /// Makes the range a hole, or zeros where there are none.
    fn punch(&self, offset: u64, length: u64) -> Result<()>;
    /// Whether the range has that content already.
    fn has(&self, offset: u64, length: usize, id: &Id, scratch: &mut Vec<u8>) -> Result<bool>;
    /// Writes a range.
    fn write(&self, offset: u64, data: &[u8]) -> Result<()>;
}

/// Consecutive blobs of one file.
pub(in super::super) struct Part<T> {
    pub(in super::super) file: Arc<T>,
    pub(in super::super) offset: u64,
    pub(in super::super) blobs: Vec<(Id, Location)>,
}

/// Consecutive parts.
pub(in super::super) struct Window<T> {
    pub(in super::super) parts: Vec<Part<T>>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Window { parts: Vec::new() }
    }
}

/// Where a missing blob has to go.
struct Missing<'w, T> {
    location: Location,
    targets: Vec<(&'w T, u64)>,
}

/// Serves windows until there are no more.
pub(super) fn run(shared: &Shared<'_>, windows: &Receiver<Window<FileState>>) -> Result<()> {
    let mut worker = Worker::new(shared)?;
    for window in windows {
        shared.check()?;
        worker.window(&window)?;
        for part in window.parts {
            FileState::release(shared, part.file)?;
        }
    }
    Ok(())
}

/// Brings windows to their targets, with scratch space of its own.
pub(in super::super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    decompressor: zstd::bulk::Decompressor<'static>,
    scratch: Vec<u8>,
    plain: [Plain; 2],
    zeros: BTreeMap<u64, Id>,
}

/// A blob that was opened, in a buffer that is used again.
#[derive(Default)]
struct Plain {
    buffer: Vec<u8>,
    start: usize,
}

impl Plain {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl<'a> Worker<'a> {
    pub(in super::super) fn new(shared: &'a Shared<'a>) -> Result<Self> {
        let decompressor = zstd::bulk::Decompressor::new()
            .map_err(|error| Error::damaged("the decompressor", error))?;
        Ok(Worker {
            shared,
            decompressor,
            scratch: Vec::new(),
            plain: Default::default(),
            zeros: BTreeMap::new(),
        })
    }

    pub(in super::super) fn window<T: Target>(&mut self, window: &Window<T>) -> Result<()> {
        let mut missing: BTreeMap<Id, Missing<'_, T>> = BTreeMap::new();
        for part in &window.parts {
            let mut offset = part.offset;
            for (id, location) in &part.blobs {
                let length = u64::from(location.plain_length());
                if self.is_there(&*part.file, offset, length, id)? {
                    Progress::add(&self.shared.reused, length);
                    Progress::add(&self.shared.progress.bytes_done, length);
                } else {
                    let entry = missing.entry(*id);
                    let missing = entry.or_insert_with(|| Missing {
                        location: *location,
                        targets: Vec::new(),
                    });
                    missing.targets.push((&*part.file, offset));
                }
                offset += length;
            }
        }
        let mut sorted: Vec<(Id, Missing<'_, T>)> = missing.into_iter().collect();
        sorted.sort_unstable_by_key(|(_, m)| (m.location.pack, m.location.offset));
        let requests = requests(&sorted);
        let repository = self.shared.repository;
        let fetched = fetch(repository, &requests);
        for (request, data) in requests.iter().zip(repository.backend().wait(fetched)?) {
            Progress::add(&self.shared.progress.bytes_transferred, data.len() as u64);
            for two in sorted[request.blobs.clone()].chunks(2) {
                self.shared.check()?;
                self.blobs(two, &data, request.start)?;
            }
        }
        Ok(())
    }

    fn is_there<T: Target>(&mut self, file: &T, offset: u64, length: u64, id: &Id) -> Result<bool> {
        if file.in_hole(offset, length) {
            let zeros = self.zeros.entry(length);
            if zeros.or_insert_with(|| Id::of(&vec![0; length as usize])) == id {
                file.punch(offset, length)?;
                return Ok(true);
            }
        }
        file.has(offset, length as usize, id, &mut self.scratch)
    }

    /// Brings one blob or two, which are hashed in the time of one, to all their targets.
    fn blobs<T: Target>(
        &mut self,
        blobs: &[(Id, Missing<'_, T>)],
        data: &Bytes,
        start: u64,
    ) -> Result<()> {
        for (slot, (id, missing)) in blobs.iter().enumerate() {
            let from = (u64::from(missing.location.offset) - start) as usize;
            let sealed = &data[from..from + missing.location.length as usize];
            self.open(slot, id, missing.location.uncompressed, sealed)?;
        }
        let [first, second] = &self.plain;
        let found = match blobs.len() {
            2 => <[Id; 2]>::from(sha::pair(first.bytes(), second.bytes())),
            _ => [Id::of(first.bytes()); 2],
        };
        for (((id, missing), plain), found) in blobs.iter().zip(&self.plain).zip(found) {
            let plain = plain.bytes();
            if found != *id || plain.len() as u32 != missing.location.plain_length() {
                return Err(tampered(id));
            }
            for (file, offset) in &missing.targets {
                file.write(*offset, plain)?;
                Progress::add(&self.shared.written, plain.len() as u64);
                Progress::add(&self.shared.progress.bytes_done, plain.len() as u64);
            }
        }
        Ok(())
    }

    /// Opens a blob and decompresses it.
    fn open(&mut self, slot: usize, id: &Id, uncompressed: u32, sealed: &[u8]) -> Result<()> {
        let sealer = self.shared.repository.sealer();
        self.scratch.clear();
        self.scratch.extend_from_slice(sealed);
        let body = sealer.open(&mut self.scratch).map_err(|_| tampered(id))?;
        let end = crypto::NONCE + body.len();
        let plain = &mut self.plain[slot];
        if uncompressed == 0 {
            std::mem::swap(&mut plain.buffer, &mut self.scratch);
            plain.buffer.truncate(end);
            plain.start = crypto::NONCE;
            return Ok(());
        }
        plain.start = 0;
        plain.buffer.clear();
        plain.buffer.reserve(uncompressed as usize);
        self.decompressor
            .decompress_to_buffer(&self.scratch[crypto::NONCE..end], &mut plain.buffer)
            .map_err(|error| Error::damaged(format!("blob {id}"), error))?;
        Ok(())
    }
}

fn tampered(id: &Id) -> Error {
    Error::Tampered {
        object: format!("blob {id}"),
    }
}

/// One ranged read, and the missing blobs it brings.
struct Request {
    pack: Id,
    start: u64,
    end: u64,
    blobs: std::ops::Range<usize>,
}

fn requests<T>(sorted: &[(Id, Missing<'_, T>)]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (number, (_, missing)) in sorted.iter().enumerate() {
        let Location {
            pack,
            offset,
            length,
            ..
        } = missing.location;
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(length));
        match requests.last_mut() {
            Some(last)
                if last.pack == pack
                    && start.saturating_sub(last.end) <= GAP
                    && end.saturating_sub(last.start) <= REQUEST =>
            {
                last.end = last.end.max(end);
                last.blobs.end = number + 1;
            }
            _ => requests.push(Request {
                pack,
                start,
                end,
                blobs: number..number + 1,
            }),
        }
    }
    requests
}

async fn fetch(repository: &Repository, requests: &[Request]) -> Result<Vec<Bytes>> {
    let reads = requests.iter().map(|request| {
        let (path, range) = (Kind::Pack.path(&request.pack), request.start..request.end);
        async move { repository.backend().get_range(&path, range).await }
    });
    let reads: Vec<_> = reads.collect();
    futures::stream::iter(reads)
        .buffered(REQUESTS)
        .try_collect()
        .await
}
