//! Claims for movers in Ferry's own namespace: the application's namespace sees no privileged pod, and
//! its quota, limits, Pod Security level and network policies do not stand in the way.
//!
//! Three ways lead there, by the state of the claim the data belongs to:
//!
//! - **restored**: a new volume made of a snapshot (A).
//! - **twin**: a second PersistentVolume over the same storage, with policy Retain, so that removing it
//!   removes nothing. For a claim that is bound: read live on A, or as a clone, written on B.
//! - **stage**: for a claim on B that waits for its first consumer. A volume is provisioned in Ferry's
//!   namespace by the mover, which carries the workload's placement (W-5), and once its data is proven
//!   it is bound to the claim instead. Until then the application's claim is not touched at all, and a
//!   half-filled volume can never be taken for a full one.

use std::time::Duration;

use serde_json::{Value, json};

use super::DataError;
use super::api::{Api, CLAIM, NODE, POD, STORAGE_CLASS, VOLUME};
use super::names::{self, HOLDS, RECLAIM, ROLE, STAGE, TWIN};
use super::snapshot::bytes;
use super::wait::Wait;
use crate::capture::Held;
use crate::object::Object;

/// How long a claim that binds at once is waited for before its pod is made.
pub(super) const BIND: Duration = Duration::from_secs(30);
/// How long a claim may take to bind, until its controller is made to look again.
pub(super) const NUDGE: Duration = Duration::from_millis(900);
/// What a provisioner leaves on a volume it made.
const PROVISIONED: &str = "pv.kubernetes.io/provisioned-by";
/// How long binding, unbinding and deletion may take once nothing stands in the way.
const SETTLE: Duration = Duration::from_secs(120);
/// How long an immediately binding class may take to provision.
const PROVISION: Duration = Duration::from_secs(300);

/// Makes claims for one run in one cluster.
#[derive(Clone, Debug)]
pub(super) struct Access<'a> {
    pub(super) api: &'a Api,
    pub(super) run: &'a str,
    /// Ferry's namespace.
    pub(super) namespace: &'a str,
    /// Name of the claim to make, and of what else is made for it.
    pub(super) name: &'a str,
}

