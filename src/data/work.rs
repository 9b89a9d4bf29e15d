//! One mover from its Secret to its last words.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DataError;
use super::api::{Api, POD, SECRET};
use super::follow::Follower;
use super::links::Links;
use super::movers::{ClusterMovers, Site};
use super::names;
use super::pod::MoverPod;
use super::relay::Token;
use super::wait::Wait;
use crate::capture::VolumeMode;
use crate::cluster::Cluster;
use crate::event::{Direction, Event, VolumeProgress};
use crate::mover::{Done, Job, StoreAccess, Task, VOLUME};
use crate::object::Object;
use crate::store::MoverAccess;

/// Where a relayed mover listens, on its pod's loopback.
const PORT: u16 = 7447;
/// How long a new namespace may take to get its service account.
const ACCOUNT: Duration = Duration::from_secs(20);
/// How long a pod may take to go: its grace, and volumes to unmount.
const GONE: Duration = Duration::from_secs(180);

/// One mover to be run.
pub(super) struct Work<'a> {
    pub(super) api: &'a Api,
    pub(super) site: &'a Site,
    pub(super) name: &'a str,
    pub(super) mounts: &'a Object,
    pub(super) mode: VolumeMode,
    pub(super) direction: Direction,
    pub(super) node: Option<Value>,
    pub(super) placement: &'a Value,
    pub(super) job: String,
    pub(super) task: Task,
}

impl ClusterMovers {
    /// Runs one mover from its Secret to its last words and removes both.
    pub(super) async fn work(&self, work: Work<'_>) -> Result<Done, DataError> {
        let mut started = Instant::now();
        self.remove(work.api, &work.site.namespace, work.name)
            .await?;
        let place = (work.api, work.site, work.name);
        let done = async {
            let _links = self.launch(&work).await?;
            started = Instant::now();
            let follower = self.follower(place, work.mounts.name(), work.direction);
            follower.finished().await
        };
        let done = done.await;
        self.ended(place, work.direction, started, done).await
    }

    /// Starts a mover, and opens the links it needs.
    pub(super) async fn launch(&self, work: &Work<'_>) -> Result<Option<Links>, DataError> {
        let image = self.settings.image.as_deref().ok_or(DataError::NoImage)?;
        let namespace = work.site.namespace.as_str();
        let token = Token::random();
        let store = self.way(&work.api.cluster, &token);
        let relayed = matches!(store, StoreAccess::Relay { .. });
        let none = MoverAccess::default();
        let access = if relayed { &none } else { &self.store.access };
        let job = Job {
            id: work.job.clone(),
            task: work.task.clone(),
            mode: work.mode,
            path: VOLUME.into(),
            store,
            key: self.store.repository.master_key().to_json(),
        };
        let secret = names::secret(work.name);
        let pod = MoverPod {
            run: &self.settings.run,
            namespace,
            name: work.name,
            secret: &secret,
            image,
            claim: &work.api.claim,
            mounts: work.mounts.name(),
            mode: work.mode,
            writes: work.direction == Direction::Load,
            node: work.node.clone(),
            placement: work.placement,
            access,
            user: work.site.user.as_ref(),
        };
        self.create(work.api, &pod, &job).await?;
        let place = (work.api, work.site, work.name);
        let follower = self.follower(place, work.mounts.name(), work.direction);
        follower.started().await?;
        let place = (namespace, work.name, PORT);
        Ok(relayed.then(|| Links::open(&work.api.cluster, place, &token, &self.store.objects)))
    }

    /// How a mover on a cluster gets to the store; through the CLI where it has no way of its own.
    fn way(&self, cluster: &Cluster, token: &Token) -> StoreAccess {
        let access = &self.store.access;
        let depot = access.depot.as_ref().and_then(|depot| depot.from(cluster));
        match depot {
            _ if self.settings.relay => {}
            Some((address, pass)) => {
                return StoreAccess::Depot {
                    address: address.to_owned(),
                    pass: pass.clone(),
                };
            }
            None if access.by_network => {
                return StoreAccess::Direct {
                    url: self.store.url.clone(),
                };
            }
            None => {}
        }
        StoreAccess::Relay {
            port: PORT,
            token: token.clone(),
        }
    }

