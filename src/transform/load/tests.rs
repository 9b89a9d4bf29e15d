//! Recipes from files, with variables and includes.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::transform::recipe::Transform;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn recipe(&self, name: &str, rest: &str) -> String {
        self.write(
            name,
            &format!(
                "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: {name}}}\n{rest}"
            ),
        )
    }
}

fn values(set: &[&str]) -> Values {
    let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
    Values::read(&[] as &[PathBuf], &set).unwrap()
}

fn loaded(name: &str, set: &[&str]) -> Vec<Recipe> {
    match load(&[name.to_owned()], &values(set)) {
        Ok(recipes) => recipes,
        Err(error) => panic!("{:#?}", error.faults),
    }
}

fn mistakes(name: &str, set: &[&str]) -> Vec<String> {
    let error = load(&[name.to_owned()], &values(set)).unwrap_err();
    let shown = |fault: &Fault| {
        let help = miette::Diagnostic::help(fault).map(|help| format!(": {help}"));
        format!("{fault}{}", help.unwrap_or_default())
    };
    error.faults.iter().map(shown).collect()
}

/// The replicas of every scale entry, in order.
fn replicas(recipes: &[Recipe]) -> Vec<u32> {
    let entries = recipes.iter().flat_map(|recipe| &recipe.entries);
    entries
        .filter_map(|entry| match &entry.transform {
            Transform::Scale(scale) => scale.replicas,
            _ => None,
        })
        .collect()
}

const SCALE: &str = "variables: {count: {type: integer, default: 1}}
transforms: [{scale: {replicas: '${count}'}}]
";

#[test]
fn a_variable_has_the_users_value_or_its_default() {
    let folder = Folder::new();
    let name = folder.recipe("a.yaml", SCALE);
    assert_eq!(replicas(&loaded(&name, &[])), [1]);
    let five = loaded(&name, &["count=5"]);
    assert_eq!(replicas(&five), [5]);
    assert_eq!(five[0].variables[0].value, Some(json!(5)));
    assert!(five[0].variables[0].used);
    assert_ne!(five[0].digest, loaded(&name, &[])[0].digest);
}

#[test]
fn later_values_win_and_files_keep_their_types() {
    let folder = Folder::new();
    let name = folder.recipe("a.yaml", SCALE);
    let first = folder.write("1.yaml", "count: 2\n");
    let second = folder.write("2.yaml", "count: 3\n");
    let read = |set: &[String]| Values::read(&[&first, &second], set).unwrap();
    let three = load(std::slice::from_ref(&name), &read(&[])).unwrap();
    assert_eq!(replicas(&three), [3]);
    let four = load(&[name], &read(&["count=4".to_owned()])).unwrap();
    assert_eq!(replicas(&four), [4]);
}

#[test]
fn a_value_of_another_type_is_refused_where_it_was_given() {
    let folder = Folder::new();
    let name = folder.recipe("a.yaml", SCALE);
    assert_eq!(
        mistakes(&name, &["count=many"]),
        ["the value of `count` must be a whole number: write digits only"]
    );
}

#[test]
fn a_value_that_no_recipe_wants_is_refused() {
    let folder = Folder::new();
    let name = folder.recipe("a.yaml", SCALE);
    assert_eq!(
        mistakes(&name, &["cuont=1"]),
        ["no recipe has a variable `cuont`: did you mean `count`?"]
    );
}

#[test]
fn an_undefined_variable_is_a_mistake_and_a_doubled_sign_is_text() {
    let folder = Folder::new();
    let name = folder.recipe(
        "a.yaml",
        "variables: {domain: {type: string}}
transforms:
- annotations: {set: {a: 'x.${domain}:80', b: '$${HOME} costs $5', c: '${domian}', d: '${a b}'}}
",
    );
    assert_eq!(
        mistakes(&name, &["domain=b.x"]),
        [
            "undefined variable `domian`: did you mean `domain`?; write `$${domian}` for the text itself",
            "`${` does not begin a variable: write `${name}`, or `$${` for the text `${`",
        ]
    );
    assert_eq!(
        mistakes(&name, &[])[0],
        "the variable `domain` has no value: give it one with `--set domain=…` or in a file of `--values`"
    );
    let name = folder.recipe(
        "b.yaml",
        "variables: {domain: {type: string}, key: {type: string}}
transforms:
- annotations: {set: {a: 'x.${domain}:80', b: '$${HOME} costs $5', '${key}': v}}
",
    );
    let recipes = loaded(&name, &["domain=${b}.x", "key=b.x/k"]);
    let Transform::Annotations(marks) = &recipes[0].entries[0].transform else {
        panic!("annotations")
    };
    let set: Vec<&str> = marks.set.iter().map(|(_, value)| value.as_str()).collect();
    // What a value holds is never looked at again.
    assert_eq!(set, ["x.${b}.x:80", "${HOME} costs $5", "v"]);
}

