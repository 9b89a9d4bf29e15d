//! The pure core from end to end, one stage at a time, as `ferry plan` calls them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ferry::capture::{Archive, Capture, Selection};
use ferry::check::{self, CheckInput};
use ferry::event::Events;
use ferry::finding::Finding;
use ferry::graph::{self, Graph, GraphInput};
use ferry::knowledge::Knowledge;
use ferry::object::Object;
use ferry::plan::{self, Plan, PlanInput, Unprivileged};
use ferry::surface::{ApiResource, ClusterIdentity, Surface};
use ferry::target::TargetState;
use ferry::transform::{self, Recipe, Transformed};

/// What a move to another cluster with other names needs: every object changes.
const RECIPE: &str = "apiVersion: ferry.dev/v1alpha1
kind: Recipe
metadata: {name: bench}
transforms:
- storageClass: {map: {fast: ssd}}
- registry: {map: {registry.a.example.com: registry.b.example.com}}
- host: {map: {'*.apps.a.example.com': '*.apps.b.example.com'}}
";

/// Reads a folder.
pub(crate) fn read(folder: &Path) -> Archive {
    Archive::folder(folder).expect("a folder of manifests")
}

pub(crate) fn capture(archive: Archive) -> Capture {
    let (all, knowledge) = (Selection::default(), Knowledge::builtin());
    let capture = archive.capture(&all, knowledge, &Events::silent());
    capture.expect("a capture")
}

pub(crate) fn transform(capture: &Capture) -> Transformed {
    let recipe = Recipe::parse("bench.yaml", RECIPE).expect("a recipe");
    let objects: Vec<Object> = capture
        .objects
        .iter()
        .map(|one| one.object.clone())
        .collect();
    transform::apply(&objects, &[recipe], Knowledge::builtin()).expect("the recipe fits")
}

pub(crate) fn graph(capture: &Capture, transformed: &Transformed) -> Graph {
    graph::build(&GraphInput {
        objects: &transformed.objects,
        crds: &[],
        produced: &capture.dropped,
        owners: &BTreeMap::new(),
        on_b: &BTreeSet::new(),
        knowledge: Knowledge::builtin(),
    })
    .expect("no circles")
}

pub(crate) fn check(
    capture: &Capture,
    transformed: &Transformed,
    graph: &Graph,
    surface: &Surface,
) -> Vec<Finding> {
    check::run(&CheckInput {
        capture,
        transformed,
        graph,
        surface,
        target: &TargetState::default(),
        knowledge: Knowledge::builtin(),
        lacking: &[],
    })
}

pub(crate) fn plan(
    capture: &Capture,
    transformed: &Transformed,
    graph: &Arc<Graph>,
    surface: &Surface,
    findings: &[Finding],
) -> Plan {
    plan::build(&PlanInput {
        capture,
        transformed,
        recipes: &[],
        graph,
        surface,
        target: &TargetState::default(),
        findings,
        knowledge: Knowledge::builtin(),
        purpose: plan::Purpose::Move,
        unprivileged: Unprivileged::default(),
        grouping: plan::Grouping::default(),
        shared_storage: false,
        switch_hosts: false,
    })
}

/// A cluster that serves every kind of the generator, and the classes the recipe names.
pub(crate) fn surface(name: &str) -> Surface {
    let kinds = [
        ("", "v1", "ConfigMap"),
        ("", "v1", "PersistentVolumeClaim"),
        ("", "v1", "Secret"),
        ("", "v1", "Service"),
        ("", "v1", "ServiceAccount"),
        ("apps", "v1", "Deployment"),
        ("apps", "v1", "StatefulSet"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler"),
        ("batch", "v1", "CronJob"),
        ("cert-manager.io", "v1", "Certificate"),
        ("networking.k8s.io", "v1", "Ingress"),
        ("networking.k8s.io", "v1", "NetworkPolicy"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "v1", "Role"),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        ("shop.example.com", "v1", "Queue"),
    ];
    let resource = |group: &str, version: &str, kind: &str, namespaced| ApiResource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
        namespaced,
        verbs: BTreeSet::new(),
        preferred: true,
        subresources: BTreeSet::new(),
    };
    let mut resources: Vec<ApiResource> = kinds
        .iter()
        .map(|(group, version, kind)| resource(group, version, kind, true))
        .collect();
    resources.push(resource("", "v1", "Namespace", false));
    resources.sort();
    let class = |version: &str, kind: &str, name: &str| {
        Object::new(
            serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}}),
        )
        .expect("an object")
    };
    Surface {
        cluster: ClusterIdentity {
            name: name.into(),
            uid: name.into(),
            version: "v1.34.4".into(),
        },
        resources,
        objects: vec![
            class("networking.k8s.io/v1", "IngressClass", "nginx"),
            class("storage.k8s.io/v1", "StorageClass", "ssd"),
        ],
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}
