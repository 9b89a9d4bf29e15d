//! The real movers: pods on both clusters.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::{self, Access, State};
use super::admission::no_namespace;
use super::api::{Api, NAMESPACE};
use super::settings::{MoverSettings, MoverStore};
use super::snapshot::{Freezer, class_on};
use super::stand_by::Standing;
use super::wait::Wait;
use super::work::Work;
use super::{DataError, Movers, clean, names};
use crate::capture::{Consistency, Proof, SavedVolume, User};
use crate::causes::in_one_line;
use crate::cluster::Cluster;
use crate::event::{Direction, Events};
use crate::mover::{Done, Order, Outcome, Task};
use crate::object::{Object, ObjectId};
use crate::plan::VolumeMove;
use crate::repository::{self, LossClass};

/// Movers at work at one time, unless told otherwise.
const PARALLEL: usize = 4;
/// How long a namespace of an earlier attempt may take to go.
const GOING: Duration = Duration::from_secs(120);

/// Movers as pods of the two clusters.
pub struct ClusterMovers {
    pub(super) source: Option<Cluster>,
    pub(super) target: Option<Cluster>,
    pub(super) store: MoverStore,
    pub(super) settings: MoverSettings,
    pub(super) events: Events,
    cancel: CancellationToken,
    slots: Semaphore,
    /// Held while claims are frozen together.
    making: tokio::sync::Mutex<()>,
    /// Movers that wait for their orders, by the names of their pods.
    pub(super) standing: Mutex<BTreeMap<String, Standing>>,
    /// How long movers worked, by the names of their pods.
    pub(super) took: Mutex<BTreeMap<String, Duration>>,
}

