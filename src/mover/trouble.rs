//! Why a job failed, with the exit code that says whose fault it is.

use crate::causes::in_one_line;
use crate::exit::Exit;
use crate::repository::Error;
use crate::store::advice;

/// A job that failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    pub(crate) reason: String,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, reason: impl Into<String>) -> Self {
        Self {
            exit,
            reason: reason.into(),
        }
    }

    /// An error with its causes, in one line.
    pub(super) fn caused(exit: Exit, error: &dyn std::error::Error) -> Self {
        Self::new(exit, in_one_line(error))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::NotARepository { .. }
            | Error::Store { .. }
            | Error::StoreFull { .. }
            | Error::Locked { .. } => Exit::Refused,
            Error::SnapshotNotFound { .. }
            | Error::SnapshotAmbiguous { .. }
            | Error::PathNotFound { .. }
            | Error::TargetTooSmall { .. } => Exit::Input,
            _ => Exit::Incomplete,
        };
        let trouble = Self::caused(exit, &error);
        match (&error, advice(&error)) {
            (Error::Store { .. }, Some(next)) => {
                Self::new(exit, format!("{}; {next}", trouble.reason))
            }
            _ => trouble,
        }
    }
}
