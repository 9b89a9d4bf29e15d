//! Capturing from a real cluster, and what another one says to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ferry::capture::{self, Capture, CaptureError, DropClass, Selection};
use ferry::cluster::{self, Cluster, ConnectOptions};
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::target::{DryRun, NamespaceState};
use serde_json::{Value, json};

use crate::support::{Namespace, apply, kubectl, unique};

async fn connect(context: &str) -> Cluster {
    ferry::install_crypto();
    Cluster::connect(&ConnectOptions::context(context))
        .await
        .expect("the testbed answers")
}

async fn take(cluster: &Cluster, namespace: &str) -> Result<Capture, CaptureError> {
    let selection = Selection {
        namespaces: vec![namespace.into()],
        ..Selection::default()
    };
    capture::take(cluster, &selection, Knowledge::builtin(), &Events::silent()).await
}

const OBJECTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules: [{apiGroups: [''], resources: [nodes], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects:
- {kind: ServiceAccount, name: web, namespace: NAME}
- {kind: ServiceAccount, name: other, namespace: elsewhere}
---
apiVersion: v1
kind: Service
metadata: {name: chosen}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: PORT}]}
---
apiVersion: v1
kind: Service
metadata: {name: allocated}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: outside}
subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 5432}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: mine, annotations: {kubernetes.io/service-account.name: web}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: ConfigMap
metadata: {name: guarded, finalizers: [example.com/guard]}
data: {yes: 'no', octal: '0644'}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow, resources: {requests: {storage: 16Mi}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: none}
spec:
  serviceName: allocated
  replicas: 0
  selector: {matchLabels: {app: none}}
  template: {metadata: {labels: {app: none}}, spec: {containers: [{name: c, image: none}]}}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: later}
spec:
  suspend: true
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: none}]}}
";

/// Takes the finalizer off, so that the namespace can go.
struct Unguarded<'a>(&'a str);

