//! Strategic merge, as `kubectl patch` does it: maps merge, lists whose elements have a key merge by
//! it, all other lists are replaced. Which lists have a key is data (`mergekeys.yaml`).
//!
//! Only for kinds whose lists are known: for a custom resource the same patch would mean something
//! else on every server.

use serde_json::{Map, Value};

use crate::graph::roots::Roots;
use crate::knowledge::Knowledge;
use crate::object::path::PathPattern;
use crate::object::{Object, pointer};

/// API groups whose types are Kubernetes' own; other groups of `k8s.io` are custom resources too.
const OWN: [&str; 13] = [
    "",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "networking.k8s.io",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "admissionregistration.k8s.io",
    "discovery.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
];

/// Says what to do with a map or an element of a list.
const DIRECTIVE: &str = "$patch";
/// Takes plain values out of a list.
const DELETE: &str = "$deleteFromPrimitiveList/";
/// Names the only keys a map has afterwards: of `emptyDir`, `hostPath` … one alone may be there.
const RETAIN: &str = "$retainKeys";

/// The keyed lists of one kind.
pub(super) struct Lists<'k> {
    rows: Vec<(PathPattern, &'k str)>,
}

impl<'k> Lists<'k> {
    /// Those of an object; `None` when its kind is not known well enough.
    pub(super) fn of(object: &Object, knowledge: &'k Knowledge, roots: &Roots<'_>) -> Option<Self> {
        let group = object.group();
        if !OWN.contains(&group) {
            return None;
        }
        let mut rows = Vec::new();
        for row in &knowledge.merge_keys {
            if row.pod {
                for root in roots.of(&object.group_kind()) {
                    rows.push((row.path.under(&root.path), row.key.as_str()));
                }
            } else if row
                .kinds
                .iter()
                .any(|kind| kind.matches(group, object.kind()))
            {
                rows.push((row.path.clone(), row.key.as_str()));
            }
        }
        Some(Self { rows })
    }

    /// The key of the list at a pointer. The list may not be in the object yet, so the pattern is
    /// asked about a value in which nothing but that list is.
    fn key(&self, path: &str) -> Option<&'k str> {
        let skeleton = skeleton(path);
        let mut rows = self.rows.iter();
        rows.find_map(|(pattern, key)| {
            let places = pattern.find(&skeleton);
            places.iter().any(|found| found == path).then_some(*key)
        })
    }

    /// Merges a patch into a value. The error says what the patch asks for that is not understood.
    pub(super) fn merge(&self, value: &mut Value, patch: &Value) -> Result<(), String> {
        self.value(value, patch, "")
    }

    fn value(&self, value: &mut Value, patch: &Value, path: &str) -> Result<(), String> {
        match patch {
            Value::Object(patch) => self.map(value, patch, path),
            other => {
                *value = other.clone();
                Ok(())
            }
        }
    }

    fn map(&self, value: &mut Value, patch: &Map<String, Value>, path: &str) -> Result<(), String> {
        match patch.get(DIRECTIVE).map(Value::as_str) {
            Some(Some("replace")) => {
                let mut new = patch.clone();
                new.remove(DIRECTIVE);
                *value = Value::Object(new);
                return Ok(());
            }
            Some(Some("delete")) => {
                *value = Value::Object(Map::new());
                return Ok(());
            }
            None | Some(Some("merge")) => {}
            Some(other) => {
                return Err(format!(
                    "`{DIRECTIVE}: {}` is not understood",
                    other.unwrap_or("?")
                ));
            }
        }
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        let Some(map) = value.as_object_mut() else {
            return Ok(());
        };
        if let Some(kept) = patch.get(RETAIN) {
            retain(map, kept, patch)?;
        }
        let directives = [DIRECTIVE, RETAIN];
        for (key, change) in patch {
            if directives.contains(&key.as_str()) {
                continue;
            }
            if let Some(list) = key.strip_prefix(DELETE) {
                let gone = change.as_array().ok_or(format!("`{key}` must be a list"))?;
                if let Some(Value::Array(items)) = map.get_mut(list) {
                    items.retain(|item| !gone.contains(item));
                }
                continue;
            }
            if key.starts_with('$') {
                return Err(format!("`{key}` is not understood"));
            }
            let path = pointer::join(path, key);
            match change {
                Value::Null => {
                    map.remove(key);
                }
                Value::Array(changes) => {
                    let now = map.entry(key.clone()).or_insert(Value::Null);
                    self.list(now, changes, &path)?;
                }
                Value::Object(_) => {
                    let now = map.entry(key.clone()).or_insert(Value::Null);
                    self.value(now, change, &path)?;
                }
                scalar => {
                    map.insert(key.clone(), scalar.clone());
                }
            }
        }
        Ok(())
    }

    fn list(&self, value: &mut Value, changes: &[Value], path: &str) -> Result<(), String> {
        let Some(key) = self.key(path) else {
            *value = Value::Array(changes.to_vec());
            return Ok(());
        };
        let directive = |change: &Value| change.get(DIRECTIVE).cloned();
        if changes
            .iter()
            .any(|change| directive(change) == Some("replace".into()))
        {
            let kept = changes.iter().filter(|change| directive(change).is_none());
            *value = Value::Array(kept.cloned().collect());
            return Ok(());
        }
        let mut items = value.as_array().cloned().unwrap_or_default();
        for change in changes {
            let name = change
                .get(key)
                .ok_or(format!("an element of {path} lacks `{key}`"))?;
            let at = items.iter().position(|item| item.get(key) == Some(name));
            match (at, directive(change) == Some("delete".into())) {
                (Some(at), true) => {
                    items.remove(at);
                }
                (None, true) => {}
                (Some(at), false) => {
                    self.value(&mut items[at], change, &format!("{path}/0"))?;
                }
                (None, false) => {
                    let mut new = Value::Null;
                    self.value(&mut new, change, &format!("{path}/0"))?;
                    items.push(new);
                }
            }
        }
        *value = Value::Array(items);
        Ok(())
    }
}

