//! What runs left on a cluster that nobody is going to finish.
//!
//! Who has the store resumes a run, or undoes it, and both clean up. Where the store is gone, or the person, everything
//! can still be found: what movers work with carries their run's label.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::api::{Api, CLAIM, NAMESPACE, POD, SECRET, SNAPSHOT, SNAPSHOT_CONTENT, VOLUME};
use super::group::Served;
use super::names::{self, DEPOT, FREEZE, MOVER, ROLE, RUN};
use super::{DataError, Depot, clean};
use crate::causes;
use crate::cluster::{Cluster, MANAGER};
use crate::object::{Object, ObjectId};
use crate::surface::ApiResource;

/// Within this a run may be between two movers, with nothing at work that could be seen.
const RECENT: Duration = Duration::from_secs(3600);

/// What one run, or one migration without a store, left on a cluster.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Whose it is.
    pub owner: Owner,
    /// Every object, sorted.
    pub objects: Vec<ObjectId>,
    /// Claims of the application that its label is still on, which is all that is removed of them; sorted.
    pub labelled: Vec<ObjectId>,
    /// When the newest of them was made.
    pub newest: Option<Timestamp>,
    /// Whether one of its pods has not ended.
    pub works: bool,
}

/// Whose leftovers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A run, or a capture, by its id.
    Run(String),
    /// A depot with somebody's data: `ferry store remove` is for those.
    Depot(String),
    /// The try to reach a depot, from the other cluster.
    Attempt(String),
}

impl Owner {
    /// The run's id, or the depot's name.
    pub fn id(&self) -> &str {
        match self {
            Self::Run(id) | Self::Depot(id) | Self::Attempt(id) => id,
        }
    }
}

impl Leftover {
    /// Whether somebody may still be at work with it: a pod has not ended, or something was made in the last hour.
    pub fn may_be_in_use(&self, now: Timestamp) -> bool {
        let age = |made: Timestamp| now.duration_since(made).unsigned_abs();
        self.works || self.newest.is_some_and(|made| age(made) < RECENT)
    }

    /// Removes it.
    ///
    /// # Errors
    /// With what could not be removed; the rest is.
    pub async fn remove(&self, cluster: &Cluster) -> Result<(), DataError> {
        match &self.owner {
            Owner::Run(run) => {
                let own = names::namespace(run);
                let places = self.objects.iter().chain(&self.labelled);
                let places = places.filter_map(|id| id.namespace.as_deref());
                let beside: BTreeSet<&str> = places.filter(|place| *place != own).collect();
                let beside: Vec<String> = beside.into_iter().map(Into::into).collect();
                clean::everything(cluster, run, &beside).await
            }
            Owner::Attempt(name) | Owner::Depot(name) => {
                let removed = Depot::remove(cluster, name).await;
                removed.map_err(|error| DataError::Clean {
                    run: name.clone(),
                    count: 1,
                    first: causes::in_one_line(&error),
                })
            }
        }
    }
}

/// Everything on a cluster that is Ferry's own and not part of an application.
///
/// # Errors
/// When the cluster does not answer, or does not let its user list over all namespaces.
pub async fn leftovers(cluster: &Cluster) -> Result<Vec<Leftover>, DataError> {
    let api = Api::new(cluster, "(any)");
    let mut found = BTreeMap::<Owner, Leftover>::new();
    let groups = Served::on(&api).await?.map(|served| served.groups());
    let looked_for: [(&ApiResource, &str); 9] = [
        (&NAMESPACE, RUN),
        (&POD, MOVER),
        (&SECRET, MOVER),
        (&CLAIM, MOVER),
        (&VOLUME, RUN),
        (&SNAPSHOT, RUN),
        (&SNAPSHOT_CONTENT, RUN),
        (&NAMESPACE, DEPOT),
        (&CLAIM, FREEZE),
    ];
    let groups = groups.iter().map(|kind| (kind, RUN));
    for (kind, label) in looked_for.into_iter().chain(groups) {
        for object in api.list(kind, None, Some(label.into())).await? {
            // What holds one that is going is listed for itself.
            if object.kind() == "Namespace" && object.is_going() {
                continue;
            }
            let Some(owner) = owner(&api, &object, label).await? else {
                continue;
            };
            let left = found.entry(owner.clone()).or_insert_with(|| Leftover {
                owner,
                objects: Vec::new(),
                labelled: Vec::new(),
                newest: None,
                works: false,
            });
            let made = match label {
                FREEZE => written(&object),
                _ => object.text("/metadata/creationTimestamp"),
            };
            left.newest = left.newest.max(made.and_then(|made| made.parse().ok()));
            left.works |= object.is("", "Pod") && !object.has_ended();
            match label {
                FREEZE => left.labelled.push(object.id()),
                _ => left.objects.push(object.id()),
            }
        }
    }
    for left in found.values_mut() {
        left.objects.sort();
        left.labelled.sort();
    }
    Ok(found.into_values().collect())
}

/// When Ferry wrote on an object of the application last.
fn written(object: &Object) -> Option<&str> {
    let managers = object.pointer("/metadata/managedFields")?.as_array()?;
    let own = managers.iter().filter(|entry| entry["manager"] == MANAGER);
    own.filter_map(|entry| entry["time"].as_str()).max()
}

/// Whose an object is; `None` for what a run restored, which is the application's.
async fn owner(api: &Api, object: &Object, label: &str) -> Result<Option<Owner>, DataError> {
    let Some(name) = object.label(label).map(str::to_owned) else {
        return Ok(None);
    };
    let ours = match object.kind() {
        "Namespace" if label == DEPOT => {
            let claims = api
                .list(&CLAIM, Some(object.name()), Some(DEPOT.into()))
                .await?;
            return Ok(Some(match claims.is_empty() {
                true => Owner::Attempt(name),
                false => Owner::Depot(name),
            }));
        }
        "Namespace" => object.name() == names::namespace(&name),
        "PersistentVolume" => object.annotation(ROLE).is_some(),
        "VolumeSnapshot" | "VolumeSnapshotContent" | "VolumeGroupSnapshot" => {
            object.annotation(names::CLAIM).is_some()
        }
        _ => true,
    };
    Ok(ours.then_some(Owner::Run(name)))
}
