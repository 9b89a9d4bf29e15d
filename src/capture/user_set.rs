//! Did the user set a value, or did the server? (S-60)
//!
//! Two witnesses: the `last-applied-configuration` annotation of `kubectl apply`, and
//! `managedFields`. An entry of operation `Update` lists static defaults too, so it proves something
//! for *allocated* values only (clusterIP, nodePort …), which a writer owns only if it sent them. The
//! rows that ask this question are about such values.

use serde_json::{Map, Value};

use crate::object::{Object, pointer};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Whether the user set the value at a pointer. An object that never was on a server was written by
/// the user from end to end.
pub(super) fn user_set(object: &Object, at: &str) -> bool {
    object.uid().is_none() || in_last_applied(object, at) || in_managed_fields(object, at)
}

fn in_last_applied(object: &Object, at: &str) -> bool {
    let Some(text) = object.annotation(LAST_APPLIED) else {
        return false;
    };
    let Ok(applied) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    let mut live = object.value();
    let mut applied = &applied;
    for segment in pointer::segments(at) {
        match (live, applied) {
            (Value::Array(elements), Value::Array(sent)) => {
                let index = segment.parse::<usize>().ok();
                let Some(element) = index.and_then(|index| elements.get(index)) else {
                    return false;
                };
                // Positions may differ: lists of ports are keyed.
                let Some(same) = sent.iter().find(|other| same_element(element, other)) else {
                    return false;
                };
                (live, applied) = (element, same);
            }
            _ => match (live.get(&*segment), applied.get(&*segment)) {
                (Some(inner), Some(sent)) => (live, applied) = (inner, sent),
                _ => return false,
            },
        }
    }
    true
}

/// Whether two list elements are the same one: by name where they have names, else by port.
fn same_element(one: &Value, other: &Value) -> bool {
    match (one.get("name"), other.get("name")) {
        (Some(a), Some(b)) => a == b,
        _ => one.get("port") == other.get("port") && protocol(one) == protocol(other),
    }
}

fn protocol(port: &Value) -> &str {
    port.get("protocol")
        .and_then(Value::as_str)
        .unwrap_or("TCP")
}

fn in_managed_fields(object: &Object, at: &str) -> bool {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    entries.into_iter().flatten().any(|entry| {
        entry.get("subresource").is_none()
            && entry
                .get("fieldsV1")
                .is_some_and(|fields| owns(fields, object.value(), at))
    })
}

/// Follows a pointer through `fieldsV1`, whose keys are `f:<field>` and `k:{<key fields>}`.
fn owns(fields: &Value, live: &Value, at: &str) -> bool {
    let (mut fields, mut live) = (fields, live);
    for segment in pointer::segments(at) {
        let Some(map) = fields.as_object() else {
            return false;
        };
        let next = match live {
            Value::Array(elements) => {
                let index = segment.parse::<usize>().ok();
                let Some(element) = index.and_then(|index| elements.get(index)) else {
                    return false;
                };
                live = element;
                map.iter()
                    .find(|(key, _)| is_key_of(key, element))
                    .map(|(_, value)| value)
            }
            _ => {
                let Some(inner) = live.get(&*segment) else {
                    return false;
                };
                live = inner;
                map.get(&format!("f:{segment}"))
            }
        };
        let Some(next) = next else { return false };
        fields = next;
    }
    true
}

fn is_key_of(key: &str, element: &Value) -> bool {
    let keys: Option<Map<String, Value>> = key
        .strip_prefix("k:")
        .and_then(|json| serde_json::from_str(json).ok());
    keys.is_some_and(|keys| {
        keys.iter().all(|(name, value)| match element.get(name) {
            Some(actual) => actual == value,
            None => name == "protocol" && value == "TCP",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(metadata: Value) -> Object {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop", "uid": "1"},
            "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080},
                               {"name": "tls", "port": 443, "protocol": "TCP", "nodePort": 31443}]},
        });
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        Object::new(object).unwrap()
    }

    #[test]
    fn s_60_last_applied_finds_ports_by_name_not_by_position() {
        let sent = json!({"spec": {"ports": [{"name": "tls", "port": 443, "nodePort": 31443},
                                             {"name": "http", "port": 80}]}});
        let service = service(json!({"annotations": {LAST_APPLIED: sent.to_string()}}));
        assert!(!user_set(&service, "/spec/ports/0/nodePort"));
        assert!(user_set(&service, "/spec/ports/1/nodePort"));
    }

    #[test]
    fn s_60_managed_fields_find_ports_by_key() {
        let fields = json!({"f:spec": {"f:ports": {
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
            "k:{\"port\":443,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:nodePort": {}},
        }}});
        let service = service(json!({"managedFields": [
            {"manager": "curl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields},
        ]}));
        assert!(!user_set(&service, "/spec/ports/0/nodePort"));
        assert!(user_set(&service, "/spec/ports/1/nodePort"));
    }

    #[test]
    fn s_60_what_never_was_on_a_server_is_the_users() {
        let mut service = service(json!({}));
        service.value_mut()["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("uid");
        assert!(user_set(&service, "/spec/ports/0/nodePort"));
    }
}