impl Access<'_> {
    pub(super) fn metadata(&self) -> Value {
        json!({
            "name": self.name,
            "labels": {names::RUN: self.run, names::MOVER: self.run},
            "annotations": {names::CLAIM: self.api.claim},
        })
    }

    /// A claim on a new volume that holds what a snapshot holds.
    pub(super) async fn restored(
        &self,
        origin: &Object,
        volume: &Object,
        size: u64,
        snapshot: &str,
    ) -> Result<Object, DataError> {
        let capacity = volume
            .pointer("/spec/capacity/storage")
            .and_then(bytes)
            .unwrap_or(0);
        let mut spec = json!({
            // Nobody else mounts it, and every driver that makes volumes can make this kind.
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": origin.text("/spec/volumeMode").unwrap_or("Filesystem"),
            "resources": {"requests": {"storage": capacity.max(size).to_string()}},
            "dataSource": source(snapshot),
        });
        if let Some(class) = volume.text("/spec/storageClassName") {
            spec["storageClassName"] = class.into();
        }
        self.claim(spec).await
    }

    /// A claim on the storage of a volume that is bound elsewhere.
    pub(super) async fn twin(&self, origin: &Object, volume: &Object) -> Result<Object, DataError> {
        let mut spec = volume.pointer("/spec").cloned().unwrap_or_default();
        let mut modes = spec["accessModes"].take();
        // A pod of its own would be refused a second ReadWriteOncePod mount.
        if modes == json!(["ReadWriteOncePod"]) {
            modes = json!(["ReadWriteOnce"]);
        }
        spec["accessModes"] = modes.clone();
        spec["persistentVolumeReclaimPolicy"] = "Retain".into();
        spec["storageClassName"] = "".into();
        spec["claimRef"] = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": self.namespace, "name": self.name,
        });
        let mut metadata = self.metadata();
        metadata["annotations"][ROLE] = TWIN.into();
        let twin = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec,
        });
        self.api.ensure(&VOLUME, twin).await?;
        let claim = json!({
            "accessModes": modes,
            "volumeMode": origin.text("/spec/volumeMode").unwrap_or("Filesystem"),
            "resources": {"requests": {"storage": volume.pointer("/spec/capacity/storage")}},
            "storageClassName": "",
            "volumeName": self.name,
        });
        self.claim(claim).await
    }

    /// A claim like `target`, to be provisioned for the mover and given to `target` afterwards: empty, or with what a
    /// snapshot holds.
    pub(super) async fn stage(
        &self,
        target: &Object,
        origin: Option<(&str, &Held)>,
    ) -> Result<Object, DataError> {
        let mut spec = json!({});
        for field in [
            "accessModes",
            "volumeMode",
            "resources",
            "storageClassName",
            "volumeAttributesClassName",
        ] {
            if let Some(value) = target.pointer(&format!("/spec/{field}")) {
                spec[field] = value.clone();
            }
        }
        if let Some((snapshot, held)) = origin {
            let asked = target.pointer("/spec/resources/requests/storage");
            let size = asked.and_then(bytes).unwrap_or(0).max(held.size);
            spec["resources"]["requests"]["storage"] = size.to_string().into();
            spec["dataSource"] = source(snapshot);
        }
        self.claim(spec).await
    }

    async fn claim(&self, spec: Value) -> Result<Object, DataError> {
        let mut metadata = self.metadata();
        metadata["namespace"] = self.namespace.into();
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec,
        });
        let made = self.api.ensure(&CLAIM, claim).await?;
        self.settle(made).await
    }

    /// Gives a claim that binds at once the time to do so: a pod that is tried before sits in the
    /// scheduler's back-off for longer than the binding takes. Why one is late, its pod tells.
    async fn settle(&self, mut claim: Object) -> Result<Object, DataError> {
        if waits_for_consumer(self.api, &claim).await? {
            return Ok(claim);
        }
        let mut wait = Wait::begin();
        let mut nudges = 1;
        while claim.text("/status/phase") != Some("Bound") && wait.elapsed() < BIND {
            wait.pause().await;
            if wait.elapsed() > NUDGE * nudges {
                self.nudge(nudges).await?;
                nudges += 1;
            }
            let found = self
                .api
                .get(&CLAIM, Some(self.namespace), self.name)
                .await?;
            claim = found.ok_or_else(|| self.api.unusable("its temporary claim was deleted"))?;
        }
        Ok(claim)
    }

    /// Makes the volumes' controller look at the claim again. Its two workers, one for volumes and one
    /// for claims, disturb each other on a claim whose volume is there already; the claim then waits for
    /// the controller's resync, up to 15 s, unless it changes.
    pub(super) async fn nudge(&self, nudges: u32) -> Result<(), DataError> {
        let patch = json!({"metadata": {"annotations": {names::LOOKS: nudges.to_string()}}});
        self.api
            .merge(&CLAIM, Some(self.namespace), self.name, patch)
            .await?;
        Ok(())
    }

    /// Removes the claim and waits until it is gone.
    pub(super) async fn release_claim(&self) -> Result<(), DataError> {
        let claim = self
            .api
            .get(&CLAIM, Some(self.namespace), self.name)
            .await?;
        if let Some(claim) = claim
            && let Err(error) = goes_with_claim(self.api, &claim).await
        {
            // The data has arrived; a volume too many is no reason to carry it again.
            tracing::warn!(%error, claim = self.api.claim, "the temporary volume may stay behind");
        }
        self.api
            .delete(&CLAIM, Some(self.namespace), self.name)
            .await?;
        self.gone(&CLAIM, Some(self.namespace), self.name).await
    }

    /// Removes the twin, if there was one.
    pub(super) async fn release_twin(&self) -> Result<(), DataError> {
        self.api.delete(&VOLUME, None, self.name).await?;
        self.gone(&VOLUME, None, self.name).await
    }

    /// Takes the staged volume, proven to hold a snapshot, from Ferry's claim and binds it to the one
    /// it is for.
    pub(super) async fn give(&self, target: &Object, holds: &str) -> Result<(), DataError> {
        let volume = match self.staged(holds).await? {
            Some(volume) => volume,
            None => self.keep(holds).await?,
        };
        let name = volume.name().to_owned();
        self.api
            .delete(&CLAIM, Some(self.namespace), self.name)
            .await?;
        self.gone(&CLAIM, Some(self.namespace), self.name).await?;
        let reference = json!({"spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": target.namespace(), "name": target.name(), "uid": target.uid(),
            "resourceVersion": Value::Null,
        }}});
        self.api.merge(&VOLUME, None, &name, reference).await?;
        self.bound(target, &name).await?;
        let policy = volume.annotation(RECLAIM).unwrap_or("Delete");
        self.api
            .merge(&VOLUME, None, &name, back_to_normal(policy))
            .await?;
        Ok(())
    }

    /// The volume that an earlier attempt had proven and not yet given away.
    pub(super) async fn staged(&self, holds: &str) -> Result<Option<Object>, DataError> {
        let volumes = self
            .api
            .list(&VOLUME, None, Some(names::selector(self.run)))
            .await?;
        Ok(volumes.into_iter().find(|volume| {
            volume.annotation(ROLE) == Some(STAGE)
                && volume.annotation(names::CLAIM) == Some(&self.api.claim)
                && volume.annotation(HOLDS) == Some(holds)
        }))
    }

    /// Marks the volume of Ferry's claim, so that it outlives that claim.
    async fn keep(&self, holds: &str) -> Result<Object, DataError> {
        let claim = self
            .api
            .get(&CLAIM, Some(self.namespace), self.name)
            .await?;
        let name = claim
            .as_ref()
            .and_then(|claim| claim.text("/spec/volumeName"));
        let name = name.ok_or_else(|| self.api.unusable("its staged volume is gone; run again"))?;
        let volume = self.api.get(&VOLUME, None, name).await?;
        let volume =
            volume.ok_or_else(|| self.api.unusable("its staged volume is gone; run again"))?;
        let policy = volume
            .text("/spec/persistentVolumeReclaimPolicy")
            .unwrap_or("Delete");
        let patch = json!({
            "metadata": {
                "labels": {names::RUN: self.run},
                "annotations": {names::CLAIM: self.api.claim, ROLE: STAGE, RECLAIM: policy, HOLDS: holds},
            },
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        });
        self.api.merge(&VOLUME, None, name, patch).await
    }

    /// Waits until the claim is bound, and to this volume: a pod that was started meanwhile makes the
    /// provisioner bind an empty one.
    async fn bound(&self, target: &Object, volume: &str) -> Result<(), DataError> {
        let mut wait = Wait::begin();
        let namespace = target.namespace().unwrap_or_default();
        loop {
            let claim = self.api.get(&CLAIM, Some(namespace), target.name()).await?;
            let claim = claim.ok_or_else(|| self.api.unusable("it was deleted meanwhile"))?;
            if let Some(other) = claim
                .text("/spec/volumeName")
                .filter(|name| *name != volume)
            {
                return Err(self.api.unusable(format!(
                    "it was bound to another volume, {other}, while its data was being restored: \
                     something used it meanwhile; stop that and resume, which loads into {other}"
                )));
            }
            if claim.text("/status/phase") == Some("Bound") {
                return Ok(());
            }
            if wait.elapsed() > SETTLE {
                let why = self
                    .api
                    .complaint("PersistentVolumeClaim", namespace, target.name())
                    .await;
                let why = why.unwrap_or_else(|| "the controller says nothing".into());
                return Err(self
                    .api
                    .unusable(format!("it does not bind to its restored volume: {why}")));
            }
            wait.pause().await;
        }
    }

    async fn gone(
        &self,
        kind: &super::api::Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), DataError> {
        let mut wait = Wait::begin();
        while self.api.get(kind, namespace, name).await?.is_some() {
            if wait.elapsed() > SETTLE {
                let kind = &kind.kind;
                return Err(self.api.unusable(format!(
                    "Ferry's {kind} {name} is not removed; see its finalizers"
                )));
            }
            wait.pause().await;
        }
        Ok(())
    }
}

