//! Graphviz: the same picture for those who want to lay it out themselves.

use std::fmt::Write as _;

use super::ties::ties;
use super::{by_namespace, remark};
use crate::graph::{Graph, Presence, Strength};

/// The graph in the language of Graphviz. An arrow leads from what refers to what it needs.
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from(
        "digraph ferry {\n  rankdir=RL;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=9];\n",
    );
    for (position, (namespace, nodes)) in by_namespace(graph).iter().enumerate() {
        let label = namespace.unwrap_or("cluster-wide");
        let _ = writeln!(
            out,
            "  subgraph cluster_{position} {{\n    label={};",
            quoted(label)
        );
        for number in nodes {
            let node = &graph.nodes[*number];
            let mut label = format!("{}\n{}", node.id.group_kind(), node.id.name);
            if let Some(remark) = remark(node.presence) {
                let _ = write!(label, "\n({remark})");
            }
            let look = match node.presence {
                Presence::Captured => "",
                Presence::OnB => ", color=gray50, fontcolor=gray40",
                Presence::Produced => ", style=\"rounded,dashed\"",
                Presence::Missing => ", color=red, fontcolor=red",
            };
            let _ = writeln!(out, "    n{number} [label={}{look}];", quoted(&label));
        }
        out.push_str("  }\n");
    }
    for tie in ties(graph) {
        let style = match tie.strength {
            Strength::H => "penwidth=2",
            Strength::R => "style=solid",
            Strength::S => "style=dashed",
            Strength::N => "style=dotted, constraint=false, color=gray60",
            Strength::P => "style=dashed, arrowhead=empty",
        };
        let circle = if tie.dropped {
            ", constraint=false, label=\"left out\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  n{} -> n{} [{style}{circle}, tooltip={}];",
            tie.from,
            tie.to,
            quoted(&format!("{} {}", tie.strength, tie.rules()))
        );
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{escaped}\"")
}
