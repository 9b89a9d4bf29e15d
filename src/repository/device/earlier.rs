//! What a killed backup had read of the very same device.

use std::collections::BTreeMap;

use super::super::backup::Shared;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::node::Node;
use super::super::progress::Progress;
use super::super::tree::TreeReader;
use super::EXTENTS_PER_DIRECTORY;

/// Its first extents, as the checkpoint has them.
#[derive(Default)]
pub(super) struct Earlier {
    directories: BTreeMap<u64, Id>,
    /// Those of the directory that is gone through.
    extents: BTreeMap<u64, Node>,
    /// How many there are, those of zeros among them.
    count: u64,
}

impl Earlier {
    pub(super) fn open(shared: &Shared<'_>) -> Self {
        let read = shared.frozen_tree().map(|tree| Self::read(shared, &tree));
        read.transpose()
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "what an earlier attempt has read of the device is read again");
                None
            })
            .unwrap_or_default()
    }

    fn read(shared: &Shared<'_>, tree: &Id) -> Result<Self> {
        let nodes = numbered(shared, tree)?.into_iter();
        let directories = nodes.filter_map(|(number, node)| Some((number, node.subtree?)));
        let directories: BTreeMap<u64, Id> = directories.collect();
        let count = match directories.last_key_value() {
            Some((number, tree)) => {
                let last = numbered(shared, tree)?.into_keys().last();
                last.map_or(number * EXTENTS_PER_DIRECTORY, |last| last + 1)
            }
            None => 0,
        };
        Ok(Self {
            directories,
            extents: BTreeMap::new(),
            count,
        })
    }

    /// The JSON of an extent that need not be read, which is empty for one of zeros. They must be asked for in order.
    pub(super) fn take(
        &mut self,
        shared: &Shared<'_>,
        wanted: &Node,
        number: u64,
    ) -> Option<Vec<u8>> {
        if number.is_multiple_of(EXTENTS_PER_DIRECTORY) {
            let tree = self.directories.get(&(number / EXTENTS_PER_DIRECTORY));
            match tree.map(|tree| numbered(shared, tree)) {
                Some(Ok(extents)) => self.extents = extents,
                // One that is not known must not pass for zeros.
                Some(Err(_)) | None => self.count = 0,
            }
        }
        if number >= self.count {
            return None;
        }
        let Some(node) = self.extents.remove(&number) else {
            Progress::add(&shared.progress().bytes_done, wanted.size);
            return Some(Vec::new());
        };
        let mut json = Vec::new();
        node.write_json(&mut json);
        (node.size == wanted.size && shared.take_over(&node)).then_some(json)
    }
}

/// The entries of a directory whose names are numbers.
fn numbered(shared: &Shared<'_>, tree: &Id) -> Result<BTreeMap<u64, Node>> {
    let mut found = BTreeMap::new();
    for node in TreeReader::open(shared.repository(), tree)? {
        let node = node?;
        let name = std::str::from_utf8(&node.name).ok();
        let number = name.and_then(|name| name.parse().ok());
        found.insert(
            number.ok_or_else(|| Error::damaged("an extent", "no number"))?,
            node,
        );
    }
    Ok(found)
}
