//! `roots.yaml`: where pod templates are (rule book §1.1). Every pod-template rule applies at each.

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::path::PathPattern;

/// What stands at a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKind {
    /// A pod spec, whole or in part: containers, volumes, service account …
    Pod,
    /// One container.
    Container,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootRow {
    /// Kinds that have it.
    pub kinds: Vec<KindPattern>,
    /// What stands there.
    pub root: RootKind,
    /// Where.
    pub path: PathPattern,
}
