//! Readiness of what runs pods. Controllers report counts, and conditions only for some of them; a
//! status that is not there yet counts as "not seen".

use serde_json::Value;

use super::{Readiness, condition, condition_is, integer};
use crate::object::Object;

fn count(object: &Object, pointer: &str) -> i64 {
    integer(object, pointer).unwrap_or(0)
}

fn replicas(object: &Object) -> i64 {
    integer(object, "/spec/replicas").unwrap_or(1)
}

fn seen(object: &Object) -> bool {
    integer(object, "/status/observedGeneration").is_some()
}

const UNSEEN: &str = "its controller has not seen it yet";

/// Rolled out and available; at 0 replicas, or paused, there is nothing to wait for.
pub(super) fn deployment(object: &Object) -> Readiness {
    if !seen(object) {
        return Readiness::waiting(UNSEEN);
    }
    let wanted = replicas(object);
    let paused = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    if wanted == 0 || paused {
        return Readiness::Current;
    }
    let progressing = condition(object, "Progressing");
    let reason = progressing
        .and_then(|found| found.get("reason"))
        .and_then(Value::as_str);
    if reason == Some("ProgressDeadlineExceeded") {
        let message = condition_is(object, "Progressing", "False").unwrap_or_default();
        return Readiness::Failed(message);
    }
    if let Some(message) = condition_is(object, "ReplicaFailure", "True") {
        return Readiness::InProgress(message);
    }
    let updated = count(object, "/status/updatedReplicas");
    let total = count(object, "/status/replicas");
    let available = count(object, "/status/availableReplicas");
    if updated < wanted {
        return Readiness::waiting(format!("{updated} of {wanted} replicas updated"));
    }
    if total > updated {
        return Readiness::waiting(format!("{} old replicas still run", total - updated));
    }
    if available < wanted {
        return Readiness::waiting(format!("{available} of {wanted} replicas available"));
    }
    if condition_is(object, "Available", "True").is_none() {
        return Readiness::waiting("it is not Available yet");
    }
    Readiness::Current
}

/// Every replica ready, and at the current revision unless the strategy leaves that to the user.
pub(super) fn stateful_set(object: &Object) -> Readiness {
    if !seen(object) {
        return Readiness::waiting(UNSEEN);
    }
    let wanted = replicas(object);
    let total = count(object, "/status/replicas");
    let ready = count(object, "/status/readyReplicas");
    if total < wanted || ready < wanted {
        return Readiness::waiting(format!("{ready} of {wanted} replicas ready"));
    }
    if total > wanted {
        return Readiness::waiting(format!("{} replicas too many", total - wanted));
    }
    if object.text("/spec/updateStrategy/type") == Some("OnDelete") {
        return Readiness::Current;
    }
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
    let updated = count(object, "/status/updatedReplicas");
    if partition > 0 {
        let due = (wanted - partition).max(0);
        if updated < due {
            return Readiness::waiting(format!("{updated} of {due} replicas updated"));
        }
        return Readiness::Current;
    }
    let current = object.text("/status/currentRevision");
    let update = object.text("/status/updateRevision");
    if wanted > 0 && current != update {
        return Readiness::waiting(format!("{updated} of {wanted} replicas updated"));
    }
    Readiness::Current
}

/// Updated and available on every node it wants.
pub(super) fn daemon_set(object: &Object) -> Readiness {
    let Some(wanted) = integer(object, "/status/desiredNumberScheduled") else {
        return Readiness::waiting(UNSEEN);
    };
    if !seen(object) {
        return Readiness::waiting(UNSEEN);
    }
    let updated = count(object, "/status/updatedNumberScheduled");
    let available = count(object, "/status/numberAvailable");
    if updated < wanted {
        return Readiness::waiting(format!("updated on {updated} of {wanted} nodes"));
    }
    if available < wanted {
        return Readiness::waiting(format!("available on {available} of {wanted} nodes"));
    }
    Readiness::Current
}

/// Every replica available.
pub(super) fn replica_set(object: &Object) -> Readiness {
    if !seen(object) {
        return Readiness::waiting(UNSEEN);
    }
    if let Some(message) = condition_is(object, "ReplicaFailure", "True") {
        return Readiness::InProgress(message);
    }
    let wanted = replicas(object);
    let available = count(object, "/status/availableReplicas");
    if available < wanted {
        return Readiness::waiting(format!("{available} of {wanted} replicas available"));
    }
    Readiness::Current
}

