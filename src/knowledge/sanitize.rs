//! Rows of `transforms/builtin/sanitize.yaml`: what a capture does not list, which objects stay on A,
//! and which fields of the others do (rule book §2). The engines are in `capture`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capture::DropClass;
use crate::object::path::PathPattern;
use crate::object::{GroupKind, Object};

/// The whole table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sanitize {
    /// Resources that are never listed.
    pub skip: Vec<Skip>,
    /// Objects that stay on A; the first row that fits decides.
    pub drop: Vec<DropObject>,
    /// Fields that stay on A; every row that fits is applied, in order.
    pub fields: Vec<DropFields>,
}

/// The rows about one kind: a row is asked for its kinds once, and not for every object.
#[derive(Clone, Debug)]
pub struct KindRows<'t> {
    /// Why the kind is never listed.
    pub skip: Option<&'t Skip>,
    /// As [`Sanitize::drop`].
    pub drop: Vec<&'t DropObject>,
    /// As [`Sanitize::fields`].
    pub fields: Vec<&'t DropFields>,
}

impl Sanitize {
    /// The rows about a kind, in their order.
    pub fn of_kind(&self, kind: &GroupKind) -> KindRows<'_> {
        let about = |when: &Match| any_fits(&when.kinds, kind) || when.kinds.is_empty();
        KindRows {
            skip: self.skip.iter().find(|row| any_fits(&row.kinds, kind)),
            drop: self.drop.iter().filter(|row| about(&row.when)).collect(),
            fields: self.fields.iter().filter(|row| about(&row.when)).collect(),
        }
    }
}

fn any_fits(globs: &[KindGlob], kind: &GroupKind) -> bool {
    globs.iter().any(|glob| glob.fits(kind))
}

/// Resources that are never listed. Their objects stay when they are given all the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Rule id.
    pub id: String,
    /// Globs over `Kind.group`.
    pub kinds: Vec<KindGlob>,
    /// Why.
    pub why: String,
}

/// Which objects a row is about. All conditions given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Match {
    /// Globs over `Kind.group`, one of which must fit; none given means every kind.
    pub kinds: Vec<KindGlob>,
    /// Globs over `metadata.name`, one of which must fit. `${/pointer}` stands for the string there,
    /// and a glob whose string is absent fits nothing.
    pub names: Vec<String>,
    /// Globs over `key` or `key=value`, one of which must fit a label.
    pub labels: Vec<String>,
    /// Globs over `key` or `key=value`, one of which must fit an annotation.
    pub annotations: Vec<String>,
    /// Tests, all of which must hold.
    pub r#where: Vec<Test>,
    /// The owner that controls the object.
    pub controller: Option<Controller>,
    /// Any owner, whether it says that it controls the object or not.
    pub owner: Option<Controller>,
    /// An object of the same name and namespace that must be among those listed.
    pub namesake: Option<Namesake>,
    /// Whether nothing but its name must be left of the object after its fields were dropped.
    pub bare: bool,
}

/// A test of the values at a path: some value there must pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Test {
    /// Where.
    pub path: PathPattern,
    /// Values one of which it must equal.
    #[serde(default)]
    pub r#in: Vec<Value>,
    /// Values none of which it may equal; passes where nothing is.
    #[serde(default)]
    pub not_in: Vec<Value>,
    /// Whether something must be there (`true`) or nothing may (`false`).
    pub exists: Option<bool>,
}

impl Test {
    /// Whether an object passes.
    pub fn passes(&self, object: &Object) -> bool {
        let Self {
            path,
            r#in,
            not_in,
            exists,
        } = self;
        let mut found = Vec::new();
        path.visit(object.value(), &mut |_, value| found.push(value));
        (r#in.is_empty() || found.iter().any(|value| r#in.contains(value)))
            && !found.iter().any(|value| not_in.contains(value))
            && exists.is_none_or(|exists| exists != found.is_empty())
    }
}

/// Kinds of an owner.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Controller {
    /// Globs over the owner's `Kind.group`; none given means every kind.
    #[serde(default)]
    pub kinds: Vec<KindGlob>,
    /// Globs the owner's kind must not fit.
    #[serde(default)]
    pub not: Vec<KindGlob>,
}

