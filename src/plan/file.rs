//! A plan as bytes: one self-contained piece that says what it is and which Ferry wrote it.
//!
//! ```text
//! "ferry plan 1\n" ‖ zstd(JSON of the plan)        sealed by the store before it goes anywhere
//! ```
//!
//! A plan holds Secrets: nobody writes these bytes unsealed.

use super::Plan;

const HEADER: &[u8] = b"ferry plan 1\n";

/// More than any plan needs; a file that claims to unpack to more is not a plan.
const LIMIT: usize = 4 << 30;

/// Why bytes are not a plan this Ferry can execute.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The bytes are something else, or of another version.
    #[error("this is not a plan of this version of ferry; make it again with `ferry plan`")]
    NotAPlan,
    /// The bytes do not unpack.
    #[error("the plan is damaged: it does not unpack")]
    Unpack(#[source] std::io::Error),
    /// The JSON inside is not a plan's.
    #[error("the plan is damaged: it does not parse")]
    Parse(#[source] serde_json::Error),
}

/// Writes a plan as bytes.
///
/// # Errors
/// When the plan has no JSON form or cannot be packed.
pub fn encode(plan: &Plan) -> Result<Vec<u8>, PlanFileError> {
    let json = serde_json::to_vec(plan).map_err(PlanFileError::Parse)?;
    let packed = zstd::bulk::compress(&json, 3).map_err(PlanFileError::Unpack)?;
    Ok([HEADER, &packed].concat())
}

/// Reads a plan from bytes.
///
/// # Errors
/// When they are not a plan.
pub fn decode(bytes: &[u8]) -> Result<Plan, PlanFileError> {
    let packed = bytes.strip_prefix(HEADER).ok_or(PlanFileError::NotAPlan)?;
    let size = zstd::bulk::Decompressor::upper_bound(packed)
        .unwrap_or(LIMIT)
        .min(LIMIT);
    let json = zstd::bulk::decompress(packed, size).map_err(PlanFileError::Unpack)?;
    serde_json::from_slice(&json).map_err(PlanFileError::Parse)
}
