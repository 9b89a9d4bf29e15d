//! A picture that needs nothing else: no script, no font, no file beside it.
//!
//! ```text
//! graph ─▶ grid ─────▶ arrange ─────────▶ frame ───────▶ draw ─▶ text
//!          columns by   order in columns,  coordinates    paths, boxes,
//!          phase, wave  few crossings                     legend
//! ```
//!
//! This is Sugiyama's method with the layers given: columns are the phases and waves in which Ferry
//! writes, rows are namespaces. The layout crates looked at find layers by themselves and know no
//! groups, so that neither could be kept. Lines that pass a column get a lane in it, and all lines to
//! one object share theirs, so that they never cross a box and a hundred references to one Secret are
//! one trunk.

mod arrange;
mod draw;
mod font;
mod frame;
mod grid;
mod legend;
mod style;

use self::arrange::arrange;
use self::frame::Frame;
use self::grid::Grid;
use super::ties::ties;
use crate::graph::Graph;

/// The graph as an SVG document. Read it from left to right: what stands left is there first.
pub fn svg(graph: &Graph) -> String {
    let ties = ties(graph);
    let mut grid = Grid::new(graph, &ties);
    arrange(&mut grid);
    let frame = Frame::new(&grid);
    draw::document(graph, &ties, &grid, &frame)
}
