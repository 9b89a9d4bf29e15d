//! `selectors.yaml`: which objects choose others by labels (E-16).

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::path::PathPattern;

/// How labels are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectorForm {
    /// A map of labels, all of which must be there.
    Labels,
    /// `matchLabels` and `matchExpressions`.
    Selector,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectorRow {
    /// Rule id, as in `E-16`.
    pub id: String,
    /// Kinds that choose.
    pub kinds: Vec<KindPattern>,
    /// Where the selector stands.
    pub path: PathPattern,
    /// How labels are asked for.
    pub form: SelectorForm,
    /// The kind chosen; without it, pods, found by their templates.
    #[serde(default)]
    pub selects: Option<KindPattern>,
    /// Why.
    pub why: String,
}
