//! Listing what a real API server makes hard: huge objects, objects that go while they are listed,
//! kinds that may not be read, and APIs whose server is gone.

use std::collections::BTreeSet;

use ferry::capture::{self, Capture, CaptureError, Selection};
use ferry::cluster::{Cluster, ConnectOptions, Delete, ListOptions, Patch, Place, survey};
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::{GroupKind, Object};
use ferry::store::{Password, Store};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::support::{Namespace, apply, kubectl, unique};

async fn connect(context: &str) -> Cluster {
    ferry::install_crypto();
    Cluster::connect(&ConnectOptions::context(context))
        .await
        .expect("the testbed answers")
}

async fn take(cluster: &Cluster, selection: &Selection) -> Result<Capture, CaptureError> {
    capture::take(cluster, selection, Knowledge::builtin(), &Events::silent()).await
}

fn map(namespace: &str, name: &str, data: serde_json::Value) -> Object {
    Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace}, "data": data}))
    .unwrap()
}

fn selection(namespace: &str) -> Selection {
    Selection {
        namespaces: vec![namespace.into()],
        ..Selection::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_moment_though_objects_go_and_change_while_they_are_listed() {
    let space = Namespace::new("a", "pages");
    let a = &connect("a").await;
    let surface = &survey(a, &Events::silent()).await.unwrap();
    let maps = surface
        .resource(&GroupKind::new("", "ConfigMap"), None)
        .unwrap();
    let count = 1200;
    let objects: Vec<Object> = (0..count)
        .map(|number| {
            map(
                &space.name,
                &format!("m-{number:04}"),
                json!({"n": number.to_string()}),
            )
        })
        .collect();
    let made = stream::iter(objects.clone())
        .map(|object| async move { a.create(maps, &object, "test").await.map(drop) });
    made.buffer_unordered(16).try_collect::<()>().await.unwrap();

    let options = ListOptions::default();
    let mut pages = Box::pin(a.pages(maps, Some(&space.name), &options));
    let mut seen = pages.try_next().await.unwrap().unwrap();
    assert!(seen.len() < count);
    // Between the first page and the last, one half goes and the other changes.
    let change = &Patch::Merge(json!({"data": {"n": "changed"}}));
    let unrest = stream::iter(objects.iter().enumerate()).map(|(number, object)| async move {
        let place = Place::of(maps, object);
        match number % 2 {
            0 => a.delete(place, &Delete::default()).await.map(drop),
            _ => a.patch(place, None, change, "test").await.map(drop),
        }
    });
    unrest
        .buffer_unordered(16)
        .try_collect::<()>()
        .await
        .unwrap();
    while let Some(page) = pages.try_next().await.unwrap() {
        seen.extend(page);
    }
    let seen: Vec<&Object> = ours(seen.iter());
    let names: BTreeSet<&str> = seen.iter().map(|one| one.name()).collect();
    assert_eq!((names.len(), seen.len()), (count, count));
    assert!(
        seen.iter()
            .all(|one| one.text("/data/n") != Some("changed"))
    );

    let captured = take(a, &selection(&space.name)).await.unwrap();
    let left = ours(captured.objects.iter().map(|one| &one.object));
    assert_eq!(left.len(), count / 2);
    assert!(
        left.iter()
            .all(|one| one.text("/data/n") == Some("changed"))
    );
}

/// Without what every namespace has.
fn ours<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<&'a Object> {
    objects.filter(|one| one.name().starts_with("m-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_object_etcd_takes_comes_through_the_store_whole() {
    let space = Namespace::new("a", "large");
    let group = format!("{}.example.com", unique());
    apply(
        "a",
        &format!(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: Thing, plural: things}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}"
        ),
    );
    let definition = Definition(format!("things.{group}"));
    kubectl(
        "a",
        &[
            "wait",
            "--for=condition=Established",
            "crd",
            &definition.0,
            "--timeout=60s",
        ],
    );
    let a = connect("a").await;
    let surface = survey(&a, &Events::silent()).await.unwrap();
    let things = surface
        .resource(&GroupKind::new(&group, "Thing"), None)
        .expect("it is served");
    let thing = |bytes: usize| {
        Object::new(json!({"apiVersion": format!("{group}/v1"), "kind": "Thing",
            "metadata": {"name": "big", "namespace": space.name}, "text": "x".repeat(bytes)}))
        .unwrap()
    };
    // etcd takes requests of 1.5 MiB, and what it stores is a little longer than the text.
    let text = (3 << 19) - 4096;
    a.create(things, &thing(text), "test")
        .await
        .expect("just below etcd's limit");
    let mut over = thing((3 << 19) + 4096);
    over.value_mut()["metadata"]["name"] = "over".into();
    let refused = a
        .create(things, &over, "test")
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("request is too large"), "{refused}");

    let capture = take(&a, &selection(&space.name)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("store").display().to_string();
    let store = Store::init(&url, &Password::new("p")).await.unwrap();
    store.save_capture(&capture).await.unwrap();
    let loaded = store.load_capture(&capture.id).await.unwrap();
    let big = loaded
        .objects
        .iter()
        .find(|one| one.object.name() == "big")
        .expect("it travels");
    assert_eq!(big.object.text("/text").map(str::len), Some(text));
    assert_eq!(loaded.objects, capture.objects);
}

/// A definition of the test's own, removed when it ends.
struct Definition(String);

impl Drop for Definition {
    fn drop(&mut self) {
        kubectl("a", &["delete", "crd", &self.0, "--wait=false"]);
    }
}

/// On B, of which nobody else takes captures: each would stop at this. And it runs by itself
/// (`.config/nextest.toml`), as no namespace goes while an API is without a server.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_whose_server_is_gone_is_told_and_hides_nothing_else_alone() {
    let space = Namespace::new("b", "silent");
    let group = format!("{}.example.com", unique());
    let service = Service(format!("v1.{group}"));
    apply(
        "b",
        &format!(
            "apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: {}}}
spec:
  group: {group}
  version: v1
  groupPriorityMinimum: 10
  versionPriority: 10
  insecureSkipTLSVerify: true
  service: {{name: nobody, namespace: {}}}",
            service.0, space.name
        ),
    );
    kubectl(
        "b",
        &[
            "wait",
            "--for=condition=Available=False",
            "apiservice",
            &service.0,
            "--timeout=60s",
        ],
    );
    let b = connect("b").await;
    let api = format!("{group}/v1");
    // The server's discovery learns of it a moment later.
    until(|| async {
        survey(&b, &Events::silent())
            .await
            .unwrap()
            .silent
            .contains(&api)
    })
    .await;
    let mut selection = selection(&space.name);
    match take(&b, &selection).await {
        Err(CaptureError::Silent { apis, .. }) => assert_eq!(apis, std::slice::from_ref(&api)),
        other => panic!(
            "a capture with a hole: {:?}",
            other.map(|capture| capture.id)
        ),
    }
    selection.allow_incomplete = true;
    let capture = take(&b, &selection).await.unwrap();
    assert!(
        capture
            .objects
            .iter()
            .any(|one| one.object.is("", "Namespace"))
    );
    let told = capture
        .findings
        .iter()
        .find(|finding| finding.rule == "E-3")
        .expect("it is told");
    assert!(
        told.evidence
            .as_ref()
            .is_some_and(|text| text.contains(&api)),
        "{told:?}"
    );
    drop(service);
    until(|| async {
        !survey(&b, &Events::silent())
            .await
            .unwrap()
            .silent
            .contains(&api)
    })
    .await;
}

/// Waits for a minute at most.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    for _ in 0..300 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("it did not come to pass within a minute");
}

/// An APIService of the test's own, removed when it ends.
struct Service(String);

impl Drop for Service {
    fn drop(&mut self) {
        kubectl("b", &["delete", "apiservice", &self.0]);
    }
}
