//! What B holds, and what it would answer (rule C-70). Reads and dry runs only: before the user has
//! confirmed a plan, nothing is written on B, not even a namespace to try things in.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{ApplyOptions, Cluster, ClusterError, MANAGER, Place};
use crate::capture::listing;
use crate::event::Events;
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::Surface;
use crate::target::{DryRun, NamespaceState, RUN_LABEL, SOURCE_ANNOTATION, TargetState};

/// Questions in flight at once.
const PARALLEL: usize = 8;

/// Asks B about objects that are to be applied.
///
/// # Errors
/// When B does not answer. What it refuses is an answer: [`DryRun::Rejected`].
pub async fn probe(
    cluster: &Cluster,
    surface: &Surface,
    objects: &[Object],
    events: &Events,
) -> Result<TargetState, ClusterError> {
    let mut state = TargetState::default();
    let homes: BTreeSet<String> = objects
        .iter()
        .filter_map(|object| match object.is("", "Namespace") {
            true => Some(object.name().to_owned()),
            false => object.namespace().map(Into::into),
        })
        .collect();
    let mut known = BTreeMap::new();
    for name in homes {
        let (now, held) = namespace(cluster, surface, &name, events).await?;
        known.extend(held);
        state.namespaces.insert(name, now);
    }
    let (namespaces, known) = (&state.namespaces, &known);
    let answers: Vec<(ObjectId, Option<Object>, DryRun)> = stream::iter(objects.to_vec())
        .map(|object| async move {
            let live = live(cluster, surface, &object, namespaces, known).await?;
            let dry_run = dry_run(cluster, surface, &object, namespaces).await?;
            Ok::<_, ClusterError>((object.id(), live, dry_run))
        })
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    for (id, live, dry_run) in answers {
        if let Some(live) = live {
            state.live.insert(id.clone(), live);
        }
        state.dry_run.insert(id, dry_run);
    }
    Ok(state)
}

type Held = BTreeMap<ObjectId, Object>;

/// What a namespace holds. Its content is what a capture of it would take along: the rest comes with
/// every namespace, or follows from what is there.
async fn namespace(
    cluster: &Cluster,
    surface: &Surface,
    name: &str,
    events: &Events,
) -> Result<(NamespaceState, Held), ClusterError> {
    let kind = GroupKind::new("", "Namespace");
    let Some(resource) = surface.resource(&kind, None) else {
        return Ok((NamespaceState::Absent, Held::new()));
    };
    match cluster
        .get(Place {
            resource,
            namespace: None,
            name,
        })
        .await
    {
        Ok(Some(namespace)) if namespace.is_going() => {
            return Ok((NamespaceState::Terminating, Held::new()));
        }
        Ok(Some(_)) => {}
        Ok(None) => return Ok((NamespaceState::Absent, Held::new())),
        // Who may work in a namespace may not always look at it; what it holds will tell.
        Err(error) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    let table = &Knowledge::builtin().sanitize;
    let names = [name.to_owned()];
    let listing = listing::list(
        cluster,
        surface,
        &names,
        &|_| true,
        table,
        &Events::silent(),
    )
    .await?;
    for right in &listing.denied {
        events.warning(format!(
            "cannot tell whether namespace {name} is empty: no right to {right}"
        ));
    }
    let held: Held = listing
        .objects
        .iter()
        .map(|object| (object.id(), object.clone()))
        .collect();
    let content =
        crate::capture::classify(listing.objects, &BTreeSet::new(), table, surface).captured;
    let mut state = (0, Vec::new(), BTreeSet::new());
    for captured in &content {
        state.0 += 1;
        match captured.raw.annotation(SOURCE_ANNOTATION) {
            Some(source) => {
                state.2.insert(source.to_owned());
            }
            None if captured.raw.label(RUN_LABEL).is_some() => {}
            None => state.1.push(captured.raw.id()),
        }
    }
    let (objects, foreign, stamped_by) = state;
    let state = match objects {
        0 => NamespaceState::Empty,
        objects => NamespaceState::Occupied {
            objects,
            foreign,
            stamped_by,
        },
    };
    Ok((state, held))
}

/// The object as it is on B, at the version in which it is to be applied.
async fn live(
    cluster: &Cluster,
    surface: &Surface,
    object: &Object,
    namespaces: &BTreeMap<String, NamespaceState>,
    known: &Held,
) -> Result<Option<Object>, ClusterError> {
    if absent(object, namespaces) {
        return Ok(None);
    }
    if let Some(live) = known.get(&object.id())
        && live.api_version() == object.api_version()
    {
        return Ok(Some(live.clone()));
    }
    match surface.resource(&object.group_kind(), Some(object.version())) {
        Some(resource) => cluster.get(Place::of(resource, object)).await,
        None => Ok(None),
    }
}

/// Whether the object's namespace is not there.
fn absent(object: &Object, namespaces: &BTreeMap<String, NamespaceState>) -> bool {
    object
        .namespace()
        .is_some_and(|name| matches!(namespaces.get(name), Some(NamespaceState::Absent)))
}

async fn dry_run(
    cluster: &Cluster,
    surface: &Surface,
    object: &Object,
    namespaces: &BTreeMap<String, NamespaceState>,
) -> Result<DryRun, ClusterError> {
    let unproven = |reason: String| Ok(DryRun::Unproven { reason });
    let Some(resource) = surface.resource(&object.group_kind(), Some(object.version())) else {
        return unproven(format!(
            "{} {} is not served",
            object.api_version(),
            object.kind()
        ));
    };
    if absent(object, namespaces) {
        return unproven("its namespace is not there yet".into());
    }
    let options = ApplyOptions {
        manager: MANAGER,
        force: false,
        dry_run: true,
    };
    match cluster.apply(resource, object, &options).await {
        Ok(object) => Ok(DryRun::Accepted { object }),
        Err(error) => match error.failure() {
            None => Err(error),
            Some(failure) => Ok(match doubt(failure.status, &failure.message) {
                Some(reason) => DryRun::Unproven {
                    reason: reason.into(),
                },
                None => DryRun::Rejected {
                    status: failure.status,
                    reason: failure.reason.clone(),
                    message: failure.message.clone(),
                },
            }),
        },
    }
}

/// Refusals that say nothing about the object itself (C-70 b, d; W-11).
fn doubt(status: u16, message: &str) -> Option<&'static str> {
    let has = |text: &str| message.contains(text);
    if status == 403 && has("error looking up service account") {
        return Some("its service account comes with the plan");
    }
    if status == 404 && has("rolebindings") {
        return Some("its role comes with the plan");
    }
    if status == 400 && has("dry run") && has("webhook") {
        return Some("an admission webhook of the target does not take part in dry runs");
    }
    if status == 500 && has("duplicate entries for key") {
        return Some("a list has an entry twice, which only a create accepts");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_70_and_w_11_what_a_dry_run_cannot_see_is_unproven_and_not_refused() {
        let account = "error looking up service account shop/web: serviceaccount \"web\" not found";
        assert!(doubt(403, account).is_some());
        assert!(doubt(500, "duplicate entries for key [name=\"A\"]").is_some());
        assert!(doubt(403, "exceeded quota: q1").is_none());
        assert!(doubt(422, "field is immutable").is_none());
    }
}
