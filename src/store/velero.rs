//! Velero's bucket: which backups are in it, and where their data is. It is read and never written.
//!
//! ```text
//! backups/<name>/velero-backup.json            what was asked for, and how it ended
//! backups/<name>/<name>.tar.gz                 the objects: [`Archive::velero`]
//! backups/<name>/<name>-volumeinfo.json.gz     of each volume, by what means its data was kept
//! kopia/<namespace>/                           the data, one kopia repository per namespace: [`Kopia`]
//! ```
//!
//! Data that lies elsewhere, in snapshots of the source's own storage, cannot be reached from another cluster: such
//! volumes are named with the reason.

mod error;
mod kopia;
mod scratch;
mod volumes;

pub use error::VeleroError;
pub use kopia::Kopia;
pub use scratch::Scratch;
pub use volumes::{Held, Kept, KopiaSnapshot};

use std::io::Read as _;
use std::path::Path as Folder;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::Location;
use crate::capture::Archive;

/// Most bytes of a file that says something about a backup, unpacked.
const SAYING_MAX: u64 = 64 << 20;
/// Backups asked for at once.
const PARALLEL: usize = 16;

/// A bucket, or a folder with a copy of one.
#[derive(Debug)]
pub struct Bucket {
    location: Location,
    objects: Arc<dyn ObjectStore>,
}

/// One backup, as Velero describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// How it ended, as in `Completed`.
    pub phase: String,
    /// When it began.
    pub started: Option<jiff::Timestamp>,
    /// The namespaces it was asked for; none or `*` for all.
    pub namespaces: Vec<String>,
    /// Objects in it.
    pub items: u64,
    /// Errors that Velero counted.
    pub errors: u64,
}

impl Backup {
    /// Whether it has all its parts: Velero writes the description first, so that one alone says nothing.
    pub fn is_whole(&self) -> bool {
        ["Completed", "PartiallyFailed"].contains(&self.phase.as_str())
    }
}

