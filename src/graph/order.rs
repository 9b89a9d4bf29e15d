//! From edges to phases and waves (W-1), with cycles broken where that is allowed (rule book §0).
//!
//! Required edges (H) come first: a cycle among them is an error, with every step of it. Then the
//! optional ones (R, S) are added one by one in a stable order, skipping each whose reverse path
//! exists. Only edges inside one strongly connected component can close a cycle, so paths are
//! searched there alone; everything else is linear in nodes and edges.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;

use super::Phase;

/// `from` comes after `to`; nodes are numbered in order of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arc {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Which edge of the graph this is.
    pub(super) edge: usize,
}

/// What orders. Each list is in the stable order in which its arcs are to be added.
#[derive(Default)]
pub(super) struct Arcs {
    pub(super) hard: Vec<Arc>,
    pub(super) run: Vec<Arc>,
    pub(super) soft: Vec<Arc>,
}

/// The order found.
pub(super) struct Order {
    pub(super) phases: Vec<Phase>,
    pub(super) waves: Vec<u32>,
    /// Arcs left out, each with the path that already led back; empty when the phases decide.
    pub(super) dropped: Vec<(Arc, Vec<u32>)>,
    /// Circles of hard arcs. When there are any, the rest is as good as can be without them.
    pub(super) cycles: Vec<Vec<Arc>>,
}

/// Orders nodes whose own phases are given; only those that are written count for waves.
pub(super) fn order(phases: Vec<Phase>, written: &[bool], arcs: &Arcs) -> Order {
    let mut kept = Kept::new(phases.len());
    let cycles = hard_cycles(phases.len(), &arcs.hard);
    // With cycles, hard arcs that close none still order: the picture beside the error is right.
    add(&mut kept, &arcs.hard);
    let mut dropped = add(&mut kept, &arcs.run);
    let phases = settle(phases, &kept);
    let phase = |node: u32| phases[node as usize];
    let (against, soft): (Vec<Arc>, Vec<Arc>) = arcs
        .soft
        .iter()
        .partition(|arc| phase(arc.from) < phase(arc.to));
    dropped.extend(against.into_iter().map(|arc| (arc, Vec::new())));
    dropped.extend(add(&mut kept, &soft));
    let waves = waves(&phases, written, &kept);
    Order {
        phases,
        waves,
        dropped,
        cycles,
    }
}

/// Arcs kept so far, by their source.
struct Kept {
    targets: Vec<Vec<u32>>,
}

impl Kept {
    fn new(nodes: usize) -> Self {
        Self {
            targets: vec![Vec::new(); nodes],
        }
    }

    fn add(&mut self, arc: Arc) {
        self.targets[arc.from as usize].push(arc.to);
    }

