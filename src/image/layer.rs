//! Layers: tar files in which nothing depends on when or where they were made.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::{Blob, ImageError, sha256};

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layer as it is pushed, and the digest of what is inside.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    /// Digest of the uncompressed tar.
    pub(super) diff_id: String,
}

/// Ferry itself, a folder for temporary files, and the one line without which the C library's
/// resolver would not read `/etc/hosts` before asking a name server.
pub(super) fn program(binary: &[u8]) -> Result<Layer, ImageError> {
    let files = |tar: &mut Builder<Vec<u8>>| {
        folder(tar, "etc/", 0o755)?;
        file(tar, "etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
        file(tar, "ferry", 0o755, binary)?;
        folder(tar, "tmp/", 0o1777)
    };
    layer(files)
}

/// Certificate authorities, where TLS libraries look for them.
pub(super) fn certificates(pem: &[u8]) -> Result<Layer, ImageError> {
    let files = |tar: &mut Builder<Vec<u8>>| {
        folder(tar, "etc/", 0o755)?;
        folder(tar, "etc/ssl/", 0o755)?;
        folder(tar, "etc/ssl/certs/", 0o755)?;
        file(tar, "etc/ssl/certs/ca-certificates.crt", 0o644, pem)
    };
    layer(files)
}

fn layer(files: impl FnOnce(&mut Builder<Vec<u8>>) -> io::Result<()>) -> Result<Layer, ImageError> {
    let pack = || {
        let mut tar = Builder::new(Vec::new());
        files(&mut tar)?;
        let plain = tar.into_inner()?;
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::default());
        gzip.write_all(&plain)?;
        Ok((sha256(&plain), gzip.finish()?))
    };
    let (diff_id, packed) = pack().map_err(|source| ImageError::Write {
        path: "a layer".into(),
        source,
    })?;
    Ok(Layer {
        blob: Blob::new(LAYER_TYPE, packed),
        diff_id,
    })
}

fn folder(tar: &mut Builder<Vec<u8>>, name: &str, mode: u32) -> io::Result<()> {
    append(tar, EntryType::Directory, name, mode, &[])
}

fn file(tar: &mut Builder<Vec<u8>>, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
    append(tar, EntryType::Regular, name, mode, data)
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    kind: EntryType,
    name: &str,
    mode: u32,
    data: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    tar.append_data(&mut header, name, data)
}

/// Adds one file to an archive that is made the same way as a layer.
pub(super) fn entry<W: Write>(tar: &mut Builder<W>, name: &str, data: &[u8]) -> io::Result<()> {
    append(tar, EntryType::Regular, name, 0o644, data)
}
