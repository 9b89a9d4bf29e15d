//! Ferry moves and clones applications between Kubernetes and OpenShift clusters.
//!
//! The modules read like the pipeline:
//!
//! ```text
//! A ─list─▶ capture ──▶ store ──▶ graph ──▶ transform ──▶ check ◀── surface of B
//!                                                           │
//!                                                           ▼
//!                                               plan ──▶ diff, picture, report        (dry run ends here)
//!                                                           │
//!                                                           ▼
//!            restore: waves { volume data, then objects } ──▶ verify ──▶ journal ──▶ undo | resume
//! ```
//!
//! The middle (`graph`, `transform`, `check`, `plan`, `diff`) is pure: synchronous, sorted, no client,
//! no clock, no randomness. Only `cluster` and `data` know `kube`, only `store` and `repository` know
//! `object_store`, only `yaml` knows YAML.

pub mod capture;
mod causes;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod data;
pub mod diff;
pub mod event;
pub mod exit;
pub mod finding;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod graph;
pub mod hook;
pub mod image;
pub mod journal;
pub mod knowledge;
mod moment;
pub mod mover;
pub mod object;
pub mod pipeline;
pub mod plan;
pub mod ready;
pub mod report;
pub mod repository;
pub mod restore;
mod spread;
pub mod store;
pub mod surface;
pub mod sync;
pub mod target;
pub mod transform;
mod whole;
pub mod yaml;

/// Chooses the TLS implementation for the whole process. The first line of `main` and of every test
/// harness: with it, no library picks one by itself.
pub fn install_crypto() {
    // Fails only when one is installed already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
