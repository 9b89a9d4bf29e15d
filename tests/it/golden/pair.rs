//! All cases on the two real clusters: applied to A, captured, transformed, and applied to B by plain
//! `kubectl apply`, wave by wave. B must refuse nothing, and must hold what was sent (rule book §6).
//!
//! No pod starts: a quota of none is in every namespace, on B from the moment the namespace is there.
//! What the test brings, definitions included, it removes; it runs alone (`.config/nextest.toml`), as
//! definitions that come and go disturb whoever lists a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use ferry::capture::{self, Capture, Captured, Selection};
use ferry::cluster::{self, ApplyOptions, Cluster, ConnectOptions, Place};
use ferry::diff;
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::pipeline;
use ferry::surface::Surface;
use ferry::yaml;
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::case::Case;
use crate::support::{kubectl, testbed};

const RBAC: &str = "rbac.authorization.k8s.io";
const CRD: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");
/// The quota that keeps pods from starting.
const QUIET: &str = "golden-no-pods";
/// Requests in flight at once.
const PARALLEL: usize = 16;

#[tokio::test]
async fn b_accepts_every_case_in_the_order_of_its_waves_and_holds_what_was_sent() {
    ferry::install_crypto();
    let cases: Vec<Case> = super::NAMES.iter().map(|name| Case::read(name)).collect();
    let mut guests = Guests::default();
    let a = Side::new("a").await;
    a.open(&cases, &mut guests).await;
    let whole = a.capture(&cases).await;

    let mut waves: BTreeMap<u32, Vec<Object>> = BTreeMap::new();
    for case in &cases {
        let mut part = part(&whole, case);
        bring(&mut part, &guests);
        let recipes = std::slice::from_ref(&case.recipe);
        let silent = Events::silent();
        let graph = pipeline::graph_of(&part, recipes, None, &silent)
            .await
            .unwrap();
        let done = pipeline::transformed(&part, recipes, Knowledge::builtin(), &silent).unwrap();
        let objects: BTreeMap<ObjectId, Object> = done
            .objects
            .into_iter()
            .map(|object| (object.id(), object))
            .collect();
        for node in graph.order() {
            waves
                .entry(node.wave)
                .or_default()
                .push(objects[&node.id].clone());
        }
    }
    assert!(
        waves.values().map(Vec::len).sum::<usize>() > 350,
        "hardly anything travels"
    );

    let mut sent = Vec::new();
    for objects in waves.into_values() {
        guests.remember("b", &objects);
        apply("b", &objects);
        quiet(&objects);
        established(&["b"], &objects);
        sent.extend(objects);
    }
    let b = Side::new("b").await;
    let different = b.different(&sent).await;
    assert!(
        different.is_empty(),
        "B holds something else:\n{}",
        different.join("\n")
    );
}

/// A cluster, connected.
struct Side {
    cluster: Cluster,
    surface: Surface,
}

impl Side {
    async fn new(context: &'static str) -> Self {
        let cluster = Cluster::connect(&ConnectOptions::context(context))
            .await
            .unwrap();
        let surface = cluster::survey(&cluster, &Events::silent()).await.unwrap();
        Self { cluster, surface }
    }

