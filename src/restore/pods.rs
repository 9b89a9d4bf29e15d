//! The pods of a workload, found by their owners.

use std::collections::BTreeMap;

use serde_json::Value;

use super::StepError;
use crate::cluster::{Cluster, ListOptions};
use crate::data::MOVER_LABEL;
use crate::object::{Object, ObjectId};
use crate::surface::ApiResource;

/// What may stand between a workload and its pods.
const BETWEEN: [(&str, &str); 3] = [
    ("apps", "ReplicaSet"),
    ("batch", "Job"),
    ("", "ReplicationController"),
];

/// One namespace of a cluster.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) served: &'a [ApiResource],
    pub(super) namespace: &'a str,
}

/// The pods of a namespace that have not ended, and what stands between them and their workloads.
pub(super) struct Pods {
    pub(super) live: Vec<Object>,
    between: BTreeMap<(&'static str, String), Object>,
}

impl Home<'_> {
    pub(super) async fn list(&self, group: &str, kind: &str) -> Result<Vec<Object>, StepError> {
        let served = self
            .served
            .iter()
            .find(|one| one.group == group && one.kind == kind && one.preferred);
        let Some(resource) = served else {
            return Ok(Vec::new());
        };
        let options = ListOptions::default();
        let listed = self.cluster.list(resource, Some(self.namespace), &options);
        Ok(listed.await?)
    }

    /// The application's pods, without those that have ended.
    pub(super) async fn pods(&self) -> Result<Pods, StepError> {
        // A mover only reads, also where it works beside the application.
        let counts = |pod: &Object| !pod.has_ended() && pod.label(MOVER_LABEL).is_none();
        let pods = self.list("", "Pod").await?;
        let live: Vec<Object> = pods.into_iter().filter(counts).collect();
        let mut between = BTreeMap::new();
        if !live.is_empty() {
            for (group, kind) in BETWEEN {
                for object in self.list(group, kind).await? {
                    between.insert((kind, object.name().to_owned()), object);
                }
            }
        }
        Ok(Pods { live, between })
    }
}

impl Pods {
    /// Whether one of some workloads is the object or among its owners.
    pub(super) fn belong(&self, object: &Object, to: &dyn Fn(&str, &str) -> bool) -> bool {
        let owners = object.pointer("/metadata/ownerReferences");
        let owners = owners.and_then(Value::as_array).into_iter().flatten();
        owners
            .filter_map(|owner| Some((owner["kind"].as_str()?, owner["name"].as_str()?)))
            .any(|(kind, name)| {
                to(kind, name)
                    || self.between.iter().any(|((between, named), owner)| {
                        *between == kind && named == name && self.belong(owner, to)
                    })
            })
    }

    /// The pods of one workload that are not being deleted, in order of name.
    pub(super) fn of(&self, workload: &ObjectId) -> Vec<&Object> {
        let is = |kind: &str, name: &str| workload.kind == kind && workload.name == name;
        let mine =
            |pod: &&Object| !pod.is_going() && (pod.id_ref() == workload || self.belong(pod, &is));
        let mut pods: Vec<&Object> = self.live.iter().filter(mine).collect();
        pods.sort_by_key(|pod| pod.name().to_owned());
        pods
    }
}
