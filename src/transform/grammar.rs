//! The shape of a recipe: which keys a map has, which it must have, and what stands there.
//!
//! One table with two readers: the parser refuses what is not in it (`parse::Fields`), and
//! `ferry recipe schema` writes it out for editors. What a key means beyond its form is the parser's.

mod chosen;
mod schema;
mod shapes;

pub(super) use self::chosen::{
    ATTRIBUTES_CLASS, AUTOSCALER, CLONE_GUARD, CLOUD, CLUSTER_DOMAIN, CONVERT, CONVERTED,
    ELSEWHERE, ENDPOINT, EXPOSURE, EXTERNAL, GATEWAY, GATEWAY_CLASS, INGRESS_CLASS, LEAVE_OUT,
    NAMES, PRIORITY_CLASS, REGISTRY, REPLACEMENT, RESOURCES, ROUTES, RUNTIME_CLASS, SCALE,
    SCHEDULING, SECRET_STORE, SECRETS, SENSITIVE, SIZE, SNAPSHOT_CLASS, STORAGE_CLASS, TEXT,
    VOLUMES,
};
pub(super) use self::shapes::{
    ANNOTATIONS, ENTRY, FIELD_TEST, HOOK, HOST, INCLUDE, LABELS, METADATA, NAMESPACE, OPERATION,
    PATCH, RECIPE, SELECT, VARIABLE,
};

pub use self::schema::schema;

/// A map with known keys.
pub(super) struct Shape {
    /// Its name among the schema's definitions.
    pub(super) id: &'static str,
    /// What it is called in a mistake, as in `a recipe`.
    pub(super) what: &'static str,
    /// Its keys, in the order in which people write them.
    pub(super) keys: &'static [Key],
}

/// A key of a map.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) need: Need,
    pub(super) form: Form,
    /// What it says, in a sentence, for editors.
    pub(super) about: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Always.
    Must,
    /// It may be absent.
    May,
    /// Exactly one of the map's keys of this need must be there.
    One,
    /// At least one of the map's keys of this need must be there.
    Some,
}

/// What stands behind a key.
pub(super) enum Form {
    /// A string.
    Text,
    /// A whole number of 0 or more.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// Whatever YAML can say.
    Any,
    /// A list of these.
    List(&'static Form),
    /// A map from names the user chooses to these.
    Map(&'static Form),
    /// One of several forms.
    Either(&'static [Form]),
    /// A map with known keys.
    Shape(&'static Shape),
}

impl Shape {
    /// The names of the keys.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    /// The names of the keys of one need.
    pub(super) fn of_need(&self, need: Need) -> Vec<&'static str> {
        let keys = self.keys.iter().filter(|key| key.need == need);
        keys.map(|key| key.name).collect()
    }
}
