//! `patch`: JSON Patch, merge patch and strategic merge on selected objects, for what no typed transform covers.
//!
//! A patch fails as a whole and the plan with it: a half-applied patch is an object nobody wrote.
//! It may not change which object it is; renames must follow references.

use json_patch::PatchOperation;
use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value};

use super::apply::{entries, whole};
use super::fault::{Fault, Faults};
use super::recipe::{Entry, Operation, OperationPath, Patch, PatchChange, Transform};
use super::strategic::Lists;
use super::work::{Difference, Work};
use crate::graph::roots::Roots;
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId, pointer};

pub(super) fn apply(work: &mut Work<'_>, knowledge: &Knowledge, roots: &Roots<'_>) -> Vec<Fault> {
    let recipes = work.recipes;
    let mut all = Vec::new();
    for (recipe, entry) in entries(recipes) {
        let Transform::Patch(patch) = &entry.transform else {
            continue;
        };
        let mut faults = Faults::new(recipes[recipe].source.clone());
        let mut patching = Patching {
            knowledge,
            roots,
            recipe,
            entry,
            patch,
            faults: &mut faults,
        };
        for index in work.selected(recipe, entry) {
            patching.apply(work, index);
        }
        all.extend(faults.into_list());
    }
    all
}

/// One entry at work.
struct Patching<'p, 'f> {
    knowledge: &'p Knowledge,
    roots: &'p Roots<'p>,
    recipe: usize,
    entry: &'p Entry,
    patch: &'p Patch,
    faults: &'f mut Faults,
}

impl Patching<'_, '_> {
    fn apply(&mut self, work: &mut Work<'_>, index: usize) {
        let part = whole(self.recipe, self.entry);
        work.used(part);
        let before = work.objects()[index].value().clone();
        let Some(after) = self.patched(before.clone(), work, index) else {
            return;
        };
        let id = work.objects()[index].id();
        let object = match Object::new(after.clone()) {
            Ok(object) if object.id() == id => object,
            _ => {
                self.faults
                    .add(
                        format!("the patch makes another object of {id}"),
                        &self.entry.span,
                        "changes its group, kind, namespace or name",
                    )
                    .help("use the typed transforms for names; they follow references");
                return;
            }
        };
        let rule = self.entry.name.as_deref().unwrap_or("patch");
        let mut changes = Vec::new();
        differences(&before, &after, String::new(), &mut changes);
        let mut agreed = true;
        for (path, _, after) in &changes {
            agreed &= work.claim(index, path, after, part);
        }
        if !agreed {
            return;
        }
        *work.edit(index) = object;
        for (path, before, after) in changes {
            let difference = Difference {
                path,
                before,
                after,
            };
            work.record(index, difference, rule, part);
        }
    }

    fn patched(&mut self, mut value: Value, work: &Work<'_>, index: usize) -> Option<Value> {
        match &self.patch.change {
            PatchChange::Merge(merge) => json_patch::merge(&mut value, merge),
            PatchChange::Json(operations) => {
                for operation in operations {
                    self.operation(&mut value, operation, work.id(index))?;
                }
            }
            PatchChange::Strategic(patch) => {
                let Some(lists) = Lists::of(&work.objects()[index], self.knowledge, self.roots)
                else {
                    let id = work.id(index);
                    self.faults
                        .add(
                            format!("no strategic merge for {id}"),
                            &patch.span,
                            "a custom kind: how its lists merge is not known",
                        )
                        .also(&self.entry.span, "of this entry")
                        .help("use `merge`, which replaces lists, or `jsonPatch`");
                    return None;
                };
                if let Err(reason) = lists.merge(&mut value, &patch.value) {
                    let id = work.id(index);
                    self.faults
                        .add(format!("the patch fails on {id}"), &patch.span, reason)
                        .also(&self.entry.span, "of this entry")
                        .help("`$patch: replace`, `delete` and `$deleteFromPrimitiveList/…` are understood");
                    return None;
                }
            }
        }
        Some(value)
    }

    /// One operation, at its pointer or at every place of its pattern.
    fn operation(&mut self, value: &mut Value, one: &Operation, id: &ObjectId) -> Option<()> {
        let places: Vec<String> = match &one.path {
            OperationPath::Pointer => vec![one.operation.path().to_string()],
            OperationPath::Pattern(pattern) => pattern.find(value),
            OperationPath::Below(pattern, key) => {
                let parents = pattern.find(value);
                parents
                    .iter()
                    .map(|parent| pointer::join(parent, key))
                    .collect()
            }
        };
        let mut failed = places
            .is_empty()
            .then(|| "the path finds nothing".to_owned());
        // From the last to the first, so that removing from a list moves nothing still to be found.
        for place in places.iter().rev() {
            let result = at(&one.operation, place).and_then(|operation| {
                json_patch::patch(value, &[operation]).map_err(|error| error.kind.to_string())
            });
            if let Err(reason) = result {
                failed = Some(reason);
                break;
            }
        }
        let Some(reason) = failed else {
            return Some(());
        };
        self.faults
            .add(format!("the patch fails on {id}"), &one.span, reason)
            .also(&self.entry.span, "of this entry")
            .help("narrow `select`, or correct the path; nothing was changed");
        None
    }
}

/// The operation at another place.
fn at(operation: &PatchOperation, place: &str) -> Result<PatchOperation, String> {
    let mut operation = operation.clone();
    let path = PointerBuf::parse(place).map_err(|error| error.to_string())?;
    match &mut operation {
        PatchOperation::Add(one) => one.path = path,
        PatchOperation::Remove(one) => one.path = path,
        PatchOperation::Replace(one) => one.path = path,
        PatchOperation::Move(one) => one.path = path,
        PatchOperation::Copy(one) => one.path = path,
        PatchOperation::Test(one) => one.path = path,
    }
    Ok(operation)
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
