//! Which of the objects in the namespaces travel.
//!
//! Choosing comes after sorting (rule book §2): a Pod that its Deployment makes again stays for that
//! reason, whatever its own labels say. What is chosen may need what is not; that is a finding, as what
//! was left out may be on B already or may have been forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::classify::Sorted;
use super::labels::LabelSelector;
use super::{DropClass, Dropped};
use crate::finding::{Finding, Verdict};
use crate::graph::Strength;
use crate::graph::references::References;
use crate::knowledge::Knowledge;
use crate::knowledge::sanitize::glob;
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::Surface;

/// What to capture.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Namespaces, in any order. For an archive, none means all that are in it.
    pub namespaces: Vec<String>,
    /// Labels that namespaced objects must have; `None` for all.
    pub labels: Option<LabelSelector>,
    /// Namespaced objects must fit one of these; none given means all.
    pub include: Vec<ObjectGlob>,
    /// No object may fit one of these.
    pub exclude: Vec<ObjectGlob>,
    /// Whether to go on without what the user may not list or an API server does not answer for.
    pub allow_incomplete: bool,
}

/// Objects by kind, group, namespace and name: `KIND[.GROUP][/[NAMESPACE/]NAME]`, `*` anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectGlob {
    text: String,
    /// In small letters: kinds and plurals are compared so.
    kind: String,
    group: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

/// Why a text is no [`ObjectGlob`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} names no objects; write KIND, KIND.GROUP, KIND/NAME or KIND/NAMESPACE/NAME, with * anywhere"
)]
pub struct ObjectGlobError(String);

impl FromStr for ObjectGlob {
    type Err = ObjectGlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind] => (*kind, None, None),
            [kind, name] => (*kind, None, Some(*name)),
            [kind, namespace, name] => (*kind, Some(*namespace), Some(*name)),
            _ => return Err(ObjectGlobError(text.into())),
        };
        let (kind, group) = match kind.split_once('.') {
            Some((kind, "core")) => (kind, Some("")),
            Some((_, "")) => return Err(ObjectGlobError(text.into())),
            Some((kind, group)) => (kind, Some(group)),
            None => (kind, None),
        };
        if kind.is_empty()
            || parts
                .iter()
                .any(|part| part.is_empty() || part.contains(' '))
        {
            return Err(ObjectGlobError(text.into()));
        }
        Ok(Self {
            text: text.into(),
            kind: kind.to_lowercase(),
            group: group.map(str::to_lowercase),
            namespace: namespace.map(Into::into),
            name: name.map(Into::into),
        })
    }
}

impl fmt::Display for ObjectGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ObjectGlob {
    fn fits_kind(&self, kind: &GroupKind, plural: Option<&str>) -> bool {
        let group = self.group.as_deref();
        let name = kind.kind.to_lowercase();
        let guessed = || usual_plural(&name);
        group.is_none_or(|group| glob(group, &kind.group))
            && (glob(&self.kind, &name)
                || glob(&self.kind, &plural.map_or_else(guessed, str::to_owned)))
    }

    fn fits(&self, id: &ObjectId, plural: Option<&str>) -> bool {
        let name = |pattern: &Option<String>, text: &str| {
            pattern.as_deref().is_none_or(|pattern| glob(pattern, text))
        };
        self.fits_kind(&id.group_kind(), plural)
            && name(&self.name, &id.name)
            && name(&self.namespace, id.namespace.as_deref().unwrap_or_default())
    }

    /// Whether every object of a kind it fits is meant.
    fn is_whole_kind(&self) -> bool {
        let all =
            |pattern: &Option<String>| pattern.as_deref().is_none_or(|pattern| pattern == "*");
        all(&self.name) && all(&self.namespace)
    }
}