/// A VolumeSnapshot as what a claim of its namespace is made of.
fn source(snapshot: &str) -> Value {
    json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot})
}

/// Lets the volume that was provisioned for one of Ferry's own claims go with that claim, also where
/// its class says Retain: nobody else knows of it. A volume that was there before the claim, a twin,
/// or one on its way to its claim is left as it is.
pub(super) async fn goes_with_claim(api: &Api, claim: &Object) -> Result<(), DataError> {
    let Some(name) = claim.text("/spec/volumeName") else {
        return Ok(());
    };
    let Some(volume) = api.get(&VOLUME, None, name).await? else {
        return Ok(());
    };
    if made_for(&volume, claim) {
        let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
        api.merge(&VOLUME, None, name, patch).await?;
    }
    Ok(())
}

/// Whether a volume that would be retained was provisioned for this very claim and for nothing else.
fn made_for(volume: &Object, claim: &Object) -> bool {
    let created = |object: &Object| {
        object
            .text("/metadata/creationTimestamp")
            .map(str::to_owned)
    };
    volume.text("/spec/persistentVolumeReclaimPolicy") == Some("Retain")
        && volume.annotation(ROLE).is_none()
        && volume.annotation(PROVISIONED).is_some()
        && claim.uid().is_some()
        && volume.text("/spec/claimRef/uid") == claim.uid()
        && created(volume) >= created(claim)
}

