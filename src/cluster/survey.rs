//! What a cluster can accept, read once. In two parts: who knows what is served can read the objects
//! behind it and, at the same time, what else there is to read.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};

use super::{Cluster, ClusterError, ListOptions};
use crate::event::{Event, Events, Stage};
use crate::object::{GroupKind, Object};
use crate::surface::{ApiResource, Surface};

/// Kinds the checks read: cluster-scoped ones, and what says which operators there are (C-30). A kind
/// the server does not serve is simply not there.
pub const SURFACE_KINDS: [(&str, &str); 16] = [
    ("", "Namespace"),
    ("", "Node"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("groupsnapshot.storage.k8s.io", "VolumeGroupSnapshotClass"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("operators.coreos.com", "ClusterServiceVersion"),
    ("quota.openshift.io", "ClusterResourceQuota"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttributesClass"),
    ("security.openshift.io", "SecurityContextConstraints"),
];

/// Lists in flight at once.
const PARALLEL: usize = 8;

/// Reads a cluster's surface: what it serves, and its classes, nodes and namespaces.
///
/// # Errors
/// When the cluster does not answer. A kind the user may not list is not an error: it is in
/// [`Surface::unseen`].
pub async fn survey(cluster: &Cluster, events: &Events) -> Result<Surface, ClusterError> {
    let mut surface = served(cluster, events).await?;
    let seen = seen(cluster, &surface, events).await?;
    seen.complete(&mut surface);
    Ok(surface)
}

/// The first part of a survey: what the cluster serves. The surface has no objects yet.
pub(crate) async fn served(cluster: &Cluster, events: &Events) -> Result<Surface, ClusterError> {
    events.started(Stage::Survey);
    let discovered = cluster.discover().await?;
    for api in &discovered.silent {
        events.warning(format!(
            "cluster {} registers the API {api} and its server does not answer",
            cluster.name()
        ));
    }
    Ok(Surface {
        cluster: cluster.identity().clone(),
        resources: discovered.resources,
        objects: Vec::new(),
        unseen: BTreeSet::new(),
        silent: discovered.silent.into_iter().collect(),
    })
}

/// The second part of a survey.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    objects: Vec<Object>,
    unseen: BTreeSet<GroupKind>,
}

impl Seen {
    /// Makes a surface whole.
    pub(crate) fn complete(self, surface: &mut Surface) {
        let Self { objects, unseen } = self;
        surface.objects = objects;
        surface.unseen = unseen;
    }
}

/// The second part of a survey: the objects behind what is served.
pub(crate) async fn seen(
    cluster: &Cluster,
    surface: &Surface,
    events: &Events,
) -> Result<Seen, ClusterError> {
    let kinds = SURFACE_KINDS.map(|(group, kind)| GroupKind::new(group, kind));
    let kinds = kinds.iter().filter_map(|kind| surface.resource(kind, None));
    // Owned items: a stream of borrowed ones would keep this future from being spawned.
    let kinds: Vec<ApiResource> = kinds.cloned().collect();
    let mut lists = stream::iter(kinds)
        .map(|resource| async move {
            // Copies in every namespace an operator watches say nothing new.
            let originals = || "!olm.copiedFrom".to_owned();
            let options = ListOptions {
                labels: (resource.group == "operators.coreos.com").then(originals),
                ..ListOptions::default()
            };
            let list = cluster.list(&resource, None, &options).await;
            (resource, list)
        })
        .buffer_unordered(PARALLEL);
    let mut seen = Seen::default();
    while let Some((resource, list)) = lists.next().await {
        match list {
            Ok(objects) => {
                events.send(Event::Listed {
                    kind: resource.group_kind().to_string(),
                    namespace: None,
                    count: objects.len() as u64,
                });
                seen.objects.extend(objects.into_iter().map(lean));
            }
            Err(error) if error.is_forbidden() => {
                seen.unseen.insert(resource.group_kind());
            }
            // The kind went away between discovery and now.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    seen.objects.sort_by_cached_key(Object::id);
    events.finished(
        Stage::Survey,
        format!(
            "{} ({}): {} resources served, {} cluster-wide objects",
            cluster.name(),
            surface.cluster.version,
            surface.resources.len(),
            seen.objects.len()
        ),
    );
    Ok(seen)
}

/// Leaves out what no check reads and what makes up most of the bytes.
fn lean(mut object: Object) -> Object {
    let node = object.is("", "Node");
    if let Some(metadata) = object.value_mut()["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    if node && let Some(status) = object.value_mut()["status"].as_object_mut() {
        status.remove("images");
    }
    object
}
