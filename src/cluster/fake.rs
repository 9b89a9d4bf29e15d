//! A fake API server: a function from request to answer, and what Ferry makes of its moods.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::{ApplyOptions, Cluster, ClusterError, Delete, ListOptions, Place};
use crate::capture::listing;
use crate::event::Events;
use crate::knowledge::Knowledge;
use crate::object::Object;
use crate::surface::{ApiResource, ClusterIdentity, Surface};

/// An answer: status, headers, body.
pub(crate) type Answer = (u16, Vec<(&'static str, &'static str)>, String);

/// A cluster that answers what `answer` says to `METHOD path?query`, and the requests it saw.
pub(crate) fn cluster(
    mut answer: impl FnMut(&str) -> Answer + Send + 'static,
) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let line = format!("{} {}", request.method(), request.uri());
        let (status, headers, body) = answer(&line);
        log.lock().unwrap().push(line);
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let response = response.body(Body::from(body.into_bytes()));
        async move { response }
    });
    let cluster = Cluster {
        client: kube::Client::new(service, "default"),
        identity: ClusterIdentity {
            name: "a".into(),
            uid: String::new(),
            version: String::new(),
        },
        server: "https://a.test".into(),
    };
    (cluster, seen)
}

pub(crate) fn ok(body: Value) -> Answer {
    (200, vec![], body.to_string())
}

pub(crate) fn refuse(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": message});
    (code, vec![], status.to_string())
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced: true,
        verbs: ["get", "list"].map(String::from).into(),
        preferred: true,
        subresources: std::collections::BTreeSet::new(),
    }
}

fn page(names: &[&str], next: &str) -> Answer {
    let items: Vec<Value> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": "shop", "uid": name}}))
        .collect();
    ok(json!({"kind": "ConfigMapList", "metadata": {"continue": next}, "items": items}))
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_its_items_are_whole() {
    let (cluster, seen) = cluster(|request| match request.contains("continue=two") {
        true => page(&["c"], ""),
        false => page(&["a", "b"], "two"),
    });
    let maps = resource("ConfigMap", "configmaps");
    let list = cluster
        .list(&maps, Some("shop"), &ListOptions::default())
        .await
        .unwrap();
    assert_eq!(
        list.iter().map(Object::name).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(list[0].id().to_string(), "ConfigMap shop/a");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn pages_that_expired_are_read_again_from_the_start() {
    let mut expired = false;
    let (cluster, seen) = cluster(move |request| {
        if !request.contains("continue=") {
            return page(&["a"], "two");
        }
        match std::mem::replace(&mut expired, true) {
            false => refuse(410, "Expired", "The provided continue parameter is too old"),
            true => page(&["b"], ""),
        }
    });
    let maps = resource("ConfigMap", "configmaps");
    let list = cluster
        .list(&maps, None, &ListOptions::default())
        .await
        .unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_listing_whose_pages_always_expire_is_given_up() {
    let (cluster, seen) = cluster(|request| match request.contains("continue=") {
        true => refuse(410, "Expired", "The provided continue parameter is too old"),
        false => page(&["a"], "two"),
    });
    let maps = resource("ConfigMap", "configmaps");
    let options = ListOptions::default();
    let error = cluster.list(&maps, None, &options).await.unwrap_err();
    assert!(error.is_expired(), "{error}");
    // Once, and three times again.
    assert_eq!(seen.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn a_page_that_is_no_list_is_malformed_and_not_a_crash() {
    for body in [
        "<html>a proxy</html>",
        "[]",
        r#"{"items":[{"metadata":{}}]}"#,
    ] {
        let (cluster, _) = cluster(|_| (200, vec![], body.into()));
        let maps = resource("ConfigMap", "configmaps");
        let options = ListOptions::default();
        let error = cluster.list(&maps, None, &options).await.unwrap_err();
        assert!(matches!(error, ClusterError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn w_2_an_overloaded_server_is_given_the_time_it_asks_for() {
    let mut refused = false;
    let (cluster, seen) = cluster(move |_| match std::mem::replace(&mut refused, true) {
        false => (
            429,
            vec![("retry-after", "1")],
            "Too many requests, please try again later.".into(),
        ),
        true => page(&[], ""),
    });
    let started = Instant::now();
    let maps = resource("ConfigMap", "configmaps");
    cluster
        .list(&maps, None, &ListOptions::default())
        .await
        .unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn w_2_a_final_refusal_is_not_tried_again() {
    let message = "etcdserver: request is too large";
    let (cluster, seen) = cluster(move |_| refuse(500, "", message));
    let object = Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop"}}))
    .unwrap();
    let options = ApplyOptions {
        manager: "ferry",
        force: false,
        dry_run: false,
    };
    let maps = resource("ConfigMap", "configmaps");
    let error = cluster.apply(&maps, &object, &options).await.unwrap_err();
    assert_eq!(error.failure().unwrap().message, message);
    assert_eq!(error.failure().unwrap().object, "ConfigMap shop/c");
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "PATCH /api/v1/namespaces/shop/configmaps/c?fieldManager=ferry&force=false&fieldValidation=Strict"
        ]
    );
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_malformed_and_not_a_crash() {
    let (cluster, _) = cluster(|_| (200, vec![], "<html>a proxy</html>".into()));
    let maps = resource("ConfigMap", "configmaps");
    let place = Place {
        resource: &maps,
        namespace: Some("shop"),
        name: "c",
    };
    let error = cluster.get(place).await.unwrap_err();
    assert!(
        error.help().is_some_and(|help| help.contains("proxy")),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_gone_already_is_deleted() {
    let (cluster, _) = cluster(|_| refuse(404, "NotFound", "not found"));
    let maps = resource("ConfigMap", "configmaps");
    let place = Place {
        resource: &maps,
        namespace: Some("shop"),
        name: "c",
    };
    assert!(!cluster.delete(place, &Delete::default()).await.unwrap());
    assert_eq!(cluster.get(place).await.unwrap(), None);
}

#[tokio::test]
async fn every_kind_that_may_not_be_listed_is_named_and_the_others_are_listed() {
    let (cluster, _) = cluster(|request| match request.contains("configmaps") {
        true => page(&["a"], ""),
        false => refuse(403, "Forbidden", "no"),
    });
    let surface = Surface {
        cluster: cluster.identity().clone(),
        resources: vec![
            resource("ConfigMap", "configmaps"),
            resource("Event", "events"),
            resource("Secret", "secrets"),
            resource("Service", "services"),
        ],
        objects: Vec::new(),
        unseen: std::collections::BTreeSet::new(),
        silent: std::collections::BTreeSet::new(),
    };
    let table = &Knowledge::builtin().sanitize;
    let names = ["shop".to_owned()];
    let listing = listing::list(
        &cluster,
        &surface,
        &names,
        &|_| true,
        table,
        &Events::silent(),
    )
    .await
    .unwrap();
    assert_eq!(listing.objects.len(), 1);
    let denied: Vec<String> = listing.denied.iter().map(ToString::to_string).collect();
    assert_eq!(
        denied,
        [
            "list secrets in namespace shop",
            "list services in namespace shop"
        ]
    );
}
