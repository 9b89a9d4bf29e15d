//! Everything in some namespaces, by discovery: no list of kinds can know what a cluster serves.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt, HashSet};
use futures::stream::{self, StreamExt};

use crate::cluster::rights::Right;
use crate::cluster::{Cluster, ClusterError, ListOptions};
use crate::event::{Event, Events};
use crate::knowledge::sanitize::Sanitize;
use crate::object::{GroupKind, Object, ObjectId};
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
    /// APIs whose server does not answer, as `group/version`.
    pub(crate) silent: BTreeSet<String>,
}

/// Which kinds to list; those the rules never list are left out anyhow.
pub(crate) type Wanted<'a> = &'a (dyn Fn(&GroupKind) -> bool + Sync);

/// Lists all that is stored in the namespaces.
///
/// # Errors
/// When the cluster does not answer. A kind the user may not list is in [`Listing::denied`], one whose
/// own server is down in [`Listing::silent`].
pub(crate) async fn list(
    cluster: &Cluster,
    surface: &Surface,
    namespaces: &[String],
    wanted: Wanted<'_>,
    table: &Sanitize,
    events: &Events,
) -> Result<Listing, ClusterError> {
    let resources = listable(surface, wanted, table);
    let places: Vec<(ApiResource, String)> = resources
        .iter()
        .flat_map(|resource| {
            let names = namespaces.iter();
            names.map(|name| (resource.clone(), name.clone()))
        })
        .collect();
    let options = &ListOptions::default();
    let mut lists = stream::iter(places)
        .map(|(resource, namespace)| async move {
            let list = cluster.list(&resource, Some(&namespace), options).await;
            (resource, namespace, list)
        })
        .buffer_unordered(PARALLEL);
    let mut listing = Listing {
        silent: silent(surface, table),
        ..Listing::default()
    };
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
            // The API server itself answers; the one behind it, for this group, does not.
            Err(error) if error.status() == 503 && resource.group.contains('.') => {
                listing.silent.insert(resource.api_version());
            }
            Err(error) => return Err(error),
        }
    }
    listing.objects = once(listing.objects);
    listing.denied.sort();
    Ok(listing)
}

/// One resource per group and kind, at its preferred version, that can be listed and is not skipped.
fn listable(surface: &Surface, wanted: Wanted<'_>, table: &Sanitize) -> Vec<ApiResource> {
    let kinds: BTreeSet<GroupKind> = surface
        .resources
        .iter()
        .filter(|resource| resource.namespaced)
        .map(ApiResource::group_kind)
        .collect();
    kinds
        .iter()
        .filter(|kind| !skipped(kind, table) && wanted(kind))
        .filter_map(|kind| surface.resource(kind, None))
        .filter(|resource| !surface.silent.contains(&resource.api_version()))
        .filter(|resource| {
            ["get", "list"]
                .iter()
                .all(|verb| resource.verbs.contains(*verb))
        })
        .cloned()
        .collect()
}

fn skipped(kind: &GroupKind, table: &Sanitize) -> bool {
    let mut globs = table.skip.iter().flat_map(|row| &row.kinds);
    globs.any(|glob| glob.fits(kind))
}

/// The silent APIs that may hold objects: what a group only measures is not missed.
fn silent(surface: &Surface, table: &Sanitize) -> BTreeSet<String> {
    let group = |api: &&String| {
        api.split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned()
    };
    let missed = |api: &&String| !skipped(&GroupKind::new(group(api), "*"), table);
    surface.silent.iter().filter(missed).cloned().collect()
}

/// Two resources may show the same object under two groups; its UID tells. Sorted by id.
pub(super) fn once(mut objects: Vec<Object>) -> Vec<Object> {
    let mut views: HashMap<Same<'_>, usize> = HashMap::with_capacity(objects.len());
    for (position, object) in objects.iter().enumerate() {
        let same = object
            .uid()
            .map_or_else(|| Same::Id(object.id()), Same::Uid);
        let kept = views.entry(same).or_insert(position);
        if strangeness(object) < strangeness(&objects[*kept]) {
            *kept = position;
        }
    }
    let kept: HashSet<usize> = views.into_values().collect();
    let mut position = 0..;
    objects.retain(|_| position.next().is_some_and(|at| kept.contains(&at)));
    objects.sort_by(|a, b| {
        a.id_ref()
            .cmp(b.id_ref())
            .then_with(|| a.uid().cmp(&b.uid()))
    });
    objects
}

/// By what an object is known again.
#[derive(PartialEq, Eq, Hash)]
enum Same<'o> {
    Uid(&'o str),
    Id(ObjectId),
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
