//! Brings objects into one form, so that only real differences are left (rule book §6).
//!
//! What is no difference is data (`normalize.yaml`); this engine knows the operations. Each kind of
//! operation is done to the whole object before the next, and lists are sorted last and from the
//! inside out, so that doing it twice changes nothing.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::knowledge::Knowledge;
use crate::knowledge::normalize::{Base, Condition, KeysOf, Mirror, NormalizeRow};
use crate::knowledge::roots::RootKind;
use crate::knowledge::sanitize::glob;
use crate::object::Object;
use crate::object::path::PathPattern;
use crate::object::pointer;
use crate::object::quantity::Quantity;
use crate::transform::image::ImageRef;

/// The object in the form in which it is compared. Secrets are in it as they are.
pub fn normalise(object: &Object, knowledge: &Knowledge) -> Value {
    let rows = Rows::of(object, knowledge);
    let mut value = object.value().clone();
    let value = &mut value;
    rows.encode(value);
    rows.each(
        value,
        |row| &row.hide,
        |value, at| {
            pointer::remove(value, at);
        },
    );
    rows.keys(value, |row| &row.hide_keys, false);
    rows.keys(value, |row| &row.keep_keys, true);
    whole_numbers(value);
    rows.each(
        value,
        |row| &row.quantity,
        |value, at| {
            rewrite(value, at, |text| {
                Some(Quantity::parse(text)?.to_string().into())
            });
        },
    );
    rows.each(
        value,
        |row| &row.integer,
        |value, at| {
            rewrite(value, at, |text| Some(text.parse::<i64>().ok()?.into()));
        },
    );
    rows.each(value, |row| &row.image, image);
    rows.mirror(value);
    rows.default(value);
    rows.each(value, |row| &row.unique, unique);
    for row in &rows.rows {
        if let Some(except) = &row.prune_except {
            prune(value, except);
        }
    }
    rows.sort(value);
    value.take()
}

/// The rows for one object.
pub(super) struct Rows<'k> {
    pub(super) rows: Vec<&'k NormalizeRow>,
    pods: Vec<PathPattern>,
    containers: Vec<PathPattern>,
    /// The containers of a pod spec.
    in_pod: PathPattern,
}

impl<'k> Rows<'k> {
    pub(super) fn of(object: &Object, knowledge: &'k Knowledge) -> Self {
        let (group, kind) = (object.group(), object.kind());
        let builtin = !group.contains('.') || group.ends_with(".k8s.io");
        let roots = |wanted: RootKind| -> Vec<PathPattern> {
            knowledge
                .roots
                .iter()
                .filter(|row| row.root == wanted)
                .filter(|row| row.kinds.iter().any(|pattern| pattern.matches(group, kind)))
                .map(|row| row.path.clone())
                .collect()
        };
        let rows = knowledge
            .normalize
            .iter()
            .filter(|row| builtin || !row.builtin)
            .filter(|row| {
                row.kinds.is_empty() || row.kinds.iter().any(|pattern| pattern.matches(group, kind))
            })
            .filter(|row| !switched_off(row, object))
            .collect();
        Self {
            rows,
            pods: roots(RootKind::Pod),
            containers: roots(RootKind::Container),
            in_pod: PathPattern::parse("/{initContainers,containers,ephemeralContainers}[]")
                .unwrap_or_default(),
        }
    }

    /// Every existing place a path of a row describes.
    pub(super) fn places(&self, base: Base, path: &PathPattern, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for base in self.bases(base, value) {
            if let Some(at) = value.pointer(&base) {
                path.visit_from(at, &base, &mut |pointer, _| found.push(pointer.to_owned()));
            }
        }
        found
    }

    fn bases(&self, base: Base, value: &Value) -> BTreeSet<String> {
        let find = |patterns: &[PathPattern]| -> BTreeSet<String> {
            patterns
                .iter()
                .flat_map(|pattern| pattern.find(value))
                .collect()
        };
        match base {
            Base::Object => BTreeSet::from([String::new()]),
            Base::Pod => find(&self.pods),
            Base::Container => {
                let mut found = find(&self.containers);
                for pod in find(&self.pods) {
                    if let Some(at) = value.pointer(&pod) {
                        self.in_pod.visit_from(at, &pod, &mut |pointer, _| {
                            found.insert(pointer.to_owned());
                        });
                    }
                }
                found
            }
        }
    }

