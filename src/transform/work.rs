//! The objects while they are being changed, and the record of every change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::recipe::{Entry, Recipe};
use super::{Change, Lookalike};
use crate::object::{Object, ObjectId, pointer};

/// The part of a recipe that asked for a change: one line of a `map`, or the whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// Index among the recipes.
    pub(super) recipe: usize,
    /// Index in its `transforms`.
    pub(super) entry: usize,
    /// Index in its `map`; 0 for the whole entry.
    pub(super) part: usize,
}

/// One value before and after.
pub(super) struct Difference {
    /// RFC 6901 pointer.
    pub(super) path: String,
    /// Null when it was absent.
    pub(super) before: Value,
    /// Null when it was removed.
    pub(super) after: Value,
}

/// Everything the transforms share.
pub(super) struct Work<'a> {
    pub(super) recipes: &'a [Recipe],
    /// As they are on A; selections look here.
    pub(super) before: &'a [Object],
    /// Being changed, in the same order.
    pub(super) objects: Vec<Object>,
    ids: Vec<ObjectId>,
    pub(super) changes: Vec<Change>,
    /// Which part asked for each change, in step with `changes`.
    pub(super) origins: Vec<Part>,
    pub(super) lookalikes: Vec<Lookalike>,
    used: BTreeSet<Part>,
    /// Indices of the objects each entry selects, by recipe and entry.
    selected: BTreeMap<(usize, usize), Vec<usize>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(objects: &'a [Object], recipes: &'a [Recipe]) -> Self {
        Self {
            recipes,
            before: objects,
            objects: objects.to_vec(),
            ids: objects.iter().map(Object::id).collect(),
            changes: Vec::new(),
            origins: Vec::new(),
            lookalikes: Vec::new(),
            used: BTreeSet::new(),
            selected: BTreeMap::new(),
        }
    }

    /// Decides which objects each entry selects. Expressions that give no answer come back as faults.
    pub(super) fn select(&mut self) -> Vec<Fault> {
        let mut all = Vec::new();
        for (number, recipe) in self.recipes.iter().enumerate() {
            let mut faults = Faults::new(recipe.source.clone());
            for entry in &recipe.entries {
                let Some(select) = entry.transform.select() else {
                    continue;
                };
                let mut selected = Vec::new();
                for (index, object) in self.before.iter().enumerate() {
                    match select.matches(object) {
                        Ok(true) => selected.push(index),
                        Ok(false) => {}
                        Err(error) => {
                            faults
                                .add(
                                    format!("the expression fails on {}", self.ids[index]),
                                    &error.span,
                                    error.reason,
                                )
                                .help("ask `has(object.…)` first, or narrow `select` with `kind`");
                        }
                    }
                }
                self.selected.insert((number, entry.number), selected);
            }
            all.extend(faults.into_list());
        }
        all
    }

    /// The objects an entry selects, by index, in order.
    pub(super) fn selected(&self, recipe: usize, entry: &Entry) -> Vec<usize> {
        let found = self.selected.get(&(recipe, entry.number));
        found.cloned().unwrap_or_default()
    }

    /// The object's name on A.
    pub(super) fn id(&self, index: usize) -> &ObjectId {
        &self.ids[index]
    }

    /// Remembers that a part of a recipe found something, even if it is as wanted already.
    pub(super) fn used(&mut self, part: Part) {
        self.used.insert(part);
    }

    pub(super) fn is_used(&self, part: Part) -> bool {
        self.used.contains(&part)
    }

    /// Sets a value, making maps on the way, and records the change if it is one.
    pub(super) fn set(&mut self, index: usize, path: &str, value: Value, rule: &str, part: Part) {
        self.used(part);
        let object = self.objects[index].value_mut();
        let before = object.pointer(path).cloned();
        if before.as_ref() == Some(&value) {
            return;
        }
        pointer::set(object, path, value.clone());
        let difference = Difference {
            path: path.to_owned(),
            before: before.unwrap_or(Value::Null),
            after: value,
        };
        self.record(index, difference, rule, part);
    }

    /// Removes a value and records the change, if it was there.
    pub(super) fn remove(&mut self, index: usize, path: &str, rule: &str, part: Part) {
        if let Some(before) = pointer::remove(self.objects[index].value_mut(), path) {
            self.used(part);
            let difference = Difference {
                path: path.to_owned(),
                before,
                after: Value::Null,
            };
            self.record(index, difference, rule, part);
        }
    }

    /// Records a change that was made elsewhere.
    pub(super) fn record(&mut self, index: usize, difference: Difference, rule: &str, part: Part) {
        let Difference {
            path,
            before,
            after,
        } = difference;
        self.changes.push(Change {
            rule: rule.to_owned(),
            recipe: self.recipes[part.recipe].name.clone(),
            entry: part.entry,
            object: self.ids[index].clone(),
            path,
            before,
            after,
        });
        self.origins.push(part);
    }
}
