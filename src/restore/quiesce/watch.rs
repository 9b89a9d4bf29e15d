//! What runs in one namespace of A, and what its pods tell of themselves.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{place, resource, still_to_hold};
use crate::cluster::Cluster;
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Hold, Plan};
use crate::restore::StepError;
use crate::restore::pods::Home;
use crate::surface::ApiResource;

/// Pods named when they are waited for; the rest is counted.
const NAMED: usize = 3;
/// Seconds that a container's start is believed to take beyond what its probes ask for.
const START: f64 = 60.0;
/// What runs in one namespace of A.
pub(super) struct Watch<'a> {
    home: Home<'a>,
    held: BTreeMap<&'a ObjectId, &'a [Hold]>,
    claims: BTreeSet<&'a str>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        source: &'a Cluster,
        served: &'a [ApiResource],
        namespace: &'a str,
    ) -> Self {
        let here = |id: &ObjectId| id.namespace.as_deref() == Some(namespace);
        let (mut held, mut claims) = (BTreeMap::new(), BTreeSet::new());
        for step in plan.steps.iter().filter(|step| here(&step.object)) {
            match &step.action {
                Action::Quiesce { holds } => drop(held.insert(&step.object, holds.as_slice())),
                Action::Save(_) => drop(claims.insert(step.object.name.as_str())),
                _ => {}
            }
        }
        Self {
            home: Home {
                cluster: source,
                served,
                namespace,
            },
            held,
            claims,
        }
    }

    /// A workload that something else has given back: a reconciler, an autoscaler, a colleague.
    pub(super) async fn given_back(&self) -> Result<Option<&'a ObjectId>, StepError> {
        for (id, holds) in &self.held {
            let place = place(resource(self.home.served, id)?, id);
            let live = self.home.cluster.get(place).await?;
            if live.is_some_and(|live| still_to_hold(holds, &live).is_some()) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    /// Pods that mount a claim that moves, or belong to a workload that is held.
    pub(super) async fn running(&self) -> Result<Vec<Object>, StepError> {
        let pods = self.home.pods().await?;
        let held = |kind: &str, name: &str| {
            let mut held = self.held.keys();
            held.any(|id| id.kind == kind && id.name == name)
        };
        let counts = |pod: &&Object| self.mounts(pod) || pods.belong(pod, &held);
        Ok(pods.live.iter().filter(counts).cloned().collect())
    }

    fn mounts(&self, pod: &Object) -> bool {
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        let claim = |volume: &Value| {
            let name = volume
                .pointer("/persistentVolumeClaim/claimName")?
                .as_str()?;
            Some(self.claims.contains(name))
        };
        volumes
            .into_iter()
            .flatten()
            .any(|volume| claim(volume) == Some(true))
    }
}

/// `Pod a, b, c and 4 more`.
pub(super) fn in_words(pods: &[Object]) -> String {
    let named: Vec<&str> = pods.iter().take(NAMED).map(Object::name).collect();
    let named = named.join(", ");
    match pods.len().saturating_sub(NAMED) {
        0 => format!("Pod {named}"),
        more => format!("Pod {named} and {more} more"),
    }
}

/// What the pods of A that a plan stops say of how long they take; seconds.
#[derive(Clone, Copy, Debug)]
pub struct PodTimes {
    /// The slowest workload's way to become ready: so long it will take on B.
    pub start: f64,
    /// Whether every pod tells: one that was not ready for a while does not say how it started.
    pub told: bool,
    /// The longest grace of one that does not end when it is asked to.
    pub grace: u64,
}

impl Default for PodTimes {
    fn default() -> Self {
        Self {
            start: 0.0,
            told: true,
            grace: 0,
        }
    }
}

/// Reads them off the pods that run now.
///
/// # Errors
/// When A does not answer.
pub async fn pod_times(source: &Cluster, plan: &Plan) -> Result<PodTimes, StepError> {
    let served = source.served().await?;
    let mut times = PodTimes::default();
    for (namespace, _) in &plan.namespaces {
        let mut starts = BTreeMap::<String, f64>::new();
        let watch = Watch::new(plan, source, &served, namespace);
        let once = once(
            &watch.home.list("batch", "Job").await?,
            &watch.home.list("", "Pod").await?,
        );
        for pod in watch.running().await? {
            let grace = pod.pointer("/spec/terminationGracePeriodSeconds");
            times.grace = times.grace.max(grace.and_then(Value::as_u64).unwrap_or(0));
            let Some(Start { seconds, told }) = start_of(&pod, &once) else {
                continue;
            };
            times.told &= told;
            let ordered = owner(&pod, "StatefulSet").unwrap_or_else(|| pod.name().to_owned());
            *starts.entry(ordered).or_default() += seconds;
        }
        // Pods of a StatefulSet start one after the other.
        times.start = starts.into_values().fold(times.start, f64::max);
    }
    Ok(times)
}

/// When the Jobs that run only once ended, as one that fills a database does: what a pod waited for them it
/// does not wait again.
fn once(jobs: &[Object], pods: &[Object]) -> Vec<Timestamp> {
    let runs_once = |name: &str| {
        jobs.iter()
            .any(|job| job.name() == name && owner(job, "CronJob").is_none())
    };
    let ended = |pod: &&Object| {
        pod.text("/status/phase") == Some("Succeeded")
            && owner(pod, "Job").is_some_and(|job| runs_once(&job))
    };
    let times = pods.iter().filter(ended).flat_map(|pod| {
        containers(pod).filter_map(|one| time(one.pointer("/state/terminated/finishedAt")))
    });
    times.collect()
}

