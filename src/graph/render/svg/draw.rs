//! The document: frames, lines, boxes, labels.

use std::fmt::Write as _;

use super::frame::{BAND_LABEL, Frame, HEADER, MARGIN};
use super::grid::{Grid, PADDING, kind_label, name_label};
use super::legend;
use super::style::{self, Family, MISSING, ON_TARGET, SHEET};
use crate::graph::render::ties::Tie;
use crate::graph::{Graph, Node, Presence};

/// The whole document.
pub(super) fn document(graph: &Graph, ties: &[Tie], grid: &Grid, frame: &Frame) -> String {
    let (legend, below) = legend::legend(graph, ties, frame);
    let (width, height) = (frame.width, below + MARGIN);
    let (title, subtitle) = legend::title(graph, ties);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{}</title>\n\
         <style>{SHEET}</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#fff\"/>\n",
        escaped(&title),
    );
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"{:.0}\">{}</text>\n<text class=\"sub\" x=\"{MARGIN}\" y=\"{:.0}\">{}</text>",
        MARGIN + 14.0,
        escaped(&title),
        MARGIN + 34.0,
        escaped(&subtitle),
    );
    phases(&mut out, grid, frame);
    bands(&mut out, grid, frame);
    lines(&mut out, graph, ties, grid, frame);
    for item in &grid.items {
        if let Some(node) = item.node {
            boxed(&mut out, &graph.nodes[node], frame.rect(grid, item));
        }
    }
    band_labels(&mut out, grid, frame);
    out.push_str(&legend);
    out.push_str("</svg>\n");
    out
}

fn phases(out: &mut String, grid: &Grid, frame: &Frame) {
    let top = frame.bands.first().map_or(0.0, |band| band.0) - HEADER;
    for span in &frame.phases {
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\" fill=\"#f6f8fa\"/>\
             <text class=\"phase\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            span.left,
            span.right - span.left,
            frame.bottom - top + 6.0,
            span.left + 12.0,
            top + 17.0,
            style::phase(span.phase).to_uppercase(),
        );
    }
    let mut last = None;
    for (column, x) in grid.columns.iter().zip(&frame.columns) {
        if last != Some((column.phase, column.wave)) {
            last = Some((column.phase, column.wave));
            let _ = writeln!(
                out,
                "<text class=\"wave\" x=\"{x:.1}\" y=\"{:.1}\">wave {}</text>",
                top + 32.0,
                column.wave,
            );
        }
    }
}

fn bands(out: &mut String, grid: &Grid, frame: &Frame) {
    for (top, bottom) in frame.bands.iter().take(grid.bands.len()) {
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\" fill=\"#fff\" \
             fill-opacity=\".65\" stroke=\"#d0d7de\"/>",
            MARGIN - 8.0,
            frame.width - 2.0 * MARGIN + 16.0,
            bottom - top,
        );
    }
}

/// After the lines, some of which cross them.
fn band_labels(out: &mut String, grid: &Grid, frame: &Frame) {
    for (name, (top, _)) in grid.bands.iter().zip(&frame.bands) {
        let label = match name {
            Some(namespace) => format!("namespace {namespace}"),
            None => "cluster-wide".into(),
        };
        let _ = writeln!(
            out,
            "<text class=\"band\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            MARGIN + 4.0,
            top + BAND_LABEL - 7.0,
            escaped(&label),
        );
    }
}

fn boxed(out: &mut String, node: &Node, (x, y, width, height): (f64, f64, f64, f64)) {
    let (line, fill) = colours(node);
    let dash = match node.presence {
        Presence::Captured | Presence::OnB => "",
        Presence::Produced => " stroke-dasharray=\"4 3\"",
        Presence::Missing => " stroke-width=\"2\"",
    };
    let (kind, name) = (kind_label(node), name_label(node));
    let (left, middle) = (x + PADDING, y + height / 2.0);
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         rx=\"5\" fill=\"{fill}\" stroke=\"{line}\"{dash}/>\
         <text class=\"kind\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"name\" x=\"{left:.1}\" y=\"{:.1}\">{}</text></g>",
        escaped(&node.id.to_string()),
        middle - 4.5,
        escaped(&kind),
        middle + 10.5,
        escaped(&name),
    );
}

