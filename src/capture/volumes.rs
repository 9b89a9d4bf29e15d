//! Claims whose data travels, and what is known of the volumes behind them.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::matching::Scene;
use super::{Captured, DropClass, Dropped, User, Volume, VolumeMode};
use crate::cluster::{Cluster, ClusterError, Place};
use crate::event::Events;
use crate::object::quantity::Quantity;
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::Surface;

/// Reads in flight at once.
const PARALLEL: usize = 8;

/// The claims and what is behind them.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// Bound claims, sorted.
    pub(super) volumes: Vec<Volume>,
    /// The volumes they are bound to, which stay.
    pub(super) dropped: Vec<Dropped>,
}

/// Describes every captured claim that is bound. A claim that is not holds no data; it travels as
/// an object only.
pub(super) async fn volumes(
    cluster: &Cluster,
    surface: &Surface,
    captured: &[Captured],
    mounts: &[Mount],
    events: &Events,
) -> Result<Volumes, ClusterError> {
    let mut bound: Vec<(&Object, String)> = Vec::new();
    let claims = captured.iter().map(|captured| &captured.raw);
    for claim in claims.filter(|object| object.is("", "PersistentVolumeClaim")) {
        match claim.text("/spec/volumeName") {
            Some(name) if !name.is_empty() => bound.push((claim, name.to_owned())),
            _ => events.notice(format!(
                "{} is not bound: it travels without data",
                claim.id()
            )),
        }
    }
    // Owned items: a stream of borrowed ones would keep this future from being spawned.
    let names: Vec<String> = bound.iter().map(|(_, name)| name.clone()).collect();
    let behind: Vec<Option<Object>> = stream::iter(names)
        .map(|name| async move { persistent_volume(cluster, surface, &name, events).await })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let mut found = Volumes::default();
    for ((claim, name), volume) in bound.iter().zip(&behind) {
        found
            .volumes
            .push(describe(claim, volume.as_ref(), mounts, surface));
        found.dropped.push(Dropped {
            id: ObjectId::cluster("", "PersistentVolume", name),
            rule: "S-17".into(),
            reason: "B provisions a volume of its own, into which the data is copied".into(),
            class: DropClass::Generated,
            produced_by: None,
        });
    }
    Ok(found)
}

async fn persistent_volume(
    cluster: &Cluster,
    surface: &Surface,
    name: &str,
    events: &Events,
) -> Result<Option<Object>, ClusterError> {
    let kind = GroupKind::new("", "PersistentVolume");
    let Some(resource) = surface.resource(&kind, None) else {
        return Ok(None);
    };
    match cluster
        .get(Place {
            resource,
            namespace: None,
            name,
        })
        .await
    {
        Err(error) if error.is_forbidden() => {
            events.warning(format!(
                "PersistentVolume {name} may not be read: no snapshot is possible, its claim's data \
                 is read live"
            ));
            Ok(None)
        }
        result => result,
    }
}

