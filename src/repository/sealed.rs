//! Ferry's own objects beside the restic repository: manifests, journals, checkpoints. Sealed with the repository's
//! key, in the encoding of restic's indexes, so that whoever can write to the bucket can neither read nor forge them.
//!
//! The seal says nothing about the name: bind what must not be moved (an id, a sequence) into the content.

use super::Repository;
use super::backend::{open_unpacked, seal_unpacked};
use super::error::Result;

impl Repository {
    /// Compresses and seals `plain`.
    pub fn seal_file(&self, plain: &[u8]) -> Result<Vec<u8>> {
        seal_unpacked(self.sealer(), plain)
    }

    /// Opens what [`Repository::seal_file`] made; `name` says in an error what it was.
    ///
    /// # Errors
    /// [`super::Error::Tampered`] when the seal is broken.
    pub fn open_file(&self, name: &str, sealed: Vec<u8>) -> Result<Vec<u8>> {
        open_unpacked(self.sealer(), name, sealed)
    }

    /// Seals `plain` and writes it to `path`, relative to the store's root, over what is there.
    pub fn put_sealed(&self, path: &str, plain: &[u8]) -> Result<()> {
        let sealed = self.seal_file(plain)?;
        self.backend().wait(self.backend().put(path, sealed.into()))
    }

    /// As [`Repository::put_sealed`], but only if `path` does not exist: for leases and commit markers.
    ///
    /// # Errors
    /// [`super::Error::Exists`] when it does.
    pub fn create_sealed(&self, path: &str, plain: &[u8]) -> Result<()> {
        let sealed = self.seal_file(plain)?;
        self.backend()
            .wait(self.backend().put_new(path, sealed.into()))
    }

    /// Reads and opens `path`.
    ///
    /// # Errors
    /// [`super::Error::NotFound`], [`super::Error::Tampered`].
    pub fn get_sealed(&self, path: &str) -> Result<Vec<u8>> {
        let sealed = self.backend().wait(self.backend().get(path))?;
        self.open_file(path, sealed.into())
    }

    /// Deletes `path`; that it is gone already is success.
    pub fn delete_sealed(&self, path: &str) -> Result<()> {
        self.backend().wait(self.backend().delete(path))
    }

    /// The paths below `folder`, sorted.
    pub fn list_sealed(&self, folder: &str) -> Result<Vec<String>> {
        let listed = self.backend().wait(self.backend().list(folder))?;
        let mut paths: Vec<String> = listed
            .into_iter()
            .map(|meta| meta.location.to_string())
            .collect();
        paths.sort_unstable();
        Ok(paths)
    }
}
