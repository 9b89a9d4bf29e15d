//! `members.yaml`: applications whose data holds the host names of their own pods (E-80).

use serde::Deserialize;

use super::kinds::KindPattern;

/// One application.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// What people call it.
    pub what: String,
    /// Custom resources that are such applications.
    pub kinds: Vec<KindPattern>,
    /// Globs over the last part of an image's repository.
    pub images: Vec<String>,
    /// What its data holds, and where.
    pub holds: String,
    /// What to do on B, as an instruction.
    pub hook: String,
}
