//! All recipes on all objects, in the order of rule book §3:
//! namespaces and names, images, classes, hosts, scheduling and scaling, text, secrets, labels, patches.
//!
//! The typed transforms of all recipes act together; entries' order in the file decides only where one
//! says that it overrides another. Selections look at objects as they are on A.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::endpoints;
use super::fault::{Fault, Faults, TransformErrors};
use super::follow;
use super::hooks;
use super::names::Maps;
use super::recipe::{Entry, Recipe, Transform};
use super::rename::Renames;
use super::source::Source;
use super::work::{Part, Work};
use super::{
    Rule, Transformed, config_text, convert, exposure, guard, helm, invariant, lookalike, marks,
    patch, places, quotas, resources, scale, scheduling, secrets, text, volumes,
};
use crate::graph::references::References;
use crate::knowledge::Knowledge;
use crate::knowledge::targets::Rewrites;
use crate::object::Object;

/// Applies recipes to objects of which nothing else is known. No recipe changes nothing.
///
/// # Errors
/// As [`apply_to`].
pub fn apply(
    objects: &[Object],
    recipes: &[Recipe],
    knowledge: &Knowledge,
) -> Result<Transformed, TransformErrors> {
    apply_to(&Source::new(objects), recipes, knowledge)
}

/// Applies recipes to what was captured. No recipe changes nothing.
///
/// # Errors
/// Everything that does not fit, at once: two recipes or entries that contradict each other, rules
/// that match nothing, expressions and patches that fail, selectors that would lose their pods,
/// objects that would collide.
pub fn apply_to(
    source: &Source<'_>,
    recipes: &[Recipe],
    knowledge: &Knowledge,
) -> Result<Transformed, TransformErrors> {
    let mut maps = Maps::join(recipes).map_err(|faults| TransformErrors { faults })?;
    maps.hosts.keeps.clone_from(&source.keeps);
    let mut work = Work::new(source, recipes);
    let faults = work.select();
    if !faults.is_empty() {
        return Err(TransformErrors { faults });
    }
    let references = References::new(knowledge, source.all_definitions());
    let lens = Lens {
        knowledge,
        references: &references,
    };
    maps.renames = Renames::collect(&mut work);
    let mut faults = stages(&mut work, lens, &mut maps);
    helm::releases(&mut work, lens, &mut maps);
    faults.extend(invariant::selectors(&work));
    faults.extend(invariant::names(&work));
    faults.extend(unmatched(&work, &maps));
    let (hooks, nobody) = hooks::choose(source, recipes, references.roots());
    faults.extend(nobody);
    if !faults.is_empty() {
        return Err(TransformErrors { faults });
    }
    scale::budgets(&mut work);
    quotas::tell(&mut work, references.roots());
    exposure::identities(&mut work, knowledge);
    if has_conversion(recipes) {
        convert::left_behind(&mut work, &references);
    }
    lookalike::find(&mut work, &maps);
    Ok(Transformed {
        hooks,
        ..result(work, &maps)
    })
}

/// Whether a recipe means to leave OpenShift.
fn has_conversion(recipes: &[Recipe]) -> bool {
    entries(recipes).any(|(_, entry)| matches!(entry.transform, Transform::Convert(_)))
}

/// What every stage looks things up in.
#[derive(Clone, Copy)]
pub(super) struct Lens<'l> {
    pub(super) knowledge: &'l Knowledge,
    pub(super) references: &'l References<'l>,
}

