//! What can be wrong with files that are to become a capture.

use std::path::PathBuf;

use super::super::error::CaptureError;
use crate::object::ObjectError;
use crate::yaml::YamlError;

/// One thing that is wrong. Nothing was written anywhere.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Text that is no YAML.
    #[error("{place} is no YAML")]
    Yaml {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: YamlError,
    },
    /// Text that is no JSON.
    #[error("{place} is no JSON")]
    Json {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A document that is no Kubernetes object.
    #[error("{place} is no Kubernetes object")]
    NoObject {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// A folder with sources that must be rendered first.
    #[error("{} is not an object but a source of some", .path.display())]
    Unrendered {
        /// The file that shows it.
        path: PathBuf,
        /// The command that renders it.
        command: String,
    },
    /// More than any real cluster's objects need.
    #[error("{place} is too large: {limit}")]
    TooLarge {
        /// Where.
        place: String,
        /// What is allowed.
        limit: String,
    },
    /// Something no honest archive holds.
    #[error("the archive cannot be trusted: {place} {reason}")]
    Hostile {
        /// The entry.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is no Velero backup.
    #[error("{} is no Velero backup this version reads: {reason}", .path.display())]
    NoBackup {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An object of a namespaced kind that names no namespace.
    #[error("{object} in {place} names no namespace")]
    NoNamespace {
        /// The object, as messages name it.
        object: String,
        /// Where it was read.
        place: String,
    },
    /// Two objects of one name.
    #[error("{object} is there twice: in {first} and in {second}")]
    Twice {
        /// The object, as messages name it.
        object: String,
        /// Where it was read first.
        first: String,
        /// Where it was read again.
        second: String,
    },
    /// Namespaces that were asked for and of which nothing is there.
    #[error("nothing in the archive is of namespace {}", .namespaces.join(", "))]
    Absent {
        /// Those asked for.
        namespaces: Vec<String>,
        /// Those that are there.
        there: Vec<String>,
    },
    /// No object of any namespace.
    #[error("the archive holds no objects of a namespace")]
    Empty,
}

impl ArchiveError {
    /// Nothing wrong, or all of it.
    pub(super) fn none(wrong: Vec<Self>) -> Result<(), CaptureError> {
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(CaptureError::Archive(wrong)),
        }
    }

    /// What the user can do about it, as an instruction.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "name what exists and may be read".into(),
            Self::Yaml { .. } | Self::Json { .. } => "repair the file, or leave it out".into(),
            Self::NoObject { .. } => {
                "leave files that are no manifests out of the folder; objects need apiVersion, kind and \
                 metadata.name"
                    .into()
            }
            Self::Unrendered { command, .. } => format!("render it first: {command}"),
            Self::TooLarge { .. } | Self::Hostile { .. } => {
                "ask where the file comes from; an archive written by Velero is not like this".into()
            }
            Self::NoBackup { .. } => {
                "name the <backup>.tar.gz that Velero wrote, format 1".into()
            }
            Self::NoNamespace { .. } => "say which is meant with -n, once".into(),
            Self::Twice { .. } => "leave one of them out".into(),
            Self::Absent { there, .. } => format!("there is {}", there.join(", ")),
            Self::Empty => "look at another file or folder".into(),
        })
    }
}

/// All of them, one per line, each with its causes.
pub(in super::super) fn list(errors: &[ArchiveError]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = errors
        .iter()
        .take(SHOWN)
        .map(|error| crate::causes::in_one_line(error))
        .collect();
    if errors.len() > SHOWN {
        lines.push(format!("and {} more", errors.len() - SHOWN));
    }
    lines.join("\n")
}
