//! The CLI's end of the relay: keeps some links to one mover open for as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::relay::{Link, Token, serve};
use crate::cluster::Cluster;

/// Links to each mover: one stream through an API server carries some tens of MB/s, and each holds one
/// object in memory.
const LINKS: usize = 4;
/// Pause before a link is opened again, doubled up to the second figure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Open links; dropping them closes them.
pub(super) struct Links(
    #[expect(dead_code, reason = "dropping the set ends its tasks")] JoinSet<()>,
);

impl Links {
    /// Opens links to the port of a pod and serves them from `store`, reconnecting whenever one breaks.
    pub(super) fn open(
        cluster: &Cluster,
        (namespace, pod, port): (&str, &str, u16),
        token: &Token,
        store: &Arc<dyn ObjectStore>,
    ) -> Self {
        let mut links = JoinSet::new();
        let intake = Arc::new(Semaphore::new(LINKS));
        for number in 0..LINKS {
            let (cluster, token, store) = (cluster.clone(), token.clone(), Arc::clone(store));
            let intake = Arc::clone(&intake);
            let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
            links.spawn(async move {
                let mut pause = PAUSE.0;
                loop {
                    let opened = cluster.portforward(&namespace, &pod, port).await;
                    let error = match opened {
                        Ok(stream) => match Link::connect(stream, &token).await {
                            Ok(mut link) => {
                                pause = PAUSE.0;
                                serve(&mut link, store.as_ref(), &intake).await.to_string()
                            }
                            Err(error) => error.to_string(),
                        },
                        Err(error) => error.to_string(),
                    };
                    tracing::debug!(number, pod, error, "a relay link ended");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            });
        }
        Self(links)
    }
}
