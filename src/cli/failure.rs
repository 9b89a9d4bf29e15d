//! How a command fails: an error to tell and an exit code to give.

use std::fmt;

use miette::Diagnostic;

use crate::exit::Exit;

/// An error on its way to the user, with whose fault it is.
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What to tell.
    pub error: Box<dyn Diagnostic + Send + Sync + 'static>,
}

impl Failure {
    /// Wraps an error.
    pub fn new(exit: Exit, error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { exit, error: Box::new(error) }
    }

    /// The user's input is wrong in a way no module below knows.
    pub fn input(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Input, Said { message: message.into(), help: help.into() })
    }

    /// A cluster or a store refuses.
    pub fn refused(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Refused, Said { message: message.into(), help: help.into() })
    }

    /// Attaches an exit code to an error that has no hint of its own.
    pub fn plain(exit: Exit, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(exit, Plain(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.exit, self.error)
    }
}

/// A message of the command line's own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Said {
    message: String,
    help: String,
}

impl Diagnostic for Said {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as Box<dyn fmt::Display>)
    }
}

/// Any error, as a diagnostic.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Plain<E: std::error::Error + 'static>(E);

impl<E: std::error::Error + 'static> Diagnostic for Plain<E> {}
