//! A tree for the terminal: what nobody needs first, below each object what it needs.
//!
//! What an object needs is shown once; where it comes again, a sign says that it was above. A circle is
//! cut where it closes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::remark;
use super::ties::{Tie, ties};
use crate::graph::{Graph, Strength};

/// The graph as a tree, with the strength and the rules of every reference.
pub fn text(graph: &Graph) -> String {
    let ties = ties(graph);
    let mut below: Vec<Vec<&Tie>> = vec![Vec::new(); graph.nodes.len()];
    let mut needed = vec![false; graph.nodes.len()];
    for tie in &ties {
        below[tie.from].push(tie);
        needed[tie.to] |= !tie.dropped && tie.strength != Strength::N;
    }
    let mut tree = Tree {
        graph,
        below,
        shown: BTreeSet::new(),
        path: Vec::new(),
        out: String::new(),
    };
    let roots = (0..graph.nodes.len()).filter(|node| !needed[*node]);
    for root in roots {
        tree.root(root);
    }
    // What is left needs itself in a circle.
    for node in 0..graph.nodes.len() {
        if !tree.shown.contains(&node) {
            tree.root(node);
        }
    }
    tree.out.push_str(KEY);
    tree.out
}

const KEY: &str = "
H ready before   R needed to run   S soft order   N no order   P made by its controller
↑ shown above   ↺ closes a circle   ✗ left out of the order
What an object needs of its own namespace is not shown.
";

struct Tree<'g, 't> {
    graph: &'g Graph,
    /// Ties of each node to what it needs.
    below: Vec<Vec<&'t Tie<'g>>>,
    shown: BTreeSet<usize>,
    /// Nodes on the way down, to see circles.
    path: Vec<usize>,
    out: String,
}

impl Tree<'_, '_> {
    fn root(&mut self, node: usize) {
        let name = self.name(node);
        let _ = writeln!(self.out, "{name}");
        self.shown.insert(node);
        self.children(node, "");
    }

    fn children(&mut self, node: usize, indent: &str) {
        self.path.push(node);
        let ties = self.below[node].clone();
        for (position, tie) in ties.iter().enumerate() {
            let last = position + 1 == ties.len();
            let circle = self.path.contains(&tie.to);
            // What only refers, or was left out, does not lead on: its target has its own place.
            let leads = !tie.dropped && tie.strength != Strength::N;
            let again = leads && self.shown.contains(&tie.to) && !self.below[tie.to].is_empty();
            let mark = match (circle, again, tie.dropped) {
                (true, _, _) => " ↺",
                (_, true, _) => " ↑",
                (_, _, true) => " ✗",
                _ => "",
            };
            let _ = writeln!(
                self.out,
                "{indent}{} {} {}  {}{mark}",
                if last { "└─" } else { "├─" },
                tie.strength,
                self.name(tie.to),
                tie.rules(),
            );
            if !circle && !again && leads {
                self.shown.insert(tie.to);
                self.children(
                    tie.to,
                    &format!("{indent}{}", if last { "   " } else { "│  " }),
                );
            }
        }
        self.path.pop();
    }

    fn name(&self, node: usize) -> String {
        let node = &self.graph.nodes[node];
        match remark(node.presence) {
            Some(remark) => format!("{} ({remark})", node.id),
            None => node.id.to_string(),
        }
    }
}
