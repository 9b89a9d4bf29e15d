//! `exposed.yaml`: which hosts reach an object of A, and how it gives them up (T-5).

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::path::PathPattern;

/// How some kinds name their hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposedRow {
    /// Rule id.
    pub id: String,
    /// Which kinds.
    pub kinds: Vec<KindPattern>,
    /// Where the host names are; a text may hold several, with commas between.
    pub hosts: PathPattern,
    /// RFC 6901 pointer of the field that is written with parked names.
    #[serde(default)]
    pub parked: Option<String>,
    /// RFC 6901 pointers of fields that are taken away.
    #[serde(default)]
    pub gone: Vec<String>,
}
