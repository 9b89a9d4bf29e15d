//! T-7: the ranges and quotas of a namespace, where recipes change what its pods ask for.
//!
//! ```text
//! containers ──× replicas──▶ what a namespace asks for, on A and on B ──▶ its ResourceQuotas
//!     ▲
//!     └── defaults and bounds of its LimitRanges
//! ```
//!
//! A quota changes by the difference, not by a factor: what custom resources and jobs of a day ask for is
//! not seen, and keeps its room. Quotas with scopes are about some pods only and stay.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::resources::{lower, quantity};
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::graph::roots::Roots;
use crate::object::quantity::Quantity;
use crate::object::{Object, pointer};

/// What one key of a quota counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted<'k> {
    Pods,
    /// `requests` or `limits`, and which resource.
    Amount(&'static str, &'k str),
}

impl<'k> Counted<'k> {
    /// What a key is about; `None` for storage and for numbers of other objects.
    fn of(key: &'k str) -> Option<Self> {
        if ["pods", "count/pods"].contains(&key) {
            return Some(Self::Pods);
        }
        if ["cpu", "memory", "ephemeral-storage"].contains(&key) {
            return Some(Self::Amount("requests", key));
        }
        let (kind, name) = key.split_once('.')?;
        match (kind, name) {
            ("requests", "storage") => None,
            ("requests", name) => Some(Self::Amount("requests", name)),
            ("limits", name) => Some(Self::Amount("limits", name)),
            _ => None,
        }
    }
}

/// Caps what a LimitRange gives to containers that ask for nothing, and the least it lets any ask for:
/// without that it would refuse the containers that were capped.
pub(super) fn cap_range(work: &mut Work<'_>, index: usize, max: &[(String, String)], part: Part) {
    let limits = work.objects()[index].pointer("/spec/limits");
    let count = limits.and_then(Value::as_array).map_or(0, Vec::len);
    for number in 0..count {
        for kind in ["default", "defaultRequest", "min"] {
            let place = format!("/spec/limits/{number}/{kind}");
            let claims = work.objects()[index].text(&format!("/spec/limits/{number}/type"))
                == Some("PersistentVolumeClaim");
            if !claims {
                lower(work, index, &place, max, part);
            }
        }
    }
}

/// Changes a quota by as much as what its namespace asks for.
pub(super) fn follow(work: &mut Work<'_>, roots: &Roots<'_>, index: usize, part: Part) {
    let quota = &work.before[index];
    if !is_whole(quota) {
        return;
    }
    work.used(part);
    let Some(home) = quota.namespace() else {
        return;
    };
    let (before, after) = needs(work, roots, &members(work, home));
    for (key, hard) in amounts(quota, "/spec/hard") {
        let Some(counted) = Counted::of(&key) else {
            continue;
        };
        let (was, is) = (before.asked(counted), after.asked(counted));
        if was == is {
            continue;
        }
        let new = (hard + is - was).max(is.min(hard));
        let path = pointer::join("/spec/hard", &key);
        work.assign(index, &path, new.to_string().into(), "T-7", part);
    }
}

/// Says which pods a LimitRange or a ResourceQuota of their namespace refuses now, and did not on A.
pub(super) fn tell(work: &mut Work<'_>, roots: &Roots<'_>) {
    let changed = work.changes.iter().filter(|change| change.rule == "T-7");
    let homes: BTreeSet<String> = changed
        .filter_map(|change| change.object.namespace.as_deref().map(str::to_owned))
        .collect();
    let bounded = |object: &&Object| object.is("", "ResourceQuota") || object.is("", "LimitRange");
    let bounded: BTreeSet<&str> = work
        .before
        .iter()
        .filter(bounded)
        .filter_map(Object::namespace)
        .collect();
    let mut found = Vec::new();
    for home in homes.iter().filter(|home| bounded.contains(home.as_str())) {
        let members = members(work, home);
        let (before, after) = needs(work, roots, &members);
        for index in members {
            let (was, is) = (&work.before[index], &work.objects()[index]);
            if is.is("", "ResourceQuota") && is_whole(is) {
                found.extend(exceeded((was, &before), (is, &after)));
            }
            if was.value() != is.value() {
                found.extend(refused(is, roots, &after.ranges));
            }
        }
    }
    found.into_iter().for_each(|finding| work.find(finding));
}

/// Keys of a quota that allowed what was asked for, and do no longer.
fn exceeded(was: (&Object, &Needs), is: (&Object, &Needs)) -> Vec<Finding> {
    let allowed: BTreeMap<_, _> = amounts(was.0, "/spec/hard").collect();
    let mut found = Vec::new();
    for (key, most) in amounts(is.0, "/spec/hard") {
        let Some(counted) = Counted::of(&key) else {
            continue;
        };
        let fitted = allowed
            .get(&key)
            .is_some_and(|most| was.1.asked(counted) <= *most);
        let asked = is.1.asked(counted);
        if !fitted || asked <= most {
            continue;
        }
        let message = format!("the quota allows {most} of {key}, and its pods ask for {asked}");
        found.push(
            Finding::new(Verdict::Warn, "T-7", message)
                .on(is.0.id())
                .at(pointer::join("/spec/hard", &key))
                .because("on A they fitted")
                .remedy("let quotas follow with `resources: {quotas: true}`"),
        );
    }
    found
}

