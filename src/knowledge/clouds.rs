//! `clouds.yaml`: annotations that only one cloud reads (T-6).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::kinds::KindPattern;
use super::sanitize::glob;
use crate::object::Object;

/// One cloud, or what stands in for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// What a recipe calls it.
    pub cloud: String,
    /// Annotations that only it reads.
    pub drop: Vec<CloudKeys>,
    /// What its annotations say, by a name that clouds share.
    #[serde(default)]
    pub means: BTreeMap<String, Said>,
}

/// Annotations of one cloud on some kinds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudKeys {
    /// Rule id, as in `T-6`.
    pub id: String,
    /// Kinds that carry them.
    pub kinds: Vec<KindPattern>,
    /// Globs over the keys.
    pub like: Vec<String>,
    /// They give pods rights of the cloud's: without them the application may lose access.
    #[serde(default)]
    pub identity: bool,
    /// What they are.
    pub why: String,
}

/// An annotation that says something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Its key.
    pub key: String,
    /// The value that says it.
    pub value: String,
}

impl CloudKeys {
    /// Whether an annotation of an object is one of these.
    pub fn covers(&self, object: &Object, key: &str) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.any(|kind| kind.matches(object.group(), object.kind()))
            && self.like.iter().any(|pattern| glob(pattern, key))
    }
}
