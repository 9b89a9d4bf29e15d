//! Rows of `transforms/builtin/normalize.yaml`: what is no real difference between two objects, and
//! which values are never shown (rule book §6). The engine is `diff::normalise`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::kinds::KindPattern;
use crate::object::path::PathPattern;

/// Where a row's paths begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// At the object.
    #[default]
    Object,
    /// At every pod spec in it, as `roots.yaml` finds them.
    Pod,
    /// At every container of those, and at containers outside pod specs.
    Container,
}

/// One row. It may do several things; the engine does each kind of thing to the whole object in the
/// order of the fields here, so that the order of rows does not matter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NormalizeRow {
    /// Rule id.
    pub id: String,
    /// Kinds it is about; none given means every kind.
    #[serde(default)]
    pub kinds: Vec<KindPattern>,
    /// Only kinds that Kubernetes itself defines: what is a default there may mean something in a
    /// custom resource.
    #[serde(default)]
    pub builtin: bool,
    /// Where the paths begin.
    #[serde(default)]
    pub at: Base,
    /// What switches the row on; none given means it is.
    pub when: Option<Condition>,
    /// What switches the row off.
    pub unless: Option<Condition>,
    /// Places to leave out.
    #[serde(default)]
    pub hide: Vec<PathPattern>,
    /// Keys to leave out of maps.
    #[serde(default)]
    pub hide_keys: Vec<KeysOf>,
    /// Maps of which only some keys count.
    #[serde(default)]
    pub keep_keys: Vec<KeysOf>,
    /// Maps of plain text whose values move, encoded, into the map beside them.
    #[serde(default)]
    pub encode: Vec<Encode>,
    /// Quantities to write in one way.
    #[serde(default)]
    pub quantity: Vec<PathPattern>,
    /// Texts of digits to write as numbers.
    #[serde(default)]
    pub integer: Vec<PathPattern>,
    /// Image references to write in full.
    #[serde(default)]
    pub image: Vec<PathPattern>,
    /// Values to leave out where they repeat another place.
    #[serde(default)]
    pub mirror: Vec<Mirror>,
    /// Values to leave out where they are what the server fills in.
    #[serde(default)]
    pub default: BTreeMap<PathPattern, Value>,
    /// Leave out null, `{}` and `[]` wherever they are the value of a key, but not of these keys.
    pub prune_except: Option<Vec<String>>,
    /// Lists from which repeated elements go.
    #[serde(default)]
    pub unique: Vec<PathPattern>,
    /// Lists without order.
    #[serde(default)]
    pub sort: Vec<PathPattern>,
    /// Values never shown; their digest is.
    #[serde(default)]
    pub mask: Vec<Mask>,
    /// Why.
    pub why: String,
}

/// What switches a row off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// A place in the object where something must be.
    pub path: PathPattern,
    /// What must be there; not given means anything.
    pub is: Option<Value>,
}

/// Keys of maps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysOf {
    /// The maps.
    pub of: Vec<PathPattern>,
    /// Globs over the keys.
    pub like: Vec<String>,
}

/// A map of plain text beside a map of base64.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encode {
    /// Pointer of the map of plain text.
    pub from: String,
    /// Pointer of the map of base64.
    pub to: String,
}

/// A value that repeats another one by default: its place with one key replaced is the other's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The value.
    pub path: PathPattern,
    /// The key to replace.
    pub key: String,
    /// By what.
    pub by: String,
}

/// Values never shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mask {
    /// Where.
    pub path: PathPattern,
    /// Words of which the `name` beside the value must hold one, in any case.
    #[serde(default)]
    pub named: Vec<String>,
    /// Whether the text is base64 of the value.
    #[serde(default)]
    pub base64: bool,
    /// Mask only the password of a URL in the text.
    #[serde(default)]
    pub url_password: bool,
}