/// The plural that kinds have unless their authors chose another; for files, which do not tell.
fn usual_plural(kind: &str) -> String {
    match kind.strip_suffix('y') {
        _ if kind == "endpoints" => kind.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

/// A selection with the plural names of the cluster's kinds, by which users call them too.
pub(super) struct Chooser<'s> {
    selection: &'s Selection,
    plurals: BTreeMap<GroupKind, &'s str>,
}

impl<'s> Chooser<'s> {
    pub(super) fn new(selection: &'s Selection, surface: &'s Surface) -> Self {
        let named = surface.resources.iter();
        let plurals = named.map(|resource| (resource.group_kind(), resource.plural.as_str()));
        Self {
            selection,
            plurals: plurals.collect(),
        }
    }

    fn plural(&self, kind: &GroupKind) -> Option<&'s str> {
        self.plurals.get(kind).copied()
    }

    /// The kinds the surface knows, with their plural names.
    pub(super) fn kinds(&self) -> Vec<(GroupKind, Option<&'s str>)> {
        let plurals = self.plurals.iter();
        plurals
            .map(|(kind, plural)| (kind.clone(), Some(*plural)))
            .collect()
    }

    /// Patterns that fit none of some kinds: a slip of the pen, which must not take along what was to
    /// stay.
    pub(super) fn unknown(
        selection: &Selection,
        kinds: &[(GroupKind, Option<&str>)],
    ) -> Vec<String> {
        let known = |pattern: &&ObjectGlob| {
            let mut kinds = kinds.iter();
            kinds.any(|(kind, plural)| pattern.fits_kind(kind, *plural))
        };
        let patterns = selection.include.iter().chain(&selection.exclude);
        let unknown = patterns.filter(|pattern| !known(pattern));
        unknown.map(ToString::to_string).collect()
    }

    /// The pattern that leaves out all objects of a kind: these need not even be listed.
    pub(super) fn left_out(&self, kind: &GroupKind) -> Option<&'s ObjectGlob> {
        let mut whole = self
            .selection
            .exclude
            .iter()
            .filter(|pattern| pattern.is_whole_kind());
        whole.find(|pattern| pattern.fits_kind(kind, self.plural(kind)))
    }

    /// Why an object is not chosen; `None` when it is.
    fn against(&self, object: &Object) -> Option<String> {
        let Selection {
            labels,
            include,
            exclude,
            ..
        } = self.selection;
        if exclude.is_empty() && include.is_empty() && labels.is_none() {
            return None;
        }
        let id = object.id();
        let plural = self.plural(&id.group_kind());
        if let Some(pattern) = exclude.iter().find(|pattern| pattern.fits(&id, plural)) {
            return Some(format!("--exclude {pattern} leaves it out"));
        }
        // Cluster-wide objects are there for the namespaced ones.
        object.namespace()?;
        if !include.is_empty() && !include.iter().any(|pattern| pattern.fits(&id, plural)) {
            return Some("no --include names it".into());
        }
        let labels = labels.as_ref().filter(|labels| !labels.fits(object))?;
        Some(format!("its labels do not fit --selector {labels}"))
    }

    /// Moves what is not chosen to what stays.
    pub(super) fn choose(&self, sorted: Sorted) -> Sorted {
        let Sorted {
            captured,
            mut dropped,
        } = sorted;
        let (mut chosen, mut out) = (Vec::new(), BTreeSet::new());
        for captured in captured {
            // By the labels on A: sanitising may drop some.
            match self.against(&captured.raw) {
                None => chosen.push(captured),
                Some(reason) => {
                    out.insert(captured.object.id());
                    dropped.push(excluded(captured.object.id(), reason));
                }
            }
        }
        let users: Vec<&Object> = chosen.iter().map(|one| &one.object).collect();
        let idle = idle_rights(&users, &out);
        chosen.retain(|captured| {
            let id = captured.object.id();
            let stays = idle.contains(&id);
            if stays {
                dropped.push(excluded(id, "nothing that was chosen uses it".into()));
            }
            !stays
        });
        for product in &mut dropped {
            if let Some(owner) = product.produced_by.take_if(|owner| out.contains(owner)) {
                *product = excluded(
                    product.id.clone(),
                    format!("{owner}, which makes it, was not chosen"),
                );
            }
        }
        dropped.sort_by(|a, b| a.id.cmp(&b.id));
        Sorted {
            captured: chosen,
            dropped,
        }
    }

    /// What the user asked for and nothing fits: a slip of the pen more often than not.
    pub(super) fn idle(&self, sorted: &Sorted) -> Vec<Finding> {
        let Selection {
            labels,
            include,
            exclude,
            ..
        } = self.selection;
        let travel = || sorted.captured.iter().map(|one| &one.raw);
        let fits = |pattern: &&ObjectGlob| {
            travel().any(|object| {
                let id = object.id();
                pattern.fits(&id, self.plural(&id.group_kind()))
            })
        };
        let nothing = |option: &str, wanted: &dyn fmt::Display| {
            let message = format!("nothing that could travel fits {option} {wanted}");
            Finding::new(Verdict::Warn, "selection", message)
                .remedy("correct it, or capture without it and see what there is with `ferry captures show`")
        };
        let included = include.iter().filter(|pattern| !fits(pattern));
        let named = exclude.iter().filter(|pattern| !pattern.is_whole_kind());
        let excluded = named.filter(|pattern| !fits(pattern));
        let unlabelled = labels.iter().filter(|labels| {
            !travel().any(|object| object.namespace().is_some() && labels.fits(object))
        });
        included
            .map(|pattern| nothing("--include", pattern))
            .chain(excluded.map(|pattern| nothing("--exclude", pattern)))
            .chain(unlabelled.map(|labels| nothing("--selector", labels)))
            .collect()
    }

    /// What was chosen and needs what was left out.
    pub(super) fn needs(
        &self,
        sorted: &Sorted,
        surface: &Surface,
        knowledge: &Knowledge,
    ) -> Vec<Finding> {
        let excluded = sorted
            .dropped
            .iter()
            .filter(|one| one.class == DropClass::Excluded);
        let reasons: BTreeMap<&ObjectId, &str> =
            excluded.map(|one| (&one.id, one.reason.as_str())).collect();
        let whole_kinds = self.selection.exclude.iter().any(ObjectGlob::is_whole_kind);
        if reasons.is_empty() && !whole_kinds {
            return Vec::new();
        }
        let definitions: Vec<&Object> = surface
            .of_kind("apiextensions.k8s.io", "CustomResourceDefinition")
            .collect();
        let references = References::new(knowledge, definitions);
        let mut findings = Vec::new();
        for captured in &sorted.captured {
            for reference in references.find(&captured.object) {
                let gate = matches!(reference.strength, Strength::H | Strength::R);
                if !gate || reference.optional || reference.if_known {
                    continue;
                }
                let unlisted = || {
                    let pattern = self.left_out(&reference.target.group_kind())?;
                    Some(format!("--exclude {pattern} leaves out all of its kind"))
                };
                let reason = reasons
                    .get(&reference.target)
                    .map(|reason| (*reason).to_owned());
                let Some(reason) = reason.or_else(unlisted) else {
                    continue;
                };
                let message = format!("it needs {}, which does not travel", reference.target);
                findings.push(
                    Finding::new(Verdict::Warn, &reference.rule, message)
                        .on(captured.object.id())
                        .at(reference.pointer)
                        .because(reason)
                        .remedy(format!(
                            "capture it too, or have {} on the target before",
                            reference.target
                        )),
                );
            }
        }
        findings.sort();
        findings.dedup();
        findings
    }
}

