//! The objects while they are being changed, and the record of every change.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::recipe::{Entry, Recipe};
use super::source::Source;
use super::{Change, Lookalike};
use crate::finding::Finding;
use crate::object::path::{Keys, Vocabulary};
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
    /// What is known beside the objects.
    pub(super) source: &'a Source<'a>,
    /// As they are on A; selections look here.
    pub(super) before: &'a [Object],
    /// Being changed, in the same order.
    objects: Vec<Object>,
    ids: Vec<ObjectId>,
    /// All keys each object holds, and perhaps more; gathered anew when asked for after some were added.
    keys: Vec<OnceCell<Keys>>,
    pub(super) changes: Vec<Change>,
    /// Which part asked for each change, in step with `changes`.
    pub(super) origins: Vec<Part>,
    pub(super) lookalikes: Vec<Lookalike>,
    used: BTreeSet<Part>,
    /// Objects that a recipe adds, with the rule and the part that do.
    added: Vec<(Object, String, Part)>,
    /// Objects that stay on A.
    left: BTreeSet<usize>,
    findings: Vec<Finding>,
    /// What entries set by their own choice: the place, who set it, and to what.
    assigned: BTreeMap<(usize, String), (Part, Value)>,
    conflicts: Vec<Fault>,
    /// Indices of the objects each entry selects, by recipe and entry.
    selected: BTreeMap<(usize, usize), Vec<usize>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(source: &'a Source<'a>, recipes: &'a [Recipe]) -> Self {
        let objects = source.objects;
        Self {
            recipes,
            source,
            before: objects,
            objects: objects.to_vec(),
            ids: objects.iter().map(Object::id).collect(),
            keys: vec![OnceCell::new(); objects.len()],
            added: Vec::new(),
            left: BTreeSet::new(),
            findings: Vec::new(),
            assigned: BTreeMap::new(),
            conflicts: Vec::new(),
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
                let mut failures = Vec::new();
                for (index, object) in self.before.iter().enumerate() {
                    match select.matches(object) {
                        Ok(true) => selected.push(index),
                        Ok(false) => {}
                        Err(error) => failures.push((index, error)),
                    }
                }
                // What fails on one object mostly fails on hundreds: it is one mistake.
                let count = failures.len();
                if let Some((index, error)) = failures.into_iter().next() {
                    let id = &self.ids[index];
                    let message = match count {
                        1 => format!("the expression fails on {id}"),
                        _ => format!("the expression fails on {count} objects, as on {id}"),
                    };
                    faults
                        .add(message, &error.span, error.reason)
                        .help("ask `has(object.…)` first, or narrow `select` with `kind`");
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

    /// The objects as they are by now, in the order of `before`.
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// An object, to be changed and the change to be recorded.
    pub(super) fn edit(&mut self, index: usize) -> &mut Object {
        self.keys[index].take();
        &mut self.objects[index]
    }

    /// The keys of a vocabulary, always the same one, that an object holds by now, and perhaps some that are gone.
    pub(super) fn keys(&self, index: usize, vocabulary: &Vocabulary) -> Keys {
        *self.keys[index].get_or_init(|| vocabulary.of(self.objects[index].value()))
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
        let before = self.objects[index].pointer(path).cloned();
        if before.as_ref() == Some(&value) {
            return;
        }
        // One scalar in the place of another adds no keys.
        let inner = |value: &Value| value.is_object() || value.is_array();
        if before.as_ref().is_none_or(inner) || inner(&value) {
            self.keys[index].take();
        }
        pointer::set(self.objects[index].value_mut(), path, value.clone());
        let difference = Difference {
            path: path.to_owned(),
            before: before.unwrap_or(Value::Null),
            after: value,
        };
        self.record(index, difference, rule, part);
    }

    /// Removes a value and records the change, if it was there.
    pub(super) fn remove(&mut self, index: usize, path: &str, rule: &str, part: Part) {
        if self.objects[index].pointer(path).is_some()
            && let Some(before) = pointer::remove(self.objects[index].value_mut(), path)
        {
            self.used(part);
            let difference = Difference {
                path: path.to_owned(),
                before,
                after: Value::Null,
            };
            self.record(index, difference, rule, part);
        }
    }

    /// As [`Work::set`], for a value an entry chooses: two entries must not choose differently.
    pub(super) fn assign(
        &mut self,
        index: usize,
        path: &str,
        value: Value,
        rule: &str,
        part: Part,
    ) {
        if self.claim(index, path, &value, part) {
            self.set(index, path, value, rule, part);
        }
    }

    /// As [`Work::remove`], for a value an entry chooses to be gone.
    pub(super) fn unassign(&mut self, index: usize, path: &str, rule: &str, part: Part) {
        if self.objects[index].pointer(path).is_some()
            && self.claim(index, path, &Value::Null, part)
        {
            self.remove(index, path, rule, part);
        }
    }

    /// Notes who chooses a value. `false` when another entry chose a different one, which is told.
    pub(super) fn claim(&mut self, index: usize, path: &str, value: &Value, part: Part) -> bool {
        let key = (index, path.to_owned());
        let other = self.assigned.get(&key);
        let other = other.filter(|(other, chosen)| {
            (other.recipe, other.entry) != (part.recipe, part.entry) && chosen != value
        });
        if let Some((other, _)) = other {
            let other = *other;
            let recipe = &self.recipes[part.recipe];
            let entry = &recipe.entries[part.entry];
            if !entry.r#override {
                let first = &self.recipes[other.recipe];
                let mut faults = Faults::new(recipe.source.clone());
                faults.add(
                    format!("two entries disagree about {} of {}", path, self.ids[index]),
                    &entry.span,
                    "sets it again",
                );
                match other.recipe == part.recipe {
                    true => {
                        faults.also(&first.entries[other.entry].span, "sets it first");
                    }
                    false => {
                        let entry = other.entry;
                        faults.note(format!(
                            "entry {entry} of the recipe `{}` sets it first",
                            first.name
                        ));
                    }
                }
                faults.help(
                    "select other objects, or say `override: true` where the second is to win",
                );
                self.conflicts.extend(faults.into_list());
                return false;
            }
        }
        self.assigned.insert(key, (part, value.clone()));
        true
    }

    /// What entries disagree about, each place once.
    pub(super) fn take_conflicts(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.conflicts)
    }

    /// Says something about an object for the user to judge.
    pub(super) fn find(&mut self, finding: Finding) {
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    pub(super) fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// Adds an object; one that is there already becomes like it.
    pub(super) fn add(&mut self, object: Object, rule: &str, part: Part) {
        self.used(part);
        let id = object.id();
        let there = self.objects.iter().position(|other| other.id() == id);
        if let Some(index) = there {
            for (key, value) in object.value().as_object().into_iter().flatten() {
                if key != "metadata" {
                    let path = pointer::join("", key);
                    self.assign(index, &path, value.clone(), rule, part);
                }
            }
            return;
        }
        if self.added.iter().any(|(other, ..)| *other == object) {
            return;
        }
        self.added.push((object, rule.to_owned(), part));
    }

    /// Objects that recipes add, to be changed like those that were captured.
    pub(super) fn added_mut(&mut self) -> impl Iterator<Item = &mut Object> {
        self.added.iter_mut().map(|(object, ..)| object)
    }

    /// Takes the objects that recipes add and records each as a change.
    pub(super) fn take_added(&mut self) -> Vec<Object> {
        let added = std::mem::take(&mut self.added);
        let mut objects = Vec::new();
        for (object, rule, part) in added {
            self.changes.push(Change {
                rule: rule.into(),
                recipe: self.recipes[part.recipe].name.as_str().into(),
                entry: part.entry,
                object: object.id(),
                path: "".into(),
                before: Value::Null,
                after: object.value().clone(),
            });
            self.origins.push(part);
            objects.push(object);
        }
        objects
    }

    /// Leaves an object on A.
    pub(super) fn leave(&mut self, index: usize, rule: &str, part: Part) {
        self.used(part);
        if self.left.insert(index) {
            let difference = Difference {
                path: String::new(),
                before: self.objects[index].value().clone(),
                after: Value::Null,
            };
            self.record(index, difference, rule, part);
        }
    }

    /// Whether an object stays on A.
    pub(super) fn is_left(&self, index: usize) -> bool {
        self.left.contains(&index)
    }

    /// Puts another object in the place of one.
    pub(super) fn replace(&mut self, index: usize, object: Object, rule: &str, part: Part) {
        let difference = Difference {
            path: String::new(),
            before: self.objects[index].value().clone(),
            after: object.value().clone(),
        };
        self.record(index, difference, rule, part);
        *self.edit(index) = object;
    }

    /// How many changes there are.
    pub(super) fn recorded(&self) -> usize {
        self.changes.len()
    }

    /// Takes out the changes after the first so many, to be put back in their place.
    pub(super) fn take_changes(&mut self, from: usize) -> impl Iterator<Item = (Change, Part)> {
        let origins = self.origins.split_off(from);
        self.changes.split_off(from).into_iter().zip(origins)
    }

    /// Puts changes back.
    pub(super) fn put_changes(&mut self, changes: Vec<(Change, Part)>) {
        for (change, origin) in changes {
            self.changes.push(change);
            self.origins.push(origin);
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
            rule: rule.into(),
            recipe: self.recipes[part.recipe].name.as_str().into(),
            entry: part.entry,
            object: self.ids[index].clone(),
            path: path.into(),
            before,
            after,
        });
        self.origins.push(part);
    }
}
