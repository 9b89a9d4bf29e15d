//! Saved plans: sealed with the store's key, since a plan holds Secrets.

use std::path::Path;

use super::Failure;
use crate::exit::Exit;
use crate::plan::{Plan, file};
use crate::store::Store;

/// Writes a plan for `ferry apply`.
pub(super) fn save(plan: &Plan, path: &Path, store: &Store) -> Result<(), Failure> {
    let bytes = file::encode(plan).map_err(|error| Failure::plain(Exit::Internal, error))?;
    let sealed = store
        .repository()
        .seal_file(&bytes)
        .map_err(|error| Failure::plain(Exit::Internal, error))?;
    std::fs::write(path, sealed).map_err(|error| {
        Failure::input(
            format!("cannot write the plan to {}: {error}", path.display()),
            "name a file that can be written",
        )
    })
}

/// Reads a plan back.
pub(super) fn load(path: &Path, store: &Store) -> Result<Plan, Failure> {
    let sealed = std::fs::read(path).map_err(|error| {
        Failure::input(
            format!("cannot read the plan {}: {error}", path.display()),
            "name a file that `ferry plan --out` wrote",
        )
    })?;
    let name = path.display().to_string();
    let bytes = store
        .repository()
        .open_file(&name, sealed)
        .map_err(|error| {
            Failure::input(
                format!("{name} does not open: {error}"),
                "use the store the plan was made with; a plan is sealed with its key",
            )
        })?;
    file::decode(&bytes).map_err(|error| Failure::input(error.to_string(), ""))
}
