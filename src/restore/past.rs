//! What earlier processes of a run did, from its journal.

use std::collections::BTreeMap;

use crate::capture::{Proof, SavedVolume};
use crate::journal::{After, Entry, Record};
use crate::object::Object;

/// How a step ended in an earlier process.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    pub(super) after: Option<After>,
    pub(super) saved: Option<SavedVolume>,
    pub(super) proof: Option<Proof>,
}

/// What the journal says of the steps, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// B's object before the first intent; only that one was not ours.
    pub(super) before: BTreeMap<u32, Option<Object>>,
    /// The last execution.
    pub(super) ended: BTreeMap<u32, Ended>,
}

impl Past {
    pub(super) fn new(records: &[Record]) -> Self {
        let mut past = Self::default();
        for record in records {
            let Some(step) = record.step else { continue };
            match &record.entry {
                Entry::Intent { before, .. } => {
                    past.before.entry(step).or_insert_with(|| before.clone());
                }
                Entry::Done {
                    after,
                    saved,
                    proof,
                } => {
                    let ended = Ended {
                        after: after.clone(),
                        saved: saved.clone(),
                        proof: proof.clone(),
                    };
                    past.ended.insert(step, ended);
                }
                Entry::Opened { .. }
                | Entry::Ready
                | Entry::Failed { .. }
                | Entry::Closed { .. }
                | Entry::Undone => {}
            }
        }
        past
    }

    /// Whether the run began to write this step before.
    pub(super) fn intended(&self, step: u32) -> bool {
        self.before.contains_key(&step)
    }
}
