//! A live cluster: the only module, with `data`, that knows `kube`.
//!
//! Everything crosses this border as raw JSON ([`Object`]), addressed by an [`ApiResource`] that
//! discovery gave: typed structs would drop the fields they do not know. Every call has its own
//! deadline and its own retries (rule W-2), because the client below has neither a read timeout nor
//! a notion of which failures are final. Nothing here decides anything: what to write is in a plan.
//!
//! ```text
//! connect ─▶ Cluster ─┬─ discovery, survey ─▶ Surface
//!                     ├─ list, get, watch ──▶ Object
//!                     ├─ apply, create, patch, delete
//!                     ├─ rights ─▶ what the user may not do
//!                     ├─ probe ──▶ TargetState (reads and dry runs only)
//!                     └─ logs, exec, portforward
//! ```

mod connect;
mod discovery;
mod error;
mod objects;
mod page;
mod pods;
mod probe;
mod request;
pub mod rights;
pub(crate) mod survey;
mod watch;

pub use connect::ConnectOptions;
pub use error::{ApiFailure, ClusterError};
pub use objects::{ApplyOptions, Delete, ListOptions, Patch, Place};
pub use pods::{Command, CommandEnd};
pub use probe::probe;
pub use survey::{SURFACE_KINDS, survey};
pub use watch::{WatchEvent, WatchStream};

use crate::surface::ClusterIdentity;

#[expect(unused_imports, reason = "named by the documentation above")]
use crate::{object::Object, surface::ApiResource};

/// The field manager under which Ferry applies objects.
pub const MANAGER: &str = "ferry";

/// A connection to one cluster. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    identity: ClusterIdentity,
    server: String,
}

impl Cluster {
    /// Which cluster this is.
    pub fn identity(&self) -> &ClusterIdentity {
        &self.identity
    }

    /// The kubeconfig context, or another name by which the user knows the cluster.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// The API server's address, as the kubeconfig has it.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The client below, for what this module does not wrap.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({} at {})", self.identity.name, self.server)
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;

    fn is_send<T: Send>(_: T) {}

    #[tokio::test]
    async fn every_operation_can_be_spawned() {
        let options = ConnectOptions::context("no such context");
        is_send(Cluster::connect(&options));
        if let Ok(cluster) = Cluster::connect(&options).await {
            let resource = &survey(&cluster, &Events::silent()).await.unwrap().resources[0];
            is_send(survey(&cluster, &Events::silent()));
            is_send(cluster.list(resource, None, &ListOptions::default()));
            is_send(cluster.watch(resource, None, &ListOptions::default(), ""));
            is_send(rights::lacking(&cluster, &[]));
            let surface = survey(&cluster, &Events::silent()).await.unwrap();
            is_send(probe(&cluster, &surface, &[], &Events::silent()));
            let selection = crate::capture::Selection::default();
            let knowledge = crate::knowledge::Knowledge::builtin();
            is_send(crate::capture::take(
                &cluster,
                &selection,
                knowledge,
                &Events::silent(),
            ));
        }
    }
}
