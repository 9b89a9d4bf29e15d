//! What the index files say of the packs, and what the store says of them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;

use super::super::Repository;
use super::super::backend::Kind;
use super::super::crypto::OVERHEAD;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::index::IndexFile;
use super::super::pack::{LENGTH_FIELD, PackedBlob};

/// Index files read at one time.
const READS: usize = 8;

/// A pack that an index file names.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) blobs: Vec<PackedBlob>,
    /// How many index files name it.
    pub(super) times: usize,
}

impl Listed {
    /// The size the pack must have: its blobs, and the header that describes them.
    pub(super) fn size(&self) -> u64 {
        let entry = |blob: &PackedBlob| match blob.uncompressed_length {
            Some(_) => 41,
            None => 37,
        };
        let blobs = self
            .blobs
            .iter()
            .map(|blob| u64::from(blob.length) + entry(blob));
        blobs.sum::<u64>() + OVERHEAD as u64 + LENGTH_FIELD
    }
}

/// A pack that the store has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) modified: jiff::Timestamp,
}

/// All packs, as the index files and as the store's listing have them.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) indexes: BTreeSet<Id>,
    pub(super) listed: BTreeMap<Id, Listed>,
    pub(super) stored: BTreeMap<Id, Stored>,
}

impl Catalog {
    /// Reads everything anew. What is wrong with a single index file goes to `fault`, which may end it all.
    pub(super) fn read(
        repository: &Repository,
        mut fault: impl FnMut(Error) -> Result<()>,
    ) -> Result<Self> {
        let backend = repository.backend();
        backend.wait(async {
            let mut listed: BTreeMap<Id, Listed> = BTreeMap::new();
            let ids = backend.list_ids(Kind::Index).await?;
            let indexes: BTreeSet<Id> = ids.into_iter().map(|(id, _)| id).collect();
            let load = |id: Id| async move {
                let loaded = backend.load_unpacked(repository.sealer(), Kind::Index, &id);
                parse(&id, &loaded.await?)
            };
            let ids: Vec<Id> = indexes.iter().copied().collect();
            let mut loads = futures::stream::iter(ids.into_iter().map(load)).buffered(READS);
            while let Some(file) = loads.next().await {
                let file = match file {
                    Ok(file) => file,
                    Err(error) => {
                        fault(error)?;
                        continue;
                    }
                };
                for mut pack in file.packs {
                    pack.blobs.sort_unstable_by_key(|blob| blob.offset);
                    match listed.get_mut(&pack.id) {
                        Some(known) => {
                            known.times += 1;
                            if known.blobs != pack.blobs {
                                let object = Kind::Pack.path(&pack.id);
                                fault(Error::damaged(object, "index files disagree about it"))?;
                            }
                        }
                        None => {
                            let blobs = pack.blobs;
                            listed.insert(pack.id, Listed { blobs, times: 1 });
                        }
                    }
                }
            }
            let mut stored = BTreeMap::new();
            for meta in backend.list(Kind::Pack.folder()).await? {
                let id = meta.location.filename().and_then(|name| name.parse().ok());
                let modified = jiff::Timestamp::from_second(meta.last_modified.timestamp());
                if let (Some(id), Ok(modified)) = (id, modified) {
                    let size = meta.size;
                    stored.insert(id, Stored { size, modified });
                }
            }
            Ok(Catalog {
                indexes,
                listed,
                stored,
            })
        })
    }

    /// Packs that the store has and no index names.
    pub(super) fn orphans(&self) -> impl Iterator<Item = (&Id, &Stored)> {
        self.stored
            .iter()
            .filter(|(id, _)| !self.listed.contains_key(id))
    }
}

fn parse(id: &Id, plain: &[u8]) -> Result<IndexFile> {
    serde_json::from_slice(plain).map_err(|error| Error::damaged(Kind::Index.path(id), error))
}
