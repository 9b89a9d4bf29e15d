//! The recipe as text: a person reads and edits it, so every line says why it is there.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Line, Section};
use crate::capture::Capture;
use crate::surface::{ClusterIdentity, Surface};
use crate::transform::parse::{API_VERSION, KIND};
use crate::yaml;

/// What stands above the transforms.
pub(super) struct Head<'h> {
    pub(super) name: &'h str,
    pub(super) capture: &'h Capture,
    pub(super) target: Option<&'h Surface>,
    /// Whether the capture has OpenShift's kinds and B has not.
    pub(super) openshift: bool,
}

pub(super) fn recipe(head: &Head<'_>, sections: &[Section]) -> String {
    let mut out = header(head);
    let active = |section: &Section| section.lines.iter().any(|line| line.active);
    out.push_str(match sections.iter().any(active) {
        true => "transforms:\n",
        // A list of comments only would be nothing at all.
        false => "transforms: []  # remove the brackets when you uncomment an entry\n",
    });
    for section in sections {
        out.push_str(&text(section));
    }
    out
}

fn header(head: &Head<'_>) -> String {
    let Head {
        name,
        capture,
        target,
        openshift,
    } = head;
    // A cluster that was read from files has no version.
    let shown = |cluster: &ClusterIdentity| match cluster.version.as_str() {
        "" => cluster.name.clone(),
        version => format!("{} ({version})", cluster.name),
    };
    let from = shown(&capture.surface.cluster);
    let mut out = format!(
        "# A recipe to start from, for capture {} of cluster {from}",
        capture.id
    );
    if let Some(target) = target {
        let target = shown(&target.cluster);
        let _ = write!(out, "\n# that is to be restored to cluster {target}");
    }
    out.push_str(
        ".\n#\n# Every name below was found in the capture. Active lines say why they were chosen; the lines in\n\
         # comments are yours to decide. Try it with `ferry recipe explain` and `ferry plan --diff`.\n",
    );
    let name = scalar(name);
    let _ = write!(
        out,
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {name}\n"
    );
    if *openshift {
        out.push_str(
            "# The capture has kinds of OpenShift that the target does not serve. This converts them:\n\
             # include: ['builtin:openshift-to-kubernetes']\n",
        );
    }
    out
}

fn text(section: &Section) -> String {
    let active = section.lines.iter().any(|line| line.active);
    let mut out = String::from("\n");
    for sentence in &section.about {
        let _ = writeln!(out, "  # {sentence}");
    }
    if section.lines.is_empty() {
        return out;
    }
    let sign = if active { "" } else { "# " };
    let _ = writeln!(out, "  {sign}- {}:\n  {sign}    map:", section.key);
    for line in &section.lines {
        let Line { from, to, why, .. } = line;
        let sign = if line.active { "" } else { "# " };
        let _ = writeln!(
            out,
            "  {sign}      {}: {}  # {why}",
            scalar(from),
            scalar(to)
        );
    }
    out
}

/// A name as YAML writes it, quoted where it must be.
fn scalar(text: &str) -> String {
    yaml::emit(&Value::from(text))
        .map_or_else(|_| format!("{text:?}"), |text| text.trim_end().into())
}
