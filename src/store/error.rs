//! What can go wrong with a store, said so that the user knows what to do.

use std::error::Error as StdError;
use std::io;

use super::{Location, advice};
use crate::exit::Exit;
use crate::repository::Error;
use crate::yaml::YamlError;

/// A failed operation on a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text is not the place of a store.
    #[error("{url:?} is not a store's address: {reason}")]
    Address {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What says how to reach a bucket cannot be used.
    #[error("{reason}")]
    Settings {
        /// What it is, and why.
        reason: String,
        /// What to do.
        help: String,
    },
    /// There is nothing, or something else.
    #[error("there is no store at {location}")]
    NotARepository {
        /// Where.
        location: Location,
    },
    /// There is one already.
    #[error("there is a store at {location} already")]
    Exists {
        /// Where.
        location: Location,
    },
    /// The folder holds other things.
    #[error("the folder {location} is not empty: it holds {name:?}")]
    NotEmpty {
        /// Where.
        location: Location,
        /// One of the things in it.
        name: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket for {location}")]
    NoBucket {
        /// Where.
        location: Location,
    },
    /// The password opens none of the repository's keys.
    #[error("the password does not open the store at {location}")]
    WrongPassword {
        /// Where.
        location: Location,
    },
    /// The place cannot be reached.
    #[error("cannot reach the store at {location}")]
    Unreachable {
        /// Where.
        location: Location,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The place refuses: missing credentials, missing rights.
    #[error("the store at {location} refuses access")]
    Denied {
        /// Where.
        location: Location,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No space is left, or a quota is used up.
    #[error("the store at {location} is full")]
    Full {
        /// Where.
        location: Location,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No capture of that name.
    #[error("the store at {location} has no capture {wanted:?}")]
    NoCapture {
        /// Where.
        location: Location,
        /// The name asked for.
        wanted: String,
        /// The captures there are, newest first.
        known: Vec<String>,
    },
    /// The beginning of a name fits several captures.
    #[error("{wanted:?} fits {} captures in the store at {location}", .fitting.len())]
    ManyCaptures {
        /// Where.
        location: Location,
        /// What was asked for.
        wanted: String,
        /// Those that fit, newest first.
        fitting: Vec<String>,
    },
    /// A snapshot is what a capture is made of.
    #[error("snapshot {snapshot} is part of capture {capture}")]
    PartOfCapture {
        /// The snapshot, as it was asked for.
        snapshot: String,
        /// The capture.
        capture: String,
    },
    /// A file of a run that must be new is there already.
    #[error("{name} is in the store already")]
    Taken {
        /// Which.
        name: String,
    },
    /// Something in the store is not what it should be.
    #[error("{name} in the store at {location} is damaged")]
    Damaged {
        /// Where.
        location: Location,
        /// What.
        name: String,
        /// How.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// An object cannot be written as YAML.
    #[error("cannot write {name} as YAML")]
    Emit {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: YamlError,
    },
    /// The repository failed in another way.
    #[error("the repository at {location} failed")]
    Repository {
        /// Where.
        location: Location,
        /// How.
        #[source]
        source: Box<Error>,
    },
}

impl StoreError {
    pub(super) fn from_repository(location: &Location, error: Error) -> Self {
        let location = location.clone();
        match error {
            Error::NotARepository { .. } => Self::NotARepository { location },
            Error::AlreadyInitialized { .. } => Self::Exists { location },
            Error::WrongPassword { .. } => Self::WrongPassword { location },
            Error::Exists { object } => Self::Taken { name: object },
            Error::StoreFull { .. } => Self::Full {
                location,
                source: Box::new(error),
            },
            Error::Store { ref source, .. } if denied(source.error()) => Self::Denied {
                location,
                source: Box::new(error),
            },
            Error::Store { .. } => Self::Unreachable {
                location,
                source: Box::new(error),
            },
            Error::Tampered { ref object } | Error::Damaged { ref object, .. } => Self::Damaged {
                location,
                name: object.clone(),
                source: Box::new(error),
            },
            error => Self::Repository {
                location,
                source: Box::new(error),
            },
        }
    }

    /// Where a bucket does not exist, the first write or listing finds nothing.
    pub(super) fn from_first_contact(location: &Location, error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::NoBucket {
                location: location.clone(),
            },
            error => Self::from_repository(location, error),
        }
    }

    pub(super) fn from_io(location: &Location, error: io::Error) -> Self {
        let (location, kind) = (location.clone(), error.kind());
        let source = Box::new(error);
        match kind {
            io::ErrorKind::NotFound => Self::NotARepository { location },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { location, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { location, source }
            }
            _ => Self::Unreachable { location, source },
        }
    }

    pub(super) fn damaged(
        location: &Location,
        name: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Damaged {
            location: location.clone(),
            name: name.into(),
            source: source.into(),
        }
    }

    /// What the user can do about it, as an instruction.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Address { .. } => {
                "give a folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix".into()
            },
            Self::Settings { help, .. } => help.clone(),
            Self::NotARepository { location } => {
                format!("make one with `ferry store init --store {location}`")
            }
            Self::Exists { .. } => "use it as it is, or name another place".into(),
            Self::NotEmpty { .. } => {
                "name a folder that is empty or not there yet; Ferry makes it".into()
            }
            Self::NoBucket { location } => format!(
                "make the bucket first, with its owner's tools, or correct its name; {}",
                location.how_to_reach()
            ),
            Self::WrongPassword { .. } => {
                "give the password the store was made with; nobody can read it without".into()
            }
            Self::Unreachable { location, source } => match advice(source.as_ref()) {
                Some(advice) => advice.into(),
                None => location.how_to_reach(),
            },
            Self::Denied { location, source } => match advice(source.as_ref()) {
                Some(advice) => advice.into(),
                None => location.how_to_enter(),
            },
            Self::Full { .. } => {
                "free space or raise the quota, then run again; what was saved is not saved twice"
                    .into()
            }
            Self::NoCapture { known, .. } if known.is_empty() => {
                "the store holds no captures; take one with `ferry capture`".into()
            }
            Self::NoCapture { known, .. } => format!("there are: {}", known.join(", ")),
            Self::ManyCaptures { fitting, .. } => format!("give one of: {}", fitting.join(", ")),
            Self::PartOfCapture { capture, .. } => {
                format!("forget the whole capture: `ferry store forget {capture}`")
            }
            Self::Taken { name } if name.starts_with("capture ") => {
                "there is nothing to import; remove it there first to import it anew".into()
            }
            Self::Taken { .. } => "another process works on the same run; wait for it".into(),
            Self::Damaged { .. } => {
                "check the store with `ferry store check`, and restore it from its own backup"
                    .into()
            }
            Self::Emit { .. } => return None,
            Self::Repository { source, .. } => match **source {
                Error::Locked { .. } => {
                    "wait until it is done, or remove a dead process's lock with `ferry store unlock`".into()
                }
                _ => return None,
            },
        };
        Some(text)
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address { .. }
            | Self::Settings { .. }
            | Self::NotARepository { .. }
            | Self::Exists { .. }
            | Self::NotEmpty { .. }
            | Self::NoBucket { .. }
            | Self::WrongPassword { .. }
            | Self::NoCapture { .. }
            | Self::ManyCaptures { .. }
            | Self::PartOfCapture { .. } => Exit::Input,
            Self::Repository { source, .. } if is_input(source) => Exit::Input,
            Self::Emit { .. } => Exit::Internal,
            Self::Unreachable { .. }
            | Self::Denied { .. }
            | Self::Full { .. }
            | Self::Taken { .. }
            | Self::Damaged { .. }
            | Self::Repository { .. } => Exit::Refused,
        }
    }
}

/// Whether the user asked for what is not there.
fn is_input(error: &Error) -> bool {
    matches!(
        error,
        Error::SnapshotNotFound { .. }
            | Error::SnapshotAmbiguous { .. }
            | Error::PathNotFound { .. }
            | Error::KeyNotFound { .. }
            | Error::KeyInUse { .. }
            | Error::ObjectNotFound { .. }
    )
}

/// Whether a place said no, rather than nothing. A local file system's answer is deep in the chain.
fn denied(error: &object_store::Error) -> bool {
    if matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    ) {
        return true;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            io,
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
        ) {
            return true;
        }
        cause = error.source();
    }
    false
}