/// A condition on another object of the same name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Namesake {
    /// Its kind.
    pub kind: KindGlob,
    /// A path at which it must have something.
    pub has: PathPattern,
}

/// Objects that stay on A.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DropObject {
    /// Rule id.
    pub id: String,
    /// Which.
    pub when: Match,
    /// What becomes of them.
    pub class: DropClass,
    /// Why.
    pub why: String,
}

/// Fields that stay on A.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DropFields {
    /// Rule id.
    pub id: String,
    /// On which objects.
    #[serde(default)]
    pub when: Match,
    /// Places to remove.
    #[serde(default)]
    pub paths: Vec<PathPattern>,
    /// Places to remove when they hold null, `{}` or `[]`.
    #[serde(default)]
    pub empty: Vec<PathPattern>,
    /// Maps from which keys are removed, labels and annotations mostly.
    #[serde(default)]
    pub keys: Vec<Keys>,
    /// Lists from which elements are removed.
    #[serde(default)]
    pub items: Vec<Items>,
    /// A quantity to raise to another.
    pub raise: Option<Raise>,
    /// Values to put in the place of A's.
    #[serde(default)]
    pub set: Vec<Set>,
    /// Places that an earlier row dropped and that travel all the same (S-70).
    #[serde(default)]
    pub copy: Vec<PathPattern>,
    /// Whether a value the user set stays (S-60).
    #[serde(default)]
    pub unless_user_set: bool,
    /// Why.
    pub why: String,
}

/// A value to write under a key of maps that are there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The maps.
    pub of: Vec<PathPattern>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
}

/// Keys to remove from maps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The maps.
    pub of: Vec<PathPattern>,
    /// Globs over the keys.
    pub like: Vec<String>,
}

/// Elements to remove from lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// The lists.
    pub of: Vec<PathPattern>,
    /// The key of an element that `like` looks at.
    #[serde(default = "name_key")]
    pub key: String,
    /// Globs over the string at that key, with `${/pointer}` as in [`Match::names`].
    #[serde(default)]
    pub like: Vec<String>,
    /// Elements to remove that equal this.
    pub equal: Option<Value>,
}

fn name_key() -> String {
    "name".into()
}

/// A quantity that grows to the larger of two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// Pointer of the quantity to raise.
    pub path: String,
    /// Pointer of the other one.
    pub to: String,
}

/// A glob over `Kind.group` (`Deployment.apps`, `*.metrics.k8s.io`); core kinds have no dot, and `*`
/// without one means core and all other groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KindGlob(String);

impl KindGlob {
    /// Whether a type fits.
    pub fn fits(&self, kind: &GroupKind) -> bool {
        self.names(&kind.group, &kind.kind)
    }

    /// The same for a type in two parts: asked for every row of every object.
    pub fn names(&self, group: &str, kind: &str) -> bool {
        if self.0.contains('*') {
            return glob(&self.0, &GroupKind::new(group, kind).to_string());
        }
        match self.0.split_once('.') {
            Some((own, rest)) => own == kind && rest == group,
            None => group.is_empty() && self.0 == kind,
        }
    }
}

/// Whether a text fits a pattern in which `*` stands for any characters.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let mut positions = text
        .char_indices()
        .map(|(position, _)| position)
        .chain([text.len()]);
    positions.any(|position| glob(rest, &text[position..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_whole_texts() {
        assert!(glob("*-token-*", "default-token-x2z4q"));
        assert!(glob(
            "volume.*kubernetes.io/selected-node",
            "volume.kubernetes.io/selected-node"
        ));
        assert!(!glob("Service", "ServiceAccount"));
        assert!(glob("*", ""));
    }

    #[test]
    fn a_kind_glob_tells_core_from_named_groups() {
        let event = KindGlob("Event".into());
        assert!(event.fits(&GroupKind::new("", "Event")));
        assert!(!event.fits(&GroupKind::new("events.k8s.io", "Event")));
        assert!(
            KindGlob("*.metrics.k8s.io".into())
                .fits(&GroupKind::new("metrics.k8s.io", "PodMetrics"))
        );
    }
}
