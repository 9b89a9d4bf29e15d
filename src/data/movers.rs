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
use super::api::Api;
use super::party::Party;
use super::settings::{MoverSettings, MoverStore};
use super::snapshot::{Freezer, class_on};
use super::stand_by::Standing;
use super::{DataError, Loaded, Movers, clean, names};
use crate::capture::{Consistency, Proof, SavedVolume, User};
use crate::causes::in_one_line;
use crate::cluster::Cluster;
use crate::event::{Direction, Events};
use crate::mover::{Done, Outcome};
use crate::object::{Object, ObjectId};
use crate::plan::VolumeMove;
use crate::repository::{self, LossClass};

/// Volumes on their way at one time, unless told otherwise.
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
    /// Volumes on their way at one time.
    pub(super) parallel: usize,
    slots: Semaphore,
    /// Held while claims are frozen together.
    pub(super) making: tokio::sync::Mutex<()>,
    /// Movers that wait for their orders, by the names of their pods.
    pub(super) standing: Mutex<BTreeMap<String, Standing>>,
    /// How long movers worked, by the names of what was made for each claim.
    pub(super) took: Mutex<BTreeMap<String, Duration>>,
}

/// Where the mover of a claim works, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        Self {
            parallel,
            slots: Semaphore::new(parallel),
            source,
            target,
            store,
            settings,
            events,
            cancel,
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

    pub(super) fn freezer<'a>(&'a self, api: &'a Api, volume: &'a VolumeMove) -> Freezer<'a> {
        Freezer {
            api,
            run: &self.settings.run,
            claim: place(&volume.source),
            together: volume.together.as_ref(),
            movers: self,
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

    /// Loads what travels together, unless the user asks to stop.
    pub(super) async fn load_party(
        &self,
        loads: &[(&VolumeMove, &SavedVolume)],
    ) -> Vec<Result<Proof, DataError>> {
        let volumes: Vec<&VolumeMove> = loads.iter().map(|(volume, _)| *volume).collect();
        let party = self.party(&volumes, Direction::Load);
        let work = async {
            let _slots = self.slots.acquire_many(self.share(volumes.len())).await;
            let saved: Vec<&SavedVolume> = loads.iter().map(|(_, saved)| *saved).collect();
            self.load_all(&party, &saved).await
        };
        let loaded = self.unless_cancelled(&party, work).await;
        loaded.unwrap_or_else(|| party.stopped())
    }

    /// Removes what a mover of the claim worked with, on the cluster where it did. What A froze stays.
    pub(super) async fn clear(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        let (claim, word, user) = named(volume, way);
        let api = self.side(self.cluster(way), claim)?;
        let (run, site) = (&self.settings.run, self.site(claim, user));
        let name = names::object(run, word, &api.claim);
        let party = self.party(&[volume], way);
        self.remove(&api, &site.namespace, &party.name).await?;
        let access = self.access(&api, &site, &name);
        let read = way != Direction::Load;
        if site.user.is_none() || (read && volume.consistency.is_frozen()) {
            access.release_claim().await?;
        }
        if site.user.is_none() {
            access.release_twin().await?;
            if read && volume.consistency.is_snapshot() {
                self.freezer(&api, volume)
                    .take_back(&site.namespace)
                    .await?;
            }
            if read && volume.consistency == Consistency::Clone {
                // What the twin stood on, beside the claim itself.
                let (namespace, _) = place(claim);
                Access {
                    namespace,
                    ..access
                }
                .release_claim()
                .await?;
            }
        }
        Ok(())
    }

    /// Removes the snapshot of a claim on A, or leaves it to the user who asked to keep it.
    async fn let_go(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let freezer = self.freezer(&api, volume);
        if !self.settings.keep_snapshots {
            return freezer.thaw().await;
        }
        if let Some((kind, name)) = freezer.keep().await? {
            let (namespace, claim) = place(&volume.source);
            self.events.notice(format!(
                "{namespace}/{claim}: {kind} {namespace}/{name} stays, as asked; it is yours to delete"
            ));
        }
        Ok(())
    }

    /// How many of the volumes on their way a party is.
    fn share(&self, volumes: usize) -> u32 {
        u32::try_from(volumes.min(self.parallel)).unwrap_or(u32::MAX)
    }

    /// The class to freeze a claim with.
    pub(super) async fn class(
        &self,
        api: &Api,
        claim: &Object,
        bound: &Object,
    ) -> Result<Object, DataError> {
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
        // An earlier attempt of the run may have cleaned up, which takes a moment to be done.
        let made = api.live_namespace(namespace_body(&self.settings.run), GOING);
        match made.await {
            Err(ref error @ DataError::Cluster { ref source, .. }) if error.is_forbidden() => {
                Err(no_namespace(&api.cluster, in_one_line(source.as_ref())))
            }
            made => made,
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

    /// Names a job after the run, the direction and the very claim it is about: one that is made anew
    /// under an old name is another.
    pub(super) fn job(&self, way: &str, parts: &[&str]) -> String {
        format!("{}-{way}-{}", self.settings.run, names::short(parts))
    }

    /// Does some work unless the user asks to stop; then the mover is stopped as well, everything else stays for the
    /// run that resumes, and there is no result.
    pub(super) async fn unless_cancelled<T>(
        &self,
        party: &Party<'_>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.cancel.cancelled() => {
                if let Err(error) = self.give_up(party).await {
                    tracing::warn!(%error, "a mover may still be at work");
                }
                None
            }
        }
    }

    async fn freeze(&self, api: &Api, volume: &VolumeMove) -> Result<(), DataError> {
        let claim = source(api, volume).await?;
        let job = self.saving(volume, &claim);
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
            Consistency::Clone => self.cloned(api, volume, &claim).await.map(drop),
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
        Direction::Load => (&volume.target, word(way), volume.writes_as.as_ref()),
        _ => (&volume.source, word(way), volume.reads_as.as_ref()),
    }
}

