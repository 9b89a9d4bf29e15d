//! T-12: labels and annotations, on objects and, when asked, on their pod templates.

use serde_json::Value;

use super::apply::{entries, whole};
use super::recipe::{Marks, Transform};
use super::work::{Part, Work};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::Rewrites;
use crate::object::{Object, pointer};

pub(super) fn apply(work: &mut Work<'_>, knowledge: &Knowledge) {
    let recipes = work.recipes;
    for (recipe, entry) in entries(recipes) {
        let (marks, key) = match &entry.transform {
            Transform::Labels(marks) => (marks, "labels"),
            Transform::Annotations(marks) => (marks, "annotations"),
            _ => continue,
        };
        let part = whole(recipe, entry);
        for index in work.selected(recipe, entry) {
            mark(work, index, "/metadata", key, marks, part);
            if marks.pods {
                mark_pods(work, knowledge, index, key, marks, part);
            }
        }
        for object in work.added_mut() {
            // One that gives no answer was never captured; it is not what the expression is about.
            if marks.select.matches(object).unwrap_or(false) {
                mark_added(object, key, marks);
            }
        }
    }
}

fn mark_pods(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    index: usize,
    key: &str,
    marks: &Marks,
    part: Part,
) {
    let mut places = Vec::new();
    for row in knowledge.targets.iter() {
        if row.rewrites == Rewrites::PodMetadata && row.applies(&work.before[index]) {
            places.extend(row.path.find(work.objects()[index].value()));
        }
    }
    places.sort();
    places.dedup();
    for place in places {
        mark(work, index, &place, key, marks, part);
    }
}

/// Sets and removes the marks of one `metadata`.
fn mark(work: &mut Work<'_>, index: usize, metadata: &str, key: &str, marks: &Marks, part: Part) {
    let map = format!("{metadata}/{key}");
    for (name, value) in &marks.set {
        let path = pointer::join(&map, &name.value);
        work.assign(index, &path, Value::from(value.as_str()), "T-12", part);
    }
    for name in &marks.remove {
        work.unassign(index, &pointer::join(&map, &name.value), "T-12", part);
    }
}

/// An object that a recipe adds is marked as if it had been captured: else applying the recipe to its
/// own result would change it again.
fn mark_added(object: &mut Object, key: &str, marks: &Marks) {
    let map = format!("/metadata/{key}");
    for (name, value) in &marks.set {
        let path = pointer::join(&map, &name.value);
        pointer::set(object.value_mut(), &path, Value::from(value.as_str()));
    }
    for name in &marks.remove {
        pointer::remove(object.value_mut(), &pointer::join(&map, &name.value));
    }
}
