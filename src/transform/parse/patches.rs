//! `select` and `patch`.

use std::ops::Range;

use serde_json::Value;

use super::fields::{Fields, entries_of, flag, in_words, text, text_map, texts};
use crate::knowledge::sanitize::Test;
use crate::object::path::PathPattern;
use crate::transform::cel::Expression;
use crate::transform::fault::Faults;
use crate::transform::grammar;
use crate::transform::recipe::{Patch, PatchChange, Placed};
use crate::transform::select::{Glob, Select};
use crate::transform::variables::{Variable, mark_used};
use crate::yaml::located::{Key, Located, Node};

/// Operations of RFC 6902.
pub(in crate::transform) const OPERATIONS: [&str; 6] =
    ["add", "remove", "replace", "move", "copy", "test"];

/// Reads a selection. An empty one is a mistake: it would select everything by accident.
pub(super) fn select(node: &Located, faults: &mut Faults) -> Option<Select> {
    let fields = Fields::read(node, &node.span, &grammar::SELECT, faults)?;
    if fields.entries().next().is_none() {
        faults
            .add(
                "`select` is empty",
                &node.span,
                "selects nothing in particular",
            )
            .help(
                "name a group, kind, name, namespace, labels, fields or cel, as in `select: {kind: Deployment}`",
            );
    }
    let mut list = |key| {
        let node = fields.get(key);
        node.map(|node| texts(node, faults)).unwrap_or_default()
    };
    let (groups, kinds) = (list("group"), list("kind"));
    let (names, namespaces) = (list("name"), list("namespace"));
    let globs = |texts: Vec<String>| texts.iter().filter_map(|text| Glob::new(text)).collect();
    let labels = fields.get("labels").map(|node| {
        let pairs = text_map(node, &node.span, "`labels`", faults);
        let plain = |(key, value): (Placed<String>, Placed<String>)| (key.value, value.value);
        pairs.into_iter().map(plain).collect()
    });
    Some(Select {
        groups,
        kinds,
        names: globs(names),
        namespaces: globs(namespaces),
        labels: labels.unwrap_or_default(),
        fields: fields
            .get("fields")
            .map(|node| field_tests(node, faults))
            .unwrap_or_default(),
        cel: fields.get("cel").and_then(|node| expression(node, faults)),
    })
}

/// `path: value`, `path: [one, of, these]`, or `path: {in: […], notIn: […], exists: true}`.
fn field_tests(node: &Located, faults: &mut Faults) -> Vec<Test> {
    let Some(entries) = entries_of(node, &node.span, "`fields`", faults) else {
        faults.help("write `fields: {/spec/type: LoadBalancer}`");
        return Vec::new();
    };
    let read = |(key, node): &(Key, Located)| {
        let path = path(&key.text, &key.span, faults)?;
        let mut test = Test {
            path,
            r#in: Vec::new(),
            not_in: Vec::new(),
            exists: None,
        };
        match &node.node {
            Node::Scalar(Value::Null) => {
                faults
                    .add("a field is never null", &key.span, "selects nothing")
                    .help("write `{exists: false}` for a field that is not there");
                return None;
            }
            Node::Scalar(value) => test.r#in.push(value.clone()),
            Node::List(items) => test.r#in = items.iter().map(Located::value).collect(),
            Node::Map(_) => {
                let fields = Fields::read(node, &key.span, &grammar::FIELD_TEST, faults)?;
                let mut values = |key: &str| -> Vec<Value> {
                    match fields.get(key) {
                        Some(Located {
                            node: Node::List(items),
                            ..
                        }) => items.iter().map(Located::value).collect(),
                        Some(other) => {
                            let message =
                                format!("`{key}` must be a list, found {}", other.describe());
                            faults.add(message, &other.span, "expected a list");
                            Vec::new()
                        }
                        None => Vec::new(),
                    }
                };
                test.r#in = values("in");
                test.not_in = values("notIn");
                test.exists = fields.get("exists").and_then(|node| flag(node, faults));
            }
        }
        Some(test)
    };
    entries.iter().filter_map(read).collect()
}

/// A path of rule book §7.
pub(super) fn path(text: &str, span: &Range<usize>, faults: &mut Faults) -> Option<PathPattern> {
    match PathPattern::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            faults
                .add(
                    format!("`{text}` is not a path"),
                    span,
                    format!("{} at character {}", error.reason, error.at),
                )
                .help("write it as `/spec/ports[]/port`; `[]` is every element, `*` every key");
            None
        }
    }
}