fn excluded(id: ObjectId, reason: String) -> Dropped {
    Dropped {
        id,
        rule: "selection".into(),
        reason,
        class: DropClass::Excluded,
        produced_by: None,
    }
}

/// Cluster-wide rights that are only for accounts that were not chosen, and the roles only these name.
fn idle_rights(chosen: &[&Object], out: &BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let mut idle = BTreeSet::new();
    for binding in chosen
        .iter()
        .filter(|object| object.is(RBAC, "ClusterRoleBinding"))
    {
        let subjects = binding
            .pointer("/subjects")
            .and_then(serde_json::Value::as_array);
        let subjects = subjects.map(Vec::as_slice).unwrap_or_default();
        let gone = |subject: &serde_json::Value| {
            subject["kind"] == "ServiceAccount"
                && out.contains(&ObjectId::namespaced(
                    "",
                    "ServiceAccount",
                    subject["namespace"].as_str().unwrap_or_default(),
                    subject["name"].as_str().unwrap_or_default(),
                ))
        };
        if !subjects.is_empty() && subjects.iter().all(gone) {
            idle.insert(binding.id());
        }
    }
    let named: BTreeSet<&str> = chosen
        .iter()
        .filter(|object| object.group() == RBAC && object.kind().ends_with("RoleBinding"))
        .filter(|binding| !idle.contains(&binding.id()))
        .filter(|binding| binding.text("/roleRef/kind") == Some("ClusterRole"))
        .filter_map(|binding| binding.text("/roleRef/name"))
        .collect();
    let roles = chosen
        .iter()
        .filter(|object| object.is(RBAC, "ClusterRole"));
    idle.extend(
        roles
            .filter(|role| !named.contains(role.name()))
            .map(|role| role.id()),
    );
    idle
}

#[cfg(test)]
mod tests;