    /// The shortest path between two nodes that stays inside one component.
    fn path(&self, from: u32, to: u32, component: &[u32]) -> Option<Vec<u32>> {
        let home = component[from as usize];
        let mut came_from = BTreeMap::from([(from, from)]);
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            if node == to {
                let mut path = vec![to];
                let mut at = to;
                while at != from {
                    at = came_from[&at];
                    path.push(at);
                }
                path.reverse();
                return Some(path);
            }
            for &next in &self.targets[node as usize] {
                if component[next as usize] == home && !came_from.contains_key(&next) {
                    came_from.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        None
    }

    /// Nodes in an order in which every node follows its targets. All of them, as the arcs kept
    /// close no circle.
    fn targets_first(&self) -> Vec<u32> {
        let mut waiting: Vec<usize> = self.targets.iter().map(Vec::len).collect();
        let mut sources = vec![Vec::new(); self.targets.len()];
        for (from, targets) in (0u32..).zip(&self.targets) {
            for &to in targets {
                sources[to as usize].push(from);
            }
        }
        let mut ready: VecDeque<u32> = (0u32..)
            .zip(&waiting)
            .filter(|(_, waiting)| **waiting == 0)
            .map(|(node, _)| node)
            .collect();
        let mut order = Vec::with_capacity(self.targets.len());
        while let Some(node) = ready.pop_front() {
            order.push(node);
            for &source in &sources[node as usize] {
                waiting[source as usize] -= 1;
                if waiting[source as usize] == 0 {
                    ready.push_back(source);
                }
            }
        }
        order
    }
}

/// Adds each arc unless a path already leads back; gives those left out.
fn add(kept: &mut Kept, arcs: &[Arc]) -> Vec<(Arc, Vec<u32>)> {
    let before = (0u32..)
        .zip(&kept.targets)
        .flat_map(|(from, targets)| targets.iter().map(move |to| (from, *to)));
    let candidates = before.chain(arcs.iter().map(|arc| (arc.from, arc.to)));
    let component = components(kept.targets.len(), candidates);
    let mut dropped = Vec::new();
    for arc in arcs {
        let inside = component[arc.from as usize] == component[arc.to as usize];
        let back = inside
            .then(|| kept.path(arc.to, arc.from, &component))
            .flatten();
        match back {
            Some(path) => dropped.push((*arc, path)),
            None => kept.add(*arc),
        }
    }
    dropped
}

/// Numbers the strongly connected component of each node.
fn components(nodes: usize, arcs: impl Iterator<Item = (u32, u32)>) -> Vec<u32> {
    let mut graph = DiGraph::<(), ()>::with_capacity(nodes, 0);
    for _ in 0..nodes {
        graph.add_node(());
    }
    for (from, to) in arcs {
        graph.add_edge(from.into(), to.into(), ());
    }
    let mut component = vec![0; nodes];
    for (number, members) in (0u32..).zip(kosaraju_scc(&graph)) {
        for node in members {
            component[node.index()] = number;
        }
    }
    component
}

/// For each component of hard arcs with a circle in it, a shortest circle through its first arc.
fn hard_cycles(nodes: usize, hard: &[Arc]) -> Vec<Vec<Arc>> {
    let component = components(nodes, hard.iter().map(|arc| (arc.from, arc.to)));
    let mut inside: Vec<Arc> = hard
        .iter()
        .copied()
        .filter(|arc| component[arc.from as usize] == component[arc.to as usize])
        .collect();
    inside.sort();
    let mut kept = Kept::new(nodes);
    inside.iter().for_each(|arc| kept.add(*arc));
    let mut reported = BTreeSet::new();
    let mut cycles = Vec::new();
    for arc in &inside {
        if !reported.insert(component[arc.from as usize]) {
            continue;
        }
        let path = kept.path(arc.to, arc.from, &component).unwrap_or_default();
        let steps = path.windows(2).filter_map(|pair| {
            let leads = |other: &&Arc| other.from == pair[0] && other.to == pair[1];
            inside.iter().find(leads).copied()
        });
        cycles.push(std::iter::once(*arc).chain(steps).collect());
    }
    cycles
}

/// Makes phases agree with the arcs kept so far, which win over them.
///
/// What is shown to users last is late by custom only: needed earlier, it is written with the
/// workloads. Any other node that needs something of a later phase is written in that phase.
fn settle(mut phases: Vec<Phase>, kept: &Kept) -> Vec<Phase> {
    let order = kept.targets_first();
    for &node in order.iter().rev() {
        if phases[node as usize] < Phase::Exposure {
            for &target in &kept.targets[node as usize] {
                if phases[target as usize] == Phase::Exposure {
                    phases[target as usize] = Phase::Workload;
                }
            }
        }
    }
    for &node in &order {
        let targets = kept.targets[node as usize].iter();
        if let Some(latest) = targets.map(|target| phases[*target as usize]).max() {
            phases[node as usize] = phases[node as usize].max(latest);
        }
    }
    phases
}

/// Longest path to each node within its phase; phases follow each other.
fn waves(phases: &[Phase], written: &[bool], kept: &Kept) -> Vec<u32> {
    let mut waves = vec![0u32; phases.len()];
    let mut lengths: BTreeMap<Phase, u32> = BTreeMap::new();
    for node in kept.targets_first() {
        if !written[node as usize] {
            continue;
        }
        let phase = phases[node as usize];
        let wave = kept.targets[node as usize]
            .iter()
            .filter(|target| phases[**target as usize] == phase)
            .map(|target| waves[*target as usize] + 1)
            .max()
            .unwrap_or(0);
        waves[node as usize] = wave;
        let length = lengths.entry(phase).or_default();
        *length = (*length).max(wave + 1);
    }
    let mut start = 0;
    let mut starts = BTreeMap::new();
    for (phase, length) in lengths {
        starts.insert(phase, start);
        start += length;
    }
    for (wave, phase) in waves.iter_mut().zip(phases) {
        *wave += starts.get(phase).copied().unwrap_or(0);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arcs(pairs: &[(u32, u32)]) -> Vec<Arc> {
        (0..)
            .zip(pairs)
            .map(|(edge, &(from, to))| Arc { from, to, edge })
            .collect()
    }

    type Pairs<'a> = &'a [(u32, u32)];

    fn ordered(phases: &[Phase], hard: Pairs<'_>, run: Pairs<'_>, soft: Pairs<'_>) -> Order {
        let arcs = Arcs {
            hard: arcs(hard),
            run: arcs(run),
            soft: arcs(soft),
        };
        order(phases.to_vec(), &vec![true; phases.len()], &arcs)
    }

    #[test]
    fn w_1_waves_are_longest_paths_and_phases_are_barriers() {
        use Phase::{Cluster, Skeleton, Workload};
        let phases = [Workload, Skeleton, Skeleton, Cluster];
        let order = ordered(&phases, &[(2, 1)], &[(0, 1)], &[]);
        assert_eq!(order.waves, [3, 1, 2, 0]);
    }

    #[test]
    fn a_circle_of_hard_arcs_is_reported_step_by_step() {
        let hard = [(0, 1), (1, 2), (2, 0), (3, 0)];
        let order = ordered(&[Phase::Workload; 4], &hard, &[], &[]);
        let steps: Vec<_> = order.cycles[0]
            .iter()
            .map(|arc| (arc.from, arc.to))
            .collect();
        assert_eq!(steps, [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(order.cycles.len(), 1);
    }

    #[test]
    fn an_optional_arc_yields_to_the_path_that_leads_back() {
        let order = ordered(&[Phase::Workload; 3], &[(0, 1)], &[(1, 2)], &[(2, 0)]);
        assert!(order.cycles.is_empty());
        assert_eq!(order.dropped.len(), 1);
        assert_eq!(order.dropped[0].1, [0, 1, 2]);
        assert_eq!(order.waves, [2, 1, 0]);
    }

    #[test]
    fn w_1_references_win_over_phases_and_soft_ones_do_not() {
        use Phase::{Exposure, Skeleton, Workload};
        // A claim's populator is a workload, a gateway is needed by one, a soft wish comes too late.
        let phases = [Skeleton, Workload, Workload, Exposure, Skeleton];
        let order = ordered(&phases, &[(0, 1)], &[(2, 3)], &[(4, 2)]);
        assert_eq!(
            order.phases,
            [Workload, Workload, Workload, Workload, Skeleton]
        );
        let soft = Arc {
            from: 4,
            to: 2,
            edge: 0,
        };
        assert_eq!(order.dropped, [(soft, vec![])]);
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_ordered() {
        let chain: Vec<(u32, u32)> = (1..100_000).map(|n| (n, n - 1)).collect();
        let order = ordered(&vec![Phase::Workload; 100_000], &chain, &[], &[]);
        assert_eq!(order.waves[99_999], 99_999);
    }

    proptest! {
        /// The two passes against their definition: an optional arc is dropped exactly when those
        /// kept before it lead back.
        #[test]
        fn kept_arcs_close_no_circle_and_dropped_ones_would(
            run in prop::collection::vec((0u32..8, 0u32..8), 0..40),
        ) {
            let run: Vec<_> = run.into_iter().filter(|(from, to)| from != to).collect();
            let order = ordered(&[Phase::Workload; 8], &[], &run, &[]);
            let dropped: Vec<usize> = order.dropped.iter().map(|(arc, _)| arc.edge).collect();
            let mut kept = Kept::new(8);
            for arc in arcs(&run) {
                let back = kept.path(arc.to, arc.from, &[0; 8]).is_some();
                prop_assert_eq!(back, dropped.contains(&arc.edge));
                if !back {
                    kept.add(arc);
                    prop_assert!(order.waves[arc.from as usize] > order.waves[arc.to as usize]);
                }
            }
        }
    }
}