    /// Makes every case's definitions, namespaces and objects; owned objects after their owners.
    async fn open(&self, cases: &[Case], guests: &mut Guests) {
        let crds: BTreeMap<ObjectId, Object> = cases
            .iter()
            .flat_map(|case| &case.crds)
            .map(|crd| (crd.id(), crd.clone()))
            .collect();
        let there = |crd: &Object| self.surface.find(CRD.0, CRD.1, crd.name()).is_some();
        let crds: Vec<Object> = crds.into_values().filter(|crd| !there(crd)).collect();
        guests.remember("a", &crds);
        self.write(&crds).await;
        established(&["a"], &crds);
        let objects: Vec<Object> = cases
            .iter()
            .flat_map(|case| &case.objects)
            .filter_map(wanted)
            .collect();
        guests.remember("a", &objects);
        let side = Self::new("a").await;
        let namespace = |object: &&Object| object.is("", "Namespace");
        let namespaces: Vec<Object> = objects.iter().filter(namespace).cloned().collect();
        side.write(&namespaces).await;
        side.write(&namespaces.iter().map(quota).collect::<Vec<_>>())
            .await;
        let (mut owned, free): (Vec<Object>, Vec<Object>) = objects
            .into_iter()
            .filter(|object| !namespace(&object))
            .partition(is_owned);
        side.write(&free).await;
        while !owned.is_empty() {
            let before = owned.len();
            let mut ready = Vec::new();
            let mut later = Vec::new();
            for object in owned {
                match side.linked(&object).await {
                    Some(object) => ready.push(object),
                    None => later.push(object),
                }
            }
            side.write(&ready).await;
            owned = later;
            assert!(owned.len() < before, "owners that are not there: {owned:?}");
        }
    }

    /// Writes objects as a client does, all at once.
    async fn write(&self, objects: &[Object]) {
        let options = ApplyOptions {
            manager: "golden",
            force: true,
            dry_run: false,
        };
        let answers: Vec<_> = stream::iter(objects.to_vec())
            .map(|object| async move {
                let resource = self
                    .surface
                    .resource(&object.group_kind(), Some(object.version()));
                let resource = resource.unwrap_or_else(|| panic!("{} is not served", object.id()));
                self.cluster
                    .apply(resource, &object, &options)
                    .await
                    .err()
                    .map(|error| format!("{}: {error:#?}", object.id()))
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let refused: Vec<String> = answers.into_iter().flatten().collect();
        assert!(refused.is_empty(), "A refused:\n{}", refused.join("\n"));
    }

    /// The object with its owners' UIDs; `None` while one of them is not there.
    async fn linked(&self, object: &Object) -> Option<Object> {
        let mut linked = object.clone();
        let owners = linked.value_mut()["metadata"]["ownerReferences"]
            .as_array_mut()
            .unwrap();
        for owner in owners {
            let stub = json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"],
                "metadata": {"name": owner["name"], "namespace": object.namespace()}});
            let live = self.get(&Object::new(stub).unwrap()).await?;
            owner["uid"] = live.uid().unwrap().into();
        }
        Some(linked)
    }

    async fn get(&self, object: &Object) -> Option<Object> {
        let resource = self
            .surface
            .resource(&object.group_kind(), Some(object.version()))?;
        self.cluster.get(Place::of(resource, object)).await.unwrap()
    }

    async fn capture(&self, cases: &[Case]) -> Capture {
        let selection = Selection {
            namespaces: cases
                .iter()
                .flat_map(|case| case.namespaces.clone())
                .collect(),
            ..Selection::default()
        };
        let (knowledge, events) = (Knowledge::builtin(), Events::silent());
        capture::take(&self.cluster, &selection, knowledge, &events)
            .await
            .unwrap()
    }

