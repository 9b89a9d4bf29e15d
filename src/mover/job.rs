//! What a mover is told to do.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::capture::{Consistency, Held, SavedVolume, VolumeMode};
use crate::data::depot::Pass;
use crate::data::relay::Token;
use crate::repository::LossClass;

/// One mover's job. It holds the master key: it travels in a Secret and lives as long as its pod.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    /// Names the job in the store, `state/<id>/…`: equal for every attempt at it.
    pub(crate) id: String,
    /// What to do.
    pub(crate) task: Task,
    /// Filesystem or Block.
    pub(crate) mode: VolumeMode,
    /// Where the volume is: a folder, or a device.
    pub(crate) path: PathBuf,
    /// How to reach the store.
    pub(crate) store: StoreAccess,
    /// The repository's master key, as `MasterKey::to_json` writes it.
    pub(crate) key: String,
}

/// Without the key and the credentials.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("task", &self.task)
            .field("mode", &self.mode)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What to do with the volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Task {
    /// Read the volume into the store.
    Save {
        /// The cluster, as the snapshot's host.
        host: String,
        /// The snapshot's tags.
        tags: Vec<String>,
        /// What moment the volume shows.
        consistency: Consistency,
        /// Whether files that change while they are read are saved as they were found.
        #[serde(default)]
        accept_torn: bool,
        /// The storage's own snapshot that the volume was made of, where it is only read for its fingerprint: the
        /// storage holds its data, and the store need not.
        #[serde(default)]
        held: Option<Held>,
        /// Driver and handle of the snapshot that the volume was made of, where it is known.
        #[serde(default)]
        frozen: Option<String>,
    },
    /// Write a snapshot into the volume, then read the volume back and compare. What the storage holds is not written:
    /// the volume was made of it.
    Load {
        /// What was saved.
        saved: SavedVolume,
        /// Whether what the snapshot does not have is deleted: the volume is a sync's.
        #[serde(default)]
        delete_extra: bool,
        /// What the volume may lose of it.
        #[serde(default)]
        accept: Vec<LossClass>,
        /// Whether the root directory is the storage's, whose time a mover without privileges cannot set.
        #[serde(default)]
        foreign_root: bool,
    },
    /// Wait beside the volume, with the store open, until an [`Order`] comes. Nothing is read or written before.
    StandBy {
        /// Where in the store the order will be, sealed; no other mover was ever told this path.
        order: String,
    },
}

/// What a mover that stands by is to do after all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The job's id.
    pub(crate) id: String,
    /// What to do.
    pub(crate) task: Task,
}

/// How a mover reaches the store.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "access", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum StoreAccess {
    /// By itself, as its environment says.
    Direct {
        /// As in `s3://bucket/prefix`.
        url: String,
    },
    /// By itself, from a depot.
    Depot {
        /// As `host:port`.
        address: String,
        /// What lets it in.
        pass: Pass,
    },
    /// Through the CLI, which connects to this port of the pod.
    Relay {
        /// On the pod's loopback.
        port: u16,
        /// Who knows it is of this run.
        token: Token,
    },
}

/// Reads a job from its file.
pub(super) fn read(path: &Path) -> Result<Job, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the job at {}: {error}", path.display()))?;
    // The message of serde_json shows positions and names of fields and never their values.
    serde_json::from_str(&text).map_err(|error| format!("the job cannot be understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            id: "r-save-1".into(),
            task: Task::Save {
                host: "a".into(),
                tags: vec!["capture=c".into()],
                consistency: Consistency::Live,
                accept_torn: false,
                held: None,
                frozen: None,
            },
            mode: VolumeMode::Filesystem,
            path: "/volume".into(),
            store: StoreAccess::Relay {
                port: 7447,
                token: Token::random(),
            },
            key: "the key".into(),
        }
    }

    #[test]
    fn a_job_crosses_as_json_and_shows_no_secret_when_debugged() {
        let text = serde_json::to_string(&job()).unwrap();
        assert!(text.contains("the key"));
        let debug = format!("{:?}", serde_json::from_str::<Job>(&text).unwrap());
        assert!(
            !debug.contains("the key") && !debug.contains("token"),
            "{debug}"
        );
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let mut value = serde_json::to_value(job()).unwrap();
        value["colour"] = "red".into();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value.to_string()).unwrap();
        assert!(read(file.path()).unwrap_err().contains("colour"));
    }
}