/// Every transform, in order. What is wrong comes back.
pub(super) fn stages(work: &mut Work<'_>, lens: Lens<'_>, maps: &mut Maps) -> Vec<Fault> {
    let Lens {
        knowledge,
        references,
    } = lens;
    let written = follow::references(work, references, maps);
    places::names(work, knowledge, maps, &[Rewrites::Namespace], &written);
    maps.renames.write(work);
    convert::image_streams(work, references);
    places::names(work, knowledge, maps, &places::NAMES, &written);
    let mut faults = chosen(work, lens);
    rewrite_texts(work, knowledge, maps);
    faults.extend(per_entry(work, &mut |work, recipe, entry, faults| {
        if let Transform::Text(text) = &entry.transform {
            config_text::apply(work, references.roots(), recipe, entry, text, faults);
            for index in work.selected(recipe, entry) {
                secrets::tell_immutable(work, index);
            }
        }
    }));
    secrets::apply_all(work, knowledge);
    convert::kinds(work, references);
    faults.extend(per_entry(
        work,
        &mut |work, recipe, entry, _| match &entry.transform {
            Transform::CloneGuard(one) => guard::apply(work, knowledge, recipe, entry, one),
            Transform::LeaveOut(_) => {
                for index in work.selected(recipe, entry) {
                    work.leave(index, "leaveOut", whole(recipe, entry));
                }
            }
            _ => {}
        },
    ));
    marks::apply(work, knowledge);
    faults.extend(patch::apply(work, knowledge, references.roots()));
    faults.extend(work.take_conflicts());
    faults
}

/// T-6, T-7 and T-8: what entries choose for objects they select.
fn chosen(work: &mut Work<'_>, lens: Lens<'_>) -> Vec<Fault> {
    let Lens {
        knowledge,
        references,
    } = lens;
    let roots = references.roots();
    let mut faults = per_entry(
        work,
        &mut |work, recipe, entry, faults| match &entry.transform {
            Transform::Scheduling(one) => scheduling::apply(work, roots, recipe, entry, one),
            Transform::Exposure(one) => exposure::apply(work, knowledge, recipe, entry, one),
            Transform::Scale(one) => scale::apply(work, knowledge, references, recipe, entry, one),
            Transform::Resources(one) => {
                resources::apply(work, roots, recipe, entry, one, faults);
            }
            _ => {}
        },
    );
    // Quotas count what all entries made of the workloads.
    faults.extend(per_entry(work, &mut |work, recipe, entry, _| {
        if let Transform::Resources(one) = &entry.transform
            && one.quotas
        {
            for index in work.selected(recipe, entry) {
                if work.before[index].is("", "ResourceQuota") {
                    quotas::follow(work, roots, index, whole(recipe, entry));
                }
            }
        }
    }));
    // Modes of claims are judged by how many pods there are in the end.
    faults.extend(per_entry(work, &mut |work, recipe, entry, faults| {
        if let Transform::Volumes(one) = &entry.transform {
            volumes::apply(work, knowledge, references, recipe, entry, one, faults);
        }
    }));
    faults
}

