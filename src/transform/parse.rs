//! From recipe text to [`Recipe`], finding every mistake on the way.
//!
//! Nothing is guessed and nothing is ignored: an unknown key, a wrong type or a name no cluster would
//! take refuses the whole recipe. A transform that silently did nothing would look like a success.

mod fields;
mod maps;
mod patches;

use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use miette::NamedSource;

use self::fields::{Fields, flag, in_words, text};
use super::fault::{Faults, RecipeErrors};
use super::recipe::{Entry, Marks, Recipe, Scale, Transform};
use crate::yaml::located::{Located, Node, parse_located};

const API_VERSION: &str = "ferry.dev/v1alpha1";

/// Keys of the typed transforms; an entry has exactly one.
const TRANSFORMS: [&str; 8] = [
    "storageClass",
    "registry",
    "namespace",
    "host",
    "scale",
    "labels",
    "annotations",
    "patch",
];

/// Reads a recipe or says everything that is wrong with it.
pub(super) fn recipe(file: &str, source: &str) -> Result<Recipe, RecipeErrors> {
    let named = Arc::new(NamedSource::new(file, source.to_owned()).with_language("yaml"));
    let mut faults = Faults::new(Arc::clone(&named));
    let found = match parse_located(source) {
        Ok(tree) => document(&tree, &mut faults),
        Err(error) => {
            faults.add("the file is not valid YAML", &error.span, &error.message);
            None
        }
    };
    let list = faults.into_list();
    match found {
        Some((name, entries)) if list.is_empty() => Ok(Recipe {
            name,
            digest: hex::encode(aws_lc_rs::digest::digest(&SHA256, source.as_bytes())),
            entries,
            source: named,
        }),
        _ => Err(RecipeErrors {
            name: file.to_owned(),
            faults: list,
        }),
    }
}

fn document(tree: &Located, faults: &mut Faults) -> Option<(String, Vec<Entry>)> {
    let known = ["apiVersion", "kind", "metadata", "transforms"];
    let fields = Fields::read(tree, &tree.span, "a recipe", &known, faults)?;
    for (key, wanted) in [("apiVersion", API_VERSION), ("kind", "Recipe")] {
        let given = fields
            .required(key, faults)
            .map(|node| (node, text(node, faults)));
        if let Some((node, Some(given))) = given
            && given != wanted
        {
            faults
                .add(
                    format!("unknown {key} `{given}`"),
                    &node.span,
                    "not understood",
                )
                .help(format!("write `{key}: {wanted}`"));
        }
    }
    let name = fields
        .required("metadata", faults)
        .and_then(|node| metadata(node, faults));
    let entries = fields
        .required("transforms", faults)
        .map(|node| entries(node, faults))
        .unwrap_or_default();
    maps::contradictions(&entries, faults);
    Some((name?, entries))
}

fn metadata(node: &Located, faults: &mut Faults) -> Option<String> {
    let fields = Fields::read(
        node,
        &node.span,
        "metadata",
        &["name", "description"],
        faults,
    )?;
    if let Some(node) = fields.get("description") {
        text(node, faults);
    }
    let node = fields.required("name", faults)?;
    let name = text(node, faults)?;
    if name.trim().is_empty() {
        faults.add("the recipe's name is empty", &node.span, "give it a name");
    }
    Some(name)
}

fn entries(node: &Located, faults: &mut Faults) -> Vec<Entry> {
    let Node::List(items) = &node.node else {
        faults
            .add(
                format!("`transforms` must be a list, found {}", node.describe()),
                &node.span,
                "expected a list",
            )
            .help("begin each transform with `- `");
        return Vec::new();
    };
    let read = |(number, item)| entry(number, item, faults);
    items.iter().enumerate().filter_map(read).collect()
}

fn entry(number: usize, node: &Located, faults: &mut Faults) -> Option<Entry> {
    let known: Vec<&str> = ["name", "optional"].into_iter().chain(TRANSFORMS).collect();
    let fields = Fields::read(node, &node.span, "a transform", &known, faults)?;
    let name = fields.get("name").and_then(|node| text(node, faults));
    let optional = fields
        .get("optional")
        .and_then(|node| flag(node, faults))
        .unwrap_or(false);
    let mut given = fields
        .entries()
        .filter(|(key, _)| TRANSFORMS.contains(&key.text.as_str()));
    let Some((key, body)) = given.next() else {
        // An unknown key was reported already and is most likely the transform misspelt.
        if !fields.had_unknown() {
            faults
                .add(
                    "the entry has no transform",
                    &node.span,
                    "nothing to do here",
                )
                .help(format!("add one of {}", in_words(&TRANSFORMS)));
        }
        return None;
    };
    for (second, _) in given {
        faults
            .add(
                "the entry has two transforms",
                &second.span,
                "second transform",
            )
            .also(&key.span, "first transform")
            .help("begin a new entry with `- ` for each transform");
    }
    Some(Entry {
        number,
        name,
        optional,
        span: key.span.clone(),
        transform: transform(&key.text, body, &key.span, faults)?,
    })
}

