//! Where every blob is: one entry per blob in memory, and restic's index files in the store.
//!
//! Memory is what limits the size of a repository that a small pod can write to, so an entry is 44 bytes in a plain
//! array, found through an open-addressing table of 4-byte slots: about 55 bytes per blob all told. Ids are
//! SHA-256 values, so their own bytes are the hash. Sixteen shards keep the workers out of each other's way.
//!
//! A blob is *claimed* by the first worker that meets it and *placed* when its pack is durable. What was claimed but never
//! placed (a failed or cancelled backup) is released, so that the next backup stores it.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::pack::{BlobKind, PackedBlob};

/// The JSON of an index file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct IndexFile {
    pub(super) packs: Vec<IndexPack>,
}

/// One pack in an index file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexPack {
    pub(super) id: Id,
    pub(super) blobs: Vec<PackedBlob>,
}

/// Where one blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) pack: Id,
    pub(super) kind: BlobKind,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// Plain length when compressed, zero when stored as it is.
    pub(super) uncompressed: u32,
    /// Where the blobs of that pack end.
    pub(super) pack_end: u32,
}

impl Location {
    /// Length of the plain bytes.
    pub(super) fn plain_length(&self) -> u32 {
        match self.uncompressed {
            0 => self.length.saturating_sub(super::crypto::OVERHEAD as u32),
            length => length,
        }
    }
}

const SHARDS: usize = 16;
const EMPTY: u32 = u32::MAX;
/// Pack numbers that mean a state instead of a pack. Below them: number and, in the top bit, the kind.
const CLAIMED: u32 = u32::MAX;
const RELEASED: u32 = u32::MAX - 1;
const TREE_BIT: u32 = 1 << 31;
/// Entries per allocation: growing never copies, and never holds twice what it needs.
const SEGMENT: usize = 8192;

#[derive(Clone, Copy)]
struct Entry {
    id: [u8; 32],
    pack: u32,
    offset: u32,
    length: u32,
    uncompressed: u32,
}

#[derive(Default)]
struct Shard {
    segments: Vec<Vec<Entry>>,
    slots: Vec<u32>,
    count: usize,
}

/// The in-memory index.
pub(super) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    /// Name of each pack, and where its blobs end.
    packs: RwLock<Vec<(Id, u32)>>,
}

/// A worker that panicked while it held an index lock has left a consistent index: every update is one store.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn hash(id: &Id) -> usize {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&id.0[8..16]);
        u64::from_le_bytes(bytes) as usize
    }

    fn entry(&self, number: u32) -> &Entry {
        &self.segments[number as usize / SEGMENT][number as usize % SEGMENT]
    }

    fn find(&self, id: &Id) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut position = Self::hash(id) & mask;
        loop {
            match self.slots[position] {
                EMPTY => return None,
                number if self.entry(number).id == id.0 => return Some(number),
                _ => position = (position + 1) & mask,
            }
        }
    }

    fn get(&self, id: &Id) -> Option<&Entry> {
        self.find(id).map(|number| self.entry(number))
    }

    fn get_mut(&mut self, id: &Id) -> Option<&mut Entry> {
        let number = self.find(id)? as usize;
        Some(&mut self.segments[number / SEGMENT][number % SEGMENT])
    }

    fn insert(&mut self, entry: Entry) {
        // At most 3/4 full: probes stay short.
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.slots = vec![EMPTY; (self.slots.len() * 2).max(64)];
            for number in 0..self.count as u32 {
                self.place(number);
            }
        }
        if self.count.is_multiple_of(SEGMENT) {
            // The first segment of a shard grows like any vector, so that a small repository costs little.
            self.segments.push(if self.count == 0 {
                Vec::new()
            } else {
                Vec::with_capacity(SEGMENT)
            });
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.push(entry);
        }
        self.place(self.count as u32);
        self.count += 1;
    }

    fn place(&mut self, number: u32) {
        let mask = self.slots.len() - 1;
        let mut position = Self::hash(&Id(self.entry(number).id)) & mask;
        while self.slots[position] != EMPTY {
            position = (position + 1) & mask;
        }
        self.slots[position] = number;
    }
}

impl Index {
    pub(super) fn new() -> Self {
        Index {
            shards: Default::default(),
            packs: RwLock::default(),
        }
    }

