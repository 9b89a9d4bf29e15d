//! Which blobs the snapshots need: every tree once, from the roots down.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Repository;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::node::{Node, NodeKind};
use super::super::pack::BlobKind;
use super::super::progress::Progress;
use super::super::snapshot::Snapshot;
use super::super::text::quote;
use super::super::tree::TreeReader;

/// The plain length of every blob that an index names.
pub(super) type Known = BTreeMap<(BlobKind, Id), u32>;

/// The blobs that some snapshot needs.
#[derive(Debug, Default)]
pub(super) struct Reachable {
    pub(super) blobs: BTreeSet<(BlobKind, Id)>,
    pub(super) trees: u64,
}

/// What is wrong at a path of a snapshot.
pub(super) struct At {
    pub(super) place: String,
    pub(super) error: Error,
}

struct Walk<'a, F> {
    repository: &'a Repository,
    known: &'a Known,
    progress: &'a Progress,
    found: Reachable,
    fault: F,
}

/// Walks all trees of `snapshots`. A tree or blob that is not there or not right goes to `fault`, which may end the walk;
/// if it does not, the rest is walked.
pub(super) fn walk(
    repository: &Repository,
    snapshots: &[Snapshot],
    known: &Known,
    progress: &Progress,
    fault: impl FnMut(At) -> Result<()>,
) -> Result<Reachable> {
    let mut walk = Walk {
        repository,
        known,
        progress,
        found: Reachable::default(),
        fault,
    };
    for snapshot in snapshots {
        let name = snapshot.id.map(|id| id.short()).unwrap_or_default();
        walk.snapshot(&format!("snapshot {name}:"), snapshot)?;
    }
    Ok(walk.found)
}

impl<F: FnMut(At) -> Result<()>> Walk<'_, F> {
    fn fault(&mut self, place: &str, error: Error) -> Result<()> {
        let place = match place.strip_suffix(':') {
            Some(snapshot) => format!("{snapshot}:/"),
            None => place.to_owned(),
        };
        (self.fault)(At { place, error })
    }

    fn snapshot(&mut self, name: &str, snapshot: &Snapshot) -> Result<()> {
        let mut open = Vec::new();
        open.extend(self.enter(name.to_owned(), &snapshot.tree)?);
        while let Some((path, reader)) = open.last_mut() {
            self.progress.check()?;
            let node = match reader.next_node() {
                Ok(Some(node)) => node,
                Ok(None) => {
                    open.pop();
                    continue;
                }
                Err(error) => {
                    let path = path.clone();
                    open.pop();
                    self.fault(&path, error)?;
                    continue;
                }
            };
            let path = format!("{path}/{}", quote(&node.name));
            match (node.kind, &node.subtree) {
                (NodeKind::Directory, Some(tree)) => open.extend(self.enter(path, tree)?),
                (NodeKind::Directory, None) => {
                    self.fault(&path, Error::damaged("the directory", "it has no tree"))?;
                }
                _ => self.content(&path, &node)?,
            }
        }
        Ok(())
    }

    /// Opens a tree that was not met before.
    fn enter(&mut self, path: String, tree: &Id) -> Result<Option<(String, TreeReader)>> {
        if !self.found.blobs.insert((BlobKind::Tree, *tree)) {
            return Ok(None);
        }
        self.found.trees += 1;
        Progress::add(&self.progress.files_done, 1);
        if !self.known.contains_key(&(BlobKind::Tree, *tree)) {
            self.fault(&path, Error::BlobMissing { id: *tree })?;
            return Ok(None);
        }
        match TreeReader::open(self.repository, tree) {
            Ok(reader) => Ok(Some((path, reader))),
            Err(error) => {
                self.fault(&path, error)?;
                Ok(None)
            }
        }
    }

    fn content(&mut self, path: &str, node: &Node) -> Result<()> {
        let (mut size, mut whole) = (0, true);
        for id in &node.content {
            let blob = (BlobKind::Data, *id);
            self.found.blobs.insert(blob);
            match self.known.get(&blob) {
                Some(length) => size += u64::from(*length),
                None => {
                    whole = false;
                    self.fault(path, Error::BlobMissing { id: *id })?;
                }
            }
        }
        if whole && node.kind == NodeKind::File && size != node.size {
            let what = format!("its blobs have {size} bytes, its size is {}", node.size);
            self.fault(path, Error::damaged("the file", what))?;
        }
        Ok(())
    }
}
