//! Objects in, graph out. Each test names its rule.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::capture::{DropClass, Dropped, Owner};
use crate::knowledge::Knowledge;
use crate::object::Object;
use crate::yaml;

/// Everything a graph is drawn from, owned.
#[derive(Clone, Default)]
struct Case {
    objects: Vec<Object>,
    crds: Vec<Object>,
    produced: Vec<Dropped>,
    owners: BTreeMap<ObjectId, Vec<Owner>>,
    on_b: BTreeSet<ObjectId>,
}

impl Case {
    /// Objects from YAML documents.
    fn new(text: &str) -> Self {
        Self {
            objects: objects(text),
            ..Self::default()
        }
    }

    fn build(&self) -> Result<Graph, GraphError> {
        build(&GraphInput {
            objects: &self.objects,
            crds: &self.crds,
            produced: &self.produced,
            owners: &self.owners,
            on_b: &self.on_b,
            knowledge: Knowledge::builtin(),
        })
    }

    fn graph(&self) -> Graph {
        self.build().unwrap()
    }
}

fn objects(text: &str) -> Vec<Object> {
    let values = yaml::parse_all(text).unwrap();
    values
        .into_iter()
        .map(|v| Object::new(v).unwrap())
        .collect()
}

/// `kind[.group] [namespace/]name` as an id.
fn id(text: &str) -> ObjectId {
    let (kind, name) = text.split_once(' ').unwrap();
    let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
    match name.split_once('/') {
        Some((namespace, name)) => ObjectId::namespaced(group, kind, namespace, name),
        None => ObjectId::cluster(group, kind, name),
    }
}

/// The edges between two objects as `strength rule`.
fn edges(graph: &Graph, from: &str, to: &str) -> Vec<String> {
    let (from, to) = (id(from), id(to));
    let between = graph.edges.iter().filter(|e| e.from == from && e.to == to);
    between
        .map(|e| format!("{} {}", e.strength, e.rule))
        .collect()
}

fn presence(graph: &Graph, of: &str) -> Presence {
    graph.node(&id(of)).unwrap().presence
}

