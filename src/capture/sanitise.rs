//! Leaves on A what the server and A's controllers own of an object, and puts right what would do harm
//! on B (rule book §2.2).
//!
//! A small engine over the `fields` rows of `transforms/builtin/sanitize.yaml`, in their order. Every
//! condition looks at the object as A gave it, and sanitising twice is sanitising once.

use serde_json::Value;

use super::matching::{Scene, fits, like};
use super::user_set::user_set;
use crate::knowledge::sanitize::{DropFields, Items, Keys, Raise, Sanitize, Set, glob};
use crate::object::path::PathPattern;
use crate::object::quantity::Quantity;
use crate::object::{Object, pointer};

/// Gives the object as it travels.
pub fn sanitise(raw: &Object, table: &Sanitize) -> Object {
    sanitise_by(raw, &table.of_kind(&raw.group_kind()).fields)
}

/// As [`sanitise`], by the rows about the object's kind.
pub(super) fn sanitise_by(raw: &Object, rows: &[&DropFields]) -> Object {
    let nothing = Scene::default();
    let mut object = raw.clone();
    for row in rows {
        if fits(&row.when, raw, None, &nothing) {
            apply(row, raw, &mut object);
        }
    }
    object
}

fn apply(row: &DropFields, raw: &Object, object: &mut Object) {
    let DropFields {
        id: _,
        when: _,
        paths,
        empty,
        keys,
        items,
        raise,
        set,
        copy,
        unless_user_set,
        why: _,
    } = row;
    if let Some(raise) = raise {
        apply_raise(raise, raw, object);
    }
    for path in paths {
        // From the last to the first: removing a list element moves those behind it.
        for at in path.find(object.value()).iter().rev() {
            if !(*unless_user_set && user_set(raw, at)) {
                pointer::remove(object.value_mut(), at);
            }
        }
    }
    for keys in keys {
        apply_keys(keys, object);
    }
    for items in items {
        apply_items(items, raw, object);
    }
    for set in set {
        apply_set(set, object);
    }
    for path in copy {
        path.visit(raw.value(), &mut |at, value| {
            pointer::set(object.value_mut(), at, value.clone());
        });
    }
    for path in empty {
        for at in holding(path, object, is_empty).iter().rev() {
            pointer::remove(object.value_mut(), at);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn apply_set(set: &Set, object: &mut Object) {
    let Set { of, key, value } = set;
    for path in of {
        for at in path.find(object.value()) {
            if let Some(Value::Object(map)) = object.value_mut().pointer_mut(&at) {
                map.insert(key.clone(), value.clone());
            }
        }
    }
}

fn apply_keys(keys: &Keys, object: &mut Object) {
    let Keys { of, like } = keys;
    for path in of {
        let goes = |key: &String| like.iter().any(|pattern| glob(pattern, key));
        let any = |value: &Value| {
            let map = value.as_object();
            map.is_some_and(|map| map.keys().any(goes))
        };
        for at in holding(path, object, any) {
            if let Some(Value::Object(map)) = object.value_mut().pointer_mut(&at) {
                map.retain(|key, _| !goes(key));
            }
        }
    }
}

fn apply_items(items: &Items, raw: &Object, object: &mut Object) {
    let Items {
        of,
        key,
        like: patterns,
        equal,
    } = items;
    for path in of {
        let goes = |element: &Value| {
            let name = element.get(key).and_then(Value::as_str);
            let named =
                name.is_some_and(|name| patterns.iter().any(|pattern| like(pattern, name, raw)));
            named || equal.as_ref() == Some(element)
        };
        let any = |value: &Value| {
            let list = value.as_array();
            list.is_some_and(|list| list.iter().any(goes))
        };
        for at in holding(path, object, any) {
            if let Some(Value::Array(list)) = object.value_mut().pointer_mut(&at) {
                list.retain(|element| !goes(element));
            }
        }
    }
}

/// The places with something to take out. Most objects have none, and are not copied then.
fn holding(path: &PathPattern, object: &Object, any: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    path.visit(object.value(), &mut |at, value| {
        if any(value) {
            places.push(at.to_owned());
        }
    });
    places
}

fn apply_raise(raise: &Raise, raw: &Object, object: &mut Object) {
    let Raise { path, to } = raise;
    let (Some(asked), Some(given)) = (raw.text(path), raw.text(to)) else {
        return;
    };
    if Quantity::parse(given) > Quantity::parse(asked) {
        pointer::set(object.value_mut(), path, given.into());
    }
}