impl Drop for Unguarded<'_> {
    fn drop(&mut self) {
        let patch = "{\"metadata\":{\"finalizers\":null}}";
        for kind in ["clusterrole", "clusterrolebinding"] {
            kubectl("a", &["delete", kind, self.0, "--ignore-not-found"]);
        }
        kubectl(
            "a",
            &[
                "-n",
                self.0,
                "patch",
                "configmap",
                "guarded",
                "--type=merge",
                "-p",
                patch,
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_capture_holds_another_cluster_accepts_as_it_is() {
    let space = Namespace::new("a", "capture");
    let name = space.name.as_str();
    let port = (30200 + std::process::id() % 500).to_string();
    let manifest = OBJECTS.replace("NAME", name).replace("PORT", &port);
    apply_in("a", name, &manifest);
    let _guard = Unguarded(name);
    kubectl(
        "a",
        &[
            "-n",
            name,
            "wait",
            "--for=jsonpath={.status.phase}=Bound",
            "pvc/data",
            "--timeout=60s",
        ],
    );
    // The deployment's controller is not to be raced.
    kubectl(
        "a",
        &[
            "-n",
            name,
            "wait",
            "--for=create",
            "pod",
            "-l",
            "app=web",
            "--timeout=60s",
        ],
    );

    let a = connect("a").await;
    let capture = take(&a, name).await.expect("a capture");
    let objects: BTreeMap<String, &Object> = capture
        .objects
        .iter()
        .map(|captured| {
            (
                format!("{}/{}", captured.object.kind(), captured.object.name()),
                &captured.object,
            )
        })
        .collect();
    let at = |object: &str, pointer: &str| objects[object].pointer(pointer).cloned();

    assert_eq!(
        at("Service/chosen", "/spec/ports/0/nodePort"),
        Some(json!(port.parse::<u32>().unwrap())),
        "S-60"
    );
    assert_eq!(
        at("Service/allocated", "/spec/ports/0/nodePort"),
        None,
        "S-52"
    );
    assert!(
        objects.contains_key("Endpoints/outside"),
        "S-5 keeps what a user wrote"
    );
    assert_eq!(at("Secret/mine", "/data"), Some(json!({})), "S-9");
    assert_eq!(
        at("ConfigMap/guarded", "/metadata/finalizers"),
        None,
        "S-42"
    );
    assert_eq!(at("ConfigMap/guarded", "/data/yes"), Some(json!("no")));
    assert_eq!(at("Job/later", "/spec/selector"), None, "S-56");
    assert!(
        at("Job/later", "/spec/template/metadata/labels").is_none(),
        "S-56"
    );
    assert_eq!(
        at("StatefulSet/none", "/spec/volumeClaimTemplates/0/status"),
        None,
        "S-41"
    );
    let subjects = at(&format!("ClusterRoleBinding/{name}"), "/subjects").expect("subjects");
    assert_eq!(
        subjects.as_array().map(Vec::len),
        Some(1),
        "what others may do stays"
    );
    assert!(objects.contains_key(&format!("ClusterRole/{name}")));

    let dropped = |kind: &str, class: DropClass| {
        capture
            .dropped
            .iter()
            .filter(|one| one.id.kind == kind && one.class == class)
            .count()
    };
    assert_eq!(dropped("Pod", DropClass::Produced), 1);
    assert_eq!(dropped("ReplicaSet", DropClass::Produced), 1);
    assert_eq!(dropped("PersistentVolume", DropClass::Generated), 1);
    assert_eq!(dropped("StorageClass", DropClass::Mapped), 1);
    assert!(
        capture
            .dropped
            .iter()
            .all(|one| !one.reason.is_empty() && !one.rule.is_empty())
    );
    let [volume] = capture.volumes.as_slice() else {
        panic!("{:?}", capture.volumes)
    };
    assert_eq!(
        volume.claim,
        ObjectId::namespaced("", "PersistentVolumeClaim", name, "data")
    );
    assert_eq!(volume.driver.as_deref(), Some("cow.csi.ferry.test"));
    assert_eq!(volume.capacity, 16 << 20);

    accepted(&capture, name).await;
}

/// Every object of a capture is taken by cluster B with no change but the class.
async fn accepted(capture: &Capture, name: &str) {
    let target = Namespace::new("b", "capture");
    let b = connect("b").await;
    let surface = cluster::survey(&b, &Events::silent())
        .await
        .expect("a surface");
    let moved: Vec<Object> = capture
        .objects
        .iter()
        .filter(|captured| captured.object.namespace().is_some())
        .map(|captured| {
            let text = captured
                .object
                .value()
                .to_string()
                .replace(name, &target.name);
            let mut value: Value = serde_json::from_str(&text).unwrap();
            if value["kind"] == "PersistentVolumeClaim" {
                value["spec"]["storageClassName"] = "fast".into();
            }
            Object::new(value).unwrap()
        })
        .collect();
    let state = cluster::probe(&b, &surface, &moved, &Events::silent())
        .await
        .expect("a probe");
    assert_eq!(state.namespaces[&target.name], NamespaceState::Empty);
    assert!(state.live.is_empty());
    for (id, answer) in &state.dry_run {
        assert!(
            matches!(answer, DryRun::Accepted { .. }),
            "{id}: {answer:?}"
        );
    }

    let held = "{apiVersion: v1, kind: ConfigMap, metadata: {name: held}, data: {a: b}}";
    apply_in("b", &target.name, held);
    let state = cluster::probe(&b, &surface, &moved, &Events::silent())
        .await
        .expect("a probe");
    let NamespaceState::Occupied {
        objects: 1,
        foreign,
        stamped_by,
    } = &state.namespaces[&target.name]
    else {
        panic!("{:?}", state.namespaces);
    };
    assert_eq!(foreign[0].name, "held");
    assert!(stamped_by.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_a_namespace_that_is_not_there_writes_nothing() {
    let b = connect("b").await;
    let surface = cluster::survey(&b, &Events::silent())
        .await
        .expect("a surface");
    let name = format!("it-nowhere-{}", unique());
    let config = Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": name}}))
    .unwrap();
    let space = Object::new(json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name}}))
    .unwrap();
    let objects = [space.clone(), config.clone()];
    let state = cluster::probe(&b, &surface, &objects, &Events::silent())
        .await
        .expect("a probe");
    assert_eq!(state.namespaces[&name], NamespaceState::Absent);
    assert!(matches!(
        state.dry_run[&config.id()],
        DryRun::Unproven { .. }
    ));
    assert!(matches!(
        state.dry_run[&space.id()],
        DryRun::Accepted { .. }
    ));
    let names = kubectl("b", &["get", "namespaces", "-o", "name"]);
    assert!(!names.contains(&name), "{names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_names_its_likes() {
    let space = Namespace::new("a", "similar");
    let wrong = format!("{}x", space.name);
    let error = take(&connect("a").await, &wrong).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cluster a has no namespace {wrong}")
    );
    assert!(
        error.help().is_some_and(|help| help.contains(&space.name)),
        "{:?}",
        error.help()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_list_secrets_is_told_what_to_ask_for() {
    let space = Namespace::new("a", "rights");
    let name = space.name.as_str();
    kubectl("a", &["-n", name, "create", "serviceaccount", "reader"]);
    // `view` shows all but secrets and RBAC.
    let account = format!("{name}:reader");
    let subject = format!("--serviceaccount={account}");
    kubectl(
        "a",
        &[
            "-n",
            name,
            "create",
            "rolebinding",
            "reader",
            "--clusterrole=view",
            &subject,
        ],
    );
    let (_folder, path) = kubeconfig(name);
    ferry::install_crypto();
    let options = ConnectOptions {
        context: None,
        kubeconfig: Some(path),
    };
    let cluster = Cluster::connect(&options).await.expect("the token is good");
    let error = take(&cluster, name).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("list secrets in namespace {name}")),
        "{error}"
    );
    let mut selection = Selection {
        namespaces: vec![name.into()],
        exclude: ["secrets"].map(|kind| kind.parse().unwrap()).into(),
        ..Selection::default()
    };
    let (knowledge, events) = (Knowledge::builtin(), Events::silent());
    let left_out = capture::take(&cluster, &selection, knowledge, &events).await;
    let left_out = left_out.unwrap_err().to_string();
    assert!(
        !left_out.contains("secrets"),
        "what is left out needs no right: {left_out}"
    );
    selection.exclude.clear();
    selection.allow_incomplete = true;
    let holed = capture::take(&cluster, &selection, knowledge, &events)
        .await
        .unwrap();
    let told: Vec<&str> = holed
        .findings
        .iter()
        .filter_map(|one| one.evidence.as_deref())
        .collect();
    let secrets =
        format!("the user may not list secrets in namespace {name} on the source cluster");
    assert!(told.contains(&secrets.as_str()), "{told:?}");
    let help = error.help().unwrap_or_default();
    assert!(
        help.contains(&format!("kubectl -n {name} create role ferry --verb=list")),
        "{help}"
    );
    assert!(
        help.contains(&format!("--serviceaccount={account}")),
        "{help}"
    );
}

/// A kubeconfig for the service account `reader` of a namespace on A.
fn kubeconfig(namespace: &str) -> (tempfile::TempDir, PathBuf) {
    let token = kubectl("a", &["-n", namespace, "create", "token", "reader"]);
    let admin = kubectl("a", &["config", "view", "--raw", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&admin).expect("kubectl writes JSON");
    config["users"][0]["user"] = json!({"token": token.trim()});
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, config.to_string()).expect("it can be written");
    (folder, path)
}

fn apply_in(context: &str, namespace: &str, manifest: &str) {
    let documents = manifest.split("\n---\n").map(|document| {
        let mut value = ferry::yaml::parse(document).expect("YAML");
        if !value["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("Cluster"))
        {
            value["metadata"]["namespace"] = namespace.into();
        }
        value
    });
    let text: Vec<String> = documents.map(|value| value.to_string()).collect();
    apply(context, &text.join("\n---\n"));
}
