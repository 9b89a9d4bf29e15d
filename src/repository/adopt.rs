//! Adoption: packs that a killed backup left behind, durable but in no index, are read by their headers and used.
//!
//! A pack describes itself, sealed, at its end. Two small reads per orphan turn gigabytes that other tools would send again
//! into blobs we already have.

use futures::StreamExt as _;

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;
use super::index::IndexPack;
use super::pack::{self, LENGTH_FIELD};
use super::writer::Writer;

/// Read from the end of a pack at once: room for the header of a pack of ordinary blobs.
const TAIL: u64 = 32 << 10;

impl Repository {
    /// Makes every readable orphan known and puts it into `writer`'s next index. Returns how many packs and bytes.
    /// An orphan that does not authenticate is left alone: it holds nothing anybody can trust.
    pub(super) fn adopt_orphans(&self, writer: &Writer) -> Result<(u64, u64)> {
        let backend = self.backend();
        let adopted = backend.wait(async {
            let known = self.index().packs();
            let listed = backend.list_ids(Kind::Pack).await?;
            let orphans = listed
                .into_iter()
                .filter(|(id, _)| known.binary_search(id).is_err());
            let reads = futures::stream::iter(orphans)
                .map(|(id, size)| async move { (self.read_header(id, size).await, size) })
                .buffer_unordered(8);
            Ok::<_, Error>(reads.collect::<Vec<_>>().await)
        })?;
        let (mut packs, mut bytes) = (0, 0);
        for (read, size) in adopted {
            match read {
                Ok(pack) => {
                    writer.adopt(pack);
                    packs += 1;
                    bytes += size;
                }
                Err(
                    error @ (Error::Tampered { .. }
                    | Error::Damaged { .. }
                    | Error::NotFound { .. }),
                ) => {
                    tracing::warn!(%error, "an orphan pack is not usable");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((packs, bytes))
    }

    async fn read_header(&self, id: Id, size: u64) -> Result<IndexPack> {
        let object = Kind::Pack.path(&id);
        let damaged = |what: &str| Error::damaged(&object, what);
        if size < LENGTH_FIELD {
            return Err(damaged("too short for a pack"));
        }
        let start = size.saturating_sub(TAIL);
        let mut tail: Vec<u8> = self.backend().get_range(&object, start..size).await?.into();
        let field = tail.split_off(tail.len() - LENGTH_FIELD as usize);
        let length = u64::from(u32::from_le_bytes([field[0], field[1], field[2], field[3]]));
        if length > pack::HEADER_LIMIT || length + LENGTH_FIELD > size {
            return Err(damaged("the length of its header is impossible"));
        }
        let end = size - LENGTH_FIELD;
        let mut header = if length as usize <= tail.len() {
            tail.split_off(tail.len() - length as usize)
        } else {
            self.backend()
                .get_range(&object, end - length..end)
                .await?
                .into()
        };
        let plain = self
            .sealer()
            .open(&mut header)
            .map_err(|_| Error::Tampered {
                object: object.clone(),
            })?;
        let blobs = pack::parse_header(plain, size).map_err(|what| damaged(&what))?;
        Ok(IndexPack { id, blobs })
    }
}
