//! The assembler: redeems the walker's promises in order and writes every directory as it completes. Every now and then it
//! keeps what is written so far.

use std::sync::atomic::Ordering;
use std::time::Instant;

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

struct Assembler<'a> {
    shared: &'a Shared<'a>,
    packer: Packer,
    top: TreeWriter,
    open: Vec<Open>,
    /// When the next checkpoint is due.
    due: Option<Instant>,
    /// How much had been read at the last.
    kept: u64,
}

/// Consumes all items and returns the id of the tree above the first one.
pub(super) fn run(shared: &Shared<'_>, items: Receiver<Item>) -> Result<Id> {
    let every = shared.checkpoints.options().map(|options| options.every);
    let mut assembler = Assembler {
        shared,
        packer: tree_packer(shared)?,
        top: TreeWriter::new(),
        open: Vec::new(),
        due: every.map(|every| Instant::now() + every),
        kept: 0,
    };
    while let Some(item) = assembler.wait(&items)? {
        assembler.go_on()?;
        match item {
            Item::Enter(node) => assembler.open.push(Open {
                node,
                tree: TreeWriter::new(),
            }),
            Item::Entries(promise) => {
                let parts = assembler.wait(&promise)?.ok_or(Error::Cancelled)?;
                for part in parts {
                    assembler.add(part)?;
                }
            }
            Item::Leave => assembler.leave()?,
            Item::End => return assembler.finish(),
        }
    }
    // The queue closed early, for a reason told elsewhere.
    Err(Error::Cancelled)
}

impl Assembler<'_> {
    fn wait<T>(&mut self, queue: &Receiver<T>) -> Result<Option<T>> {
        receive(queue, || self.go_on())
    }

    /// Whether to go on, and time for a checkpoint.
    fn go_on(&mut self) -> Result<()> {
        self.shared.check()?;
        match self.due {
            Some(due) if due <= Instant::now() => self.keep(),
            _ => Ok(()),
        }
    }

    /// Where entries go now.
    fn tree(&mut self) -> &mut TreeWriter {
        let inner = self.open.last_mut().map(|dir| &mut dir.tree);
        inner.unwrap_or(&mut self.top)
    }

    fn add(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Json(json) => self.tree().add_json(&json),
            Part::Later(promise, reading) => {
                match self.wait(&promise)? {
                    Some(Some(json)) => self.tree().add_json(&json)?,
                    // A problem took its place.
                    Some(None) => {}
                    None => return Err(Error::Cancelled),
                }
                // From now on the directory knows it.
                drop(reading);
                Ok(())
            }
        }
    }

    fn leave(&mut self) -> Result<()> {
        let Some(Open { mut node, tree }) = self.open.pop() else {
            return Ok(());
        };
        node.subtree = Some(tree.finish(&mut self.packer)?);
        self.shared.count(&node);
        self.tree().add(&node)
    }

    fn finish(mut self) -> Result<Id> {
        let id = self.top.finish(&mut self.packer)?;
        self.packer.flush()?;
        Ok(id)
    }

    /// Keeps what is written so far, if that spares anybody to read it.
    fn keep(&mut self) -> Result<()> {
        let (begun, read) = (Instant::now(), self.shared.read.load(Ordering::Relaxed));
        if read > self.kept {
            self.store()?;
            self.kept = read;
        }
        let options = self.shared.checkpoints.options();
        let pause = options.map(|options| options.pause(begun.elapsed()));
        self.due = pause.map(|pause| Instant::now() + pause);
        Ok(())
    }

    /// Stores each open directory with the one that is open in it.
    fn store(&mut self) -> Result<()> {
        let (mut root, mut inner) = (None, Vec::new());
        for dir in self.open.iter_mut().rev() {
            let tree = dir.tree.store_so_far(&inner, &mut self.packer)?;
            let mut node = dir.node.clone();
            node.subtree = Some(tree);
            inner.clear();
            node.write_json(&mut inner);
            root = Some(tree);
        }
        if let Some(root) = root {
            // A tree is of use when it is there, and with it most of what it names.
            self.packer.flush()?;
            self.shared.writer.settle()?;
            self.shared.checkpoints.keep(root);
        }
        Ok(())
    }
}
