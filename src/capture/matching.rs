//! Does a row of the sanitising table fit an object?

use foldhash::HashMap;
use serde_json::Value;

use crate::knowledge::sanitize::{Controller, Match, glob};
use crate::object::{GroupKind, Object};

/// The objects listed together, looked up by UID and by name.
#[derive(Debug, Default)]
pub(super) struct Scene<'a> {
    by_uid: HashMap<&'a str, &'a Object>,
    /// By namespace and name, whatever their kind.
    by_name: HashMap<(Option<&'a str>, &'a str), Vec<&'a Object>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(objects: impl Iterator<Item = &'a Object>) -> Self {
        let mut scene = Self::default();
        for object in objects {
            let place = (object.namespace(), object.name());
            scene.by_name.entry(place).or_default().push(object);
            scene.by_uid.extend(object.uid().map(|uid| (uid, object)));
        }
        scene
    }

    /// The owner that controls an object, if it is among those listed.
    pub(super) fn controller(&self, object: &Object) -> Option<&'a Object> {
        let controls = |owner: &&Value| owner["controller"] == Value::Bool(true);
        self.listed(owner_references(object).find(controls)?)
    }

    /// The owners of an object that are among those listed.
    fn owners(&self, object: &Object) -> Vec<&'a Object> {
        owner_references(object)
            .filter_map(|owner| self.listed(owner))
            .collect()
    }

    fn listed(&self, owner: &Value) -> Option<&'a Object> {
        self.by_uid.get(owner["uid"].as_str()?).copied()
    }

    /// The owner that makes an object: the one that controls it, else the only one there is.
    fn maker(&self, object: &Object) -> Option<&'a Object> {
        self.controller(object)
            .or_else(|| match self.owners(object)[..] {
                [owner] => Some(owner),
                _ => None,
            })
    }

    /// The first owner of the chain of makers above an object that is among those listed.
    pub(super) fn root(&self, object: &Object) -> Option<&'a Object> {
        let mut root = self.maker(object)?;
        // Owners cannot form a circle; a hostile listing can.
        for _ in 0..self.by_uid.len() {
            match self.maker(root) {
                Some(owner) => root = owner,
                None => break,
            }
        }
        Some(root)
    }
}

/// The references of an object to its owners, as they are written.
pub(super) fn owner_references(object: &Object) -> impl Iterator<Item = &Value> {
    let owners = object.pointer("/metadata/ownerReferences");
    owners.and_then(Value::as_array).into_iter().flatten()
}

/// Whether all conditions but that on kinds hold. `cleaned` is the object after its fields were dropped,
/// where known.
pub(super) fn fits(
    when: &Match,
    object: &Object,
    cleaned: Option<&Object>,
    scene: &Scene<'_>,
) -> bool {
    let Match {
        kinds: _,
        names,
        labels,
        annotations,
        r#where,
        controller,
        owner,
        namesake,
        bare,
    } = when;
    (names.is_empty() || names.iter().any(|name| like(name, object.name(), object)))
        && (labels.is_empty() || any_pair(labels, object, "/metadata/labels"))
        && (annotations.is_empty() || any_pair(annotations, object, "/metadata/annotations"))
        && r#where.iter().all(|test| test.passes(object))
        && controller.as_ref().is_none_or(|wanted| {
            scene
                .controller(object)
                .is_some_and(|one| is_of(wanted, one))
        })
        && owner
            .as_ref()
            .is_none_or(|wanted| scene.owners(object).iter().any(|one| is_of(wanted, one)))
        && namesake.as_ref().is_none_or(|namesake| {
            let place = (object.namespace(), object.name());
            let others = scene.by_name.get(&place);
            others.into_iter().flatten().any(|other| {
                namesake.kind.names(other.group(), other.kind())
                    && !namesake.has.find(other.value()).is_empty()
            })
        })
        && (!bare || cleaned.is_some_and(is_bare))
}

/// Whether a text fits a glob in which `${/pointer}` stands for a string of the object.
pub(super) fn like(pattern: &str, text: &str, object: &Object) -> bool {
    let Some((start, rest)) = pattern.split_once("${") else {
        return glob(pattern, text);
    };
    let Some((pointer, end)) = rest.split_once('}') else {
        return false;
    };
    let Some(value) = object.text(pointer) else {
        return false;
    };
    like(&format!("{start}{value}{end}"), text, object)
}

/// Whether a key of a map of texts, or `key=value`, fits a glob.
fn any_pair(globs: &[String], object: &Object, at: &str) -> bool {
    let map = object.pointer(at).and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    let mut texts = pairs.filter_map(|(key, value)| Some((key, value.as_str()?)));
    texts.any(|(key, value)| {
        globs.iter().any(|pattern| {
            glob(pattern, key)
                // Without a star, only what is written as a pair can be one.
                || (pattern.contains(['*', '=']) && glob(pattern, &format!("{key}={value}")))
        })
    })
}

fn is_of(wanted: &Controller, owner: &Object) -> bool {
    let Controller { kinds, not } = wanted;
    let kind: GroupKind = owner.group_kind();
    (kinds.is_empty() || kinds.iter().any(|glob| glob.fits(&kind)))
        && !not.iter().any(|glob| glob.fits(&kind))
}

/// Whether an object says nothing but who it is.
fn is_bare(object: &Object) -> bool {
    let top = object.value().as_object().into_iter().flatten();
    let metadata = object
        .pointer("/metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    top.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
        .count()
        == 0
        && metadata
            .filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace"))
            .count()
            == 0
}
