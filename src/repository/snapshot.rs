//! Snapshots: who captured which tree when. Writing one is the commit point of a backup.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;

/// A snapshot, in restic's form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken, RFC 3339.
    pub time: String,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Its root directory.
    pub tree: Id,
    /// What was captured, as absolute paths.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where: the cluster.
    #[serde(default)]
    pub hostname: String,
    /// By whom.
    #[serde(default)]
    pub username: String,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The program that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// The name of its object; not part of it.
    #[serde(skip)]
    pub id: Option<Id>,
}

/// What a new snapshot says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Where the data is from: the cluster's id.
    pub hostname: String,
    /// Words to find it by, such as `capture=<id>` and `pvc=<ns>/<name>`.
    pub tags: Vec<String>,
}

impl Snapshot {
    pub(super) fn new(
        tree: Id,
        paths: Vec<String>,
        info: &SnapshotInfo,
        parent: Option<Id>,
    ) -> Self {
        Snapshot {
            time: Timestamp::now().to_string(),
            parent,
            tree,
            paths,
            hostname: info.hostname.clone(),
            username: String::new(),
            tags: info.tags.clone(),
            program_version: concat!("ferry ", env!("CARGO_PKG_VERSION")).to_owned(),
            id: None,
        }
    }

    /// Whether it carries all of `tags`.
    pub fn has_tags<T: AsRef<str>>(&self, tags: &[T]) -> bool {
        tags.iter()
            .all(|tag| self.tags.iter().any(|own| own == tag.as_ref()))
    }

    fn timestamp(&self) -> Timestamp {
        self.time.parse().unwrap_or(Timestamp::MIN)
    }
}

impl Repository {
    /// The snapshots that carry all of `tags`, oldest first.
    pub fn snapshots<T: AsRef<str>>(&self, tags: &[T]) -> Result<Vec<Snapshot>> {
        let mut found = Vec::new();
        self.backend().wait(async {
            let ids: Vec<Id> = self
                .backend()
                .list_ids(Kind::Snapshot)
                .await?
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            let load = self
                .backend()
                .load_all(self.sealer(), Kind::Snapshot, &ids, |id, plain| {
                    let snapshot = parse(id, &plain)?;
                    if snapshot.has_tags(tags) {
                        found.push(snapshot);
                    }
                    Ok(())
                });
            load.await
        })?;
        found.sort_by_key(|snapshot| (snapshot.timestamp(), snapshot.id));
        Ok(found)
    }

    /// The ids of all snapshots, sorted.
    pub fn snapshot_ids(&self) -> Result<BTreeSet<Id>> {
        let listed = self.backend().wait(self.backend().list_ids(Kind::Snapshot));
        Ok(listed?.into_iter().map(|(id, _)| id).collect())
    }

    /// One snapshot by its id or an unambiguous beginning of it.
    pub fn snapshot(&self, wanted: &str) -> Result<Snapshot> {
        if let Ok(id) = wanted.parse() {
            let loaded = self.backend().wait(self.backend().load_unpacked(
                self.sealer(),
                Kind::Snapshot,
                &id,
            ));
            return match loaded {
                Ok(plain) => parse(id, &plain),
                Err(Error::NotFound { .. }) => Err(Error::SnapshotNotFound {
                    wanted: wanted.into(),
                }),
                Err(error) => Err(error),
            };
        }
        let ids = self
            .backend()
            .wait(self.backend().list_ids(Kind::Snapshot))?;
        let fitting: Vec<String> = ids
            .iter()
            .map(|(id, _)| id.to_string())
            .filter(|id| !wanted.is_empty() && id.starts_with(wanted))
            .collect();
        match fitting.as_slice() {
            [] => Err(Error::SnapshotNotFound {
                wanted: wanted.into(),
            }),
            [id] => self.snapshot(id),
            several => Err(Error::SnapshotAmbiguous {
                wanted: wanted.into(),
                count: several.len(),
            }),
        }
    }

    /// Removes the snapshot. The data only it uses stays until somebody prunes; that it is gone already is success.
    pub fn forget(&self, id: &Id) -> Result<()> {
        self.locked(|_| {
            self.backend()
                .wait(self.backend().delete(&Kind::Snapshot.path(id)))
        })
    }

    /// Writes the snapshot: from now on it exists.
    pub(super) fn commit(&self, mut snapshot: Snapshot) -> Result<Snapshot> {
        let json =
            serde_json::to_vec(&snapshot).map_err(|error| Error::damaged("a snapshot", error))?;
        let save = self
            .backend()
            .save_unpacked(self.sealer(), Kind::Snapshot, &json);
        snapshot.id = Some(self.backend().wait(save)?);
        Ok(snapshot)
    }
}

pub(super) fn parse(id: Id, plain: &[u8]) -> Result<Snapshot> {
    let mut snapshot: Snapshot = serde_json::from_slice(plain)
        .map_err(|error| Error::damaged(Kind::Snapshot.path(&id), error))?;
    snapshot.id = Some(id);
    Ok(snapshot)
}
