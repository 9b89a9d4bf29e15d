//! A case for a check: two clusters that agree on everything, until a test changes one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CheckInput, run};
use crate::capture::{Capture, Captured, Volume, VolumeMode};
use crate::cluster::rights::Lacking;
use crate::finding::Finding;
use crate::graph::{Edge, Graph, Node, Phase, Presence, Strength};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::surface::{ApiResource, ClusterIdentity, Surface};
use crate::target::TargetState;
use crate::transform::{self, Recipe};

/// Kinds both clusters serve.
const SERVED: [(&str, &str, &str); 8] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "PersistentVolumeClaim"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("batch", "v1", "CronJob"),
    ("networking.k8s.io", "v1", "Ingress"),
];

pub(super) struct Case {
    pub(super) capture: Capture,
    pub(super) graph: Graph,
    pub(super) surface: Surface,
    pub(super) target: TargetState,
    pub(super) lacking: Vec<Lacking>,
    /// One recipe's `transforms`; empty for none.
    pub(super) transforms: &'static str,
}

/// An object by `apiVersion`, kind, `[namespace/]name` and the JSON of its spec.
pub(super) fn object(api_version: &str, kind: &str, name: &str, spec: &str) -> Object {
    let spec: Value = serde_json::from_str(spec).unwrap();
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {}});
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    value["metadata"]["name"] = name.into();
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = namespace.into();
    }
    if spec != json!({}) {
        value["spec"] = spec;
    }
    Object::new(value).unwrap()
}

pub(super) fn resource(group: &str, version: &str, kind: &str, namespaced: bool) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
        namespaced,
        verbs: BTreeSet::new(),
        preferred: true,
        subresources: BTreeSet::new(),
    }
}

fn surface(name: &str) -> Surface {
    let mut resources: Vec<_> = SERVED
        .iter()
        .map(|(group, version, kind)| resource(group, version, kind, true))
        .collect();
    resources.push(resource("", "v1", "Namespace", false));
    resources.push(resource(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        false,
    ));
    Surface {
        cluster: ClusterIdentity {
            name: name.into(),
            uid: name.into(),
            version: "v1.34.4".into(),
        },
        resources,
        objects: Vec::new(),
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}

impl Case {
    pub(super) fn new(objects: Vec<Object>) -> Self {
        let captured = |object: Object| Captured {
            raw: object.clone(),
            object,
            owners: Vec::new(),
        };
        Self {
            capture: Capture {
                id: "20260101-000000-abcd".into(),
                created: jiff::Timestamp::UNIX_EPOCH,
                namespaces: vec!["shop".into()],
                objects: objects.into_iter().map(captured).collect(),
                findings: Vec::new(),
                dropped: Vec::new(),
                volumes: Vec::new(),
                surface: surface("a"),
            },
            graph: Graph::default(),
            surface: surface("b"),
            target: TargetState::default(),
            lacking: Vec::new(),
            transforms: "",
        }
    }

    /// Every claim's data was captured, 1 GiB each.
    pub(super) fn with_volumes(mut self) -> Self {
        let claims = self
            .capture
            .objects
            .iter()
            .map(|captured| captured.object.id());
        self.capture.volumes = claims
            .filter(|id| id.is("", "PersistentVolumeClaim"))
            .map(|claim| Volume {
                claim,
                mode: VolumeMode::Filesystem,
                capacity: 1 << 30,
                storage_class: None,
                driver: None,
                access_modes: Vec::new(),
                node: None,
                mounted_by: Vec::new(),
                pods: Vec::new(),
                user: None,
                together: None,
                saved: None,
            })
            .collect();
        self
    }

    /// The first object refers to something that is nowhere.
    pub(super) fn missing(&mut self, path: &str, to: ObjectId, strength: Strength) {
        let from = self.capture.objects[0].object.id();
        let node = |id: &ObjectId, presence| Node {
            id: id.clone(),
            presence,
            phase: Phase::Skeleton,
            wave: 0,
        };
        self.graph.nodes = vec![
            node(&from, Presence::Captured),
            node(&to, Presence::Missing),
        ];
        self.graph
            .nodes
            .sort_by(|left, right| left.id.cmp(&right.id));
        self.graph.edges.push(Edge {
            from,
            to,
            strength,
            rule: "E-X".into(),
            path: path.into(),
        });
    }

    /// Runs recipe and checks; findings must read `verdict rule object path: message`.
    pub(super) fn expect(&self, lines: &[&str]) -> Vec<Finding> {
        let objects: Vec<Object> = self
            .capture
            .objects
            .iter()
            .map(|c| c.object.clone())
            .collect();
        let knowledge = Knowledge::builtin();
        let recipe = |transforms| {
            let head = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: r}\n";
            Recipe::parse("r.yaml", &format!("{head}transforms:\n{transforms}")).unwrap()
        };
        let recipes = Some(self.transforms).filter(|transforms| !transforms.is_empty());
        let recipes: Vec<Recipe> = recipes.into_iter().map(recipe).collect();
        let transformed = transform::apply(&objects, &recipes, knowledge).unwrap();
        let found = run(&CheckInput {
            capture: &self.capture,
            transformed: &transformed,
            graph: &self.graph,
            surface: &self.surface,
            target: &self.target,
            knowledge,
            lacking: &self.lacking,
        });
        let shown: Vec<String> = found.iter().map(line).collect();
        assert_eq!(shown, lines);
        for finding in &found {
            assert!(
                finding.evidence.is_some() && finding.remedy.is_some(),
                "{finding:?}"
            );
        }
        found
    }
}

fn line(finding: &Finding) -> String {
    let object = finding.object.as_ref().map(ToString::to_string);
    let path = finding.path.as_deref().filter(|path| !path.is_empty());
    format!(
        "{} {} {}{}: {}",
        finding.verdict,
        finding.rule,
        object.as_deref().unwrap_or("-"),
        path.map(|path| format!(" {path}")).unwrap_or_default(),
        finding.message
    )
}
