//! Recipes on the command line.

use std::io::Write as _;

use serde_json::json;

use crate::support::{Definition, Namespace, apply, ferry, root, run, unique};

#[test]
fn the_examples_recipe_is_sound() {
    let recipe = root().join("examples/shop/recipe.yaml");
    run(&mut ferry(&["recipe", "lint", recipe.to_str().unwrap()]))
        .exits(0)
        .shows("4 transforms");
}

#[test]
fn every_mistake_of_a_recipe_is_shown_with_its_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: wrong}}\ntransforms:\n  \
         - storageclass: {{map: {{a: b}}}}\n  - host: {{map: {{shop.example.com: 3}}}}\n"
    )
    .unwrap();
    run(&mut ferry(&[
        "recipe",
        "lint",
        file.path().to_str().unwrap(),
    ]))
    .exits(5)
    .says("2 mistakes")
    .says("unknown key `storageclass`")
    .says("did you mean `storageClass`?")
    .says("expected a string, found a number");
}

#[test]
fn a_recipe_is_tested_on_the_fixtures_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("r.yaml");
    let case = folder.path().join("r.tests/claim");
    std::fs::create_dir_all(&case).unwrap();
    std::fs::write(
        &recipe,
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: r}\ntransforms:\n  \
         - storageClass: {map: {fast: gp3}}\n  - host: {map: {a.example: b.example}}\n    \
         optional: true\n",
    )
    .unwrap();
    std::fs::write(
        case.join("input.yaml"),
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: c, namespace: shop}\n\
         spec: {storageClassName: fast}\n",
    )
    .unwrap();
    let path = folder.path().to_str().unwrap();
    run(&mut ferry(&["recipe", "test", path]))
        .exits(3)
        .shows("1 of 1 case failed, 1 of 2 rules matched")
        .shows("+  storageClassName: gp3")
        .shows("line 6: no case makes the host rule for `a.example` match");
    run(&mut ferry(&["recipe", "test", path, "--update"]))
        .exits(0)
        .shows("wrote expected.yaml");
    let done = run(&mut ferry(&["recipe", "test", path, "--output", "json"])).exits(0);
    assert_eq!(done.json()[0]["cases"][0]["outcome"], "passed");
    assert_eq!(done.json()[0]["unexercised"][0]["line"], 6);
    run(&mut ferry(&["recipe", "test", path, "--all-rules"])).exits(3);
    run(&mut ferry(&["recipe", "test", case.to_str().unwrap()]))
        .exits(5)
        .says("no recipe in");
}

#[test]
fn the_recipes_that_come_with_ferry_do_what_their_fixtures_say() {
    let recipes = root().join("transforms/recipes");
    run(&mut ferry(&[
        "recipe",
        "test",
        recipes.to_str().unwrap(),
        "--all-rules",
    ]))
    .exits(0);
}

#[test]
fn a_recipe_is_begun_from_a_capture_and_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let manifests = root().join("examples/shop/manifests");
    let recipe = folder.path().join("new.yaml");
    let (store, out) = (store.to_str().unwrap(), recipe.to_str().unwrap());
    let ferry = |args: &[&str]| {
        let mut command = ferry(args);
        command.env("FERRY_STORE", store);
        command.env("FERRY_PASSWORD", "secret");
        run(&mut command)
    };
    ferry(&["store", "init"]).exits(0);
    let manifests = manifests.to_str().unwrap();
    ferry(&["capture", "--from-dir", manifests, "-n", "shop"]).exits(0);
    ferry(&["recipe", "new", "latest", "--out", out]).exits(0);
    let text = std::fs::read_to_string(&recipe).unwrap();
    assert!(text.contains("  # - namespace:"), "{text}");
    ferry(&["recipe", "new", "latest", "--out", out])
        .exits(5)
        .says("--force");
    ferry(&["recipe", "new", "latest", "--out", out, "--force"]).exits(0);
    let done = ferry(&[
        "recipe",
        "lint",
        out,
        "--capture",
        "latest",
        "--strict",
        "-o",
        "json",
    ]);
    assert_eq!(done.exits(0).json()[0]["problems"], serde_json::json!([]));
    ferry(&["recipe", "explain", "latest", "-r", out])
        .exits(0)
        .shows("the recipes change nothing");
    std::fs::write(
        &recipe,
        text.replace("transforms: []", "transforms: [{scale: {replicas: 1}}]"),
    )
    .unwrap();
    let explain = |object| ferry(&["recipe", "explain", "latest", "-r", out, "--object", object]);
    explain("deployment/web").exits(0).shows("/spec/replicas");
    explain("deployment/none")
        .exits(5)
        .says("the capture has no deployment/none");
}

