//! Looking after a repository: is it whole, how large is it, and giving back what no snapshot needs.
//!
//! ```text
//! index files ─▶ catalog ◀─ list of packs      snapshots ─▶ reachable blobs
//!                    └────────────┬────────────────┘
//!                     check · statistics · prune
//! ```
//!
//! The index in memory answers "where is this blob?" in few bytes. Here the question is the reverse one, "what is in
//! this pack, and who says so?", so everything is read anew and held twice as large.

mod catalog;
mod check;
mod prune;
mod reachable;
mod statistics;

pub use check::{CheckReport, Fault};
pub use prune::{PruneOptions, PruneReport};
pub use statistics::Statistics;
