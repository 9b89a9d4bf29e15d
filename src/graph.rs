//! Stage 2: what refers to what.
//!
//! Nodes are objects, edges are typed references found by the rules of `transforms/builtin/edges.yaml`
//! (rule book §1). The order of everything that follows comes from here; no list of kinds decides it.

mod alike;
mod build;
mod grants;
mod known;
mod makers;
mod nodes;
mod order;
mod policies;
mod query;
pub mod references;
pub mod render;
pub mod roots;
mod selectors;
mod wishes;

pub use build::{GraphError, GraphInput, build};
pub use query::Link;

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};

/// How strongly the source needs the target (rule book §0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Strength {
    /// Create gate: the API rejects the source, or the result is wrong, without a ready target.
    H,
    /// Run gate: the source can be created but never becomes ready without the target.
    R,
    /// Soft order.
    S,
    /// No order: closure, renames, impact and diff only.
    N,
    /// The source's controller produces the target.
    P,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::H => "H",
            Self::R => "R",
            Self::S => "S",
            Self::N => "N",
            Self::P => "P",
        })
    }
}

/// Where a node's object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It travels.
    Captured,
    /// It is on B already and is used there.
    OnB,
    /// A controller on B will make it.
    Produced,
    /// It is nowhere.
    Missing,
}

/// What controllers make of some objects, by the rules of `produces.yaml` (E-P).
pub fn products(objects: &[Object], knowledge: &Knowledge) -> Vec<ObjectId> {
    let products = makers::made(objects, knowledge).into_iter();
    products.map(|(product, _)| product).collect()
}

/// One reference: `from` needs `to`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// The object that refers.
    pub from: ObjectId,
    /// The object referred to.
    pub to: ObjectId,
    /// How strongly.
    pub strength: Strength,
    /// Rule id, as in `E-PT3`.
    pub rule: SmolStr,
    /// RFC 6901 pointer of the reference in `from`; empty for derived edges.
    pub path: SmolStr,
}

/// A phase of the restore (W-1). A phase is a barrier; H and R references win over it, S does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Cluster-wide prerequisites: CRDs, ClusterRoles.
    Cluster,
    /// Namespace, ServiceAccounts, RBAC, ConfigMaps, Secrets, Services.
    Skeleton,
    /// Claims and their data.
    Storage,
    /// Workloads and custom resources, created held.
    Workload,
    /// Holds taken off once the data is proven.
    Release,
    /// Ingress, Routes, autoscalers, quotas, webhooks.
    Exposure,
}

/// One object in the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The object.
    pub id: ObjectId,
    /// Where it is.
    pub presence: Presence,
    /// The phase in which it is written.
    pub phase: Phase,
    /// Longest path to it within the order, from 0 (W-1).
    pub wave: u32,
}

/// An optional edge that would have closed a cycle and was left out of the order (`edge_dropped`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedEdge {
    /// The edge.
    pub edge: Edge,
    /// The path from `edge.to` that already led back to `edge.from`. Empty when the phases of the two
    /// objects say the opposite.
    pub because: Vec<ObjectId>,
}

/// Objects and what they refer to. Nodes are sorted by id, edges by (from, to, rule, path).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// Every object known.
    pub nodes: Vec<Node>,
    /// Every reference found, N and P edges included.
    pub edges: Vec<Edge>,
    /// Edges left out of the order.
    pub dropped: Vec<DroppedEdge>,
}

#[cfg(test)]
mod tests;