const WEB: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Secret, metadata: {name: key, namespace: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, envFrom: [{secretRef: {name: key}}, {configMapRef: {name: none}}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {ingressClassName: nginx, defaultBackend: {service: {name: web}}}
";

#[test]
fn e_1_the_namespace_comes_before_everything_in_it() {
    let graph = Case::new(WEB).graph();
    let order: Vec<String> = graph.order().iter().map(|n| n.id.to_string()).collect();
    assert_eq!(
        order,
        [
            "Namespace shop",
            "Secret shop/key",
            "Service shop/web",
            "Deployment.apps shop/web",
            "Ingress.networking.k8s.io shop/web",
        ]
    );
    assert_eq!(
        edges(&graph, "Secret shop/key", "Namespace shop"),
        ["H E-1"]
    );
}

#[test]
fn targets_are_captured_on_b_produced_or_missing() {
    let mut case = Case::new(WEB);
    case.on_b.insert(id("IngressClass.networking.k8s.io nginx"));
    let graph = case.graph();
    assert_eq!(presence(&graph, "Secret shop/key"), Presence::Captured);
    assert_eq!(
        presence(&graph, "IngressClass.networking.k8s.io nginx"),
        Presence::OnB
    );
    assert_eq!(
        presence(&graph, "ServiceAccount shop/default"),
        Presence::Produced
    );
    assert_eq!(presence(&graph, "ConfigMap shop/none"), Presence::Missing);
    let missing: Vec<String> = graph.missing().keys().map(ToString::to_string).collect();
    assert_eq!(missing, ["ConfigMap shop/none"]);
}

#[test]
fn e_1_a_namespace_that_nobody_captured_is_made_by_the_plan_with_all_that_is_born_in_it() {
    let graph = Case::new(
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: shop}
spec: {template: {spec: {containers: [{name: c}]}}}",
    )
    .graph();
    let account = presence(&graph, "ServiceAccount shop/default");
    assert_eq!(account, Presence::Produced);
    assert_eq!(presence(&graph, "Namespace shop"), Presence::Produced);
    assert_eq!(
        edges(&graph, "Deployment.apps shop/a", "Namespace shop"),
        ["H E-1"]
    );
}

#[test]
fn e_p_an_edge_to_a_product_goes_to_its_maker() {
    let graph = Case::new(WEB).graph();
    let web = "Deployment.apps shop/web";
    assert_eq!(edges(&graph, web, "Namespace shop"), ["H E-1", "R E-PT1"]);
    assert_eq!(
        edges(&graph, web, "ServiceAccount shop/default"),
        ["N E-PT1"]
    );
    assert_eq!(
        edges(&graph, "Namespace shop", "ServiceAccount shop/default"),
        ["P E-1"]
    );
}

#[test]
fn e_p_chains_of_makers_contract_to_the_first_one_that_travels() {
    let mut case = Case::new(WEB);
    let made = |product: &str, owner: &str| Dropped {
        id: id(product),
        rule: "S-13".into(),
        reason: String::new(),
        class: DropClass::Produced,
        produced_by: Some(id(owner)),
    };
    case.produced = vec![
        made("ConfigMap shop/none", "Widget.example.com shop/inner"),
        made("Widget.example.com shop/inner", "Secret shop/key"),
    ];
    let graph = case.graph();
    assert_eq!(
        edges(&graph, "Deployment.apps shop/web", "Secret shop/key"),
        ["R E-PT3"; 2]
    );
    assert_eq!(presence(&graph, "ConfigMap shop/none"), Presence::Produced);
}

#[test]
fn e_16_a_service_chooses_the_workloads_behind_it() {
    let graph = Case::new(WEB).graph();
    assert_eq!(
        edges(&graph, "Service shop/web", "Deployment.apps shop/web"),
        ["N E-16"]
    );
}

#[test]
fn e_39_a_webhook_waits_for_the_workload_behind_its_service() {
    let text = format!(
        "{WEB}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: hook}}
webhooks: [{{name: a.b.c, clientConfig: {{service: {{name: web, namespace: shop}}}}}}]
"
    );
    let graph = Case::new(&text).graph();
    let hook = "ValidatingWebhookConfiguration.admissionregistration.k8s.io hook";
    assert_eq!(edges(&graph, hook, "Service shop/web"), ["H E-39"]);
    assert_eq!(edges(&graph, hook, "Deployment.apps shop/web"), ["H E-39"]);
    let wave = |of: &str| graph.node(&id(of)).unwrap().wave;
    assert!(wave(hook) > wave("Deployment.apps shop/web"));
}

#[test]
fn e_2_a_custom_resource_comes_after_its_definition() {
    let mut case = Case::new(
        "{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, namespace: shop}}",
    );
    case.crds = objects(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, names: {kind: Widget}}",
    );
    let definition = "CustomResourceDefinition.apiextensions.k8s.io widgets.example.com";
    let graph = case.graph();
    assert_eq!(
        edges(&graph, "Widget.example.com shop/w", definition),
        ["H E-2"]
    );
    assert_eq!(presence(&graph, definition), Presence::Missing);
}

#[test]
fn e_4_data_comes_before_the_owner_that_would_make_it_anew() {
    let mut case = Case::new(WEB);
    let owner = |of: &str| Owner {
        id: id(of),
        controller: true,
        block_deletion: false,
    };
    case.owners = BTreeMap::from([
        (id("Secret shop/key"), vec![owner("Service shop/web")]),
        (
            id("Deployment.apps shop/web"),
            vec![owner("Service shop/web")],
        ),
    ]);
    let graph = case.graph();
    assert_eq!(
        edges(&graph, "Service shop/web", "Secret shop/key"),
        ["H E-4"]
    );
    assert_eq!(
        edges(&graph, "Deployment.apps shop/web", "Service shop/web"),
        ["S E-4"]
    );
}

