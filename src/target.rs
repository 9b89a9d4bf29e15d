//! What cluster B holds now, and what it says about the objects to come.
//!
//! A [`TargetState`] is a value: `cluster::probe` reads it with GETs, lists and dry runs, and the
//! pure stages look things up in it. Nothing is written on B to learn it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::object::{Object, ObjectId};

/// The label Ferry puts on what it creates: the id of the run that did.
pub const RUN_LABEL: &str = "ferry.dev/run";

/// The annotation Ferry puts on what it creates: `<name of cluster A>/<namespace on A>`.
pub const SOURCE_ANNOTATION: &str = "ferry.dev/source";

/// One target namespace (C-52).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum NamespaceState {
    /// It is not there.
    Absent,
    /// It is there and holds nothing but what every namespace is born with.
    Empty,
    /// It is being deleted: nothing can be created in it.
    Terminating,
    /// It holds objects that someone made.
    Occupied {
        /// How many.
        objects: u64,
        /// Those among them that Ferry did not make, sorted.
        foreign: Vec<ObjectId>,
        /// Where those that Ferry made came from: values of [`SOURCE_ANNOTATION`].
        stamped_by: BTreeSet<String>,
    },
}

/// What B answers to the server-side apply of one object, without doing it (C-70).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum DryRun {
    /// It would be accepted and would look like this.
    Accepted {
        /// The object as B would store it.
        object: Object,
    },
    /// It would be refused.
    Rejected {
        /// HTTP status; 409 when other managers own some of the fields.
        status: u16,
        /// The server's reason, as in `Invalid`.
        reason: String,
        /// The server's words.
        message: String,
    },
    /// B could not be asked, and only the restore will tell.
    Unproven {
        /// Why not.
        reason: String,
    },
}

/// What B holds and says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetState {
    /// Every namespace the objects go to.
    pub namespaces: BTreeMap<String, NamespaceState>,
    /// The objects of those asked about that are on B, as they are there.
    pub live: BTreeMap<ObjectId, Object>,
    /// B's answer for every object asked about.
    pub dry_run: BTreeMap<ObjectId, DryRun>,
}
