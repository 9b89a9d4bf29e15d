//! C-50: is there a node on B that each pod template may run on?

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::knowledge::roots::RootKind;
use crate::object::{GroupKind, Object};

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let nodes: Vec<&Object> = input.surface.of_kind("", "Node").collect();
    if nodes.is_empty() || input.surface.unseen.contains(&GroupKind::new("", "Node")) {
        // A user without the right to see nodes learns at the restore; a namespace owner rarely has it.
        return;
    }
    let usable: Vec<&Object> = nodes.into_iter().filter(|node| is_usable(node)).collect();
    let mut templates = false;
    for object in input.objects() {
        for row in &input.knowledge.roots {
            let applies = |kind: &crate::knowledge::kinds::KindPattern| {
                kind.matches(object.group(), object.kind())
            };
            if row.root != RootKind::Pod || !row.kinds.iter().any(applies) {
                continue;
            }
            row.path.visit(object.value(), &mut |path, pod| {
                templates = true;
                if !usable.iter().any(|node| takes(node, pod)) {
                    findings.push(nowhere(object, path, pod, &usable));
                }
            });
        }
    }
    if templates {
        findings.extend(architectures(input, &usable));
    }
}

fn is_usable(node: &Object) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node.pointer("/spec/unschedulable") != Some(&Value::Bool(true))
}

/// Labels, required affinity and taints. Room is the scheduler's business: it changes by the minute.
fn takes(node: &Object, pod: &Value) -> bool {
    selected(node, pod) && required(node, pod) && tolerated(node, pod)
}

fn selected(node: &Object, pod: &Value) -> bool {
    let wanted = pod["nodeSelector"].as_object().into_iter().flatten();
    wanted
        .into_iter()
        .all(|(key, value)| node.label(key) == value.as_str())
}

/// Any term of the required node affinity; a term holds when all its expressions do.
fn required(node: &Object, pod: &Value) -> bool {
    let terms = pod.pointer(
        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    );
    let Some(terms) = terms.and_then(Value::as_array) else {
        return true;
    };
    let all = |term: &Value, key: &str, find: &dyn Fn(&str) -> Option<String>| {
        let expressions = term[key].as_array().into_iter().flatten();
        expressions.into_iter().all(|expression| {
            holds(
                expression,
                find(expression["key"].as_str().unwrap_or_default()),
            )
        })
    };
    let label = |key: &str| node.label(key).map(str::to_owned);
    let field = |key: &str| (key == "metadata.name").then(|| node.name().to_owned());
    terms
        .iter()
        .any(|term| all(term, "matchExpressions", &label) && all(term, "matchFields", &field))
}

fn holds(expression: &Value, found: Option<String>) -> bool {
    let values: Vec<&str> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let among = found
        .as_deref()
        .is_some_and(|found| values.contains(&found));
    let compare = |less: bool| {
        let number = |text: &str| text.parse::<i64>().ok();
        let pair = found
            .as_deref()
            .and_then(number)
            .zip(values.first().and_then(|v| number(v)));
        pair.is_some_and(|(found, limit)| if less { found < limit } else { found > limit })
    };
    match expression["operator"].as_str() {
        Some("In") => among,
        Some("NotIn") => !among,
        Some("Exists") => found.is_some(),
        Some("DoesNotExist") => found.is_none(),
        Some("Gt") => compare(false),
        Some("Lt") => compare(true),
        _ => true,
    }
}

fn tolerated(node: &Object, pod: &Value) -> bool {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    let mut hard = taints
        .into_iter()
        .flatten()
        .filter(|taint| taint["effect"] != "PreferNoSchedule");
    hard.all(|taint| {
        let tolerations = pod["tolerations"].as_array().into_iter().flatten();
        tolerations
            .into_iter()
            .any(|toleration| tolerates(toleration, taint))
    })
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = &toleration["effect"];
    let same_effect = effect.is_null() || effect == "" || *effect == taint["effect"];
    let exists = toleration["operator"] == "Exists";
    let any_key = toleration["key"].is_null() || toleration["key"] == "";
    let same_key = toleration["key"] == taint["key"] || (any_key && exists);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    same_effect && same_key && (exists || text(&toleration["value"]) == text(&taint["value"]))
}

