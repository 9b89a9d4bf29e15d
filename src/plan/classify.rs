//! What is to be done with one object, by comparing it with what is live on B (D-15).
//!
//! The server's own answer decides where there is one: the dry run of the apply is compared with the
//! live object. Where B refuses or cannot tell, the object is compared offline.

use std::io::{BufWriter, Write};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::Value;

use super::{Class, Expect, stamp};
use crate::object::Object;
use crate::target::{DryRun, TargetState};

/// The verdict on one object.
pub(super) struct Verdict {
    pub(super) class: Class,
    pub(super) expect: Expect,
    /// The object to send, without holds.
    pub(super) body: Object,
}

/// Compares one wanted object with B.
pub(super) fn classify(wanted: &Object, target: &TargetState, blocked: bool) -> Verdict {
    let id = wanted.id();
    let mut body = payload(wanted);
    let live = target.live.get(&id);
    let expect = live.map_or(Expect::Absent, expect);
    if let Some(live) = live {
        stamp::keep(&mut body, live);
        yield_scale(&mut body, live);
    }
    let class = match live {
        _ if blocked => Class::Blocked,
        None => Class::Create,
        Some(live) if id.is("", "PersistentVolumeClaim") => claim(live),
        Some(live) if same(&body, live, target.dry_run.get(&id)) => Class::Same,
        Some(_) => Class::Update,
    };
    Verdict {
        class,
        expect,
        body,
    }
}

/// A claim on B is left as it is, whoever made it; one whose data is still to come is as planned.
fn claim(live: &Object) -> Class {
    match live.annotation(stamp::DATA_ANNOTATION) {
        Some(stamp::DATA_PENDING) => Class::Same,
        _ => Class::Keep,
    }
}

fn expect(live: &Object) -> Expect {
    Expect::Live {
        uid: live.uid().unwrap_or_default().into(),
        resource_version: live.resource_version().unwrap_or_default().into(),
        content: digest(&content(live)),
    }
}

/// A replica count that somebody set through the scale sub-resource is theirs (W-8, D-9).
fn yield_scale(body: &mut Object, live: &Object) {
    if scaled(live)
        && let Some(spec) = body
            .value_mut()
            .get_mut("spec")
            .and_then(Value::as_object_mut)
    {
        spec.remove("replicas");
    }
}

/// Whether a manager owns the replica count through the scale sub-resource.
fn scaled(live: &Object) -> bool {
    live.pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|entry| {
            entry.get("subresource").and_then(Value::as_str) == Some("scale")
                && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
        })
}

/// Whether applying the body would change nothing that users own.
pub(crate) fn same(body: &Object, live: &Object, dry_run: Option<&DryRun>) -> bool {
    let (mut here, mut there) = match dry_run {
        Some(DryRun::Accepted { object }) => (content(object), content(live)),
        _ => return offline(body, live),
    };
    if scaled(live) {
        for value in [&mut here, &mut there] {
            if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("replicas");
            }
        }
    }
    here == there
}

/// Without the server's answer: every field we would send is there already, as we would send it. What
/// the server wrote differently counts as a change: better an apply too many than one too few.
fn offline(body: &Object, live: &Object) -> bool {
    within(&content(body), &content(live))
}

fn within(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|live| within(value, live))),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(a, b)| within(a, b))
        }
        _ => wanted == live,
    }
}

/// What users own in an object: without status, what the server writes, owners and Ferry's marks.
pub(crate) fn content(object: &Object) -> Value {
    let mut object = payload(object);
    stamp::strip(&mut object);
    let mut value = object.into_value();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("ownerReferences");
        for map in ["labels", "annotations", "finalizers"] {
            let hidden = metadata.get_mut(map).is_some_and(|entries| {
                if let Some(entries) = entries.as_object_mut() {
                    entries.retain(|key, _| !COUNTERS.contains(&key.as_str()));
                }
                empty(entries)
            });
            if hidden {
                metadata.remove(map);
            }
        }
    }
    value
}

/// Annotations that controllers count in.
const COUNTERS: [&str; 2] = [
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
];

fn empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty)
}

/// What may be sent: the server refuses or mishandles the rest on apply (S-40, W-11). A status is only
/// there when it holds an identity, which is written beside the apply (S-70).
fn payload(object: &Object) -> Object {
    let mut object = object.clone();
    let owned = |key: &String| is_server_owned(key);
    let metadata = object.pointer("/metadata").and_then(Value::as_object);
    // Most objects have none of them, and then stay shared.
    if metadata.is_some_and(|metadata| metadata.keys().any(owned))
        && let Some(Value::Object(metadata)) = object.value_mut().get_mut("metadata")
    {
        metadata.retain(|key, _| !owned(key));
    }
    object
}

