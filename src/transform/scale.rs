//! T-7: replica counts, of workloads and of what scales them.

use foldhash::HashSet;
use serde_json::Value;

use super::apply::whole;
use super::recipe::{Entry, Scale};
use super::work::Work;
use crate::finding::{Finding, Verdict};
use crate::graph::references::References;
use crate::graph::roots::crd_kind;
use crate::knowledge::Knowledge;
use crate::knowledge::targets::Rewrites;
use crate::object::{Object, ObjectId};

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    references: &References<'_>,
    recipe: usize,
    entry: &Entry,
    scale: &Scale,
) {
    let part = whole(recipe, entry);
    let mut scaled: Vec<ObjectId> = Vec::new();
    for index in work.selected(recipe, entry) {
        let object = &work.before[index];
        let Some((rule, path)) = place(work, knowledge, object, Rewrites::Replicas) else {
            continue;
        };
        work.used(part);
        scaled.push(object.id());
        if let Some(replicas) = scale.replicas {
            work.assign(index, &path, replicas.into(), &rule, part);
        }
    }
    for index in 0..work.before.len() {
        let object = &work.before[index];
        let min = place(work, knowledge, object, Rewrites::AutoscalerMin);
        let max = place(work, knowledge, object, Rewrites::AutoscalerMax);
        if min.is_none() && max.is_none() {
            continue;
        }
        let found = references.find(object);
        if !found.iter().any(|one| scaled.contains(&one.target)) {
            continue;
        }
        for (place, bound) in [(min, scale.min), (max, scale.max)] {
            if let (Some((rule, path)), Some(bound)) = (place, bound) {
                work.assign(index, &path, bound.into(), &rule, part);
            }
        }
        autoscaled(work, knowledge, index, scale);
    }
}

/// Where a number of replicas stands in an object: by table, or where its definition says.
fn place(
    work: &Work<'_>,
    knowledge: &Knowledge,
    object: &Object,
    rewrites: Rewrites,
) -> Option<(String, String)> {
    let mut rows = knowledge.targets.iter();
    let row = rows.find(|row| row.rewrites == rewrites && row.applies(object));
    if let Some(row) = row {
        return Some((row.id.clone(), row.path.exact()?));
    }
    if rewrites != Rewrites::Replicas {
        return None;
    }
    let definitions = work.source.all_definitions();
    let definition = definitions
        .into_iter()
        .find(|crd| crd_kind(crd) == Some(object.group_kind()))?;
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let version = versions
        .iter()
        .find(|one| one["name"] == object.version())?;
    let path = version
        .pointer("/subresources/scale/specReplicasPath")?
        .as_str()?;
    Some(("T-7".to_owned(), path.replace('.', "/")))
}

/// An autoscaler sets the number again as soon as it runs.
fn autoscaled(work: &mut Work<'_>, knowledge: &Knowledge, index: usize, scale: &Scale) {
    let object = &work.objects()[index];
    let read = |rewrites| {
        let (_, path) = place(work, knowledge, object, rewrites)?;
        object.pointer(&path)?.as_u64()
    };
    let min = read(Rewrites::AutoscalerMin).unwrap_or(1);
    let max = read(Rewrites::AutoscalerMax);
    let id = object.id();
    if let Some(max) = max.filter(|max| *max < min) {
        let message = format!("the autoscaler keeps at least {min} and at most {max} replicas");
        work.find(
            Finding::new(Verdict::Block, "T-7", message)
                .on(id)
                .remedy("set both `min` and `max`"),
        );
    } else if scale
        .replicas
        .is_some_and(|replicas| u64::from(replicas) < min)
    {
        let message = format!("the autoscaler brings it back to {min} replicas");
        work.find(
            Finding::new(Verdict::Warn, "T-7", message)
                .on(id)
                .remedy("set `autoscaler: {min: …, max: …}` too"),
        );
    }
}

/// Budgets that no pod may be taken from any more.
pub(super) fn budgets(work: &mut Work<'_>) {
    // A change above the place is one of the place, too.
    let above = |path: &str| "/spec/replicas".strip_prefix(path);
    let touches = |path| above(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let touched = work.changes.iter().filter(|change| touches(&change.path));
    let touched: HashSet<&ObjectId> = touched.map(|change| &change.object).collect();
    let changed: Vec<usize> = (0..work.before.len())
        .filter(|index| touched.contains(work.id(*index)))
        .filter(|index| {
            let (before, now) = (&work.before[*index], &work.objects()[*index]);
            before.pointer("/spec/replicas") != now.pointer("/spec/replicas")
        })
        .collect();
    let mut found = Vec::new();
    for object in work
        .objects()
        .iter()
        .filter(|one| one.is("policy", "PodDisruptionBudget"))
    {
        let Some(least) = object.pointer("/spec/minAvailable").and_then(Value::as_u64) else {
            continue;
        };
        let wanted = object
            .pointer("/spec/selector/matchLabels")
            .and_then(Value::as_object);
        for workload in changed.iter().map(|index| &work.objects()[*index]) {
            let labels = workload.pointer("/spec/template/metadata/labels");
            let chosen = wanted.is_some_and(|wanted| {
                let has = |(key, value): (&String, &Value)| {
                    labels.and_then(|labels| labels.get(key)) == Some(value)
                };
                !wanted.is_empty() && wanted.iter().all(has)
            });
            let replicas = workload.pointer("/spec/replicas").and_then(Value::as_u64);
            let same = workload.namespace() == object.namespace();
            if let Some(replicas) = replicas.filter(|n| chosen && same && *n > 0 && *n <= least) {
                let message = format!(
                    "it keeps {least} pods of {}, which has {replicas}",
                    workload.id()
                );
                found.push(
                    Finding::new(Verdict::Warn, "T-7", message)
                        .on(object.id())
                        .at("/spec/minAvailable")
                        .remedy("lower it with a patch, or nodes cannot be drained"),
                );
            }
        }
    }
    found.into_iter().for_each(|finding| work.find(finding));
}
