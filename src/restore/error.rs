//! Why a run, or one step of it, did not end well.

use crate::causes;
use crate::cluster::ClusterError;
use crate::data::DataError;
use crate::exit::Exit;
use crate::journal::{FileError, JournalError};
use crate::plan::file::PlanFileError;

/// Why a run could not be executed at all.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Findings forbid it.
    #[error("the plan has findings that block it; `ferry check` lists them with their remedies")]
    Blocked,
    /// It was made for another cluster.
    #[error("the plan was made for cluster {planned}, and {found} is another one")]
    OtherCluster {
        /// The cluster it was made for.
        planned: String,
        /// The cluster given.
        found: String,
    },
    /// The store has no such run.
    #[error("the store has no run {run}; `ferry runs list` shows those it has")]
    NoRun {
        /// The name given.
        run: String,
    },
    /// The run was undone and cannot go on.
    #[error("run {run} was undone; start a new one")]
    Undone {
        /// The run.
        run: String,
    },
    /// Cluster A is needed and was not given.
    #[error(
        "the run holds workloads on cluster A, which does not answer: nothing was taken back; name its \
         context with --from"
    )]
    NoSource,
    /// The files of the run cannot be kept or read.
    #[error("failed to reach the files of run {run} in the store")]
    Files {
        /// The run.
        run: String,
        /// Why.
        #[source]
        source: FileError,
    },
    /// The plan in the store is damaged.
    #[error("failed to read the run's plan")]
    Plan(#[from] PlanFileError),
    /// The journal failed.
    #[error("failed to keep the run's journal")]
    Journal(#[from] JournalError),
    /// Another run works on a target namespace.
    #[error("the run did not begin")]
    Busy(#[source] StepError),
    /// Cluster B failed before any step.
    #[error("failed to ask cluster B")]
    Cluster(#[from] ClusterError),
}

impl RestoreError {
    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Blocked => Exit::Blocked,
            Self::OtherCluster { .. }
            | Self::NoRun { .. }
            | Self::Undone { .. }
            | Self::Plan(_) => Exit::Input,
            Self::Files { .. } | Self::Journal(_) | Self::Busy(_) | Self::NoSource => Exit::Refused,
            Self::Cluster(error) => error.exit(),
        }
    }
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// B is not as the plan expects.
    #[error("{reason}; make a new plan")]
    Stale {
        /// What changed, as a sentence.
        reason: String,
    },
    /// Other managers own fields that the step would change.
    #[error(
        "other managers own fields of this object: {message}; --force-conflicts takes them over"
    )]
    Conflict {
        /// The server's list of managers and fields.
        message: String,
    },
    /// Another run works on the namespace at this moment.
    #[error(
        "run {holder} works on namespace {namespace} now; wait until it ends (`ferry runs list`), then \
         try again"
    )]
    Busy {
        /// The namespace on B.
        namespace: String,
        /// The other run.
        holder: String,
    },
    /// B does not serve the kind.
    #[error("cluster B does not serve {kind}")]
    NotServed {
        /// The kind with its version.
        kind: String,
    },
    /// A finding blocks the object.
    #[error("a finding blocks it")]
    Blocked,
    /// Cluster A does not stand still.
    #[error("{reason}")]
    Running {
        /// What runs, and what to do.
        reason: String,
    },
    /// A command in a container did not end well, or could not be run.
    #[error("{reason}")]
    Hook {
        /// Which, where, why, and what it wrote.
        reason: String,
    },
    /// The user stopped the run while it waited.
    #[error("stopped")]
    Stopped,
    /// Cluster A was not given.
    #[error("cluster A is not part of this run; name its context with --from")]
    NoSource,
    /// A cluster refused or did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The data did not travel.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data that should be loaded was never saved.
    #[error("nothing was saved of claim {claim}")]
    NotSaved {
        /// The claim on A.
        claim: String,
    },
    /// What arrived is not what was saved.
    #[error("claim {claim} does not hold what was saved: digest {found} instead of {wanted}")]
    Differs {
        /// The claim on B.
        claim: String,
        /// Digest found.
        found: String,
        /// Digest wanted.
        wanted: String,
    },
    /// The intent could not be recorded, so nothing was done.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StepError {
    /// The message with all its causes: `failed to x: no route to host`.
    pub fn full(&self) -> String {
        causes::in_one_line(self)
    }

    /// Whether the user, not a fault, ended the step.
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Data(DataError::Cancelled { .. })
        )
    }
}
