//! What came of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::capture::Proof;
use crate::object::ObjectId;

/// One step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Number of the step in its plan.
    pub step: u32,
    /// Its object.
    pub object: ObjectId,
    /// Its action in a word.
    pub action: String,
    /// Why, with all causes.
    pub reason: String,
}

/// One step that was not reached because another failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its object.
    pub object: ObjectId,
    /// Its action in a word.
    pub action: String,
    /// The object whose failure it waits behind.
    pub because: ObjectId,
}

/// What came of a run.
#[must_use = "a run may have failed"]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The run.
    pub run: String,
    /// Steps that ended well, by their action in a word.
    pub counts: BTreeMap<String, u64>,
    /// Whether an earlier process had completed the run and this one found every step done.
    pub already: bool,
    /// Steps that failed, in order.
    pub failed: Vec<Failure>,
    /// Steps behind those.
    pub skipped: Vec<Skipped>,
    /// Steps not finished because the run was stopped.
    pub unfinished: u64,
    /// What was found in each claim on B, equal to what was saved.
    pub proofs: Vec<(ObjectId, Proof)>,
    /// Steps that move data and have not ended well.
    pub data_open: u64,
    /// Seconds it took.
    pub seconds: f64,
}

impl RunReport {
    /// Whether every step ended well.
    pub fn complete(&self) -> bool {
        self.open() == 0
    }

    /// Whether every step had ended well before this process began, and still stands.
    pub fn nothing_done(&self) -> bool {
        self.complete() && self.already
    }

    /// Steps that ended well.
    pub fn done(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Steps that failed or were not reached.
    pub fn open(&self) -> u64 {
        (self.failed.len() + self.skipped.len()) as u64 + self.unfinished
    }

    /// Whether no volume is still to move, so that the movers' leftovers may go.
    pub fn data_is_done(&self) -> bool {
        self.data_open == 0
    }

    /// How to go on, when something is open.
    pub fn next(&self) -> Option<String> {
        (!self.complete()).then(|| format!("ferry runs resume {}", self.run))
    }

    /// `12 created, 3 released, 1 volume loaded in 4.2 s`.
    pub fn summary(&self) -> String {
        if self.nothing_done() {
            return "already complete, nothing to do".into();
        }
        let words = [
            ("create", "created"),
            ("update", "updated"),
            ("quiesce", "held on A"),
            ("release", "released"),
            ("hook", "hooks run"),
            ("give-up", "without its hosts on A"),
            ("load", "loaded"),
            ("same", "the same"),
            ("keep", "kept"),
        ];
        let mut parts: Vec<String> = words
            .iter()
            .filter_map(|(word, text)| Some(format!("{} {text}", self.counts.get(*word)?)))
            .collect();
        for (count, text) in [
            (self.failed.len() as u64, "failed"),
            (self.skipped.len() as u64, "not reached"),
            (self.unfinished, "not finished"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {text}"));
            }
        }
        format!("{} in {:.1} s", parts.join(", "), self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_complete_claims_no_work() {
        let mut report = RunReport {
            counts: BTreeMap::from([("create".into(), 7), ("load".into(), 1)]),
            ..RunReport::default()
        };
        assert_eq!(report.summary(), "7 created, 1 loaded in 0.0 s");
        report.already = true;
        assert_eq!(report.summary(), "already complete, nothing to do");
        // What was stopped while it was gone over is not said to be complete.
        report.unfinished = 1;
        assert!(report.summary().contains("1 not finished"));
    }
}
