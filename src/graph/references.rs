//! What an object refers to: the engine over `transforms/builtin/edges.yaml`.
//!
//! ```text
//! Object ──rows of its kind──▶ places ──form──▶ Reference { target, name: Spot, namespace: Spot, … }
//!                                                     │                 │
//!                                              graph edge        rename writes here
//! ```
//!
//! One object is looked at by itself; whether a target exists is the graph's question. A reference
//! knows the exact characters in which the name and the namespace are written, so that a rename
//! changes these and nothing else, in plain fields, lists in a string, JSON in an annotation and map
//! keys alike.

mod form;
mod guess;
mod keys;
mod scopes;
mod spot;

pub use keys::KeyUse;
pub use spot::{Spot, rewrite};

use scopes::Scopes;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use serde_json::Value;
use smol_str::SmolStr;

use super::Strength;
use super::roots::{Root, Roots, containers_of_pod};
use crate::knowledge::Knowledge;
use crate::knowledge::edges::{Base, EdgeRow, Expand, Form, TargetFrom, text_at};
use crate::knowledge::roots::RootKind;
use crate::object::path::PathPattern;
use crate::object::{GroupKind, Object, ObjectId, ObjectName};

/// One reference from an object to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Rule id, as in `E-PT3`; heuristics are `E-G1` to `E-G8`.
    pub rule: SmolStr,
    /// Where the reference stands, as an RFC 6901 pointer.
    pub pointer: String,
    /// The characters of the name. `None` when the name is implied, as `default` is, or computed.
    pub name: Option<Spot>,
    /// The characters of the namespace. `None` when it is implied.
    pub namespace: Option<Spot>,
    /// The object meant.
    pub target: ObjectId,
    /// How strongly it is needed.
    pub strength: Strength,
    /// The reference says that its target may be absent.
    pub optional: bool,
    /// No edge, and no finding, unless the target is known.
    pub if_known: bool,
    /// The target is a Service, and the workloads behind it must run as well.
    pub backing: bool,
    /// In another namespace, a ReferenceGrant must let it in (E-37).
    pub granted: bool,
    /// How sure it is that this is a reference, in percent: 100 for every rule of the table.
    pub confidence: u8,
}

/// Finds references. Made once for a set of objects, as it learns from their CRDs.
#[derive(Debug)]
pub struct References<'k> {
    knowledge: &'k Knowledge,
    roots: Roots<'k>,
    scopes: Scopes<'k>,
    compiled: RwLock<BTreeMap<GroupKind, Arc<Reading<'k>>>>,
}

/// How objects of one kind are read.
#[derive(Debug)]
struct Reading<'k> {
    rows: Vec<Compiled<'k>>,
    /// No row of the table is about this kind alone: a custom resource nobody described.
    unknown: bool,
}

/// A row with its path from the object's top.
#[derive(Debug)]
struct Compiled<'k> {
    row: &'k EdgeRow,
    path: PathPattern,
    /// The kind all its references are to; `None` where they themselves say it.
    only: Option<GroupKind>,
}

/// Where in the object a node stands: a pointer, and one more inside a string that holds JSON.
#[derive(Clone, Copy)]
struct Place<'p> {
    pointer: &'p str,
    inside: Option<&'p str>,
}

/// A row at one node of an object.
#[derive(Clone, Copy)]
struct Site<'s> {
    row: &'s EdgeRow,
    object: &'s Object,
    place: Place<'s>,
    node: &'s Value,
}

