//! `selectors.yaml`: which objects choose others by labels (E-16).

use serde::Deserialize;

use super::edges::Base;
use super::kinds::KindPattern;
use crate::graph::Strength;
use crate::object::path::PathPattern;

/// How labels are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectorForm {
    /// A map of labels, all of which must be there.
    Labels,
    /// `matchLabels` and `matchExpressions`.
    Selector,
    /// No labels: every one there is.
    All,
}

/// A field that who is chosen must have as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alike {
    /// Where the one that chooses says it, below `path`.
    pub own: PathPattern,
    /// Pointer of the same text in the one chosen.
    pub theirs: String,
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectorRow {
    /// Rule id, as in `E-16`.
    pub id: String,
    /// Kinds that choose; empty: every kind.
    #[serde(default)]
    pub kinds: Vec<KindPattern>,
    /// What `path` starts from: the object, or every pod spec in it.
    #[serde(default = "object")]
    pub base: Base,
    /// Where the choice stands.
    #[serde(default)]
    pub path: PathPattern,
    /// Where the selector stands below it.
    #[serde(default)]
    pub selector: PathPattern,
    /// A text that must be the same on both sides. A selector that asks for nothing chooses all then.
    #[serde(default)]
    pub alike: Option<Alike>,
    /// How strongly.
    #[serde(default = "no_order")]
    pub strength: Strength,
    /// How labels are asked for.
    pub form: SelectorForm,
    /// The kind chosen; without it, pods, found by their templates.
    #[serde(default)]
    pub selects: Option<KindPattern>,
    /// Why.
    pub why: String,
}

fn object() -> Base {
    Base::Object
}

fn no_order() -> Strength {
    Strength::N
}