#[test]
fn a_whole_map_may_be_a_variable() {
    let folder = Folder::new();
    let name = folder.recipe(
        "a.yaml",
        "variables: {classes: {type: map, default: {a: b}}}
transforms: [{storageClass: {map: '${classes}'}}]
",
    );
    let recipes = loaded(&name, &["classes={fast: ssd, slow: hdd}"]);
    let Transform::Class(_, map) = &recipes[0].entries[0].transform else {
        panic!("a class")
    };
    assert_eq!(map.len(), 2);
}

#[test]
fn what_is_included_stands_before_and_gets_its_values() {
    let folder = Folder::new();
    folder.recipe("base.yaml", SCALE);
    let name = folder.recipe(
        "a.yaml",
        "variables: {n: {type: integer, default: 7}}
include: [{recipe: base.yaml, values: {count: '${n}'}}, 'builtin:openshift-to-kubernetes']
transforms: [{scale: {replicas: 9}}]
",
    );
    let recipes = loaded(&name, &[]);
    let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["base.yaml", "openshift-to-kubernetes", "a.yaml"]);
    assert_eq!(replicas(&recipes)[0], 7);
    assert_eq!(replicas(&loaded(&name, &["count=2"]))[0], 2);
}

#[test]
fn a_recipe_reached_twice_counts_once() {
    let folder = Folder::new();
    folder.recipe("base.yaml", SCALE);
    folder.recipe("left.yaml", "include: [base.yaml]\n");
    let name = folder.recipe("a.yaml", "include: [left.yaml, ./base.yaml]\n");
    assert_eq!(replicas(&loaded(&name, &[])), [1]);
}

#[test]
fn a_circle_of_includes_is_refused() {
    let folder = Folder::new();
    folder.recipe("b.yaml", "include: [a.yaml]\n");
    let name = folder.recipe("a.yaml", "include: [b.yaml]\n");
    let found = mistakes(&name, &[]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("the recipe includes itself: "),
        "{}",
        found[0]
    );
}

#[test]
fn what_cannot_be_included_is_told_at_its_line() {
    let folder = Folder::new();
    let name = folder.recipe(
        "a.yaml",
        "include: [none.yaml, /etc/x.yaml, 'builtin:prod-to-stagin']\ntransforms: [{scale: {}}]\n",
    );
    let found = mistakes(&name, &[]);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].contains("lacks `replicas`"));
    assert!(found[1].starts_with("cannot read the recipe"));
    assert!(found[2].contains("as seen from this recipe"));
    assert!(found[3].contains("did you mean `prod-to-staging`?"));
}

#[test]
fn an_expression_has_variables_as_values_and_never_as_text() {
    let folder = Folder::new();
    let name = folder.recipe(
        "a.yaml",
        "variables: {most: {type: integer, default: 2}}
transforms:
- scale: {select: {kind: Deployment, cel: 'object.spec.replicas > vars.most'}, replicas: 1}
- scale: {select: {cel: 'object.x == ${most}'}, replicas: 1}
- scale: {select: {cel: 'vars.least > 1 && obj.y'}, replicas: 1}
- scale: {select: {cel: 'object.'}, replicas: 1}
",
    );
    let found = mistakes(&name, &[]);
    let found: Vec<&str> = found
        .iter()
        .map(|text| text.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        found,
        [
            "no variable is put into an expression",
            "`obj` means nothing in an expression",
            "undefined variable `least`",
            "not a CEL expression",
        ]
    );
}

#[test]
fn an_empty_file_and_one_that_is_no_recipe_for_its_length_are_told() {
    let folder = Folder::new();
    let empty = folder.write("empty.yaml", "# nothing yet\n");
    assert!(mistakes(&empty, &[])[0].starts_with("the recipe is empty"));
    let long = folder.write("long.yaml", &"# a dump\n".repeat(200_000));
    assert!(mistakes(&long, &[])[0].contains("longer than 1 MiB"));
}
