//! The one interface between doing and telling.
//!
//! The pipeline emits events and never prints; `report` consumes them as progress bars, plain lines
//! or JSON. So the same run reads the same on a terminal, in a log, and in a machine's hands.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::object::ObjectId;

/// A stage of the pipeline, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading what cluster B, or A, offers.
    Survey,
    /// Listing objects on A.
    Capture,
    /// Drawing the graph.
    Graph,
    /// Applying recipes.
    Transform,
    /// Comparing with B.
    Check,
    /// Ordering into waves.
    Plan,
    /// Snapshots and movers on A.
    Save,
    /// Writing to B.
    Restore,
    /// Comparing what arrived with what left.
    Verify,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Survey => "survey",
            Self::Capture => "capture",
            Self::Graph => "graph",
            Self::Transform => "transform",
            Self::Check => "check",
            Self::Plan => "plan",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Verify => "verify",
        })
    }
}

/// Which way a volume's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a claim into the store.
    Save,
    /// From the store into a claim.
    Load,
    /// Reading a claim for its fingerprint: the storage carries the data.
    Read,
    /// Comparing a claim with the store.
    Verify,
    /// Looking through the store itself: a check, figures, a prune. What it counts are directories of snapshots.
    Examine,
}

/// How far one volume is. Totals are `None` until the mover knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeProgress {
    /// Files handled so far.
    pub files_done: u64,
    /// Content bytes handled so far.
    pub bytes_done: u64,
    /// Files in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_total: Option<u64>,
    /// Content bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Bytes that travelled to or from the store.
    pub bytes_stored: u64,
}

/// Something the pipeline did or saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
        /// Items expected, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// A stage ended well.
    StageFinished {
        /// Which.
        stage: Stage,
        /// One line that says what came of it.
        summary: String,
    },
    /// One kind was listed in one namespace, or over the cluster.
    Listed {
        /// The kind, as `Deployment.apps`.
        kind: String,
        /// The namespace; `None` for cluster-scoped kinds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Objects found.
        count: u64,
    },
    /// A volume's data is on its way.
    Volume {
        /// `namespace/claim` on the side where the mover runs.
        claim: String,
        /// Which way.
        direction: Direction,
        /// How far.
        progress: VolumeProgress,
    },
    /// A volume arrived.
    VolumeFinished {
        /// `namespace/claim` on the side where the mover ran.
        claim: String,
        /// Which way.
        direction: Direction,
        /// Final figures.
        progress: VolumeProgress,
        /// Seconds it took.
        seconds: f64,
    },
    /// A step of a run begins.
    StepStarted {
        /// Number of the step in its plan.
        step: u32,
        /// The object it writes or moves.
        object: ObjectId,
        /// The action in a word: `create`, `update`, `load`, `release` …
        action: String,
    },
    /// A step of a run ended; or it had ended well and its object did not become ready.
    StepFinished {
        /// Number of the step in its plan.
        step: u32,
        /// The object.
        object: ObjectId,
        /// The action in a word.
        action: String,
        /// `None` when it went well, else the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A step of a run was broken off because the user stopped the run; it is open, not failed.
    StepStopped {
        /// Number of the step in its plan.
        step: u32,
        /// The object.
        object: ObjectId,
        /// The action in a word.
        action: String,
    },
    /// Still waiting for an object to become ready, and why.
    Waiting {
        /// The object.
        object: ObjectId,
        /// What is missing, in the object's own words where it has some.
        message: String,
    },
    /// Something the user should read.
    Notice {
        /// The text, one sentence.
        text: String,
    },
    /// Something the user should worry about.
    Warning {
        /// The text, one sentence.
        text: String,
    },
}

/// Where events go. Cheap to clone; sending never blocks and never fails.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Sends every event to a function, which must not block.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Forgets every event.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Tells what happened.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }

    /// Says that a stage begins.
    pub fn started(&self, stage: Stage) {
        self.send(Event::StageStarted { stage, total: None });
    }

    /// Says that a stage ended well.
    pub fn finished(&self, stage: Stage, summary: impl Into<String>) {
        self.send(Event::StageFinished {
            stage,
            summary: summary.into(),
        });
    }

    /// Tells the user something worth reading.
    pub fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice { text: text.into() });
    }

    /// Warns the user.
    pub fn warning(&self, text: impl Into<String>) {
        self.send(Event::Warning { text: text.into() });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}
