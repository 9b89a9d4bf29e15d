//! Which line of a YAML text is which place in the object.
//!
//! A change is known by its pointer in the object, a line by its number in a text whose lists were
//! sorted. They meet where the keys on the way are the same and the line holds the changed text.

use serde_json::Value;

use crate::transform::Change;
use crate::yaml::located::{Located, Node, parse_located};

/// The place of every line.
pub(super) struct Places {
    lines: Vec<Place>,
}

/// One line's place: the keys on the way to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    keys: Vec<String>,
}

impl Places {
    /// Reads the places of a text; of one that cannot be read every line is nowhere.
    pub(super) fn of(text: &str) -> Self {
        let count = text.lines().count();
        let mut lines = vec![None; count];
        if let Ok(root) = parse_located(text) {
            let starts: Vec<usize> = std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect();
            let line = |byte: usize| starts.partition_point(|start| *start <= byte) - 1;
            mark(&root, &mut Vec::new(), &line, &mut lines);
        }
        // A line on which nothing begins continues the value above it.
        let mut last = Place::default();
        let lines = lines
            .into_iter()
            .map(|keys| {
                if let Some(keys) = keys {
                    last = Place { keys };
                }
                last.clone()
            })
            .collect();
        Self { lines }
    }

    /// The place of a line, from 0.
    pub(super) fn at(&self, line: usize) -> Place {
        self.lines.get(line).cloned().unwrap_or_default()
    }
}

impl Place {
    /// What the line belongs to, as in `spec.template.spec.containers[0]`.
    pub(super) fn parent(&self) -> String {
        let mut text = String::new();
        for key in &self.keys[..self.keys.len().saturating_sub(1)] {
            if is_index(key) {
                text.push_str(&format!("[{key}]"));
            } else {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
        }
        text
    }

    /// Rules of the changes that explain a line of this place; `side` is the value on the line's side.
    pub(super) fn rules(
        &self,
        line: &str,
        changes: &[&Change],
        side: impl Fn(&Change) -> &Value,
    ) -> Vec<String> {
        let mut rules: Vec<String> = changes
            .iter()
            .filter(|change| self.is_under(&change.path) && holds(line, side(change)))
            .map(|change| change.rule.to_string())
            .collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// Whether the keys of a pointer lead to this place or above it. Positions in lists do not count:
    /// sorting and leaving out have moved them.
    fn is_under(&self, pointer: &str) -> bool {
        let wanted = crate::object::pointer::segments(pointer);
        let mut here = self.keys.iter().filter(|key| !is_index(key));
        wanted
            .filter(|key| !is_index(key))
            .all(|key| here.next().is_some_and(|here| *here == key))
    }
}

fn is_index(key: &str) -> bool {
    key == "-" || (!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a line shows a value or a part of it. Masked values and maps cannot be compared.
fn holds(line: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => true,
        Value::String(text) => {
            line.contains(super::mask::MARK)
                || text.is_empty()
                || text
                    .lines()
                    .map(str::trim)
                    .any(|part| !part.is_empty() && line.contains(part))
        }
        scalar => line.contains(&scalar.to_string()),
    }
}

fn mark(
    at: &Located,
    keys: &mut Vec<String>,
    line: &impl Fn(usize) -> usize,
    lines: &mut [Option<Vec<String>>],
) {
    let mut set = |byte: usize, keys: &[String]| {
        if let Some(slot) = lines.get_mut(line(byte)) {
            *slot = Some(keys.to_vec());
        }
    };
    match &at.node {
        Node::Scalar(_) => set(at.span.start, keys),
        Node::Map(entries) => {
            for (key, value) in entries {
                keys.push(key.text.clone());
                mark(value, keys, line, lines);
                // After the value, whose span can begin on the key's line or the next.
                if let Some(slot) = lines.get_mut(line(key.span.start)) {
                    *slot = Some(keys.clone());
                }
                keys.pop();
            }
        }
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                keys.push(index.to_string());
                mark(item, keys, line, lines);
                keys.pop();
            }
        }
    }
}