/// What names of what is made for one way have in them.
pub(super) fn word(way: Direction) -> &'static str {
    match way {
        Direction::Load => "load",
        _ => "save",
    }
}

pub(super) fn uid(object: &Object) -> &str {
    object.uid().unwrap_or_default()
}

/// The claim on A, which is bound.
pub(super) async fn source(api: &Api, volume: &VolumeMove) -> Result<Object, DataError> {
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
    async fn stand_by(&self, party: &[&VolumeMove], way: Direction) -> Result<(), DataError> {
        self.ready(party, way).await
    }

    async fn stand_down(&self) -> Result<(), DataError> {
        self.dismiss().await
    }

    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let api = self.side(self.source.as_ref(), &volume.source)?;
        let party = self.party(&[volume], Direction::Save);
        let frozen = self
            .unless_cancelled(&party, self.freeze(&api, volume))
            .await;
        frozen.unwrap_or(Err(DataError::Cancelled { claim: api.claim }))
    }

    async fn save(&self, volumes: &[&VolumeMove]) -> Vec<Result<SavedVolume, DataError>> {
        let party = self.party(volumes, Direction::Save);
        let work = async {
            let _slots = self.slots.acquire_many(self.share(volumes.len())).await;
            self.save_all(&party).await
        };
        let saved = self.unless_cancelled(&party, work).await;
        saved.unwrap_or_else(|| party.stopped())
    }

    async fn load(&self, loads: &[(&VolumeMove, &SavedVolume)]) -> Vec<Result<Loaded, DataError>> {
        let proofs = self.load_party(loads).await;
        self.or_by_store(loads, proofs).await
    }

    fn took(&self, volume: &VolumeMove, way: Direction) -> Option<Duration> {
        let (claim, word, _) = named(volume, way);
        let name = names::object(&self.settings.run, word, &names::claim(claim));
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        took.get(&name).copied()
    }

    async fn tidy(&self, volume: &VolumeMove, way: Direction) -> Result<(), DataError> {
        if volume.shares && way != Direction::Load {
            // What B's volume is made of, or copied from, must last until it has arrived.
            return Ok(());
        }
        let mut cleared = self.clear(volume, way).await;
        if volume.shares {
            cleared = cleared.and(self.hand_back(volume).await);
            cleared = cleared.and(self.clear(volume, Direction::Save).await);
        }
        let last = volume.shares || way != Direction::Load;
        // One that the user keeps is kept, whatever is left of the rest.
        let goes = cleared.is_ok() || self.settings.keep_snapshots;
        match last && goes && volume.consistency.is_snapshot() {
            true => cleared.and(self.let_go(volume).await),
            false => cleared,
        }
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
