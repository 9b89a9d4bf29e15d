//! Questions to a graph: the order, why an object is there, what breaks without it, a part of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Edge, Graph, Node, Presence, Strength};
use crate::object::ObjectId;

/// One object reached from another, and the edge by which it was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The object reached.
    pub id: ObjectId,
    /// How many edges away.
    pub distance: u32,
    /// The edge that reached it, read as `from` needs `to`.
    pub edge: Edge,
}

impl Graph {
    /// One node.
    pub fn node(&self, id: &ObjectId) -> Option<&Node> {
        let position = self.nodes.binary_search_by(|node| node.id.cmp(id)).ok()?;
        self.nodes.get(position)
    }

    /// The objects that travel, in an order that keeps every edge not dropped: by wave, then id.
    pub fn order(&self) -> Vec<&Node> {
        let mut nodes: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| node.presence == Presence::Captured)
            .collect();
        nodes.sort_by_key(|node| (node.wave, &node.id));
        nodes
    }

    /// The edges of an object that order it: what must come before it.
    pub fn predecessors<'a>(&'a self, id: &'a ObjectId) -> impl Iterator<Item = &'a Edge> {
        self.outgoing(id)
            .iter()
            .filter(|edge| edge.strength < Strength::N && !self.is_dropped(edge))
    }

    /// Objects that are nowhere, each with the edges that refer to it.
    pub fn missing(&self) -> BTreeMap<&ObjectId, Vec<&Edge>> {
        let mut missing: BTreeMap<&ObjectId, Vec<&Edge>> = BTreeMap::new();
        for edge in &self.edges {
            let node = self.node(&edge.to);
            if node.is_some_and(|node| node.presence == Presence::Missing) {
                missing.entry(&edge.to).or_default().push(edge);
            }
        }
        missing
    }

    /// Why an object is there: the shortest chain of edges from an object that nothing refers to.
    /// The first edge's `from` is that object, the last one's `to` is `id`. Empty when nothing refers
    /// to `id` either. Membership in a namespace or type explains nothing and is not followed.
    pub fn why(&self, id: &ObjectId) -> Vec<&Edge> {
        let incoming = self.incoming();
        let reasons = |id: &ObjectId| {
            let edges = incoming.get(id).into_iter().flatten().copied();
            edges.filter(|edge| !matches!(edge.rule.as_str(), "E-1" | "E-2" | "E-3"))
        };
        let mut by: BTreeMap<&ObjectId, &Edge> = BTreeMap::new();
        let mut queue = VecDeque::from([id]);
        let mut seen = BTreeSet::from([id]);
        let mut last = id;
        while let Some(at) = queue.pop_front() {
            last = at;
            let mut referred = false;
            for edge in reasons(at) {
                referred = true;
                if seen.insert(&edge.from) {
                    by.insert(&edge.from, edge);
                    queue.push_back(&edge.from);
                }
            }
            if !referred {
                break;
            }
        }
        let mut chain = Vec::new();
        while let Some(edge) = by.get(last) {
            chain.push(*edge);
            last = &edge.to;
        }
        chain
    }

    /// What breaks without an object: everything that needs it to be created or to run (H, R), near
    /// ones first.
    pub fn impact(&self, id: &ObjectId) -> Vec<Link> {
        let incoming = self.incoming();
        self.reach(id, |at| {
            let edges = incoming.get(at).into_iter().flatten().copied();
            edges
                .filter(|edge| matches!(edge.strength, Strength::H | Strength::R))
                .map(|edge| (&edge.from, edge))
                .collect()
        })
    }

    /// The part of the graph at most `depth` edges away from an object, in either direction. An
    /// object's namespace and type are shown but not walked through: they are near everything.
    #[must_use]
    pub fn focus(&self, id: &ObjectId, depth: u32) -> Self {
        let incoming = self.incoming();
        let hub = |id: &ObjectId| {
            id.is("", "Namespace") || id.is("apiextensions.k8s.io", "CustomResourceDefinition")
        };
        let mut near = BTreeMap::from([(id, 0u32)]);
        let mut queue = VecDeque::from([id]);
        while let Some(at) = queue.pop_front() {
            let distance = near[at];
            if distance == depth || (hub(at) && at != id) {
                continue;
            }
            let forth = self.outgoing(at).iter().map(|edge| &edge.to);
            let back = incoming
                .get(at)
                .into_iter()
                .flatten()
                .map(|edge| &edge.from);
            for next in forth.chain(back) {
                if !near.contains_key(next) {
                    near.insert(next, distance + 1);
                    queue.push_back(next);
                }
            }
        }
        let inside = |edge: &Edge| near.contains_key(&edge.from) && near.contains_key(&edge.to);
        let nodes = self.nodes.iter();
        Self {
            nodes: nodes
                .filter(|node| near.contains_key(&node.id))
                .cloned()
                .collect(),
            edges: self
                .edges
                .iter()
                .filter(|edge| inside(edge))
                .cloned()
                .collect(),
            dropped: self
                .dropped
                .iter()
                .filter(|dropped| inside(&dropped.edge))
                .cloned()
                .collect(),
        }
    }

    /// The edges from one object; edges are sorted by it.
    fn outgoing(&self, id: &ObjectId) -> &[Edge] {
        let start = self.edges.partition_point(|edge| edge.from < *id);
        let end = self.edges.partition_point(|edge| edge.from <= *id);
        &self.edges[start..end]
    }

    fn incoming(&self) -> BTreeMap<&ObjectId, Vec<&Edge>> {
        let mut incoming: BTreeMap<&ObjectId, Vec<&Edge>> = BTreeMap::new();
        for edge in &self.edges {
            incoming.entry(&edge.to).or_default().push(edge);
        }
        incoming
    }

    fn is_dropped(&self, edge: &Edge) -> bool {
        self.dropped.iter().any(|dropped| dropped.edge == *edge)
    }

    fn reach<'a>(
        &'a self,
        start: &'a ObjectId,
        next: impl Fn(&ObjectId) -> Vec<(&'a ObjectId, &'a Edge)>,
    ) -> Vec<Link> {
        let mut seen = BTreeSet::from([start]);
        let mut queue = VecDeque::from([(start, 0)]);
        let mut found = Vec::new();
        while let Some((at, distance)) = queue.pop_front() {
            for (id, edge) in next(at) {
                if seen.insert(id) {
                    found.push(Link {
                        id: id.clone(),
                        distance: distance + 1,
                        edge: edge.clone(),
                    });
                    queue.push_back((id, distance + 1));
                }
            }
        }
        found
    }
}
