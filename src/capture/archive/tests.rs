//! From an archive's objects to a capture.

use serde_json::{Value, json};

use super::*;

fn archive(values: Vec<Value>) -> Archive {
    let place = |(position, value)| {
        (
            Object::new(value).unwrap(),
            format!("x.yaml, document {}", position + 1).into(),
        )
    };
    Archive {
        name: "x".into(),
        objects: values.into_iter().enumerate().map(place).collect(),
        resources: Vec::new(),
        ..Archive::default()
    }
}

fn take(values: Vec<Value>, namespaces: &[&str]) -> Result<Capture, CaptureError> {
    let selection = Selection {
        namespaces: namespaces.iter().map(|name| (*name).into()).collect(),
        ..Selection::default()
    };
    archive(values).capture(&selection, Knowledge::builtin(), &Events::silent())
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn ids(capture: &Capture) -> Vec<String> {
    capture
        .objects
        .iter()
        .map(|one| one.object.id().to_string())
        .collect()
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

#[test]
fn what_names_no_namespace_goes_to_the_one_asked_for() {
    let values = || {
        vec![
            object("apps/v1", "Deployment", None, "web"),
            object(RBAC, "ClusterRole", Some("x"), "r"),
        ]
    };
    let capture = take(values(), &["shop"]).unwrap();
    assert_eq!(ids(&capture), ["Deployment.apps shop/web"]);
    let error = take(values(), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Deployment.apps web in x.yaml, document 1 names no namespace")
    );
    assert!(error.help().unwrap().contains("-n"));
}

#[test]
fn the_closure_travels_and_everything_else_of_the_cluster_stays_with_a_reason() {
    let mut binding = object(RBAC, "ClusterRoleBinding", None, "web");
    binding["roleRef"] = json!({"kind": "ClusterRole", "name": "web"});
    binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "web", "namespace": "shop"}]);
    let mut claim = object("v1", "PersistentVolumeClaim", Some("shop"), "data");
    claim["spec"] = json!({"storageClassName": "fast"});
    let capture = take(
        vec![
            object("v1", "Namespace", None, "shop"),
            object("v1", "Namespace", None, "other"),
            object("v1", "ConfigMap", Some("other"), "not-asked-for"),
            object("v1", "ServiceAccount", Some("shop"), "web"),
            binding,
            object(RBAC, "ClusterRole", None, "web"),
            object(RBAC, "ClusterRole", None, "others"),
            object("storage.k8s.io/v1", "StorageClass", None, "fast"),
            object("v1", "Event", Some("shop"), "happened"),
            claim,
        ],
        &["shop"],
    )
    .unwrap();
    assert_eq!(
        ids(&capture),
        [
            "Namespace shop",
            "PersistentVolumeClaim shop/data",
            "ServiceAccount shop/web",
            "ClusterRole.rbac.authorization.k8s.io web",
            "ClusterRoleBinding.rbac.authorization.k8s.io web",
        ]
    );
    let stay: Vec<String> = capture
        .dropped
        .iter()
        .map(|one| format!("{} {}", one.rule, one.id))
        .collect();
    assert_eq!(
        stay,
        [
            "S-1 Event shop/happened",
            "closure ClusterRole.rbac.authorization.k8s.io others",
            "E-7 StorageClass.storage.k8s.io fast",
        ]
    );
}

#[test]
fn nothing_is_made_up_about_the_cluster() {
    let claim = object("v1", "PersistentVolumeClaim", Some("shop"), "data");
    let capture = take(vec![claim], &[]).unwrap();
    assert_eq!(capture.namespaces, ["shop"]);
    assert!(capture.volumes.is_empty() && capture.surface.resources.is_empty());
    assert!(
        capture
            .surface
            .unseen
            .contains(&GroupKind::new("storage.k8s.io", "StorageClass"))
    );
    let rules: Vec<&str> = capture
        .findings
        .iter()
        .map(|one| one.rule.as_str())
        .collect();
    assert_eq!(rules, ["C-62", "W-7"]);
}

#[test]
fn claims_whose_data_is_at_hand_have_volumes_and_others_say_why_not() {
    let claim = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let id = |name: &str| ObjectId::namespaced("", "PersistentVolumeClaim", "shop", name);
    let archive = archive(vec![claim("here"), claim("there"), claim("nowhere")]);
    let data = Data {
        at_hand: [id("here"), id("not-in-the-archive")].into(),
        elsewhere: [(id("there"), "it is a snapshot".to_owned())].into(),
    };
    let taken = "2026-03-01T02:03:04Z".parse().unwrap();
    let capture = archive
        .with_data(data)
        .taken(Some(taken))
        .capture(
            &Selection::default(),
            Knowledge::builtin(),
            &Events::silent(),
        )
        .unwrap();
    assert!(capture.id.starts_with("20260301-020304-"));
    let volumes: Vec<_> = capture
        .volumes
        .iter()
        .map(|one| (&one.claim, one.capacity))
        .collect();
    assert_eq!(volumes, [(&id("here"), 1 << 30)]);
    let without: Vec<_> = capture
        .findings
        .iter()
        .filter(|one| one.rule == "W-7")
        .map(|one| (one.object.clone(), one.evidence.clone().unwrap()))
        .collect();
    assert_eq!(
        without,
        [
            (Some(id("there")), "it is a snapshot".to_owned()),
            (None, "the archive holds objects only".to_owned())
        ]
    );
}

#[test]
fn definitions_in_the_archive_tell_scopes_and_versions() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "stars.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"kind": "Star", "plural": "stars"}, "versions": [{"name": "v1", "served": true}]}});
    let capture = take(
        vec![
            definition,
            object("example.com/v1", "Star", None, "sun"),
            object("example.com/v1", "Planet", None, "earth"),
        ],
        &["shop"],
    )
    .unwrap();
    assert_eq!(ids(&capture), ["Planet.example.com shop/earth"]);
    assert_eq!(capture.surface.resources.len(), 1);
    assert!(
        capture
            .findings
            .iter()
            .any(|one| one.message.starts_with("Planet.example.com is taken"))
    );
    assert!(capture.dropped.iter().any(|one| one.id.name == "sun"));
}

#[test]
fn one_name_twice_and_namespaces_that_are_not_there_are_refused() {
    let map = || object("v1", "ConfigMap", Some("shop"), "a");
    let error = take(vec![map(), map()], &[]).unwrap_err().to_string();
    assert!(error.contains(
        "ConfigMap shop/a is there twice: in x.yaml, document 1 and in x.yaml, document 2"
    ));
    let error = take(vec![map()], &["shop", "shoop"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing in the archive is of namespace shoop"
    );
    assert_eq!(error.help().unwrap(), "there is shop");
    assert!(take(vec![object("v1", "Node", None, "n")], &[]).is_err());
}
