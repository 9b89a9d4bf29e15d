//! Releases of Helm move with their namespace (T-4h), seen by the real `helm`; and what claims to be a
//! release and is none does no harm.

use std::io::Write as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferry::capture::{self, Selection};
use ferry::cluster::{Cluster, ConnectOptions};
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::Object;
use ferry::pipeline;
use ferry::transform::{self, Recipe};
use ferry::yaml;
use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use serde_json::{Value, json};

use crate::support::{Done, Namespace, apply, root, run, testbed};

/// `helm ARGS` on a cluster and namespace, run; must succeed.
#[track_caller]
fn helm(context: &str, namespace: &str, args: &[&str]) -> Done {
    run(Command::new(testbed("FERRY_TESTBED_HELM"))
        .args(args)
        .args(["--kube-context", context, "--namespace", namespace]))
    .exits(0)
}

fn recipe(transforms: &str) -> Recipe {
    let text = format!(
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
    );
    Recipe::parse("t.yaml", &text).unwrap()
}

#[tokio::test]
async fn t_4h_a_release_goes_on_under_its_new_namespace_and_registry() {
    let (home, target) = (Namespace::new("a", "helm"), Namespace::reserve("b", "helm"));
    let chart = root().join("tests/fixtures/chart").display().to_string();
    helm("a", &home.name, &["install", "web", &chart]);
    helm(
        "a",
        &home.name,
        &["upgrade", "web", &chart, "--set", "host=www.a.example.test"],
    );

    ferry::install_crypto();
    let a = Cluster::connect(&ConnectOptions::context("a"))
        .await
        .unwrap();
    let selection = Selection {
        namespaces: vec![home.name.clone()],
        ..Selection::default()
    };
    let events = Events::silent();
    let capture = capture::take(&a, &selection, Knowledge::builtin(), &events)
        .await
        .unwrap();
    let recipes = [recipe(&format!(
        "- namespace: {{map: {{{}: {}}}}}\n\
         - registry: {{map: {{registry-a.testbed:5000: registry-b.testbed:5000}}}}\n\
         - host: {{map: {{www.a.example.test: www.b.example.test}}}}\n",
        home.name, target.name
    ))];
    let graph = pipeline::graph_of(&capture, &recipes, None, &events)
        .await
        .unwrap();
    let moved = pipeline::transformed(&capture, &recipes, Knowledge::builtin(), &events).unwrap();
    for node in graph.order() {
        let object = moved
            .objects
            .iter()
            .find(|object| object.id() == node.id)
            .unwrap();
        apply("b", &yaml::emit(object.value()).unwrap());
    }

    let list = helm("b", &target.name, &["list", "-o", "json"]).json();
    assert_eq!(list[0]["name"], "web", "{list}");
    assert_eq!(list[0]["namespace"], target.name.as_str());
    assert_eq!(list[0]["revision"], "2");
    assert_eq!(list[0]["status"], "deployed");
    let history = helm("b", &target.name, &["history", "web", "-o", "json"]).json();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    let manifest = helm("b", &target.name, &["get", "manifest", "web"]).stdout;
    for there in [
        "registry-b.testbed:5000/shop/web:7",
        "www.b.example.test",
        &format!("namespace: {}", target.name),
    ] {
        assert!(manifest.contains(there), "{there} is not in\n{manifest}");
    }
    for gone in ["registry-a.testbed", "a.example.test", &home.name] {
        assert!(!manifest.contains(gone), "{gone} is in\n{manifest}");
    }
    // Without new values the release's own count. The chart's are A's, and the image was never given.
    let again = helm(
        "b",
        &target.name,
        &["upgrade", "web", &chart, "--dry-run=server"],
    )
    .stdout;
    for there in ["registry-b.testbed:5000/shop/web:7", "www.b.example.test"] {
        assert!(again.contains(there), "{there} is not in\n{again}");
    }
    assert!(!again.contains("registry-a.testbed"), "{again}");
    // Helm refuses to touch what another release, or one of another namespace, owns.
    let image = "image=registry-b.testbed:5000/shop/web:8";
    let upgrade = ["upgrade", "web", &chart, "--reuse-values", "--set", image];
    helm(
        "b",
        &target.name,
        &[&upgrade[..], &["--dry-run=server"]].concat(),
    )
    .shows("shop/web:8");
    helm("b", &target.name, &upgrade);
    helm("b", &target.name, &["rollback", "web", "2"]);
    helm("b", &target.name, &["uninstall", "web"]);
}

/// A release Secret around some bytes.
fn secret(name: &str, packed: &[u8]) -> Object {
    Object::new(
        json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": name, "namespace": "shop"},
        "data": {"release": STANDARD.encode(STANDARD.encode(packed))}}),
    )
    .unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Two gigabytes of spaces in a few kilobytes: one flushed block of them, again and again.
fn bomb() -> Vec<u8> {
    let mut packer = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(1 << 16);
    packer
        .compress_vec(&vec![b' '; 1 << 20], &mut block, FlushCompress::Full)
        .unwrap();
    let mut bytes = gzip(b"")[..10].to_vec();
    (0..2048).for_each(|_| bytes.extend_from_slice(&block));
    bytes
}

#[test]
fn t_4h_what_is_no_release_is_left_as_it_is_and_stops_nothing() {
    let deep = format!("{{\"manifest\": {}", "[".repeat(1 << 20));
    let laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n\
                  b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
                  c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n\
                  d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
                  e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n\
                  f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n\
                  g: [*f, *f, *f, *f, *f, *f, *f, *f, *f]\n";
    let laughing = json!({"namespace": "shop", "name": "x", "manifest": laughs}).to_string();
    let wrong: [(&str, Vec<u8>); 6] = [
        ("plain", b"no gzip".to_vec()),
        ("cut", gzip(b"{\"namespace\": \"shop\"}")[..12].to_vec()),
        ("list", gzip(b"[]")),
        ("types", gzip(b"{\"namespace\": 7, \"manifest\": {}}")),
        ("deep", gzip(deep.as_bytes())),
        ("bomb", bomb()),
    ];
    let mut objects: Vec<Object> = wrong
        .iter()
        .map(|(name, bytes)| secret(name, bytes))
        .collect();
    objects.push(secret("laughs", &gzip(laughing.as_bytes())));
    let recipe = recipe("- namespace: {map: {shop: new}}\n");
    let moved = transform::apply(&objects, &[recipe], Knowledge::builtin()).unwrap();
    let blob = |object: &Object| {
        object
            .pointer("/data/release")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    for (before, after) in objects.iter().zip(&moved.objects) {
        assert_eq!(after.namespace(), Some("new"), "{}", before.name());
        // The record around the laughing manifest is sound: it moves, and its manifest stays.
        assert_eq!(
            blob(before) == blob(after),
            before.name() != "laughs",
            "{}",
            before.name()
        );
    }
}
