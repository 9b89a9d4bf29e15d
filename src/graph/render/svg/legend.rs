//! Title and legend: only what is in the picture is explained.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::draw::escaped;
use super::font;
use super::frame::{Frame, MARGIN};
use super::style::{self, FAMILIES, Family, MISSING, ON_TARGET, STRENGTHS};
use crate::graph::render::ties::Tie;
use crate::graph::{Graph, Presence};

/// Between two entries, and between two lines of them.
const GAP: f64 = 22.0;
const LINE: f64 = 22.0;
/// Width of a sample.
const SAMPLE: f64 = 30.0;

/// What the picture shows, and how to read it.
pub(super) fn title(graph: &Graph, ties: &[Tie]) -> (String, String) {
    let count = |presence| {
        graph
            .nodes
            .iter()
            .filter(|node| node.presence == presence)
            .count()
    };
    let namespaces: BTreeSet<&str> = graph
        .nodes
        .iter()
        .filter(|node| node.presence == Presence::Captured)
        .filter_map(|node| node.id.namespace.as_deref())
        .collect();
    let title = format!(
        "{} — {}, {}",
        match namespaces.len() {
            0 => "References".to_owned(),
            1..=4 => namespaces.into_iter().collect::<Vec<_>>().join(", "),
            many => format!("{many} namespaces"),
        },
        plural(count(Presence::Captured), "object"),
        plural(ties.len(), "reference"),
    );
    let mut parts = vec!["left is there first; arrows lead to what is needed".to_owned()];
    for (presence, words) in [
        (Presence::OnB, "on the target already"),
        (Presence::Produced, "made by controllers"),
        (Presence::Missing, "missing"),
    ] {
        if count(presence) > 0 {
            parts.push(format!("{} {words}", count(presence)));
        }
    }
    if !graph.dropped.is_empty() {
        parts.push(format!("{} left out of the order", graph.dropped.len()));
    }
    (title, parts.join("  ·  "))
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The legend, and where it ends.
pub(super) fn legend(graph: &Graph, ties: &[Tie], frame: &Frame) -> (String, f64) {
    let mut legend = Legend {
        out: String::new(),
        x: MARGIN,
        y: frame.bottom + 30.0,
        width: frame.width,
    };
    let has = |presence| graph.nodes.iter().any(|node| node.presence == presence);
    let own = |presence| matches!(presence, Presence::Captured | Presence::Produced);
    for family in FAMILIES {
        let seen = graph
            .nodes
            .iter()
            .any(|node| own(node.presence) && Family::of(&node.id) == family);
        if seen {
            legend.chip(family.colours(), "", family.label());
        }
    }
    if has(Presence::OnB) {
        legend.chip(ON_TARGET, "", "on the target");
    }
    if has(Presence::Produced) {
        let colours = Family::Workload.colours();
        legend.chip(
            (colours.0, "#fff"),
            " stroke-dasharray=\"4 3\"",
            "made by a controller",
        );
    }
    if has(Presence::Missing) {
        legend.chip(MISSING, " stroke-width=\"2\"", "missing");
    }
    legend.newline();
    for (strength, label) in STRENGTHS {
        if ties.iter().any(|tie| tie.strength == strength) {
            legend.line(style::class(strength), &format!("{strength}  {label}"));
        }
    }
    legend.text("Every object needs the namespace whose frame it stands in.");
    (legend.out, legend.y)
}

struct Legend {
    out: String,
    x: f64,
    y: f64,
    width: f64,
}

impl Legend {
    fn chip(&mut self, (line, fill): (&str, &str), extra: &str, label: &str) {
        let (x, y) = self.place(SAMPLE, label);
        let _ = writeln!(
            self.out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"22\" height=\"13\" rx=\"3\" fill=\"{fill}\" stroke=\"{line}\"{extra}/>",
            y - 10.5
        );
        self.label(x + SAMPLE, y, label);
    }

    fn line(&mut self, class: &str, label: &str) {
        let (x, y) = self.place(SAMPLE + 8.0, label);
        let _ = writeln!(
            self.out,
            "<path class=\"e {class}\" stroke=\"#424a53\" d=\"M{x:.1} {:.1}h30\"/>",
            y - 4.0
        );
        self.label(x + SAMPLE + 8.0, y, label);
    }

    fn text(&mut self, text: &str) {
        let (x, y) = self.place(0.0, text);
        self.label(x, y, text);
    }

    /// Takes room for an entry, on the next line if this one is full.
    fn place(&mut self, sample: f64, label: &str) -> (f64, f64) {
        let width = sample + font::regular(label, 11.0);
        if self.x > MARGIN && self.x + width > self.width - MARGIN {
            self.newline();
        }
        let place = (self.x, self.y);
        self.x += width + GAP;
        place
    }

    fn label(&mut self, x: f64, y: f64, text: &str) {
        let _ = writeln!(
            self.out,
            "<text class=\"key\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escaped(text)
        );
    }

    fn newline(&mut self) {
        self.x = MARGIN;
        self.y += LINE;
    }
}
