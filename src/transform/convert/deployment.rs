//! DeploymentConfig → Deployment.

use serde_json::{Map, Value, json};

use super::{lost, metadata, put};
use crate::transform::work::{Part, Work};

/// Annotations of OpenShift's own controllers.
const OWN: [&str; 2] = ["openshift.io/", "deployment.openshift.io/"];

/// Fields that mean the same in both kinds.
const SAME: [&str; 5] = [
    "replicas",
    "template",
    "minReadySeconds",
    "paused",
    "revisionHistoryLimit",
];

/// Puts a Deployment in the place of a deployment config.
pub(super) fn convert(work: &mut Work<'_>, index: usize, part: Part) {
    let object = work.objects()[index].clone();
    let spec = object.pointer("/spec").cloned().unwrap_or_default();
    let (metadata, _) = metadata(&object, &OWN);
    let mut made = Map::new();
    for field in SAME {
        if let Some(value) = spec.get(field).filter(|value| !value.is_null()) {
            made.insert(field.to_owned(), value.clone());
        }
    }
    let labels = match spec.get("selector").filter(|selector| selector.is_object()) {
        Some(selector) => selector.clone(),
        None => spec
            .pointer("/template/metadata/labels")
            .cloned()
            .unwrap_or_default(),
    };
    made.insert("selector".into(), json!({"matchLabels": labels}));
    strategy(work, index, &spec, &mut made);
    triggers(work, index, &spec);
    if spec["test"] == true {
        let message = "a deployment config of `test: true` keeps no pods when nothing is rolling out; a \
             Deployment keeps them";
        lost(
            work,
            index,
            "/spec/test",
            message,
            "set `scale: {replicas: 0}` if it must not run",
        );
    }
    put(
        work,
        index,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": made}),
        part,
    );
}

fn strategy(work: &mut Work<'_>, index: usize, spec: &Value, made: &mut Map<String, Value>) {
    let strategy = &spec["strategy"];
    let kind = strategy["type"].as_str().unwrap_or("Rolling");
    let params = match kind {
        "Recreate" => &strategy["recreateParams"],
        _ => &strategy["rollingParams"],
    };
    let mut rolling = Map::new();
    for field in ["maxSurge", "maxUnavailable"] {
        if let Some(value) = params.get(field).filter(|value| !value.is_null()) {
            rolling.insert(field.to_owned(), value.clone());
        }
    }
    let new = match kind {
        "Recreate" => json!({"type": "Recreate"}),
        _ if rolling.is_empty() => json!({"type": "RollingUpdate"}),
        _ => json!({"type": "RollingUpdate", "rollingUpdate": rolling}),
    };
    made.insert("strategy".into(), new);
    // Waiting longer than the pods need to become ready is what the API asks for.
    let ready = spec["minReadySeconds"].as_u64().unwrap_or(0);
    if let Some(seconds) = params["timeoutSeconds"]
        .as_u64()
        .filter(|seconds| *seconds > ready)
    {
        made.insert("progressDeadlineSeconds".into(), seconds.into());
    }
    if kind == "Custom" {
        lost(
            work,
            index,
            "/spec/strategy/customParams",
            "the custom rollout strategy has no counterpart; the Deployment rolls",
            "roll it out by a pipeline of your own",
        );
    }
    for hook in ["pre", "mid", "post"] {
        if params.get(hook).is_some_and(|hook| !hook.is_null()) {
            lost(
                work,
                index,
                "/spec/strategy",
                format!("the `{hook}` hook of the rollout has no counterpart"),
                "run it as a Job before or after the rollout, or as an init container",
            );
        }
    }
}

fn triggers(work: &mut Work<'_>, index: usize, spec: &Value) {
    let triggers = spec["triggers"].as_array().cloned().unwrap_or_default();
    let has = |kind: &str| triggers.iter().any(|trigger| trigger["type"] == kind);
    if has("ImageChange") {
        lost(
            work,
            index,
            "/spec/triggers",
            "a new image in the stream no longer rolls out by itself",
            "roll out by changing the image; `convert: {imageStreams: {to: image}}` writes the plain one",
        );
    }
    if !has("ConfigChange") {
        lost(
            work,
            index,
            "/spec/triggers",
            "it was rolled out by hand only; a Deployment rolls out on every change of its pods",
            "set `spec.paused` with a patch if changes must wait",
        );
    }
}
