//! The real movers: pods on both clusters.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::access::{self, Access, State};
use super::api::{Api, NAMESPACE, POD, SECRET};
use super::follow::Follower;
use super::links::Links;
use super::pod::MoverPod;
use super::relay::Token;
use super::settings::{MoverSettings, MoverStore};
use super::snapshot::{Freezer, class_on};
use super::{DataError, Movers, clean, names};
use crate::capture::{Consistency, Proof, SavedVolume, VolumeMode};
use crate::cluster::Cluster;
use crate::event::{Direction, Event, Events, VolumeProgress};
use crate::mover::{Done, Job, Outcome, StoreAccess, Task, VOLUME};
use crate::object::{Object, ObjectId};
use crate::plan::VolumeMove;
use crate::repository::{self, LossClass};
use crate::store::MoverAccess;

/// Movers at work at one time, unless told otherwise.
const PARALLEL: usize = 4;
/// Where a relayed mover listens, on its pod's loopback.
const PORT: u16 = 7447;
/// How long a new namespace may take to get its service account.
const ACCOUNT: Duration = Duration::from_secs(20);
/// How long a pod may take to go: its grace, and volumes to unmount.
const GONE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(150);

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
            namespace: &namespace,
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
        };
        let follower = Follower {
            api: work.api,
            namespace: &namespace,
            pod: work.name,
            mounts: work.mounts.name(),
            direction: work.direction,
            events: &self.events,
        };
        let done = async {
            self.create(work.api, &pod, &job).await?;
            follower.started().await?;
            let place = (namespace.as_str(), work.name, PORT);
            let _links =
                relayed.then(|| Links::open(&work.api.cluster, place, &token, &self.store.objects));
            follower.finished().await
        };
        let done = done.await;
        // One that goes on would write to a claim nobody watches. A save that ended well reads no more.
        if done.is_err() || work.direction == Direction::Load {
            self.remove(work.api, &namespace, work.name).await?;
        }
        let (done, progress) = done?;
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

    fn tell_lost(&self, claim: &str, lost: &[LossClass]) {
        if lost.is_empty() {
            return;
        }
        let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
        self.events.warning(format!(
            "{claim} has everything that was saved but, as accepted, not every {}: its storage does not take it",
            names.join(", ")
        ));
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
    async fn remove(&self, api: &Api, namespace: &str, name: &str) -> Result<(), DataError> {
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

    async fn save_from(
        &self,
        api: &Api,
        volume: &VolumeMove,
        claim: &Object,
        bound: &Object,
    ) -> Result<SavedVolume, DataError> {
        let job = self.job("save", &[&api.claim, uid(claim)]);
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
                        // A save forgets what earlier attempts of its own run left, and only that.
                        format!("run={}", self.settings.run),
                        format!("pvc={}", api.claim),
                    ],
                    consistency,
                    accept_torn: self.settings.accept_torn,
                },
            })
            .await?;
        match done {
            Done::Saved(saved) => Ok(saved),
            Done::Loaded { .. } => Err(api.unusable("its mover did another job; run again")),
        }
    }

    async fn load_into(
        &self,
        api: &Api,
        volume: &VolumeMove,
        saved: &SavedVolume,
    ) -> Result<Proof, DataError> {
        let name = names::object(&self.settings.run, "load", &api.claim);
        let (target_namespace, target_name) = place(&volume.target);
        let state = access::state(api, target_namespace, target_name).await?;
        let namespace = self.ensure_namespace(api).await?;
        let access = Access {
            api,
            run: &self.settings.run,
            namespace: &namespace,
            name: &name,
        };
        match state {
            State::Bound {
                claim,
                volume: bound,
            } => {
                access::unused(api, target_namespace, &claim).await?;
                // A killed mover may still hold the claim that is made anew here.
                self.remove(api, &namespace, &name).await?;
                let twin = access.twin(&claim, &bound).await?;
                self.load_through(api, &name, (&claim, &twin), volume, saved)
                    .await
            }
            State::Waiting { claim } => {
                // Proven and marked by an earlier attempt: it only has to be given away.
                if access.staged(&saved.snapshot).await?.is_none() {
                    let stage = access.stage(&claim).await?;
                    self.load_through(api, &name, (&stage, &stage), volume, saved)
                        .await?;
                }
                access.give(&claim, &saved.snapshot).await?;
                Ok(saved.proof.clone())
            }
        }
    }

    /// Loads into the second of two claims, which are one volume; the first names the job.
    async fn load_through(
        &self,
        api: &Api,
        name: &str,
        (claim, mounts): (&Object, &Object),
        volume: &VolumeMove,
        saved: &SavedVolume,
    ) -> Result<Proof, DataError> {
        let job = self.job("load", &[&api.claim, uid(claim), &saved.snapshot]);
        let done = match self.earlier(api, &job).await? {
            Some(done) => done,
            None => {
                let work = Work {
                    api,
                    name,
                    mounts,
                    mode: volume.mode,
                    direction: Direction::Load,
                    node: None,
                    placement: &volume.placement,
                    job,
                    task: Task::Load {
                        saved: saved.clone(),
                        delete_extra: volume.synced,
                        accept: self.settings.accept_losses.clone(),
                    },
                };
                self.work(work).await?
            }
        };
        match done {
            // Pipes and devices are in the digest; the mover has compared everything else.
            Done::Loaded { proof, lost } if proof == saved.proof || !lost.is_empty() => {
                self.tell_lost(&api.claim, &lost);
                Ok(saved.proof.clone())
            }
            Done::Loaded { proof: found, .. } => {
                let (claim, wanted) = (api.claim.clone(), saved.proof.clone());
                Err(DataError::Differs {
                    claim,
                    found,
                    wanted,
                })
            }
            Done::Saved(_) => Err(api.unusable("its mover did another job; run again")),
        }
    }

    /// Names a job after the run, the direction and the very claim it is about: one that is made anew
    /// under an old name is another.
    fn job(&self, way: &str, parts: &[&str]) -> String {
        format!("{}-{way}-{}", self.settings.run, names::short(parts))
    }

    /// Does some work on a claim unless the user asks to stop; then the mover is stopped as well, and
    /// everything else stays for the run that resumes.
    async fn unless_cancelled<T>(
        &self,
        api: &Api,
        way: &str,
        work: impl Future<Output = Result<T, DataError>>,
    ) -> Result<T, DataError> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => {
                let name = names::object(&self.settings.run, way, &api.claim);
                self.remove(api, &self.namespace(), &name).await?;
                Err(DataError::Cancelled { claim: api.claim.clone() })
            }
        }
    }

    async fn freeze(&self, api: &Api, volume: &VolumeMove) -> Result<(), DataError> {
        let (claim, bound) = source(api, volume).await?;
        let job = self.job("save", &[&api.claim, uid(&claim)]);
        if self.earlier(api, &job).await?.is_some() {
            return Ok(());
        }
        match self.class(api, volume, &claim, &bound).await? {
            Some(class) => self
                .freezer(api, &volume.source)
                .freeze(&class)
                .await
                .map(drop),
            None => {
                self.events.warning(format!(
                    "{} is read live, without a snapshot: the copy shows no single point in time, and \
                     what changes while it is read may be torn",
                    api.claim
                ));
                Ok(())
            }
        }
    }
}

