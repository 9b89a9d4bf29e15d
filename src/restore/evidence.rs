//! What B itself says about an object that does not become ready.

use serde_json::Value;

use super::resource::Resources;
use crate::cluster::{Cluster, ListOptions};
use crate::object::{Object, ObjectId};

/// Events told.
const LAST: usize = 10;
/// Bytes at the end of a message by which it is recognised.
const CAUSE: usize = 80;

/// The last warnings about an object and its pods: `FailedScheduling: 0/1 nodes …; BackOff: …`, without those that say what
/// was `said` of it already. Empty when there are none or the user may not read them.
pub(super) async fn evidence(
    cluster: &Cluster,
    resources: &Resources,
    id: &ObjectId,
    said: &str,
) -> String {
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
    news(events.iter().rev(), said).join("; ")
}

/// What the events, the latest first, say beyond what was said.
fn news<'e>(events: impl Iterator<Item = &'e Object>, said: &str) -> Vec<String> {
    let (mut said, mut lines) = (said.to_owned(), Vec::new());
    for event in events {
        let message = event.text("/message").unwrap_or_default();
        // A kubelet says the same once more as one word, which is the state that the pod is in: `Error: ErrImagePull`.
        let word = message.strip_prefix("Error: ");
        let empty = word.is_some_and(|word| !word.contains(' '));
        // The beginnings differ between an event and a status; how it ends is the cause.
        let start = message.len().saturating_sub(CAUSE);
        let start = message.ceil_char_boundary(start);
        if empty || said.contains(&message[start..]) {
            continue;
        }
        said.push_str(message);
        lines.push(line(event));
        if lines.len() == LAST {
            break;
        }
    }
    lines
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str) -> Object {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "shop"},
            "reason": reason, "message": message,
        });
        Object::new(event).unwrap()
    }

    #[test]
    fn what_a_kubelet_repeats_is_told_once() {
        let cause = "failed to do request: Head \"https://registry.example/v2/shop/web/manifests/1\": no such host";
        let said = format!("container web: ErrImagePull: failed to pull and unpack: {cause}");
        let events = [
            event("Failed", "Error: ImagePullBackOff"),
            event(
                "Failed",
                &format!("Failed to pull image \"shop/web:1\": {cause}"),
            ),
            event(
                "FailedMount",
                "MountVolume.SetUp failed: secret \"web\" not found",
            ),
            event(
                "FailedMount",
                "MountVolume.SetUp failed: secret \"web\" not found",
            ),
            event("Failed", "Error: ErrImagePull"),
        ];
        let told = ["FailedMount: MountVolume.SetUp failed: secret \"web\" not found"];
        assert_eq!(news(events.iter(), &said), told);
        // Without it, the event that has the cause is the one that is told.
        assert_eq!(news(events.iter(), "").len(), 2);
    }
}
