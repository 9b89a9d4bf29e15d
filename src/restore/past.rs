//! What earlier processes of a run did, from its journal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::capture::{Proof, SavedVolume};
use crate::journal::{After, Entry, Record};
use crate::object::Object;
use crate::target::RUN_LABEL;

/// How a step ended in an earlier process.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) after: Option<After>,
    pub(super) saved: Option<SavedVolume>,
    pub(super) proof: Option<Proof>,
    /// When.
    pub(super) time: Timestamp,
}

/// What the journal says of the steps, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// B's object before the run wrote it; none where the run made it.
    pub(super) before: BTreeMap<u32, Option<Object>>,
    /// Why the run can only be taken back.
    pub(super) broken: Option<String>,
    /// Pods in which a step's command ended well.
    pub(super) ran: BTreeSet<(u32, String)>,
    /// The last execution.
    pub(super) ended: BTreeMap<u32, Ended>,
    /// Whether the last process that closed the run had nothing left open.
    pub(super) complete: bool,
}

impl Past {
    pub(super) fn new(records: &[Record], run: &str) -> Self {
        let mut past = Self::default();
        for record in records {
            if let Entry::Closed { open, .. } = record.entry {
                past.complete = open == 0;
            }
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
                    ..
                } => {
                    let ended = Ended {
                        after: after.clone(),
                        saved: saved.clone(),
                        proof: proof.clone(),
                        time: record.time,
                    };
                    past.ended.insert(step, ended);
                }
                Entry::Ran {
                    pod, problem: None, ..
                } => {
                    past.ran.insert((step, pod.clone()));
                }
                Entry::Broken { reason } => past.broken = Some(reason.clone()),
                Entry::Opened { .. }
                | Entry::Ran { .. }
                | Entry::LeftOut
                | Entry::Ready
                | Entry::Failed { .. }
                | Entry::GivenBack
                | Entry::Closed { .. }
                | Entry::Undone { .. } => {}
            }
        }
        past
    }

    /// Whether the run began to write this step before.
    pub(super) fn intended(&self, step: u32) -> bool {
        self.before.contains_key(&step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_complete_as_its_last_close_says() {
        let complete = |open: &[u64]| {
            let closed = |open: &u64| {
                Record::of_run(Entry::Closed {
                    done: 1,
                    open: *open,
                })
            };
            let mut records: Vec<Record> = open.iter().map(closed).collect();
            records.push(Record::of_run(Entry::Opened { ferry: "1".into() }));
            Past::new(&records, "r").complete
        };
        assert!(complete(&[2, 0]));
        assert!(!complete(&[0, 2]));
        assert!(!complete(&[]));
    }
}
