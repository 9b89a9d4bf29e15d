//! What differs between two objects, or two states of many, as text for people (rule book §6).
//!
//! ```text
//! before ─▶ normalise ─▶ mask ─▶ YAML ─┐
//!                                      ├─ lines ─▶ ObjectDiff ─▶ report (coloured) | diff.patch
//! after  ─▶ normalise ─▶ mask ─▶ YAML ─┘
//! ```
//!
//! A diff is a value made of lines that say what they are; colour comes later, elsewhere. Values of
//! Secrets are never in it: a keyed digest stands for each, so that equal stays equal (D-2). A diff
//! decides nothing; nobody applies it.

mod lines;
mod mask;
mod normalise;
mod places;
mod plan;

pub use lines::{Line, LineKind};
pub use mask::MaskKey;
pub(crate) use mask::replace_passwords;
pub use normalise::normalise;
pub use plan::plan;

use std::fmt::Write as _;

use serde::Serialize;

use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};

/// What differs in one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectDiff {
    /// The object by its name before, or after if it is new.
    pub before: Option<ObjectId>,
    /// The object by its name after; `None` when it is gone.
    pub after: Option<ObjectId>,
    /// What is done with it, in a word (D-15); empty for a plain comparison.
    pub class: String,
    /// What else there is to say, a sentence each.
    pub notes: Vec<String>,
    /// Lines removed, added and left, with headings; empty when nothing differs.
    pub lines: Vec<Line>,
}

impl ObjectDiff {
    /// The heading: the object, its new name if it has one, and what is done with it.
    pub fn title(&self) -> String {
        let mut title = match (&self.before, &self.after) {
            (Some(before), Some(after)) if before == after => before.to_string(),
            (Some(before), Some(after)) if before.group_kind() == after.group_kind() => {
                format!("{before} → {}", name(after))
            }
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (Some(id), _) | (None, Some(id)) => id.to_string(),
            (None, None) => String::new(),
        };
        if !self.class.is_empty() {
            let _ = write!(title, "  [{}]", self.class);
        }
        title
    }

    /// How many lines are added and removed.
    pub fn counts(&self) -> (usize, usize) {
        let count = |kind| self.lines.iter().filter(|line| line.kind == kind).count();
        (count(LineKind::Added), count(LineKind::Removed))
    }
}

fn name(id: &ObjectId) -> String {
    match &id.namespace {
        Some(namespace) => format!("{namespace}/{}", id.name),
        None => id.name.to_string(),
    }
}

/// Whether two objects are the same but for what is no real difference.
pub fn equal(a: &Object, b: &Object, knowledge: &Knowledge) -> bool {
    normalise(a, knowledge) == normalise(b, knowledge)
}

/// Compares two states of one object; `None` stands for its absence.
pub fn objects(
    before: Option<&Object>,
    after: Option<&Object>,
    knowledge: &Knowledge,
    key: &MaskKey,
) -> ObjectDiff {
    let text = |object: Option<&Object>| object.map(|object| mask::shown(object, knowledge, key));
    ObjectDiff {
        before: before.map(Object::id),
        after: after.map(Object::id),
        class: String::new(),
        notes: Vec::new(),
        lines: lines::unified(
            &text(before).unwrap_or_default(),
            &text(after).unwrap_or_default(),
            &[],
        ),
    }
}

/// Compares two states of one object to the letter, nothing normalised away.
pub fn exact(
    before: Option<&Object>,
    after: Option<&Object>,
    knowledge: &Knowledge,
    key: &MaskKey,
) -> ObjectDiff {
    let text =
        |object: Option<&Object>| object.map(|object| mask::shown_whole(object, knowledge, key));
    ObjectDiff {
        before: before.map(Object::id),
        after: after.map(Object::id),
        class: String::new(),
        notes: Vec::new(),
        lines: text_lines(
            &text(before).unwrap_or_default(),
            &text(after).unwrap_or_default(),
        ),
    }
}

/// Compares two texts line by line.
pub fn text_lines(before: &str, after: &str) -> Vec<Line> {
    lines::unified(before, after, &[])
}

/// What an apply would change on B: the live object against what B's dry run answered.
pub fn drift(live: &Object, dry_run: &Object, knowledge: &Knowledge, key: &MaskKey) -> ObjectDiff {
    objects(Some(live), Some(dry_run), knowledge, key)
}

/// All diffs as plain text: a patch for reading, in which signs say what colour says elsewhere.
pub fn render_plain(diffs: &[ObjectDiff]) -> String {
    let mut out = String::new();
    for diff in diffs {
        let _ = writeln!(out, "=== {}", diff.title());
        for note in &diff.notes {
            let _ = writeln!(out, "# {note}");
        }
        for line in &diff.lines {
            let _ = writeln!(out, "{line}");
        }
        if !diff.lines.is_empty() {
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests;
