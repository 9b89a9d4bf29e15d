//! `patch`: JSON Patch and merge patch on selected objects, for what no typed transform covers.
//!
//! A patch fails as a whole and the plan with it: a half-applied patch is an object nobody wrote.
//! It may not change which object it is; renames must follow references.

use serde_json::{Map, Value};

use super::apply::{entries, whole};
use super::fault::{Fault, Faults};
use super::recipe::{Entry, Patch, PatchChange, Transform};
use super::work::{Difference, Work};
use crate::object::{Object, pointer};

pub(super) fn apply(work: &mut Work<'_>) -> Vec<Fault> {
    let recipes = work.recipes;
    let mut all = Vec::new();
    for (recipe, entry) in entries(recipes) {
        let Transform::Patch(patch) = &entry.transform else {
            continue;
        };
        let mut faults = Faults::new(recipes[recipe].source.clone());
        for index in work.selected(recipe, entry) {
            apply_one(work, index, recipe, entry, patch, &mut faults);
        }
        all.extend(faults.into_list());
    }
    all
}

fn apply_one(
    work: &mut Work<'_>,
    index: usize,
    recipe: usize,
    entry: &Entry,
    patch: &Patch,
    faults: &mut Faults,
) {
    let part = whole(recipe, entry);
    work.used(part);
    let before = work.objects[index].value().clone();
    let Some(after) = patched(before.clone(), entry, patch, work, index, faults) else {
        return;
    };
    let object = match Object::new(after.clone()) {
        Ok(object) if object.id() == work.objects[index].id() => object,
        _ => {
            let id = work.id(index);
            faults
                .add(
                    format!("the patch makes another object of {id}"),
                    &entry.span,
                    "changes its group, kind, namespace or name",
                )
                .help("use the typed transforms for names; they follow references");
            return;
        }
    };
    work.objects[index] = object;
    let rule = entry.name.as_deref().unwrap_or("patch").to_owned();
    let mut changes = Vec::new();
    differences(&before, &after, String::new(), &mut changes);
    for (path, before, after) in changes {
        let difference = Difference {
            path,
            before,
            after,
        };
        work.record(index, difference, &rule, part);
    }
}

fn patched(
    mut value: Value,
    entry: &Entry,
    patch: &Patch,
    work: &Work<'_>,
    index: usize,
    faults: &mut Faults,
) -> Option<Value> {
    match &patch.change {
        PatchChange::Merge(merge) => json_patch::merge(&mut value, merge),
        PatchChange::Json(operations) => {
            for operation in operations {
                let one = std::slice::from_ref(&operation.value);
                if let Err(error) = json_patch::patch(&mut value, one) {
                    faults
                        .add(
                            format!("the patch fails on {}", work.id(index)),
                            &operation.span,
                            error.kind.to_string(),
                        )
                        .also(&entry.span, "of this entry")
                        .help("narrow `select`, or correct the path; nothing was changed");
                    return None;
                }
            }
        }
    }
    Some(value)
}

/// The smallest values that differ, each with its place.
fn differences(
    before: &Value,
    after: &Value,
    path: String,
    changes: &mut Vec<(String, Value, Value)>,
) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let nothing = Value::Null;
            let keys: Map<String, Value> =
                before.clone().into_iter().chain(after.clone()).collect();
            for key in keys.keys() {
                let path = pointer::join(&path, key);
                match (before.get(key), after.get(key)) {
                    (Some(before), Some(after)) => differences(before, after, path, changes),
                    (before, after) => changes.push((
                        path,
                        before.unwrap_or(&nothing).clone(),
                        after.unwrap_or(&nothing).clone(),
                    )),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                differences(before, after, format!("{path}/{index}"), changes);
            }
        }
        _ if before != after => changes.push((path, before.clone(), after.clone())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_is_recorded_as_the_smallest_values_that_differ() {
        let before = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        let after = json!({"a": {"b": 2, "c": [1, 3]}, "e": {"f": 1}});
        let mut changes = Vec::new();
        differences(&before, &after, String::new(), &mut changes);
        assert_eq!(
            changes,
            [
                ("/a/b".to_owned(), json!(1), json!(2)),
                ("/a/c/1".to_owned(), json!(2), json!(3)),
                ("/d".to_owned(), json!(1), Value::Null),
                ("/e".to_owned(), Value::Null, json!({"f": 1})),
            ]
        );
    }
}
