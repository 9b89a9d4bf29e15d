//! Which claims one node must reach: those that a pod mounts together.
//!
//! What joins them is a pod that runs, or the pods that a workload would make: one that is scaled to zero has none, and
//! those of an operator's own kind are known by what runs alone. A claim that many nodes reach at once joins nothing,
//! wherever it is mounted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Capture, Volume};
use crate::object::{Object, ObjectId};

const CLAIM: &str = "PersistentVolumeClaim";

impl Capture {
    /// The claims on A that must be on one node with others, each with those others, sorted. Two pods that share a
    /// claim of one node join what either mounts.
    pub fn mounted_together(&self) -> BTreeMap<&ObjectId, Vec<&ObjectId>> {
        mounted_together(
            &self.volumes,
            self.objects.iter().map(|captured| &captured.object),
        )
    }
}

fn mounted_together<'a>(
    volumes: &'a [Volume],
    objects: impl Iterator<Item = &'a Object>,
) -> BTreeMap<&'a ObjectId, Vec<&'a ObjectId>> {
    let shared = |volume: &Volume| {
        volume
            .access_modes
            .iter()
            .any(|mode| mode.ends_with("Many"))
    };
    let volumes = || volumes.iter().filter(|volume| !shared(volume));
    let claims: BTreeSet<&ObjectId> = volumes().map(|volume| &volume.claim).collect();
    let mut mounted = BTreeMap::<_, BTreeSet<&ObjectId>>::new();
    for volume in volumes() {
        let namespace = volume.claim.namespace.as_deref();
        for pod in &volume.pods {
            let mounts = mounted.entry((namespace, pod.as_str())).or_default();
            mounts.insert(&volume.claim);
        }
    }
    let made = objects.flat_map(|object| made(object, &claims));
    let mut together = BTreeMap::new();
    for all in join(mounted.into_values().chain(made)) {
        for one in all.iter().filter(|_| all.len() > 1) {
            let others = all.iter().filter(|other| *other != one);
            together.insert(*one, others.copied().collect());
        }
    }
    together
}

/// What each of the pods that a workload makes mounts of these claims.
fn made<'a>(workload: &Object, claims: &BTreeSet<&'a ObjectId>) -> Vec<BTreeSet<&'a ObjectId>> {
    let (Some(namespace), Some(spec)) = (workload.namespace(), workload.pod_spec()) else {
        return Vec::new();
    };
    let find = |name: &str| {
        let id = ObjectId::namespaced("", CLAIM, namespace, name);
        claims.get(&id).copied()
    };
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let named = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    let shared: BTreeSet<&ObjectId> = named.filter_map(find).collect();
    let mut pods = BTreeMap::from([(None, shared.clone())]);
    let templates = workload
        .pointer("/spec/volumeClaimTemplates")
        .and_then(Value::as_array);
    for template in templates.into_iter().flatten() {
        let Some(name) = template.pointer("/metadata/name").and_then(Value::as_str) else {
            continue;
        };
        let prefix = format!("{name}-{}-", workload.name());
        let first = ObjectId::namespaced("", CLAIM, namespace, &prefix);
        let named = claims.range::<ObjectId, _>(first..).take_while(|id| {
            id.namespace.as_deref() == Some(namespace) && id.name.starts_with(&prefix)
        });
        for claim in named {
            if let Ok(ordinal) = claim.name[prefix.len()..].parse::<u32>() {
                let pod = pods.entry(Some(ordinal)).or_insert_with(|| shared.clone());
                pod.insert(claim);
            }
        }
    }
    pods.into_values().collect()
}

/// Joins sets that have something in common.
fn join<'a>(sets: impl Iterator<Item = BTreeSet<&'a ObjectId>>) -> Vec<BTreeSet<&'a ObjectId>> {
    let mut joined = Vec::<BTreeSet<&ObjectId>>::new();
    let mut places = BTreeMap::<&ObjectId, usize>::new();
    for mut set in sets {
        let touched: BTreeSet<usize> = set
            .iter()
            .filter_map(|id| places.get(id).copied())
            .collect();
        for place in touched {
            set.append(&mut joined[place]);
        }
        places.extend(set.iter().map(|id| (*id, joined.len())));
        joined.push(set);
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capture::VolumeMode;

    fn volume(name: &str, mode: &str, pods: &[&str]) -> Volume {
        Volume {
            claim: ObjectId::namespaced("", CLAIM, "shop", name),
            mode: VolumeMode::Filesystem,
            capacity: 1,
            storage_class: None,
            driver: None,
            access_modes: vec![mode.into()],
            node: None,
            mounted_by: Vec::new(),
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            user: None,
            together: None,
            saved: None,
        }
    }

    /// `a: b c` for each claim that is not alone.
    fn told(volumes: &[Volume], objects: &[Value]) -> Vec<String> {
        let objects: Vec<Object> = objects
            .iter()
            .map(|value| Object::new(value.clone()).unwrap())
            .collect();
        let line = |(one, others): (&ObjectId, Vec<&ObjectId>)| {
            let others: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
            format!("{}: {}", one.name, others.join(" "))
        };
        mounted_together(volumes, objects.iter())
            .into_iter()
            .map(line)
            .collect()
    }

    #[test]
    fn claims_of_one_pod_are_together_and_those_of_its_sibling_are_not() {
        let volumes = [
            volume("data-db-0", "ReadWriteOnce", &["db-0"]),
            volume("data-db-1", "ReadWriteOnce", &["db-1"]),
            volume("wal-db-0", "ReadWriteOncePod", &["db-0"]),
            volume("wal-db-1", "ReadWriteOnce", &["db-1"]),
            volume("unused", "ReadWriteOnce", &[]),
        ];
        let told = told(&volumes, &[]);
        let wanted = [
            "data-db-0: wal-db-0",
            "data-db-1: wal-db-1",
            "wal-db-0: data-db-0",
            "wal-db-1: data-db-1",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn pods_that_share_a_claim_of_one_node_join_the_rest_and_a_claim_of_many_nodes_joins_nothing() {
        let volumes = [
            volume("a", "ReadWriteOnce", &["p"]),
            volume("b", "ReadWriteOnce", &["q"]),
            volume("c", "ReadWriteOnce", &["p", "q"]),
            volume("d", "ReadWriteOnce", &["r"]),
            volume("everywhere", "ReadWriteMany", &["p", "q", "r"]),
        ];
        assert_eq!(told(&volumes, &[]), ["a: b c", "b: a c", "c: a b"]);
    }

    #[test]
    fn workloads_that_are_scaled_to_zero_say_what_their_pods_would_mount() {
        let volumes: Vec<Volume> = [
            "config",
            "data-db-0",
            "data-db-1",
            "files",
            "wal-db-0",
            "data-db-x",
        ]
        .iter()
        .map(|name| volume(name, "ReadWriteOnce", &[]))
        .collect();
        let mounts = |names: &[&str]| -> Value {
            let claims = names
                .iter()
                .map(|name| json!({"persistentVolumeClaim": {"claimName": name}}));
            json!({"spec": {"volumes": claims.collect::<Vec<_>>()}})
        };
        let database = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "shop"},
            "spec": {
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "wal"}}],
                "template": mounts(&[]),
            },
        });
        let report = json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report", "namespace": "shop"},
            "spec": {"jobTemplate": {"spec": {"template": mounts(&["config", "files", "elsewhere"])}}},
        });
        let wanted = [
            "config: files",
            "data-db-0: wal-db-0",
            "files: config",
            "wal-db-0: data-db-0",
        ];
        assert_eq!(told(&volumes, &[database, report]), wanted);
    }
}