    fn shard(&self, id: &Id) -> MutexGuard<'_, Shard> {
        lock(&self.shards[usize::from(id.0[0]) % SHARDS])
    }

    /// Whether the blob is there or will be when the running backup ends well.
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.shard(id)
            .get(id)
            .is_some_and(|entry| entry.pack != RELEASED)
    }

    /// Claims a blob that nobody has: true for exactly one caller, who must then store it.
    pub(super) fn claim(&self, id: &Id) -> bool {
        let mut shard = self.shard(id);
        match shard.get_mut(id) {
            Some(entry) if entry.pack == RELEASED => entry.pack = CLAIMED,
            Some(_) => return false,
            None => {
                shard.insert(Entry {
                    id: id.0,
                    pack: CLAIMED,
                    offset: 0,
                    length: 0,
                    uncompressed: 0,
                });
            }
        }
        true
    }

    /// Makes the blobs of a durable pack known. A blob known from another pack stays where it is.
    pub(super) fn add_pack(&self, pack: Id, blobs: &[PackedBlob]) {
        let number = {
            let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
            let ends = blobs
                .iter()
                .map(|blob| blob.offset.saturating_add(blob.length));
            let end = ends.max().unwrap_or(0);
            packs.push((pack, end));
            packs.len() as u32 - 1
        };
        for blob in blobs {
            let tree = if blob.kind == BlobKind::Tree {
                TREE_BIT
            } else {
                0
            };
            let new = Entry {
                id: blob.id.0,
                pack: number | tree,
                offset: blob.offset,
                length: blob.length,
                uncompressed: blob.uncompressed_length.unwrap_or(0),
            };
            let mut shard = self.shard(&blob.id);
            match shard.get_mut(&blob.id) {
                Some(entry) if entry.pack >= RELEASED => *entry = new,
                Some(_) => {}
                None => shard.insert(new),
            }
        }
    }

    /// Where the blob lies, if its pack is durable.
    pub(super) fn locate(&self, id: &Id) -> Option<Location> {
        let entry = *self.shard(id).get(id)?;
        if entry.pack >= RELEASED {
            return None;
        }
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let kind = if entry.pack & TREE_BIT != 0 {
            BlobKind::Tree
        } else {
            BlobKind::Data
        };
        let Entry {
            offset,
            length,
            uncompressed,
            ..
        } = entry;
        let (pack, pack_end) = *packs.get((entry.pack & !TREE_BIT) as usize)?;
        Some(Location {
            pack,
            kind,
            offset,
            length,
            uncompressed,
            pack_end,
        })
    }

    /// Gives up every claim that was not placed.
    pub(super) fn release_claims(&self) {
        for shard in &self.shards {
            for entry in lock(shard).segments.iter_mut().flatten() {
                if entry.pack == CLAIMED {
                    entry.pack = RELEASED;
                }
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard::default();
        }
        self.packs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The packs known, sorted.
    pub(super) fn packs(&self) -> Vec<Id> {
        let known = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let mut packs: Vec<Id> = known.iter().map(|(pack, _)| *pack).collect();
        packs.sort_unstable();
        packs
    }

    /// How many blobs are known.
    #[cfg(test)]
    fn blobs(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Id {
        Id::of(&n.to_le_bytes())
    }

    fn packed(n: u32) -> PackedBlob {
        let kind = if n.is_multiple_of(7) {
            BlobKind::Tree
        } else {
            BlobKind::Data
        };
        PackedBlob {
            id: id(n),
            kind,
            offset: n,
            length: n + 50,
            uncompressed_length: Some(n + 1),
        }
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        let index = Index::new();
        for pack in 0..100u32 {
            let blobs: Vec<_> = (pack * 3000..(pack + 1) * 3000).map(packed).collect();
            index.add_pack(id(1_000_000 + pack), &blobs);
        }
        assert_eq!(index.blobs(), 300_000);
        for n in (0..300_000).step_by(17) {
            let found = index.locate(&id(n)).unwrap();
            assert_eq!(
                (found.offset, found.length, found.uncompressed),
                (n, n + 50, n + 1)
            );
            assert_eq!(found.pack, id(1_000_000 + n / 3000));
            assert_eq!(found.kind == BlobKind::Tree, n.is_multiple_of(7));
        }
        assert_eq!(index.locate(&id(300_001)), None);
    }

    #[test]
    fn a_claim_is_given_once_and_released_when_unplaced() {
        let index = Index::new();
        assert!(index.claim(&id(1)) && !index.claim(&id(1)));
        assert!(index.contains(&id(1)) && index.locate(&id(1)).is_none());
        assert!(index.claim(&id(2)));
        index.add_pack(id(9), &[packed(1)]);
        index.release_claims();
        assert!(!index.claim(&id(1)) && index.locate(&id(1)).is_some());
        assert!(!index.contains(&id(2)) && index.claim(&id(2)));
    }

    #[test]
    fn the_json_is_restics() {
        let pack = IndexPack {
            id: Id([1; 32]),
            blobs: vec![PackedBlob {
                uncompressed_length: None,
                ..packed(1)
            }],
        };
        let json = serde_json::to_value(IndexFile { packs: vec![pack] }).unwrap();
        assert_eq!(json["packs"][0]["blobs"][0]["type"], "data");
        assert!(
            json["packs"][0]["blobs"][0]
                .get("uncompressed_length")
                .is_none()
        );
    }
}
