//! The depot: a store that Ferry keeps on cluster B for one migration, when there is no bucket.
//!
//! ```text
//! movers of A ═══ TLS 1.3 ═══╗
//! movers of B ═══ TLS 1.3 ═══╬══▶ depot: pod ── claim    in namespace ferry-depot-<name> of B
//! command line ─ port-forward ┘
//! ```
//!
//! It is a folder on a claim, served as an object store in the frames of the [relay](super::relay), so nothing else
//! knows a second format: packs are named by content, proven, adopted after a kill, as in a bucket. It sees sealed
//! objects only, and neither the password nor the repository's key. Who has not its key and token learns nothing but
//! that something listens. Its pod asks for no privilege at all: Pod Security's `restricted` level holds.
//!
//! Everything is named after the migration, so the same command finds it again; it is removed when all is proven.

mod bodies;
mod error;
mod raise;
mod reach;
mod route;
mod serve;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use object_store::ObjectStore;

use super::names;
use crate::cluster::Cluster;
use crate::surface::ClusterIdentity;

pub use error::DepotError;
pub use raise::DepotWish;
pub(crate) use reach::Pass;
pub(crate) use route::{Attempt, Attempts};
pub(crate) use serve::serve;

/// Where a depot listens.
pub(crate) const PORT: u16 = 7448;
/// Name of a depot's pod, claim, Secret and Service.
const NAME: &str = "depot";
/// Longest part of a namespace's name in a depot's.
const READABLE: usize = 30;

/// A depot that was found, or made.
#[derive(Clone, Debug)]
pub struct Depot {
    cluster: Cluster,
    name: String,
    access: DepotAccess,
}

/// How movers get to a depot by themselves. Never shown: with it one is let in.
#[derive(Clone)]
pub struct DepotAccess {
    home: ClusterIdentity,
    pass: Pass,
    /// From the depot's own cluster.
    inside: String,
    /// From the other one, where that was seen to work.
    outside: Option<String>,
}

/// Without what lets one in.
impl std::fmt::Debug for DepotAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DepotAccess")
            .field("home", &self.home)
            .field("inside", &self.inside)
            .field("outside", &self.outside)
            .finish_non_exhaustive()
    }
}

impl DepotAccess {
    /// The address to use on a cluster; `None` where none is known to work.
    pub(super) fn from(&self, cluster: &Cluster) -> Option<(&str, &Pass)> {
        let address = match is_same(&self.home, cluster.identity()) {
            true => Some(self.inside.as_str()),
            false => self.outside.as_deref(),
        };
        Some((address?, &self.pass))
    }
}

impl Depot {
    /// What the depot of a migration is called: equal for every attempt at it.
    pub fn name_for(
        source: &ClusterIdentity,
        target: &ClusterIdentity,
        namespaces: &[String],
    ) -> String {
        let mut sorted: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut parts = vec![known_by(source), known_by(target)];
        parts.extend(&sorted);
        let readable: String = sorted
            .first()
            .unwrap_or(&"")
            .chars()
            .take(READABLE)
            .collect();
        format!(
            "{}-{}",
            readable.trim_end_matches('-'),
            names::short(&parts)
        )
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is on.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Where the other cluster was seen to reach it, as `host:port`.
    pub fn reached_at(&self) -> Option<&str> {
        self.access.outside.as_deref()
    }

    /// How movers get to it.
    pub fn access(&self) -> &DepotAccess {
        &self.access
    }

    /// Its objects, as this machine reaches them: through the API server.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.access
            .pass
            .store_through(&self.cluster, &namespace(&self.name), NAME)
    }
}

/// A depot's namespace.
pub(super) fn namespace(name: &str) -> String {
    format!("ferry-depot-{name}")
}

/// What tells a cluster from others.
fn known_by(cluster: &ClusterIdentity) -> &str {
    match cluster.uid.as_str() {
        "" => &cluster.name,
        uid => uid,
    }
}

fn is_same(one: &ClusterIdentity, other: &ClusterIdentity) -> bool {
    known_by(one) == known_by(other)
}
