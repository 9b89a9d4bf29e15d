//! T-3: objects that are called something else on B. References follow along `edges.yaml`; the claims
//! of a StatefulSet follow its name, and the DNS names of a Service follow its own (T-11).

use std::collections::BTreeMap;
use std::ops::Range;

use super::apply::entries;
use super::fault::Faults;
use super::grammar;
use super::host::{is_dns_label, is_dns_name};
use super::parse::{Fields, mappings, select_of};
use super::recipe::{Mapping, Transform};
use super::select::Select;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::object::{Object, ObjectId};
use crate::yaml::located::Located;

/// New names of selected objects.
#[derive(Clone, Debug)]
pub struct Names {
    /// Which objects.
    pub select: Select,
    /// Names.
    pub map: Vec<Mapping<String>>,
}

/// Reads `names:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Names> {
    let fields = Fields::read(body, span, &grammar::NAMES, faults)?;
    fields.required("map", faults)?;
    let map = mappings(&fields, "map", "a name", faults, |name| {
        let good = !name.is_empty() && name.len() <= 253 && !name.contains(['/', ' ', '%']);
        match good {
            true => Ok(name.to_owned()),
            false => Err("use at most 253 letters, digits, `-` and `.`".into()),
        }
    });
    Some(Names {
        select: select_of(&fields, faults),
        map,
    })
}

/// Whether an API server takes a name for an object. Rights have freer names than all others, Services stricter ones.
fn is_name_of(object: &Object, name: &str) -> bool {
    match (object.group(), object.kind()) {
        ("rbac.authorization.k8s.io", _) => true,
        ("", "Service") => is_dns_label(name),
        _ => is_dns_name(name),
    }
}

/// Every object that gets a new name, by its name on A.
#[derive(Debug, Default)]
pub(super) struct Renames(BTreeMap<ObjectId, (String, Part)>);

impl Renames {
    /// Collects what all recipes say, and what follows from it.
    pub(super) fn collect(work: &mut Work<'_>) -> Self {
        let mut all = Self::default();
        let recipes = work.recipes;
        let mut refused = Vec::new();
        for (recipe, entry) in entries(recipes) {
            let Transform::Names(names) = &entry.transform else {
                continue;
            };
            for index in work.selected(recipe, entry) {
                let object = &work.before[index];
                let mut lines = names.map.iter();
                let Some(number) = lines.position(|line| line.from.value == object.name()) else {
                    continue;
                };
                let part = Part {
                    recipe,
                    entry: entry.number,
                    part: number,
                };
                let to = names.map[number].to.value.clone();
                if !is_name_of(object, &to) {
                    refused.push((object.id(), to.clone()));
                }
                all.claims(work.before, object, &to, part);
                all.0.insert(object.id(), (to, part));
                work.used(part);
            }
        }
        for (id, to) in refused {
            let message = format!("no cluster takes the name {to:?} for a {}", id.kind);
            let finding = Finding::new(Verdict::Block, "T-3", message).on(id);
            work.find(finding.at("/metadata/name").remedy(
                "use lower-case letters, digits, `-` and, but for Services, `.`; begin and end with a letter or digit",
            ));
        }
        all
    }

    /// The claims a StatefulSet made are found by its name (E-15).
    fn claims(&mut self, objects: &[Object], set: &Object, to: &str, part: Part) {
        if set.kind() != "StatefulSet" {
            return;
        }
        let templates = set.pointer("/spec/volumeClaimTemplates");
        let templates = templates.and_then(serde_json::Value::as_array);
        for template in templates.into_iter().flatten() {
            let Some(name) = template["metadata"]["name"].as_str() else {
                continue;
            };
            let prefix = format!("{name}-{}-", set.name());
            for claim in objects.iter().filter(|one| {
                one.is("", "PersistentVolumeClaim") && one.namespace() == set.namespace()
            }) {
                let ordinal = claim.name().strip_prefix(&prefix);
                let ordinal = ordinal.filter(|rest| {
                    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
                });
                if let Some(ordinal) = ordinal {
                    let new = format!("{name}-{to}-{ordinal}");
                    self.0.insert(claim.id(), (new, part));
                }
            }
        }
    }

    /// What an object of A is called on B, if that is another name.
    pub(super) fn find(&self, id: &ObjectId) -> Option<(&str, Part)> {
        let (name, part) = self.0.get(id)?;
        Some((name, *part))
    }

    /// What a Service of A is called on B, if that is another name.
    pub(super) fn service(&self, name: &str, namespace: &str) -> Option<(&str, Part)> {
        if self.0.is_empty() {
            return None;
        }
        self.find(&ObjectId::namespaced("", "Service", namespace, name))
    }

    /// Names on A that became others.
    pub(super) fn moved(&self) -> impl Iterator<Item = &ObjectId> {
        let all = self.0.iter();
        all.filter(|(id, (name, _))| id.name != *name)
            .map(|(id, _)| id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the new names where the objects have their own.
    pub(super) fn write(&self, work: &mut Work<'_>) {
        for index in 0..work.before.len() {
            if let Some((name, part)) = self.find(work.id(index)) {
                let name = name.to_owned();
                work.set(index, "/metadata/name", name.into(), "T-3", part);
            }
        }
    }
}
