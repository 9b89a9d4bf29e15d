//! Stage 1: an immutable record of one or more namespaces at one time.
//!
//! ```text
//! cluster A ── list ──▶ objects ── sanitise (rule book §2) ──▶ choose ──▶ Capture ──▶ store
//! folder, stream, Velero ──▶ │           └─▶ dropped, each with its rule and reason
//! ```

mod archive;
mod assemble;
mod classify;
mod closure;
mod error;
mod kept;
mod labels;
pub(crate) mod listing;
mod matching;
mod mounted;
mod sanitise;
mod selection;
mod take;
mod together;
mod user;
mod user_set;
mod volumes;

pub use archive::{Archive, ArchiveError, Data};
pub use classify::{Sorted, classify};
pub use error::CaptureError;
pub use kept::{Kept, KeptClass};
pub use labels::{LabelSelector, LabelSelectorError};
pub use sanitise::sanitise;
pub use selection::{ObjectGlob, ObjectGlobError, Selection};
pub use take::take;
pub use user::User;
pub(crate) use volumes::is_within_reach;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::object::{Object, ObjectId};
use crate::surface::Surface;

/// An owner as it was on A; UIDs do not survive the crossing, so owners are re-linked by name (W-12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The owner, in the dependent's namespace or cluster-scoped.
    pub id: ObjectId,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// `blockOwnerDeletion`, as captured.
    pub block_deletion: bool,
}

/// One object that travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// As it goes into graph and transforms: without what the server or A's controllers own.
    pub object: Object,
    /// As A's API server gave it.
    pub raw: Object,
    /// Its owners on A.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Owner>,
}

/// Why an object stays behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropClass {
    /// The server, a controller or a past run made it and will again where needed.
    Generated,
    /// A captured owner's controller produces it on B.
    Produced,
    /// A cluster-wide object that is mapped to one of B's, never copied.
    Mapped,
    /// The user's selection excludes it.
    Excluded,
}

impl fmt::Display for DropClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Generated => "generated",
            Self::Produced => "produced",
            Self::Mapped => "mapped",
            Self::Excluded => "excluded",
        })
    }
}

/// One object that stays behind, with the reason kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Which object.
    pub id: ObjectId,
    /// Rule id, as in `S-2`.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// What sort of reason.
    pub class: DropClass,
    /// The object that produces it, if one does: edges to this object go to that one instead (E-P).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produced_by: Option<ObjectId>,
}

/// How a volume presents itself to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VolumeMode {
    /// A mounted file system.
    Filesystem,
    /// A raw device.
    Block,
}

/// What moment the saved data shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// One instant: a CSI snapshot.
    Snapshot,
    /// One instant, the same for all claims of one driver in the namespace that have this: a CSI group snapshot.
    Together,
    /// One instant: a clone of the volume that its driver made.
    Clone,
    /// A live file system read over some time: not a point in time.
    Live,
    /// The volume itself, read while nothing ran that could write to it: a cutover saw to that before and after (W-9).
    Quiet,
}

impl Consistency {
    /// Whether one instant is shown, by what is made of the claim before it is read.
    pub fn is_frozen(self) -> bool {
        self.is_snapshot() || self == Self::Clone
    }

    /// Whether that is a snapshot, its own or of a group.
    pub fn is_snapshot(self) -> bool {
        matches!(self, Self::Snapshot | Self::Together)
    }
}

/// Claims of one namespace that can be frozen at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// All of them, by their names.
    pub claims: BTreeSet<String>,
    /// Labels that they and no other claim of the namespace have, none where there is no other claim; `None` when no
    /// labels tell them from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// What was counted and digested at the source, to be found again on the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Entries: files, directories, links, devices …; 1 for a block volume.
    pub files: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Digest over every entry's path, metadata and content (see `repository::verify`), as hex.
    pub digest: String,
}

/// One claim whose data travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The claim on A.
    pub claim: ObjectId,
    /// Filesystem or Block.
    pub mode: VolumeMode,
    /// Size of the claim in bytes: the larger of its request and its status.
    pub capacity: u64,
    /// Class on A; `None` when the claim names none.
    pub storage_class: Option<String>,
    /// CSI driver of the bound volume; `None` when it is not CSI.
    pub driver: Option<String>,
    /// Access modes of the claim.
    pub access_modes: Vec<String>,
    /// Node where it is attached or pinned, if only one can reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Pods or workloads that mount it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounted_by: Vec<ObjectId>,
    /// Names of the pods that mount it, in its namespace: claims that one of them mounts together travel together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// Whom the first pod that mounts it runs as; `None` when no pod does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The claims its driver can freeze at one moment with it; `None` when there are none, or the driver cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
    /// What the store holds of it; `None` until it has been saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedVolume>,
}

/// A snapshot of the storage's own, from which a cluster that is on the same storage can make its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The CSI driver that knows it.
    pub driver: String,
    /// The driver's name for it.
    pub handle: String,
    /// Filesystem or Block, where the API says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Bytes a claim made of it must have.
    pub size: u64,
}

/// A volume's data in the store, or with the storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVolume {
    /// Id of the restic snapshot, as hex; of what the storage holds, the handle.
    pub snapshot: String,
    /// Set where the storage holds the data, and not the store. It does so for as long as the run lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What moment it shows.
    pub consistency: Consistency,
    /// What must arrive.
    pub proof: Proof,
    /// Bytes this save sent to the store: what had changed since the store last saw the volume.
    #[serde(default)]
    pub added: u64,
}

/// The record. Its parts are sorted by object id, so that equal clusters give equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Name in the store: `YYYYMMDD-HHMMSS-xxxx`.
    pub id: String,
    /// When the listing began.
    pub created: jiff::Timestamp,
    /// Namespaces captured.
    pub namespaces: Vec<String>,
    /// Objects that travel, sorted by id.
    pub objects: Vec<Captured>,
    /// Objects that stay, sorted by id.
    pub dropped: Vec<Dropped>,
    /// Claims whose data travels, sorted by id.
    pub volumes: Vec<Volume>,
    /// What A offers.
    pub surface: Surface,
    /// What is not in the capture though it may be on A, and what was chosen and needs what was not.
    /// Those about the capture as a whole name no object.
    pub findings: Vec<Finding>,
}

#[cfg(test)]
mod tests;