/// Of the fields of `metadata`.
fn is_server_owned(key: &str) -> bool {
    matches!(
        key,
        "managedFields"
            | "resourceVersion"
            | "uid"
            | "generation"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "deletionGracePeriodSeconds"
            | "selfLink"
    )
}

/// SHA-256 over a value's JSON text, as hex. Maps are sorted, so equal values give equal digests. The
/// text of a capture of a whole cluster is never held: it is hashed as it is written.
pub(crate) fn digest(value: &impl Serialize) -> String {
    let mut hash = Hash(Context::new(&SHA256));
    serde_json::to_writer(BufWriter::new(&mut hash), value)
        .expect("maps with string keys have a JSON form, and hashing takes every byte");
    hex::encode(hash.0.finish())
}

struct Hash(Context);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(data: &str, extra: Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": "n"}, "data": {"k": data}});
        json_patch::merge(&mut value, &extra);
        Object::new(value).unwrap()
    }

    fn live(data: &str) -> Object {
        config(
            data,
            json!({"metadata": {"uid": "u", "resourceVersion": "7", "creationTimestamp": "t",
                "labels": {"ferry.dev/run": "r1"}}}),
        )
    }

    fn verdict(wanted: &Object, live: Object, dry_run: DryRun) -> Verdict {
        let mut target = TargetState::default();
        target.dry_run.insert(wanted.id(), dry_run);
        target.live.insert(wanted.id(), live);
        classify(wanted, &target, false)
    }

    #[test]
    fn d_15_an_object_that_differs_only_in_marks_is_the_same() {
        let wanted = config("v", json!({}));
        let object = config("v", json!({"metadata": {"uid": "u"}}));
        let verdict = verdict(&wanted, live("v"), DryRun::Accepted { object });
        assert_eq!(verdict.class, Class::Same);
        assert_eq!(verdict.body.label(RUN), Some("r1"));
    }

    const RUN: &str = crate::target::RUN_LABEL;

    #[test]
    fn d_15_an_object_whose_dry_run_changes_it_is_an_update() {
        let wanted = config("new", json!({}));
        let object = config("new", json!({}));
        let verdict = verdict(&wanted, live("old"), DryRun::Accepted { object });
        assert_eq!(verdict.class, Class::Update);
        assert!(matches!(verdict.expect, Expect::Live { uid, .. } if uid == "u"));
    }

    #[test]
    fn d_9_replicas_that_an_autoscaler_owns_are_no_difference() {
        let deployment = |replicas: i64, managers: Value| {
            Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "d", "namespace": "n", "managedFields": managers},
                "spec": {"replicas": replicas, "paused": true}}))
            .unwrap()
        };
        let managers = json!([{"manager": "kube-controller-manager", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        let wanted = deployment(2, json!([]));
        let verdict = verdict(
            &wanted,
            deployment(5, managers),
            DryRun::Accepted {
                object: deployment(2, json!([])),
            },
        );
        assert_eq!(verdict.class, Class::Same);
        assert_eq!(verdict.body.pointer("/spec/replicas"), None);
    }

    #[test]
    fn without_an_answer_defaults_of_the_server_are_no_difference() {
        let refused = || DryRun::Rejected {
            status: 409,
            reason: "Conflict".into(),
            message: String::new(),
        };
        let wanted = config("v", json!({}));
        let defaulted = config("v", json!({"immutable": false, "metadata": {"uid": "u"}}));
        assert_eq!(verdict(&wanted, defaulted, refused()).class, Class::Same);
        assert_eq!(
            verdict(&wanted, config("w", json!({})), refused()).class,
            Class::Update
        );
    }

    #[test]
    fn w_13_a_claim_on_b_is_kept_unless_its_data_is_still_to_come() {
        let claim = |data: Option<&str>| {
            Object::new(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "p", "namespace": "n",
                    "annotations": {stamp::DATA_ANNOTATION: data}}}))
            .unwrap()
        };
        let class = |live: Object| {
            let unproven = DryRun::Unproven {
                reason: String::new(),
            };
            verdict(&claim(None), live, unproven).class
        };
        assert_eq!(class(claim(None)), Class::Keep);
        assert_eq!(class(claim(Some("abc"))), Class::Keep);
        assert_eq!(class(claim(Some(stamp::DATA_PENDING))), Class::Same);
    }
}
