//! Removing what a run made for its movers, whoever made it: this process, or one that was killed.
//!
//! Everything carries the run's label. The order matters: pods before the claims they mount, twins before the clones
//! whose storage they are, claims before the snapshots they are made of, contents before the snapshot they share.
//!
//! Ferry's namespace goes last, and empty: its end is asked for and not awaited, because a namespace's controller first
//! lets five seconds pass, which is more than all the rest takes.

use std::time::Duration;

use serde_json::json;

use super::DataError;
use super::access::{back_to_normal, goes_with_claim};
use super::api::{Api, CLAIM, Kind, NAMESPACE, POD, SECRET, SNAPSHOT, SNAPSHOT_CONTENT, VOLUME};
use super::group::{self, Served};
use super::names::{self, FREEZE, RECLAIM, ROLE, STAGE};
use super::snapshot::remove_first;
use super::wait::Wait;
use crate::causes;
use crate::cluster::Cluster;
use crate::object::Object;
use crate::surface::ApiResource;

/// How long deletions may take; a busy namespace controller needs ten seconds for some dozens.
const GONE: Duration = Duration::from_secs(120);

/// Removes a run's leftovers from one cluster. `namespaces` are the application's, for users who may
/// not list over all of them.
pub(super) async fn clean(
    cluster: &Cluster,
    run: &str,
    namespaces: &[String],
) -> Result<(), DataError> {
    let api = Api::new(cluster, format!("(run {run})"));
    let mut sweep = Sweep::new(&api, run);
    sweep.own_movers().await;
    sweep.clones(namespaces).await;
    sweep.own_rest(namespaces).await;
    sweep.ended()
}

/// The same of a run of which it is not known whether its movers had privileges.
pub(super) async fn everything(
    cluster: &Cluster,
    run: &str,
    namespaces: &[String],
) -> Result<(), DataError> {
    let api = Api::new(cluster, format!("(run {run})"));
    let mut sweep = Sweep::new(&api, run);
    sweep.own_movers().await;
    sweep.movers_beside(namespaces).await;
    sweep.own_rest(namespaces).await;
    sweep.ended()
}

/// Removes what movers without privileges left in the application's namespaces of one cluster, and nothing else: what
/// the run restored there has the run's label too.
pub(super) async fn beside(
    cluster: &Cluster,
    run: &str,
    namespaces: &[String],
) -> Result<(), DataError> {
    let api = Api::new(cluster, format!("(run {run})"));
    let mut sweep = Sweep::new(&api, run);
    sweep.movers_beside(namespaces).await;
    for namespace in namespaces {
        for snapshot in sweep.find(&SNAPSHOT, Some(namespace)).await {
            // A snapshot of the application's that this run restored is not one that it took.
            if snapshot.annotation(names::CLAIM).is_some() {
                let removed = remove_first(&api, &snapshot).await;
                sweep.note(removed);
            }
        }
    }
    sweep.groups(namespaces).await;
    sweep.ended()
}

struct Sweep<'a> {
    api: &'a Api,
    run: &'a str,
    /// What could not be done, in words; the rest is done all the same.
    refused: Vec<String>,
}

impl<'a> Sweep<'a> {
    fn new(api: &'a Api, run: &'a str) -> Self {
        Self {
            api,
            run,
            refused: Vec::new(),
        }
    }

    /// Removes Ferry's own pods, what they hold, and the volumes they mount.
    async fn own_movers(&mut self) {
        let own = names::namespace(self.run);
        self.all(&POD, Some(&own)).await;
        self.all(&SECRET, Some(&own)).await;
        for claim in self.find(&CLAIM, Some(&own)).await {
            self.remove_claim(&claim).await;
        }
        self.gone(&CLAIM, Some(&own)).await;
        self.volumes().await;
    }

