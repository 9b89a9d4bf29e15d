//! The assembler: redeems the walker's promises in order and writes every directory as it completes.

use crossbeam_channel::Receiver;

use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::node::Node;
use super::super::progress::receive;
use super::super::tree::TreeWriter;
use super::super::writer::Packer;
use super::walk::{Item, Part};
use super::{Shared, tree_packer};

struct Open {
    node: Box<Node>,
    tree: TreeWriter,
}

/// Consumes all items and returns the id of the tree above the first one.
pub(super) fn run(shared: &Shared<'_>, items: Receiver<Item>) -> Result<Id> {
    let mut packer = tree_packer(shared)?;
    let mut top = TreeWriter::new();
    let mut open: Vec<Open> = Vec::new();
    while let Some(item) = receive(&items, || shared.check())? {
        shared.check()?;
        match item {
            Item::Enter(node) => open.push(Open {
                node,
                tree: TreeWriter::new(),
            }),
            Item::Entries(promise) => {
                let tree = open.last_mut().map_or(&mut top, |dir| &mut dir.tree);
                let parts = receive(&promise, || shared.check())?.ok_or(Error::Cancelled)?;
                for part in parts {
                    add(shared, tree, part)?;
                }
            }
            Item::Leave => {
                if let Some(Open { mut node, tree }) = open.pop() {
                    node.subtree = Some(tree.finish(&mut packer)?);
                    shared.count(&node);
                    open.last_mut()
                        .map_or(&mut top, |dir| &mut dir.tree)
                        .add(&node)?;
                }
            }
            Item::End => return finish(top, packer),
        }
    }
    // The queue closed early, for a reason told elsewhere.
    Err(Error::Cancelled)
}

fn add(shared: &Shared<'_>, tree: &mut TreeWriter, part: Part) -> Result<()> {
    match part {
        Part::Json(json) => tree.add_json(&json),
        Part::Later(promise) => match receive(&promise, || shared.check())? {
            Some(Some(json)) => tree.add_json(&json),
            // A problem took its place.
            Some(None) => Ok(()),
            None => Err(Error::Cancelled),
        },
    }
}

fn finish(top: TreeWriter, mut packer: Packer) -> Result<Id> {
    let id = top.finish(&mut packer)?;
    packer.flush()?;
    Ok(id)
}
