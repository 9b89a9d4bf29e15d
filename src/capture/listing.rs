//! Everything in some namespaces, by discovery: no list of kinds can know what a cluster serves.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use crate::cluster::rights::Right;
use crate::cluster::{Cluster, ClusterError, ListOptions};
use crate::event::{Event, Events};
use crate::knowledge::sanitize::Sanitize;
use crate::object::{GroupKind, Object};
use crate::surface::{ApiResource, Surface};

/// Lists in flight at once: more do not make an API server faster, and each may hold a page.
const PARALLEL: usize = 8;

/// What was listed.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every object once, sorted by id.
    pub(crate) objects: Vec<Object>,
    /// What the user may not list.
    pub(crate) denied: Vec<Right>,
}

/// Lists all that is stored in the namespaces.
///
/// # Errors
/// When the cluster does not answer. A kind the user may not list is in [`Listing::denied`].
pub(crate) async fn list(
    cluster: &Cluster,
    surface: &Surface,
    namespaces: &[String],
    labels: Option<&str>,
    table: &Sanitize,
    events: &Events,
) -> Result<Listing, ClusterError> {
    let resources = listable(surface, table);
    let places: Vec<(ApiResource, String)> = resources
        .iter()
        .flat_map(|resource| {
            namespaces
                .iter()
                .map(|name| (resource.clone(), name.clone()))
        })
        .collect();
    let options = ListOptions {
        labels: labels.map(Into::into),
        fields: None,
    };
    let options = &options;
    let mut lists = stream::iter(places)
        .map(|(resource, namespace)| async move {
            let list = cluster.list(&resource, Some(&namespace), options).await;
            (resource, namespace, list)
        })
        .buffer_unordered(PARALLEL);
    let mut listing = Listing::default();
    while let Some((resource, namespace, list)) = lists.next().await {
        match list {
            Ok(objects) => {
                if !objects.is_empty() {
                    events.send(Event::Listed {
                        kind: resource.group_kind().to_string(),
                        namespace: Some(namespace),
                        count: objects.len() as u64,
                    });
                }
                listing.objects.extend(objects);
            }
            Err(error) if error.is_forbidden() => {
                let (group, plural) = (&resource.group, &resource.plural);
                listing
                    .denied
                    .push(Right::new("list", group, plural, Some(&namespace)));
            }
            // Gone since discovery, or a view that cannot be listed after all.
            Err(error) if matches!(error.status(), 404 | 405) => {
                tracing::debug!(%error, "not listed");
            }
            Err(error) => return Err(error),
        }
    }
    listing.objects = once(listing.objects);
    listing.denied.sort();
    Ok(listing)
}

/// One resource per group and kind, at its preferred version, that can be listed and is not skipped.
fn listable(surface: &Surface, table: &Sanitize) -> Vec<ApiResource> {
    let kinds: std::collections::BTreeSet<GroupKind> = surface
        .resources
        .iter()
        .filter(|resource| resource.namespaced)
        .map(ApiResource::group_kind)
        .collect();
    let skipped = |kind: &GroupKind| {
        table
            .skip
            .iter()
            .any(|row| row.kinds.iter().any(|glob| glob.fits(kind)))
    };
    kinds
        .iter()
        .filter(|kind| !skipped(kind))
        .filter_map(|kind| surface.resource(kind, None))
        .filter(|resource| {
            ["get", "list"]
                .iter()
                .all(|verb| resource.verbs.contains(*verb))
        })
        .cloned()
        .collect()
}

/// Two resources may show the same object under two groups; its UID tells.
fn once(objects: Vec<Object>) -> Vec<Object> {
    let mut unique: BTreeMap<String, Object> = BTreeMap::new();
    for object in objects {
        let uid = object
            .uid()
            .map_or_else(|| object.id().to_string(), Into::into);
        match unique.get(&uid) {
            Some(other) if strangeness(other) <= strangeness(&object) => {}
            _ => {
                unique.insert(uid, object);
            }
        }
    }
    let mut objects: Vec<Object> = unique.into_values().collect();
    objects.sort_by_cached_key(Object::id);
    objects
}

/// Of two views of one object, the one that more clusters know is kept.
fn strangeness(object: &Object) -> (bool, bool, &str) {
    let group = object.group();
    (
        group == "extensions",
        group.ends_with(".openshift.io"),
        group,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_served_under_two_groups_is_listed_once() {
        let view = |api_version: &str| {
            Object::new(json!({"apiVersion": api_version, "kind": "Ingress",
                "metadata": {"name": "web", "namespace": "shop", "uid": "7"}}))
            .unwrap()
        };
        let objects = once(vec![
            view("extensions/v1beta1"),
            view("networking.k8s.io/v1"),
        ]);
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0].group(), "networking.k8s.io");
    }
}
