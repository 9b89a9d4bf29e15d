//! Stage 3: recipes, and what they change.
//!
//! A recipe is a YAML file of typed transforms (rule book §3). A transform follows references: it
//! changes a name everywhere the rules of `transforms/builtin` say it is one, records each change, and
//! lists what looks alike and was left alone (T-11).

mod alerts;
mod apply;
pub mod builtin;
pub mod cel;
pub mod class;
pub mod config_text;
pub mod convert;
pub mod endpoint;
pub mod explain;
pub mod exposure;
pub mod fault;
pub mod fixture;
mod follow;
mod form;
mod found;
pub mod grammar;
pub mod guard;
mod helm;
pub mod hooks;
pub mod host;
pub mod image;
mod invariant;
pub mod lint;
mod load;
mod lookalike;
mod marks;
mod names;
mod parse;
mod patch;
mod places;
mod quotas;
pub mod recipe;
pub mod rename;
pub mod resources;
mod scale;
pub mod scheduling;
pub mod secrets;
pub mod select;
pub mod source;
mod starter;
mod strategic;
mod text;
pub mod values;
pub mod variables;
pub mod volumes;
mod work;

pub use self::apply::{apply, apply_to};
pub use self::explain::explain;
pub use self::fault::{Fault, RecipeErrors, TransformErrors};
pub use self::lint::{Against, lint};
pub use self::load::load;
pub use self::recipe::Recipe;
pub use self::source::Source;
pub use self::starter::starter;
pub use self::values::Values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use crate::finding::Finding;
use crate::object::{Object, ObjectId};

/// One value a recipe changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The transform and rule, as in `T-4` or the name of a patch rule.
    pub rule: SmolStr,
    /// Which recipe, and which entry of its `transforms` list (from 0).
    pub recipe: SmolStr,
    /// Position in that recipe's `transforms` list.
    pub entry: usize,
    /// The object, by its name on A.
    pub object: ObjectId,
    /// RFC 6901 pointer.
    pub path: SmolStr,
    /// Value before; null when the field was absent.
    pub before: Value,
    /// Value after; null when the field was removed.
    pub after: Value,
}

/// Something that looks like what a transform changes, and was left alone (T-11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookalike {
    /// The transform that would have changed it.
    pub rule: String,
    /// The object.
    pub object: ObjectId,
    /// RFC 6901 pointer.
    pub path: String,
    /// The text around the look-alike, masked in Secrets.
    pub excerpt: String,
}

/// One rule that must match on its own: a line of a `map`, or a whole entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Index among the recipes.
    pub recipe: usize,
    /// Position in that recipe's `transforms` list.
    pub entry: usize,
    /// What it is called in words, as in "the registry rule for `quay.io`".
    pub name: String,
    /// Its bytes in the recipe.
    pub span: Range<usize>,
    /// Whether it found anything.
    pub matched: bool,
}

/// What recipes made of the captured objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transformed {
    /// The objects as B shall see them: those given, in their order, without those that stay on A,
    /// then those that recipes add.
    pub objects: Vec<Object>,
    /// For each of `objects` its position among those given; `None` for one that a recipe adds.
    pub origins: Vec<Option<usize>>,
    /// What recipes have to say: what was lost, and what is to be looked at.
    pub findings: Vec<Finding>,
    /// Every change, in the order of the transforms.
    pub changes: Arc<Vec<Change>>,
    /// What looks like something that moved and was left alone.
    pub lookalikes: Vec<Lookalike>,
    /// In whose pods the recipes run commands.
    pub hooks: Vec<hooks::Chosen>,
    /// Every rule of every recipe, in order.
    pub rules: Vec<Rule>,
    /// Objects that are called something else on B: their names on A and on B.
    pub renamed: BTreeMap<ObjectId, ObjectId>,
    /// Every captured namespace and what it is called on B, changed or not.
    pub namespaces: BTreeMap<String, String>,
}

impl Transformed {
    /// The objects that travel, each with the captured one it came from. `captured` is in the order of
    /// what was given.
    pub fn from<'a, T>(&'a self, captured: &'a [T]) -> impl Iterator<Item = (&'a T, &'a Object)> {
        let pairs = self.origins.iter().zip(&self.objects);
        pairs.filter_map(|(origin, object)| Some((captured.get((*origin)?)?, object)))
    }

    /// What an object of A is called on B.
    pub fn on_b<'a>(&'a self, id: &'a ObjectId) -> &'a ObjectId {
        self.renamed.get(id).unwrap_or(id)
    }
}
