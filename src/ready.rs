//! Whether an object is ready: a pure function of the object and a few facts around it.
//!
//! ```text
//! being deleted? stale status? stalled?  ──▶  row of gates.yaml (data, or Rust where it counts)  ──▶  Ready condition
//! ```
//!
//! Rule book §5.1. Nothing here waits or asks a server: `restore::gate` watches, calls this with each
//! version of an object, and keeps the clock. A kind nobody described and that has no Ready condition
//! is [`Readiness::Settling`]: a custom resource read before its controller ran looks finished.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::knowledge::gates::{GateRow, Native, Test};
use crate::object::{Object, ObjectId};

mod volume;
mod workload;

/// What can be said of an object's readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is as ready as it gets.
    Current,
    /// Nothing says that it is not ready; it counts as ready after the settle time.
    Settling,
    /// Not yet, and what is missing.
    InProgress(String),
    /// It will not become ready by waiting, and why.
    Failed(String),
}

impl Readiness {
    fn waiting(message: impl Into<String>) -> Self {
        Self::InProgress(message.into())
    }
}

/// Facts about the cluster that decide readiness and are not in the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Objects known to exist, of those [`beside`] asks for.
    pub present: BTreeSet<ObjectId>,
    /// Storage classes that bind a claim only when a pod uses it (W-5).
    pub late_binding: BTreeSet<String>,
}

/// The row for an object's kind, if one describes it.
pub fn row<'a>(rows: &'a [GateRow], id: &ObjectId) -> Option<&'a GateRow> {
    rows.iter().find(|row| id.is(&row.group, &row.kind))
}

/// Objects that must exist beside this one before it counts as ready; see [`Around::present`].
pub fn beside(rows: &[GateRow], id: &ObjectId) -> Vec<ObjectId> {
    let within = id.namespace.as_deref().unwrap_or(&id.name);
    row(rows, id)
        .into_iter()
        .flat_map(|row| &row.present)
        .map(|beside| ObjectId::namespaced("", &beside.kind, within, &beside.name))
        .collect()
}

/// Judges one version of an object.
pub fn readiness(rows: &[GateRow], object: &Object, around: &Around) -> Readiness {
    if let Some(verdict) = generic(object) {
        return verdict;
    }
    let id = object.id();
    let Some(row) = row(rows, &id) else {
        return by_ready_condition(object);
    };
    if let Some(test) = row.failed.iter().find(|test| holds(test, object)) {
        return Readiness::Failed(describe(test, object));
    }
    if let Some(native) = row.native {
        return judge(native, object, around);
    }
    if let Some(test) = row.current.iter().find(|test| !holds(test, object)) {
        return Readiness::InProgress(describe(test, object));
    }
    match beside(rows, &id)
        .into_iter()
        .find(|id| !around.present.contains(id))
    {
        Some(missing) => Readiness::InProgress(format!("{missing} does not exist yet")),
        None => Readiness::Current,
    }
}

fn judge(native: Native, object: &Object, around: &Around) -> Readiness {
    match native {
        Native::Secret => secret(object),
        Native::Service => service(object),
        Native::ResourceQuota => resource_quota(object),
        Native::Claim => volume::claim(object, around),
        Native::Pod => workload::pod(object),
        Native::Deployment => workload::deployment(object),
        Native::StatefulSet => workload::stateful_set(object),
        Native::DaemonSet => workload::daemon_set(object),
        Native::ReplicaSet => workload::replica_set(object),
    }
}

/// What holds for every kind that follows the status conventions.
fn generic(object: &Object) -> Option<Readiness> {
    if object.is_going() {
        return Some(Readiness::waiting("it is being deleted"));
    }
    let generation = integer(object, "/metadata/generation");
    let stale = |observed: Option<i64>| matches!((generation, observed), (Some(generation), Some(observed)) if observed < generation);
    if stale(integer(object, "/status/observedGeneration")) {
        return Some(Readiness::waiting("its controller has not seen it yet"));
    }
    let unseen = conditions(object)
        .find(|condition| stale(condition.get("observedGeneration").and_then(Value::as_i64)));
    if let Some(condition) = unseen {
        let name = condition.get("type").and_then(Value::as_str).unwrap_or("?");
        return Some(Readiness::waiting(format!(
            "its condition {name} is of an older version"
        )));
    }
    if let Some(message) = condition_is(object, "Stalled", "True") {
        return Some(Readiness::Failed(message));
    }
    condition_is(object, "Reconciling", "True").map(Readiness::InProgress)
}

fn by_ready_condition(object: &Object) -> Readiness {
    match condition(object, "Ready") {
        None => Readiness::Settling,
        Some(ready) if ready.get("status").and_then(Value::as_str) == Some("True") => {
            Readiness::Current
        }
        Some(ready) => Readiness::InProgress(message(ready)),
    }
}

/// A service-account token Secret is empty until its controller fills it.
fn secret(object: &Object) -> Readiness {
    let token = object.text("/type") == Some("kubernetes.io/service-account-token");
    if token && object.pointer("/data/token").is_none() {
        return Readiness::waiting("its token is not issued yet");
    }
    Readiness::Current
}

fn service(object: &Object) -> Readiness {
    match object.text("/spec/type") {
        Some("ExternalName") => Readiness::Current,
        _ if object.text("/spec/clusterIP").is_none_or(str::is_empty) => {
            Readiness::waiting("no cluster address yet")
        }
        _ => Readiness::Current,
    }
}

