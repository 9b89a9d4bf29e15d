//! How a job ended, in a form that fits a pod's termination message and shows when it was cut.

use serde::{Deserialize, Serialize};

use crate::capture::{Proof, SavedVolume};
use crate::exit::Exit;
use crate::repository::LossClass;

/// A kubelet keeps 4096 bytes; JSON may double a reason's length by escapes.
const REASON: usize = 1500;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// All of it was done and proven.
    Done(Done),
    /// It was not.
    Failed {
        /// What failed, on what, why, and what to do.
        reason: String,
        /// The number of an [`Exit`].
        exit: u8,
    },
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Done {
    /// The volume is in the store.
    Saved(SavedVolume),
    /// The volume holds what was saved, as read back from it, but for what was accepted to be lost.
    Loaded {
        /// What is there.
        proof: Proof,
        /// Classes of what is not.
        lost: Vec<LossClass>,
    },
}

impl Outcome {
    /// A failure with its cause.
    pub(crate) fn failed(exit: Exit, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if reason.len() > REASON {
            let end = (0..=REASON)
                .rev()
                .find(|at| reason.is_char_boundary(*at))
                .unwrap_or(0);
            reason.truncate(end);
            reason.push('…');
        }
        Self::Failed {
            reason,
            exit: exit as u8,
        }
    }

    /// What the process tells the kubelet.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Done(_) => Exit::Done,
            Self::Failed { exit, .. } => {
                [Exit::Blocked, Exit::Incomplete, Exit::Input, Exit::Refused]
                    .into_iter()
                    .find(|known| *known as u8 == *exit)
                    .unwrap_or(Exit::Internal)
            }
        }
    }

    /// As a termination message: JSON, a newline, and the digest of the JSON.
    pub(crate) fn to_message(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{json}\n{}\n", blake3::hash(json.as_bytes()))
    }

    /// Reads a termination message; `None` when it is not one or is not whole.
    pub(crate) fn of_message(text: &str) -> Option<Self> {
        let (json, digest) = text.trim_end().rsplit_once('\n')?;
        if blake3::hash(json.as_bytes()).to_string() != digest {
            return None;
        }
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_the_message_and_any_cut_is_noticed() {
        let proof = Proof {
            files: 3,
            bytes: 4,
            digest: "ab".into(),
        };
        let outcome = Outcome::Done(Done::Loaded {
            proof,
            lost: vec![LossClass::Owner],
        });
        let message = outcome.to_message();
        assert_eq!(Outcome::of_message(&message), Some(outcome));
        for end in 0..message.len() - 1 {
            assert_eq!(Outcome::of_message(&message[..end]), None, "{end}");
        }
    }

    #[test]
    fn a_long_reason_still_fits() {
        let outcome = Outcome::failed(Exit::Refused, "ü\"".repeat(5000));
        assert!(outcome.to_message().len() < 4096);
        assert_eq!(outcome.exit(), Exit::Refused);
        assert!(Outcome::of_message(&outcome.to_message()).is_some());
    }
}
