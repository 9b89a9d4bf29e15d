//! Takes a capture of a live cluster.

use std::collections::BTreeSet;

use super::assemble::{Assembled, assemble};
use super::error::CaptureError;
use super::selection::{Chooser, Selection};
use super::{Capture, closure, listing, together, volumes};
use crate::cluster::rights::{self, Right};
use crate::cluster::{Cluster, ListOptions, Place, survey};
use crate::event::{Events, Stage};
use crate::finding::{Finding, Verdict};
use crate::knowledge::Knowledge;
use crate::moment;
use crate::object::{GroupKind, Object};
use crate::surface::{ApiResource, Surface};

/// Captures namespaces: lists, sorts, sanitises, chooses. Reads only.
///
/// It stops when something that belongs to the namespaces cannot be read, since nobody would know by
/// looking at B what is missing there; unless the selection allows it, and then the capture says so.
///
/// # Errors
/// [`CaptureError`]: a namespace that is not there, a kind the user may not list, an API without its
/// server, a cluster that does not answer.
pub async fn take(
    cluster: &Cluster,
    selection: &Selection,
    knowledge: &Knowledge,
    events: &Events,
) -> Result<Capture, CaptureError> {
    let names: BTreeSet<&str> = selection.namespaces.iter().map(String::as_str).collect();
    if names.is_empty() {
        return Err(CaptureError::NothingSelected);
    }
    let created = jiff::Timestamp::now();
    let Read {
        surface,
        listed,
        unread,
        mut findings,
    } = read(cluster, selection, knowledge, &names, events).await?;
    let (mounts, claims) = (volumes::mounts(&listed), together::claims(&listed));
    let Assembled {
        captured,
        mut dropped,
        findings: needs,
    } = assemble(listed, &unread, &surface, selection, knowledge);
    findings.extend(needs);
    let mut volumes = volumes::volumes(cluster, &surface, &captured, &mounts, events).await?;
    together::join(&mut volumes.volumes, &claims, &surface);
    dropped.extend(volumes.dropped);
    dropped.sort_by(|a, b| a.id.cmp(&b.id));
    let namespaces: Vec<String> = names.into_iter().map(Into::into).collect();
    events.finished(
        Stage::Capture,
        format!(
            "{} objects of {} travel, {} stay, {} volumes hold data",
            captured.len(),
            namespaces.join(", "),
            dropped.len(),
            volumes.volumes.len()
        ),
    );
    Ok(Capture {
        id: moment::name(created),
        created,
        namespaces,
        objects: captured,
        dropped,
        volumes: volumes.volumes,
        surface,
        findings,
    })
}

/// What there is, before any of it is judged.
struct Read {
    surface: Surface,
    listed: Vec<Object>,
    /// Kinds that were left out as a whole, or could not be listed.
    unread: BTreeSet<GroupKind>,
    findings: Vec<Finding>,
}

/// Reads the surface and the namespaces, side by side as soon as it is known what is served.
async fn read(
    cluster: &Cluster,
    selection: &Selection,
    knowledge: &Knowledge,
    names: &BTreeSet<&str>,
    events: &Events,
) -> Result<Read, CaptureError> {
    let mut surface = survey::served(cluster, events).await?;
    let chooser = Chooser::new(selection, &surface);
    let patterns = Chooser::unknown(selection, &chooser.kinds());
    if !patterns.is_empty() {
        return Err(CaptureError::UnknownKinds {
            cluster: cluster.name().into(),
            patterns,
        });
    }
    events.started(Stage::Capture);
    let wanted = |kind: &GroupKind| chooser.left_out(kind).is_none();
    let lists = async {
        // First whether they are there: nothing is listed for a name that was misspelt.
        let found = read_namespaces(cluster, &surface, names).await?;
        let order: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let table = &knowledge.sanitize;
        let listing = listing::list(cluster, &surface, &order, &wanted, table, events).await?;
        Ok::<_, CaptureError>((found, listing))
    };
    let (seen, lists, bindings) = tokio::join!(
        survey::seen(cluster, &surface, events),
        lists,
        closure::bindings(cluster, &surface, names),
    );
    let ((found, mut listing), (bindings, unseen)) = (lists?, bindings?);
    let mut unread = unanswered(&listing, &surface);
    let kinds = chooser.kinds().into_iter().map(|(kind, _)| kind);
    unread.extend(kinds.filter(|kind| !wanted(kind)));
    let mut findings = gaps(cluster, &mut listing, selection).await?;
    findings.extend(unseen);
    let mut listed = listing.objects;
    listed.extend(found);
    listed.extend(bindings);
    listed.extend(closure::roles(cluster, &surface, &listed, &mut findings).await?);
    seen?.complete(&mut surface);
    Ok(Read {
        surface,
        listed,
        unread,
        findings,
    })
}

/// The kinds that the user may not list, or whose server does not answer.
fn unanswered(listing: &listing::Listing, surface: &Surface) -> BTreeSet<GroupKind> {
    let is_one = |resource: &&ApiResource| {
        listing.silent.contains(&resource.api_version())
            || listing
                .denied
                .iter()
                .any(|right| (&right.group, &right.resource) == (&resource.group, &resource.plural))
    };
    let resources = surface.resources.iter().filter(is_one);
    resources.map(ApiResource::group_kind).collect()
}

/// What could not be listed: the reason to stop, or what to say of it when the user wants to go on.
async fn gaps(
    cluster: &Cluster,
    listing: &mut listing::Listing,
    selection: &Selection,
) -> Result<Vec<Finding>, CaptureError> {
    let rights = std::mem::take(&mut listing.denied);
    let apis: Vec<String> = std::mem::take(&mut listing.silent).into_iter().collect();
    if !selection.allow_incomplete {
        if !rights.is_empty() {
            return Err(denied(cluster, rights).await?);
        }
        if !apis.is_empty() {
            return Err(CaptureError::Silent {
                cluster: cluster.name().into(),
                apis,
            });
        }
    }
    let forbidden = rights.iter().map(|right| {
        Finding::new(Verdict::Warn, "C-61", "the capture is incomplete")
            .because(format!("the user may not {right} on the source cluster"))
            .remedy("capture again as a user who may, or see that the target has these objects")
    });
    let unanswered = apis.iter().map(|api| {
        Finding::new(Verdict::Warn, "E-3", "the capture is incomplete")
            .because(format!(
                "the server of {api} did not answer on the source cluster"
            ))
            .remedy("capture again when it does, or see that the target has these objects")
    });
    Ok(forbidden.chain(unanswered).collect())
}

async fn read_namespaces(
    cluster: &Cluster,
    surface: &Surface,
    names: &BTreeSet<&str>,
) -> Result<Vec<Object>, CaptureError> {
    let kind = GroupKind::new("", "Namespace");
    let Some(resource) = surface.resource(&kind, None) else {
        return Err(no_namespace(cluster, None, names.iter().copied().collect()).await);
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
        return Err(no_namespace(cluster, Some(resource), missing).await);
    }
    if !refused.is_empty() {
        return Err(denied(cluster, refused).await?);
    }
    Ok(found)
}

async fn no_namespace(
    cluster: &Cluster,
    namespaces: Option<&ApiResource>,
    missing: Vec<&str>,
) -> CaptureError {
    let known = match namespaces {
        // It only helps to find the right name: who may not list them has to know it.
        Some(resource) => cluster
            .list(resource, None, &ListOptions::default())
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let known: Vec<&str> = known.iter().map(Object::name).collect();
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
