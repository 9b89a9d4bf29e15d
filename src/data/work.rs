//! One mover from its Secret to its last words.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::DataError;
use super::api::{Api, POD, SECRET};
use super::follow::Follower;
use super::links::Links;
use super::movers::{ClusterMovers, Site};
use super::names;
use super::pod::MoverPod;
use super::relay::Token;
use crate::capture::VolumeMode;
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
const POLL: Duration = Duration::from_millis(150);

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
        let image = self.settings.image.as_deref().ok_or(DataError::NoImage)?;
        let started = Instant::now();
        let namespace = work.site.namespace.as_str();
        self.remove(work.api, namespace, work.name).await?;
        let token = Token::random();
        let relayed = self.settings.relay || !self.store.access.by_network;
        let store = if relayed {
            StoreAccess::Relay {
                port: PORT,
                token: token.clone(),
            }
        } else {
            StoreAccess::Direct {
                url: self.store.url.clone(),
            }
        };
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
        let follower = Follower {
            api: work.api,
            namespace,
            pod: work.name,
            mounts: work.mounts.name(),
            direction: work.direction,
            events: &self.events,
        };
        let done = async {
            self.create(work.api, &pod, &job).await?;
            follower.started().await?;
            let place = (namespace, work.name, PORT);
            let _links =
                relayed.then(|| Links::open(&work.api.cluster, place, &token, &self.store.objects));
            follower.finished().await
        };
        let done = done.await;
        // One that goes on would write to a claim nobody watches. A save that ended well reads no more.
        if done.is_err() || work.direction == Direction::Load {
            self.remove(work.api, namespace, work.name).await?;
        }
        let (done, progress) = done.map_err(|error| limited(error, work.site))?;
        self.tell(&work, progress, started);
        Ok(done)
    }

    fn tell(&self, work: &Work<'_>, progress: VolumeProgress, started: Instant) {
        self.events.send(Event::VolumeFinished {
            claim: work.api.claim.clone(),
            direction: work.direction,
            progress,
            seconds: started.elapsed().as_secs_f64(),
        });
    }

    async fn create(&self, api: &Api, pod: &MoverPod<'_>, job: &Job) -> Result<(), DataError> {
        let text = serde_json::to_string(job).map_err(|source| DataError::Cluster {
            action: "describe the mover's job".into(),
            claim: api.claim.clone(),
            source: Box::new(source),
        })?;
        let (namespace, name) = (pod.namespace, pod.name);
        api.ensure(&SECRET, pod.secret(&text)).await?;
        let started = Instant::now();
        let created = loop {
            match api.ensure(&POD, pod.body()).await {
                // A new namespace has no service account for a moment, and pods are refused so long.
                Err(DataError::Cluster { source, .. })
                    if source.to_string().contains("serviceaccount")
                        && started.elapsed() < ACCOUNT =>
                {
                    sleep(POLL).await;
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
        let started = Instant::now();
        while api.get(&POD, Some(namespace), name).await?.is_some() {
            if started.elapsed() > GONE {
                return Err(api.unusable(format!(
                    "an earlier mover, Pod {namespace}/{name}, does not go"
                )));
            }
            sleep(POLL).await;
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
