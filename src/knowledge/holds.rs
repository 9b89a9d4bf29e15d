//! Rows of `transforms/builtin/holds.yaml`: how a workload is kept quiet until its data is proven
//! (rule book W-8, W-9).

use serde::Deserialize;
use serde_json::Value;

/// How workloads of one kind are held.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRow {
    /// Rule id.
    pub id: String,
    /// API group; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// RFC 6901 pointer of the field.
    pub path: String,
    /// Value while held.
    pub held: Value,
    /// Captured values under which the workload is quiet by itself.
    #[serde(default)]
    pub quiet: Vec<Value>,
    /// Whether the field is given back through the scale sub-resource.
    #[serde(default)]
    pub scale: bool,
    /// What the server takes when the field is absent.
    #[serde(default)]
    pub default: Option<Value>,
}
