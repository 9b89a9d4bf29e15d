//! Every mistake a recipe can have, where it stands.

use super::*;

/// Every mistake's message with the text its first label covers.
fn mistakes(text: &str) -> Vec<(String, String)> {
    let error = Recipe::parse("r.yaml", text).expect_err("a mistake");
    let shown = |fault: &crate::transform::fault::Fault| {
        let span = fault.span().expect("a place");
        (fault.to_string(), text[span].to_owned())
    };
    error.faults.iter().map(shown).collect()
}

fn with(transforms: &str) -> String {
    format!(
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
    )
}

fn one(transforms: &str) -> (String, String) {
    let mut all = mistakes(&with(transforms));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn accepts_every_transform() {
    let text = with(
        "- {storageClass: {map: {fast: ssd}}, optional: true, name: classes}
- registry: {map: {r.a:5000/shop: r.b/s, docker.io: r.b/hub}}
- namespace: {map: {shop: shop-b}}
- host: {map: {shop.a.x: shop.b.x, '*.apps.a': '*.apps.b'}}
- scale: {select: {kind: Deployment, name: web*}, replicas: 1}
- labels: {set: {team: b}, remove: [old], pods: true}
- annotations: {select: {group: '', kind: [Secret, ConfigMap], namespace: shop, labels: {a: b}}, set: {x/y: z}}
- patch: {select: {kind: Service}, jsonPatch: [{op: add, path: /spec/type, value: ClusterIP}]}
- patch: {select: {kind: Service}, merge: {spec: {type: null}}}
",
    );
    let recipe = Recipe::parse("r.yaml", &text).expect("a recipe");
    assert_eq!(recipe.entries.len(), 9);
    assert!(recipe.entries[0].optional);
    assert_eq!(recipe.entries[0].name.as_deref(), Some("classes"));
    assert_eq!(recipe.entries[4].number, 4);
}

#[test]
fn all_mistakes_are_reported_at_once_in_file_order() {
    let found = mistakes(
        "apiVersion: v1
kind: Recipe
metadata: {nmae: t}
transforms:
- storageClas: {map: {a: b}}
- namespace: {map: {Shop: shop}}
- scale: {replicas: two}
",
    );
    let messages: Vec<&str> = found.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "unknown apiVersion `v1`",
            "unknown key `nmae` in metadata",
            "metadata lacks `name`",
            "unknown key `storageClas` in a transform",
            "`Shop` is not a namespace",
            "`replicas` must be a whole number of 0 or more, found a string",
        ]
    );
    assert_eq!(found[3].1, "storageClas");
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let error =
        Recipe::parse("r.yaml", &with("- storageclass: {map: {a: b}}\n")).expect_err("mistake");
    let help = miette::Diagnostic::help(&error.faults[0])
        .expect("help")
        .to_string();
    assert_eq!(help, "did you mean `storageClass`?");
}

#[test]
fn a_wrong_type_is_shown_where_it_stands() {
    assert_eq!(
        one("- namespace: {map: [shop]}\n"),
        ("`map` must be a map, found a list".into(), "shop".into())
    );
    assert_eq!(
        one("- {namespace: {map: {a: b}}, optional: 'yes'}\n").0,
        "expected true or false, found a string"
    );
    assert_eq!(
        one("- storageClass: {map: {a: 5}}\n").0,
        "expected a string, found a number"
    );
}

#[test]
fn a_missing_part_is_named() {
    assert_eq!(one("- namespace: {}\n").0, "namespace lacks `map`");
    assert_eq!(one("- namespace: {map: {}}\n").0, "`map` is empty");
    assert_eq!(one("- optional: true\n").0, "the entry has no transform");
}

#[test]
fn two_transforms_in_one_entry_are_refused() {
    let (message, at) = one("- namespace: {map: {a: b}}\n  host: {map: {a.x: b.x}}\n");
    assert_eq!(
        (message.as_str(), at.as_str()),
        ("the entry has two transforms", "host")
    );
}

#[test]
fn a_key_given_twice_is_refused_where_it_stands() {
    let (message, at) = one("- namespace:\n    map:\n      a: b\n      a: c\n");
    assert_eq!(
        (message.as_str(), at.as_str()),
        ("the file is not valid YAML", "a")
    );
}

#[test]
fn one_source_with_two_targets_is_refused() {
    let (message, at) = one("- namespace: {map: {a: b}}\n- namespace: {map: {a: c}}\n");
    assert_eq!(message, "`a` is mapped twice, to `b` and to `c`");
    assert_eq!(at, "a");
    let (message, _) = one("- registry: {map: {docker.io: r.b, index.docker.io: r.c}}\n");
    assert_eq!(
        message,
        "`docker.io` is mapped twice, to `r.b` and to `r.c`"
    );
}

#[test]
fn two_namespaces_may_not_become_one() {
    let (message, _) = one("- namespace: {map: {a: c, b: c}}\n");
    assert_eq!(message, "`a` and `b` would both become the namespace `c`");
}

#[test]
fn names_no_cluster_would_take_are_refused() {
    assert_eq!(
        one("- host: {map: {https://a.x: b.x}}\n").0,
        "`https://a.x` is not a host"
    );
    assert_eq!(
        one("- registry: {map: {nginx: r.b}}\n").0,
        "`nginx` is not a registry or image prefix"
    );
    assert_eq!(
        one("- storageClass: {map: {a: B_}}\n").0,
        "`B_` is not a class name"
    );
    assert_eq!(
        one("- host: {map: {'*.a.x': b.x}}\n").0,
        "a wildcard can only become a wildcard"
    );
}

#[test]
fn a_patch_needs_a_selection_and_one_form() {
    assert_eq!(one("- patch: {jsonPatch: []}\n").0, "patch lacks `select`");
    assert_eq!(
        one("- patch: {select: {kind: A}}\n").0,
        "patch lacks one of `jsonPatch`, `merge` and `strategic`"
    );
    assert_eq!(
        one("- patch: {select: {kind: A}, jsonPatch: [{op: ad, path: /a}]}\n").1,
        "ad"
    );
    assert_eq!(
        one("- patch: {select: {kind: A}, jsonPatch: [{op: add, path: a, value: 1}]}\n").1,
        "a"
    );
}

#[test]
fn the_guides_examples_are_sound() {
    let guide = include_str!("../../../docs/recipes.md");
    let blocks = guide.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 4);
    for block in blocks {
        let text = match block.starts_with("- ") {
            true => with(block),
            false => block.to_owned(),
        };
        let source = Arc::new(NamedSource::new("guide.yaml", text));
        let set = ["domain=staging.example".to_owned()];
        let values = Values::read(&[] as &[&str], &set).expect("values");
        let found = read(&source, &values, &Values::default());
        assert!(found.faults.is_empty(), "{block}: {:?}", found.faults);
    }
}

#[test]
fn an_expression_that_would_take_hours_is_refused() {
    let nested = |depth: usize| {
        let all = (0..depth).fold("true".to_owned(), |inner, at| {
            format!("[1].all(v{at}, {inner})")
        });
        format!("- scale: {{select: {{cel: \"{all}\"}}, replicas: 1}}\n")
    };
    let (message, _) = one(&nested(4));
    assert_eq!(message, "4 macros stand in each other");
    let text = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n";
    Recipe::parse("t.yaml", &format!("{text}{}", nested(3))).unwrap();
}
