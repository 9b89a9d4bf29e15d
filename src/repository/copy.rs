//! A snapshot goes into another repository, with everything it needs and nothing else.
//!
//! Every blob is opened, proven against its id, and sealed anew with the other repository's key; what that repository
//! has already is not written twice. Trees keep their ids, so the copy's digest is the original's.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Repository;
use super::error::{Error, Result};
use super::id::Id;
use super::pack::BlobKind;
use super::progress::Progress;
use super::snapshot::Snapshot;
use super::tree::TreeReader;
use super::writer::{Packer, WriteOptions, Writer};

impl Repository {
    /// Copies `snapshot` into `to` and returns it as it is there, under a new id.
    ///
    /// # Errors
    /// [`Error::Tampered`], [`Error::BlobMissing`] when it is not whole here: then nothing refers to what was copied.
    pub fn copy_snapshot(
        &self,
        snapshot: &Snapshot,
        to: &Repository,
        progress: &Progress,
    ) -> Result<Snapshot> {
        self.locked_to_read(|| {
            self.index_to_read()?;
            let writing = to.writing();
            to.locked(|lock| {
                to.refresh_index(&writing)?;
                let sent = Arc::clone(&progress.bytes_transferred);
                let writer = Writer::counting(to, WriteOptions::default(), sent, None);
                let copied = Copier::new(self, to, &writer, progress)
                    .and_then(|copier| copier.run(&snapshot.tree));
                // An upload's failure is the cause of whatever came after it.
                writer.take_error()?;
                copied?;
                writer.finish()?;
                lock.check()?;
                to.commit(Snapshot {
                    parent: None,
                    id: None,
                    ..snapshot.clone()
                })
            })
        })
    }
}

struct Copier<'a> {
    from: &'a Repository,
    to: &'a Repository,
    progress: &'a Progress,
    data: Packer,
    trees: Packer,
    seen: BTreeSet<Id>,
}

impl<'a> Copier<'a> {
    fn new(
        from: &'a Repository,
        to: &'a Repository,
        writer: &Writer,
        progress: &'a Progress,
    ) -> Result<Self> {
        Ok(Copier {
            from,
            to,
            progress,
            data: writer.packer(BlobKind::Data)?,
            trees: writer.packer(BlobKind::Tree)?,
            seen: BTreeSet::new(),
        })
    }

    fn run(mut self, root: &Id) -> Result<()> {
        let mut open = vec![*root];
        while let Some(tree) = open.pop() {
            if !self.seen.insert(tree) {
                continue;
            }
            for node in TreeReader::open(self.from, &tree)? {
                let node = node?;
                Progress::add(&self.progress.files_done, 1);
                open.extend(node.subtree);
                for id in &node.content {
                    self.progress.check()?;
                    if self.seen.insert(*id) {
                        blob(self.from, self.to, &mut self.data, id, self.progress)?;
                    }
                }
            }
            blob(self.from, self.to, &mut self.trees, &tree, self.progress)?;
        }
        self.data.flush()?;
        self.trees.flush()
    }
}

fn blob(
    from: &Repository,
    to: &Repository,
    packer: &mut Packer,
    id: &Id,
    progress: &Progress,
) -> Result<()> {
    if to.index().contains(id) {
        return Ok(());
    }
    let plain = from.read_blob(id)?;
    let (stored, _) = packer.store(&plain)?;
    Progress::add(&progress.bytes_done, plain.len() as u64);
    match stored == *id {
        true => Ok(()),
        false => Err(Error::SelfCheck { id: *id }),
    }
}