    pub(super) fn follower<'a>(
        &'a self,
        (api, site, pod): (&'a Api, &'a Site, &'a str),
        mounts: &'a str,
        direction: Direction,
    ) -> Follower<'a> {
        Follower {
            api,
            namespace: &site.namespace,
            pod,
            mounts,
            direction,
            events: &self.events,
        }
    }

    /// Sees a mover off that has ended, or was given up.
    pub(super) async fn ended(
        &self,
        (api, site, name): (&Api, &Site, &str),
        direction: Direction,
        started: Instant,
        done: Result<(Done, VolumeProgress), DataError>,
    ) -> Result<Done, DataError> {
        let (done, progress) = match done {
            Ok(done) => done,
            Err(error) => {
                // One that goes on would write to a claim nobody watches.
                self.remove(api, &site.namespace, name).await?;
                return Err(limited(error, site));
            }
        };
        // It reads and writes no more, and its node gives the volume back meanwhile: nobody waits for that here.
        api.delete(&POD, Some(&site.namespace), name).await?;
        let took = started.elapsed();
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), took);
        drop(all);
        self.events.send(Event::VolumeFinished {
            claim: api.claim.clone(),
            direction,
            progress,
            seconds: took.as_secs_f64(),
        });
        Ok(done)
    }

    async fn create(&self, api: &Api, pod: &MoverPod<'_>, job: &Job) -> Result<(), DataError> {
        let text = serde_json::to_string(job).map_err(|source| DataError::Cluster {
            action: "describe the mover's job".into(),
            claim: api.claim.clone(),
            source: Box::new(source),
        })?;
        let (namespace, name) = (pod.namespace, pod.name);
        api.ensure(&SECRET, pod.secret(&text)).await?;
        let mut wait = Wait::begin();
        let created = loop {
            match api.ensure(&POD, pod.body()).await {
                // A new namespace has no service account for a moment, and pods are refused so long.
                Err(DataError::Cluster { source, .. })
                    if source.to_string().contains("serviceaccount")
                        && wait.elapsed() < ACCOUNT =>
                {
                    wait.pause().await;
                }
                created => break created?,
            }
        };
        // The Secret, which holds the key, goes when its pod goes, whoever deletes that.
        let owner = json!({"metadata": {"ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": created.uid(),
        }]}});
        api.merge(&SECRET, Some(namespace), pod.secret, owner)
            .await
            .map(drop)
    }

    /// Removes a mover, also one an earlier process left, and waits: two must never write one claim.
    /// Its Secret follows, because the pod owns it.
    pub(super) async fn remove(
        &self,
        api: &Api,
        namespace: &str,
        name: &str,
    ) -> Result<(), DataError> {
        api.delete(&POD, Some(namespace), name).await?;
        let mut wait = Wait::begin();
        while api.get(&POD, Some(namespace), name).await?.is_some() {
            if wait.elapsed() > GONE {
                return Err(api.unusable(format!(
                    "an earlier mover, Pod {namespace}/{name}, does not go"
                )));
            }
            wait.pause().await;
        }
        Ok(())
    }
}

/// What a mover without privileges failed with, and that it had none.
fn limited(error: DataError, site: &Site) -> DataError {
    match (error, &site.user) {
        (
            DataError::Mover {
                claim,
                reason,
                exit,
            },
            Some(user),
        ) => DataError::Mover {
            claim,
            reason: format!(
                "{reason} (it has no privileges and runs as {user}; --mover-user names another user, and without \
                 --unprivileged it has them)"
            ),
            exit,
        },
        (error, _) => error,
    }
}