/// Where the mover of a claim works, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) namespace: String,
    /// Without privileges, in the application's namespace; `None` with them, in Ferry's.
    pub(super) user: Option<User>,
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
            making: tokio::sync::Mutex::default(),
            standing: Mutex::default(),
            took: Mutex::default(),
        }
    }

    pub(super) fn side(
        &self,
        cluster: Option<&Cluster>,
        claim: &ObjectId,
    ) -> Result<Api, DataError> {
        let name = names::claim(claim);
        match cluster {
            Some(cluster) => Ok(Api::new(cluster, name)),
            None => Err(DataError::Claim {
                claim: name,
                reason: "its cluster is not part of this run".into(),
            }),
        }
    }

    fn freezer<'a>(&'a self, api: &'a Api, volume: &'a VolumeMove) -> Freezer<'a> {
        Freezer {
            api,
            run: &self.settings.run,
            claim: place(&volume.source),
            together: volume.together.as_ref(),
            making: &self.making,
        }
    }

    /// Where the mover of a claim works: in Ferry's namespace, or, without privileges, beside the application.
    pub(super) fn site(&self, claim: &ObjectId, user: Option<&User>) -> Site {
        let namespace = match user {
            Some(_) => place(claim).0.to_owned(),
            None => names::namespace(&self.settings.run),
        };
        let user = user.cloned();
        Site { namespace, user }
    }

    /// What the mover of a claim mounts, under its own name.
    pub(super) fn access<'a>(&'a self, api: &'a Api, site: &'a Site, name: &'a str) -> Access<'a> {
        Access {
            api,
            run: &self.settings.run,
            namespace: &site.namespace,
            name,
        }
    }

    /// The cluster on which movers work that go one way.
    pub(super) fn cluster(&self, way: Direction) -> Option<&Cluster> {
        match way {
            Direction::Load => self.target.as_ref(),
            _ => self.source.as_ref(),
        }
    }

    /// The class to freeze a claim with.
    async fn class(&self, api: &Api, claim: &Object, bound: &Object) -> Result<Object, DataError> {
        let refuse = |reason: String| DataError::Snapshot {
            claim: api.claim.clone(),
            reason,
        };
        let driver = bound.text("/spec/csi/driver").ok_or_else(|| {
            refuse("its volume is not a CSI volume; plan again to read it live".into())
        })?;
        let class = class_on(api, driver, claim.annotation(names::SNAPSHOT_CLASS)).await?;
        class.ok_or_else(|| {
            refuse(format!(
                "driver {driver} has no VolumeSnapshotClass any more; plan again to read it live"
            ))
        })
    }

    /// Ferry's namespace for the run, made if need be.
    pub(super) async fn ensure_namespace(&self, api: &Api) -> Result<(), DataError> {
        let mut wait = Wait::begin();
        loop {
            let body = namespace_body(&self.settings.run);
            match api.ensure(&NAMESPACE, body).await {
                // An earlier attempt of the run has cleaned up, which takes a moment to be done.
                Ok(found) if found.is_going() && wait.elapsed() < GOING => wait.pause().await,
                Ok(found) if found.is_going() => {
                    let (name, seconds) = (found.name(), GOING.as_secs());
                    return Err(api.unusable(format!(
                        "Namespace {name} has been terminating for {seconds} s; `kubectl get namespace {name} -o yaml` \
                         says what holds it"
                    )));
                }
                Err(ref error @ DataError::Cluster { ref source, .. }) if error.is_forbidden() => {
                    return Err(no_namespace(&api.cluster, in_one_line(source.as_ref())));
                }
                made => return made.map(drop),
            }
        }
    }

    /// What an earlier attempt at the job left in the store.
    pub(super) async fn earlier(&self, api: &Api, job: &str) -> Result<Option<Done>, DataError> {
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

    pub(super) fn tell_lost(&self, claim: &str, lost: &[LossClass]) {
        if lost.is_empty() {
            return;
        }
        let names: Vec<String> = lost.iter().map(ToString::to_string).collect();
        self.events.warning(format!(
            "{claim} has everything that was saved but, as accepted, not every {}: its storage does not take it",
            names.join(", ")
        ));
    }

    async fn save_from(
        &self,
        api: &Api,
        volume: &VolumeMove,
        claim: &Object,
    ) -> Result<SavedVolume, DataError> {
        let job = self.job("save", &[&api.claim, uid(claim)]);
        if let Some(Done::Saved(saved)) = self.earlier(api, &job).await? {
            return Ok(saved);
        }
        let name = names::object(&self.settings.run, "save", &api.claim);
        let task = Task::Save {
            host: api.cluster.name().into(),
            tags: vec![
                format!("capture={}", self.settings.capture),
                // A save forgets what earlier attempts of its own run left, and only that.
                format!("run={}", self.settings.run),
                format!("pvc={}", api.claim),
            ],
            consistency: volume.consistency,
            accept_torn: self.settings.accept_torn,
        };
        let done = match self.standing(&name) {
            Some(standing) => {
                let order = Order { id: job, task };
                self.order((api, &name), standing, Direction::Save, order)
                    .await?
            }
            None => {
                self.save_anew(api, &name, volume, claim, (job, task))
                    .await?
            }
        };
        match done {
            Done::Saved(saved) => Ok(saved),
            Done::Loaded { .. } => Err(api.unusable("its mover did another job; run again")),
        }
    }

    /// Saves with a mover that is started for it.
    async fn save_anew(
        &self,
        api: &Api,
        name: &str,
        volume: &VolumeMove,
        claim: &Object,
        (job, task): (String, Task),
    ) -> Result<Done, DataError> {
        let site = self.site(&volume.source, volume.reads_as.as_ref());
        if site.user.is_none() {
            self.ensure_namespace(api).await?;
        }
        // A killed mover may still hold the claim that is made anew below.
        self.remove(api, &site.namespace, name).await?;
        let access = self.access(api, &site, name);
        let freezer = self.freezer(api, volume);
        let (mounts, node) = match volume.consistency {
            Consistency::Snapshot | Consistency::Together => {
                let bound = access::behind(api, claim).await?;
                let class = self.class(api, claim, &bound).await?;
                let (snapshot, size) = match site.user {
                    // It lies where the mover works: nothing has to be handed over.
                    Some(_) => freezer.take(&class).await?,
                    None => {
                        let frozen = freezer.freeze(&class).await?;
                        let snapshot = freezer.hand_over(&frozen, &site.namespace).await?;
                        (snapshot, frozen.size)
                    }
                };
                let restored = access.restored(claim, &bound, size, &snapshot).await?;
                (restored, None)
            }
            Consistency::Live | Consistency::Quiet => {
                let node = access::node_of(api, place(&volume.source).0, claim).await?;
                let mounts = match site.user {
                    Some(_) => claim.clone(),
                    None => {
                        let bound = access::behind(api, claim).await?;
                        access.twin(claim, &bound).await?
                    }
                };
                (mounts, node)
            }
        };
        self.work(Work {
            api,
            site: &site,
            name,
            mounts: &mounts,
            mode: volume.mode,
            direction: Direction::Save,
            node,
            placement: &Value::Null,
            job,
            task,
        })
        .await
    }

    /// Names a job after the run, the direction and the very claim it is about: one that is made anew
    /// under an old name is another.
    pub(super) fn job(&self, way: &str, parts: &[&str]) -> String {
        format!("{}-{way}-{}", self.settings.run, names::short(parts))
    }

    /// Does some work on a claim unless the user asks to stop; then the mover is stopped as well, and
    /// everything else stays for the run that resumes.
    pub(super) async fn unless_cancelled<T>(
        &self,
        api: &Api,
        (way, site): (&str, Site),
        work: impl Future<Output = Result<T, DataError>>,
    ) -> Result<T, DataError> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => {
                let name = names::object(&self.settings.run, way, &api.claim);
                self.remove(api, &site.namespace, &name).await?;
                Err(DataError::Cancelled { claim: api.claim.clone() })
            }
        }
    }

    async fn freeze(&self, api: &Api, volume: &VolumeMove) -> Result<(), DataError> {
        let claim = source(api, volume).await?;
        let job = self.job("save", &[&api.claim, uid(&claim)]);
        if self.earlier(api, &job).await?.is_some() {
            return Ok(());
        }
        match volume.consistency {
            Consistency::Snapshot | Consistency::Together => {
                let bound = access::behind(api, &claim).await?;
                let class = self.class(api, &claim, &bound).await?;
                let freezer = self.freezer(api, volume);
                freezer.take(&class).await.map(drop)
            }
            // Only a cutover reads so, and it takes no snapshots.
            Consistency::Quiet => Ok(()),
            Consistency::Live => {
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

/// The claim a save or a load is about, the word for it in names, and whom its mover runs as without privileges.
pub(super) fn named(
    volume: &VolumeMove,
    way: Direction,
) -> (&ObjectId, &'static str, Option<&User>) {
    match way {
        Direction::Load => (&volume.target, "load", volume.writes_as.as_ref()),
        _ => (&volume.source, "save", volume.reads_as.as_ref()),
    }
}

pub(super) fn uid(object: &Object) -> &str {
    object.uid().unwrap_or_default()
}

/// The claim on A, which is bound.
async fn source(api: &Api, volume: &VolumeMove) -> Result<Object, DataError> {
    let (namespace, name) = place(&volume.source);
    match access::state(api, namespace, name).await? {
        State::Bound { claim } => Ok(claim),
        State::Waiting { .. } => {
            Err(api.unusable("it has no volume yet: no pod has used it, so there is no data"))
        }
    }
}

pub(super) fn place(claim: &ObjectId) -> (&str, &str) {
    (claim.namespace.as_deref().unwrap_or_default(), &claim.name)
}

/// Ferry's own namespace, whose Pod Security level allows what movers do.
pub(super) fn namespace_body(run: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": names::namespace(run), "labels": {
            names::RUN: run,
            "pod-security.kubernetes.io/enforce": "privileged",
            "pod-security.kubernetes.io/audit": "privileged",
            "pod-security.kubernetes.io/warn": "privileged",
            "security.openshift.io/scc.podSecurityLabelSync": "false",
        }},
    })
}

