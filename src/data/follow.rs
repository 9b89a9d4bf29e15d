//! Watching one mover's pod from its creation to its last words.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::DataError;
use super::api::{Api, CLAIM, POD};
use super::clones::is_refusal;
use super::wait::{Doubt, Wait};
use crate::causes::in_one_line;
use crate::cluster::ClusterError;
use crate::event::{Direction, Event, Events, VolumeProgress};
use crate::exit::Exit;
use crate::mover::{Done, Line, Outcome, read_line};
use crate::object::{Object, ObjectId};

const POLL: Duration = Duration::from_millis(250);
/// How long a pod may wait for a node: an autoscaler brings one within minutes.
const SCHEDULE: Duration = Duration::from_secs(10 * 60);
/// How long a pull may fail before it is believed: one more try of the kubelet's.
const PULL: Duration = Duration::from_secs(5);
/// How long a volume may refuse to be mounted: detaching it elsewhere takes up to six minutes.
const MOUNT: Duration = Duration::from_secs(10 * 60);
/// How long the storage may refuse to make a volume of another cluster's snapshot, until that is believed.
const REFUSED: Duration = Duration::from_secs(45);
/// How long a pod may wait for whatever it is: two reasons that take turns never become old.
const START: Duration = Duration::from_secs(30 * 60);
/// How long nothing may be heard of a node, or of a pod that is to go, while a mover is at work on it: a kubelet that is restarted is back much sooner,
/// and five minutes is what Kubernetes itself lets pass before it takes the pod away.
const LOST: Duration = Duration::from_secs(10 * 60);
/// How often a user who waits is told for what.
const TELL: Duration = Duration::from_secs(10);

/// One mover's pod, being watched.
pub(super) struct Follower<'a> {
    pub(super) api: &'a Api,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    /// The one that works at the claim.
    pub(super) container: String,
    /// The claim it mounts, for what the cluster says about that.
    pub(super) mounts: &'a str,
    /// Whether the claim is made of what the storage perhaps does not have.
    pub(super) doubtful: bool,
    pub(super) direction: Direction,
    pub(super) events: &'a Events,
}

/// Why a pod does not start or is not heard of, and since when for that reason.
struct Waiting {
    reason: String,
    since: Instant,
    told: Option<Instant>,
}

