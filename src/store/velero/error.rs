//! What can go wrong with another tool's backups.

use std::error::Error as StdError;
use std::path::PathBuf;

use crate::capture::CaptureError;
use crate::exit::Exit;
use crate::report::units::bytes;
use crate::store::{Location, StoreError};

/// A backup that cannot be listed, read or imported. Nothing in Velero's bucket was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VeleroError {
    /// The place cannot be gone to.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The objects are not what Velero writes.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// There is nothing of Velero's.
    #[error("there are no backups of Velero at {location}")]
    Empty {
        /// Where.
        location: Location,
    },
    /// No backup of that name.
    #[error("there is no backup {name:?} at {location}")]
    NoBackup {
        /// Where.
        location: Location,
        /// What was asked for.
        name: String,
        /// What is there.
        there: Vec<String>,
    },
    /// A backup that Velero did not bring to an end.
    #[error("backup {name} is {phase}, not Completed: parts of it may be missing")]
    Unfinished {
        /// Which.
        name: String,
        /// What Velero calls its state.
        phase: String,
    },
    /// A Velero before 1.13 made it.
    #[error("backup {name} does not say where its volumes' data is")]
    TooOld {
        /// Which.
        name: String,
    },
    /// Something in the bucket cannot be read.
    #[error("cannot read {path} at {location}")]
    Unreadable {
        /// Where.
        location: Location,
        /// What.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Something in the bucket is not what Velero writes.
    #[error("{path} at {location} is not what Velero writes: {reason}")]
    Damaged {
        /// Where.
        location: Location,
        /// What.
        path: String,
        /// How.
        reason: String,
    },
    /// Data in a place from which it is not read.
    #[error("data of backups is read from folders and S3, not from {location}")]
    Elsewhere {
        /// Where.
        location: Location,
    },
    /// The folder for what is fetched.
    #[error("cannot use {}", .path.display())]
    Scratch {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Less space than a volume needs.
    #[error(
        "{} has {} free, and a volume of {} must be unpacked there",
        .path.display(), bytes(*.free), bytes(*.needed)
    )]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes free there.
        free: u64,
        /// Bytes that the largest volume takes.
        needed: u64,
    },
    /// kopia did not do what it was asked.
    #[error("kopia could not {action}: {said}")]
    Kopia {
        /// What was asked, as in `open the repository of namespace shop`.
        action: String,
        /// Its last words.
        said: String,
    },
    /// There is no such program.
    #[error("cannot run {}", .path.display())]
    NoKopia {
        /// What was named.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl VeleroError {
    /// What to do.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Store(error) => return error.help(),
            Self::Capture(error) => return error.help(),
            Self::Empty { .. } => {
                "name the bucket and prefix of the BackupStorageLocation: kubectl -n velero get backupstoragelocation \
                 -o yaml"
                    .into()
            }
            Self::NoBackup { there, .. } => format!("there are: {}", there.join(", ")),
            Self::Unfinished { .. } => {
                "wait until Velero says Completed, or import an earlier backup".into()
            }
            Self::TooOld { .. } => {
                "Velero says so from 1.13 on: back up anew with a later Velero, or import with --objects-only".into()
            }
            Self::Unreadable { .. } => {
                "see that the place is there and the credentials may read all of it, then run again".into()
            }
            Self::Damaged { .. } => {
                "import another backup; this one may be damaged, or not Velero's".into()
            }
            Self::Elsewhere { .. } => {
                "copy the bucket into a folder with the cloud's own tool and name that folder, or import with \
                 --objects-only"
                    .into()
            }
            Self::Scratch { .. } | Self::NoSpace { .. } => {
                "name a folder with space for the largest volume with --scratch".into()
            }
            Self::Kopia { .. } => {
                "what was saved before is kept: correct the cause and run the same command again; files get their owners \
                 back only from root, and a repository with another password than Velero's default is opened by that of \
                 Secret velero-repo-credentials: --kopia-password-file"
                    .into()
            }
            Self::NoKopia { .. } => {
                "name kopia's binary with --kopia; any version that reads Velero's repositories will do".into()
            }
        };
        Some(text)
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Store(error) => error.exit(),
            Self::Capture(error) => error.exit(),
            Self::Empty { .. }
            | Self::NoBackup { .. }
            | Self::Unfinished { .. }
            | Self::TooOld { .. }
            | Self::Elsewhere { .. }
            | Self::NoKopia { .. }
            | Self::Scratch { .. }
            | Self::NoSpace { .. } => Exit::Input,
            Self::Unreadable { .. } | Self::Damaged { .. } => Exit::Refused,
            Self::Kopia { .. } => Exit::Incomplete,
        }
    }
}
