//! What the target is believed to hold: an earlier snapshot, walked in step with the one that is restored.
//!
//! Belief saves reading: a piece that the earlier snapshot has at the same place of the same file is not looked at.
//! It is never proof. Whoever asks for it compares everything afterwards.

use foldhash::HashMap;

use super::super::Repository;
use super::super::id::Id;
use super::super::node::{Node, NodeKind};
use super::super::tree::TreeReader;

/// One directory of the earlier snapshot.
pub(super) struct Base {
    tree: Option<TreeReader>,
    next: Option<Node>,
}

impl Base {
    /// Nothing is believed of a directory that cannot be read.
    pub(super) fn open(repository: &Repository, tree: Option<Id>) -> Self {
        Base {
            tree: tree.and_then(|tree| TreeReader::open(repository, &tree).ok()),
            next: None,
        }
    }

    /// The entry of that name. Names must be asked for in ascending order.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Node> {
        let tree = self.tree.as_mut()?;
        loop {
            if self.next.is_none() {
                self.next = tree.next_node().ok().flatten();
            }
            match self.next.as_ref()?.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.next = None,
                std::cmp::Ordering::Equal => return self.next.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }
}

/// What is believed to be in one file: which piece begins where.
pub(super) struct Believed(HashMap<u64, Id>);

impl Believed {
    /// Of a file of the earlier snapshot; nothing of anything else.
    pub(super) fn new(repository: &Repository, node: Node) -> Self {
        let mut pieces = HashMap::default();
        if node.kind == NodeKind::File {
            let mut offset = 0;
            for id in node.content {
                let Ok(location) = repository.locate(&id) else {
                    break;
                };
                pieces.insert(offset, id);
                offset += u64::from(location.plain_length());
            }
        }
        Believed(pieces)
    }

    /// Whether that piece begins there.
    pub(super) fn has(&self, offset: u64, id: &Id) -> bool {
        self.0.get(&offset) == Some(id)
    }
}
