//! What B itself says about an object that does not become ready.

use serde_json::Value;

use super::resource::Resources;
use crate::cluster::{Cluster, ListOptions};
use crate::object::{Object, ObjectId};

/// Events told.
const LAST: usize = 10;

/// The last warnings about an object and its pods: `FailedScheduling: 0/1 nodes …; BackOff: …`.
/// Empty when there are none or the user may not read them.
pub(super) async fn evidence(cluster: &Cluster, resources: &Resources, id: &ObjectId) -> String {
    let Some(resource) = resources.core("Event") else {
        return String::new();
    };
    let options = ListOptions {
        fields: Some("type=Warning".into()),
        ..ListOptions::default()
    };
    let namespace = id.namespace.as_deref();
    let Ok(mut events) = cluster.list(resource, namespace, &options).await else {
        return String::new();
    };
    events.retain(|event| is_about(event, id));
    events.sort_by_key(|event| time(event).to_owned());
    let mut lines: Vec<String> = events.iter().rev().map(line).collect();
    lines.dedup();
    lines.truncate(LAST);
    lines.join("; ")
}

/// About the object itself, or about what its controllers named after it.
fn is_about(event: &Object, id: &ObjectId) -> bool {
    let text = |key: &str| {
        event
            .text(&format!("/involvedObject/{key}"))
            .unwrap_or_default()
    };
    let name = text("name");
    let child = name
        .strip_prefix(id.name.as_str())
        .is_some_and(|rest| rest.starts_with('-'));
    (text("kind") == id.kind && name == id.name)
        || (child && matches!(text("kind"), "Pod" | "ReplicaSet" | "Job"))
}

fn time(event: &Object) -> &str {
    [
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]
    .into_iter()
    .find_map(|pointer| event.pointer(pointer).and_then(Value::as_str))
    .unwrap_or_default()
}

fn line(event: &Object) -> String {
    let text = |pointer| event.text(pointer).unwrap_or_default();
    format!("{}: {}", text("/reason"), text("/message"))
}
