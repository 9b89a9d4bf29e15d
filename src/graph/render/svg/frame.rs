//! Coordinates: of columns, bands and phases, and of everything in them.

use super::arrange;
use super::grid::{BOX, Grid, Item};
use crate::graph::Phase;

/// Around the whole picture.
pub(super) const MARGIN: f64 = 24.0;
/// Title and the line below it.
const TITLE: f64 = 56.0;
/// Names of phases and waves.
pub(super) const HEADER: f64 = 40.0;
/// The name of a band.
pub(super) const BAND_LABEL: f64 = 24.0;
/// Below the last box of a band, and between bands.
const BAND_FOOT: f64 = 8.0;
const BAND_GAP: f64 = 12.0;
/// Left and right within a phase.
const PHASE_PADDING: f64 = 18.0;
/// Between two phases.
const PHASE_GAP: f64 = 6.0;

/// A phase from its left end to its right one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) phase: Phase,
    pub(super) left: f64,
    pub(super) right: f64,
}

/// Where everything is, in pixels.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Left ends of the columns.
    pub(super) columns: Vec<f64>,
    pub(super) phases: Vec<Span>,
    /// Top and bottom of the bands.
    pub(super) bands: Vec<(f64, f64)>,
    pub(super) width: f64,
    /// The lower end of the drawing; the legend is below.
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn new(grid: &Grid) -> Self {
        let mut columns: Vec<f64> = Vec::new();
        let mut phases: Vec<Span> = Vec::new();
        let mut x = MARGIN;
        for (number, column) in grid.columns.iter().enumerate() {
            let gap = gap(grid, number);
            match phases.last_mut() {
                Some(span) if span.phase == column.phase => x += gap,
                last => {
                    if let Some(span) = last {
                        x += PHASE_PADDING.max(gap / 2.0);
                        span.right = x;
                        x += PHASE_GAP;
                    }
                    phases.push(Span {
                        phase: column.phase,
                        left: x,
                        right: x,
                    });
                    x += PHASE_PADDING.max(if number == 0 { 0.0 } else { gap / 2.0 });
                }
            }
            columns.push(x);
            x += column.width;
        }
        x += PHASE_PADDING;
        if let Some(span) = phases.last_mut() {
            span.right = x;
        }
        let mut y = MARGIN + TITLE + HEADER;
        let mut bands = Vec::new();
        for band in 0..grid.bands.len() {
            let top = y;
            y += BAND_LABEL + arrange::height(grid, band) + BAND_FOOT;
            bands.push((top, y));
            y += BAND_GAP;
        }
        Self {
            columns,
            phases,
            bands,
            width: (x + MARGIN).max(760.0),
            bottom: y - BAND_GAP,
        }
    }

    /// Left end, top, width and height of an item's box.
    pub(super) fn rect(&self, grid: &Grid, item: &Item) -> (f64, f64, f64, f64) {
        let width = grid.columns[item.column].width;
        (
            self.columns[item.column],
            self.middle(item) - BOX / 2.0,
            width,
            BOX,
        )
    }

    /// Height of an item's middle.
    pub(super) fn middle(&self, item: &Item) -> f64 {
        self.bands[item.band].0 + BAND_LABEL + item.y
    }
}

/// Room for the lines between a column and the one before it.
fn gap(grid: &Grid, column: usize) -> f64 {
    let lines: usize = grid
        .items
        .iter()
        .filter(|item| item.column == column)
        .map(|item| item.left.len())
        .sum();
    (34.0 + 7.0 * (lines as f64).sqrt()).min(110.0)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
