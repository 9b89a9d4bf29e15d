//! Why a capture could not be taken.

use super::archive::{self, ArchiveError};
use crate::cluster::ClusterError;
use crate::cluster::rights::{Right, grant};
use crate::exit::Exit;

/// A capture that was not taken. Nothing was written anywhere.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The user named no namespace.
    #[error("no namespace was given to capture")]
    NothingSelected,
    /// Namespaces that are not on A.
    #[error("cluster {cluster} has no namespace {}", .names.join(", "))]
    NoNamespace {
        /// The cluster's name.
        cluster: String,
        /// The names asked for and not found.
        names: Vec<String>,
        /// Namespaces with similar names, best first.
        similar: Vec<String>,
    },
    /// The user may not read all that is to be captured; half a capture would be a trap.
    #[error("cluster {cluster} does not let the user {}", list(.rights))]
    Denied {
        /// The cluster's name.
        cluster: String,
        /// Every right that is lacking.
        rights: Vec<Right>,
        /// The user's name on the cluster, where it tells.
        user: Option<String>,
    },
    /// APIs that may hold objects and whose server does not answer; half a capture would be a trap.
    #[error("cluster {cluster} registers {} and the server behind does not answer", .apis.join(", "))]
    Silent {
        /// The cluster's name.
        cluster: String,
        /// As `group/version`.
        apis: Vec<String>,
    },
    /// Patterns of the selection that fit no kind the cluster serves.
    #[error("cluster {cluster} serves no kind that {} could mean", .patterns.join(" or "))]
    UnknownKinds {
        /// The cluster's name.
        cluster: String,
        /// The patterns as the user wrote them.
        patterns: Vec<String>,
    },
    /// Files that are no archive of objects, with all that is wrong with them.
    #[error("{}", archive::list(.0))]
    Archive(Vec<ArchiveError>),
    /// The cluster failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

fn list(rights: &[Right]) -> String {
    rights
        .iter()
        .map(Right::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl CaptureError {
    /// What the user can do about it, as an instruction.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NothingSelected => Some("name one or more with `-n NAMESPACE`".into()),
            Self::NoNamespace {
                cluster, similar, ..
            } if similar.is_empty() => Some(format!(
                "`kubectl --context {cluster} get namespaces` lists what is there"
            )),
            Self::NoNamespace { similar, .. } => Some(format!("is it {}?", similar.join(", or "))),
            Self::Denied {
                cluster,
                rights,
                user,
            } => Some(format!(
                "leave the kinds out with --exclude, capture what may be read with \
                 --allow-incomplete, or ask an administrator of cluster {cluster} to run:\n{}",
                grant(rights, user.as_deref())
            )),
            Self::Silent { .. } => Some(
                "repair or remove the APIService, or capture the rest with `ferry capture --allow-incomplete`"
                    .into(),
            ),
            Self::UnknownKinds { cluster, .. } => Some(format!(
                "`kubectl --context {cluster} api-resources` lists the kinds; both Deployment and \
                 deployments are understood"
            )),
            Self::Archive(errors) => errors.first().and_then(ArchiveError::help),
            Self::Cluster(error) => error.help(),
        }
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Archive(_)
            | Self::NothingSelected
            | Self::NoNamespace { .. }
            | Self::UnknownKinds { .. } => Exit::Input,
            Self::Denied { .. } | Self::Silent { .. } => Exit::Refused,
            Self::Cluster(error) => error.exit(),
        }
    }
}
