//! The graph for people and for programs.
//!
//! Every form is made from the same [`ties`](ties::ties): references between the same two objects are
//! one line that tells all its rules. What every object needs of its own namespace is not drawn; the
//! namespace's frame says it.

mod dot;
mod mermaid;
mod svg;
mod text;
mod ties;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
pub use text::text;

use std::collections::BTreeMap;

use super::{Graph, Presence};

/// The graph as it is, for other programs.
pub fn json(graph: &Graph) -> String {
    // Strings and numbers only: it always has a JSON form.
    serde_json::to_string_pretty(graph).unwrap_or_default() + "\n"
}

/// Numbers of nodes by namespace; first what is in none.
fn by_namespace(graph: &Graph) -> BTreeMap<Option<&str>, Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        let group = groups.entry(node.id.namespace.as_deref());
        group.or_default().push(number);
    }
    groups
}

/// What to say about a node that does not travel; nothing about one that does.
fn remark(presence: Presence) -> Option<&'static str> {
    match presence {
        Presence::Captured => None,
        Presence::OnB => Some("on target"),
        Presence::Produced => Some("produced"),
        Presence::Missing => Some("missing"),
    }
}

#[cfg(test)]
mod tests;
