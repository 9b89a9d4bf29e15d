//! The real movers: pods on both clusters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::access::{self, Access, State};
use super::api::{Api, NAMESPACE, POD, SECRET};
use super::follow::Follower;
use super::links::Links;
use super::pod::{MoverPod, secret};
use super::relay::Token;
use super::snapshot::{Freezer, class_on};
use super::{DataError, Movers, clean, names};
use crate::capture::{Consistency, Proof, SavedVolume, VolumeMode};
use crate::cluster::Cluster;
use crate::event::{Direction, Event, Events, VolumeProgress};
use crate::mover::{Done, Job, Outcome, StoreAccess, Task, VOLUME};
use crate::object::{Object, ObjectId};
use crate::plan::VolumeMove;
use crate::repository::{self, Repository};

/// Movers at work at one time, unless told otherwise.
const PARALLEL: usize = 4;
/// Where a relayed mover listens, on its pod's loopback.
const PORT: u16 = 7447;
/// How long a new namespace may take to get its service account.
const ACCOUNT: Duration = Duration::from_secs(20);
/// How long a pod may take to go: its grace, and volumes to unmount.
const GONE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(250);

/// The store, as movers and the CLI reach it.
#[derive(Clone)]
pub struct MoverStore {
    /// The store's root, as the CLI reaches it.
    pub objects: Arc<dyn ObjectStore>,
    /// The repository in it, open.
    pub repository: Repository,
    /// Its URL, as in `s3://bucket/prefix`.
    pub url: String,
    /// Endpoint, region and credentials for `url`, under the names of their environment variables.
    pub options: BTreeMap<String, String>,
}

impl MoverStore {
    /// Whether pods have a chance to reach the store themselves: it is in the network, and its
    /// endpoint is not this machine.
    fn is_remote(&self) -> bool {
        let remote = ["s3://", "s3a://", "gs://", "az://", "abfss://"];
        if !remote.iter().any(|scheme| self.url.starts_with(scheme)) {
            return false;
        }
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .iter()
            .find_map(|name| self.options.get(*name));
        let host = endpoint.and_then(|endpoint| url::Url::parse(endpoint).ok());
        !host.is_some_and(|url| match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        })
    }
}

/// What one run's movers need to know.
#[derive(Clone, Debug)]
pub struct MoverSettings {
    /// The run's id: a DNS label of at most 40 bytes.
    pub run: String,
    /// The capture that saved volumes belong to.
    pub capture: String,
    /// Ferry's image, as the clusters' nodes pull it; `None` fails when the first mover is needed.
    pub image: Option<String>,
    /// Carry the store's traffic through the CLI even if pods might reach the store.
    pub relay: bool,
    /// The application's namespaces on A, for cleaning up after a killed run.
    pub namespaces: Vec<String>,
    /// Movers at work at one time; 0 for the default.
    pub parallel: usize,
}

/// Movers as pods of the two clusters.
pub struct ClusterMovers {
    source: Option<Cluster>,
    target: Option<Cluster>,
    store: MoverStore,
    settings: MoverSettings,
    events: Events,
    cancel: CancellationToken,
    slots: Semaphore,
}

/// One mover to be run.
struct Work<'a> {
    api: &'a Api,
    name: &'a str,
    mounts: &'a Object,
    mode: VolumeMode,
    direction: Direction,
    node: Option<Value>,
    placement: &'a Value,
    job: String,
    task: Task,
}

impl ClusterMovers {
    /// Movers between two clusters, or on one: without a source nothing can be saved, without a target
    /// nothing loaded.
    pub fn new(
        source: Option<Cluster>,
        target: Option<Cluster>,
        store: MoverStore,
        settings: MoverSettings,
        events: Events,
        cancel: CancellationToken,
    ) -> Self {
        let parallel = if settings.parallel == 0 {
            PARALLEL
        } else {
            settings.parallel
        };
        let slots = Semaphore::new(parallel);
        Self {
            source,
            target,
            store,
            settings,
            events,
            cancel,
            slots,
        }
    }

