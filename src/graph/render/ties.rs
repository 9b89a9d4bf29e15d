//! Edges as they are drawn: one line between two objects, however many references it stands for.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Edge, Graph, Strength};
use crate::object::ObjectId;

/// All references from one object to another.
#[derive(Clone, Debug)]
pub(super) struct Tie<'g> {
    /// Position in the graph's nodes of the object that refers.
    pub(super) from: usize,
    /// Position of the object referred to.
    pub(super) to: usize,
    /// The strongest of them.
    pub(super) strength: Strength,
    /// Whether that one was left out of the order.
    pub(super) dropped: bool,
    /// The references.
    pub(super) edges: Vec<&'g Edge>,
}

impl Tie<'_> {
    /// Ids of the rules behind it, each once.
    pub(super) fn rules(&self) -> String {
        let rules: BTreeSet<&str> = self.edges.iter().map(|edge| edge.rule.as_str()).collect();
        rules.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// All ties, by their ends. Without those of objects to themselves and to their own namespaces.
pub(super) fn ties(graph: &Graph) -> Vec<Tie<'_>> {
    let numbers: BTreeMap<&ObjectId, usize> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(number, node)| (&node.id, number))
        .collect();
    let dropped: BTreeSet<&Edge> = graph.dropped.iter().map(|dropped| &dropped.edge).collect();
    let mut ties: BTreeMap<(usize, usize), Tie> = BTreeMap::new();
    for edge in &graph.edges {
        let (Some(&from), Some(&to)) = (numbers.get(&edge.from), numbers.get(&edge.to)) else {
            continue;
        };
        if from == to || is_own_namespace(edge) {
            continue;
        }
        let tie = ties.entry((from, to)).or_insert_with(|| Tie {
            from,
            to,
            strength: edge.strength,
            dropped: dropped.contains(edge),
            edges: Vec::new(),
        });
        if edge.strength < tie.strength {
            tie.strength = edge.strength;
            tie.dropped = dropped.contains(edge);
        }
        tie.edges.push(edge);
    }
    ties.into_values().collect()
}

fn is_own_namespace(edge: &Edge) -> bool {
    edge.to.is("", "Namespace") && edge.from.namespace.as_ref() == Some(&edge.to.name)
}
