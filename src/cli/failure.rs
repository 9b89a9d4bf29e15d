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
        Self {
            exit,
            error: Box::new(error),
        }
    }

    /// The user's input is wrong in a way no module below knows.
    pub fn input(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(
            Exit::Input,
            Said {
                message: message.into(),
                help: help.into(),
            },
        )
    }

    /// The plan is not to be run as things are.
    pub fn blocked(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(
            Exit::Blocked,
            Said {
                message: message.into(),
                help: help.into(),
            },
        )
    }

    /// A cluster or a store refuses.
    pub fn refused(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(
            Exit::Refused,
            Said {
                message: message.into(),
                help: help.into(),
            },
        )
    }

    /// What a job of the mover's, or of `ferry data`, failed with.
    pub(super) fn job(trouble: crate::mover::Trouble, help: impl Into<String>) -> Self {
        Self::new(
            trouble.exit,
            Said {
                message: trouble.reason,
                help: help.into(),
            },
        )
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

/// Lets errors that know their exit code and their help be told as they are.
macro_rules! told {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let (exit, help) = (error.exit(), error.help());
                Self::new(exit, Helped { error, help })
            }
        })*
    };
}

told!(
    crate::capture::CaptureError,
    crate::cluster::ClusterError,
    crate::data::DepotError,
    crate::store::StoreError,
    crate::transform::fixture::FixtureError,
    crate::store::velero::VeleroError,
);

impl From<crate::pipeline::PipelineError> for Failure {
    fn from(error: crate::pipeline::PipelineError) -> Self {
        use crate::pipeline::PipelineError;
        let (exit, help) = (error.exit(), error.help());
        match error {
            PipelineError::Transform(errors) => Self::new(exit, errors),
            error => Self::new(exit, Helped { error, help }),
        }
    }
}

impl From<crate::plan::file::PlanFileError> for Failure {
    fn from(error: crate::plan::file::PlanFileError) -> Self {
        Self::plain(Exit::Input, error)
    }
}

impl From<crate::transform::TransformErrors> for Failure {
    fn from(errors: crate::transform::TransformErrors) -> Self {
        Self::new(Exit::Input, errors)
    }
}

impl From<crate::restore::RestoreError> for Failure {
    fn from(error: crate::restore::RestoreError) -> Self {
        Self::plain(error.exit(), error)
    }
}

impl From<crate::data::DataError> for Failure {
    fn from(error: crate::data::DataError) -> Self {
        Self::plain(error.exit(), error)
    }
}

impl From<crate::transform::RecipeErrors> for Failure {
    fn from(errors: crate::transform::RecipeErrors) -> Self {
        Self::new(Exit::Input, errors)
    }
}

impl From<crate::image::ImageError> for Failure {
    fn from(error: crate::image::ImageError) -> Self {
        use crate::image::ImageError;
        let exit = match &error {
            ImageError::Registry { .. } => Exit::Refused,
            _ => Exit::Input,
        };
        Self::plain(exit, error)
    }
}

/// An error with a hint beside it.
#[derive(Debug)]
struct Helped<E> {
    error: E,
    help: Option<String>,
}

impl<E: std::error::Error> fmt::Display for Helped<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

/// Stands in for its error: the causes are the error's own.
impl<E: std::error::Error> std::error::Error for Helped<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl<E: std::error::Error + 'static> Diagnostic for Helped<E> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
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