    fn side(&self, cluster: Option<&Cluster>, claim: &ObjectId) -> Result<Api, DataError> {
        let name = names::claim(claim);
        match cluster {
            Some(cluster) => Ok(Api::new(cluster, name)),
            None => Err(DataError::Claim {
                claim: name,
                reason: "its cluster is not part of this run".into(),
            }),
        }
    }

    fn freezer<'a>(&'a self, api: &'a Api, claim: &'a ObjectId) -> Freezer<'a> {
        Freezer {
            api,
            run: &self.settings.run,
            claim: place(claim),
        }
    }

    fn namespace(&self) -> String {
        names::namespace(&self.settings.run)
    }

    /// The class to freeze a claim with; `None` for a claim that is read live.
    async fn class(
        &self,
        api: &Api,
        volume: &VolumeMove,
        claim: &Object,
        bound: &Object,
    ) -> Result<Option<Object>, DataError> {
        if volume.consistency == Consistency::Live {
            return Ok(None);
        }
        let refuse = |reason: String| DataError::Snapshot {
            claim: api.claim.clone(),
            reason,
        };
        let driver = bound.text("/spec/csi/driver").ok_or_else(|| {
            refuse("its volume is not a CSI volume; plan again to read it live".into())
        })?;
        let class = class_on(api, driver, claim.annotation(names::SNAPSHOT_CLASS)).await?;
        class.map(Some).ok_or_else(|| {
            refuse(format!(
                "driver {driver} has no VolumeSnapshotClass any more; plan again to read it live"
            ))
        })
    }

    /// Ferry's namespace for the run, made if need be. Its Pod Security level allows what movers do.
    async fn ensure_namespace(&self, api: &Api) -> Result<String, DataError> {
        let name = self.namespace();
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                names::RUN: self.settings.run,
                "pod-security.kubernetes.io/enforce": "privileged",
                "pod-security.kubernetes.io/audit": "privileged",
                "pod-security.kubernetes.io/warn": "privileged",
                "security.openshift.io/scc.podSecurityLabelSync": "false",
            }},
        });
        api.ensure(&NAMESPACE, body).await?;
        Ok(name)
    }

    /// What an earlier attempt at the job left in the store.
    async fn earlier(&self, api: &Api, job: &str) -> Result<Option<Done>, DataError> {
        let (repository, path) = (
            self.store.repository.clone(),
            crate::mover::result_path(job),
        );
        let read = tokio::task::spawn_blocking(move || repository.get_sealed(&path)).await;
        let refuse = |source: Box<dyn std::error::Error + Send + Sync>| DataError::Store {
            claim: api.claim.clone(),
            source,
        };
        match read.map_err(|error| refuse(Box::new(error)))? {
            Ok(plain) => match serde_json::from_slice(&plain) {
                Ok(Outcome::Done(done)) => Ok(Some(done)),
                // An attempt that failed, or a form of another version: do it again.
                _ => Ok(None),
            },
            Err(repository::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(refuse(Box::new(error))),
        }
    }

    /// Runs one mover from its Secret to its last words and removes both.
    async fn work(&self, work: Work<'_>) -> Result<Done, DataError> {
        let image = self.settings.image.as_deref().ok_or(DataError::NoImage)?;
        let started = Instant::now();
        let namespace = self.namespace();
        self.remove(work.api, &namespace, work.name).await?;
        let token = Token::random();
        let relayed = self.settings.relay || !self.store.is_remote();
        let store = if relayed {
            StoreAccess::Relay {
                port: PORT,
                token: token.clone(),
            }
        } else {
            StoreAccess::Direct {
                url: self.store.url.clone(),
                options: self.store.options.clone(),
            }
        };
        let job = Job {
            id: work.job.clone(),
            task: work.task.clone(),
            mode: work.mode,
            path: VOLUME.into(),
            store,
            key: self.store.repository.master_key().to_json(),
        };
        let pod = MoverPod {
            run: &self.settings.run,
            namespace: &namespace,
            name: work.name,
            image,
            claim: &work.api.claim,
            mounts: work.mounts.name(),
            mode: work.mode,
            writes: work.direction == Direction::Load,
            node: work.node.clone(),
            placement: work.placement,
        };
        self.create(work.api, &pod, &job).await?;
        let follower = Follower {
            api: work.api,
            namespace: &namespace,
            pod: work.name,
            mounts: work.mounts.name(),
            direction: work.direction,
            events: &self.events,
            cancel: &self.cancel,
        };
        let done = async {
            follower.started().await?;
            let place = (namespace.as_str(), work.name, PORT);
            let _links =
                relayed.then(|| Links::open(&work.api.cluster, place, &token, &self.store.objects));
            follower.finished().await
        };
        let done = done.await;
        // Before its failure is told: a mover that goes on would write to a claim nobody watches.
        let removed = self.remove(work.api, &namespace, work.name).await;
        let (done, progress) = done?;
        removed?;
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
        api.ensure(&SECRET, secret(pod.run, namespace, name, &text))
            .await?;
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
        api.merge(&SECRET, Some(namespace), name, owner)
            .await
            .map(drop)
    }

    /// Removes a mover, also one an earlier process left, and waits: two must never write one claim.
    async fn remove(&self, api: &Api, namespace: &str, name: &str) -> Result<(), DataError> {
        api.delete(&POD, Some(namespace), name).await?;
        api.delete(&SECRET, Some(namespace), name).await?;
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

    async fn save_from(
        &self,
        api: &Api,
        volume: &VolumeMove,
        claim: &Object,
        bound: &Object,
    ) -> Result<SavedVolume, DataError> {
        let job = self.job("save", &api.claim, claim);
        if let Some(Done::Saved(saved)) = self.earlier(api, &job).await? {
            return Ok(saved);
        }
        let (run, name) = (
            &self.settings.run,
            names::object(&self.settings.run, "save", &api.claim),
        );
        let class = self.class(api, volume, claim, bound).await?;
        let namespace = self.ensure_namespace(api).await?;
        // A killed mover may still hold the claim that is made anew below.
        self.remove(api, &namespace, &name).await?;
        let access = Access {
            api,
            run,
            namespace: &namespace,
            name: &name,
        };
        let freezer = self.freezer(api, &volume.source);
        let (mounts, node) = match &class {
            Some(class) => {
                let frozen = freezer.freeze(class).await?;
                let snapshot = freezer.hand_over(&frozen, &namespace).await?;
                (
                    access.restored(claim, bound, &frozen, &snapshot).await?,
                    None,
                )
            }
            None => {
                let node = access::node_of(api, place(&volume.source).0, claim).await?;
                (access.twin(claim, bound).await?, node)
            }
        };
        let consistency = if class.is_some() {
            Consistency::Snapshot
        } else {
            Consistency::Live
        };
        let done = self
            .work(Work {
                api,
                name: &name,
                mounts: &mounts,
                mode: volume.mode,
                direction: Direction::Save,
                node,
                placement: &Value::Null,
                job,
                task: Task::Save {
                    host: api.cluster.name().into(),
                    tags: vec![
                        format!("capture={}", self.settings.capture),
                        format!("pvc={}", api.claim),
                    ],
                    consistency,
                },
            })
            .await?;
        access.release().await?;
        if class.is_some() {
            freezer.thaw(&namespace).await?;
        }
        match done {
            Done::Saved(saved) => Ok(saved),
            Done::Loaded(_) => Err(api.unusable("its mover did another job; run again")),
        }
    }

    async fn load_into(
        &self,
        api: &Api,
        volume: &VolumeMove,
        saved: &SavedVolume,
    ) -> Result<Proof, DataError> {
        let (run, name) = (
            &self.settings.run,
            names::object(&self.settings.run, "load", &api.claim),
        );
        let (target_namespace, target_name) = place(&volume.target);
        let state = access::state(api, target_namespace, target_name).await?;
        let namespace = self.ensure_namespace(api).await?;
        let access = Access {
            api,
            run,
            namespace: &namespace,
            name: &name,
        };
        // Proven and marked by an earlier attempt: it only has to be given away.
        if let (State::Waiting { claim }, Some(_)) = (&state, access.staged().await?) {
            access.give(claim).await?;
            return Ok(saved.proof.clone());
        }
        let (mounts, job_claim) = match &state {
            State::Bound { claim, volume } => {
                let job = self.job("load", &api.claim, claim);
                if let Some(Done::Loaded(proof)) = self.earlier(api, &job).await? {
                    return Ok(proof);
                }
                self.remove(api, &namespace, &name).await?;
                (access.twin(claim, volume).await?, claim.clone())
            }
            State::Waiting { claim } => {
                let stage = access.stage(claim).await?;
                (stage.clone(), stage)
            }
        };
        let job = self.job("load", &api.claim, &job_claim);
        let done = match self.earlier(api, &job).await? {
            Some(done) => done,
            None => {
                let work = Work {
                    api,
                    name: &name,
                    mounts: &mounts,
                    mode: volume.mode,
                    direction: Direction::Load,
                    node: None,
                    placement: &volume.placement,
                    job,
                    task: Task::Load {
                        saved: saved.clone(),
                    },
                };
                self.work(work).await?
            }
        };
        let Done::Loaded(proof) = done else {
            return Err(api.unusable("its mover did another job; run again"));
        };
        if proof != saved.proof {
            let wanted = saved.proof.clone();
            return Err(DataError::Differs {
                claim: api.claim.clone(),
                found: proof,
                wanted,
            });
        }
        match &state {
            State::Bound { .. } => access.release().await?,
            State::Waiting { claim } => access.give(claim).await?,
        }
        Ok(proof)
    }

    /// Names a job after the run, the direction and the very claim it is about: one that is made anew
    /// under an old name is another.
    fn job(&self, way: &str, claim: &str, object: &Object) -> String {
        let id = names::short(&[claim, object.uid().unwrap_or_default()]);
        format!("{}-{way}-{id}", self.settings.run)
    }
}

fn place(claim: &ObjectId) -> (&str, &str) {
    (claim.namespace.as_deref().unwrap_or_default(), &claim.name)
}

impl Movers for ClusterMovers {
    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let (namespace, name) = place(&volume.source);
        let State::Bound {
            claim,
            volume: bound,
        } = access::state(&api, namespace, name).await?
        else {
            return Err(
                api.unusable("it has no volume yet: no pod has used it, so there is no data")
            );
        };
        let job = self.job("save", &api.claim, &claim);
        if self.earlier(&api, &job).await?.is_some() {
            return Ok(());
        }
        match self.class(&api, volume, &claim, &bound).await? {
            Some(class) => self
                .freezer(&api, &volume.source)
                .freeze(&class)
                .await
                .map(drop),
            None => {
                let text = format!(
                    "{} is read live, without a snapshot: the copy shows no single point in time, and \
                     what changes while it is read may be torn",
                    api.claim
                );
                self.events.warning(text);
                Ok(())
            }
        }
    }

    async fn save(&self, volume: &VolumeMove) -> Result<SavedVolume, DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let _slot = self.slots.acquire().await;
        let (namespace, name) = place(&volume.source);
        match access::state(&api, namespace, name).await? {
            State::Bound {
                claim,
                volume: bound,
            } => self.save_from(&api, volume, &claim, &bound).await,
            State::Waiting { .. } => {
                Err(api.unusable("it has no volume yet: no pod has used it, so there is no data"))
            }
        }
    }

    async fn load(&self, volume: &VolumeMove, saved: &SavedVolume) -> Result<Proof, DataError> {
        let api = self.side(self.target.as_ref(), &volume.target)?;
        let _slot = self.slots.acquire().await;
        self.load_into(&api, volume, saved).await
    }

    async fn clean(&self) -> Result<(), DataError> {
        let run = &self.settings.run;
        let mut result = Ok(());
        for cluster in [&self.source, &self.target].into_iter().flatten() {
            let cleaned = clean::clean(cluster, run, &self.settings.namespaces).await;
            result = result.and(cleaned);
        }
        result
    }
}
