//! Recipes on the command line.

use std::io::Write as _;

use crate::support::{ferry, root, run};

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