/// Visits every entry with a place for its mistakes.
fn per_entry(
    work: &mut Work<'_>,
    visit: &mut dyn FnMut(&mut Work<'_>, usize, &Entry, &mut Faults),
) -> Vec<Fault> {
    let recipes = work.recipes;
    let mut all = Vec::new();
    for (number, recipe) in recipes.iter().enumerate() {
        let mut faults = Faults::new(recipe.source.clone());
        for entry in &recipe.entries {
            visit(work, number, entry, &mut faults);
        }
        all.extend(faults.into_list());
    }
    all
}

/// T-11, and T-5 inside text.
fn rewrite_texts(work: &mut Work<'_>, knowledge: &Knowledge, maps: &mut Maps) {
    if !maps.namespaces.is_empty() || !maps.renames.is_empty() {
        let services = work.source.services(knowledge);
        let service = |name: &str, namespace: &str| {
            services.contains(&(name.to_owned(), namespace.to_owned()))
        };
        places::texts(work, knowledge, &mut |_, leaf| {
            let used = std::cell::Cell::new(None);
            let rename = |name: Option<&str>, namespace: &str| {
                let moved = maps.namespaces.peek(namespace);
                let own = name.and_then(|name| maps.renames.service(name, namespace));
                used.set(
                    own.map(|(_, part)| part)
                        .or(moved.as_ref().map(|(_, part)| *part)),
                );
                if own.is_none() && moved.is_none() {
                    return None;
                }
                let to = moved.map_or_else(|| namespace.to_owned(), |(to, _)| to);
                Some((own.map(|(name, _)| name.to_owned()), to))
            };
            let new = text::service_names(leaf, &rename, &service)?;
            Some((new, used.get()?))
        });
    }
    if !maps.renames.is_empty() {
        bare_names(work, knowledge, maps);
    }
    if !maps.hosts.is_empty() {
        places::texts(work, knowledge, &mut |_, leaf| {
            let mut used = None;
            let new = text::hosts(leaf, &mut |host| {
                let (to, part) = maps.hosts.peek(host)?;
                used = Some(part);
                Some(to)
            })?;
            Some((new, used?))
        });
    }
    if !maps.endpoints.is_empty() {
        places::texts(work, knowledge, &mut |_, leaf| {
            let mut used = None;
            let new = endpoints(leaf, &mut |endpoint| {
                let (to, part) = maps.endpoints.find(endpoint)?;
                used = Some(part);
                Some(to)
            })?;
            Some((new, used?))
        });
    }
    if !maps.domains.is_empty() {
        places::texts(work, knowledge, &mut |_, leaf| {
            let mut used = None;
            let new = text::cluster_domains(leaf, &mut |domain| {
                let (to, part) = maps.domains.find(domain)?;
                used = Some(part);
                Some(to)
            })?;
            Some((new, used?))
        });
    }
}

/// Names of renamed Services as their own namespace writes them.
fn bare_names(work: &mut Work<'_>, knowledge: &Knowledge, maps: &Maps) {
    places::texts(work, knowledge, &mut |object, leaf| {
        let namespace = object.namespace()?;
        let used = std::cell::Cell::new(None);
        let new = text::bare_names(leaf, &|name| {
            let (new, part) = maps.renames.service(name, namespace)?;
            used.set(Some(part));
            Some(new.to_owned())
        })?;
        Some((new, used.get()?))
    });
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
            for (index, (name, span)) in entry.transform.rules(&entry.span).into_iter().enumerate()
            {
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
        Transform::Class(class, _) => found(class.plural(), &maps.seen_classes(*class)),
        Transform::Registry(_) => found("images from", &maps.images.seen),
        Transform::Namespace(_) => found("namespaces", &maps.namespaces.seen),
        Transform::Host(_) => found("hosts", &maps.hosts.seen),
        Transform::Endpoint(_) | Transform::ClusterDomain(_) | Transform::Text(_) => {
            "no text that is looked at has it; correct the rule or add `optional: true`".into()
        }
        _ => "correct `select`, which looks at objects as they are on A, or add `optional: true`"
            .into(),
    }
}

/// Every rule with its name, and whether it found something.
fn rules(work: &Work<'_>) -> Vec<Rule> {
    let mut all = Vec::new();
    for (recipe, entry) in entries(work.recipes) {
        for (index, (name, span)) in entry.transform.rules(&entry.span).into_iter().enumerate() {
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

fn result(mut work: Work<'_>, maps: &Maps) -> Transformed {
    let rules = rules(&work);
    let mut renamed = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    for (before, after) in work.before.iter().zip(work.objects()) {
        let (old, new) = (before.id(), after.id());
        let home = match old.namespace.clone() {
            None if old.is("", "Namespace") => Some(old.name.clone()),
            home => home,
        };
        if let Some(home) = home.filter(|home| !namespaces.contains_key(home.as_str())) {
            let target = maps.namespaces.get(&home).unwrap_or(&home).to_owned();
            namespaces.insert(home.to_string(), target);
        }
        if old != new {
            renamed.insert(old, new);
        }
    }
    let findings = work.take_findings();
    let added = work.take_added();
    let kept: Vec<usize> = (0..work.objects().len())
        .filter(|index| !work.is_left(*index))
        .collect();
    let mut origins: Vec<Option<usize>> = kept.iter().copied().map(Some).collect();
    origins.extend(added.iter().map(|_| None));
    let objects = kept.into_iter().map(|index| work.objects()[index].clone());
    Transformed {
        objects: objects.chain(added).collect(),
        origins,
        findings,
        changes: Arc::new(work.changes),
        lookalikes: work.lookalikes,
        hooks: Vec::new(),
        rules,
        renamed,
        namespaces,
    }
}

#[cfg(test)]
mod tests;
