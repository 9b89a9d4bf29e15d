//! What must hold for every picture, shown on graphs made at random.

use proptest::prelude::*;

use super::*;
use crate::graph::render::svg::arrange::arrange;
use crate::graph::render::ties::ties;
use crate::graph::{Edge, Graph, Node, Presence, Strength};
use crate::object::ObjectId;

/// Objects of several phases and two namespaces, and edges between any of them.
fn graphs() -> impl Strategy<Value = Graph> {
    const PHASES: [Phase; 4] = [
        Phase::Cluster,
        Phase::Skeleton,
        Phase::Storage,
        Phase::Workload,
    ];
    let nodes = prop::collection::vec((0usize..4, 0u32..3, 0usize..3), 1..60);
    let edges = prop::collection::vec((0usize..60, 0usize..60), 0..160);
    (nodes, edges).prop_map(|(nodes, edges)| {
        let nodes: Vec<Node> = nodes
            .into_iter()
            .enumerate()
            .map(|(number, (phase, wave, namespace))| Node {
                id: ObjectId::new(
                    "",
                    "Thing",
                    ["a", "b"].get(namespace).copied(),
                    format!("thing-{number:02}"),
                ),
                presence: Presence::Captured,
                phase: PHASES[phase],
                wave,
            })
            .collect();
        let edges = edges
            .into_iter()
            .filter(|(from, to)| from.max(to) < &nodes.len())
            .map(|(from, to)| Edge {
                from: nodes[from].id.clone(),
                to: nodes[to].id.clone(),
                strength: Strength::R,
                rule: "E-1".into(),
                path: "".into(),
            })
            .collect();
        Graph {
            nodes,
            edges,
            dropped: Vec::new(),
        }
    })
}

proptest! {
    #[test]
    fn no_two_boxes_touch_and_no_line_passes_through_one(graph in graphs()) {
        let ties = ties(&graph);
        let mut grid = Grid::new(&graph, &ties);
        arrange(&mut grid);
        let frame = Frame::new(&grid);
        for (number, a) in grid.items.iter().enumerate() {
            let (top, bottom) = frame.bands[a.band];
            prop_assert!(frame.middle(a) > top && frame.middle(a) < bottom);
            for b in &grid.items[number + 1..] {
                if a.column == b.column && (a.node.is_some() || b.node.is_some()) {
                    let apart = (frame.middle(a) - frame.middle(b)).abs();
                    let room = if a.node.is_some() && b.node.is_some() { BOX } else { BOX / 2.0 };
                    prop_assert!(apart > room, "{apart} between {a:?} and {b:?}");
                }
            }
        }
    }
}