/// Reasons a container waits for that do not go away by themselves.
const STUCK: [&str; 5] = [
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
];

/// Ready, or finished well.
pub(super) fn pod(object: &Object) -> Readiness {
    match object.text("/status/phase") {
        Some("Succeeded") => return Readiness::Current,
        Some("Failed") => {
            let why = object.text("/status/message").unwrap_or("the pod failed");
            return Readiness::Failed(why.into());
        }
        _ => {}
    }
    if condition_is(object, "Ready", "True").is_some() {
        return Readiness::Current;
    }
    if let Some(why) = stuck(object) {
        return Readiness::Failed(why);
    }
    let unscheduled = condition_is(object, "PodScheduled", "False");
    let unready = condition_is(object, "Ready", "False");
    Readiness::InProgress(
        unscheduled
            .or(unready)
            .unwrap_or_else(|| "it has not started yet".into()),
    )
}

/// What a container of the pod is stuck on: `web: ImagePullBackOff: Back-off pulling image "x"`.
fn stuck(object: &Object) -> Option<String> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| object.pointer(pointer)?.as_array())
        .flatten()
        .find_map(|status| {
            let waiting = status.pointer("/state/waiting")?;
            let reason = waiting.get("reason")?.as_str()?;
            let name = status.get("name")?.as_str()?;
            let message = waiting
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default();
            STUCK
                .contains(&reason)
                .then(|| format!("container {name}: {reason}: {message}"))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Around;
    use super::super::tests::judged;
    use super::*;

    fn of(kind: &str, spec: Value, status: Value) -> Readiness {
        let value = json!({"apiVersion": if kind == "Pod" { "v1" } else { "apps/v1" }, "kind": kind,
            "metadata": {"name": "web", "namespace": "shop", "generation": 1},
            "spec": spec, "status": status});
        judged(value, &Around::default())
    }

    #[test]
    fn a_deployment_no_controller_has_seen_is_not_ready() {
        assert_eq!(
            of("Deployment", json!({}), json!({})),
            Readiness::waiting(UNSEEN)
        );
    }

    #[test]
    fn a_held_deployment_is_ready() {
        let status = json!({"observedGeneration": 1});
        assert_eq!(
            of("Deployment", json!({"replicas": 0}), status),
            Readiness::Current
        );
    }

    #[test]
    fn a_deployment_past_its_deadline_has_failed() {
        let status = json!({"observedGeneration": 1, "conditions": [{"type": "Progressing",
            "status": "False", "reason": "ProgressDeadlineExceeded", "message": "too late"}]});
        assert_eq!(
            of("Deployment", json!({"replicas": 1}), status),
            Readiness::Failed("Progressing=False ProgressDeadlineExceeded: too late".into())
        );
    }

    #[test]
    fn a_deployment_is_ready_when_all_replicas_are_available() {
        let status = |available: i64| {
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2,
                "availableReplicas": available,
                "conditions": [{"type": "Available", "status": "True"}]})
        };
        let spec = json!({"replicas": 2});
        assert_eq!(
            of("Deployment", spec.clone(), status(1)),
            Readiness::waiting("1 of 2 replicas available")
        );
        assert_eq!(of("Deployment", spec, status(2)), Readiness::Current);
    }

    #[test]
    fn a_stateful_set_waits_for_its_revision() {
        let status = |update: &str| {
            json!({"observedGeneration": 1, "replicas": 1, "readyReplicas": 1,
                "updatedReplicas": 0, "currentRevision": "a", "updateRevision": update})
        };
        let spec = json!({"replicas": 1});
        assert_eq!(
            of("StatefulSet", spec.clone(), status("b")),
            Readiness::waiting("0 of 1 replicas updated")
        );
        assert_eq!(of("StatefulSet", spec, status("a")), Readiness::Current);
    }

    #[test]
    fn a_daemon_set_held_off_every_node_is_ready() {
        let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 0});
        assert_eq!(of("DaemonSet", json!({}), status), Readiness::Current);
    }

    #[test]
    fn a_pod_that_cannot_pull_its_image_has_failed() {
        let status = json!({"phase": "Pending", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such"}}}]});
        assert_eq!(
            of("Pod", json!({}), status),
            Readiness::Failed("container web: ErrImagePull: no such".into())
        );
    }
}
