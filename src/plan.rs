//! Stage 5: every write and every data move, decided before the first one happens.
//!
//! A [`Plan`] is a value. It is reviewed, saved as one sealed file, diffed, and executed exactly as
//! it is: `restore` decides nothing. `build` takes values and returns a value; it knows no client,
//! no clock and no randomness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capture::{Consistency, Owner, SavedVolume, Together, User, VolumeMode};
use crate::finding::Finding;
use crate::graph::{Graph, Phase};
use crate::hook::{Hook, Moment};
use crate::object::{Object, ObjectId};
use crate::repository::LossClass;
use crate::surface::ClusterIdentity;
use crate::transform::Change;

mod body;
mod build;
mod classify;
mod clones;
pub mod file;
mod hold;
mod items;
mod order;
mod shared;
pub mod stamp;
mod sync;
mod together;
mod unprivileged;
mod volumes;

#[cfg(test)]
mod tests;

pub use body::Body;
pub use build::{PlanInput, build, exposed, hooked, hosts_of, quiesced};
pub(crate) use classify::{content, digest, same};
pub use clones::CLONE_ANNOTATION;
pub use shared::takes_snapshots;
pub use together::{Grouping, findings as group_findings, with_others};
pub use unprivileged::Unprivileged;

/// What a plan is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Objects and data, while A is left as it is.
    #[default]
    Move,
    /// Data alone, into claims that nothing on B uses yet: to be done again.
    Sync,
    /// Objects and data, while A stands still.
    Cutover,
}

impl Purpose {
    /// The annotation of a claim that says what arrived, once all of it has.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Move | Self::Cutover => stamp::DATA_ANNOTATION,
            Self::Sync => stamp::SYNC_ANNOTATION,
        }
    }

    /// Whether it is the ordinary one, which is not written down.
    pub fn is_move(&self) -> bool {
        *self == Self::Move
    }
}

/// What a step does to its object (D-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The object is not on B: it is made.
    Create,
    /// The object is on B and differs: it is changed by server-side apply.
    Update,
    /// The object is on B and equal: nothing is written.
    Same,
    /// The object is on B and policy says to leave it.
    Keep,
    /// The object cannot be applied; a finding says why.
    Blocked,
}

/// What B must still look like when the step runs; else the plan is stale and is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The object is not there.
    Absent,
    /// The object is there at this UID, with this content.
    Live {
        /// `metadata.uid`.
        uid: String,
        /// `metadata.resourceVersion` when the plan was made.
        resource_version: String,
        /// SHA-256 of what users own in it, as hex: a status update or a controller's heartbeat moves
        /// the resource version and does not make a plan stale.
        content: String,
    },
}

/// A hold: a field set so that a workload stays quiet until its data is proven (W-8, W-9).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Rule row in `transforms/builtin/holds.yaml`.
    pub rule: String,
    /// RFC 6901 pointer of the field.
    pub path: String,
    /// Value while held.
    pub held: Value,
    /// Value to set on release; `None` removes the field.
    pub release: Option<Value>,
    /// Whether the release goes through the scale sub-resource, under a manager of its own (W-8).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scale: bool,
}

