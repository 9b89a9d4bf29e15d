//! Takes a capture of a live cluster.

use std::collections::BTreeSet;

use super::classify::{Sorted, classify};
use super::error::CaptureError;
use super::{Capture, closure, listing, volumes};
use crate::cluster::rights::{self, Right};
use crate::cluster::{Cluster, Place, survey};
use crate::event::{Events, Stage};
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object};
use crate::surface::Surface;

/// What to capture.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Namespaces, in any order.
    pub namespaces: Vec<String>,
    /// A label selector that namespaced objects must fit; `None` for all.
    pub labels: Option<String>,
}

/// Captures namespaces: lists, sorts, sanitises. Reads only.
///
/// # Errors
/// [`CaptureError`]: a namespace that is not there, a kind the user may not list, a cluster that
/// does not answer.
pub async fn take(
    cluster: &Cluster,
    selection: &Selection,
    knowledge: &Knowledge,
    events: &Events,
) -> Result<Capture, CaptureError> {
    let Selection { namespaces, labels } = selection;
    let names: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    if names.is_empty() {
        return Err(CaptureError::NothingSelected);
    }
    let created = jiff::Timestamp::now();
    let surface = survey(cluster, events).await?;
    events.started(Stage::Capture);
    let table = &knowledge.sanitize;
    let found = read_namespaces(cluster, &surface, &names).await?;
    let order: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let listing =
        listing::list(cluster, &surface, &order, labels.as_deref(), table, events).await?;
    if !listing.denied.is_empty() {
        return Err(denied(cluster, listing.denied).await?);
    }
    let mut listed = listing.objects;
    listed.extend(found);
    listed.extend(closure::rbac(cluster, &surface, &names, &listed, events).await?);
    let Sorted {
        captured,
        mut dropped,
    } = classify(listed.clone(), table, &surface);
    dropped.extend(closure::classes(&captured, &surface, knowledge));
    let travel = captured.iter().map(|one| &one.object);
    dropped.extend(closure::definitions(travel, &surface));
    let volumes = volumes::volumes(cluster, &surface, &captured, &listed, events).await?;
    dropped.extend(volumes.dropped);
    dropped.sort_by(|a, b| a.id.cmp(&b.id));
    events.finished(
        Stage::Capture,
        format!(
            "{} objects of {} travel, {} stay, {} volumes hold data",
            captured.len(),
            order.join(", "),
            dropped.len(),
            volumes.volumes.len()
        ),
    );
    Ok(Capture {
        id: name(created),
        created,
        namespaces: order,
        objects: captured,
        dropped,
        volumes: volumes.volumes,
        surface,
    })
}

/// `YYYYMMDD-HHMMSS-xxxx`: sorts by time, and two of one second do not collide.
fn name(created: jiff::Timestamp) -> String {
    let mut random = [0_u8; 2];
    // Without randomness the time alone must do.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!(
        "{}-{}",
        created.strftime("%Y%m%d-%H%M%S"),
        hex::encode(random)
    )
}

async fn read_namespaces(
    cluster: &Cluster,
    surface: &Surface,
    names: &BTreeSet<&str>,
) -> Result<Vec<Object>, CaptureError> {
    let kind = GroupKind::new("", "Namespace");
    let Some(resource) = surface.resource(&kind, None) else {
        return Err(no_namespace(
            cluster,
            surface,
            names.iter().copied().collect(),
        ));
    };
    let (mut found, mut missing, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.iter().copied() {
        match cluster
            .get(Place {
                resource,
                namespace: None,
                name,
            })
            .await
        {
            Ok(Some(namespace)) => found.push(namespace),
            Ok(None) => missing.push(name),
            Err(error) if error.is_forbidden() => {
                refused.push(Right::new("get", "", "namespaces", Some(name)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !missing.is_empty() {
        return Err(no_namespace(cluster, surface, missing));
    }
    if !refused.is_empty() {
        return Err(denied(cluster, refused).await?);
    }
    Ok(found)
}

fn no_namespace(cluster: &Cluster, surface: &Surface, missing: Vec<&str>) -> CaptureError {
    let known: Vec<&str> = surface.of_kind("", "Namespace").map(Object::name).collect();
    let similar: Vec<String> = missing
        .iter()
        .flat_map(|name| similar::get_close_matches(*name, &known, 3, 0.6))
        .map(Into::into)
        .collect();
    CaptureError::NoNamespace {
        cluster: cluster.name().into(),
        names: missing.into_iter().map(Into::into).collect(),
        similar,
    }
}

async fn denied(cluster: &Cluster, rights: Vec<Right>) -> Result<CaptureError, CaptureError> {
    let user = rights::whoami(cluster).await?;
    Ok(CaptureError::Denied {
        cluster: cluster.name().into(),
        rights,
        user,
    })
}
