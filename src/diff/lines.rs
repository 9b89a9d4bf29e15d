//! Two texts as the lines that were added, removed and left, in hunks with context.

use std::fmt;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::places::Places;
use crate::transform::Change;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Where a rule's label begins, if the line is shorter.
const LABEL_COLUMN: usize = 60;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// Begins a hunk: line numbers before and after, and where in the object it is.
    Heading,
    /// Only in the text after.
    Added,
    /// Only in the text before.
    Removed,
    /// In both.
    Context,
}

/// One line of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is.
    pub kind: LineKind,
    /// The line without its sign and end.
    pub text: String,
    /// Ids of the rules that changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// The line with its sign, and the rules behind it.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            LineKind::Heading => "",
            LineKind::Added => "+",
            LineKind::Removed => "-",
            LineKind::Context => " ",
        };
        if self.rules.is_empty() {
            return write!(f, "{sign}{}", self.text);
        }
        let text = format!("{sign}{}", self.text);
        write!(f, "{text:<LABEL_COLUMN$}  # {}", self.rules.join(", "))
    }
}

/// The hunks in which two YAML texts differ, each line labelled with the changes that explain it.
pub(super) fn unified(before: &str, after: &str, changes: &[&Change]) -> Vec<Line> {
    let diff = TextDiff::from_lines(before, after);
    let (old, new) = (Places::of(before), Places::of(after));
    let mut lines = Vec::new();
    for group in diff.grouped_ops(CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        let (start, end) = (first.old_range().start, last.old_range().end);
        let (to, to_end) = (first.new_range().start, last.new_range().end);
        let place = if end > start {
            old.at(start)
        } else {
            new.at(to)
        };
        lines.push(Line {
            kind: LineKind::Heading,
            text: format!(
                "@@ -{},{} +{},{} @@ {}",
                if end > start { start + 1 } else { start },
                end - start,
                if to_end > to { to + 1 } else { to },
                to_end - to,
                place.parent(),
            )
            .trim_end()
            .to_owned(),
            rules: Vec::new(),
        });
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            let (kind, rules) = match change.tag() {
                ChangeTag::Equal => (LineKind::Context, Vec::new()),
                ChangeTag::Insert => {
                    let place = new.at(change.new_index().unwrap_or_default());
                    (
                        LineKind::Added,
                        place.rules(&text, changes, |change| &change.after),
                    )
                }
                ChangeTag::Delete => {
                    let place = old.at(change.old_index().unwrap_or_default());
                    let gone: Vec<&Change> = changes
                        .iter()
                        .copied()
                        .filter(|change| change.after.is_null())
                        .collect();
                    (
                        LineKind::Removed,
                        place.rules(&text, &gone, |change| &change.before),
                    )
                }
            };
            lines.push(Line { kind, text, rules });
        }
    }
    lines
}