#[test]
fn e_15_claims_left_by_a_scale_down_belong_to_their_stateful_set() {
    let claim = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}, namespace: shop}}}}\n"
        )
    };
    let text = format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: shop}}
spec: {{replicas: 1, volumeClaimTemplates: [{{metadata: {{name: data}}}}], template: {{spec: {{}}}}}}
{}{}{}",
        claim("data-db-0"),
        claim("data-db-7"),
        claim("data-db-x"),
    );
    let graph = Case::new(&text).graph();
    let from = "StatefulSet.apps shop/db";
    let to = |name: &str| edges(&graph, from, &format!("PersistentVolumeClaim shop/{name}"));
    assert_eq!(to("data-db-0"), ["H E-15"]);
    assert_eq!(to("data-db-7"), ["H E-15"]);
    assert_eq!(to("data-db-x"), [""; 0]);
}

#[test]
fn e_18_a_workload_comes_after_the_bindings_of_its_account() {
    let graph = Case::new(
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {serviceAccountName: sa}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rb, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects: [{kind: ServiceAccount, name: sa}]
",
    )
    .graph();
    let binding = "RoleBinding.rbac.authorization.k8s.io shop/rb";
    assert_eq!(edges(&graph, "Pod shop/p", binding), ["S E-18"]);
    assert_eq!(edges(&graph, binding, "ServiceAccount shop/sa"), ["S E-23"]);
}

#[test]
fn e_60_a_certificates_secret_that_travels_comes_first() {
    let graph = Case::new(
        "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: c, namespace: shop}, spec: {secretName: tls}}
---
{apiVersion: v1, kind: Secret, metadata: {name: tls, namespace: shop}}
",
    )
    .graph();
    let certificate = "Certificate.cert-manager.io shop/c";
    assert_eq!(
        edges(&graph, certificate, "Secret shop/tls"),
        ["H E-60", "P E-60"]
    );
}

/// `needs` from one ConfigMap to another by annotation is soft; claims in a circle are hard.
fn claim(name: &str, source: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: shop}}
spec: {{dataSource: {{kind: PersistentVolumeClaim, name: {source}}}}}
"
    )
}

#[test]
fn a_circle_of_required_edges_is_an_error_that_names_it_and_draws_the_rest() {
    let text = [
        claim("a", "b"),
        claim("b", "c"),
        claim("c", "a"),
        claim("d", "a"),
    ]
    .concat();
    let error = Case::new(&text).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "objects must each be created before the other: \
         PersistentVolumeClaim shop/a needs (E-8 at /spec/dataSource) \
         PersistentVolumeClaim shop/b needs (E-8 at /spec/dataSource) \
         PersistentVolumeClaim shop/c needs (E-8 at /spec/dataSource) \
         PersistentVolumeClaim shop/a"
    );
    assert_eq!(error.graph.nodes.len(), 5);
}

#[test]
fn an_optional_edge_that_closes_a_circle_is_dropped_and_recorded() {
    let account = |name: &str, needs: &str| {
        format!(
            "---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
  namespace: shop
  annotations: {{config.kubernetes.io/depends-on: /namespaces/shop/ServiceAccount/{needs}}}
"
        )
    };
    let graph = Case::new(&[account("a", "b"), account("b", "a")].concat()).graph();
    let dropped = &graph.dropped[0];
    assert_eq!(dropped.edge.from, id("ServiceAccount shop/b"));
    let because: Vec<String> = dropped.because.iter().map(ToString::to_string).collect();
    assert_eq!(because, ["ServiceAccount shop/a", "ServiceAccount shop/b"]);
    assert_eq!(graph.predecessors(&id("ServiceAccount shop/b")).count(), 1);
}

