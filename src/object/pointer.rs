//! RFC 6901 pointers into JSON values: escape, set, remove.
//!
//! Findings, patches, the journal and the reference table all name places by these pointers.

use std::borrow::Cow;

use serde_json::Value;

/// Writes a key as one segment of a pointer: `a/b` becomes `a~1b`.
pub fn escape(key: &str) -> Cow<'_, str> {
    if key.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        Cow::Owned(key.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(key)
    }
}

/// Reads one segment of a pointer as a key.
pub fn unescape(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') {
        Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
    } else {
        Cow::Borrowed(segment)
    }
}

/// Appends a key to a pointer.
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", escape(key))
}

/// Splits a pointer into its parent and its last key. `None` for the whole document.
pub fn split(pointer: &str) -> Option<(&str, Cow<'_, str>)> {
    let (parent, last) = pointer.rsplit_once('/')?;
    Some((parent, unescape(last)))
}

/// The keys of a pointer, unescaped.
pub fn segments(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(unescape)
}

/// The value at a pointer, as [`Value::pointer`] finds it, without writing every key anew on the way:
/// everything Ferry looks up goes through here.
pub fn get<'v>(root: &'v Value, pointer: &str) -> Option<&'v Value> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    segments(pointer).try_fold(root, |at, key| match at {
        Value::Object(map) => map.get(key.as_ref()),
        Value::Array(items) => items.get(index(&key)?),
        _ => None,
    })
}

/// A list's index as RFC 6901 writes it: no sign, no leading zeros.
fn index(key: &str) -> Option<usize> {
    let plain = !key.starts_with('+') && (key == "0" || !key.starts_with('0'));
    plain.then(|| key.parse().ok()).flatten()
}

/// Sets a value, making the maps on the way. Lists are never made or grown, except that `-` appends.
///
/// Returns the value that was there; `None` when there was none, or when a list or scalar is in the
/// way and nothing was set (then [`Value::pointer`] does not find it either).
pub fn set(root: &mut Value, pointer: &str, value: Value) -> Option<Value> {
    let Some((parent, key)) = split(pointer) else {
        return Some(std::mem::replace(root, value));
    };
    let mut at = root;
    for segment in segments(parent) {
        at = match at {
            Value::Array(items) => items.get_mut(segment.parse::<usize>().ok()?)?,
            other => {
                if other.is_null() {
                    *other = Value::Object(serde_json::Map::new());
                }
                other
                    .as_object_mut()?
                    .entry(segment.into_owned())
                    .or_insert(Value::Null)
            }
        };
    }
    match at {
        Value::Array(items) if key == "-" => {
            items.push(value);
            None
        }
        Value::Array(items) => items
            .get_mut(key.parse::<usize>().ok()?)
            .map(|slot| std::mem::replace(slot, value)),
        other => {
            if other.is_null() {
                *other = Value::Object(serde_json::Map::new());
            }
            other.as_object_mut()?.insert(key.into_owned(), value)
        }
    }
}

/// Takes a value out. `None` when it was not there.
pub fn remove(root: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, key) = split(pointer)?;
    match root.pointer_mut(parent)? {
        Value::Object(map) => map.remove(key.as_ref()),
        Value::Array(items) => {
            let index = key.parse::<usize>().ok()?;
            (index < items.len()).then(|| items.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_with_slashes_round_trip() {
        for key in ["a", "a/b", "a~b", "~1", "", "k8s.io/x~0"] {
            assert_eq!(unescape(&escape(key)), key);
            let value = json!({"m": {key: 1}});
            assert_eq!(value.pointer(&join("/m", key)), Some(&json!(1)));
        }
    }

    #[test]
    fn get_finds_what_serde_json_finds() {
        let value = json!({"a": [{"b/c": 1}, 2], "": {"~": [[3]]}, "~1": 4});
        for pointer in [
            "",
            "/",
            "/a",
            "/a/0/b~1c",
            "/a/1",
            "/a/01",
            "/a/+1",
            "/a/-",
            "/a/2",
            "//~0/0/0",
            "/~01",
            "a",
            "/a/0/b~1c/x",
        ] {
            assert_eq!(get(&value, pointer), value.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn set_makes_the_maps_on_the_way_but_no_lists() {
        let mut value = json!({"list": [1]});
        assert_eq!(set(&mut value, "/a/b", json!(1)), None);
        assert_eq!(set(&mut value, "/list/0", json!(2)), Some(json!(1)));
        set(&mut value, "/list/-", json!(3));
        set(&mut value, "/list/7", json!(4));
        set(&mut value, "/list/x/y", json!(4));
        assert_eq!(value, json!({"a": {"b": 1}, "list": [2, 3]}));
    }

    #[test]
    fn remove_takes_out_and_tells() {
        let mut value = json!({"a": {"b/c": 1}, "list": [1, 2]});
        assert_eq!(remove(&mut value, "/a/b~1c"), Some(json!(1)));
        assert_eq!(remove(&mut value, "/list/0"), Some(json!(1)));
        assert_eq!(remove(&mut value, "/list/9"), None);
        assert_eq!(value, json!({"a": {}, "list": [2]}));
    }
}
