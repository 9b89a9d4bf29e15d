//! Diffs in colour; without it, the signs say the same.

use super::palette::{Role, paint};
use crate::diff::{Line, LineKind, ObjectDiff};

/// Renders diffs for the terminal.
pub fn render(diffs: &[ObjectDiff]) -> String {
    let mut out = String::new();
    for diff in diffs {
        let (added, removed) = diff.counts();
        let counts = format!("+{added} -{removed}");
        out.push_str(&format!(
            "{}  {}\n",
            paint(Role::Heading, diff.title()),
            paint(Role::Dim, counts)
        ));
        for note in &diff.notes {
            out.push_str(&format!("{}\n", paint(Role::Dim, format!("# {note}"))));
        }
        out.push_str(&lines(&diff.lines));
        out.push('\n');
    }
    out
}

/// Renders the lines of one diff.
pub fn lines(lines: &[Line]) -> String {
    let line = |line: &Line| {
        let text = match line.kind {
            LineKind::Heading => paint(Role::Hint, line),
            LineKind::Added => paint(Role::Good, line),
            LineKind::Removed => paint(Role::Bad, line),
            LineKind::Context => line.to_string(),
        };
        format!("{text}\n")
    };
    lines.iter().map(line).collect()
}
