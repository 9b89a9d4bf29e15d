//! What earlier processes of a run did, from its journal.

use std::collections::BTreeMap;

use crate::capture::{Proof, SavedVolume};
use crate::journal::{After, Entry, Record};
use crate::object::Object;
use crate::target::RUN_LABEL;

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
    /// B's object before the run wrote it; none where the run made it.
    pub(super) before: BTreeMap<u32, Option<Object>>,
    /// The last execution.
    pub(super) ended: BTreeMap<u32, Ended>,
}

impl Past {
    pub(super) fn new(records: &[Record], run: &str) -> Self {
        let mut past = Self::default();
        for record in records {
            let Some(step) = record.step else { continue };
            match &record.entry {
                Entry::Intent { before, .. } => {
                    // What a later attempt finds with our label on it is our own work.
                    let theirs = before
                        .clone()
                        .filter(|before| before.label(RUN_LABEL) != Some(run));
                    let known = past.before.entry(step).or_default();
                    if known.is_none() {
                        *known = theirs;
                    }
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
