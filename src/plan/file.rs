//! A plan as bytes: one self-contained piece that says what it is.
//!
//! ```text
//! "ferry plan 1\n" ‖ JSON of the plan        compressed and sealed with the store's key
//! ```
//!
//! A plan holds Secrets: nobody writes [`encode`]d bytes unsealed. [`save`] and [`load`] keep a plan
//! in a file that only who has the store can read; in a run, the store seals it.

use std::path::{Path, PathBuf};

use super::Plan;
use crate::repository::Error as RepositoryError;
use crate::store::Store;
use crate::whole;

const HEADER: &[u8] = b"ferry plan 1\n";

/// Why bytes are not a plan this Ferry can execute.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The bytes are something else, or of another version.
    #[error("this is not a plan of this version of ferry; make it again with `ferry plan`")]
    NotAPlan,
    /// The JSON inside is not a plan's.
    #[error("the plan is damaged: it does not parse")]
    Parse(#[source] serde_json::Error),
    /// The file cannot be read or written.
    #[error("failed to {verb} the plan {}", path.display())]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The seal is not this store's, or broken.
    #[error("the plan {} was not made with this store, or is damaged", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<RepositoryError>,
    },
}

impl PlanFileError {
    fn seal(path: &Path, source: RepositoryError) -> Self {
        Self::Seal {
            path: path.into(),
            source: Box::new(source),
        }
    }

    fn file(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File {
            verb,
            path: path.into(),
            source,
        }
    }
}

/// Writes a plan as bytes, not sealed.
///
/// # Errors
/// When the plan has no JSON form.
pub fn encode(plan: &Plan) -> Result<Vec<u8>, PlanFileError> {
    let mut bytes = HEADER.to_vec();
    serde_json::to_writer(&mut bytes, plan).map_err(PlanFileError::Parse)?;
    Ok(bytes)
}

/// Reads a plan from bytes.
///
/// # Errors
/// When they are not a plan.
pub fn decode(bytes: &[u8]) -> Result<Plan, PlanFileError> {
    let json = bytes.strip_prefix(HEADER).ok_or(PlanFileError::NotAPlan)?;
    serde_json::from_slice(json).map_err(PlanFileError::Parse)
}

/// Writes a plan to a file, sealed with the store's key.
///
/// # Errors
/// When the file cannot be written.
pub fn save(plan: &Plan, path: &Path, store: &Store) -> Result<(), PlanFileError> {
    let sealed = store.repository().seal_file(&encode(plan)?);
    let sealed = sealed.map_err(|source| PlanFileError::seal(path, source))?;
    whole::write(path, &sealed).map_err(|source| PlanFileError::file("write", path, source))
}

/// Reads a plan from a file that [`save`] wrote with the same store.
///
/// # Errors
/// When the file cannot be read, was sealed with another key, or is not a plan.
pub fn load(path: &Path, store: &Store) -> Result<Plan, PlanFileError> {
    let sealed = std::fs::read(path).map_err(|source| PlanFileError::file("read", path, source))?;
    let opened = store
        .repository()
        .open_file(&path.to_string_lossy(), sealed);
    decode(&opened.map_err(|source| PlanFileError::seal(path, source))?)
}