/// Until every key is counted, creates of that type are refused with "status unknown for quota" (E-21).
fn resource_quota(object: &Object) -> Readiness {
    let wanted = object.pointer("/spec/hard").and_then(Value::as_object);
    let used = object.pointer("/status/used").and_then(Value::as_object);
    let uncounted = wanted
        .into_iter()
        .flat_map(|hard| hard.keys())
        .find(|key| used.is_none_or(|used| !used.contains_key(*key)));
    match uncounted {
        Some(key) => Readiness::waiting(format!("{key} is not counted yet")),
        None => Readiness::Current,
    }
}

fn holds(test: &Test, object: &Object) -> bool {
    let seen = match (&test.condition, &test.path) {
        (Some(name), _) => condition(object, name).and_then(|found| found.get("status")),
        (None, Some(path)) => object.pointer(path),
        (None, None) => None,
    };
    seen.is_some_and(|seen| test.is.contains(seen))
}

fn describe(test: &Test, object: &Object) -> String {
    match (&test.condition, &test.path) {
        (Some(name), _) => match condition(object, name) {
            Some(found) => message(found),
            None => format!("its condition {name} is not set yet"),
        },
        (None, Some(path)) => match object.pointer(path) {
            Some(value) => format!("{path} is {value}"),
            None => format!("{path} is not set yet"),
        },
        (None, None) => String::new(),
    }
}

fn conditions(object: &Object) -> impl Iterator<Item = &Value> {
    object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn condition<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    conditions(object).find(|condition| condition.get("type").and_then(Value::as_str) == Some(name))
}

/// The condition's message, if it has the given status.
fn condition_is(object: &Object, name: &str, status: &str) -> Option<String> {
    condition(object, name)
        .filter(|found| found.get("status").and_then(Value::as_str) == Some(status))
        .map(message)
}

/// `Progressing=False ProgressDeadlineExceeded: ReplicaSet "x" has timed out progressing`.
fn message(condition: &Value) -> String {
    let text = |key: &str| {
        condition
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut out = format!("{}={}", text("type"), text("status"));
    for (separator, part) in [(" ", text("reason")), (": ", text("message"))] {
        if !part.is_empty() {
            out.push_str(separator);
            out.push_str(part);
        }
    }
    out
}

fn integer(object: &Object, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::knowledge::Knowledge;

    pub(super) fn judged(value: Value, around: &Around) -> Readiness {
        let object = Object::new(value).unwrap();
        readiness(&Knowledge::builtin().gates, &object, around)
    }

    #[test]
    fn w_3_a_namespace_is_ready_when_pods_would_be_admitted() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"},
            "status": {"phase": "Active"}});
        let mut around = Around::default();
        around.present.insert(ObjectId::namespaced(
            "",
            "ServiceAccount",
            "shop",
            "default",
        ));
        assert_eq!(
            judged(namespace.clone(), &around),
            Readiness::waiting("ConfigMap shop/kube-root-ca.crt does not exist yet")
        );
        around.present.insert(ObjectId::namespaced(
            "",
            "ConfigMap",
            "shop",
            "kube-root-ca.crt",
        ));
        assert_eq!(judged(namespace, &around), Readiness::Current);
    }

    #[test]
    fn w_3_a_terminating_namespace_is_not_ready() {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Active"}});
        assert_eq!(
            judged(namespace, &Around::default()),
            Readiness::waiting("it is being deleted")
        );
    }

    #[test]
    fn a_quota_is_ready_when_every_key_is_counted() {
        let quota = |used: Value| {
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
                "spec": {"hard": {"pods": "3", "configmaps": "5"}}, "status": {"used": used}})
        };
        assert_eq!(
            judged(quota(json!({"pods": "0"})), &Around::default()),
            Readiness::waiting("configmaps is not counted yet")
        );
        let counted = quota(json!({"pods": "0", "configmaps": "1"}));
        assert_eq!(judged(counted, &Around::default()), Readiness::Current);
    }

    #[test]
    fn a_custom_resource_without_conditions_is_given_time() {
        let object = |status: Value| {
            json!({"apiVersion": "example.com/v1", "kind": "Cache",
                "metadata": {"name": "c", "namespace": "n", "generation": 2}, "status": status})
        };
        let around = Around::default();
        assert_eq!(judged(object(json!({})), &around), Readiness::Settling);
        assert_eq!(
            judged(object(json!({"observedGeneration": 1})), &around),
            Readiness::waiting("its controller has not seen it yet")
        );
        let not_ready = json!({"conditions": [
            {"type": "Ready", "status": "False", "reason": "Starting", "message": "0 of 3"}]});
        assert_eq!(
            judged(object(not_ready), &around),
            Readiness::waiting("Ready=False Starting: 0 of 3")
        );
    }

    #[test]
    fn a_crd_with_taken_names_has_failed() {
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "caches.example.com"},
            "status": {"conditions": [{"type": "NamesAccepted", "status": "False",
                "reason": "ListKindConflict", "message": "taken"}]}});
        assert_eq!(
            judged(crd, &Around::default()),
            Readiness::Failed("NamesAccepted=False ListKindConflict: taken".into())
        );
    }
}
