//! Packs: many sealed blobs in one object, with a sealed list of them at the end.
//!
//! ```text
//! pack = blob ‖ … ‖ sealed header ‖ length of the sealed header (u32, little endian)
//! header entry = type (1) ‖ stored length (4) ‖ [plain length (4)] ‖ id (32)
//! ```
//!
//! Types 0 and 1 are plain data and tree, 2 and 3 the same compressed; only those have a plain length.

use serde::{Deserialize, Serialize};

use super::crypto::{NONCE, OVERHEAD, Sealer};
use super::id::Id;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BlobKind {
    Data,
    Tree,
}

/// One blob in a pack; also its form in an index file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackedBlob {
    pub(super) id: Id,
    #[serde(rename = "type")]
    pub(super) kind: BlobKind,
    pub(super) offset: u32,
    /// Length as stored: sealed, and compressed if `uncompressed_length` is there.
    pub(super) length: u32,
    /// Length of the plain bytes, for compressed blobs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uncompressed_length: Option<u32>,
}

impl PackedBlob {
    /// Length of the plain bytes.
    pub(super) fn plain_length(&self) -> u32 {
        self.uncompressed_length
            .unwrap_or_else(|| self.length.saturating_sub(OVERHEAD as u32))
    }
}

/// Length of the trailing length field.
pub(super) const LENGTH_FIELD: u64 = 4;
/// restic refuses larger headers; so do we, before we allocate for one.
pub(super) const HEADER_LIMIT: u64 = 16 << 20;

/// Appends header and length to a pack's blobs.
pub(super) fn finish(pack: &mut Vec<u8>, blobs: &[PackedBlob], sealer: &Sealer) {
    let start = pack.len();
    pack.resize(start + NONCE, 0);
    for blob in blobs {
        let compressed = if blob.uncompressed_length.is_some() {
            2
        } else {
            0
        };
        pack.push(compressed | u8::from(blob.kind == BlobKind::Tree));
        pack.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(length) = blob.uncompressed_length {
            pack.extend_from_slice(&length.to_le_bytes());
        }
        pack.extend_from_slice(&blob.id.0);
    }
    sealer.seal(pack, start);
    let length = (pack.len() - start) as u32;
    pack.extend_from_slice(&length.to_le_bytes());
}

/// Parses an opened header. The blobs of a pack of `pack_size` bytes must fill it exactly up to the header:
/// anything else is a pack cut short or put together wrongly.
pub(super) fn parse_header(plain: &[u8], pack_size: u64) -> Result<Vec<PackedBlob>, String> {
    let mut blobs = Vec::with_capacity(plain.len() / 41 + 1);
    let mut rest = plain;
    let mut offset = 0u64;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    while let Some(&kind) = rest.first() {
        let compressed = kind & 2 != 0;
        let size = if compressed { 41 } else { 37 };
        if kind > 3 {
            return Err(format!("unknown blob type {kind} in the header"));
        }
        if rest.len() < size {
            return Err("the header ends inside an entry".into());
        }
        let length = number(&rest[1..]);
        let uncompressed_length = compressed.then(|| number(&rest[5..]));
        let mut id = Id([0; 32]);
        id.0.copy_from_slice(&rest[size - 32..size]);
        let start = u32::try_from(offset).map_err(|_| "the pack is larger than 4 GiB")?;
        if u64::from(length) < OVERHEAD as u64 {
            return Err(format!("blob {id} is shorter than its seal"));
        }
        blobs.push(PackedBlob {
            id,
            kind: if kind & 1 != 0 {
                BlobKind::Tree
            } else {
                BlobKind::Data
            },
            offset: start,
            length,
            uncompressed_length,
        });
        offset += u64::from(length);
        rest = &rest[size..];
    }
    let expected = offset + (plain.len() + OVERHEAD) as u64 + LENGTH_FIELD;
    if expected != pack_size {
        return Err(format!(
            "the header describes {expected} bytes, the pack has {pack_size}"
        ));
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::super::crypto::MasterKey;
    use super::*;

    fn blob(n: u8, offset: u32, plain: Option<u32>) -> PackedBlob {
        let kind = if n.is_multiple_of(2) {
            BlobKind::Data
        } else {
            BlobKind::Tree
        };
        PackedBlob {
            id: Id([n; 32]),
            kind,
            offset,
            length: 100,
            uncompressed_length: plain,
        }
    }

    #[test]
    fn a_header_survives_and_a_wrong_size_is_noticed() {
        let sealer = Sealer::new(&MasterKey::generate());
        let blobs = [
            blob(0, 0, None),
            blob(1, 100, Some(5)),
            blob(2, 200, Some(700)),
        ];
        let mut pack = vec![0; 300];
        finish(&mut pack, &blobs, &sealer);
        let size = pack.len() as u64;
        let length = u32::from_le_bytes(pack[pack.len() - 4..].try_into().unwrap()) as usize;
        let header = pack.len() - 4 - length..pack.len() - 4;
        let plain = sealer.open(&mut pack[header]).unwrap();
        assert_eq!(parse_header(plain, size).unwrap(), blobs);
        assert!(parse_header(plain, size + 1).is_err());
        assert!(parse_header(&plain[..plain.len() - 1], size - 1).is_err());
        assert!(parse_header(&[9; 41], 100).is_err());
    }
}