#[test]
fn why_gives_the_shortest_chain_from_what_nothing_refers_to() {
    let graph = Case::new(WEB).graph();
    let secret = id("Secret shop/key");
    let chain: Vec<String> = graph
        .why(&secret)
        .iter()
        .map(|edge| format!("{} -{}-> {}", edge.from, edge.rule, edge.to))
        .collect();
    assert_eq!(
        chain,
        [
            "Ingress.networking.k8s.io shop/web -E-31-> Service shop/web",
            "Service shop/web -E-16-> Deployment.apps shop/web",
            "Deployment.apps shop/web -E-PT3-> Secret shop/key",
        ]
    );
    assert!(
        graph
            .why(&id("Ingress.networking.k8s.io shop/web"))
            .is_empty()
    );
}

#[test]
fn impact_lists_what_cannot_be_created_or_run_near_ones_first() {
    let graph = Case::new(WEB).graph();
    let impact = |of: &str| -> Vec<String> {
        let links = graph.impact(&id(of));
        links
            .iter()
            .map(|link| format!("{} {}", link.distance, link.id))
            .collect()
    };
    assert_eq!(impact("Secret shop/key"), ["1 Deployment.apps shop/web"]);
    assert_eq!(impact("Namespace shop").len(), 4);
    assert_eq!(impact("Ingress.networking.k8s.io shop/web"), [""; 0]);
}

#[test]
fn why_and_impact_end_on_a_circle() {
    let pod = |name: &str, needs: &str| {
        format!(
            "---
apiVersion: example.com/v1
kind: Part
metadata: {{name: {name}, namespace: shop}}
spec: {{nextRef: {{kind: Part, apiVersion: example.com/v1, name: {needs}}}}}
"
        )
    };
    let graph = Case::new(&[pod("a", "b"), pod("b", "c"), pod("c", "a")].concat()).graph();
    assert_eq!(graph.dropped.len(), 1);
    let a = id("Part.example.com shop/a");
    let chain: Vec<_> = graph.why(&a).iter().map(|edge| &edge.to.name).collect();
    assert_eq!(chain, ["c", "a"]);
    assert_eq!(graph.impact(&a).len(), 2);
}

#[test]
fn why_impact_and_focus_answer_for_what_is_missing() {
    let graph = Case::new(WEB).graph();
    let missing = id("ConfigMap shop/none");
    assert_eq!(graph.why(&missing).last().unwrap().to, missing);
    let hit: Vec<String> = graph
        .impact(&missing)
        .iter()
        .map(|link| link.id.to_string())
        .collect();
    assert_eq!(hit, ["Deployment.apps shop/web"]);
    assert!(graph.focus(&missing, 1).node(&missing).is_some());
}

#[test]
fn focus_keeps_what_is_near_and_does_not_walk_through_the_namespace() {
    let graph = Case::new(WEB).graph();
    let near = graph.focus(&id("Secret shop/key"), 2);
    let ids: Vec<String> = near.nodes.iter().map(|node| node.id.to_string()).collect();
    assert_eq!(
        ids,
        [
            "ConfigMap shop/none",
            "Namespace shop",
            "Secret shop/key",
            "Service shop/web",
            "ServiceAccount shop/default",
            "Deployment.apps shop/web",
        ]
    );
    assert!(
        near.edges
            .iter()
            .all(|edge| near.node(&edge.from).is_some())
    );
}

proptest! {
    #[test]
    fn the_order_of_the_input_changes_nothing(seed in any::<u64>()) {
        let mut case = Case::new(WEB);
        let expected = case.graph();
        // A shuffle by a linear congruence; good enough for five objects.
        let mut state = seed;
        for i in (1..case.objects.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let j = usize::try_from(state >> 33).unwrap() % (i + 1);
            case.objects.swap(i, j);
        }
        prop_assert_eq!(case.graph(), expected);
    }
}
