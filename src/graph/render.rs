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

use super::{Graph, Presence};

/// The graph as it is, for other programs.
pub fn json(graph: &Graph) -> String {
    // Strings and numbers only: it always has a JSON form.
    serde_json::to_string_pretty(graph).unwrap_or_default() + "\n"
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