/// The name of an object's owner of a kind.
fn owner(object: &Object, kind: &str) -> Option<String> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["kind"] == kind)?;
    owner["name"].as_str().map(str::to_owned)
}

/// How a pod started.
#[derive(Debug, PartialEq)]
struct Start {
    /// Seconds until it was ready.
    seconds: f64,
    /// Whether that is what it says, and not what its probes allow.
    told: bool,
}

/// Seconds from a pod's start until it was ready. A pod keeps only when it became ready last: what is longer after the
/// start of its containers than a start can take was something else, and then the least its probes need is taken.
fn start_of(pod: &Object, once: &[Timestamp]) -> Option<Start> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    let ready = time(ready.get("lastTransitionTime"))?;
    let begun = time(pod.pointer("/status/startTime"))?;
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    let runs = containers(pod)
        .filter_map(|one| time(one.pointer("/state/running/startedAt")))
        .max()
        .unwrap_or(begun);
    // A container that was started again did not wait for a node and an image.
    let again = containers(pod).any(|status| status["restartCount"] != 0);
    let until_run = if again { 0.0 } else { seconds(begun, runs) };
    let waited = once.iter().filter(|at| (runs..=ready).contains(*at)).max();
    let until_ready = seconds(*waited.unwrap_or(&runs), ready);
    let (least, most) = probed(pod);
    let believed = until_ready <= most;
    let until_ready = if believed {
        until_ready.max(0.0)
    } else {
        least
    };
    Some(Start {
        seconds: until_run.max(0.0) + until_ready,
        told: believed && !again,
    })
}

/// Seconds that a pod's probes take at least until it is ready, and that a start takes at most.
fn probed(pod: &Object) -> (f64, f64) {
    let specs = pod.pointer("/spec/containers").and_then(Value::as_array);
    let (mut least, mut most) = (0.0_f64, START);
    for container in specs.into_iter().flatten() {
        let number = |probe: &str, field: &str, default: f64| {
            container[probe][field].as_f64().unwrap_or(default)
        };
        let (mut short, mut long) = (0.0, START);
        if container["startupProbe"].is_object() {
            let (delay, period) = (
                number("startupProbe", "initialDelaySeconds", 0.0),
                number("startupProbe", "periodSeconds", 10.0),
            );
            short += delay + period;
            long += delay + period * number("startupProbe", "failureThreshold", 3.0);
        }
        if container["readinessProbe"].is_object() {
            let needed = number("readinessProbe", "initialDelaySeconds", 0.0)
                + number("readinessProbe", "periodSeconds", 10.0)
                    * number("readinessProbe", "successThreshold", 1.0);
            short += needed;
            long += needed;
        }
        (least, most) = (least.max(short), most.max(long));
    }
    (least, most)
}

fn containers(pod: &Object) -> impl Iterator<Item = &Value> {
    let statuses = pod.pointer("/status/containerStatuses");
    statuses.and_then(Value::as_array).into_iter().flatten()
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value, owner: Value) -> Object {
        Object::new(json!({"apiVersion": "v1", "kind": "Pod", "status": status,
            "metadata": {"name": "p", "namespace": "shop", "ownerReferences": [owner]}}))
        .unwrap()
    }

    fn at(second: u32) -> String {
        format!("2026-01-01T00:00:{second:02}Z")
    }

    #[test]
    fn what_a_pod_waited_for_a_job_that_runs_once_it_does_not_wait_again() {
        let web = pod(
            json!({"phase": "Running", "startTime": at(0),
                "containerStatuses": [{"restartCount": 0, "state": {"running": {"startedAt": at(2)}}}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(45)}]}),
            json!({"kind": "ReplicaSet", "name": "web-1"}),
        );
        let seed = pod(
            json!({"phase": "Succeeded",
                "containerStatuses": [{"state": {"terminated": {"finishedAt": at(42)}}}]}),
            json!({"kind": "Job", "name": "seed"}),
        );
        let job = |owners: Value| {
            Object::new(json!({"apiVersion": "batch/v1", "kind": "Job",
                "metadata": {"name": "seed", "namespace": "shop", "ownerReferences": owners}}))
            .unwrap()
        };
        let ended = once(&[job(json!([]))], std::slice::from_ref(&seed));
        let told = |seconds| {
            Some(Start {
                seconds,
                told: true,
            })
        };
        assert_eq!(start_of(&web, &ended), told(5.0));
        let nightly = job(json!([{"kind": "CronJob", "name": "nightly"}]));
        let ended = once(&[nightly], &[seed]);
        assert_eq!(start_of(&web, &ended), told(45.0));
    }

    #[test]
    fn a_pod_that_was_not_ready_for_a_while_did_not_start_so_slowly() {
        let database = |restarts: u32, ready: &str| {
            Object::new(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "shop"},
                "spec": {"containers": [{"readinessProbe": {"initialDelaySeconds": 2, "periodSeconds": 5}}]},
                "status": {"phase": "Running", "startTime": at(0),
                    "containerStatuses": [{"restartCount": restarts, "state": {"running": {"startedAt": at(3)}}}],
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]}}))
            .unwrap()
        };
        let start = |seconds, told| Some(Start { seconds, told });
        assert_eq!(start_of(&database(0, &at(12)), &[]), start(12.0, true));
        let hour_later = "2026-01-01T01:00:00Z";
        assert_eq!(start_of(&database(0, hour_later), &[]), start(10.0, false));
        assert_eq!(start_of(&database(1, &at(12)), &[]), start(9.0, false));
    }
}