    /// Removes what those were made of, and Ferry's namespace.
    async fn own_rest(&mut self, namespaces: &[String]) {
        let own = names::namespace(self.run);
        self.all(&SNAPSHOT, Some(&own)).await;
        self.all(&SNAPSHOT_CONTENT, None).await;
        self.snapshots(namespaces).await;
        self.groups(namespaces).await;
        self.gone(&SNAPSHOT, Some(&own)).await;
        self.gone(&SNAPSHOT_CONTENT, None).await;
        let found = self.find(&NAMESPACE, None).await;
        if found.iter().any(|found| found.name() == own) {
            let deleted = self.api.delete(&NAMESPACE, None, &own).await;
            self.note(deleted);
        }
    }

    /// Removes all that movers work with in the application's namespaces.
    async fn movers_beside(&mut self, namespaces: &[String]) {
        for namespace in namespaces {
            for kind in [&POD, &SECRET] {
                for object in self.movers(kind, namespace).await {
                    let deleted = self.api.delete(kind, Some(namespace), object.name()).await;
                    self.note(deleted);
                }
            }
            for claim in self.movers(&CLAIM, namespace).await {
                self.remove_claim(&claim).await;
            }
        }
        for namespace in namespaces {
            self.movers_gone(&[&POD, &CLAIM], namespace).await;
        }
    }

    /// Removes clones that were read in Ferry's namespace.
    async fn clones(&mut self, namespaces: &[String]) {
        let found = match self.labelled(&CLAIM, names::MOVER, namespaces).await {
            // Who may not look made none.
            Err(error) if error.is_forbidden() => return,
            found => self.note(found).unwrap_or_default(),
        };
        for claim in &found {
            self.remove_claim(claim).await;
        }
        self.each_gone(&CLAIM, &found).await;
    }

    /// Removes a claim of Ferry's, and the volume that was made for it.
    async fn remove_claim(&mut self, claim: &Object) {
        let freed = goes_with_claim(self.api, claim).await;
        self.note(freed);
        let deleted = self
            .api
            .delete(&CLAIM, claim.namespace(), claim.name())
            .await;
        self.note(deleted);
    }

    fn note<T>(&mut self, result: Result<T, DataError>) -> Option<T> {
        result
            .map_err(|error| self.refused.push(causes::in_one_line(&error)))
            .ok()
    }

    fn ended(self) -> Result<(), DataError> {
        match self.refused.split_first() {
            None => Ok(()),
            Some((first, rest)) => Err(DataError::Clean {
                run: self.run.into(),
                count: rest.len() + 1,
                first: first.clone(),
            }),
        }
    }

    /// What movers work with in a namespace.
    async fn movers(&mut self, kind: &Kind, namespace: &str) -> Vec<Object> {
        let selector = Some(names::movers(self.run));
        let listed = self.api.list(kind, Some(namespace), selector).await;
        self.note(listed).unwrap_or_default()
    }

    async fn movers_gone(&mut self, kinds: &[&Kind], namespace: &str) {
        let mut wait = Wait::begin();
        for kind in kinds {
            while !self.movers(kind, namespace).await.is_empty() {
                if wait.elapsed() > GONE {
                    self.refused
                        .push(format!("{} in {namespace} are not removed", kind.plural));
                    return;
                }
                wait.pause().await;
            }
        }
    }

    async fn find(&mut self, kind: &Kind, namespace: Option<&str>) -> Vec<Object> {
        let listed = self
            .api
            .list(kind, namespace, Some(names::selector(self.run)))
            .await;
        self.note(listed).unwrap_or_default()
    }

    async fn all(&mut self, kind: &Kind, namespace: Option<&str>) {
        for object in self.find(kind, namespace).await {
            let deleted = self
                .api
                .delete(kind, object.namespace(), object.name())
                .await;
            self.note(deleted);
        }
    }

