//! `select` and `patch`.

use std::ops::Range;

use serde_json::Value;

use super::fields::{Fields, entries_of, flag, in_words, text, text_map, texts};
use crate::knowledge::sanitize::Test;
use crate::object::path::PathPattern;
use crate::transform::cel::Expression;
use crate::transform::fault::Faults;
use crate::transform::grammar::{self, Need};
use crate::transform::recipe::{Operation, OperationPath, Patch, PatchChange, Placed};
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
pub(in crate::transform) fn path(
    text: &str,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<PathPattern> {
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

/// Macros of an expression that may stand in each other: containers, their variables, and one list more.
const NESTED_MAX: usize = 3;

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
    if names.nested > NESTED_MAX {
        faults
            .add(
                format!("{} macros stand in each other", names.nested),
                expression.span(),
                "it would take hours",
            )
            .help(format!(
                "at most {NESTED_MAX} may: each multiplies the work by the length of its list"
            ));
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
    let forms = grammar::PATCH.of_need(Need::One);
    let fields = Fields::read(body, span, &grammar::PATCH, faults)?;
    let select = fields
        .required("select", faults)
        .and_then(|node| select(node, faults));
    let mut given = fields
        .entries()
        .filter(|(key, _)| forms.contains(&key.text.as_str()));
    let Some((form, node)) = given.next() else {
        if !fields.had_unknown() {
            faults
                .add(
                    format!("patch lacks one of {}", in_words(&forms)),
                    fields.span(),
                    "changes nothing",
                )
                .help("add `jsonPatch: [{op: replace, path: /spec/…, value: …}]` or `merge: {…}`");
        }
        return None;
    };
    for (second, _) in given {
        faults
            .add(
                format!("patch has both `{}` and `{}`", form.text, second.text),
                &second.span,
                "second form",
            )
            .help("use two entries");
    }
    let change = match form.text.as_str() {
        "jsonPatch" => operations(node, span, faults).map(PatchChange::Json),
        "merge" => map(node, &form.text, span, faults).map(PatchChange::Merge),
        _ => map(node, &form.text, span, faults).map(|value| {
            let span = form.span.clone();
            PatchChange::Strategic(Placed { value, span })
        }),
    };
    Some(Patch {
        select: select?,
        change: change?,
    })
}

fn map(node: &Located, key: &str, span: &Range<usize>, faults: &mut Faults) -> Option<Value> {
    match &node.node {
        Node::Map(entries) if !entries.is_empty() => Some(node.value()),
        found => {
            let message = match found {
                Node::Map(_) => format!("`{key}` changes nothing"),
                _ => format!("`{key}` must be a map, found {}", node.describe()),
            };
            faults.add(message, span, "expected a map with the fields to change");
            None
        }
    }
}

fn operations(node: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Vec<Operation>> {
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

fn operation(node: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Operation> {
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
    let place = fields
        .required("path", faults)
        .and_then(|node| operation_path(node, &op, faults));
    let mut good = place.is_some();
    match op.as_str() {
        "add" | "replace" | "test" => good &= fields.required("value", faults).is_some(),
        "move" | "copy" => good &= pointer(&fields, "from", faults),
        _ => {}
    }
    let path = place.filter(|_| good)?;
    let mut value = node.value();
    if !matches!(path, OperationPath::Pointer) {
        value["path"] = Value::from("");
    }
    match serde_json::from_value(value) {
        Ok(operation) => Some(Operation {
            span: op_node.span.clone(),
            path,
            operation,
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

/// A JSON pointer as RFC 6902 has it, or a pattern of rule book §7 where it holds one of its signs.
fn operation_path(node: &Located, op: &str, faults: &mut Faults) -> Option<OperationPath> {
    let text = text(node, faults)?;
    if !text.starts_with(['/', '[']) {
        no_pointer(&text, node, faults);
        return None;
    }
    let signs = text.contains(['[', '{']) || text.split('/').any(|key| key.starts_with('*'));
    if !signs {
        return Some(OperationPath::Pointer);
    }
    if ["move", "copy"].contains(&op) {
        faults
            .add(
                format!("`{op}` has one path"),
                &node.span,
                "a pattern has many",
            )
            .help("write a JSON pointer");
        return None;
    }
    // What `add` adds is not there yet: the pattern says where, its last key what.
    if op == "add" {
        let (parent, last) = text.rsplit_once('/').unwrap_or_default();
        if !last.contains(['[', '{', '*']) {
            let pattern = path(parent, &node.span, faults)?;
            return Some(OperationPath::Below(pattern, last.to_owned()));
        }
    }
    path(&text, &node.span, faults).map(OperationPath::Pattern)
}

fn no_pointer(path: &str, node: &Located, faults: &mut Faults) {
    faults
        .add(
            format!("`{path}` is not a JSON pointer"),
            &node.span,
            "must begin with `/`",
        )
        .help("write it as `/spec/template/…`, with `~1` for a slash inside a key");
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
        no_pointer(&path, node, faults);
        return false;
    }
    true
}
