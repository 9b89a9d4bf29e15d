//! C-42: classes and other cluster-wide things that are mapped, never copied.

use std::collections::BTreeMap;

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::graph::{Edge, Presence};
use crate::object::{Object, ObjectId};

/// How bad it is when one is not there: pods of a missing priority or runtime class are refused
/// (403), everything else is accepted and waits.
const CLASSES: [(&str, &str, Verdict); 7] = [
    ("scheduling.k8s.io", "PriorityClass", Verdict::Block),
    ("node.k8s.io", "RuntimeClass", Verdict::Block),
    ("networking.k8s.io", "IngressClass", Verdict::Warn),
    ("gateway.networking.k8s.io", "GatewayClass", Verdict::Warn),
    (
        "snapshot.storage.k8s.io",
        "VolumeSnapshotClass",
        Verdict::Warn,
    ),
    ("storage.k8s.io", "StorageClass", Verdict::Block),
    ("storage.k8s.io", "VolumeAttributesClass", Verdict::Warn),
];

/// Whether missing objects of this kind are reported here.
pub(super) fn is_class(id: &ObjectId) -> bool {
    CLASSES.iter().any(|(group, kind, _)| id.is(group, kind))
}

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    for (class, edges) in missing(input) {
        let rows = CLASSES.iter();
        let verdict = rows
            .filter(|(group, kind, _)| class.is(group, kind))
            .map(|(.., verdict)| *verdict)
            .next();
        let Some(verdict) = verdict else { continue };
        let unseen = input.surface.unseen.contains(&class.group_kind());
        for edge in edges {
            // Claims and StatefulSets are judged with their driver by C-40.
            let judged =
                edge.from.is("", "PersistentVolumeClaim") || edge.from.is("apps", "StatefulSet");
            if class.kind == "StorageClass" && judged {
                continue;
            }
            findings.push(absent(input, &class, edge, verdict, unseen));
        }
    }
    priorities(input, findings);
}

/// Missing classes with the references to them.
fn missing<'a>(input: &CheckInput<'a>) -> BTreeMap<ObjectId, Vec<&'a Edge>> {
    let nodes = input.graph.nodes.iter();
    let mut missing: BTreeMap<ObjectId, Vec<&Edge>> = nodes
        .filter(|node| node.presence == Presence::Missing && is_class(&node.id))
        .map(|node| (node.id.clone(), Vec::new()))
        .collect();
    for edge in &input.graph.edges {
        if let Some(edges) = missing.get_mut(&edge.to) {
            edges.push(edge);
        }
    }
    missing
}

fn absent(
    input: &CheckInput<'_>,
    class: &ObjectId,
    edge: &Edge,
    verdict: Verdict,
    unseen: bool,
) -> Finding {
    let (kind, name) = (&class.kind, &class.name);
    let there = input.surface.of_kind(&class.group, kind).map(Object::name);
    let (verdict, message, evidence) = match unseen {
        true => (
            Verdict::Warn,
            format!("it cannot be seen whether the target cluster has the {kind} {name}"),
            format!("listing {} is forbidden to you there", class.group_kind()),
        ),
        false => (
            verdict,
            format!("the target cluster has no {kind} {name}"),
            format!("it has {}", list(there)),
        ),
    };
    Finding::new(verdict, "C-42", message)
        .on(edge.from.clone())
        .at(edge.path.clone())
        .because(evidence)
        .remedy(format!(
            "ask the target cluster's administrator for {name}, or change the name with a patch in a recipe"
        ))
}

/// The same priority class with another value schedules and preempts differently.
fn priorities(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let used = |class: &&Object| {
        let id = class.id();
        input.graph.edges.iter().any(|edge| edge.to == id)
    };
    let classes = input
        .capture
        .surface
        .of_kind("scheduling.k8s.io", "PriorityClass");
    for on_a in classes.filter(used) {
        let Some(on_b) = input
            .surface
            .find("scheduling.k8s.io", "PriorityClass", on_a.name())
        else {
            continue;
        };
        for field in ["/value", "/preemptionPolicy"] {
            let (left, right) = (on_a.pointer(field), on_b.pointer(field));
            if left != right {
                let text = |value: Option<&serde_json::Value>| {
                    value.map_or_else(|| "unset".into(), ToString::to_string)
                };
                findings.push(
                    Finding::new(
                        Verdict::Warn,
                        "C-42",
                        format!("PriorityClass {} differs between the clusters", on_a.name()),
                    )
                    .on(on_b.id())
                    .at(field)
                    .because(format!(
                        "{} on the source, {} on the target",
                        text(left),
                        text(right)
                    ))
                    .remedy("check that pods will still be scheduled in the order you want"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use crate::graph::Strength;
    use crate::object::ObjectId;

    fn case(group: &str, kind: &str) -> Case {
        let mut case = Case::new(vec![object("apps/v1", "Deployment", "shop/a", "{}")]);
        case.missing("/spec/x", ObjectId::cluster(group, kind, "c"), Strength::R);
        case
    }

    #[test]
    fn c_42_a_missing_priority_class_blocks_and_an_ingress_class_warns() {
        case("scheduling.k8s.io", "PriorityClass").expect(&[
            "block C-42 Deployment.apps shop/a /spec/x: the target cluster has no PriorityClass c",
        ]);
        case("networking.k8s.io", "IngressClass").expect(&[
            "warn C-42 Deployment.apps shop/a /spec/x: the target cluster has no IngressClass c",
        ]);
    }

    #[test]
    fn c_42_a_priority_class_with_another_value_warns() {
        let mut case = case("x", "Y");
        case.graph.edges[0].to = ObjectId::cluster("scheduling.k8s.io", "PriorityClass", "c");
        case.graph.nodes.pop();
        let class = |value: i64| {
            let mut class = object("scheduling.k8s.io/v1", "PriorityClass", "c", "{}");
            class.value_mut()["value"] = value.into();
            class
        };
        case.capture.surface.objects.push(class(1));
        case.surface.objects.push(class(2));
        case.expect(&[
            "warn C-42 PriorityClass.scheduling.k8s.io c /value: PriorityClass c differs between the clusters",
        ]);
    }
}
