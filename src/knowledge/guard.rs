//! `guard.yaml`: what a copy of production must not do (T-13).

use serde::Deserialize;
use serde_json::Value;

use super::kinds::KindPattern;
use super::sanitize::Test;
use crate::object::Object;
use crate::object::path::PathPattern;

/// One precaution.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRow {
    /// Rule id, as in `T-13`.
    pub id: String,
    /// What a recipe calls it.
    pub part: String,
    /// Kinds it is about.
    pub kinds: Vec<KindPattern>,
    /// Tests, all of which must hold.
    #[serde(default)]
    pub r#where: Vec<Test>,
    /// A value to set.
    #[serde(default)]
    pub set: Option<SetValue>,
    /// Keys to remove from a map.
    #[serde(default)]
    pub remove: Option<RemoveKeys>,
    /// Where an Alertmanager's configuration is kept, which shall tell nobody.
    #[serde(default)]
    pub mute: Option<PathPattern>,
    /// What would happen without.
    pub why: String,
}

/// A value at one place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetValue {
    /// Where; a path that means one place.
    pub path: PathPattern,
    /// What.
    pub value: Value,
}

/// Keys of a map.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveKeys {
    /// The maps.
    pub path: PathPattern,
    /// Globs over its keys.
    pub like: Vec<String>,
}

impl GuardRow {
    /// Whether the row is about this object.
    pub fn applies(&self, object: &Object) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.any(|kind| kind.matches(object.group(), object.kind()))
            && self.r#where.iter().all(|test| test.passes(object))
    }
}
