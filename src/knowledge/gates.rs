//! Rows of `transforms/builtin/gates.yaml`: when an object of a kind is ready (rule book §5.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a kind may take to become ready before a run calls it late (W-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timeout {
    /// Ready as soon as it exists.
    Instant,
    /// A controller of the control plane writes a status.
    #[default]
    ControlPlane,
    /// A volume is provisioned.
    Storage,
    /// Images are pulled, processes start.
    Workload,
}

impl Timeout {
    /// The time allowed.
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Instant => 10,
            Self::ControlPlane => 60,
            Self::Storage => 15 * 60,
            Self::Workload => 10 * 60,
        })
    }
}

/// A readiness rule that needs arithmetic and is therefore written in Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Native {
    /// Token Secrets are filled by a controller.
    Secret,
    /// An address is assigned.
    Service,
    /// The quota controller has counted every key.
    ResourceQuota,
    /// Bound, or waiting for its first consumer.
    Claim,
    /// Ready or finished.
    Pod,
    /// Rolled out and available.
    Deployment,
    /// Every replica at the current revision.
    StatefulSet,
    /// On every node it wants.
    DaemonSet,
    /// Every replica available.
    ReplicaSet,
}

/// One test on an object: a condition's status, or the value at a JSON pointer, is one of some.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Type of a condition in `/status/conditions`.
    #[serde(default)]
    pub condition: Option<String>,
    /// RFC 6901 pointer.
    #[serde(default)]
    pub path: Option<String>,
    /// Accepted values.
    pub is: Vec<Value>,
}

/// An object a controller makes beside another, named within the namespace it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Kind in the core group.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// When objects of one kind are ready.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRow {
    /// Rule id.
    pub id: String,
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Time allowed.
    pub timeout: Timeout,
    /// The rule, when it is written in Rust.
    #[serde(default)]
    pub native: Option<Native>,
    /// Tests that must all hold.
    #[serde(default)]
    pub current: Vec<Test>,
    /// Tests of which any means failure.
    #[serde(default)]
    pub failed: Vec<Test>,
    /// Objects that must exist beside it.
    #[serde(default)]
    pub present: Vec<Beside>,
}