/// What is known of the volume of a claim; `volume` is the object behind it, where it was seen.
pub(super) fn describe(
    claim: &Object,
    volume: Option<&Object>,
    mounts: &[Mount],
    surface: &Surface,
) -> Volume {
    let id = claim.id();
    let mounting = || mounts.iter().filter(|mount| mount.claim == id);
    let access_modes: Vec<String> = strings(claim.pointer("/spec/accessModes"))
        .map(Into::into)
        .collect();
    let mounted_by: BTreeSet<ObjectId> = mounting().map(|mount| mount.workload.clone()).collect();
    let pods: BTreeSet<String> = mounting().map(|mount| mount.pod.clone()).collect();
    let single = !access_modes.iter().any(|mode| mode.ends_with("Many"));
    let attached = mounting()
        .filter(|_| single)
        .find_map(|mount| mount.node.as_deref());
    let pinned = volume.and_then(|volume| only_node(volume, surface));
    let size = [
        "/spec/resources/requests/storage",
        "/status/capacity/storage",
    ]
    .iter()
    .filter_map(|at| Quantity::parse(claim.text(at)?))
    .max();
    Volume {
        claim: claim.id(),
        mode: match claim.text("/spec/volumeMode") {
            Some("Block") => VolumeMode::Block,
            _ => VolumeMode::Filesystem,
        },
        capacity: size.map_or(0, Quantity::ceil),
        storage_class: claim.text("/spec/storageClassName").map(Into::into),
        driver: volume
            .and_then(|volume| volume.text("/spec/csi/driver"))
            .map(Into::into),
        access_modes,
        node: pinned.or_else(|| attached.map(Into::into)),
        mounted_by: mounted_by.into_iter().collect(),
        pods: pods.into_iter().collect(),
        user: mounting().map(|mount| mount.user.clone()).next(),
        together: None,
        saved: None,
    }
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// One claim in the hands of one pod that has not ended.
pub(super) struct Mount {
    claim: ObjectId,
    pod: String,
    /// The pod, or the workload at the top of its owners.
    workload: ObjectId,
    node: Option<String>,
    /// Whom the pod runs as.
    user: User,
}

/// What the pods among the objects mount.
pub(super) fn mounts(listed: &[Object]) -> Vec<Mount> {
    let scene = Scene::new(listed.iter());
    let pods = listed
        .iter()
        .filter(|object| object.is("", "Pod") && !object.has_ended());
    let mount = |pod: &Object| -> Vec<Mount> {
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        let volumes = volumes.into_iter().flatten();
        let names =
            volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        let namespace = pod.namespace().unwrap_or_default();
        names
            .map(|name| Mount {
                claim: ObjectId::namespaced("", "PersistentVolumeClaim", namespace, name),
                pod: pod.name().to_owned(),
                workload: scene.root(pod).unwrap_or(pod).id(),
                node: pod.text("/spec/nodeName").map(Into::into),
                user: User::of_pod(pod, name),
            })
            .collect()
    };
    pods.flat_map(mount).collect()
}

/// The node a volume is pinned to, when its affinity leaves just one.
fn only_node(volume: &Object, surface: &Surface) -> Option<String> {
    affinity(volume)?;
    let mut nodes = surface
        .of_kind("", "Node")
        .filter(|node| is_within_reach(volume, node));
    let node = nodes.next()?.name().to_owned();
    nodes.next().is_none().then_some(node)
}

/// Of which terms a node has to fit one; `None` when the volume can be reached from everywhere.
fn affinity(volume: &Object) -> Option<&Vec<Value>> {
    volume
        .pointer("/spec/nodeAffinity/required/nodeSelectorTerms")?
        .as_array()
}

/// Whether a volume can be reached from a node.
pub(crate) fn is_within_reach(volume: &Object, node: &Object) -> bool {
    affinity(volume).is_none_or(|terms| {
        terms.iter().any(|term| {
            let tests = term["matchExpressions"].as_array();
            tests.is_some_and(|tests| tests.iter().all(|test| agrees(node, test)))
        })
    })
}

/// Whether a node passes one expression. Provisioners write `In`; of others the node is presumed to.
fn agrees(node: &Object, test: &Value) -> bool {
    let label = test["key"].as_str().and_then(|key| node.label(key));
    match test["operator"].as_str() {
        Some("In") => {
            label.is_some_and(|label| strings(test.get("values")).any(|value| value == label))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::new(value).unwrap()
    }

    fn surface(nodes: &[&str]) -> Surface {
        Surface {
            cluster: crate::surface::ClusterIdentity {
                name: "a".into(),
                uid: String::new(),
                version: String::new(),
            },
            resources: Vec::new(),
            objects: nodes
                .iter()
                .map(|name| {
                    object(json!({"apiVersion": "v1", "kind": "Node", "metadata":
                        {"name": name, "labels": {"kubernetes.io/hostname": name}}}))
                })
                .collect(),
            unseen: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    #[test]
    fn a_claim_is_as_large_as_its_volume_and_mounted_by_the_workload_above_its_pods() {
        let claim = object(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-db-0", "namespace": "shop"},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "pv-1", "storageClassName": "fast",
                     "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"capacity": {"storage": "2Gi"}}}));
        let volume = object(json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pv-1"}, "spec": {"csi": {"driver": "csi.example.com"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}}}}));
        let listed = [
            object(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": {"name": "db", "namespace": "shop", "uid": "1"}})),
            object(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "db-0", "namespace": "shop", "uid": "2", "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1",
                     "controller": true}]},
                "spec": {"nodeName": "n2", "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]}})),
        ];
        let volume = describe(
            &claim,
            Some(&volume),
            &mounts(&listed),
            &surface(&["n1", "n2"]),
        );
        assert_eq!(volume.capacity, 2 << 30);
        assert_eq!(volume.driver.as_deref(), Some("csi.example.com"));
        assert_eq!(volume.node.as_deref(), Some("n2"));
        assert_eq!(
            volume.mounted_by,
            [ObjectId::namespaced("apps", "StatefulSet", "shop", "db")]
        );
    }
}
