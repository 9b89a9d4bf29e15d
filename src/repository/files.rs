//! Snapshots of files that exist in memory only: the objects of a capture, as a tree that `restic restore` gives back.

use std::collections::BTreeMap;

use super::Repository;
use super::chunker::{Chunker, NORMAL};
use super::error::{Error, Result};
use super::id::Id;
use super::node::{Node, NodeKind, Time};
use super::pack::BlobKind;
use super::snapshot::{Snapshot, SnapshotInfo};
use super::tree::{TreeReader, TreeWriter, safe_name};
use super::writer::{Packer, WriteOptions, Writer};

/// A file of a snapshot: its path with `/` between the parts and none in front, and its content.
pub type FileEntry = (String, Vec<u8>);

/// Deeper trees are an attack: a tree that contains itself cannot exist, but a long chain can.
const DEPTH_LIMIT: usize = 4096;

/// A file whose content is in the repository.
struct Stored {
    size: u64,
    content: Vec<Id>,
}

#[derive(Default)]
struct Directory {
    files: BTreeMap<Vec<u8>, Stored>,
    directories: BTreeMap<Vec<u8>, Directory>,
}

impl Directory {
    fn insert(&mut self, path: &str, file: Stored) -> Result<()> {
        let bad = |what: &str| Error::damaged(path, what);
        let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if parts.iter().any(|part| !safe_name(part.as_bytes())) {
            return Err(bad("not a path of named parts"));
        }
        let name = parts.pop().unwrap_or_default();
        let mut directory = self;
        for part in parts {
            if directory.files.contains_key(part.as_bytes()) {
                return Err(bad("a part of it is a file"));
            }
            directory = directory
                .directories
                .entry(part.as_bytes().to_vec())
                .or_default();
        }
        if directory.directories.contains_key(name.as_bytes()) {
            return Err(bad("it is a directory too"));
        }
        match directory.files.insert(name.as_bytes().to_vec(), file) {
            None => Ok(()),
            Some(_) => Err(bad("it is there twice")),
        }
    }
}

struct Saver {
    data: Packer,
    trees: Packer,
    chunker: Chunker,
    time: Time,
}

impl Saver {
    fn node(&self, name: Vec<u8>, kind: NodeKind, mode: u32) -> Node {
        let time = self.time;
        Node {
            mtime: time,
            atime: time,
            ctime: time,
            ..Node::new(name, kind, mode)
        }
    }

    fn store(&mut self, text: &[u8]) -> Result<Stored> {
        let mut content = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (blob, after) = rest.split_at(self.chunker.cut(rest));
            content.push(self.data.store(blob)?.0);
            rest = after;
        }
        let size = text.len() as u64;
        Ok(Stored { size, content })
    }

    fn save(&mut self, directory: Directory) -> Result<Id> {
        let Directory { files, directories } = directory;
        let mut nodes = BTreeMap::new();
        for (name, Stored { size, content }) in files {
            let mut node = self.node(name.clone(), NodeKind::File, 0o600);
            (node.size, node.content) = (size, content);
            nodes.insert(name, node);
        }
        for (name, directory) in directories {
            let mut node = self.node(name.clone(), NodeKind::Directory, 0o700);
            node.subtree = Some(self.save(directory)?);
            nodes.insert(name, node);
        }
        let mut writer = TreeWriter::new();
        for node in nodes.values() {
            writer.add(node)?;
        }
        writer.finish(&mut self.trees)
    }
}

impl Repository {
    /// Stores `files` as one snapshot. Equal files are stored once, across all snapshots. One file's content
    /// is held at a time; the first that cannot be made ends it, and there is no snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a path that is empty, climbs, or is given twice; whatever the store refuses. Inside:
    /// why a file cannot be made.
    pub fn save_files<E>(
        &self,
        files: impl IntoIterator<Item = std::result::Result<FileEntry, E>>,
        info: &SnapshotInfo,
    ) -> Result<std::result::Result<Snapshot, E>> {
        let writing = self.writing();
        self.locked(|lock| {
            self.refresh_index(&writing)?;
            let options = WriteOptions {
                compression: 3,
                uploads: 2,
                ..WriteOptions::default()
            };
            let writer = Writer::new(self, options);
            let saved = self.save_root(&writer, files);
            // An upload's failure is the cause of whatever the saver met after it.
            writer.take_error()?;
            let (tree, paths) = match saved? {
                Ok(root) => root,
                Err(unmade) => return Ok(Err(unmade)),
            };
            writer.finish()?;
            lock.check()?;
            let snapshot = self.commit(Snapshot::new(tree, paths, info, None))?;
            Ok(Ok(snapshot))
        })
    }