    /// What is not on B as it was sent.
    async fn different(&self, sent: &[Object]) -> Vec<String> {
        let knowledge = Knowledge::builtin();
        let answers: Vec<Option<String>> = stream::iter(sent.to_vec())
            .map(|object| async move {
                let live = self.get(&object).await;
                if live
                    .as_ref()
                    .is_some_and(|live| diff::equal(live, &object, knowledge))
                {
                    return None;
                }
                let key = diff::MaskKey::new(&[7; 32]);
                let diff = diff::objects(Some(&object), live.as_ref(), knowledge, &key);
                Some(diff::render_plain(&[diff]))
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        answers.into_iter().flatten().collect()
    }
}

/// An object as its maker sends it; `None` for what the cluster makes by itself.
fn wanted(object: &Object) -> Option<Object> {
    let group = object.group();
    let own = [
        "kube-root-ca.crt",
        "openshift-service-ca.crt",
        "istio-ca-root-cert",
    ];
    let generated = own.contains(&object.name())
        || ["Pod", "Endpoints", "ControllerRevision"].contains(&object.kind()) && !by_hand(object)
        // A real cluster has its own.
        || object.label("kubernetes.io/bootstrapping").is_some();
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let builtin = |owner: &Value| {
        let api = owner["apiVersion"].as_str().unwrap_or_default();
        ["v1", "apps/v1", "batch/v1"].contains(&api)
    };
    if generated || owners.is_some_and(|owners| owners.iter().any(builtin)) {
        return None;
    }
    let mut value = object.value().clone();
    let fields = value.as_object_mut().unwrap();
    fields.remove("status");
    let metadata = value["metadata"].as_object_mut().unwrap();
    for key in [
        "uid",
        "resourceVersion",
        "generation",
        "managedFields",
        "finalizers",
        "generateName",
    ] {
        metadata.remove(key);
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        let bound = [
            "pv.kubernetes.io/",
            "kubectl.kubernetes.io/last",
            "kubernetes.io/service-account.uid",
        ];
        annotations.retain(|key, _| !bound.iter().any(|start| key.starts_with(start)));
    }
    let allocated: &[&str] = match (group, object.kind()) {
        ("", "Service") => &["clusterIPs", "healthCheckNodePort"],
        ("", "PersistentVolumeClaim") => &["volumeName"],
        ("", "Namespace") => &["finalizers"],
        ("batch", "Job") if object.pointer("/spec/manualSelector").is_none() => &["selector"],
        _ => &[],
    };
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        allocated.iter().for_each(|key| drop(spec.remove(*key)));
        if group.is_empty() && spec.get("clusterIP").is_some_and(|ip| ip != "None") {
            spec.remove("clusterIP");
            for port in spec
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                port.as_object_mut().unwrap().remove("nodePort");
            }
        }
    }
    if object.is("batch", "Job")
        && let Some(labels) = value.pointer_mut("/spec/template/metadata/labels")
    {
        let made = |key: &str| key.ends_with("controller-uid") || key.ends_with("job-name");
        labels.as_object_mut().unwrap().retain(|key, _| !made(key));
    }
    Some(Object::new(value).unwrap())
}

/// Endpoints without a selector's, revisions a machine names.
fn by_hand(object: &Object) -> bool {
    match object.kind() {
        "Endpoints" => {
            object
                .annotation("control-plane.alpha.kubernetes.io/leader")
                .is_none()
                && object
                    .pointer("/subsets/0/addresses/0/ip")
                    .and_then(Value::as_str)
                    .is_some_and(|ip| ip.starts_with("192.0.2."))
        }
        kind => kind == "ControllerRevision",
    }
}

fn is_owned(object: &Object) -> bool {
    object.pointer("/metadata/ownerReferences").is_some()
}