fn colours(node: &Node) -> (&'static str, &'static str) {
    match node.presence {
        Presence::Missing => MISSING,
        Presence::OnB => ON_TARGET,
        Presence::Captured | Presence::Produced => Family::of(&node.id).colours(),
    }
}

/// All lines, weak ones below strong ones. A line has the colour of what it leads to.
fn lines(out: &mut String, graph: &Graph, ties: &[Tie], grid: &Grid, frame: &Frame) {
    let mut order: Vec<usize> = (0..ties.len()).collect();
    order.sort_by_key(|tie| std::cmp::Reverse(ties[*tie].strength));
    for number in order {
        let tie = &ties[number];
        let line = colours(&graph.nodes[tie.to]).0;
        let path = path(grid, frame, &grid.routes[number]);
        let class = style::class(tie.strength);
        let _ = writeln!(
            out,
            "<path class=\"e {class}\" stroke=\"{line}\" d=\"{}\"><title>{}</title></path>\
             <path fill=\"{line}\" d=\"{}\"/>",
            path.0,
            escaped(&tooltip(graph, tie)),
            path.1,
        );
    }
}

fn tooltip(graph: &Graph, tie: &Tie) -> String {
    let mut text = format!(
        "{} needs {}",
        graph.nodes[tie.from].id, graph.nodes[tie.to].id
    );
    for edge in &tie.edges {
        let _ = write!(text, "\n{} {} {}", edge.strength, edge.rule, edge.path);
    }
    if tie.dropped {
        text.push_str("\nleft out of the order");
    }
    text
}

/// The line along a route, and its arrow head at the end.
fn path(grid: &Grid, frame: &Frame, route: &[usize]) -> (String, String) {
    let (Some(&first), Some(&last)) = (route.first(), route.last()) else {
        return Default::default();
    };
    let column = |item: usize| grid.items[item].column;
    let middle = |item: usize| frame.middle(&grid.items[item]);
    let left = |item: usize| frame.columns[column(item)];
    let right = |item: usize| left(item) + grid.columns[column(item)].width;
    if column(first) == column(last) {
        let (x, from, to) = (right(first), middle(first), middle(last));
        let bulge = x + (18.0 + (from - to).abs() / 12.0).min(34.0);
        let line = format!(
            "M{x:.1} {from:.1}C{bulge:.1} {from:.1} {bulge:.1} {to:.1} {:.1} {to:.1}",
            x + HEAD
        );
        return (line, head(x, to, 1.0));
    }
    // 1 when the line runs from right to left, as most do.
    let sign = if column(first) > column(last) {
        1.0
    } else {
        -1.0
    };
    let leave = |item: usize| if sign > 0.0 { left(item) } else { right(item) };
    let enter = |item: usize| if sign > 0.0 { right(item) } else { left(item) };
    let (mut x, mut y) = (leave(first), middle(first));
    let mut line = format!("M{x:.1} {y:.1}");
    for &item in &route[1..] {
        let (to, height) = (enter(item), middle(item));
        let to = if item == last { to + sign * HEAD } else { to };
        let bend = (x + to) / 2.0;
        let _ = write!(
            line,
            "C{bend:.1} {y:.1} {bend:.1} {height:.1} {to:.1} {height:.1}"
        );
        if item != last {
            let _ = write!(line, "H{:.1}", leave(item));
        }
        (x, y) = (leave(item), height);
    }
    (line, head(enter(last), middle(last), sign))
}

/// Length of an arrow head.
const HEAD: f64 = 7.0;

fn head(x: f64, y: f64, sign: f64) -> String {
    let back = x + sign * HEAD;
    format!(
        "M{x:.1} {y:.1}L{back:.1} {:.1}L{back:.1} {:.1}Z",
        y - 3.5,
        y + 3.5
    )
}

/// Text for XML; characters XML cannot hold become signs for them.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
