//! Everything that can go wrong with a repository, one variant per failed operation.
//!
//! A caller branches on three questions only: is the user's input wrong ([`Error::WrongPassword`],
//! [`Error::NotARepository`]), may the same call succeed later ([`Error::retryable`]), or is stored data
//! not what it should be ([`Error::Damaged`], [`Error::Tampered`], [`Error::BlobMissing`])?

use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::answer::{self, Answer};
use super::id::Id;

/// Result of a repository operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on the repository, its store, or the local side of a backup or restore.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `config` object: the location holds no repository.
    #[error("no repository here: `{object}` does not exist; create one with `ferry store init`")]
    NotARepository {
        /// The object looked for.
        object: String,
    },
    /// `init` on a location that already holds a repository.
    #[error("a repository exists here already: `{object}` is present")]
    AlreadyInitialized {
        /// The object found.
        object: String,
    },
    /// No key file opens with the password.
    #[error("the password opens none of the repository's {keys} key(s)")]
    WrongPassword {
        /// How many key files were tried.
        keys: usize,
    },
    /// The authentication code does not match: damaged, tampered with, or sealed with another key.
    #[error("`{object}` fails authentication: damaged, tampered with, or sealed with another key")]
    Tampered {
        /// What was opened.
        object: String,
    },
    /// Authentic, or not sealed at all, but not what the format allows.
    #[error("`{object}` is damaged: {what}")]
    Damaged {
        /// What was read.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// A valid repository that needs something this version does not do.
    #[error("`{object}` needs a feature this version does not have: {what}")]
    Unsupported {
        /// What was read.
        object: String,
        /// The feature.
        what: String,
    },
    /// A blob is referenced but no index lists it.
    #[error("blob {id} is in no index; run `ferry store check`; `restic repair index` may find it")]
    BlobMissing {
        /// The blob.
        id: Id,
    },
    /// A blob sealed a moment ago does not open to the same bytes: broken memory, CPU, or a bug.
    #[error("blob {id} does not read back as it was written; not uploaded (broken memory or CPU?)")]
    SelfCheck {
        /// The blob.
        id: Id,
    },
    /// Something larger than the format can say.
    #[error("{what} is too large for the repository format: {size} bytes, at most {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size in bytes.
        limit: u64,
    },
    /// An object that should be there is not.
    #[error("`{object}` does not exist in the store")]
    NotFound {
        /// The object.
        object: String,
    },
    /// A create-if-absent found the object present.
    #[error("`{object}` exists in the store already")]
    Exists {
        /// The object.
        object: String,
    },
    /// The store has no space left, or a quota is used up.
    #[error(
        "the store is full: no space left to {operation} `{object}`; free space or raise the quota, then run again"
    )]
    StoreFull {
        /// What was tried.
        operation: &'static str,
        /// The object.
        object: String,
        /// As the store said it.
        #[source]
        source: Answer,
    },
    /// The store refused or could not be reached.
    #[error("the store failed to {operation} `{object}`")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// The object.
        object: String,
        /// As the store said it.
        #[source]
        source: Answer,
    },
    /// Somebody holds a lock that excludes us.
    #[error("the repository is locked{} by {user}@{host} (pid {pid}) since {since}; wait, or run `ferry store unlock` if that process is dead", if *exclusive { " exclusively" } else { "" })]
    Locked {
        /// Whether the other lock is exclusive.
        exclusive: bool,
        /// Host of the holder.
        host: String,
        /// User of the holder.
        user: String,
        /// Process of the holder.
        pid: u32,
        /// When the lock was last refreshed, RFC 3339.
        since: String,
    },
    /// Our own lock could not be refreshed in time; others may have removed it.
    #[error("the repository lock was lost: it could not be refreshed within {minutes} minutes")]
    LockLost {
        /// Age at which others may remove the lock.
        minutes: u64,
    },
    /// No snapshot has this id or prefix.
    #[error("no snapshot `{wanted}`")]
    SnapshotNotFound {
        /// What was asked for.
        wanted: String,
    },
    /// A prefix fits several snapshots.
    #[error("`{wanted}` fits {count} snapshots; give more digits")]
    SnapshotAmbiguous {
        /// What was asked for.
        wanted: String,
        /// How many fit.
        count: usize,
    },
    /// No key has this id or prefix, or several have.
    #[error("no key `{wanted}`, or more than one; `ferry store keys list` shows them")]
    KeyNotFound {
        /// What was asked for.
        wanted: String,
    },
    /// The key cannot be spared.
    #[error("key {id:?} is the one in use; open the store with another password to remove it")]
    KeyInUse {
        /// The key.
        id: Id,
    },
    /// The repository was opened without a key of its own.
    #[error("the repository was opened with its master key, so there is no key to change")]
    NoCurrentKey,
    /// No object has this id or prefix, or several have.
    #[error("no object `{wanted}`, or more than one")]
    ObjectNotFound {
        /// What was asked for.
        wanted: String,
    },
    /// A path inside a snapshot that is not there.
    #[error("the snapshot has no `{path}`")]
    PathNotFound {
        /// The path.
        path: String,
    },
    /// An operation on a local file, directory, or device failed.
    #[error("cannot {operation} `{path}`")]
    Local {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The target of a block restore is smaller than the captured device.
    #[error(
        "`{path}` has {size} bytes, the captured device {needed}: give a target at least as large"
    )]
    TargetTooSmall {
        /// The target.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The captured size in bytes.
        needed: u64,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether the same call may succeed when simply made again: the store was busy, slow or unreachable.
    /// Never true for wrong input, damaged data, or a full store.
    pub fn retryable(&self) -> bool {
        use object_store::Error as S;
        match self {
            Error::Store { source, .. } => {
                let hopeless = matches!(
                    source.error(),
                    S::NotFound { .. }
                        | S::InvalidPath { .. }
                        | S::NotSupported { .. }
                        | S::AlreadyExists { .. }
                        | S::Precondition { .. }
                        | S::NotModified { .. }
                        | S::NotImplemented { .. }
                        | S::UnknownConfigurationKey { .. }
                );
                !hopeless && !source.is_refusal()
            }
            Error::LockLost { .. } | Error::Locked { .. } => true,
            _ => false,
        }
    }

    /// Whether nobody answered, or only a gateway or a server that is starting or stopping.
    pub(super) fn outage(&self) -> Option<Unanswered> {
        match self {
            Error::Store { source, .. } => outage(source.error()),
            _ => None,
        }
    }

    /// What the store answered or kept it from answering, in its own words.
    pub(super) fn reason(&self) -> String {
        match self {
            Error::Store { .. } if self.outage() == Some(Unanswered::Late) => {
                "no answer came in time".into()
            }
            Error::Store { source, .. } => answer::reason(source.error()),
            other => other.to_string(),
        }
    }

    /// Whether the keys may not do what was asked of the store.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Store { source, .. } if source.is_refusal())
    }

    /// Sorts an answer of the store: missing, present, full, or failed.
    pub(super) fn store(
        operation: &'static str,
        object: &str,
        source: object_store::Error,
    ) -> Self {
        let object = object.to_owned();
        if is_full(&source) {
            return Error::StoreFull {
                operation,
                object,
                source: source.into(),
            };
        }
        // A listing's 404 comes as any other error; only its text says what it is.
        let text = source.to_string();
        if ["NoSuchBucket", "ContainerNotFound"]
            .iter()
            .any(|code| text.contains(code))
        {
            return Error::NotFound { object };
        }
        match source {
            object_store::Error::NotFound { .. } => Error::NotFound { object },
            object_store::Error::AlreadyExists { .. } => Error::Exists { object },
            source => Error::Store {
                operation,
                object,
                source: source.into(),
            },
        }
    }

    pub(super) fn damaged(object: impl Into<String>, what: impl ToString) -> Self {
        Error::Damaged {
            object: object.into(),
            what: what.to_string(),
        }
    }
}