impl<'k> References<'k> {
    /// Takes the tables, and CRDs for what they say about pod templates and kinds.
    pub fn new<'o>(
        knowledge: &'k Knowledge,
        crds: impl IntoIterator<Item = &'o Object> + Clone,
    ) -> Self {
        Self {
            knowledge,
            scopes: Scopes::new(knowledge, crds.clone()),
            roots: Roots::new(knowledge, crds),
            compiled: RwLock::default(),
        }
    }

    /// Where pod specs and containers are.
    pub fn roots(&self) -> &Roots<'k> {
        &self.roots
    }

    /// Every reference of one object, in the table's order; never one to itself.
    pub fn find(&self, object: &Object) -> Vec<Reference> {
        self.find_to(object, |_| true)
    }

    /// As [`References::find`], for whoever needs those to some kinds: references to others may be
    /// left out.
    pub fn find_to(&self, object: &Object, wanted: impl Fn(&GroupKind) -> bool) -> Vec<Reference> {
        let kind = object.group_kind();
        let mut found = Vec::new();
        let reading = self.compiled(&kind);
        let may_be = |one: &&Compiled<'_>| one.only.as_ref().is_none_or(&wanted);
        for compiled in reading.rows.iter().filter(may_be) {
            compiled.path.visit(object.value(), &mut |pointer, node| {
                self.at(compiled.row, object, pointer, node, &mut found);
            });
        }
        if reading.unknown {
            guess::guess(object, &self.scopes, &mut found);
        }
        let id = object.id();
        found.retain(|reference| reference.target != id);
        found
    }

    /// Whether no row of the table is about this kind: a custom resource nobody described.
    pub(super) fn is_unknown(&self, kind: &GroupKind) -> bool {
        self.compiled(kind).unknown
    }

    fn described(&self, kind: &GroupKind) -> bool {
        let built_in = !kind.group.contains('.')
            || (kind.group.ends_with(".k8s.io") && !self.scopes.custom.contains_key(kind));
        built_in
            || self.knowledge.edges.rows.iter().any(|row| {
                let mut kinds = row.kinds.iter().filter(|_| !row.partly);
                kinds.any(|pattern| pattern.matches(&kind.group, &kind.kind))
            })
    }

    fn compiled(&self, kind: &GroupKind) -> Arc<Reading<'k>> {
        if let Ok(known) = self.compiled.read()
            && let Some(rows) = known.get(kind)
        {
            return Arc::clone(rows);
        }
        let roots = self.roots.of(kind);
        let rows = self.knowledge.edges.for_kind(kind).into_iter();
        let compiled = |row: &'k EdgeRow| {
            let only = row.target.as_ref().filter(|_| row.target_from.is_none());
            let only = only.and_then(|pattern| pattern.exact());
            let bases = bases(row.base, &roots).into_iter();
            bases.map(move |base| Compiled {
                path: row.path.under(&base),
                only: only.clone(),
                row,
            })
        };
        let reading = Arc::new(Reading {
            rows: rows.flat_map(compiled).collect(),
            unknown: !self.described(kind),
        });
        if let Ok(mut known) = self.compiled.write() {
            known.insert(kind.clone(), Arc::clone(&reading));
        }
        reading
    }

    /// Reads the references of one row at one place.
    fn at(
        &self,
        row: &EdgeRow,
        object: &Object,
        pointer: &str,
        node: &Value,
        found: &mut Vec<Reference>,
    ) {
        let place = Place {
            pointer,
            inside: None,
        };
        let site = Site {
            row,
            object,
            place,
            node,
        };
        let Some(inside) = &row.inside else {
            return self.read(site, found);
        };
        let Some(Ok(json)) = node.as_str().map(serde_json::from_str::<Value>) else {
            return;
        };
        inside.visit(&json, &mut |inner, node| {
            let place = Place {
                pointer,
                inside: Some(inner),
            };
            let site = Site {
                row,
                object,
                place,
                node,
            };
            self.read(site, found);
        });
    }

    fn read(&self, site: Site<'_>, found: &mut Vec<Reference>) {
        let Site {
            row,
            object,
            place,
            node,
        } = site;
        if !row.when.iter().all(|when| when.holds(node)) {
            return;
        }
        let Some(kind) = target_kind(row, node) else {
            return;
        };
        let optional = row.optional.as_ref().is_some_and(|path| {
            let mut yes = false;
            path.visit(node, &mut |_, flag| yes |= flag == &Value::Bool(true));
            yes
        });
        let pod = object.is("", "Pod").then_some(row.bare_pod).flatten();
        let manner = Manner {
            kind,
            strength: match pod.unwrap_or(row.strength) {
                Strength::R if optional => Strength::S,
                strength => strength,
            },
            optional,
        };
        let named = match row.form {
            Form::RoleRule => self.scopes.of_role_rule(place, node),
            _ => names(row, object, place, node),
        };
        for named in named {
            for named in expand(row, object, named) {
                found.extend(self.complete(site, &manner, named));
            }
        }
    }

    /// Completes one reference with its name and namespace. `None` when they name nothing.
    fn complete(&self, site: Site<'_>, manner: &Manner, named: form::Named) -> Option<Reference> {
        let Site {
            row,
            object,
            place,
            node,
        } = site;
        let unnamed = named.name.is_empty()
            || named.name == "*"
            || named.name.contains(['$', '{'])
            || row.skip.iter().any(|skip| *skip == named.name);
        if unnamed {
            return None;
        }
        let kind = named.kind.unwrap_or_else(|| manner.kind.clone());
        let (mut namespace, mut spot) = (None, None);
        if !self.scopes.is_cluster_wide(&kind) {
            (namespace, spot) = match (named.namespace, &row.namespace) {
                (Some(namespace), _) => (Some(namespace), named.namespace_spot),
                (None, Some(path)) => string_below(node, place, path).unzip(),
                (None, None) => (None, None),
            };
            let own = || object.namespace().map(SmolStr::new);
            let default = || row.default_namespace.as_ref().map(SmolStr::new);
            namespace = namespace.or_else(own).or_else(default);
            // Without a namespace anywhere, a kind the reference itself names may be cluster-wide
            // without our knowing; then the name is all there is.
            if namespace.is_none() && row.target.is_some() {
                return None;
            }
        }
        Some(Reference {
            rule: row.id.clone(),
            pointer: place.pointer.to_owned(),
            name: named.name_spot,
            namespace: spot,
            target: ObjectId::from(ObjectName {
                group: kind.group,
                kind: kind.kind,
                namespace,
                name: named.name,
            }),
            strength: manner.strength,
            optional: manner.optional,
            if_known: row.if_known || manner.optional,
            backing: row.backing,
            granted: row.granted,
            confidence: 100,
        })
    }
}