/// The parts of `velero-backup.json` that matter here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Description {
    spec: Asked,
    status: Ended,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    included_namespaces: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ended {
    phase: String,
    start_timestamp: Option<jiff::Timestamp>,
    errors: u64,
    progress: Progress,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Progress {
    total_items: u64,
}

impl Bucket {
    /// Goes to the bucket and prefix that the BackupStorageLocation names.
    ///
    /// # Errors
    /// When the address is none, or its cloud's variables are missing.
    pub fn open(address: &str) -> Result<Self, VeleroError> {
        let location = Location::parse(address)?;
        if let Location::Folder(folder) = &location {
            std::fs::read_dir(folder).map_err(|source| VeleroError::Unreadable {
                location: location.clone(),
                path: "backups".into(),
                source: source.into(),
            })?;
        }
        let objects = location.open()?.objects;
        Ok(Self { location, objects })
    }

    /// Its address.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The backups in it, oldest first.
    ///
    /// # Errors
    /// [`VeleroError::Empty`] when there are none; when the bucket cannot be read, or a description is none.
    pub async fn backups(&self) -> Result<Vec<Backup>, VeleroError> {
        let listed = self
            .objects
            .list_with_delimiter(Some(&Path::from("backups")))
            .await
            .map_err(|error| self.unreadable("backups", error))?;
        let names = listed.common_prefixes.into_iter();
        let names = names.filter_map(|prefix| prefix.filename().map(ToOwned::to_owned));
        let mut backups: Vec<Backup> = stream::iter(names)
            .map(|name| async move { self.described(&name).await })
            .buffered(PARALLEL)
            .try_filter_map(|backup| async { Ok(backup) })
            .try_collect()
            .await?;
        if backups.is_empty() {
            return Err(VeleroError::Empty {
                location: self.location.clone(),
            });
        }
        backups.sort_by(|a, b| (a.started, &a.name).cmp(&(b.started, &b.name)));
        Ok(backups)
    }

    /// The backup of a name.
    ///
    /// # Errors
    /// [`VeleroError::NoBackup`] with those that are there.
    pub async fn backup(&self, name: &str) -> Result<Backup, VeleroError> {
        let mut backups = self.backups().await?;
        match backups.iter().position(|backup| backup.name == name) {
            Some(at) => Ok(backups.swap_remove(at)),
            None => Err(VeleroError::NoBackup {
                location: self.location.clone(),
                name: name.into(),
                there: backups.into_iter().map(|backup| backup.name).collect(),
            }),
        }
    }

    /// Fetches the objects of a backup, by way of a file in `folder`.
    ///
    /// # Errors
    /// When it cannot be fetched, or is no tarball that Velero wrote.
    pub async fn archive(&self, backup: &Backup, folder: &Folder) -> Result<Archive, VeleroError> {
        let path = place(&backup.name, ".tar.gz");
        // The capture is called after it.
        let file = folder.join(format!("{}.tar.gz", backup.name));
        let unreadable = |error| self.unreadable(path.as_ref(), error);
        let mut content = self
            .objects
            .get(&path)
            .await
            .map_err(unreadable)?
            .into_stream();
        let unwritable = |source| VeleroError::Scratch {
            path: file.clone(),
            source,
        };
        let mut copy = tokio::fs::File::create(&file).await.map_err(unwritable)?;
        while let Some(part) = content.try_next().await.map_err(unreadable)? {
            copy.write_all(&part).await.map_err(unwritable)?;
        }
        copy.flush().await.map_err(unwritable)?;
        Ok(Archive::velero(&file)?)
    }

    /// What became of each volume of a backup.
    ///
    /// # Errors
    /// [`VeleroError::TooOld`] for a backup by a Velero that did not say.
    pub async fn volumes(&self, backup: &Backup) -> Result<Vec<Kept>, VeleroError> {
        let path = place(&backup.name, "-volumeinfo.json.gz");
        let Some(packed) = self.content(&path).await? else {
            return Err(VeleroError::TooOld {
                name: backup.name.clone(),
            });
        };
        let mut text = Vec::new();
        let mut reader = MultiGzDecoder::new(packed.as_ref()).take(SAYING_MAX + 1);
        let read = reader.read_to_end(&mut text);
        read.map_err(|error| self.damaged(&path, error.to_string()))?;
        if text.len() as u64 > SAYING_MAX {
            return Err(self.damaged(&path, format!("it has more than {SAYING_MAX} bytes")));
        }
        Ok(volumes::kept(self.parsed(&path, &text)?))
    }

    /// The description of one; `None` for a folder that Velero does not look at either.
    async fn described(&self, name: &str) -> Result<Option<Backup>, VeleroError> {
        let path = Path::from_iter(["backups", name, "velero-backup.json"]);
        let Some(text) = self.content(&path).await? else {
            return Ok(None);
        };
        let Description { spec, status } = self.parsed(&path, &text)?;
        Ok(Some(Backup {
            name: name.into(),
            phase: status.phase,
            started: status.start_timestamp,
            namespaces: spec.included_namespaces,
            items: status.progress.total_items,
            errors: status.errors,
        }))
    }

    /// A file that may not be there.
    async fn content(&self, path: &Path) -> Result<Option<bytes::Bytes>, VeleroError> {
        let got = match self.objects.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            got => got.map_err(|error| self.unreadable(path.as_ref(), error))?,
        };
        if got.meta.size > SAYING_MAX {
            return Err(self.damaged(path, format!("it has {} bytes", got.meta.size)));
        }
        let content = got.bytes().await;
        content
            .map(Some)
            .map_err(|error| self.unreadable(path.as_ref(), error))
    }

    fn parsed<T: DeserializeOwned>(&self, path: &Path, text: &[u8]) -> Result<T, VeleroError> {
        serde_json::from_slice(text).map_err(|error| self.damaged(path, error.to_string()))
    }

    fn unreadable(&self, path: &str, source: object_store::Error) -> VeleroError {
        VeleroError::Unreadable {
            location: self.location.clone(),
            path: path.into(),
            source: source.into(),
        }
    }

    fn damaged(&self, path: &Path, reason: String) -> VeleroError {
        VeleroError::Damaged {
            location: self.location.clone(),
            path: path.to_string(),
            reason,
        }
    }
}

/// A file of a backup that carries its name.
fn place(name: &str, end: &str) -> Path {
    Path::from_iter(["backups", name, &format!("{name}{end}")])
}
