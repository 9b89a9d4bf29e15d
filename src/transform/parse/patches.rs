//! `select` and `patch`.

use std::ops::Range;

use super::fields::{Fields, in_words, text, text_map, texts};
use crate::transform::fault::Faults;
use crate::transform::recipe::{Patch, PatchChange, Placed};
use crate::transform::select::{Glob, Select};
use crate::yaml::located::{Located, Node};

/// Operations of RFC 6902.
const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "move", "copy", "test"];

/// Reads a selection. An empty one is a mistake: it would select everything by accident.
pub(super) fn select(node: &Located, faults: &mut Faults) -> Option<Select> {
    let known = ["group", "kind", "name", "namespace", "labels"];
    let fields = Fields::read(node, &node.span, "select", &known, faults)?;
    if fields.entries().next().is_none() {
        faults
            .add(
                "`select` is empty",
                &node.span,
                "selects nothing in particular",
            )
            .help(
                "name a group, kind, name, namespace or labels, as in `select: {kind: Deployment}`",
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
    })
}

/// Reads a patch.
pub(super) fn patch(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Patch> {
    let fields = Fields::read(
        body,
        span,
        "patch",
        &["select", "jsonPatch", "merge"],
        faults,
    )?;
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
    let known = ["op", "path", "from", "value"];
    let fields = Fields::read(node, span, "an operation", &known, faults)?;
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
