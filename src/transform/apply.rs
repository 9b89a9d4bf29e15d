//! All recipes on all objects, in the order of rule book §3:
//! namespaces, images, classes, hosts, scale, text, labels, patches.
//!
//! The typed transforms of all recipes act together; entries' order in the file decides only between
//! labels and between patches. Selections look at objects as they are on A.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fault::{Fault, Faults, TransformErrors};
use super::follow::{self, Done};
use super::names::Maps;
use super::recipe::{Entry, Recipe, Transform};
use super::work::{Part, Work};
use super::{Rule, Transformed, helm, invariant, lookalike, marks, patch, places, text};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::{Form, Rewrites};
use crate::object::Object;

/// Applies recipes to captured objects. No recipe changes nothing.
///
/// # Errors
/// Everything that does not fit, at once: two recipes that contradict each other, rules that match
/// nothing, patches that fail, selectors that would lose their pods, objects that would collide.
pub fn apply(
    objects: &[Object],
    recipes: &[Recipe],
    knowledge: &Knowledge,
) -> Result<Transformed, TransformErrors> {
    let mut maps = Maps::join(recipes).map_err(|faults| TransformErrors { faults })?;
    let mut work = Work::new(objects, recipes);
    let faults = work.select();
    if !faults.is_empty() {
        return Err(TransformErrors { faults });
    }
    let mut faults = stages(&mut work, knowledge, &mut maps);
    helm::releases(&mut work, knowledge, &mut maps);
    faults.extend(invariant::selectors(&work));
    faults.extend(invariant::names(&work));
    faults.extend(unmatched(&work, &maps));
    if !faults.is_empty() {
        return Err(TransformErrors { faults });
    }
    lookalike::find(&mut work, &maps);
    Ok(result(work, &maps))
}

/// Every transform, in order. What is wrong with patches comes back.
pub(super) fn stages(work: &mut Work<'_>, knowledge: &Knowledge, maps: &mut Maps) -> Vec<Fault> {
    let written = follow::references(work, knowledge, maps);
    let nothing = Done::new();
    rename_namespaces(work, knowledge, maps, &written);
    places::rewrite_all(
        work,
        knowledge,
        Rewrites::Image,
        &nothing,
        &mut |name, form| match form {
            Form::DockerConfig => maps.images.credentials(name),
            _ => maps.images.find(name),
        },
    );
    places::rewrite_all(
        work,
        knowledge,
        Rewrites::StorageClass,
        &written,
        &mut |name, _| maps.classes.find(name),
    );
    places::rewrite_all(work, knowledge, Rewrites::Host, &nothing, &mut |name, _| {
        maps.hosts.find(name)
    });
    scale(work, knowledge);
    rewrite_texts(work, knowledge, maps);
    marks::apply(work, knowledge);
    patch::apply(work)
}

fn rename_namespaces(work: &mut Work<'_>, knowledge: &Knowledge, maps: &mut Maps, written: &Done) {
    if maps.namespaces.is_empty() {
        return;
    }
    places::rewrite_all(
        work,
        knowledge,
        Rewrites::Namespace,
        written,
        &mut |name, _| maps.namespaces.find(name),
    );
}

/// T-7.
fn scale(work: &mut Work<'_>, knowledge: &Knowledge) {
    let recipes = work.recipes;
    for (recipe, entry) in entries(recipes) {
        let Transform::Scale(scale) = &entry.transform else {
            continue;
        };
        let part = whole(recipe, entry);
        for index in work.selected(recipe, entry) {
            let object = &work.before[index];
            let mut rows = knowledge.targets.iter();
            let row = rows.find(|row| row.rewrites == Rewrites::Replicas && row.applies(object));
            if let Some((row, path)) = row.and_then(|row| Some((row, row.path.exact()?))) {
                work.set(index, &path, Value::from(scale.replicas), &row.id, part);
            }
        }
    }
}

/// T-11, and T-5 inside text.
fn rewrite_texts(work: &mut Work<'_>, knowledge: &Knowledge, maps: &mut Maps) {
    let services: BTreeSet<(String, String)> = work
        .before
        .iter()
        .filter(|object| object.is("", "Service"))
        .filter_map(|object| Some((object.name().into(), object.namespace()?.into())))
        .collect();
    let service =
        |name: &str, namespace: &str| services.contains(&(name.to_owned(), namespace.to_owned()));
    if !maps.namespaces.is_empty() {
        places::rewrite_all(
            work,
            knowledge,
            Rewrites::Text,
            &Done::new(),
            &mut |leaf, _| {
                let used = std::cell::Cell::new(None);
                let rename = |namespace: &str| {
                    let (to, part) = maps.namespaces.peek(namespace)?;
                    used.set(Some(part));
                    Some(to)
                };
                let new = text::service_names(leaf, &rename, &service)?;
                Some((new, used.get()?))
            },
        );
    }
    if !maps.hosts.is_empty() {
        places::rewrite_all(
            work,
            knowledge,
            Rewrites::Text,
            &Done::new(),
            &mut |leaf, _| {
                let mut used = None;
                let new = text::hosts(leaf, &mut |host| {
                    let (to, part) = maps.hosts.peek(host)?;
                    used = Some(part);
                    Some(to)
                })?;
                Some((new, used?))
            },
        );
    }
}