/// Takes every key out of a map that is not among those to keep. A patch that sets another one
/// contradicts itself.
fn retain(
    map: &mut Map<String, Value>,
    kept: &Value,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    let names: Option<Vec<&str>> = kept
        .as_array()
        .and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or(format!("`{RETAIN}` must be a list of keys"))?;
    let set = |(key, value): &(&String, &Value)| !key.starts_with('$') && !value.is_null();
    if let Some((other, _)) = patch
        .iter()
        .filter(set)
        .find(|(key, _)| !names.contains(&key.as_str()))
    {
        return Err(format!("`{other}` is set, and `{RETAIN}` does not name it"));
    }
    map.retain(|key, _| names.contains(&key.as_str()));
    Ok(())
}

/// The smallest value in which a pointer leads to an empty list; numbers lead through lists.
fn skeleton(path: &str) -> Value {
    let mut value = Value::Array(Vec::new());
    let segments: Vec<_> = pointer::segments(path).collect();
    for segment in segments.into_iter().rev() {
        value = match segment.parse::<usize>() {
            Ok(_) => Value::Array(vec![value]),
            Err(_) => Value::Object([(segment.into_owned(), value)].into_iter().collect()),
        };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(patch: Value) -> Result<Value, String> {
        let object = Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {
                "containers": [
                    {"name": "web", "image": "a", "args": ["x"], "env": [{"name": "A", "value": "1"}]},
                    {"name": "log", "image": "b"},
                ],
                "tolerations": [{"key": "a"}],
            }}},
        }))
        .unwrap();
        let knowledge = Knowledge::builtin();
        let roots = Roots::new(knowledge, []);
        let lists = Lists::of(&object, knowledge, &roots).unwrap();
        let mut value = object.value().clone();
        let patch = json!({"spec": {"template": {"spec": patch}}});
        lists.merge(&mut value, &patch)?;
        Ok(value["spec"]["template"]["spec"].clone())
    }

    #[test]
    fn elements_with_a_key_merge_and_others_are_replaced() {
        let spec = merged(json!({
            "containers": [
                {"name": "web", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}], "args": ["y"]},
                {"name": "log", "$patch": "delete"},
                {"name": "new", "image": "c"},
            ],
            "tolerations": [],
        }))
        .unwrap();
        assert_eq!(
            spec,
            json!({
                "containers": [
                    {"name": "web", "image": "a", "args": ["y"],
                     "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}]},
                    {"name": "new", "image": "c"},
                ],
                "tolerations": [],
            })
        );
    }

    #[test]
    fn directives_replace_and_take_out() {
        let spec =
            merged(json!({"containers": [{"$patch": "replace"}, {"name": "only"}]})).unwrap();
        assert_eq!(spec["containers"], json!([{"name": "only"}]));
        let spec = merged(json!({"containers": [
            {"name": "web", "$deleteFromPrimitiveList/args": ["x"], "image": null}]}))
        .unwrap();
        assert_eq!(spec["containers"][0]["args"], json!([]));
        assert_eq!(spec["containers"][0].get("image"), None);
    }

    #[test]
    fn only_the_keys_to_retain_stay() {
        let spec = merged(json!({"containers": [
            {"name": "web", "$retainKeys": ["name", "image", "env"], "image": "c"}]}))
        .unwrap();
        assert_eq!(
            spec["containers"][0],
            json!({"name": "web", "image": "c", "env": [{"name": "A", "value": "1"}]})
        );
        let refused = merged(json!({"$retainKeys": ["containers"], "hostNetwork": true}));
        assert!(refused.unwrap_err().contains("`hostNetwork` is set"));
        assert!(merged(json!({"$retainKeys": "containers"})).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(merged(json!({"$setElementOrder/containers": ["a"]})).is_err());
        assert!(
            merged(json!({"containers": [{"image": "x"}]}))
                .unwrap_err()
                .contains("lacks `name`")
        );
    }

    #[test]
    fn an_unknown_kind_has_no_lists() {
        let object = Object::new(json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}))
        .unwrap();
        let knowledge = Knowledge::builtin();
        assert!(Lists::of(&object, knowledge, &Roots::new(knowledge, [])).is_none());
    }
}
