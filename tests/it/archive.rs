//! Captures without a cluster: what a folder and a Velero backup of a namespace say is what the namespace
//! itself says, and the rest of the pipeline takes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ferry::capture::{self, Archive, Capture, Selection};
use ferry::cluster::{Cluster, ConnectOptions};
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use serde_json::Value;

use crate::support::{Namespace, apply, ferry, kubectl, run};

const OBJECTS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: NAME}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: NAME}
data: {yes: 'no', octal: '0644'}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: NAME}
stringData: {password: only-in-the-store}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAME}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAME}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      containers: [{name: web, image: example.com/web:1, envFrom: [{secretRef: {name: db}}]}]
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
subjects: [{kind: ServiceAccount, name: web, namespace: NAME}]";

/// Resources as Velero names their folders, with what `kubectl get` finds of them in the namespace.
fn dump(name: &str) -> Vec<(&'static str, Value)> {
    let namespaced = [
        "serviceaccounts",
        "configmaps",
        "secrets",
        "services",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "deployments.apps",
        "replicasets.apps",
    ];
    let mut found = Vec::new();
    for resource in namespaced {
        let list = kubectl("a", &["-n", name, "get", resource, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        found.extend(
            list["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| (resource, item.clone())),
        );
    }
    for resource in [
        "namespaces",
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    ] {
        let object = kubectl("a", &["get", resource, name, "-o", "json"]);
        found.push((resource, serde_json::from_str(&object).unwrap()));
    }
    found
}

/// A tarball as Velero writes it: everything under its preferred version as well.
fn backup(dump: &[(&str, Value)], path: &Path) {
    let file = fs::File::create(path).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        file,
        flate2::Compression::fast(),
    ));
    let mut put = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    };
    put("metadata/version", b"1.1.0\n");
    for (resource, value) in dump {
        let object = Object::new(value.clone()).unwrap();
        let place = match object.namespace() {
            Some(namespace) => format!("namespaces/{namespace}"),
            None => "cluster".into(),
        };
        for version in [
            String::new(),
            format!("{}-preferredversion/", object.version()),
        ] {
            let name = format!(
                "resources/{resource}/{version}{place}/{}.json",
                object.name()
            );
            put(&name, value.to_string().as_bytes());
        }
    }
    tar.into_inner()
        .unwrap()
        .finish()
        .unwrap()
        .sync_all()
        .unwrap();
}

fn objects(capture: &Capture) -> BTreeMap<ObjectId, Value> {
    let objects = capture.objects.iter();
    objects
        .map(|one| (one.object.id(), one.object.value().clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_backup_of_a_namespace_give_what_the_namespace_gives() {
    let space = Namespace::new("a", "archive");
    let name = space.name.as_str();
    apply("a", &OBJECTS.replace("NAME", name));
    let rights = Rights(name);
    ferry::install_crypto();
    let a = Cluster::connect(&ConnectOptions::context("a"))
        .await
        .unwrap();
    let (knowledge, events) = (Knowledge::builtin(), Events::silent());
    let selection = Selection {
        namespaces: vec![name.into()],
        ..Selection::default()
    };
    let live = capture::take(&a, &selection, knowledge, &events)
        .await
        .unwrap();
    let dump = dump(name);
    drop(rights);

    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    for (number, (_, value)) in dump.iter().enumerate() {
        let text = ferry::yaml::emit(value).unwrap();
        fs::write(manifests.join(format!("{number}.yaml")), text).unwrap();
    }
    let tarball = folder.path().join("nightly.tar.gz");
    backup(&dump, &tarball);

    for archive in [Archive::folder(&manifests), Archive::velero(&tarball)] {
        let offline = archive
            .unwrap()
            .capture(&selection, knowledge, &events)
            .unwrap();
        assert_eq!(objects(&offline), objects(&live));
        assert!(offline.volumes.is_empty());
    }

    // And onward, through the store, to a plan for B.
    let store = folder.path().join("store");
    let ferry = |args: &[&str]| {
        let mut command = ferry(args);
        command
            .env("FERRY_STORE", &store)
            .env("FERRY_PASSWORD", "p");
        run(&mut command)
    };
    let path = |path: &Path| path.display().to_string();
    ferry(&["store", "init"]).exits(0);
    ferry(&["capture", "--from-velero", &path(&tarball)])
        .exits(0)
        .shows("the source cluster itself was not seen");
    ferry(&["graph", "latest", "--why", "Secret/db"])
        .exits(0)
        .shows("E-PT3");
    let plan = ferry(&["plan", "latest", "--to", "b", "--diff"]).exits(2);
    assert!(!plan.stdout.contains("only-in-the-store"));
    plan.shows(&format!("Deployment.apps {name}/web"));

    let capture = ferry(&[
        "capture",
        "--from-dir",
        &path(&manifests),
        "--exclude",
        "secrets",
        "--output",
        "json",
    ])
    .exits(0)
    .json();
    let told = capture["findings"].to_string();
    assert!(
        told.contains(&format!("it needs Secret {name}/db, which does not travel")),
        "{told}"
    );
    ferry(&["captures", "show", "latest", "--dropped"])
        .exits(0)
        .shows("--exclude secrets leaves it out");
}

/// The cluster-wide rights of the test, taken away when it ends.
struct Rights<'a>(&'a str);

impl Drop for Rights<'_> {
    fn drop(&mut self) {
        kubectl("a", &["delete", "clusterrole,clusterrolebinding", self.0]);
    }
}

#[test]
fn a_hostile_backup_and_a_broken_folder_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let ferry = |args: &[&str]| {
        let mut command = ferry(args);
        command
            .env("FERRY_STORE", &store)
            .env("FERRY_PASSWORD", "p");
        run(&mut command)
    };
    ferry(&["store", "init"]).exits(0);
    let tarball = folder.path().join("bad.tar.gz");
    let file = fs::File::create(&tarball).unwrap();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        file,
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "resources/x", "/etc/passwd")
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    ferry(&["capture", "--from-velero", &tarball.display().to_string()])
        .exits(5)
        .says("resources/x is a link");

    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("a.yaml"), "kind: [").unwrap();
    fs::write(manifests.join("b.yaml"), "just: text").unwrap();
    let failed = ferry(&["capture", "--from-dir", &manifests.display().to_string()]).exits(5);
    failed
        .says("a.yaml, document 1 is no YAML")
        .says("b.yaml, document 1 is no Kubernetes object");
    let captures = ferry(&["captures", "list", "--output", "json"])
        .exits(0)
        .json();
    assert_eq!(captures, serde_json::json!([]));
}
