//! What Ferry makes of a case, as text for reviewers.

use std::fmt::Write as _;

use ferry::capture::Capture;
use ferry::diff::{self, MaskKey};
use ferry::finding::Finding;
use ferry::graph::Graph;
use ferry::object::ObjectId;
use ferry::pipeline::Prepared;
use ferry::plan::{Action, Plan, Step};

/// What stays on A and why, and the claims whose data travels.
pub fn captured(capture: &Capture) -> String {
    let mut text = String::from("stays:\n");
    for one in &capture.dropped {
        write!(text, "  {:6} {}: {}", one.rule, one.id, one.reason).unwrap();
        if let Some(owner) = &one.produced_by {
            write!(text, " ({owner} makes it)").unwrap();
        }
        text.push('\n');
    }
    let volumes = capture.volumes.iter().map(|volume| {
        let users: Vec<String> = volume.mounted_by.iter().map(ToString::to_string).collect();
        let users = if users.is_empty() {
            "nothing".into()
        } else {
            users.join(", ")
        };
        format!(
            "{} ({:?}, {} bytes), mounted by {users}",
            volume.claim, volume.mode, volume.capacity
        )
    });
    section(&mut text, "data of", volumes);
    let owned = capture.objects.iter().flat_map(|one| {
        one.owners
            .iter()
            .map(|owner| format!("{} of {}", one.object.id(), owner.id))
    });
    section(&mut text, "travels although owned", owned);
    text
}

/// Every object that travels, by wave and phase, with what it refers to.
pub fn graph(graph: &Graph) -> String {
    let mut text = String::new();
    for node in graph.order() {
        let phase = format!("{:?}", node.phase).to_lowercase();
        writeln!(text, "{:>3} {phase:9} {}", node.wave, node.id).unwrap();
        for line in needs(graph, &node.id) {
            writeln!(text, "                {line}").unwrap();
        }
    }
    section(
        &mut text,
        "missing",
        graph.missing().keys().map(ToString::to_string),
    );
    let dropped = graph.dropped.iter().map(|dropped| {
        let edge = &dropped.edge;
        let because: Vec<String> = dropped.because.iter().map(ToString::to_string).collect();
        let because = match because.as_slice() {
            [] => "their phases say the opposite".to_owned(),
            path => path.join(" -> "),
        };
        format!("{} {} -> {}: {because}", edge.rule, edge.from, edge.to)
    });
    section(&mut text, "left out of the order", dropped);
    text
}

/// What an object refers to, but for its namespace, which everything does.
fn needs(graph: &Graph, id: &ObjectId) -> Vec<String> {
    let edges = graph.edges.iter();
    edges
        .filter(|edge| edge.from == *id && edge.rule != "E-1")
        .map(|edge| format!("{} {:6} {}", edge.strength, edge.rule, edge.to))
        .collect()
}

/// Every finding with its evidence and remedy.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding {
            verdict,
            rule,
            object,
            path,
            message,
            evidence,
            remedy,
        } = finding;
        let object = object
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_else(|| "-".into());
        let path = path.as_deref().filter(|path| !path.is_empty());
        let path = path.map(|path| format!(" {path}")).unwrap_or_default();
        writeln!(text, "{verdict:5} {rule:5} {object}{path}: {message}").unwrap();
        for (word, line) in [("seen", evidence), ("do", remedy)] {
            if let Some(line) = line {
                writeln!(text, "      {word}: {}", line.replace('\n', "\n      ")).unwrap();
            }
        }
    }
    text
}

/// Every step in its wave.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let mut waves: Vec<&Step> = plan.steps.iter().collect();
    waves.sort_by_key(|step| (step.wave, step.number));
    let mut last = None;
    for step in waves {
        if last != Some(step.wave) {
            writeln!(text, "wave {}", step.wave).unwrap();
            last = Some(step.wave);
        }
        let phase = format!("{:?}", step.phase).to_lowercase();
        let held = match &step.action {
            Action::Apply { holds, .. } => {
                let line = |hold: &ferry::plan::Hold| format!("  {} = {}", hold.path, hold.held);
                holds.iter().map(line).collect()
            }
            _ => String::new(),
        };
        writeln!(
            text,
            "  {:8} {phase:9} {}{held}",
            step.action.word(),
            step.object
        )
        .unwrap();
    }
    text
}

/// What differs between A and B, each line with the rule that changed it, and what looks like a name
/// and was left alone.
pub fn diff(prepared: &Prepared) -> String {
    let mut text = diff::render_plain(&diff::plan(&prepared.plan, &MaskKey::new(&[7; 32])));
    let alike = prepared.transformed.lookalikes.iter();
    section(
        &mut text,
        "left alone",
        alike.map(|look| {
            format!(
                "{} {} {}: {}",
                look.rule, look.object, look.path, look.excerpt
            )
        }),
    );
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        writeln!(text, "\n{title}:\n  {}", lines.join("\n  ")).unwrap();
    }
}
