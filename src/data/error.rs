//! What can go wrong while a volume's data travels.

use std::error::Error as StdError;

use crate::capture::Proof;
use crate::causes::in_one_line;
use crate::cluster::ClusterError;
use crate::exit::Exit;

/// A failed step of a data move. Each names the claim it is about and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No image to start movers from.
    #[error(
        "no mover image: push Ferry's own with `ferry mover push REGISTRY/REPO:TAG` to a registry the \
         cluster can pull from, then give it as --mover-image or FERRY_MOVER_IMAGE"
    )]
    NoImage,
    /// The API server refused or could not be reached.
    #[error("failed to {action} for claim {claim}")]
    Cluster {
        /// What was tried, as in `create the mover pod`.
        action: String,
        /// `namespace/claim`.
        claim: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A cluster does not take movers.
    #[error("cluster {cluster} refuses {what}: {answer}; {next}")]
    Refused {
        /// The cluster.
        cluster: String,
        /// The namespace or pod that was asked for.
        what: String,
        /// The server's words.
        answer: String,
        /// What to do.
        next: String,
    },
    /// The claim is in a state no mover can work with.
    #[error("claim {claim} cannot be used: {reason}")]
    Claim {
        /// `namespace/claim`.
        claim: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The CSI driver could not take or hand out a snapshot.
    #[error("no snapshot of claim {claim}: {reason}")]
    Snapshot {
        /// `namespace/claim`.
        claim: String,
        /// Why, in the driver's own words where it has some.
        reason: String,
    },
    /// The CSI driver could not clone a volume.
    #[error("no clone of claim {claim}: {reason}")]
    Clone {
        /// `namespace/claim`.
        claim: String,
        /// Why, in the driver's own words where it has some, and what to do.
        reason: String,
    },
    /// The mover pod never began to work.
    #[error("the mover of claim {claim} does not start: {reason}")]
    Start {
        /// `namespace/claim`.
        claim: String,
        /// Why: image, scheduling, mount …
        reason: String,
    },
    /// The mover ran and failed.
    #[error("the mover of claim {claim} failed: {reason}")]
    Mover {
        /// `namespace/claim`.
        claim: String,
        /// In the mover's own words.
        reason: String,
        /// Whose fault it is, as the mover's exit code says.
        exit: Exit,
    },
    /// What arrived is not what was saved.
    #[error(
        "claim {claim} does not hold what was saved: {found} arrived, {wanted} were saved; \
         run again to restore what differs",
        found = counted(found), wanted = counted(wanted)
    )]
    Differs {
        /// `namespace/claim`.
        claim: String,
        /// What the target shows.
        found: Proof,
        /// What was saved.
        wanted: Proof,
    },
    /// The store could not be used from here.
    #[error("the store cannot be used for claim {claim}")]
    Store {
        /// `namespace/claim`.
        claim: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The user, or a failed sibling, asked to stop.
    #[error("stopped before claim {claim} was done; `ferry runs resume` goes on")]
    Cancelled {
        /// `namespace/claim`.
        claim: String,
    },
    /// A run has left things behind.
    #[error("{count} leftover object(s) of run {run} could not be removed: {first}")]
    Clean {
        /// The run.
        run: String,
        /// How many.
        count: usize,
        /// The first one, and why.
        first: String,
    },
}

impl DataError {
    /// Whether a server said no, and not that it is busy or away.
    pub(super) fn is_forbidden(&self) -> bool {
        let Self::Cluster { source, .. } = self else {
            return false;
        };
        let error = source.downcast_ref::<ClusterError>();
        error.is_some_and(ClusterError::is_forbidden)
    }

    /// The same, as what befell another claim that travels together with the one it names.
    pub(super) fn about(&self, claim: &str) -> Self {
        let claim = claim.to_owned();
        match self {
            Self::NoImage => Self::NoImage,
            Self::Refused {
                cluster,
                what,
                answer,
                next,
            } => Self::Refused {
                cluster: cluster.clone(),
                what: what.clone(),
                answer: answer.clone(),
                next: next.clone(),
            },
            Self::Start { reason, .. } => Self::Start {
                claim,
                reason: reason.clone(),
            },
            other => Self::Mover {
                claim,
                reason: in_one_line(other),
                exit: other.exit(),
            },
        }
    }

    /// The exit code that tells a script whose fault it is.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoImage => Exit::Input,
            Self::Cluster { .. } | Self::Store { .. } | Self::Refused { .. } => Exit::Refused,
            Self::Mover { exit, .. } => *exit,
            Self::Claim { .. }
            | Self::Snapshot { .. }
            | Self::Clone { .. }
            | Self::Start { .. }
            | Self::Differs { .. }
            | Self::Cancelled { .. }
            | Self::Clean { .. } => Exit::Incomplete,
        }
    }
}

fn counted(proof: &Proof) -> String {
    let digest = proof.digest.get(..12).unwrap_or(&proof.digest);
    format!(
        "{} entries, {} bytes, digest {digest}…",
        proof.files, proof.bytes
    )
}
