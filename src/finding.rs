//! Findings: what a check has to say about one object or the whole plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::ObjectId;

/// How bad a finding is, from harmless to fatal (rule book §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Checked and fine.
    Ok,
    /// Good to know.
    Info,
    /// An automatic change is planned.
    Fix,
    /// Needs the user's attention; does not stop the plan.
    Warn,
    /// The object or what depends on it cannot be applied.
    Block,
    /// Nothing can be applied at all.
    Abort,
}

impl Verdict {
    /// Whether a plan with such a finding must not be executed.
    pub fn blocks(self) -> bool {
        self >= Self::Block
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Fix => "fix",
            Self::Warn => "warn",
            Self::Block => "block",
            Self::Abort => "abort",
        })
    }
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// Rule id of the rule book, as in `C-40`.
    pub rule: String,
    /// The object it is about; `None` when it is about the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// RFC 6901 pointer into that object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What was seen that proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What the user can do, as an instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// Starts a finding; add the rest with the other methods.
    pub fn new(verdict: Verdict, rule: &str, message: impl Into<String>) -> Self {
        Self {
            verdict,
            rule: rule.into(),
            object: None,
            path: None,
            message: message.into(),
            evidence: None,
            remedy: None,
        }
    }

    /// Says which object it is about.
    #[must_use]
    pub fn on(mut self, object: ObjectId) -> Self {
        self.object = Some(object);
        self
    }

    /// Says where in the object, as an RFC 6901 pointer.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds what was seen.
    #[must_use]
    pub fn because(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
