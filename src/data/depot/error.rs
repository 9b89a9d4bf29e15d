//! What can go wrong with a depot, and what to do about it.

use std::error::Error as StdError;

use super::Attempts;
use crate::cluster::ClusterError;
use crate::data::DataError;
use crate::exit::Exit;

/// A depot that cannot be made, found or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepotError {
    /// There is none of that name.
    #[error("there is no depot {name} on cluster {cluster}")]
    None {
        /// The name.
        name: String,
        /// Where it was looked for.
        cluster: String,
    },
    /// No image to start it from.
    #[error("a depot is a pod of Ferry's own image, and none was named")]
    NoImage,
    /// The storage that its claim shall have is not there.
    #[error("cluster {cluster} has no {} for the depot's claim", class_named(.class.as_deref()))]
    NoClass {
        /// The cluster.
        cluster: String,
        /// The class that was asked for; `None` for the default.
        class: Option<String>,
        /// Classes there are.
        known: Vec<String>,
    },
    /// The API server refused or could not be reached.
    #[error("failed to {action} for the depot on cluster {cluster}")]
    Cluster {
        /// What was tried.
        action: String,
        /// Where.
        cluster: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Its pod, or the one that tries to reach it, does not start.
    #[error("the pod of {what} on cluster {cluster} does not work: {reason}")]
    Pod {
        /// Which.
        what: &'static str,
        /// Where.
        cluster: String,
        /// Why.
        reason: String,
    },
    /// It works, and the other cluster cannot reach it.
    #[error("pods of cluster {from} cannot reach the depot on cluster {to}: {tried}")]
    Unreachable {
        /// Where movers would run.
        from: String,
        /// Where the depot is.
        to: String,
        /// What was tried, and what came of it.
        tried: Attempts,
    },
    /// No keys could be made.
    #[error("no key can be made for the depot")]
    Keys(#[source] std::io::Error),
}

fn class_named(class: Option<&str>) -> String {
    match class {
        Some(class) => format!("storage class {class:?}"),
        None => "default storage class".into(),
    }
}

impl DepotError {
    /// What a call on a cluster failed with.
    pub(super) fn on(cluster: &str, what: &'static str, error: DataError) -> Self {
        let cluster = cluster.to_owned();
        match error {
            DataError::NoImage => Self::NoImage,
            DataError::Cluster { action, source, .. } => Self::Cluster {
                action,
                cluster,
                source,
            },
            DataError::Start { reason, .. }
            | DataError::Mover { reason, .. }
            | DataError::Claim { reason, .. } => Self::Pod {
                what,
                cluster,
                reason,
            },
            other => Self::Pod {
                what,
                cluster,
                reason: other.to_string(),
            },
        }
    }

    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::None { .. } => {
                "it is made by `ferry migrate --direct`, and removed when all has arrived".into()
            }
            Self::NoImage => {
                "push Ferry's own with `ferry mover push REGISTRY/REPO:TAG` to a registry that both \
                 clusters pull from, and name it with --mover-image or FERRY_MOVER_IMAGE"
                    .into()
            }
            Self::NoClass { known, .. } => format!(
                "name one with --direct-storage-class; there are: {}",
                known.join(", ")
            ),
            Self::Cluster { source, .. } => {
                let refused = source.downcast_ref::<ClusterError>();
                return refused.and_then(ClusterError::help);
            }
            Self::Pod { .. } => {
                "run it again once that is mended; or use a store: with --store FOLDER the data travels through \
                 this machine"
                    .into()
            }
            Self::Unreachable { .. } => {
                "open one of these ports between the clusters, or name an address that leads there with \
                 --direct-address HOST:PORT; without any, --store FOLDER carries the data through this machine"
                    .into()
            }
            Self::Keys(_) => return None,
        })
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::None { .. } | Self::NoImage => Exit::Input,
            Self::NoClass { .. } | Self::Unreachable { .. } => Exit::Blocked,
            Self::Cluster { .. } | Self::Pod { .. } => Exit::Refused,
            Self::Keys(_) => Exit::Internal,
        }
    }
}