    /// Waits for what was deleted to go: a snapshot stays while a claim is made of it, and all of it while somebody's
    /// finalizer holds it.
    async fn gone(&mut self, kind: &Kind, namespace: Option<&str>) {
        let mut wait = Wait::begin();
        while !self.find(kind, namespace).await.is_empty() {
            if wait.elapsed() > GONE {
                let place = namespace.map(|name| format!(" in {name}"));
                let place = place.unwrap_or_default();
                self.refused
                    .push(format!("{}{place} are not removed", kind.plural));
                return;
            }
            wait.pause().await;
        }
    }

    async fn volumes(&mut self) {
        for volume in self.find(&VOLUME, None).await {
            let name = volume.name();
            if volume.annotation(ROLE) != Some(STAGE) {
                let deleted = self.api.delete(&VOLUME, None, name).await;
                self.note(deleted);
                continue;
            }
            // A staged volume that has reached its claim is the user's; any other is only half a copy.
            let reference = |field| {
                volume
                    .text(&format!("/spec/claimRef/{field}"))
                    .unwrap_or_default()
            };
            let holder = format!("{}/{}", reference("namespace"), reference("name"));
            let arrived = volume.annotation(names::CLAIM) == Some(&holder)
                && volume.text("/status/phase") == Some("Bound");
            let patch = if arrived {
                back_to_normal(volume.annotation(RECLAIM).unwrap_or("Delete"))
            } else {
                json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
            };
            let patched = self.api.merge(&VOLUME, None, name, patch).await;
            self.note(patched);
        }
    }

    /// What of a kind has a label of this run, over the whole cluster or else where it was put.
    async fn labelled(
        &self,
        kind: &ApiResource,
        label: &str,
        namespaces: &[String],
    ) -> Result<Vec<Object>, DataError> {
        let selector = Some(format!("{label}={}", self.run));
        if let Ok(found) = self.api.list(kind, None, selector.clone()).await {
            return Ok(found);
        }
        let mut found = Vec::new();
        for namespace in namespaces {
            let listed = self.api.list(kind, Some(namespace), selector.clone()).await;
            found.extend(listed?);
        }
        Ok(found)
    }

    /// Removes the groups that were frozen, their members with them, and takes the label off the claims.
    async fn groups(&mut self, namespaces: &[String]) {
        let served = Served::on(self.api).await;
        let Some(served) = self.note(served).flatten() else {
            return;
        };
        let kind = served.groups();
        let found = match self.labelled(&kind, names::RUN, namespaces).await {
            // Who may not look made none.
            Err(error) if error.is_forbidden() => return,
            found => self.note(found).unwrap_or_default(),
        };
        for one in &found {
            let removed = group::remove(self.api, &served, one).await;
            self.note(removed);
        }
        self.each_gone(&kind, &found).await;
        let claims = self.labelled(&CLAIM, FREEZE, namespaces).await;
        for claim in self.note(claims).unwrap_or_default() {
            let unlabelled = group::unlabel(self.api, &claim).await;
            self.note(unlabelled);
        }
    }

    async fn each_gone(&mut self, kind: &ApiResource, deleted: &[Object]) {
        let mut wait = Wait::begin();
        for one in deleted {
            let (namespace, name) = (one.namespace(), one.name());
            while let Ok(Some(_)) = self.api.get(kind, namespace, name).await {
                if wait.elapsed() > GONE {
                    let kind = &kind.kind;
                    self.refused.push(format!("{kind} {name} is not removed"));
                    return;
                }
                wait.pause().await;
            }
        }
    }

    async fn snapshots(&mut self, namespaces: &[String]) {
        let found = self.labelled(&SNAPSHOT, names::RUN, namespaces).await;
        let found = self.note(found).unwrap_or_default();
        let own = names::namespace(self.run);
        for snapshot in found.iter().filter(|found| found.namespace() != Some(&own)) {
            // A snapshot of the application's that this run restored is not one that it took.
            if snapshot.annotation(names::CLAIM).is_some() {
                let removed = remove_first(self.api, snapshot).await;
                self.note(removed);
            }
        }
    }
}