    /// Does one thing at every place of one sort of path; from the end, as removing an element of a
    /// list renumbers those after it.
    fn each(
        &self,
        value: &mut Value,
        paths: impl Fn(&'k NormalizeRow) -> &'k Vec<PathPattern>,
        mut change: impl FnMut(&mut Value, &str),
    ) {
        for row in &self.rows {
            for path in paths(row) {
                for at in self.places(row.at, path, value).iter().rev() {
                    change(value, at);
                }
            }
        }
    }

    fn keys(
        &self,
        value: &mut Value,
        keys: impl Fn(&'k NormalizeRow) -> &'k Vec<KeysOf>,
        keep: bool,
    ) {
        for row in &self.rows {
            for KeysOf { of, like } in keys(row) {
                for path in of {
                    for at in self.places(row.at, path, value) {
                        if let Some(Value::Object(map)) = value.pointer_mut(&at) {
                            map.retain(|key, _| {
                                like.iter().any(|pattern| glob(pattern, key)) == keep
                            });
                        }
                    }
                }
            }
        }
    }

    fn encode(&self, value: &mut Value) {
        for encode in self.rows.iter().flat_map(|row| &row.encode) {
            if let Some(Value::Object(texts)) = pointer::remove(value, &encode.from) {
                for (key, text) in texts {
                    let text = STANDARD.encode(text.as_str().unwrap_or_default());
                    pointer::set(value, &pointer::join(&encode.to, &key), text.into());
                }
            }
            if let Some(Value::Object(data)) = value.pointer_mut(&encode.to) {
                for text in data.values_mut().filter(|text| text.is_null()) {
                    *text = "".into();
                }
            }
        }
    }

    fn mirror(&self, value: &mut Value) {
        for row in &self.rows {
            for Mirror { path, key, by } in &row.mirror {
                for at in self.places(row.at, path, value) {
                    if value.pointer(&at) == value.pointer(&replaced(&at, key, by)) {
                        pointer::remove(value, &at);
                    }
                }
            }
        }
    }

    fn default(&self, value: &mut Value) {
        for row in &self.rows {
            for (path, default) in &row.default {
                for at in self.places(row.at, path, value) {
                    if value.pointer(&at) == Some(default) {
                        pointer::remove(value, &at);
                    }
                }
            }
        }
    }

    fn sort(&self, value: &mut Value) {
        let mut lists: BTreeSet<(std::cmp::Reverse<usize>, String)> = BTreeSet::new();
        for row in &self.rows {
            for path in &row.sort {
                for at in self.places(row.at, path, value) {
                    lists.insert((std::cmp::Reverse(at.matches('/').count()), at));
                }
            }
        }
        for (_, at) in lists {
            if let Some(Value::Array(items)) = value.pointer_mut(&at) {
                items.sort_by_cached_key(sort_key);
            }
        }
    }
}

/// Names first: an element that changed otherwise stays in its place.
fn sort_key(item: &Value) -> (String, String) {
    let name = ["name", "mountPath", "devicePath", "key"]
        .iter()
        .find_map(|key| item.get(key)?.as_str());
    (name.unwrap_or_default().to_owned(), item.to_string())
}

fn switched_off(row: &NormalizeRow, object: &Object) -> bool {
    let holds = |condition: &Condition| {
        let mut met = false;
        condition.path.visit(object.value(), &mut |_, value| {
            met |= condition.is.as_ref().is_none_or(|is| is == value);
        });
        met
    };
    row.unless.as_ref().is_some_and(holds) || !row.when.as_ref().is_none_or(holds)
}

/// The pointer with the last segment that is `key` replaced.
fn replaced(at: &str, key: &str, by: &str) -> String {
    let mut segments: Vec<&str> = at.split('/').collect();
    if let Some(segment) = segments.iter_mut().rev().find(|segment| **segment == key) {
        *segment = by;
    }
    segments.join("/")
}

fn rewrite(value: &mut Value, at: &str, form: impl Fn(&str) -> Option<Value>) {
    if let Some(slot) = value.pointer_mut(at) {
        let text = match &*slot {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        if let Some(form) = form(&text) {
            *slot = form;
        }
    }
}

/// Writes an image in full, and leaves out the pull policy that follows from its tag.
fn image(value: &mut Value, at: &str) {
    let Some(image) = value
        .pointer(at)
        .and_then(Value::as_str)
        .and_then(ImageRef::parse)
    else {
        return;
    };
    let suffix = match image.suffix.as_str() {
        "" => ":latest",
        suffix => suffix,
    };
    let policy = if suffix == ":latest" {
        "Always"
    } else {
        "IfNotPresent"
    };
    let full = format!("{}/{}{suffix}", image.registry, image.repository);
    pointer::set(value, at, full.into());
    let beside = replaced(at, "image", "imagePullPolicy");
    if value.pointer(&beside).and_then(Value::as_str) == Some(policy) {
        pointer::remove(value, &beside);
    }
}

fn unique(value: &mut Value, at: &str) {
    if let Some(Value::Array(items)) = value.pointer_mut(at) {
        let mut seen = BTreeSet::new();
        items.retain(|item| seen.insert(item.to_string()));
    }
}

/// `1.0` is 1 (D-3).
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            // Beyond 2^53 a float does not know its neighbours.
            if let Some(float) = float.filter(|float| float.fract() == 0.0 && float.abs() < 9e15) {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
                let whole = float as i64;
                *value = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Leaves out empty values of keys, from the inside out; elements of lists stay.
fn prune(value: &mut Value, except: &[String]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, except)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| prune(value, except));
            map.retain(|key, value| !is_empty(value) || (!value.is_null() && except.contains(key)));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => Map::is_empty(map),
        _ => false,
    }
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
