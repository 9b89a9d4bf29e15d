//! Captures in a store: one restic snapshot each for the objects, and a sealed manifest that says it is
//! whole.

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, files};
use crate::capture::Capture;
use crate::repository::{Id, SnapshotInfo};
use crate::surface::ClusterIdentity;

/// Tag of the snapshot that holds a capture's objects; those of its volumes have `pvc=…` beside
/// `capture=…`.
const OBJECTS_TAG: &str = "objects";

/// What a store says about a capture without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSummary {
    /// Its name.
    pub id: String,
    /// When it was taken.
    pub created: jiff::Timestamp,
    /// The cluster it was taken of.
    pub cluster: ClusterIdentity,
    /// Namespaces captured.
    pub namespaces: Vec<String>,
    /// Objects that travel.
    pub objects: u64,
    /// Objects that stayed.
    pub dropped: u64,
    /// Claims whose data travels.
    pub volumes: u64,
    /// Those among them whose data is in the store.
    pub saved: u64,
    /// Content bytes of the saved ones.
    pub bytes: u64,
    /// The restic snapshot of the objects.
    pub snapshot: Id,
}

impl Store {
    /// Saves a capture. Its volumes' data, where the capture says it is saved, must be in the store
    /// already: after this call the capture exists.
    ///
    /// # Errors
    /// [`StoreError::Full`] and what else can go wrong with a place.
    pub async fn save_capture(&self, capture: &Capture) -> Result<CaptureSummary, StoreError> {
        let files = files::write(capture)?;
        let info = SnapshotInfo {
            hostname: capture.surface.cluster.name.clone(),
            tags: vec![tag(&capture.id), OBJECTS_TAG.into()],
        };
        let snapshot = self
            .with(move |repository| repository.save_files(files, &info))
            .await??;
        let snapshot = snapshot.id.ok_or_else(|| {
            StoreError::damaged(&self.location, "the new snapshot", "it was given no name")
        })?;
        let summary = summarise(capture, snapshot);
        self.put_file(&path(&capture.id), &json(&summary)).await?;
        Ok(summary)
    }

    /// Loads a capture by its name, by a beginning of it that fits only one, or the newest as
    /// `latest`.
    ///
    /// # Errors
    /// [`StoreError::NoCapture`], [`StoreError::ManyCaptures`], [`StoreError::Damaged`].
    pub async fn load_capture(&self, wanted: &str) -> Result<Capture, StoreError> {
        let id = self.find_capture(wanted).await?;
        let summary = self.summary(&id).await?;
        let snapshot = summary.snapshot.to_string();
        let location = self.location.clone();
        let capture = self
            .with(move |repository| {
                let snapshot = repository.snapshot(&snapshot)?;
                let files = repository.read_files(&snapshot)?;
                let entries = files.map(|entry| {
                    entry.map_err(|error| StoreError::from_repository(&location, error))
                });
                Ok(files::read(&location, entries))
            })
            .await??;
        if capture.id != id {
            let reason = format!("it holds capture {}", capture.id);
            return Err(StoreError::damaged(&self.location, path(&id), reason));
        }
        Ok(capture)
    }

    /// What a capture holds, named as for [`Store::load_capture`]; also of one whose objects are damaged.
    ///
    /// # Errors
    /// As [`Store::load_capture`].
    pub async fn capture_summary(&self, wanted: &str) -> Result<CaptureSummary, StoreError> {
        let id = self.find_capture(wanted).await?;
        self.summary(&id).await
    }

    /// Every capture in the store, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_captures(&self) -> Result<Vec<CaptureSummary>, StoreError> {
        let mut summaries = Vec::new();
        for id in self.capture_names().await? {
            summaries.push(self.summary(&id).await?);
        }
        Ok(summaries)
    }

    /// Removes a capture, named as for [`Store::load_capture`], and forgets its snapshots. Their data
    /// is freed by a prune, which sees what others share.
    ///
    /// # Errors
    /// As [`Store::load_capture`].
    pub async fn remove_capture(&self, wanted: &str) -> Result<String, StoreError> {
        let id = self.find_capture(wanted).await?;
        let (marker, tag) = (path(&id), tag(&id));
        self.with(move |repository| {
            // First the marker: from then on the capture does not exist, whatever comes between.
            repository.delete_sealed(&marker)?;
            for snapshot in repository.snapshots(&[tag])? {
                if let Some(id) = snapshot.id {
                    repository.forget(&id)?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(id)
    }

    async fn summary(&self, id: &str) -> Result<CaptureSummary, StoreError> {
        let name = path(id);
        let Some(bytes) = self.get_file(&name).await? else {
            return Err(self.no_capture(id, Vec::new()));
        };
        let summary: CaptureSummary = serde_json::from_slice(&bytes)
            .map_err(|source| StoreError::damaged(&self.location, name, source))?;
        Ok(summary)
    }

    /// Names of captures, newest first: they begin with the time.
    pub(super) async fn capture_names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.list_files("captures").await?;
        names.reverse();
        Ok(names)
    }

    async fn find_capture(&self, wanted: &str) -> Result<String, StoreError> {
        let known = self.capture_names().await?;
        let mut fitting: Vec<String> = match wanted {
            "latest" => known.first().cloned().into_iter().collect(),
            "" => Vec::new(),
            wanted if known.iter().any(|id| id == wanted) => vec![wanted.to_owned()],
            wanted => known
                .iter()
                .filter(|id| id.starts_with(wanted))
                .cloned()
                .collect(),
        };
        match (fitting.pop(), fitting.is_empty()) {
            (Some(id), true) => Ok(id),
            (None, _) => Err(self.no_capture(wanted, known)),
            (Some(last), false) => {
                fitting.push(last);
                Err(StoreError::ManyCaptures {
                    location: self.location.clone(),
                    wanted: wanted.into(),
                    fitting,
                })
            }
        }
    }

    fn no_capture(&self, wanted: &str, known: Vec<String>) -> StoreError {
        StoreError::NoCapture {
            location: self.location.clone(),
            wanted: wanted.into(),
            known,
        }
    }
}

fn path(id: &str) -> String {
    format!("captures/{id}")
}

fn tag(id: &str) -> String {
    format!("capture={id}")
}

fn json(summary: &CaptureSummary) -> Vec<u8> {
    serde_json::to_vec(summary).unwrap_or_default()
}

fn summarise(capture: &Capture, snapshot: Id) -> CaptureSummary {
    let saved: Vec<u64> = capture
        .volumes
        .iter()
        .filter_map(|volume| volume.saved.as_ref().filter(|saved| saved.held.is_none()))
        .map(|saved| saved.proof.bytes)
        .collect();
    CaptureSummary {
        id: capture.id.clone(),
        created: capture.created,
        cluster: capture.surface.cluster.clone(),
        namespaces: capture.namespaces.clone(),
        objects: capture.objects.len() as u64,
        dropped: capture.dropped.len() as u64,
        volumes: capture.volumes.len() as u64,
        saved: saved.len() as u64,
        bytes: saved.iter().sum(),
        snapshot,
    }
}
