//! Who changed an object after a run made it.
//!
//! The server says so itself: every writer's fields are in `managedFields`. A controller that fills in a
//! status, a finalizer, or what the cluster decides does not count; anybody else who owns a field of what
//! users write does, and an undo must not throw that work away in silence (W-15).

use serde_json::Value;

use crate::cluster::MANAGER;
use crate::object::Object;
use crate::restore::SCALE_MANAGER;

/// The cluster's own writers of what users write: a bound claim's volume, a service account's tokens.
const CONTROLLERS: [&str; 6] = [
    "cloud-controller-manager",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "openshift-controller-manager",
];

/// Parts of an object that controllers keep for themselves.
const THEIRS: [&str; 2] = ["f:metadata", "f:status"];

/// The first manager that changed what the run wrote, as `kubectl-edit at 2026-01-02T03:04:05Z`.
pub(super) fn edited_by(live: &Object) -> Option<String> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let entry = entries.iter().find(|entry| is_edit(entry))?;
    let text = |key: &str| entry[key].as_str().unwrap_or("an unknown time");
    Some(format!("{} at {}", text("manager"), text("time")))
}

fn is_edit(entry: &Value) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    let ours = [MANAGER, SCALE_MANAGER].contains(&manager);
    let whole = entry["subresource"].as_str().unwrap_or_default().is_empty();
    let fields = entry["fieldsV1"].as_object();
    let writes = fields.is_some_and(|fields| fields.keys().any(|key| !THEIRS.contains(&&**key)));
    !ours && !CONTROLLERS.contains(&manager) && whole && writes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edited(entry: Value) -> Option<String> {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x",
            "managedFields": [{"manager": "ferry", "operation": "Apply", "fieldsV1": {"f:data": {}}}, entry]}});
        edited_by(&Object::new(object).unwrap())
    }

    #[test]
    fn w_15_an_edit_of_what_the_run_wrote_is_seen_and_named() {
        let entry = json!({"manager": "kubectl-edit", "operation": "Update",
            "time": "2026-01-02T03:04:05Z", "fieldsV1": {"f:data": {"f:a": {}}}});
        assert_eq!(
            edited(entry).as_deref(),
            Some("kubectl-edit at 2026-01-02T03:04:05Z")
        );
    }

    #[test]
    fn w_15_what_controllers_write_is_no_edit() {
        let status = json!({"manager": "some-operator", "subresource": "status",
            "fieldsV1": {"f:status": {}}});
        let finalizer = json!({"manager": "some-operator",
            "fieldsV1": {"f:metadata": {"f:finalizers": {}}}});
        let bound = json!({"manager": "kube-controller-manager",
            "fieldsV1": {"f:spec": {"f:volumeName": {}}}});
        let scaled = json!({"manager": "ferry-scale", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        for entry in [status, finalizer, bound, scaled] {
            assert_eq!(edited(entry), None);
        }
    }
}