    /// The tree of all files, and the paths at its top.
    fn save_root<E>(
        &self,
        writer: &Writer,
        files: impl IntoIterator<Item = std::result::Result<FileEntry, E>>,
    ) -> Result<std::result::Result<(Id, Vec<String>), E>> {
        let now = jiff::Timestamp::now();
        let mut saver = Saver {
            data: writer.packer(BlobKind::Data)?,
            trees: writer.packer(BlobKind::Tree)?,
            chunker: Chunker::new(&self.config().chunker_polynomial, NORMAL),
            time: Time {
                seconds: now.as_second(),
                nanoseconds: 0,
            },
        };
        let mut root = Directory::default();
        for file in files {
            match file {
                Ok((path, text)) => root.insert(&path, saver.store(&text)?)?,
                Err(unmade) => return Ok(Err(unmade)),
            }
        }
        let paths = root.files.keys().chain(root.directories.keys());
        let paths = paths
            .map(|name| format!("/{}", String::from_utf8_lossy(name)))
            .collect();
        let tree = saver.save(root)?;
        saver.data.flush()?;
        saver.trees.flush()?;
        Ok(Ok((tree, paths)))
    }

    /// The regular files of a snapshot in the order of their paths, read as the iterator is driven.
    pub fn read_files(&self, snapshot: &Snapshot) -> Result<SnapshotFiles> {
        let root = TreeReader::open(self, &snapshot.tree)?;
        Ok(SnapshotFiles {
            repository: self.clone(),
            open: vec![(String::new(), root)],
        })
    }

    /// The content of one regular file of a snapshot.
    ///
    /// # Errors
    /// [`Error::PathNotFound`] when there is no such file.
    pub fn read_file(&self, snapshot: &Snapshot, path: &str) -> Result<Vec<u8>> {
        let node = self.find_node(snapshot, path)?;
        if node.kind != NodeKind::File {
            return Err(Error::PathNotFound {
                path: path.to_owned(),
            });
        }
        self.content(&node)
    }

    /// The node at `path` of a snapshot; a node without a name and metadata for the root.
    pub(super) fn find_node(&self, snapshot: &Snapshot, path: &str) -> Result<Node> {
        let mut tree = Some(snapshot.tree);
        let mut found = None;
        let missing = || Error::PathNotFound {
            path: path.to_owned(),
        };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let mut reader = TreeReader::open(self, &tree.ok_or_else(missing)?)?;
            let node = loop {
                match reader.next_node()? {
                    Some(node) if node.name == part.as_bytes() => break node,
                    Some(_) => {}
                    None => return Err(missing()),
                }
            };
            tree = node.subtree;
            found = Some(node);
        }
        // The root has no node: nobody recorded what it was like.
        Ok(found.unwrap_or_else(|| Node {
            subtree: Some(snapshot.tree),
            ..Node::new("", NodeKind::Directory, 0)
        }))
    }

    fn content(&self, node: &Node) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        for id in &node.content {
            content.extend_from_slice(&self.read_blob(id)?);
        }
        Ok(content)
    }
}

/// Iterator over the regular files of a snapshot.
pub struct SnapshotFiles {
    repository: Repository,
    open: Vec<(String, TreeReader)>,
}

impl SnapshotFiles {
    fn advance(&mut self) -> Result<Option<FileEntry>> {
        while let Some((prefix, reader)) = self.open.last_mut() {
            let Some(node) = reader.next_node()? else {
                self.open.pop();
                continue;
            };
            let path = format!("{prefix}{}", String::from_utf8_lossy(&node.name));
            match (node.kind, &node.subtree) {
                (NodeKind::File, _) => {
                    return Ok(Some((path, self.repository.content(&node)?)));
                }
                (NodeKind::Directory, Some(tree)) if self.open.len() < DEPTH_LIMIT => {
                    let reader = TreeReader::open(&self.repository, tree)?;
                    self.open.push((format!("{path}/"), reader));
                }
                _ => return Err(Error::damaged(path, "neither a file nor a directory")),
            }
        }
        Ok(None)
    }
}

impl Iterator for SnapshotFiles {
    type Item = Result<FileEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.open.clear();
        }
        next.transpose()
    }
}

#[cfg(test)]
mod tests;