/// Which claim's data, and what is to arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeMove {
    /// The claim on A.
    pub source: ObjectId,
    /// The claim on B.
    pub target: ObjectId,
    /// Filesystem or Block.
    pub mode: VolumeMode,
    /// Size of the source claim in bytes.
    pub capacity: u64,
    /// How it will be read.
    pub consistency: Consistency,
    /// The claims on A that are frozen at one moment with it, where `consistency` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
    /// What the store holds already; `None` when the same plan saves it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedVolume>,
    /// Whether the storage of both clusters is one, and B's volume is to be made of A's snapshot (Y-2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares: bool,
    /// Placement the mover on B must share with the workload, so that a late-binding volume lands
    /// where the workload can run (W-5): a partial pod spec with nodeSelector, tolerations, affinity.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub placement: Value,
    /// Claims on B that must be on one node with this one, because a pod mounts them together; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<ObjectId>,
    /// Whether the claim on B is a sync's: all that is in it came from this claim on A, so that what the
    /// source does not have any more is deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synced: bool,
    /// What B's storage is known to lose of every file (C-40). Nothing begins until that is accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<LossClass>,
    /// Whom the mover on A runs as when it has no privileges and works in the application's namespace;
    /// `None` for one that has them and works in a namespace of Ferry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads_as: Option<User>,
    /// The same of the mover on B.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_as: Option<User>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Server-side apply of `body` on B.
    Apply {
        /// Exactly what is sent, held fields included.
        body: Body,
        /// Create, update, same …
        class: Class,
        /// What B must look like.
        expect: Expect,
        /// Fields held until the `Release` step of the same object.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holds: Vec<Hold>,
        /// Its owners by their names on B; their UIDs are known when they have been written (W-12).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        owners: Vec<Owner>,
    },
    /// Take the hold off: data is proven, the workload may run.
    Release {
        /// What to set back.
        holds: Vec<Hold>,
        /// The object as it shall be after release (the manager then owns no held field).
        body: Body,
    },
    /// Keep a workload of A quiet (W-9). What it was is in the journal before anything is changed.
    Quiesce {
        /// What is set.
        holds: Vec<Hold>,
    },
    /// Have an exposure object of A give its hosts up, for B to take. What it was is in the journal before.
    GiveUp {
        /// The hosts.
        hosts: Vec<String>,
        /// What is set, and taken away.
        holds: Vec<Hold>,
    },
    /// Nothing runs in a namespace of A that could write to what moves.
    Quiet {
        /// Whether pods are waited for; else one that runs is a failure.
        waits: bool,
    },
    /// Run a command in the pods of a workload.
    Hook(Box<Hook>),
    /// Snapshot a claim on A, or clone it, so that all data shows one time.
    Snapshot(Box<VolumeMove>),
    /// Carry a claim's data from A (its snapshot, or live) into the store.
    Save(Box<VolumeMove>),
    /// Carry it from the store into the claim on B, and compare.
    Load(Box<VolumeMove>),
}

/// What a step waits for in another step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// The other step ended, well or not: order, not need (an S edge).
    Settled,
    /// The other step was executed: its object exists, its data has arrived.
    Done,
    /// The other step's object is ready (rule book §5.1).
    Ready,
}

/// One dependency between steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// Number of the step waited for; always smaller than the waiting step's.
    pub step: u32,
    /// What is waited for.
    pub gate: Gate,
}

/// One exact write or data move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Position in the plan, from 0.
    pub number: u32,
    /// Wave: steps of one wave need nothing of each other.
    pub wave: u32,
    /// Phase it belongs to. Steps that write objects wait until those of earlier phases have ended;
    /// where a reference points the other way, the referred object was moved to the earlier phase.
    pub phase: Phase,
    /// The object on B (on A for what is done there: quiesce, snapshot, save).
    pub object: ObjectId,
    /// What is done.
    pub action: Action,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
}

/// What an update changes on B.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The object on B when the plan was made.
    pub live: Object,
    /// The object as the update leaves it: the server's own answer to a dry run, or computed where it gave none.
    pub applied: Object,
}

/// The whole decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The capture it restores.
    pub capture: String,
    /// Cluster A, as captured.
    pub source: ClusterIdentity,
    /// Cluster B.
    pub target: ClusterIdentity,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Purpose::is_move")]
    pub purpose: Purpose,
    /// Namespaces on A and what they are called on B.
    pub namespaces: Vec<(String, String)>,
    /// Name and SHA-256 of every recipe used.
    pub recipes: Vec<(String, String)>,
    /// Storage classes of B that bind a claim only when a pod uses it: their claims are not waited
    /// for (W-5).
    pub late_binding: BTreeSet<String>,
    /// Steps in a valid order.
    pub steps: Vec<Step>,
    /// Everything the checks found, worst first.
    pub findings: Vec<Finding>,
    /// Everything the recipes changed.
    pub changes: Arc<Vec<Change>>,
    /// The graph it was ordered by, with B's names.
    pub graph: Arc<Graph>,
    /// Captured objects before transforms, each with its name on B, for the diff. What a recipe adds has none.
    pub before: Vec<(ObjectId, Object)>,
    /// What each update meets on B, for the diff; sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
}

