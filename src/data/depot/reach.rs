//! A depot from outside: an object store behind TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::PORT;
use super::tls::PublicKey;
use crate::causes::in_one_line;
use crate::cluster::Cluster;
use crate::data::relay::{Link, LinkError, Pool, RelayStore, Token};

/// Links of one user: one stream seldom fills a network, and each holds an object in memory.
const LINKS: usize = 4;
/// How long one address may take to answer when it is tried.
const TRY: Duration = Duration::from_secs(5);

/// What lets one in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pass {
    /// The key the depot has.
    pub(super) key: PublicKey,
    /// Who knows it may use the depot.
    pub(super) token: Token,
}

impl Pass {
    /// The store of the depot at an address, as `host:port`.
    pub(crate) fn store_at(&self, address: &str) -> Arc<dyn ObjectStore> {
        let (key, at) = (self.key.clone(), address.to_owned());
        let dial = move || {
            let (key, at) = (key.clone(), at.clone());
            async move { key.dial(&at).await }
        };
        let peer = format!("the depot at {address}");
        let pool = Pool::dialled(&peer, LINKS, self.token.clone(), dial);
        Arc::new(RelayStore::new(pool))
    }

    /// The same, for who can only reach the cluster's API server.
    pub(super) fn store_through(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pod: &str,
    ) -> Arc<dyn ObjectStore> {
        let key = self.key.clone();
        let (cluster, namespace, pod) = (cluster.clone(), namespace.to_owned(), pod.to_owned());
        let peer = format!("the depot {namespace} on {}", cluster.name());
        let dial = move || {
            let (cluster, namespace, pod) = (cluster.clone(), namespace.clone(), pod.clone());
            let key = key.clone();
            async move {
                let wire = cluster.portforward(&namespace, &pod, PORT).await;
                key.connect(wire.map_err(io::Error::other)?).await
            }
        };
        let pool = Pool::dialled(&peer, LINKS, self.token.clone(), dial);
        Arc::new(RelayStore::new(pool))
    }

    /// Why the depot cannot be used at an address; `None` when it can.
    pub(crate) async fn obstacle(&self, address: &str) -> Option<String> {
        let greeted = async {
            let wire = self.key.dial(address).await?;
            Link::connect(wire, &self.token).await?;
            Ok::<_, LinkError>(())
        };
        match timeout(TRY, greeted).await {
            Ok(Ok(())) => None,
            Ok(Err(LinkError::Broken(error))) => Some(in_one_line(&error)),
            Ok(Err(error)) => Some(in_one_line(&error)),
            Err(_) => Some(format!("nothing came for {} s", TRY.as_secs())),
        }
    }
}