impl Movers for ClusterMovers {
    async fn stand_by(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        self.ready(volume, way).await
    }

    async fn stand_down(&self) -> Result<(), DataError> {
        self.dismiss().await
    }

    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let site = self.site(&volume.source, volume.reads_as.as_ref());
        self.unless_cancelled(&api, ("save", site), self.freeze(&api, volume))
            .await
    }

    async fn save(&self, volume: &VolumeMove) -> Result<SavedVolume, DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let work = async {
            let _slot = self.slots.acquire().await;
            let claim = source(&api, volume).await?;
            self.save_from(&api, volume, &claim).await
        };
        let site = self.site(&volume.source, volume.reads_as.as_ref());
        self.unless_cancelled(&api, ("save", site), work).await
    }

    async fn load(&self, volume: &VolumeMove, saved: &SavedVolume) -> Result<Proof, DataError> {
        let api = self.side(self.target.as_ref(), &volume.target)?;
        let work = async {
            let _slot = self.slots.acquire().await;
            self.load_into(&api, volume, saved).await
        };
        let site = self.site(&volume.target, volume.writes_as.as_ref());
        self.unless_cancelled(&api, ("load", site), work).await
    }

    fn took(&self, volume: &VolumeMove, way: Direction) -> Option<Duration> {
        let (claim, word, _) = named(volume, way);
        let name = names::object(&self.settings.run, word, &names::claim(claim));
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        took.get(&name).copied()
    }

    async fn tidy(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        let (claim, word, user) = named(volume, way);
        let api = self.side(self.cluster(way), claim)?;
        let (run, site) = (&self.settings.run, self.site(claim, user));
        let name = names::object(run, word, &api.claim);
        self.remove(&api, &site.namespace, &name).await?;
        let access = self.access(&api, &site, &name);
        let frozen = way != Direction::Load && volume.consistency.is_frozen();
        if site.user.is_none() || frozen {
            access.release_claim().await?;
        }
        let freezer = self.freezer(&api, volume);
        if site.user.is_none() {
            access.release_twin().await?;
            if frozen {
                freezer.take_back(&site.namespace).await?;
            }
        }
        if frozen {
            freezer.thaw().await?;
        }
        Ok(())
    }

    async fn clean(&self) -> Result<(), DataError> {
        let run = &self.settings.run;
        let mut result = Ok(());
        let settings = &self.settings;
        let sides = [
            (&self.source, &settings.beside_source),
            (&self.target, &settings.beside_target),
        ];
        for (cluster, beside) in sides {
            let Some(cluster) = cluster else { continue };
            let cleaned = match beside.is_empty() {
                true => clean::clean(cluster, run, &settings.namespaces).await,
                false => clean::beside(cluster, run, beside).await,
            };
            result = result.and(cleaned);
        }
        result
    }
}