fn expression(node: &Located, faults: &mut Faults) -> Option<Expression> {
    let text = text(node, faults)?;
    if text.contains("${") {
        faults
            .add(
                "no variable is put into an expression",
                &node.span,
                "`${…}` here",
            )
            .help("an expression has the recipe's variables as `vars.name`");
        return None;
    }
    match Expression::parse(&text, &node.span) {
        Ok(expression) => Some(expression),
        Err(errors) => {
            for (line, column, reason) in errors {
                faults.add(
                    format!("not a CEL expression: {reason}"),
                    &node.span,
                    format!("line {line}, column {column} of the expression"),
                );
            }
            None
        }
    }
}

/// Gives an expression its variables; names that mean nothing are mistakes.
pub(super) fn give_variables(
    expression: &mut Expression,
    variables: &mut [Variable],
    faults: &mut Faults,
) {
    let names = expression.names();
    for name in &names.unknown {
        faults
            .add(
                format!("`{name}` means nothing in an expression"),
                expression.span(),
                "unknown name",
            )
            .help("an expression has `object` and `vars`");
    }
    for name in mark_used(variables, names.variables.iter().map(String::as_str)) {
        faults
            .add(
                format!("undefined variable `{name}`"),
                expression.span(),
                format!("uses `vars.{name}`"),
            )
            .help(format!(
                "declare it under `variables:` as `{name}: {{type: string}}`"
            ));
    }
    let values = variables
        .iter()
        .filter_map(|one| Some((one.name.as_str(), one.value.as_ref()?)));
    expression.set_variables(values);
}

/// Reads a patch.
pub(super) fn patch(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Patch> {
    let fields = Fields::read(body, span, &grammar::PATCH, faults)?;
    let select = fields
        .required("select", faults)
        .and_then(|node| select(node, faults));
    let change = match (fields.get("jsonPatch"), fields.get("merge")) {
        (Some(node), None) => operations(node, span, faults).map(PatchChange::Json),
        (None, Some(node)) => merge(node, span, faults),
        (Some(_), Some(node)) => {
            faults
                .add(
                    "patch has both `jsonPatch` and `merge`",
                    &node.span,
                    "second form",
                )
                .help("use two entries");
            None
        }
        (None, None) => {
            if !fields.had_unknown() {
                faults
                    .add(
                        "patch lacks `jsonPatch` or `merge`",
                        fields.span(),
                        "changes nothing",
                    )
                    .help(
                        "add `jsonPatch: [{op: replace, path: /spec/…, value: …}]` or `merge: {…}`",
                    );
            }
            None
        }
    };
    Some(Patch {
        select: select?,
        change: change?,
    })
}

fn merge(node: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<PatchChange> {
    match &node.node {
        Node::Map(entries) if !entries.is_empty() => Some(PatchChange::Merge(node.value())),
        _ => {
            let message = format!("`merge` must be a map, found {}", node.describe());
            faults.add(message, span, "expected a map with the fields to change");
            None
        }
    }
}

fn operations(
    node: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Placed<json_patch::PatchOperation>>> {
    let Node::List(items) = &node.node else {
        let message = format!("`jsonPatch` must be a list, found {}", node.describe());
        faults.add(message, span, "expected a list of operations");
        return None;
    };
    let mut list = Vec::new();
    for item in items {
        list.extend(operation(item, span, faults));
    }
    (list.len() == items.len()).then_some(list)
}

fn operation(
    node: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Placed<json_patch::PatchOperation>> {
    let fields = Fields::read(node, span, &grammar::OPERATION, faults)?;
    let op_node = fields.required("op", faults)?;
    let op = text(op_node, faults)?;
    if !OPERATIONS.contains(&op.as_str()) {
        faults
            .add(
                format!("unknown operation `{op}`"),
                &op_node.span,
                "not an operation",
            )
            .help(format!("the operations are {}", in_words(&OPERATIONS)));
        return None;
    }
    let mut good = pointer(&fields, "path", faults);
    match op.as_str() {
        "add" | "replace" | "test" => good &= fields.required("value", faults).is_some(),
        "move" | "copy" => good &= pointer(&fields, "from", faults),
        _ => {}
    }
    if !good {
        return None;
    }
    match serde_json::from_value(node.value()) {
        Ok(value) => Some(Placed {
            value,
            span: op_node.span.clone(),
        }),
        Err(error) => {
            faults.add(
                "not a JSON Patch operation",
                &op_node.span,
                error.to_string(),
            );
            None
        }
    }
}

/// Checks an RFC 6901 pointer: the identity fields of an object are not for patches.
fn pointer(fields: &Fields<'_>, key: &str, faults: &mut Faults) -> bool {
    let Some(node) = fields.required(key, faults) else {
        return false;
    };
    let Some(path) = text(node, faults) else {
        return false;
    };
    if !path.starts_with('/') {
        faults
            .add(
                format!("`{path}` is not a JSON pointer"),
                &node.span,
                "must begin with `/`",
            )
            .help("write it as `/spec/template/…`, with `~1` for a slash inside a key");
        return false;
    }
    true
}
