//! Reading blobs: ranged reads of packs, each blob authenticated, decompressed and checked against its id.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;
use super::index::Location;
use super::pack::BlobKind;

/// Trees of one region of the disk lie side by side in a pack, below the one above them: a read takes along what lies
/// before and behind, on a grid. A window is where its tree ends, so that two overlap by one tree at most.
const WINDOW: u64 = 1 << 20;
/// Windows kept. Post-order and pre-order walks both come back to a handful of places.
const WINDOWS: usize = 16;

/// A piece of a pack as it was read.
pub(super) struct Window {
    pack: Id,
    start: u64,
    data: bytes::Bytes,
}

impl Repository {
    /// The plain bytes of a blob.
    pub(super) fn read_blob(&self, id: &Id) -> Result<Vec<u8>> {
        let (body, uncompressed) = self.read_sealed(id)?;
        plain_of(id, body, uncompressed)
    }

    /// An opened but still compressed blob, and its plain length (0: it is plain already).
    pub(super) fn read_sealed(&self, id: &Id) -> Result<(Vec<u8>, u32)> {
        let location = self.locate(id)?;
        let mut sealed = self.read_stored(&location)?;
        open_stored(self, id, &mut sealed)?;
        Ok((sealed, location.uncompressed))
    }

    /// Where a blob is. Another writer may have stored it since the index was read, so a miss looks again once.
    pub(super) fn locate(&self, id: &Id) -> Result<Location> {
        if let Some(location) = self.index().locate(id) {
            return Ok(location);
        }
        self.load_index()?;
        self.index()
            .locate(id)
            .ok_or(Error::BlobMissing { id: *id })
    }

    fn read_stored(&self, location: &Location) -> Result<Vec<u8>> {
        let (offset, length) = (u64::from(location.offset), u64::from(location.length));
        let range = offset..offset + length;
        let object = Kind::Pack.path(&location.pack);
        if location.kind == BlobKind::Data || length > WINDOW {
            return Ok(self
                .backend()
                .wait(self.backend().get_range(&object, range))?
                .into());
        }
        let mut windows = self.windows();
        let found = windows.iter().position(|window| {
            window.pack == location.pack
                && window.start <= offset
                && offset + length <= window.start + window.data.len() as u64
        });
        let window = match found.and_then(|position| windows.remove(position)) {
            Some(window) => window,
            None => {
                let end = range.end.next_multiple_of(WINDOW);
                let start = offset.min(end - WINDOW);
                let end = end.min(location.pack_end.into()).max(range.end);
                let read = self.backend().get_range(&object, start..end);
                Window {
                    pack: location.pack,
                    start,
                    data: self.backend().wait(read)?,
                }
            }
        };
        let start = (offset - window.start) as usize;
        let stored = window.data[start..start + length as usize].to_vec();
        windows.push_front(window);
        windows.truncate(WINDOWS);
        Ok(stored)
    }
}

/// Opens a stored blob in place: what is left is its body, compressed or not.
pub(super) fn open_stored(repository: &Repository, id: &Id, sealed: &mut Vec<u8>) -> Result<()> {
    let length = repository
        .sealer()
        .open(sealed)
        .map_err(|_| Error::Tampered {
            object: format!("blob {id}"),
        })?
        .len();
    let start = super::crypto::NONCE;
    sealed.copy_within(start..start + length, 0);
    sealed.truncate(length);
    Ok(())
}

thread_local! {
    /// Making one costs more than most directories do.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The capacity bounds what a hostile frame can make us allocate; the index that names it is authenticated.
fn decompress(body: &[u8], capacity: usize) -> std::io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(body, capacity)
    })
}

/// Decompresses if need be, and proves that the bytes are what `id` names.
pub(super) fn plain_of(id: &Id, body: Vec<u8>, uncompressed: u32) -> Result<Vec<u8>> {
    let plain = if uncompressed == 0 {
        body
    } else {
        decompress(&body, uncompressed as usize)
            .map_err(|error| Error::damaged(format!("blob {id}"), error))?
    };
    if Id::of(&plain) == *id {
        Ok(plain)
    } else {
        Err(Error::Tampered {
            object: format!("blob {id}"),
        })
    }
}