/// Every entry with its recipe's index, in order.
pub(super) fn entries(recipes: &[Recipe]) -> impl Iterator<Item = (usize, &Entry)> {
    recipes
        .iter()
        .enumerate()
        .flat_map(|(number, recipe)| recipe.entries.iter().map(move |entry| (number, entry)))
}

/// An entry as a whole.
pub(super) fn whole(recipe: usize, entry: &Entry) -> Part {
    Part {
        recipe,
        entry: entry.number,
        part: 0,
    }
}

/// Rules that found nothing: most likely a misspelt name, so the plan must not go on without them.
fn unmatched(work: &Work<'_>, maps: &Maps) -> Vec<Fault> {
    let mut all = Vec::new();
    for (number, recipe) in work.recipes.iter().enumerate() {
        let mut faults = Faults::new(recipe.source.clone());
        for entry in recipe.entries.iter().filter(|entry| !entry.optional) {
            for (index, (name, span)) in rules_of(entry).into_iter().enumerate() {
                let part = Part {
                    part: index,
                    ..whole(number, entry)
                };
                if work.is_used(part) {
                    continue;
                }
                faults
                    .add(
                        format!("{} matches nothing", described(entry, name.as_deref())),
                        &span,
                        "no captured object has it",
                    )
                    .help(advice(entry, maps));
            }
        }
        all.extend(faults.into_list());
    }
    all
}

fn described(entry: &Entry, name: Option<&str>) -> String {
    let key = entry.transform.key();
    let own = entry.name.as_ref().map(|own| format!(" ({own})"));
    let own = own.unwrap_or_default();
    match name {
        Some(name) => format!("the {key} rule for `{name}`{own}"),
        None => format!("the {key} of entry {}{own}", entry.number),
    }
}

/// The rules of an entry that must each match: every line of a map, or the entry as a whole.
fn rules_of(entry: &Entry) -> Vec<(Option<String>, std::ops::Range<usize>)> {
    fn lines<T: std::fmt::Display>(
        map: &[super::recipe::Mapping<T>],
    ) -> Vec<(Option<String>, std::ops::Range<usize>)> {
        let line = |line: &super::recipe::Mapping<T>| {
            (Some(line.from.value.to_string()), line.from.span.clone())
        };
        map.iter().map(line).collect()
    }
    match &entry.transform {
        Transform::StorageClass(map) | Transform::Namespace(map) => lines(map),
        Transform::Registry(map) => lines(map),
        Transform::Host(map) => lines(map),
        Transform::Scale(_)
        | Transform::Labels(_)
        | Transform::Annotations(_)
        | Transform::Patch(_) => vec![(None, entry.span.clone())],
    }
}

fn advice(entry: &Entry, maps: &Maps) -> String {
    let found = |what: &str, names: &BTreeSet<String>| match names.is_empty() {
        true => format!("the capture has no {what}; remove the rule or add `optional: true`"),
        false => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!(
                "the capture has {what} {}; correct the rule or add `optional: true`",
                names.join(", ")
            )
        }
    };
    match &entry.transform {
        Transform::StorageClass(_) => found("storage classes", &maps.classes.seen),
        Transform::Registry(_) => found("images from", &maps.images.seen),
        Transform::Namespace(_) => found("namespaces", &maps.namespaces.seen),
        Transform::Host(_) => found("hosts", &maps.hosts.seen),
        Transform::Scale(_)
        | Transform::Labels(_)
        | Transform::Annotations(_)
        | Transform::Patch(_) => {
            "correct `select`, which looks at objects as they are on A, or add `optional: true`"
                .into()
        }
    }
}

/// Every rule with its name, and whether it found something.
fn rules(work: &Work<'_>) -> Vec<Rule> {
    let mut all = Vec::new();
    for (recipe, entry) in entries(work.recipes) {
        for (index, (name, span)) in rules_of(entry).into_iter().enumerate() {
            let part = Part {
                part: index,
                ..whole(recipe, entry)
            };
            all.push(Rule {
                recipe,
                entry: entry.number,
                name: described(entry, name.as_deref()),
                span,
                matched: work.is_used(part),
            });
        }
    }
    all
}

fn result(work: Work<'_>, maps: &Maps) -> Transformed {
    let rules = rules(&work);
    let mut renamed = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    for (before, after) in work.before.iter().zip(&work.objects) {
        let (old, new) = (before.id(), after.id());
        let home = match old.namespace.clone() {
            None if old.is("", "Namespace") => Some(old.name.clone()),
            home => home,
        };
        if let Some(home) = home {
            let target = maps.namespaces.get(&home).unwrap_or(&home).to_owned();
            namespaces.insert(home, target);
        }
        if old != new {
            renamed.insert(old, new);
        }
    }
    Transformed {
        objects: work.objects,
        changes: work.changes,
        lookalikes: work.lookalikes,
        rules,
        renamed,
        namespaces,
    }
}

#[cfg(test)]
mod tests;
