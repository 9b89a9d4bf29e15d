//! What a mover asks, what the CLI answers, and how the store's errors survive the crossing.

use std::time::{Duration, SystemTime};

use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{Error, GetRange, ObjectMeta};
use serde::{Deserialize, Serialize};

use crate::repository::{self, Unanswered};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum Ask {
    /// An object, a part of it, or (`head`) only what is known about it. Data follows the answer.
    Get {
        path: String,
        range: Option<Span>,
        head: bool,
    },
    /// Data follows; it is written when complete, then the answer comes.
    Put { path: String, create: bool },
    /// Everything below a folder. Data of JSON lines follows the answer.
    List {
        folder: Option<String>,
        after: Option<String>,
    },
    /// What is directly in a folder. Data of JSON lines follows the answer.
    ListFolder { folder: Option<String> },
    /// Remove an object.
    Delete { path: String },
    /// Copy an object within the store.
    Copy {
        from: String,
        to: String,
        create: bool,
    },
}

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Span {
    /// From, and up to but not including.
    Bounded(u64, u64),
    /// From there to the end.
    Offset(u64),
    /// The last bytes.
    Suffix(u64),
}

impl From<GetRange> for Span {
    fn from(range: GetRange) -> Self {
        match range {
            GetRange::Bounded(range) => Self::Bounded(range.start, range.end),
            GetRange::Offset(start) => Self::Offset(start),
            GetRange::Suffix(count) => Self::Suffix(count),
        }
    }
}

impl From<Span> for GetRange {
    fn from(span: Span) -> Self {
        match span {
            Span::Bounded(start, end) => Self::Bounded(start..end),
            Span::Offset(start) => Self::Offset(start),
            Span::Suffix(count) => Self::Suffix(count),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It was written.
    Written {
        e_tag: Option<String>,
        version: Option<String>,
    },
    /// The object; its bytes from `start` to `end` follow, unless only its head was asked for.
    Object { meta: Meta, start: u64, end: u64 },
    /// The lines of a list follow.
    Lines,
    /// The store refused.
    Failed {
        kind: Failure,
        path: String,
        message: String,
    },
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    /// An object.
    Object(Meta),
    /// A folder.
    Folder(String),
}

/// What is known about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    path: String,
    /// Seconds since 1970, as stores count them.
    modified: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl From<ObjectMeta> for Meta {
    fn from(meta: ObjectMeta) -> Self {
        let modified = SystemTime::from(meta.last_modified)
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            path: meta.location.into(),
            modified,
            size: meta.size,
            e_tag: meta.e_tag,
            version: meta.version,
        }
    }
}

impl TryFrom<Meta> for ObjectMeta {
    type Error = Error;

    fn try_from(meta: Meta) -> Result<Self, Error> {
        Ok(Self {
            location: Path::parse(meta.path)?,
            last_modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(meta.modified)).into(),
            size: meta.size,
            e_tag: meta.e_tag,
            version: meta.version,
        })
    }
}

/// The kinds of failure a caller of a store tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Failure {
    NotFound,
    AlreadyExists,
    Precondition,
    PermissionDenied,
    Unauthenticated,
    NotSupported,
    /// No space is left; it is no use to ask again.
    Full,
    /// The store is away, perhaps for a while.
    Away,
    /// The store says nothing.
    Late,
    Other,
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        // The source says it without the path, which travels beside it.
        let (kind, path, message) = match &error {
            Error::NotFound { path, source } => (Failure::NotFound, path, source.to_string()),
            Error::AlreadyExists { path, source } => {
                (Failure::AlreadyExists, path, source.to_string())
            }
            Error::Precondition { path, source } => {
                (Failure::Precondition, path, source.to_string())
            }
            Error::PermissionDenied { path, source } => {
                (Failure::PermissionDenied, path, source.to_string())
            }
            Error::Unauthenticated { path, source } => {
                (Failure::Unauthenticated, path, source.to_string())
            }
            Error::NotSupported { source } => {
                (Failure::NotSupported, &String::new(), source.to_string())
            }
            full if repository::is_full(full) => (Failure::Full, &String::new(), full.to_string()),
            other => match repository::outage(other) {
                Some(Unanswered::Refused | Unanswered::Broken) => {
                    (Failure::Away, &String::new(), repository::reason(other))
                }
                Some(Unanswered::Late) => {
                    (Failure::Late, &String::new(), repository::reason(other))
                }
                None => (Failure::Other, &String::new(), other.to_string()),
            },
        };
        Self::Failed {
            kind,
            path: path.clone(),
            message,
        }
    }
}

fn unanswered(kind: HttpErrorKind, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic {
        store: "relay",
        source: Box::new(HttpError::new_boxed(kind, source)),
    }
}

/// The store's error as its caller would have seen it without the relay.
pub(super) fn error(kind: Failure, path: String, message: String) -> Error {
    let source = message.into();
    match kind {
        Failure::NotFound => Error::NotFound { path, source },
        Failure::AlreadyExists => Error::AlreadyExists { path, source },
        Failure::Precondition => Error::Precondition { path, source },
        Failure::PermissionDenied => Error::PermissionDenied { path, source },
        Failure::Unauthenticated => Error::Unauthenticated { path, source },
        Failure::NotSupported => Error::NotSupported { source },
        Failure::Full => Error::Generic {
            store: "relay",
            source: Box::new(std::io::Error::new(std::io::ErrorKind::StorageFull, source)),
        },
        Failure::Away => unanswered(HttpErrorKind::Connect, source),
        Failure::Late => unanswered(HttpErrorKind::Timeout, source),
        Failure::Other => Error::Generic {
            store: "relay",
            source,
        },
    }
}
