//! What can go wrong with a cluster, said so that the user knows what to do.

use std::error::Error;
use std::path::PathBuf;

use crate::exit::Exit;

/// An answer of the API server other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiFailure {
    /// The cluster's name.
    pub cluster: String,
    /// What was tried, as in `list`, `apply`, `delete`.
    pub verb: String,
    /// On what, as in `secrets in namespace shop` or `Deployment.apps shop/web`.
    pub object: String,
    /// HTTP status.
    pub status: u16,
    /// The server's machine-readable reason, as in `Forbidden`; empty where it gave none.
    pub reason: String,
    /// The server's own words.
    pub message: String,
}

/// A failed operation on a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No kubeconfig can be read.
    #[error("cannot read the kubeconfig {}", .path.display())]
    Kubeconfig {
        /// Which file; the default's name when none was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kubeconfig has no context of that name.
    #[error("there is no context {name:?} in {kubeconfig}")]
    UnknownContext {
        /// The name asked for.
        name: String,
        /// Where it was looked up.
        kubeconfig: String,
        /// The contexts there are, sorted.
        known: Vec<String>,
    },
    /// The context is there and cannot be used: a certificate that does not parse, a missing file.
    #[error("the context {name:?} cannot be used")]
    Context {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer came: nothing listens, the name does not resolve, TLS fails, the connection broke.
    #[error("cannot reach cluster {cluster} at {server} to {verb} {object}")]
    Unreachable {
        /// The cluster's name.
        cluster: String,
        /// The API server's address.
        server: String,
        /// What was tried.
        verb: String,
        /// On what.
        object: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("cluster {cluster} at {server} did not answer within {seconds} s to {verb} {object}")]
    Timeout {
        /// The cluster's name.
        cluster: String,
        /// The API server's address.
        server: String,
        /// What was tried.
        verb: String,
        /// On what.
        object: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The server answered that it will not.
    #[error(
        "cluster {} refused to {} {}: {} ({} {})",
        .0.cluster, .0.verb, .0.object, .0.message, .0.status, .0.reason
    )]
    Api(Box<ApiFailure>),
    /// The server answered something that is not what the API says.
    #[error("cluster {cluster} gave an answer that cannot be understood to {verb} {object}")]
    Malformed {
        /// The cluster's name.
        cluster: String,
        /// What was tried.
        verb: String,
        /// On what.
        object: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The cluster does not serve a kind.
    #[error("cluster {cluster} does not serve {kind}")]
    NotServed {
        /// The cluster's name.
        cluster: String,
        /// The kind, with its version where one was asked for.
        kind: String,
    },
}

impl ClusterError {
    /// The server's answer, if it gave one.
    pub fn failure(&self) -> Option<&ApiFailure> {
        match self {
            Self::Api(failure) => Some(failure),
            _ => None,
        }
    }

    /// The HTTP status of the server's answer; 0 when it gave none.
    pub fn status(&self) -> u16 {
        self.failure().map_or(0, |failure| failure.status)
    }

    /// Whether the object, or its kind, is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == 404
    }

    /// Whether the user lacks a right.
    pub fn is_forbidden(&self) -> bool {
        self.status() == 403
    }

    /// Whether the object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.failure()
            .is_some_and(|failure| failure.reason == "AlreadyExists")
    }

    /// Whether the write clashed: a stale precondition, or fields another manager owns.
    pub fn is_conflict(&self) -> bool {
        self.status() == 409 && !self.is_already_exists()
    }

    /// Whether a watch or a continue token is too old.
    pub fn is_expired(&self) -> bool {
        self.status() == 410
    }

    /// Whether the connection, not the server's decision, is what failed.
    pub fn is_transport(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// What the user can do about it, as an instruction.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Kubeconfig { .. } => {
                Some("set KUBECONFIG or pass --kubeconfig with a file that can be read".into())
            }
            Self::UnknownContext { known, .. } if known.is_empty() => {
                Some("the kubeconfig has no contexts; set KUBECONFIG to one that has".into())
            }
            Self::UnknownContext { known, .. } => Some(format!(
                "use one of the contexts there: {}",
                known.join(", ")
            )),
            Self::Context { name, .. } => Some(format!(
                "check that `kubectl --context {name} version` works"
            )),
            Self::Unreachable { cluster, .. } | Self::Timeout { cluster, .. } => Some(format!(
                "check that `kubectl --context {cluster} version` answers from this machine"
            )),
            Self::Api(failure) => failure.help(),
            Self::Malformed { .. } => {
                Some("check that the address is a Kubernetes API server's, not a proxy's".into())
            }
            Self::NotServed { kind, .. } => Some(format!(
                "install what provides {kind}, or leave its objects out"
            )),
        }
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Kubeconfig { .. } | Self::UnknownContext { .. } | Self::Context { .. } => {
                Exit::Input
            }
            _ => Exit::Refused,
        }
    }
}

impl ApiFailure {
    fn help(&self) -> Option<String> {
        let text = match self.status {
            401 => format!(
                "log in to cluster {} again: it does not accept the credentials",
                self.cluster
            ),
            403 => format!(
                "ask an administrator of cluster {} for the right to {} {}",
                self.cluster, self.verb, self.object
            ),
            409 if self.reason != "AlreadyExists" => {
                "another manager owns these fields or the object changed meanwhile; plan again"
                    .into()
            }
            429 | 503 | 504 => "the API server is overloaded; try again later".into(),
            _ => return None,
        };
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, reason: &str) -> ClusterError {
        ClusterError::Api(Box::new(ApiFailure {
            cluster: "a".into(),
            verb: "list".into(),
            object: "secrets in namespace shop".into(),
            status,
            reason: reason.into(),
            message: "no".into(),
        }))
    }

    #[test]
    fn an_unknown_context_lists_the_known_ones_and_is_the_users_mistake() {
        let error = ClusterError::UnknownContext {
            name: "prod".into(),
            kubeconfig: "~/.kube/config".into(),
            known: vec!["a".into(), "b".into()],
        };
        assert_eq!(
            error.help().as_deref(),
            Some("use one of the contexts there: a, b")
        );
        assert_eq!(error.exit(), Exit::Input);
    }

    #[test]
    fn a_conflict_is_not_an_existing_object() {
        assert!(failure(409, "Conflict").is_conflict());
        assert!(!failure(409, "AlreadyExists").is_conflict());
        assert!(failure(409, "AlreadyExists").is_already_exists());
    }

    #[test]
    fn a_refusal_names_verb_and_object() {
        let error = failure(403, "Forbidden");
        assert_eq!(
            error.to_string(),
            "cluster a refused to list secrets in namespace shop: no (403 Forbidden)"
        );
        assert!(
            error
                .help()
                .is_some_and(|help| help.contains("list secrets in namespace shop"))
        );
        assert_eq!(error.exit(), Exit::Refused);
    }
}