/// What all references of a row at one node have in common.
struct Manner {
    kind: GroupKind,
    strength: Strength,
    optional: bool,
}

/// What a row's path stands under, for an object with these roots.
fn bases(base: Base, roots: &[&Root]) -> Vec<PathPattern> {
    let pods = || roots.iter().filter(|root| root.kind == RootKind::Pod);
    match base {
        Base::Object => vec![PathPattern::default()],
        Base::Pod => pods().map(|root| root.path.clone()).collect(),
        Base::Template => pods().filter_map(|root| root.path.parent()).collect(),
        Base::Container => roots
            .iter()
            .map(|root| match root.kind {
                RootKind::Container => root.path.clone(),
                RootKind::Pod => containers_of_pod().under(&root.path),
            })
            .collect(),
    }
}

fn target_kind(row: &EdgeRow, node: &Value) -> Option<GroupKind> {
    let fixed = row.target.as_ref().and_then(|pattern| pattern.exact());
    let Some(TargetFrom {
        kind,
        group,
        api_version,
    }) = &row.target_from
    else {
        // A form may name the kind itself.
        let names_it = matches!(row.form, Form::DependsOn | Form::RoleRule);
        return fixed.or_else(|| names_it.then(|| GroupKind::new("", "")));
    };
    let Some(named) = kind.as_ref().and_then(|path| text_at(node, path)) else {
        return fixed;
    };
    let group = match (group, api_version) {
        (Some(path), _) => text_at(node, path),
        (None, Some(path)) => text_at(node, path).map(|version| group_of(&version).into()),
        (None, None) => None,
    };
    let group = group
        .or_else(|| fixed.map(|kind| kind.group))
        .unwrap_or_default();
    Some(GroupKind::new(group, named))
}

fn group_of(api_version: &str) -> &str {
    api_version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// The names a row finds at a node, each with its place.
fn names(row: &EdgeRow, object: &Object, place: Place<'_>, node: &Value) -> Vec<form::Named> {
    if let Some((before, after)) = &row.key {
        return form::from_key(place.pointer, before, after)
            .into_iter()
            .collect();
    }
    let text = if row.name.is_empty() {
        node.as_str()
            .map(|text| (SmolStr::new(text), spot_of(place, "", text.len())))
    } else {
        row.name
            .iter()
            .find_map(|path| string_below(node, place, path))
    };
    match (text, &row.default) {
        (Some((text, whole)), _) => form::split(row.form, object.namespace(), &text, &whole),
        (None, Some(name)) => vec![form::Named::implied(name)],
        (None, None) => Vec::new(),
    }
}

/// A StatefulSet makes one claim for each ordinal.
fn expand(row: &EdgeRow, object: &Object, named: form::Named) -> Vec<form::Named> {
    match row.expand {
        None => vec![named],
        Some(Expand::Ordinals) => {
            let number = |pointer| object.pointer(pointer).and_then(Value::as_u64);
            let start = number("/spec/ordinals/start").unwrap_or(0);
            let replicas = number("/spec/replicas").unwrap_or(1);
            (start..start.saturating_add(replicas))
                .map(|n| form::Named::implied(&format!("{}-{}-{n}", named.name, object.name())))
                .collect()
        }
    }
}

/// The first string of a pattern below a node that is not empty, and its place.
fn string_below(node: &Value, place: Place<'_>, path: &PathPattern) -> Option<(SmolStr, Spot)> {
    let mut found = None;
    path.visit(node, &mut |below, value| {
        if found.is_none()
            && let Some(text) = value.as_str().filter(|text| !text.is_empty())
        {
            found = Some((SmolStr::new(text), spot_of(place, below, text.len())));
        }
    });
    found
}

fn spot_of(place: Place<'_>, below: &str, length: usize) -> Spot {
    match place.inside {
        None => Spot::value(format!("{}{below}", place.pointer), None, 0..length),
        Some(inside) => Spot::value(
            place.pointer.to_owned(),
            Some(format!("{inside}{below}")),
            0..length,
        ),
    }
}

#[cfg(test)]
mod tests;
