//! Where each object stands: its column (phase and wave), its band (namespace), and the lanes of the
//! lines that pass other columns.

use std::collections::{BTreeMap, BTreeSet};

use super::font;
use super::style::Family;
use crate::graph::render::{remark, ties::Tie};
use crate::graph::{Graph, Node, Phase, Presence};

const NAME_SIZE: f64 = 12.0;
const KIND_SIZE: f64 = 9.5;
/// Height of a box.
pub(super) const BOX: f64 = 36.0;
/// Between a box and whatever is next to it in its column.
const BOX_GAP: f64 = 5.0;
/// Height of a lane, and half the distance between two.
const LANE: f64 = 2.0;
const LANE_GAP: f64 = 2.5;
/// Longest name shown in full.
const LONGEST: f64 = 200.0;
/// Left and right of a label.
pub(super) const PADDING: f64 = 11.0;
/// Width of the picture over its height, as far as objects can be arranged for it.
const ASPECT: f64 = 1.7;

/// What takes room in a column.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The object, by its position in the graph; `None` for a lane.
    pub(super) node: Option<usize>,
    pub(super) column: usize,
    pub(super) band: usize,
    /// Room needed, gaps included.
    pub(super) height: f64,
    /// Middle, from the top of the band.
    pub(super) y: f64,
    /// Items it is joined to in the columns left and right of it.
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    /// For a lane: where the object is to which it leads.
    pub(super) towards: Option<Side>,
}

/// A side of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) phase: Phase,
    pub(super) wave: u32,
    /// Width of its boxes.
    pub(super) width: f64,
    /// Items by band, from top to bottom.
    pub(super) slots: Vec<Vec<usize>>,
}

/// Everything that has a place.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    /// Namespaces from top to bottom; cluster-wide objects first.
    pub(super) bands: Vec<Option<String>>,
    pub(super) items: Vec<Item>,
    /// For each tie the items it passes, from the object that refers to the one referred to.
    pub(super) routes: Vec<Vec<usize>>,
}

impl Grid {
    pub(super) fn new(graph: &Graph, ties: &[Tie]) -> Self {
        let layers = layers(graph);
        let rows = rows(graph, &layers);
        let bands: Vec<Option<String>> = bands(graph).into_iter().collect();
        let mut grid = Self {
            columns: Vec::new(),
            bands,
            items: Vec::new(),
            routes: Vec::new(),
        };
        let mut places = vec![0; graph.nodes.len()];
        for ((phase, wave), nodes) in &layers {
            grid.layer(graph, (*phase, *wave), nodes, rows, &mut places);
        }
        grid.route(ties, &places);
        grid
    }

    /// Adds the columns of one phase and wave.
    fn layer(
        &mut self,
        graph: &Graph,
        key: (Phase, u32),
        nodes: &[usize],
        rows: usize,
        places: &mut [usize],
    ) {
        let first = self.columns.len();
        for band in 0..self.bands.len() {
            let here: Vec<usize> = nodes
                .iter()
                .copied()
                .filter(|node| self.bands[band] == band_of(&graph.nodes[*node]))
                .collect();
            let chunks = here.len().div_ceil(rows).max(1);
            for (chunk, nodes) in here.chunks(here.len().div_ceil(chunks).max(1)).enumerate() {
                while self.columns.len() <= first + chunk {
                    self.columns.push(Column {
                        phase: key.0,
                        wave: key.1,
                        width: 0.0,
                        slots: vec![Vec::new(); self.bands.len()],
                    });
                }
                for node in nodes {
                    places[*node] = self.items.len();
                    let width = label_width(&graph.nodes[*node]);
                    let column = &mut self.columns[first + chunk];
                    column.width = column.width.max(width);
                    self.add(Some(*node), first + chunk, band, BOX + 2.0 * BOX_GAP);
                }
            }
        }
    }

    fn add(&mut self, node: Option<usize>, column: usize, band: usize, height: f64) -> usize {
        let number = self.items.len();
        self.columns[column].slots[band].push(number);
        self.items.push(Item {
            node,
            column,
            band,
            height,
            y: 0.0,
            left: Vec::new(),
            right: Vec::new(),
            towards: None,
        });
        number
    }