/// Keeps pods from starting in a namespace.
fn quota(namespace: &Object) -> Object {
    Object::new(json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": QUIET, "namespace": namespace.name()}, "spec": {"hard": {"pods": "0"}}}))
    .unwrap()
}

/// What one case's recipe is about: its namespaces, and what of the cluster belongs to them.
fn part(whole: &Capture, case: &Case) -> Capture {
    let own: BTreeSet<ObjectId> = case.objects.iter().map(Object::id).collect();
    let mut part = whole.clone();
    part.namespaces.clone_from(&case.namespaces);
    part.objects.retain(|one| match one.object.namespace() {
        Some(namespace) => {
            case.namespaces.iter().any(|home| home == namespace) && one.object.name() != QUIET
        }
        None => own.contains(&one.object.id()),
    });
    part
}

/// Adds the definitions of its kinds to what travels, as `--install-crds` does.
fn bring(part: &mut Capture, guests: &Guests) {
    let used: BTreeSet<_> = part
        .objects
        .iter()
        .map(|one| one.object.group_kind())
        .collect();
    for crd in part.surface.of_kind(CRD.0, CRD.1) {
        let kind = crd.text("/spec/names/kind").unwrap_or_default();
        let group = crd.text("/spec/group").unwrap_or_default();
        let known = used
            .iter()
            .any(|used| used.group == group && used.kind == kind);
        if known && guests.brought("a", crd) {
            part.objects.push(Captured {
                object: capture::sanitise(crd, &Knowledge::builtin().sanitize),
                raw: crd.clone(),
                owners: Vec::new(),
            });
        }
    }
    part.objects.sort_by_cached_key(|one| one.object.id());
}

/// `kubectl apply` of some objects; what the server refuses fails the test.
fn apply(context: &str, objects: &[Object]) {
    let texts: Vec<String> = objects
        .iter()
        .map(|object| yaml::emit(object.value()).unwrap())
        .collect();
    let mut child = Command::new(testbed("FERRY_TESTBED_KUBECTL"))
        .args(["--context", context, "apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = texts.join("---\n");
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{context} refused:\n{said}");
}

/// Puts the quota into the namespaces among some objects on B.
fn quiet(objects: &[Object]) {
    let namespaces = objects.iter().filter(|object| object.is("", "Namespace"));
    let quotas: Vec<Object> = namespaces.map(quota).collect();
    if !quotas.is_empty() {
        apply("b", &quotas);
    }
}

/// Waits until the definitions among some objects are served on some clusters.
fn established(contexts: &[&str], objects: &[Object]) {
    let wanted: Vec<&str> = objects
        .iter()
        .filter(|object| object.is(CRD.0, CRD.1))
        .map(Object::name)
        .collect();
    let is_there = |list: &Value, name: &str| {
        list["items"].as_array().unwrap().iter().any(|crd| {
            let conditions = crd["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            crd["metadata"]["name"] == name
                && conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
        })
    };
    for context in contexts {
        let start = std::time::Instant::now();
        loop {
            let text = kubectl(context, &["get", "crd", "-o", "json"]);
            let list: Value = serde_json::from_str(&text).unwrap();
            let late: Vec<_> = wanted
                .iter()
                .filter(|name| !is_there(&list, name))
                .collect();
            if late.is_empty() {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "not served on {context}: {late:?}"
            );
        }
    }
}

/// What the test put on the clusters; removed when it ends, however it ends.
#[derive(Default)]
struct Guests {
    left: BTreeMap<&'static str, BTreeSet<ObjectId>>,
}

impl Guests {
    fn remember(&mut self, context: &'static str, objects: &[Object]) {
        let cluster_wide = objects.iter().filter(|object| object.namespace().is_none());
        self.left
            .entry(context)
            .or_default()
            .extend(cluster_wide.map(Object::id));
    }

    fn brought(&self, context: &str, object: &Object) -> bool {
        self.left
            .get(context)
            .is_some_and(|left| left.contains(&object.id()))
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for (context, left) in &self.left {
                scope.spawn(move || farewell(context, left));
            }
        });
    }
}

/// Deletes; definitions last and waited for: their objects go with them, and no later test may meet them.
fn farewell(context: &str, left: &BTreeSet<ObjectId>) {
    let kinds = [
        ("namespace", "", "Namespace", false),
        ("clusterrolebinding", RBAC, "ClusterRoleBinding", false),
        ("clusterrole", RBAC, "ClusterRole", false),
        ("crd", CRD.0, CRD.1, true),
    ];
    for (word, group, kind, wait) in kinds {
        let of_kind = left.iter().filter(|id| id.is(group, kind));
        let names: Vec<&str> = of_kind.map(|id| id.name.as_str()).collect();
        let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
        delete.args([
            "--context",
            context,
            "delete",
            word,
            "--ignore-not-found",
            "--timeout=90s",
        ]);
        delete.arg(format!("--wait={wait}")).args(&names);
        if !names.is_empty() {
            drop(delete.output());
        }
    }
}