/// What makes a staged volume an ordinary one.
pub(super) fn back_to_normal(policy: &str) -> Value {
    json!({
        "metadata": {
            "labels": {names::RUN: Value::Null},
            "annotations": {names::CLAIM: Value::Null, ROLE: Value::Null, RECLAIM: Value::Null, HOLDS: Value::Null},
        },
        "spec": {"persistentVolumeReclaimPolicy": policy},
    })
}

/// A claim as it is now.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Bound to a volume.
    Bound { claim: Object },
    /// Waiting for the pod that uses it first.
    Waiting { claim: Object },
}

/// Reads a claim and its volume. A claim whose class binds at once is given time to.
pub(super) async fn state(api: &Api, namespace: &str, name: &str) -> Result<State, DataError> {
    let mut wait = Wait::begin();
    loop {
        let claim = present(api, namespace, name).await?;
        let bound = claim.text("/status/phase") == Some("Bound");
        if bound && claim.text("/spec/volumeName").is_some() {
            return Ok(State::Bound { claim });
        }
        if waits_for_consumer(api, &claim).await? {
            return Ok(State::Waiting { claim });
        }
        if wait.elapsed() > PROVISION {
            let why = api
                .complaint("PersistentVolumeClaim", namespace, name)
                .await;
            let why = why.unwrap_or_else(|| "no provisioner has spoken".into());
            return Err(api.unusable(format!("it is not provisioned: {why}")));
        }
        wait.pause().await;
    }
}

/// A claim that is there to stay.
pub(super) async fn present(api: &Api, namespace: &str, name: &str) -> Result<Object, DataError> {
    let claim = api.get(&CLAIM, Some(namespace), name).await?;
    let claim = claim.ok_or_else(|| api.unusable("it does not exist"))?;
    if claim.text("/status/phase") == Some("Lost") {
        return Err(api.unusable("its volume is lost"));
    }
    if claim.is_going() {
        return Err(api.unusable("it is being deleted"));
    }
    Ok(claim)
}

/// The volume behind a claim that is bound.
pub(super) async fn behind(api: &Api, claim: &Object) -> Result<Object, DataError> {
    let name = claim.text("/spec/volumeName").unwrap_or_default();
    let volume = api.get(&VOLUME, None, name).await?;
    volume.ok_or_else(|| api.unusable("its volume does not exist"))
}

pub(super) async fn waits_for_consumer(api: &Api, claim: &Object) -> Result<bool, DataError> {
    // Bound by its controller any moment now.
    if claim.text("/spec/volumeName").is_some() {
        return Ok(false);
    }
    let Some(class) = claim
        .text("/spec/storageClassName")
        .filter(|class| !class.is_empty())
    else {
        return Ok(false);
    };
    let class = api.get(&STORAGE_CLASS, None, class).await?.ok_or_else(|| {
        api.unusable(format!(
            "its StorageClass {class} does not exist; map it with a recipe"
        ))
    })?;
    Ok(class.text("/volumeBindingMode") == Some("WaitForFirstConsumer"))
}

