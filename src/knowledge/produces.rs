//! `produces.yaml`: what controllers make of the objects they are given (E-P, S-12, S-13).

use serde::Deserialize;
use smol_str::SmolStr;

use super::edges::When;
use super::kinds::KindPattern;
use crate::graph::Strength;
use crate::object::path::PathPattern;

/// One row: the controller of `kinds` makes one `makes` of each name for each string at `path`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducesRow {
    /// Rule id, as in `E-60`.
    pub id: SmolStr,
    /// The producers.
    pub kinds: Vec<KindPattern>,
    /// Conditions on the producer; all must hold.
    #[serde(default)]
    pub when: Vec<When>,
    /// Where the producer says what to call its products; the first of these that exists.
    pub path: Vec<PathPattern>,
    /// Kind of the product.
    pub makes: KindPattern,
    /// What they are called; `{}` stands for the string found, `{name}` for the maker's own name.
    #[serde(default = "as_it_is")]
    pub names: Vec<String>,
    /// Order when the product travels as well: it comes first, so that nothing is made anew.
    #[serde(default)]
    pub preseed: Option<Strength>,
    /// Why.
    pub why: String,
}

fn as_it_is() -> Vec<String> {
    vec!["{}".to_owned()]
}
