//! One watch per kind and namespace, shared by all gates on it: an event arrives with the write that
//! caused it, and a hundred waiting gates cost one connection (W-6).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, ListOptions, WatchEvent};
use crate::object::Object;
use crate::surface::ApiResource;

/// Pause before a watch that ended is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known of one kind in one namespace.
pub(super) struct Watched {
    objects: Mutex<BTreeMap<String, Object>>,
    changes: watch::Sender<u64>,
    blind: AtomicBool,
}

impl Watched {
    /// The newest version seen of one object.
    pub(super) fn get(&self, name: &str) -> Option<Object> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(name).cloned()
    }

    /// Tells of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the watch does not work, for want of the right or of a connection: read instead.
    pub(super) fn is_blind(&self) -> bool {
        self.blind.load(Ordering::Relaxed)
    }

    fn update(&self, change: impl FnOnce(&mut BTreeMap<String, Object>)) {
        change(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }
}

type Key = (String, String, Option<String>);

#[derive(Default)]
struct Open {
    watched: BTreeMap<Key, Arc<Watched>>,
    tasks: JoinSet<()>,
}

/// All watches of a run; dropping it ends them.
pub(super) struct Watchers {
    cluster: Cluster,
    open: Mutex<Open>,
}

impl Watchers {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            open: Mutex::default(),
        }
    }

    /// The watch on a kind in a namespace, opened when first asked for.
    pub(super) fn of(&self, resource: &ApiResource, namespace: Option<&str>) -> Arc<Watched> {
        let key = (
            resource.api_version(),
            resource.plural.clone(),
            namespace.map(str::to_owned),
        );
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = open.watched.get(&key) {
            return watched.clone();
        }
        let watched = Arc::new(Watched {
            objects: Mutex::default(),
            changes: watch::Sender::new(0),
            blind: AtomicBool::new(false),
        });
        open.watched.insert(key, watched.clone());
        let task = follow(
            self.cluster.clone(),
            resource.clone(),
            namespace.map(str::to_owned),
            watched.clone(),
        );
        open.tasks.spawn(task);
        watched
    }
}

async fn follow(
    cluster: Cluster,
    resource: ApiResource,
    namespace: Option<String>,
    watched: Arc<Watched>,
) {
    let options = ListOptions::default();
    loop {
        // Without a resource version the server begins with what is there.
        match cluster
            .watch(&resource, namespace.as_deref(), &options, "")
            .await
        {
            Err(error) => {
                tracing::debug!(%error, "no watch");
                watched.blind.store(true, Ordering::Relaxed);
                watched.update(|_| {});
            }
            Ok(mut events) => {
                watched.blind.store(false, Ordering::Relaxed);
                watched.update(BTreeMap::clear);
                while let Some(Ok(event)) = events.next().await {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            watched.update(|all| drop(all.insert(object.name().into(), object)));
                        }
                        WatchEvent::Deleted(object) => {
                            watched.update(|all| drop(all.remove(object.name())));
                        }
                        WatchEvent::Bookmark(_) => {}
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
