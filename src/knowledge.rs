//! What Ferry knows about Kubernetes, as data: `transforms/builtin/*.yaml`, compiled in.
//!
//! One file per table, one row type per file, one small engine per use. A row carries its rule id (as
//! in the rule book) and says why it exists. Nothing here looks at a cluster.

pub mod clouds;
pub mod edges;
pub mod exposed;
pub mod gates;
pub mod guard;
pub mod holds;
pub mod kinds;
pub mod members;
pub mod mergekeys;
pub mod normalize;
pub mod produces;
pub mod provisioners;
pub mod roots;
pub mod sanitize;
pub mod selectors;
pub mod targets;

use std::sync::LazyLock;

use serde::de::DeserializeOwned;

use crate::yaml::{self, YamlError};

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("load the table {name}")]
pub struct KnowledgeError {
    /// The file, as in `edges.yaml`.
    pub name: &'static str,
    /// What is wrong with it.
    #[source]
    pub cause: YamlError,
}

/// Every table.
#[derive(Clone, Debug)]
pub struct Knowledge {
    /// What refers to what (rule book §1).
    pub edges: edges::Edges,
    /// Where pod templates are (rule book §1.1).
    pub roots: Vec<roots::RootRow>,
    /// What controllers make of what they are given (E-P).
    pub produces: Vec<produces::ProducesRow>,
    /// When objects are ready (rule book §5.1).
    pub gates: Vec<gates::GateRow>,
    /// How workloads are kept quiet (W-9).
    pub holds: Vec<holds::HoldRow>,
    /// Which objects choose others by labels (E-16).
    pub selectors: Vec<selectors::SelectorRow>,
    /// Scope and phase of kinds (W-1).
    pub kinds: kinds::Kinds,
    /// Which hosts reach an object, and how it gives them up (T-5).
    pub exposed: Vec<exposed::ExposedRow>,
    /// Applications whose data holds host names (E-80).
    pub members: Vec<members::Members>,
    /// What is no real difference, and what is never shown (rule book §6).
    pub normalize: Vec<normalize::NormalizeRow>,
    /// What stays on A (rule book §2).
    pub sanitize: sanitize::Sanitize,
    /// What storage drivers can do (C-40).
    pub provisioners: Vec<provisioners::Provisioner>,
    /// Where transforms rewrite names (rule book §3).
    pub targets: targets::Targets,
    /// Annotations that only one cloud reads (T-6).
    pub clouds: Vec<clouds::Cloud>,
    /// What a copy of production must not do (T-13).
    pub guard: Vec<guard::GuardRow>,
    /// By which keys lists merge.
    pub merge_keys: Vec<mergekeys::MergeKey>,
}

impl Knowledge {
    /// The tables this binary was built with.
    ///
    /// # Panics
    /// When a table compiled in does not load; a unit test reads them all.
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Knowledge> =
            LazyLock::new(|| Knowledge::load().expect("the tables compiled in were tested"));
        &BUILTIN
    }

    fn load() -> Result<Self, KnowledgeError> {
        Ok(Self {
            edges: edges::Edges::new(table(
                "edges.yaml",
                include_str!("../transforms/builtin/edges.yaml"),
            )?),
            roots: table(
                "roots.yaml",
                include_str!("../transforms/builtin/roots.yaml"),
            )?,
            produces: table(
                "produces.yaml",
                include_str!("../transforms/builtin/produces.yaml"),
            )?,
            gates: table(
                "gates.yaml",
                include_str!("../transforms/builtin/gates.yaml"),
            )?,
            holds: table(
                "holds.yaml",
                include_str!("../transforms/builtin/holds.yaml"),
            )?,
            selectors: table(
                "selectors.yaml",
                include_str!("../transforms/builtin/selectors.yaml"),
            )?,
            kinds: table(
                "kinds.yaml",
                include_str!("../transforms/builtin/kinds.yaml"),
            )?,
            exposed: table(
                "exposed.yaml",
                include_str!("../transforms/builtin/exposed.yaml"),
            )?,
            members: table(
                "members.yaml",
                include_str!("../transforms/builtin/members.yaml"),
            )?,
            normalize: table(
                "normalize.yaml",
                include_str!("../transforms/builtin/normalize.yaml"),
            )?,
            sanitize: table(
                "sanitize.yaml",
                include_str!("../transforms/builtin/sanitize.yaml"),
            )?,
            provisioners: table(
                "provisioners.yaml",
                include_str!("../transforms/builtin/provisioners.yaml"),
            )?,
            targets: targets::Targets::new(table(
                "targets.yaml",
                include_str!("../transforms/builtin/targets.yaml"),
            )?),
            clouds: table(
                "clouds.yaml",
                include_str!("../transforms/builtin/clouds.yaml"),
            )?,
            guard: table(
                "guard.yaml",
                include_str!("../transforms/builtin/guard.yaml"),
            )?,
            merge_keys: table(
                "mergekeys.yaml",
                include_str!("../transforms/builtin/mergekeys.yaml"),
            )?,
        })
    }
}

/// Reads one table.
///
/// # Errors
/// When the text is not YAML of the table's form; an unknown key is an error.
pub fn table<T: DeserializeOwned>(name: &'static str, text: &str) -> Result<T, KnowledgeError> {
    yaml::read(text).map_err(|cause| KnowledgeError { name, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_loads() {
        if let Err(error) = Knowledge::load() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let root = std::error::Error::source(&error.cause).map(ToString::to_string);
            panic!("{error}: {cause:?}: {root:?}");
        }
    }
}
