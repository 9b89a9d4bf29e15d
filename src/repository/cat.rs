//! The repository's own objects, opened and as they are, for people who look for what is wrong.

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;

/// An object that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectKind {
    /// The repository's config.
    Config,
    /// A key file; it is sealed by its password only, and shown as it is.
    Key,
    /// An index file.
    Index,
    /// A snapshot.
    Snapshot,
    /// A lock.
    Lock,
    /// A blob, a directory among them: its plain bytes.
    Blob,
}

impl Repository {
    /// The plain bytes of an object, by its id or an unambiguous beginning of it; blobs by their whole id.
    ///
    /// # Errors
    /// [`Error::ObjectNotFound`] when no object fits, or several.
    pub fn cat(&self, kind: ObjectKind, wanted: &str) -> Result<Vec<u8>> {
        let kind = match kind {
            ObjectKind::Config => {
                return serde_json::to_vec(self.config())
                    .map_err(|error| Error::damaged("config", error));
            }
            ObjectKind::Blob => {
                let id = wanted.parse().map_err(|_| not_found(wanted))?;
                self.index_to_read()?;
                return self.read_blob(&id);
            }
            ObjectKind::Key => Kind::Key,
            ObjectKind::Index => Kind::Index,
            ObjectKind::Snapshot => Kind::Snapshot,
            ObjectKind::Lock => Kind::Lock,
        };
        let backend = self.backend();
        let listed = backend.wait(backend.list_ids(kind))?;
        let fits = |id: &Id| !wanted.is_empty() && id.to_string().starts_with(wanted);
        let mut fitting = listed.into_iter().map(|(id, _)| id).filter(fits);
        let (Some(id), None) = (fitting.next(), fitting.next()) else {
            return Err(not_found(wanted));
        };
        match kind {
            Kind::Key => Ok(backend.wait(backend.get(&kind.path(&id)))?.into()),
            kind => backend.wait(backend.load_unpacked(self.sealer(), kind, &id)),
        }
    }
}

fn not_found(wanted: &str) -> Error {
    Error::ObjectNotFound {
        wanted: wanted.to_owned(),
    }
}