/// How a request ended that the store did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nobody took it, or said more than that it cannot be served now.
    Refused,
    /// It, or its answer, was cut off.
    Broken,
    /// Nothing came for a long time.
    Late,
}

/// Whether it is no answer of the store's.
pub(crate) fn outage(error: &object_store::Error) -> Option<Unanswered> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(http) = current.downcast_ref::<HttpError>() {
            use HttpErrorKind::{Connect, Interrupted, Request, Timeout};
            return match http.kind() {
                Connect => Some(Unanswered::Refused),
                Interrupted | Request => Some(Unanswered::Broken),
                Timeout => Some(Unanswered::Late),
                _ => None,
            };
        }
        cause = current.source();
    }
    let text = error.to_string();
    let unserved = [
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ];
    let refused = unserved.iter().any(|code| text.contains(code));
    refused.then_some(Unanswered::Refused)
}

/// `ENOSPC` and `EDQUOT` hide somewhere in the chain of a local store's error; S3 servers say it in words.
pub(crate) fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        {
            return true;
        }
        cause = current.source();
    }
    let text = error.to_string();
    ["XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"]
        .iter()
        .any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_is_told_from_a_busy_one_and_only_the_busy_one_is_asked_again() {
        let generic = |source: io::Error| object_store::Error::Generic {
            store: "x",
            source: source.into(),
        };
        let full = Error::store("write", "a", generic(io::ErrorKind::StorageFull.into()));
        assert!(matches!(full, Error::StoreFull { .. }) && !full.retryable());
        let busy = Error::store("write", "a", generic(io::ErrorKind::TimedOut.into()));
        assert!(matches!(busy, Error::Store { .. }) && busy.retryable());
    }
}