    /// Finds the items each tie passes. Lines to one object share their lanes.
    fn route(&mut self, ties: &[Tie], places: &[usize]) {
        let mut lanes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for tie in ties {
            let (from, to) = (places[tie.from], places[tie.to]);
            let (start, end) = (self.items[from].column, self.items[to].column);
            let between: Vec<usize> = if start > end {
                (end + 1..start).rev().collect()
            } else {
                (start + 1..end).collect()
            };
            let mut route = vec![from];
            for column in between {
                let lane = *lanes.entry((to, column)).or_insert_with(|| {
                    let band = self.items[to].band;
                    let lane = self.add(None, column, band, LANE + 2.0 * LANE_GAP);
                    let side = if end < column {
                        Side::Left
                    } else {
                        Side::Right
                    };
                    self.items[lane].towards = Some(side);
                    lane
                });
                route.push(lane);
            }
            route.push(to);
            if start != end {
                for pair in route.windows(2) {
                    self.join(pair[0], pair[1]);
                }
            }
            self.routes.push(route);
        }
    }

    fn join(&mut self, a: usize, b: usize) {
        let (left, right) = if self.items[a].column < self.items[b].column {
            (a, b)
        } else {
            (b, a)
        };
        if !self.items[left].right.contains(&right) {
            self.items[left].right.push(right);
            self.items[right].left.push(left);
        }
    }
}

/// Objects by phase and wave. What does not travel has no wave of its own: it joins the first of its
/// phase.
fn layers(graph: &Graph) -> BTreeMap<(Phase, u32), Vec<usize>> {
    let mut first: BTreeMap<Phase, u32> = BTreeMap::new();
    for node in &graph.nodes {
        if node.presence == Presence::Captured {
            let wave = first.entry(node.phase).or_insert(node.wave);
            *wave = node.wave.min(*wave);
        }
    }
    let mut layers: BTreeMap<(Phase, u32), Vec<usize>> = BTreeMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        let wave = match (node.presence, first.get(&node.phase)) {
            (Presence::Captured, _) | (_, None) => node.wave,
            (_, Some(first)) => *first,
        };
        layers.entry((node.phase, wave)).or_default().push(number);
    }
    for nodes in layers.values_mut() {
        nodes.sort_by_key(|node| {
            let id = &graph.nodes[*node].id;
            (Family::of(id), &id.kind, &id.name)
        });
    }
    layers
}

/// How many boxes a column may hold in one band, so that the picture gets its shape.
fn rows(graph: &Graph, layers: &BTreeMap<(Phase, u32), Vec<usize>>) -> usize {
    let shape = |rows: usize| {
        let mut width = 0.0;
        let mut heights: BTreeMap<Option<String>, usize> = BTreeMap::new();
        for nodes in layers.values() {
            let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
            for node in nodes {
                *counts.entry(band_of(&graph.nodes[*node])).or_default() += 1;
            }
            let columns = counts.values().map(|count| count.div_ceil(rows)).max();
            width += columns.unwrap_or(1) as f64 * 200.0;
            for (band, count) in counts {
                let height = heights.entry(band).or_default();
                *height = (*height).max(count.min(rows));
            }
        }
        let boxes: usize = heights.values().sum();
        let height = boxes as f64 * (BOX + 4.0 * BOX_GAP) + heights.len() as f64 * 40.0;
        (width / height / ASPECT).ln().abs()
    };
    (4..=60)
        .min_by(|a, b| shape(*a).total_cmp(&shape(*b)))
        .unwrap_or(12)
}

fn bands(graph: &Graph) -> BTreeSet<Option<String>> {
    graph.nodes.iter().map(band_of).collect()
}

/// A namespace itself stands in its own band.
fn band_of(node: &Node) -> Option<String> {
    if node.id.is("", "Namespace") {
        return Some(node.id.name.to_string());
    }
    node.id.namespace.as_deref().map(str::to_owned)
}

/// The upper line of a box.
pub(super) fn kind_label(node: &Node) -> String {
    match remark(node.presence) {
        Some(remark) => format!("{} · {remark}", node.id.kind),
        None => node.id.kind.to_string(),
    }
}

/// The lower line of a box.
pub(super) fn name_label(node: &Node) -> String {
    font::fitted(&node.id.name, NAME_SIZE, LONGEST)
}

fn label_width(node: &Node) -> f64 {
    let name = font::bold(&name_label(node), NAME_SIZE);
    let kind = font::regular(&kind_label(node), KIND_SIZE);
    (name.max(kind) + 2.0 * PADDING).max(90.0)
}
