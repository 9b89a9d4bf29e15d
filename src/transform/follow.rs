//! Renames along the reference table: where `edges.yaml` says an object names a namespace, a class or
//! an object with a new name, the very characters of that name change. What a graph edge is drawn from is what a rename
//! follows; `targets.yaml` adds the places that are no reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::class::Class;
use super::names::Maps;
use super::work::{Difference, Part, Work};
use crate::graph::references::{Reference, References, Spot, rewrite};
use crate::object::Object;

/// Places written already, per object: the rows of `targets.yaml` leave them alone.
pub(super) type Done = Vec<BTreeSet<String>>;

/// Guesses below this (percent) order nothing and rename nothing.
const SURE: u8 = 50;

/// One spot to be written.
struct Edit {
    spot: Spot,
    new: String,
    part: Part,
    rule: &'static str,
}

/// Renames namespaces, classes and objects in every reference.
pub(super) fn references(
    work: &mut Work<'_>,
    references: &References<'_>,
    maps: &mut Maps,
) -> Done {
    let mut done = vec![BTreeSet::new(); work.objects().len()];
    if maps.leave_references() {
        return done;
    }
    for (index, done) in done.iter_mut().enumerate() {
        let object = &work.before[index];
        let found = references.find_to(object, |kind| maps.concern(kind));
        let edits: Vec<Edit> = found
            .iter()
            .filter(|reference| reference.confidence >= SURE)
            .flat_map(|reference| edits(object, reference, maps))
            // Keys are renamed by the rows of targets.yaml, all of a map at once: two may swap.
            .filter(|edit| !edit.spot.in_key)
            .collect();
        if !edits.is_empty() {
            write(work, index, edits, done);
        }
    }
    done
}

fn edits(object: &Object, reference: &Reference, maps: &mut Maps) -> Vec<Edit> {
    let mut edits = Vec::new();
    let namespace = |spot: &Spot, maps: &mut Maps| {
        let name = spot.read(object.value())?;
        let (new, part) = maps.namespaces.find(&name)?;
        Some(Edit {
            spot: spot.clone(),
            new,
            part,
            rule: "T-4",
        })
    };
    if let Some(spot) = &reference.namespace {
        edits.extend(namespace(spot, maps));
    }
    if let Some(spot) = &reference.name {
        if reference.target.is("", "Namespace") {
            edits.extend(namespace(spot, maps));
        } else if let Some(class) = Class::of(&reference.target.group, &reference.target.kind)
            && let Some(name) = spot.read(object.value())
            && let Some((new, part)) = maps.class(class).find(&name)
        {
            edits.push(Edit {
                spot: spot.clone(),
                new,
                part,
                rule: class.rule(),
            });
        } else if let Some((new, part)) = maps.renames.find(&reference.target) {
            edits.push(Edit {
                spot: spot.clone(),
                new: new.to_owned(),
                part,
                rule: "T-3",
            });
        }
    }
    edits
}

/// Writes all spots of one object and records what became of each string.
fn write(work: &mut Work<'_>, index: usize, edits: Vec<Edit>, done: &mut BTreeSet<String>) {
    let mut places: BTreeMap<&str, &Edit> = BTreeMap::new();
    for edit in &edits {
        work.used(edit.part);
        places.entry(&edit.spot.pointer).or_insert(edit);
    }
    let before: Vec<Value> = read(&work.objects()[index], &places);
    let spots: Vec<(Spot, String)> = edits
        .iter()
        .map(|edit| (edit.spot.clone(), edit.new.clone()))
        .collect();
    rewrite(work.edit(index).value_mut(), &spots);
    let after = read(&work.objects()[index], &places);
    for (((place, edit), before), after) in places.into_iter().zip(before).zip(after) {
        let path = place.to_owned();
        done.insert(path.clone());
        if before != after {
            let difference = Difference {
                path,
                before,
                after,
            };
            work.record(index, difference, edit.rule, edit.part);
        }
    }
}

/// The values at some places; null where there is none.
fn read(object: &Object, places: &BTreeMap<&str, &Edit>) -> Vec<Value> {
    let value = |place: &&str| object.pointer(place).cloned().unwrap_or_default();
    places.keys().map(value).collect()
}