/// Pods that mount a claim and have not ended.
async fn users(api: &Api, namespace: &str, claim: &str) -> Result<Vec<Object>, DataError> {
    let pods = api.list(&POD, Some(namespace), None).await?;
    let uses = |pod: &Object| is_live(pod) && mounts(pod, claim);
    Ok(pods.into_iter().filter(uses).collect())
}

/// Whether a pod may still write.
fn is_live(pod: &Object) -> bool {
    !pod.has_ended()
}

/// Whether a pod mounts a claim of its namespace.
fn mounts(pod: &Object, claim: &str) -> bool {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    volumes.into_iter().flatten().any(|volume| {
        let named = volume.pointer("/persistentVolumeClaim/claimName");
        named.and_then(Value::as_str) == Some(claim)
    })
}

/// Refuses a claim of B that something uses: its data would change under a running pod.
pub(super) async fn unused(api: &Api, namespace: &str, claim: &Object) -> Result<(), DataError> {
    let users = users(api, namespace, claim.name()).await?;
    match users.first() {
        None => Ok(()),
        Some(pod) => Err(api.unusable(format!(
            "Pod {namespace}/{} uses it; data is not written under a running pod: stop it, then resume",
            pod.name()
        ))),
    }
}

/// The node of a pod that uses a claim.
pub(super) async fn used_on(
    api: &Api,
    namespace: &str,
    claim: &Object,
) -> Result<Option<String>, DataError> {
    let pods = users(api, namespace, claim.name()).await?;
    let mut nodes = pods.iter().filter_map(|pod| pod.text("/spec/nodeName"));
    Ok(nodes.next().map(str::to_owned))
}

/// Labels of the node where a live claim is mounted, for a volume that one node at a time can reach.
pub(super) async fn node_of(
    api: &Api,
    namespace: &str,
    claim: &Object,
) -> Result<Option<Value>, DataError> {
    let shared = claim
        .pointer("/spec/accessModes")
        .and_then(Value::as_array)
        .is_some_and(|modes| {
            modes
                .iter()
                .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany")
        });
    if shared {
        return Ok(None);
    }
    let Some(node) = used_on(api, namespace, claim).await? else {
        return Ok(None);
    };
    const HOSTNAME: &str = "kubernetes.io/hostname";
    let label = match api.get(&NODE, None, &node).await {
        Ok(found) => found.and_then(|node| node.label(HOSTNAME).map(str::to_owned)),
        // Users without rights on nodes: the label is the name nearly everywhere.
        Err(_) => None,
    };
    Ok(Some(json!({HOSTNAME: label.unwrap_or(node)})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_retained_volume_provisioned_for_the_claim_goes_with_it() {
        let object = |value| Object::new(value).unwrap();
        let claim = object(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "c", "uid": "u", "creationTimestamp": "2026-11-21T10:00:00Z"},
        }));
        let volume = |pointer: &str, value: Value| {
            let mut volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {
                    "name": "pvc-u", "creationTimestamp": "2026-11-21T10:00:01Z",
                    "annotations": {"pv.kubernetes.io/provisioned-by": "csi"},
                },
                "spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": {"uid": "u"}},
            });
            if let Some(slot) = volume.pointer_mut(pointer) {
                *slot = value;
            }
            object(volume)
        };
        assert!(made_for(&volume("/none", Value::Null), &claim));
        for (pointer, value) in [
            ("/spec/persistentVolumeReclaimPolicy", json!("Delete")),
            ("/spec/claimRef/uid", json!("other")),
            ("/metadata/creationTimestamp", json!("2026-01-01T00:00:00Z")),
            ("/metadata/annotations", json!({})),
            (
                "/metadata/annotations",
                json!({"pv.kubernetes.io/provisioned-by": "csi", ROLE: STAGE}),
            ),
        ] {
            assert!(!made_for(&volume(pointer, value), &claim), "{pointer}");
        }
    }
}
