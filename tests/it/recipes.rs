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