fn transform(
    key: &str,
    body: &Located,
    span: &std::ops::Range<usize>,
    faults: &mut Faults,
) -> Option<Transform> {
    Some(match key {
        "storageClass" => Transform::StorageClass(maps::classes(body, span, faults)?),
        "registry" => Transform::Registry(maps::registries(body, span, faults)?),
        "namespace" => Transform::Namespace(maps::namespaces(body, span, faults)?),
        "host" => Transform::Host(maps::hosts(body, span, faults)?),
        "scale" => Transform::Scale(scale(body, span, faults)?),
        "labels" => Transform::Labels(marks(body, span, "labels", faults)?),
        "annotations" => Transform::Annotations(marks(body, span, "annotations", faults)?),
        _ => Transform::Patch(patches::patch(body, span, faults)?),
    })
}

fn scale(body: &Located, span: &std::ops::Range<usize>, faults: &mut Faults) -> Option<Scale> {
    let fields = Fields::read(body, span, "scale", &["select", "replicas"], faults)?;
    let select = fields
        .get("select")
        .and_then(|node| patches::select(node, faults))
        .unwrap_or_default();
    let node = fields.required("replicas", faults)?;
    let count = match &node.node {
        Node::Scalar(value) => value.as_u64().and_then(|count| u32::try_from(count).ok()),
        _ => None,
    };
    let Some(replicas) = count else {
        faults.add(
            format!(
                "`replicas` must be a whole number of 0 or more, found {}",
                node.describe()
            ),
            &node.span,
            "expected a number",
        );
        return None;
    };
    Some(Scale { select, replicas })
}

fn marks(
    body: &Located,
    span: &std::ops::Range<usize>,
    what: &'static str,
    faults: &mut Faults,
) -> Option<Marks> {
    let fields = Fields::read(
        body,
        span,
        what,
        &["select", "set", "remove", "pods"],
        faults,
    )?;
    let select = fields
        .get("select")
        .and_then(|node| patches::select(node, faults))
        .unwrap_or_default();
    let set = fields
        .get("set")
        .map(|node| maps::marks_to_set(node, what, faults))
        .unwrap_or_default();
    let remove = fields
        .get("remove")
        .map(|node| fields::placed_texts(node, faults))
        .unwrap_or_default();
    let pods = fields
        .get("pods")
        .and_then(|node| flag(node, faults))
        .unwrap_or(false);
    if fields.get("set").is_none() && fields.get("remove").is_none() {
        faults
            .add(
                format!("`{what}` changes nothing"),
                span,
                "neither `set` nor `remove`",
            )
            .help("add `set: {key: value}` or `remove: [key]`");
    }
    for key in &remove {
        if let Some((first, _)) = set.iter().find(|(first, _)| first.value == key.value) {
            faults
                .add(
                    format!("`{}` is set and removed", key.value),
                    &key.span,
                    "removed here",
                )
                .also(&first.span, "set here")
                .help("keep one of them");
        }
    }
    Some(Marks {
        select,
        set,
        remove,
        pods,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mistake's message with the text its first label covers.
    fn mistakes(text: &str) -> Vec<(String, String)> {
        let error = recipe("r.yaml", text).expect_err("a mistake");
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
        let recipe = recipe("r.yaml", &text).expect("a recipe");
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
            recipe("r.yaml", &with("- storageclass: {map: {a: b}}\n")).expect_err("mistake");
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
            "`B_` is not a storage class name"
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
            "patch lacks `jsonPatch` or `merge`"
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
        let guide = include_str!("../../docs/recipes.md");
        let blocks = guide.split("```yaml\n").skip(1);
        let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() > 4);
        for block in blocks {
            let text = match block.starts_with("- ") {
                true => with(block),
                false => block.to_owned(),
            };
            if let Err(error) = recipe("guide.yaml", &text) {
                panic!("{block}: {:?}", error.faults);
            }
        }
    }
}
