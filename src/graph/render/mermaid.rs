//! Mermaid: for Markdown, where it is drawn by the site that shows it.

use std::fmt::Write as _;

use super::ties::ties;
use super::{by_namespace, remark};
use crate::graph::{Graph, Presence, Strength};

/// The graph as a Mermaid flow chart. An arrow leads from what refers to what it needs.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::from("flowchart RL\n");
    for (position, (namespace, nodes)) in by_namespace(graph).iter().enumerate() {
        let label = namespace.unwrap_or("cluster-wide");
        let _ = writeln!(out, "  subgraph g{position} [\"{}\"]", escaped(label));
        for number in nodes {
            let node = &graph.nodes[*number];
            let mut label = format!(
                "{}<br/>{}",
                escaped(&node.id.group_kind().to_string()),
                escaped(&node.id.name)
            );
            if let Some(remark) = remark(node.presence) {
                let _ = write!(label, "<br/>({remark})");
            }
            let _ = writeln!(out, "    n{number}[\"{label}\"]{}", class(node.presence));
        }
        out.push_str("  end\n");
    }
    for tie in ties(graph) {
        let arrow = match tie.strength {
            Strength::H => "==>",
            Strength::R => "-->",
            Strength::S | Strength::P => "-.->",
            Strength::N => "-.-",
        };
        let _ = writeln!(
            out,
            "  n{} {arrow}|\"{}\"| n{}",
            tie.from,
            escaped(&tie.rules()),
            tie.to
        );
    }
    out.push_str("  classDef missing stroke:#cf222e,color:#cf222e\n");
    out.push_str("  classDef onb stroke:#8c959f,color:#6e7781\n");
    out.push_str("  classDef produced stroke-dasharray:4 3\n");
    out
}

fn class(presence: Presence) -> &'static str {
    match presence {
        Presence::Captured => "",
        Presence::OnB => ":::onb",
        Presence::Produced => ":::produced",
        Presence::Missing => ":::missing",
    }
}

/// Mermaid knows no escape but its own entities.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            other => out.push(other),
        }
    }
    out
}