fn uid(object: &Object) -> &str {
    object.uid().unwrap_or_default()
}

/// The claim on A and its volume.
async fn source(api: &Api, volume: &VolumeMove) -> Result<(Object, Object), DataError> {
    let (namespace, name) = place(&volume.source);
    match access::state(api, namespace, name).await? {
        State::Bound { claim, volume } => Ok((claim, volume)),
        State::Waiting { .. } => {
            Err(api.unusable("it has no volume yet: no pod has used it, so there is no data"))
        }
    }
}

fn place(claim: &ObjectId) -> (&str, &str) {
    (claim.namespace.as_deref().unwrap_or_default(), &claim.name)
}

impl Movers for ClusterMovers {
    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        self.unless_cancelled(&api, "save", self.freeze(&api, volume))
            .await
    }

    async fn save(&self, volume: &VolumeMove) -> Result<SavedVolume, DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let work = async {
            let _slot = self.slots.acquire().await;
            let (claim, bound) = source(&api, volume).await?;
            self.save_from(&api, volume, &claim, &bound).await
        };
        self.unless_cancelled(&api, "save", work).await
    }

    async fn load(&self, volume: &VolumeMove, saved: &SavedVolume) -> Result<Proof, DataError> {
        let api = self.side(self.target.as_ref(), &volume.target)?;
        let work = async {
            let _slot = self.slots.acquire().await;
            self.load_into(&api, volume, saved).await
        };
        self.unless_cancelled(&api, "load", work).await
    }

    async fn tidy(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        let (cluster, claim, word) = match way {
            Direction::Load => (&self.target, &volume.target, "load"),
            _ => (&self.source, &volume.source, "save"),
        };
        let api = self.side(cluster.as_ref(), claim)?;
        let (run, namespace) = (&self.settings.run, self.namespace());
        let name = names::object(run, word, &api.claim);
        self.remove(&api, &namespace, &name).await?;
        let access = Access {
            api: &api,
            run,
            namespace: &namespace,
            name: &name,
        };
        access.release().await?;
        match (way, volume.consistency) {
            (Direction::Load, _) | (_, Consistency::Live) => Ok(()),
            _ => self.freezer(&api, claim).thaw(&namespace).await,
        }
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