fn nowhere(object: &Object, path: &str, pod: &Value, usable: &[&Object]) -> Finding {
    let mut wants = Vec::new();
    for key in ["nodeSelector", "tolerations"] {
        if !pod[key].is_null() {
            wants.push(format!("{key} {}", pod[key]));
        }
    }
    if !pod["affinity"]["nodeAffinity"].is_null() {
        wants.push("a required node affinity".into());
    }
    let evidence = match usable.is_empty() {
        true => "no node there is ready and schedulable".to_owned(),
        false => format!(
            "it has {}; no ready node of {} fits",
            if wants.is_empty() {
                "no toleration".into()
            } else {
                wants.join(", ")
            },
            list(usable.iter().map(|node| node.name()))
        ),
    };
    Finding::new(
        Verdict::Block,
        "C-50",
        "no node of the target cluster may run these pods",
    )
    .on(object.id())
    .at(path)
    .because(evidence)
    .remedy("change nodeSelector, affinity or tolerations with a patch, or label a node there")
}

/// Images are made for A's architectures; another one on B only works for multi-platform images.
fn architectures(input: &CheckInput<'_>, usable: &[&Object]) -> Option<Finding> {
    let on_a: BTreeSet<&str> = input
        .capture
        .surface
        .of_kind("", "Node")
        .filter_map(|node| node.label("kubernetes.io/arch"))
        .collect();
    let on_b: BTreeSet<&str> = usable
        .iter()
        .filter_map(|node| node.label("kubernetes.io/arch"))
        .collect();
    let foreign = !on_a.is_empty() && !on_b.is_empty() && on_a.is_disjoint(&on_b);
    foreign.then(|| {
        Finding::new(
            Verdict::Warn,
            "C-50",
            "the clusters' nodes have different architectures",
        )
        .because(format!(
            "{} on the source, {} on the target",
            list(on_a),
            list(on_b)
        ))
        .remedy("make sure that every image exists for the target's architecture")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use crate::object::Object;
    use serde_json::json;

    fn node(name: &str, arch: &str, taints: serde_json::Value) -> Object {
        let mut node = object("v1", "Node", name, "{}");
        node.value_mut()["metadata"]["labels"] = json!({"kubernetes.io/arch": arch, "n": "5"});
        node.value_mut()["spec"] = json!({"taints": taints});
        node.value_mut()["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        node
    }

    fn pod(spec: &str) -> Case {
        let template = format!(r#"{{"template": {{"spec": {spec}}}}}"#);
        let mut case = Case::new(vec![object("apps/v1", "Deployment", "shop/a", &template)]);
        case.surface.objects.push(node("b1", "amd64", json!([])));
        case
    }

    const NOWHERE: &str = "block C-50 Deployment.apps shop/a /spec/template/spec: no node of the target cluster may run these pods";

    #[test]
    fn c_50_selectors_and_affinity_must_fit_a_node() {
        pod(r#"{"nodeSelector": {"kubernetes.io/arch": "amd64"}}"#).expect(&[]);
        pod(r#"{"nodeSelector": {"disk": "ssd"}}"#).expect(&[NOWHERE]);
        let affinity = |operator: &str, value: &str| {
            pod(&format!(
                r#"{{"affinity": {{"nodeAffinity": {{"requiredDuringSchedulingIgnoredDuringExecution":
                {{"nodeSelectorTerms": [{{"matchExpressions": [{{"key": "n", "operator": "{operator}", "values": ["{value}"]}}]}}]}}}}}}}}"#
            ))
        };
        affinity("In", "5").expect(&[]);
        affinity("Gt", "4").expect(&[]);
        affinity("NotIn", "5").expect(&[NOWHERE]);
        affinity("DoesNotExist", "").expect(&[NOWHERE]);
    }

    #[test]
    fn c_50_taints_must_be_tolerated() {
        let taint = json!([{"key": "db", "value": "x", "effect": "NoSchedule"}]);
        let tainted = |spec: &str| {
            let mut case = pod(spec);
            case.surface.objects = vec![node("b1", "amd64", taint.clone())];
            case
        };
        tainted("{}").expect(&[NOWHERE]);
        tainted(r#"{"tolerations": [{"key": "db", "operator": "Exists"}]}"#).expect(&[]);
        tainted(r#"{"tolerations": [{"key": "db", "value": "y"}]}"#).expect(&[NOWHERE]);
    }

    #[test]
    fn c_50_another_architecture_is_a_warning() {
        let mut case = pod("{}");
        case.capture
            .surface
            .objects
            .push(node("a1", "arm64", json!([])));
        case.expect(&["warn C-50 -: the clusters' nodes have different architectures"]);
    }
}
