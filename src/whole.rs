//! Files that are there whole or not at all: a full disk leaves what was there before.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file in the place of one that may be there. What is no plain file, as `/dev/stdout` or a pipe, is written to
/// as it is.
///
/// # Errors
/// What the file system says; then nothing changed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, bytes);
    }
    beside(path, bytes)?.persist(path)?;
    Ok(())
}

/// Writes a file that must not be there yet.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when it is, and what the file system says; then nothing changed.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes)?.persist_noclobber(path)?;
    Ok(())
}

/// The bytes in a nameless neighbour, with the rights any new file gets.
fn beside(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".ferry-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_new_one_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.svg");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let taken = write_new(&path, b"three").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_plain_file_is_written_to() {
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(write(Path::new("/dev/full"), b"x").is_err());
    }
}