impl Follower<'_> {
    /// Waits for the claim's container to run; fails when it will not.
    pub(super) async fn started(&self) -> Result<Object, DataError> {
        let (mut waiting, mut doubt) = (None::<Waiting>, Doubt::default());
        let mut wait = Wait::begin();
        loop {
            let pod = self.pod().await?;
            if pod.has_ended() || self.state(&pod, "running").is_some() || self.has_ended(&pod) {
                return Ok(pod);
            }
            if let Some(reason) = doubt.believed(self.refusal().await?, REFUSED) {
                let claim = self.api.claim.clone();
                return Err(DataError::Snapshot { claim, reason });
            }
            let (reason, limit) = self.obstacle(&pod).await;
            let now = self.waits(waiting, reason);
            if now.since.elapsed() >= limit || wait.elapsed() >= START {
                return Err(DataError::Start {
                    claim: self.api.claim.clone(),
                    reason: now.reason,
                });
            }
            waiting = Some(now);
            wait.pause().await;
        }
    }

    /// Goes on waiting, for the reason before or another one, and tells the user every now and then.
    fn waits(&self, before: Option<Waiting>, reason: String) -> Waiting {
        let same = before.filter(|waiting| waiting.reason == reason);
        let mut now = same.unwrap_or_else(|| Waiting {
            reason,
            since: Instant::now(),
            told: None,
        });
        if now.told.unwrap_or(now.since).elapsed() > TELL {
            now.told = Some(Instant::now());
            self.events.send(Event::Waiting {
                object: ObjectId::namespaced("", "Pod", self.namespace, self.pod),
                message: now.reason.clone(),
            });
        }
        now
    }

    async fn complaint_of_claim(&self) -> Option<String> {
        let kind = &CLAIM.kind;
        self.api.complaint(kind, self.namespace, self.mounts).await
    }

    /// Why the storage does not make the claim's volume of a snapshot it perhaps does not have.
    async fn refusal(&self) -> Result<Option<String>, DataError> {
        if !self.doubtful {
            return Ok(None);
        }
        let claim = self
            .api
            .get(&CLAIM, Some(self.namespace), self.mounts)
            .await?;
        match claim.is_some_and(|claim| claim.text("/status/phase") == Some("Bound")) {
            true => Ok(None),
            false => Ok(self
                .complaint_of_claim()
                .await
                .filter(|said| is_refusal(said))),
        }
    }

    /// What stands between the pod and its start, and how long that may be so.
    async fn obstacle(&self, pod: &Object) -> (String, Duration) {
        let state = self.state(pod, "waiting");
        let text = |key: &str| {
            state
                .and_then(|state| state[key].as_str())
                .unwrap_or_default()
        };
        match text("reason") {
            "InvalidImageName" => {
                return (
                    format!("its image is named wrongly: {}", text("message")),
                    Duration::ZERO,
                );
            }
            reason @ ("ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "RegistryUnavailable") => {
                // The message goes back and forth between the cause and "backing off"; keep the cause.
                let cause = self.api.complaint("Pod", self.namespace, self.pod).await;
                let cause = cause
                    .filter(|_| reason == "ImagePullBackOff")
                    .unwrap_or_else(|| text("message").into());
                let image = pod.text("/spec/containers/0/image").unwrap_or_default();
                tracing::debug!(image, cause, "image pull fails");
                return (
                    format!(
                        "its node cannot pull image {image}; push it with `ferry mover push`, or check \
                     --mover-image and the node's access to the registry ({})",
                        first_line(&cause)
                    ),
                    PULL,
                );
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                return (format!("{}: {}", text("reason"), text("message")), PULL * 6);
            }
            _ => {}
        }
        if let Some(scheduled) =
            condition(pod, "PodScheduled").filter(|found| found["status"] == "False")
        {
            let message = scheduled["message"].as_str().unwrap_or("no node was found");
            let claim = self.complaint_of_claim().await;
            let claim = claim
                .map(|claim| format!("; its claim: {claim}"))
                .unwrap_or_default();
            return (format!("no node takes it: {message}{claim}"), SCHEDULE);
        }
        match self.api.complaint("Pod", self.namespace, self.pod).await {
            Some(complaint) => (complaint, MOUNT),
            None => ("its volume is not mounted yet".into(), MOUNT),
        }
    }

    /// Follows the running mover to its end and reads its last words.
    pub(super) async fn finished(&self) -> Result<(Done, VolumeProgress), DataError> {
        let mut progress = VolumeProgress::default();
        let (mut told, mut waiting, mut seen) = (None, None::<Waiting>, None);
        let mut unheard = None::<Instant>;
        loop {
            let (pod, mut done) = (self.pod_after(seen.as_ref()).await?, None);
            // A log that cannot be read is no reason to stop: kubelets whose logs nobody can read carry pods, too.
            let (log, mut away) = (self.log().await, None);
            for (_, line) in log.iter().flat_map(|log| log.lines()).filter_map(read_line) {
                match line {
                    Line::Progress(found) => (progress, away) = (found, None),
                    Line::Away(reason) => away = Some(reason),
                    // Its last line, and the store has it: what follows is a kubelet that notices.
                    Line::Outcome(Outcome::Done(last)) => done = Some(last),
                    Line::Outcome(Outcome::Failed { .. }) => {}
                }
            }
            let ended = done.is_some() || pod.has_ended() || self.has_ended(&pod);
            // Told once at least, so that whoever listens knows that it began.
            if told.is_none() || (told != Some(progress) && !ended) {
                told = Some(progress);
                let (claim, direction) = (self.api.claim.clone(), self.direction);
                self.events.send(Event::Volume {
                    claim,
                    direction,
                    progress,
                });
            }
            if let Some(done) = done {
                return Ok((done, progress));
            }
            if ended {
                return match self.last_words(&pod) {
                    Outcome::Done(done) => Ok((done, progress)),
                    outcome @ Outcome::Failed { .. } => Err(self.failed(outcome)),
                };
            }
            let lost = lost(&pod).filter(|_| log.is_err());
            unheard = lost.as_ref().and(unheard.or(Some(Instant::now())));
            if let Some(reason) = &lost
                && unheard.is_some_and(|then| then.elapsed() >= LOST)
            {
                return Err(self.broken(format!(
                    "{reason}, and nothing was heard of it for {} minutes; go on once its node answers again, or was \
                     removed from the cluster",
                    LOST.as_secs() / 60
                )));
            }
            let away = away.map(|reason| format!("its store is waited for: {reason}"));
            let reason = lost.or(away).or_else(|| unread(log));
            waiting = reason.map(|reason| self.waits(waiting, reason));
            seen = Some(pod);
            sleep(POLL).await;
        }
    }

    async fn log(&self) -> Result<String, ClusterError> {
        let container = Some(self.container.as_str());
        let cluster = &self.api.cluster;
        cluster
            .logs(self.namespace, self.pod, container, 3, false)
            .await
    }

    fn last_words(&self, pod: &Object) -> Outcome {
        let terminated = self.state(pod, "terminated");
        let message = terminated.and_then(|state| state["message"].as_str());
        if let Some(outcome) = message.and_then(Outcome::of_message) {
            return outcome;
        }
        let said = terminated.and_then(|state| state["reason"].as_str());
        let reason = match (pod.text("/status/reason"), said) {
            (Some(reason), _) => {
                format!(
                    "{reason}: {}",
                    pod.text("/status/message").unwrap_or("no reason was given")
                )
            }
            (None, Some("OOMKilled")) => "it needed more memory than its limit of 1 GiB".into(),
            (None, Some(said)) => {
                let code = terminated
                    .and_then(|state| state["exitCode"].as_i64())
                    .unwrap_or(-1);
                let message = message.map(first_line).unwrap_or("no reason was given");
                format!("it ended without a result ({said}, exit code {code}): {message}")
            }
            (None, None) => "it ended without a result".into(),
        };
        Outcome::failed(Exit::Incomplete, reason)
    }

    fn failed(&self, outcome: Outcome) -> DataError {
        let exit = outcome.exit();
        let reason = match outcome {
            Outcome::Failed { reason, .. } => reason,
            Outcome::Done(_) => String::new(),
        };
        DataError::Mover {
            claim: self.api.claim.clone(),
            reason,
            exit,
        }
    }

    fn has_ended(&self, pod: &Object) -> bool {
        self.state(pod, "terminated").is_some()
    }

    /// How its container is, if that is how it is.
    fn state<'p>(&self, pod: &'p Object, state: &str) -> Option<&'p Value> {
        let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
        let own = statuses
            .iter()
            .find(|status| status["name"] == *self.container)?;
        own["state"].get(state)
    }

    async fn pod(&self) -> Result<Object, DataError> {
        self.pod_after(None).await
    }

    /// The pod, which was once as in `seen`.
    async fn pod_after(&self, seen: Option<&Object>) -> Result<Object, DataError> {
        let pod = self.api.get(&POD, Some(self.namespace), self.pod).await?;
        pod.ok_or_else(|| {
            let evicted = seen.and_then(|pod| condition(pod, "DisruptionTarget"));
            let reason = evicted.and_then(|condition| condition["message"].as_str());
            self.broken(match reason {
                Some(reason) => format!("its pod was taken off its node: {reason}"),
                None => "its pod was deleted by somebody else".into(),
            })
        })
    }

    fn broken(&self, reason: String) -> DataError {
        DataError::Mover {
            claim: self.api.claim.clone(),
            reason,
            exit: Exit::Incomplete,
        }
    }
}