#[test]
fn problems_have_line_and_column_in_json() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n  \
         - storageClass: {{map: {{a: a}}}}\n"
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let lint = |more: &[&str]| run(&mut ferry(&[&["recipe", "lint", path], more].concat()));
    let done = lint(&["-o", "json"]).exits(0).json();
    let problem = &done[0]["problems"][0];
    assert_eq!(problem["severity"], "warning");
    assert_eq!(problem["places"][0]["line"], 5);
    assert_eq!(problem["places"][0]["column"], 29);
    lint(&["--strict"]).exits(5).says("warning:");
}

#[test]
fn the_recipes_that_come_with_ferry_are_listed() {
    run(&mut ferry(&["recipe", "list"]))
        .exits(0)
        .shows("builtin:prod-to-staging")
        .shows("allow, replicas, seed");
}

#[test]
fn a_recipe_begun_for_b_knows_its_classes_and_waits_where_several_would_do() {
    let space = Namespace::new("a", "begin");
    let claim = |name: &str, class: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": space.name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": "1Mi"}}}})
    };
    // No pod uses them: the late class never binds, and both are only names here.
    for (name, class) in [("late", "cow-late"), ("plain", "standard")] {
        apply("a", &claim(name, class).to_string());
    }
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let recipe = folder.path().join("new.yaml");
    let out = recipe.to_str().unwrap();
    let ferry = |args: &[&str]| {
        let mut command = ferry(args);
        command.env("FERRY_STORE", &store);
        command.env("FERRY_PASSWORD", "secret");
        run(&mut command)
    };
    ferry(&["store", "init"]).exits(0);
    let capture = [
        "capture",
        "--from",
        "a",
        "-n",
        &space.name,
        "--objects-only",
    ];
    ferry(&capture).exits(0);
    ferry(&["recipe", "new", "latest", "--to", "b", "--out", out]).exits(0);
    let text = std::fs::read_to_string(&recipe).unwrap();
    let waits = "  #       cow-late: NAME  # in 1 object; choose: fast and fast-ext4 and fast-late \
                 have the same provisioner";
    for line in [
        "# that is to be restored to cluster b (v1.",
        "standard (kubernetes.io/host-path, default)",
        "  # standard is there too and keeps its name.",
        waits,
        "; the name is free on the target",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let lint = [
        "recipe",
        "lint",
        out,
        "--to",
        "b",
        "--strict",
        "--capture",
        "latest",
    ];
    ferry(&lint).exits(0);

    // The choice made, it does what it says.
    let chosen = text
        .replace("transforms: []", "transforms:")
        .replace(
            "  # - storageClass:\n  #     map:",
            "  - storageClass:\n      map:",
        )
        .replace("  #       cow-late: NAME", "        cow-late: fast-late");
    std::fs::write(&recipe, chosen).unwrap();
    ferry(&lint).exits(0);
    ferry(&["recipe", "explain", "latest", "-r", out])
        .exits(0)
        .shows("fast-late");
}

#[test]
fn patches_are_held_against_the_types_of_b() {
    let group = format!("{}.example.com", unique());
    let _definition = Definition::new(
        "b",
        &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                    "openAPIV3Schema": {"type": "object", "properties": {"spec": {
                        "type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}}),
    );
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("r.yaml");
    let lint = |deployment: &str, thing: &str| {
        let text = format!(
            "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: r}}\ntransforms:\n  \
             - patch: {{select: {{kind: Deployment, group: apps}}, merge: {{spec: {{{deployment}: 1}}}}}}\n  \
             - patch: {{select: {{kind: Thing, group: {group}}}, merge: {{spec: {{{thing}: 1}}}}}}\n"
        );
        std::fs::write(&recipe, text).unwrap();
        run(&mut ferry(&[
            "recipe",
            "lint",
            recipe.to_str().unwrap(),
            "--to",
            "b",
        ]))
    };
    lint("replicas", "size").exits(0).shows("2 transforms");
    lint("replica", "sizes")
        .exits(5)
        .says("`/spec/replica` cannot be in a Deployment.apps of b")
        .says(&format!("`/spec/sizes` cannot be in a Thing.{group} of b"));
}
