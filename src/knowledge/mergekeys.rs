//! `mergekeys.yaml`: by which key elements of a list are told apart in a strategic merge.

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::path::PathPattern;

/// One list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeKey {
    /// Kinds whose objects have it.
    #[serde(default)]
    pub kinds: Vec<KindPattern>,
    /// Whether the path begins at every pod spec.
    #[serde(default)]
    pub pod: bool,
    /// Where the list is.
    pub path: PathPattern,
    /// The key of its elements.
    pub key: String,
}
