//! How long pods of A may take to end.
//!
//! A pod that was asked to end has its own grace, which databases that write out gigabytes set to minutes;
//! after that its node kills it. One that is there long after that stands on a node that does not answer. For
//! one that nobody has asked yet, as an operator takes its time, there is a bound for all.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::in_words;
use crate::object::Object;

/// How long pods may go on that were not asked to end.
const UNASKED: Duration = Duration::from_secs(15 * 60);
/// What a node may need to kill a pod whose grace is over, and to take its volumes away.
const OVERDUE: Duration = Duration::from_secs(60);

/// One wait.
pub(super) struct Patience {
    begun: Instant,
    /// When each pod, by UID, was first seen to end: by the clock here, which is not the cluster's.
    ending: BTreeMap<String, Instant>,
}

impl Patience {
    /// A wait that begins.
    pub(super) fn from(begun: Instant) -> Self {
        Self {
            begun,
            ending: BTreeMap::new(),
        }
    }

    /// Why there is no use in waiting longer for these pods.
    pub(super) fn over(&mut self, running: &[Object], now: Instant) -> Option<String> {
        for pod in running {
            let Some(grace) = pod.pointer("/metadata/deletionGracePeriodSeconds") else {
                continue;
            };
            let grace = Duration::from_secs(grace.as_u64().unwrap_or(0));
            let uid = pod.uid().unwrap_or_default().to_owned();
            let seen = *self.ending.entry(uid).or_insert(now);
            let late = now.duration_since(seen).saturating_sub(grace);
            if late > OVERDUE {
                return Some(format!(
                    "Pod {} was to end {} s ago and still runs: its node {} may not answer; delete it by hand \
                     when nothing of it can write any more",
                    pod.name(),
                    late.as_secs(),
                    pod.text("/spec/nodeName").unwrap_or("?"),
                ));
            }
        }
        let unasked = |pod: &&Object| !is_ending(pod);
        let waiting: Vec<Object> = running.iter().filter(unasked).cloned().collect();
        let long = now.duration_since(self.begun) > UNASKED && !waiting.is_empty();
        long.then(|| {
            format!(
                "{} did not end in {} min; stop it by hand",
                in_words(&waiting),
                UNASKED.as_secs() / 60
            )
        })
    }
}

/// What pods are still waited for, and how long they may take.
pub(super) fn still_running(running: &[Object]) -> String {
    let grace = |pod: &Object| {
        pod.pointer("/metadata/deletionGracePeriodSeconds")?
            .as_u64()
    };
    let names = in_words(running);
    match running.iter().filter_map(grace).max() {
        Some(grace) if running.iter().all(is_ending) => {
            format!("{names} is ending on cluster A, which may take {grace} s")
        }
        _ => format!("{names} still runs on cluster A"),
    }
}

fn is_ending(pod: &Object) -> bool {
    pod.pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, grace: Option<u64>) -> Object {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1"},
            "metadata": {"name": name, "namespace": "shop", "uid": name}});
        if let Some(grace) = grace {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        Object::new(pod).unwrap()
    }

    #[test]
    fn a_pod_has_its_own_grace_and_a_minute_more_from_when_it_was_asked() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut patience = Patience::from(begun);
        assert_eq!(patience.over(&[pod("db", None)], at(800)), None);
        let ending = [pod("db", Some(600))];
        assert_eq!(patience.over(&ending, at(800)), None);
        assert_eq!(patience.over(&ending, at(1460)), None, "its grace counts");
        let reason = patience.over(&ending, at(1461)).unwrap();
        assert!(reason.starts_with("Pod db was to end 61 s ago"), "{reason}");
        assert!(reason.contains("node n1"), "{reason}");
    }

    #[test]
    fn pods_that_nobody_asked_to_end_are_waited_for_a_quarter_of_an_hour() {
        let begun = Instant::now();
        let mut patience = Patience::from(begun);
        let running = [pod("a", None), pod("b", Some(3600))];
        assert_eq!(patience.over(&running, begun + UNASKED), None);
        let reason = patience.over(&running, begun + UNASKED + OVERDUE).unwrap();
        assert_eq!(reason, "Pod a did not end in 15 min; stop it by hand");
    }

    #[test]
    fn what_ends_is_told_with_the_longest_grace() {
        let running = [pod("a", Some(30)), pod("b", Some(120))];
        let told = still_running(&running);
        assert_eq!(
            told,
            "Pod a, b is ending on cluster A, which may take 120 s"
        );
        let told = still_running(&[pod("a", Some(30)), pod("b", None)]);
        assert_eq!(told, "Pod a, b still runs on cluster A");
    }
}