/// Containers outside the bounds of a range.
fn refused(object: &Object, roots: &Roots<'_>, ranges: &[Object]) -> Vec<Finding> {
    let mut found = Vec::new();
    for place in roots.containers(object) {
        for range in ranges {
            for (bound, kind, fits) in [
                (
                    "min",
                    "requests",
                    (|asked, bound| asked >= bound) as fn(Quantity, Quantity) -> bool,
                ),
                ("max", "limits", |asked, bound| asked <= bound),
            ] {
                for (name, bound_at) in bounds(range, bound) {
                    let path = pointer::join(&format!("{place}/resources/{kind}"), &name);
                    let asked = object.pointer(&path).and_then(quantity);
                    let Some(asked) = asked.filter(|asked| !fits(*asked, bound_at)) else {
                        continue;
                    };
                    let message = format!(
                        "{} refuses its pods: {asked} of {name}, and its `{bound}` is {bound_at}",
                        range.id()
                    );
                    found.push(
                        Finding::new(Verdict::Block, "T-7", message)
                            .on(object.id())
                            .at(path)
                            .remedy("choose an amount within the range, or change the range with a patch"),
                    );
                }
            }
        }
    }
    found
}

/// What the pods of a namespace ask for.
struct Needs {
    pods: Vec<(u64, Value)>,
    ranges: Vec<Object>,
}

/// On A, and as things are by now.
fn needs(work: &Work<'_>, roots: &Roots<'_>, members: &[usize]) -> (Needs, Needs) {
    let was = members.iter().map(|index| &work.before[*index]);
    let is = members.iter().filter(|index| !work.is_left(**index));
    let is = is.map(|index| &work.objects()[*index]);
    (Needs::of(was, roots), Needs::of(is, roots))
}

/// The objects of a namespace of A, by index.
fn members(work: &Work<'_>, home: &str) -> Vec<usize> {
    let all = 0..work.before.len();
    all.filter(|index| work.before[*index].namespace() == Some(home))
        .collect()
}

impl Needs {
    fn of<'o>(objects: impl Iterator<Item = &'o Object> + Clone, roots: &Roots<'_>) -> Self {
        let mut most: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for object in objects.clone() {
            let text = |key: &str| object.text(&format!("/spec/scaleTargetRef/{key}"));
            let max = ["/spec/maxReplicas", "/spec/maxReplicaCount"];
            let max = max.iter().find_map(|path| object.pointer(path)?.as_u64());
            if let (Some(name), Some(max)) = (text("name"), max) {
                most.insert((text("kind").unwrap_or("Deployment"), name), max);
            }
        }
        let mut pods = Vec::new();
        for object in objects.clone() {
            let count = ["/spec/replicas", "/spec/parallelism"];
            let count = count.iter().find_map(|path| object.pointer(path)?.as_u64());
            let scaled = most.get(&(object.kind(), object.name()));
            let count = count.unwrap_or(1).max(scaled.copied().unwrap_or(0));
            for pod in roots.pods(object) {
                pods.extend(object.pointer(&pod).map(|pod| (count, pod.clone())));
            }
        }
        let ranges = objects.filter(|one| one.is("", "LimitRange")).cloned();
        Self {
            pods,
            ranges: ranges.collect(),
        }
    }

    fn asked(&self, counted: Counted<'_>) -> Quantity {
        let one = |pod: &Value| match counted {
            Counted::Pods => Quantity::parse("1").unwrap_or(Quantity::NONE),
            Counted::Amount(kind, name) => self.of_pod(pod, kind, name),
        };
        let each = self.pods.iter().map(|(count, pod)| one(pod).times(*count));
        each.fold(Quantity::NONE, |sum, next| sum + next)
    }

    /// Containers run together, and before them one initial container after another.
    fn of_pod(&self, pod: &Value, kind: &str, name: &str) -> Quantity {
        let list = |key: &str| {
            let containers = pod[key].as_array().into_iter().flatten();
            containers.map(|container| self.of_container(&container["resources"], kind, name))
        };
        let together = list("containers").fold(Quantity::NONE, |sum, next| sum + next);
        let first = list("initContainers").max().unwrap_or(Quantity::NONE);
        together.max(first)
    }

    /// What is written, or else what the API server or a range puts there.
    fn of_container(&self, resources: &Value, kind: &str, name: &str) -> Quantity {
        let written = |kind: &str| resources[kind].get(name).and_then(quantity);
        let given = |bound: &str| {
            let ranges = self.ranges.iter();
            let mut all = ranges.flat_map(|range| bounds(range, bound));
            all.find_map(|(key, amount)| (key == name).then_some(amount))
        };
        let found = match kind {
            "limits" => written("limits").or_else(|| given("default")),
            _ => written("requests")
                .or_else(|| written("limits"))
                .or_else(|| given("defaultRequest"))
                .or_else(|| given("default")),
        };
        found.unwrap_or(Quantity::NONE)
    }
}

/// Whether a quota is about every pod of its namespace.
fn is_whole(quota: &Object) -> bool {
    let scoped = ["/spec/scopes", "/spec/scopeSelector"];
    !scoped.iter().any(|path| quota.pointer(path).is_some())
}

/// What a range says about containers.
fn bounds(range: &Object, kind: &str) -> Vec<(String, Quantity)> {
    let limits = range.pointer("/spec/limits").and_then(Value::as_array);
    let containers = limits
        .into_iter()
        .flatten()
        .filter(|limit| limit["type"] == "Container");
    let amounts = containers.filter_map(|limit| limit[kind].as_object());
    let amounts = amounts.flatten();
    amounts
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

fn amounts(object: &Object, path: &str) -> impl Iterator<Item = (String, Quantity)> + use<> {
    let map = object.pointer(path).and_then(Value::as_object).cloned();
    let all = map.into_iter().flatten();
    all.filter_map(|(key, value)| Some((key, quantity(&value)?)))
}
