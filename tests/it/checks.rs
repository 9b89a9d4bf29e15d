//! Recipes and checks between the two real clusters: what would B say?

use std::collections::{BTreeMap, BTreeSet};

use ferry::capture::{self, Selection};
use ferry::check::{self, CheckInput};
use ferry::cluster::{self, Cluster, ConnectOptions};
use ferry::event::Events;
use ferry::finding::{Finding, Verdict};
use ferry::graph::{self, GraphInput};
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::transform::{self, Recipe};

use crate::support::{Namespace, apply, kubectl};

async fn connect(context: &str) -> Cluster {
    ferry::install_crypto();
    Cluster::connect(&ConnectOptions::context(context))
        .await
        .expect("the testbed answers")
}

/// Everything up to the plan.
async fn findings(namespace: &str, transforms: &str) -> Vec<Finding> {
    let (a, b) = (connect("a").await, connect("b").await);
    let (knowledge, events) = (Knowledge::builtin(), Events::silent());
    let selection = Selection {
        namespaces: vec![namespace.into()],
        ..Selection::default()
    };
    let capture = capture::take(&a, &selection, knowledge, &events)
        .await
        .expect("a capture");
    let text = format!(
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
    );
    let recipe = Recipe::parse("t.yaml", &text).expect("a recipe");
    let objects: Vec<Object> = capture
        .objects
        .iter()
        .map(|one| one.object.clone())
        .collect();
    let transformed = transform::apply(&objects, &[recipe], knowledge).expect("it fits");
    let surface = cluster::survey(&b, &events).await.expect("a survey");
    let target = cluster::probe(&b, &surface, &transformed.objects, &events)
        .await
        .expect("a probe");
    let mut on_b: BTreeSet<ObjectId> = surface.objects.iter().map(Object::id).collect();
    on_b.extend(target.live.keys().cloned());
    let graph = graph::build(&GraphInput {
        objects: &transformed.objects,
        crds: &[],
        produced: &capture.dropped,
        owners: &BTreeMap::new(),
        on_b: &on_b,
        knowledge,
    })
    .expect("no circle");
    check::run(&CheckInput {
        capture: &capture,
        transformed: &transformed,
        graph: &graph,
        surface: &surface,
        target: &target,
        knowledge,
        lacking: &[],
    })
}

fn shown(findings: &[Finding], least: Verdict) -> Vec<String> {
    let worth = findings.iter().filter(|finding| finding.verdict >= least);
    let line = |finding: &Finding| {
        let object = finding
            .object
            .as_ref()
            .map(|id| format!("{}/{}", id.kind, id.name));
        format!(
            "{} {} {}: {}",
            finding.verdict,
            finding.rule,
            object.unwrap_or_default(),
            finding.message
        )
    };
    worth.map(line).collect()
}

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {url: 'http://web.NAME.svc:80/'}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow, resources: {requests: {storage: 16Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry-a.testbed:5000/shop/web:1
        envFrom: [{configMapRef: {name: config}}]
";

fn application(topic: &str) -> Namespace {
    let home = Namespace::new("a", topic);
    let mut manifest = String::new();
    for document in OBJECTS.replace("NAME", &home.name).split("---\n") {
        let document = document.replacen(
            "metadata: {",
            &format!("metadata: {{namespace: {}, ", home.name),
            1,
        );
        manifest.push_str(&format!("---\n{document}"));
    }
    apply("a", &manifest);
    // The claim's data only travels once it is bound.
    kubectl(
        "a",
        &[
            "wait",
            "-n",
            &home.name,
            "pvc/data",
            "--for=jsonpath={.status.phase}=Bound",
            "--timeout=60s",
        ],
    );
    home
}

#[tokio::test]
async fn an_application_whose_names_are_mapped_has_no_blocking_finding() {
    let home = application("checks");
    let target = Namespace::new("b", "checks");
    let found = findings(
        &home.name,
        &format!(
            "- namespace: {{map: {{{}: {}}}}}\n- storageClass: {{map: {{cow: fast}}}}\n- registry: {{map: {{registry-a.testbed:5000: registry-b.testbed:5000}}}}\n",
            home.name, target.name
        ),
    )
    .await;
    assert_eq!(shown(&found, Verdict::Warn), Vec::<String>::new());
    // B answered for every object: the target namespace is there and empty.
    assert_eq!(shown(&found, Verdict::Info), Vec::<String>::new());
}

#[tokio::test]
async fn c_40_and_c_52_block_on_a_real_cluster() {
    let home = application("blocked");
    let target = Namespace::new("b", "blocked");
    apply(
        "b",
        &format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: theirs, namespace: {}}}\n",
            target.name
        ),
    );
    let map = format!("- namespace: {{map: {{{}: {}}}}}\n", home.name, target.name);
    let found = findings(&home.name, &map).await;
    assert_eq!(
        shown(&found, Verdict::Block),
        [
            "block C-40 PersistentVolumeClaim/data: the target cluster has no storage class cow"
                .to_owned(),
            format!(
                "block C-52 Namespace/{0}: namespace {0} on the target cluster is not empty",
                target.name
            ),
        ]
    );
}