impl Action {
    /// The action in a word, as events and the journal name it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Apply { class, .. } => match class {
                Class::Create => "create",
                Class::Update => "update",
                Class::Same => "same",
                Class::Keep => "keep",
                Class::Blocked => "blocked",
            },
            Self::Release { .. } => "release",
            Self::Quiesce { .. } => "quiesce",
            Self::GiveUp { .. } => "give-up",
            Self::Quiet { .. } => "quiet",
            Self::Hook(_) => "hook",
            Self::Snapshot(volume) if volume.consistency == Consistency::Clone => "clone",
            Self::Snapshot(_) => "snapshot",
            Self::Save(_) => "save",
            Self::Load(_) => "load",
        }
    }

    /// Whether executing it changes anything.
    pub fn pending(&self) -> bool {
        match self {
            Self::Apply { class, .. } => matches!(class, Class::Create | Class::Update),
            Self::Release { .. }
            | Self::Quiesce { .. }
            | Self::GiveUp { .. }
            | Self::Quiet { .. }
            | Self::Hook(_)
            | Self::Snapshot(_)
            | Self::Save(_)
            | Self::Load(_) => true,
        }
    }

    /// Whether it is about cluster A.
    pub fn is_on_source(&self) -> bool {
        match self {
            Self::Quiesce { .. }
            | Self::GiveUp { .. }
            | Self::Quiet { .. }
            | Self::Snapshot(_)
            | Self::Save(_) => true,
            Self::Hook(hook) => hook.moment == Moment::BeforeHold,
            Self::Apply { .. } | Self::Release { .. } | Self::Load(_) => false,
        }
    }

    /// Whether data is moved by it, or cannot be before it is done.
    pub fn is_for_data(&self) -> bool {
        let after = matches!(self, Self::GiveUp { .. });
        !after && (self.is_on_source() || matches!(self, Self::Load(_)))
    }

    /// What it sets on cluster A, to be given back.
    pub fn holds_on_source(&self) -> Option<&[Hold]> {
        match self {
            Self::Quiesce { holds } | Self::GiveUp { holds, .. } => Some(holds),
            _ => None,
        }
    }

    /// Whether it needs a mover.
    pub fn moves_data(&self) -> bool {
        matches!(self, Self::Snapshot(_) | Self::Save(_) | Self::Load(_))
    }

    /// The move, where it needs a mover.
    pub fn volume(&self) -> Option<&VolumeMove> {
        match self {
            Self::Snapshot(volume) | Self::Save(volume) | Self::Load(volume) => Some(volume),
            _ => None,
        }
    }

    /// Whether it writes an object on B.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Apply { .. } | Self::Release { .. })
    }
}

impl Plan {
    /// How many steps change something; 0 means that B is as the plan wants it.
    pub fn pending(&self) -> usize {
        self.steps
            .iter()
            .filter(|step| step.action.pending())
            .count()
    }

    /// Whether findings forbid executing it.
    pub fn blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict.blocks())
    }

    /// Whether cluster A is needed when it is executed.
    pub fn reads_source(&self) -> bool {
        self.steps.iter().any(|step| step.action.is_on_source())
    }

    /// Steps by their object and whether they release it, to look one up.
    pub fn applies(&self) -> BTreeMap<&ObjectId, &Step> {
        self.steps
            .iter()
            .filter(|step| matches!(step.action, Action::Apply { .. }))
            .map(|step| (&step.object, step))
            .collect()
    }
}