/// A condition of the pod's, if it has one of that type.
fn condition<'p>(pod: &'p Object, kind: &str) -> Option<&'p Value> {
    let conditions = pod.pointer("/status/conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Why nothing may ever be heard again of a mover that runs, if that is so.
fn lost(pod: &Object) -> Option<String> {
    let is = |kind: &str, status: &str| {
        condition(pod, kind).is_some_and(|condition| condition["status"] == status)
    };
    let node = pod.text("/spec/nodeName").unwrap_or_default();
    // Its containers were fine the last time, and the control plane calls it unready for the node.
    if is("Ready", "False") && is("ContainersReady", "True") {
        return Some(format!("its node {node} does not answer"));
    }
    pod.is_going()
        .then(|| format!("its pod is being taken off node {node}"))
}

/// Why a log says nothing. Who may not read logs has been told so, and what they say is not needed.
fn unread(log: Result<String, ClusterError>) -> Option<String> {
    let error = log.err().filter(|error| !error.is_forbidden())?;
    Some(format!("its log cannot be read: {}", in_one_line(&error)))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::cluster::fake::{cluster, ok, refuse};

    /// Follows a mover of a node that stops answering, as `pod` says it the first time and ever after; the clock
    /// jumps wherever only it is waited for.
    async fn follow(pod: [Option<Value>; 2]) -> (String, Vec<String>) {
        let mut looks = 0;
        let (cluster, _) = cluster(move |request| {
            if request.contains("/log?") {
                return refuse(500, "InternalError", "connection refused");
            }
            looks += 1;
            match &pod[usize::from(looks > 1)] {
                Some(pod) => ok(pod.clone()),
                None => refuse(404, "NotFound", "no such pod"),
            }
        });
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let theirs = told.clone();
        let events = Events::new(move |event| {
            if let Event::Waiting { message, .. } = event {
                theirs.lock().unwrap().push(message);
            }
        });
        let follower = Follower {
            api: &Api::new(&cluster, "shop/data"),
            namespace: "ferry-1",
            pod: "mover",
            container: "mover-0".into(),
            mounts: "data",
            doubtful: false,
            direction: Direction::Load,
            events: &events,
        };
        let error = follower.finished().await.unwrap_err();
        assert_eq!(error.exit(), Exit::Incomplete, "{error:?}");
        let mut told = told.lock().unwrap().clone();
        told.dedup();
        (error.to_string(), told)
    }

    fn pod(conditions: &Value) -> Option<Value> {
        let running = json!({"name": "mover-0", "state": {"running": {}}});
        Some(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mover"},
            "spec": {"nodeName": "node-b"},
            "status": {"conditions": conditions, "containerStatuses": [running]},
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_come_back_is_told_and_given_up_in_the_end() {
        let lost = pod(&json!([
            {"type": "Ready", "status": "False"},
            {"type": "ContainersReady", "status": "True"},
        ]));
        let (error, told) = follow([lost.clone(), lost]).await;
        assert!(
            error.contains(
                "its node node-b does not answer, and nothing was heard of it for 10 minutes"
            ),
            "{error}"
        );
        assert_eq!(told, ["its node node-b does not answer"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_was_evicted_is_told_with_the_reason() {
        let evicted = pod(&json!([
            {"type": "DisruptionTarget", "status": "True", "message": "Eviction API: evicting"},
        ]));
        let (error, _) = follow([evicted, None]).await;
        assert!(
            error.contains("taken off its node: Eviction API: evicting"),
            "{error}"
        );
    }
}
