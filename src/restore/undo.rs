//! Takes a run back, in reverse order of its writes (W-15).
//!
//! What the run made is deleted if it is still that very object and nobody edited it; what it changed is given its
//! former content back if nobody changed it since. Everything else is left alone and listed with the reason.
//! Claims are data: they are only deleted when the user says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lease::Leases;
use super::past::Past;
use super::resource::Resources;
use super::{RestoreError, RunContext, StepError, admit, plan_of, quiesce, written};
use crate::cluster::{Delete, ListOptions, MANAGER, Patch, Place};
use crate::data::Movers;
use crate::journal::{self, After, Entry, Journal, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Plan, Step, content, digest};
use crate::surface::ApiResource;
use crate::target::RUN_LABEL;

mod cutover;
mod edited;

pub use cutover::released;

/// Objects taken back at once.
const PARALLEL: usize = 16;

/// How long to wait until what was deleted is gone.
const GONE: Duration = Duration::from_secs(60);

/// What the user allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UndoOptions {
    /// Deletes claims and volumes that the run made, with their data.
    pub delete_data: bool,
    /// Deletes also what somebody edited after the run made it.
    pub delete_edited: bool,
}

/// An object that was not taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which.
    pub object: ObjectId,
    /// Why.
    pub reason: String,
    /// Whether it should have been taken back and that failed; else it was left on purpose.
    pub failed: bool,
}

/// What came of an undo.
#[must_use = "objects may have been left"]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoReport {
    /// Objects deleted, in that order.
    pub deleted: Vec<ObjectId>,
    /// Objects that have their former content back.
    pub restored: Vec<ObjectId>,
    /// Workloads of cluster A that are as they were before the run held them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_back: Vec<ObjectId>,
    /// Objects left as they are.
    pub left: Vec<Left>,
}

/// Takes back what a run wrote on B. The run cannot be resumed afterwards.
///
/// # Errors
/// When the store has no such run, the cluster is not the plan's, or does not answer at all.
pub async fn undo<M: Movers>(
    context: &RunContext<'_, M>,
    options: UndoOptions,
) -> Result<UndoReport, RestoreError> {
    let plan = plan_of(&*context.files, context.run).await?;
    // Before the run is marked: on another cluster nothing would be taken back, and nothing resumed later.
    admit(&plan, context.target)?;
    let records = journal::read(&*context.files, context.run).await?;
    let originals = quiesce::originals(&plan, &records);
    if !originals.is_empty() && context.source.is_none() {
        return Err(RestoreError::NoSource);
    }
    let served = context.target.served().await?;
    let last = records.last().map_or(0, |record| record.seq);
    let journal = Journal::open(context.files.clone(), context.run, last);
    // From here on the run must not be resumed: half of it may be gone.
    journal
        .intend(Record::of_run(Entry::Undone { left: None }))
        .await?;
    let undo = Undo {
        context,
        options,
        resources: Resources::new(served.clone(), &plan),
        served,
        past: Past::new(&records, context.run),
        plan: &plan,
        originals,
    };
    let report = match released(&plan, &records) {
        // The application must not run on both sides.
        true => {
            let mut report = undo.run(UndoReport::default()).await;
            match undo.still_on_target(&report) {
                Some(running) => undo.leave_source_held(&mut report, &running),
                None => undo.give_source_back(&mut report, &journal).await?,
            }
            report
        }
        // Nothing runs on B: who waits, waits for A.
        false => {
            let mut report = UndoReport::default();
            undo.give_source_back(&mut report, &journal).await?;
            undo.run(report).await
        }
    };
    journal.note(Record::of_run(Entry::Undone {
        left: Some(report.left.len() as u64),
    }));
    journal.close().await?;
    // A killed process left them; the next run need not wait until they expire.
    let leases = Leases::new(context.target, context.run, context.events, &undo.served);
    for namespace in written(&plan) {
        leases.free(namespace).await;
    }
    if let Err(error) = context.movers.clean().await {
        context.events.warning(error.to_string());
    }
    Ok(report)
}

enum Taken {
    Deleted,
    Restored,
    Nothing,
    Left(String),
}

struct Undo<'a, M> {
    context: &'a RunContext<'a, M>,
    options: UndoOptions,
    resources: Resources,
    served: Vec<ApiResource>,
    past: Past,
    plan: &'a Plan,
    /// A's workloads before the run held them, by step.
    originals: BTreeMap<u32, Object>,
}

impl<M: Movers> Undo<'_, M> {
    /// Takes back what was written on B.
    async fn run(&self, mut report: UndoReport) -> UndoReport {
        let written = self.plan.steps.iter().rev().filter(|step| {
            matches!(step.action, Action::Apply { .. }) && self.past.intended(step.number)
        });
        let written: Vec<&Step> = written.collect();
        for wave in written.chunk_by(|a, b| (a.phase, a.wave) == (b.phase, b.wave)) {
            // Owned items: a stream of borrowed ones would keep this future from being spawned.
            let taken: Vec<(&Step, Result<Taken, StepError>)> = stream::iter(wave.to_vec())
                .map(|step| async move { (step, self.take_back(step).await) })
                .buffer_unordered(PARALLEL)
                .collect()
                .await;
            for (step, taken) in taken {
                let object = step.object.clone();
                match taken {
                    Ok(Taken::Nothing) => {}
                    Ok(Taken::Deleted) => report.deleted.push(object),
                    Ok(Taken::Restored) => report.restored.push(object),
                    Ok(Taken::Left(reason)) => report.left.push(Left {
                        object,
                        reason,
                        failed: false,
                    }),
                    Err(error) => report.left.push(Left {
                        object,
                        reason: error.full(),
                        failed: true,
                    }),
                }
            }
        }
        self.wait_until_gone(&mut report).await;
        self.reopen_claims(&mut report).await;
        self.note_claims_of_others(&mut report).await;
        report
    }

    /// Lists the plan's claims that an earlier run made and this one only found: who takes a run back expects
    /// to see where the data is.
    async fn note_claims_of_others(&self, report: &mut UndoReport) {
        for step in &self.plan.steps {
            let Action::Apply { body, .. } = &step.action else {
                continue;
            };
            if !body.is("", "PersistentVolumeClaim") || self.past.intended(step.number) {
                continue;
            }
            let Ok((resource, _)) = self.resources.of(body) else {
                continue;
            };
            // Nothing is to be done to it, so one that cannot be read is no failure.
            if let Ok(Some(live)) = self.context.target.get(Place::of(resource, body)).await
                && let Some(reason) = made_by_another(&live, self.context.run)
            {
                report.left.push(Left {
                    object: step.object.clone(),
                    reason,
                    failed: false,
                });
            }
        }
    }

    async fn take_back(&self, step: &Step) -> Result<Taken, StepError> {
        let Action::Apply { body, .. } = &step.action else {
            return Ok(Taken::Nothing);
        };
        let (resource, _) = self.resources.of(body)?;
        let Some(live) = self.context.target.get(Place::of(resource, body)).await? else {
            return Ok(Taken::Nothing);
        };
        let after = self.after(step);
        match self.past.before.get(&step.number) {
            Some(Some(before)) => self.give_back(resource, &live, before, after).await,
            _ => self.delete(resource, &live, after).await,
        }
    }

    /// The last thing the run made of the step's object.
    fn after(&self, step: &Step) -> Option<&After> {
        let of = |step: &Step| self.past.ended.get(&step.number)?.after.as_ref();
        let release = self.plan.steps.iter().find(|other| {
            matches!(other.action, Action::Release { .. }) && other.object == step.object
        });
        release.and_then(of).or_else(|| of(step))
    }

    async fn delete(
        &self,
        resource: &ApiResource,
        live: &Object,
        after: Option<&After>,
    ) -> Result<Taken, StepError> {
        let uid = live.uid().unwrap_or_default();
        let marked = live.label(RUN_LABEL) == Some(self.context.run);
        match after {
            Some(after) if after.uid != uid || !marked => {
                return Ok(Taken::Left("it is not the object this run made".into()));
            }
            // Announced and never written: the object is somebody else's.
            None if !marked => return Ok(Taken::Nothing),
            _ => {}
        }
        if let Some(reason) = self.keeps(live).await? {
            return Ok(Taken::Left(reason));
        }
        let delete = Delete {
            uid: Some(uid.into()),
            ..Delete::default()
        };
        self.context
            .target
            .delete(Place::of(resource, live), &delete)
            .await?;
        Ok(Taken::Deleted)
    }

    /// Why an object this run made must stay nevertheless.
    async fn keeps(&self, live: &Object) -> Result<Option<String>, StepError> {
        let id = live.id();
        if let Some(editor) = self.kept_for(live) {
            let reason = format!("it was edited since by {editor}; --delete-edited removes it too");
            return Ok(Some(reason));
        }
        let data = id.is("", "PersistentVolumeClaim") || id.is("", "PersistentVolume");
        if data && !self.options.delete_data {
            return Ok(Some("it holds data; --delete-data removes it too".into()));
        }
        if id.is("", "Namespace") {
            let others = self.others(&id.name).await?;
            return Ok(others.first().map(|first| {
                format!(
                    "it still holds {} object(s) that stay, as {first}",
                    others.len()
                )
            }));
        }
        if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            let kind = live.text("/spec/names/kind").unwrap_or_default();
            let group = live.text("/spec/group").unwrap_or_default();
            let remaining = self.custom_objects(group, kind).await?;
            return Ok((remaining > 0).then(|| format!("{remaining} {kind} object(s) remain")));
        }
        Ok(None)
    }

    /// Who edited an object so that it stays.
    fn kept_for(&self, live: &Object) -> Option<String> {
        edited::edited_by(live).filter(|_| !self.options.delete_edited)
    }

    async fn custom_objects(&self, group: &str, kind: &str) -> Result<usize, StepError> {
        let mine = |resource: &&ApiResource| resource.group == group && resource.kind == kind;
        let Some(resource) = self
            .served
            .iter()
            .filter(mine)
            .max_by_key(|found| found.preferred)
        else {
            return Ok(0);
        };
        let all = self
            .context
            .target
            .list(resource, None, &ListOptions::default())
            .await?;
        Ok(all.iter().filter(|object| !object.is_going()).count())
    }

    /// Objects in a namespace that deleting it would take away and this undo did not delete.
    async fn others(&self, namespace: &str) -> Result<Vec<ObjectId>, StepError> {
        let listable = |resource: &&ApiResource| {
            let verbs = ["list", "delete"];
            resource.namespaced
                && resource.preferred
                && verbs.iter().all(|verb| resource.verbs.contains(*verb))
                && !PASSING.contains(&resource.kind.as_str())
        };
        let resources: Vec<ApiResource> = self.served.iter().filter(listable).cloned().collect();
        let options = &ListOptions::default();
        let mut lists = stream::iter(resources)
            .map(|resource| async move {
                self.context
                    .target
                    .list(&resource, Some(namespace), options)
                    .await
            })
            .buffer_unordered(PARALLEL);
        let mut others = BTreeSet::new();
        while let Some(list) = lists.next().await {
            let staying = list?.into_iter().filter(|object| self.stays(object));
            others.extend(staying.map(|object| object.id()));
        }
        Ok(others.into_iter().collect())
    }

    fn stays(&self, object: &Object) -> bool {
        let id = object.id();
        if object.is_going() {
            return false;
        }
        if id.is("", "PersistentVolumeClaim") && !self.options.delete_data {
            return true;
        }
        let owned = object.pointer("/metadata/ownerReferences").is_some();
        let ours =
            object.label(RUN_LABEL) == Some(self.context.run) && self.kept_for(object).is_none();
        let born = BORN
            .iter()
            .any(|(kind, name)| id.is("", kind) && id.name == *name);
        !owned && !ours && !born
    }

    async fn give_back(
        &self,
        resource: &ApiResource,
        live: &Object,
        before: &Object,
        after: Option<&After>,
    ) -> Result<Taken, StepError> {
        if live.uid() != before.uid() {
            return Ok(Taken::Left("it was made anew since".into()));
        }
        let now = digest(&content(live));
        if now == digest(&content(before)) {
            return Ok(Taken::Nothing);
        }
        if after.is_some_and(|after| after.content != now) {
            return Ok(Taken::Left("it was changed since".into()));
        }
        let place = Place::of(resource, live);
        self.context
            .target
            .patch(place, None, &back(live, before), MANAGER)
            .await?;
        Ok(Taken::Restored)
    }

    async fn wait_until_gone(&self, report: &mut UndoReport) {
        let deadline = Instant::now() + GONE;
        let applies = self.plan.applies();
        for id in &report.deleted {
            let Some(Action::Apply { body, .. }) = applies.get(id).map(|step| &step.action) else {
                continue;
            };
            let Ok((resource, _)) = self.resources.of(body) else {
                continue;
            };
            while let Ok(Some(_)) = self.context.target.get(Place::of(resource, body)).await {
                if Instant::now() > deadline {
                    let reason = "it is still being deleted".to_owned();
                    report.left.push(Left {
                        object: id.clone(),
                        reason,
                        failed: true,
                    });
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let left: BTreeSet<&ObjectId> = report.left.iter().map(|left| &left.object).collect();
        report.deleted.retain(|id| !left.contains(id));
    }
}

/// Kinds that come and go by themselves.
const PASSING: [&str; 4] = ["Event", "Endpoints", "EndpointSlice", "Lease"];

/// What every namespace is born with.
const BORN: [(&str, &str); 3] = [
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
];

/// Why a claim that another run made stays.
fn made_by_another(live: &Object, run: &str) -> Option<String> {
    let owner = live.label(RUN_LABEL).filter(|owner| *owner != run)?;
    Some(format!(
        "run {owner} made it; `ferry runs undo {owner} --delete-data` takes it back"
    ))
}

/// A patch that changes what users own back, and fails when the object changed in between.
fn back(live: &Object, before: &Object) -> Patch {
    let mut wanted = live.value().clone();
    if let (Some(wanted), Some(before)) = (wanted.as_object_mut(), before.value().as_object()) {
        wanted.retain(|key, _| KEPT.contains(&key.as_str()) || before.contains_key(key));
        for (key, value) in before
            .iter()
            .filter(|(key, _)| !KEPT.contains(&key.as_str()))
        {
            wanted.insert(key.clone(), value.clone());
        }
        for key in ["labels", "annotations", "ownerReferences", "finalizers"] {
            let former = before
                .get("metadata")
                .and_then(|metadata| metadata.get(key));
            if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
                match former {
                    Some(former) => drop(metadata.insert(key.into(), former.clone())),
                    None => drop(metadata.remove(key)),
                }
            }
        }
    }
    let mut operations = vec![json!({"op": "test", "path": "/metadata/resourceVersion",
        "value": live.resource_version()})];
    let changes = json_patch::diff(live.value(), &wanted);
    operations.extend(
        changes
            .0
            .iter()
            .filter_map(|change| serde_json::to_value(change).ok()),
    );
    Patch::Json(Value::Array(operations))
}

/// Top-level fields an undo does not touch as a whole.
const KEPT: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_an_earlier_run_is_left_with_that_runs_name() {
        let claim = |labels: Value| {
            Object::new(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "db", "namespace": "shop", "labels": labels}}))
            .unwrap()
        };
        let reason = made_by_another(&claim(json!({"ferry.dev/run": "r1"})), "r2").unwrap();
        assert!(
            reason.contains("ferry runs undo r1 --delete-data"),
            "{reason}"
        );
        assert_eq!(
            made_by_another(&claim(json!({"ferry.dev/run": "r2"})), "r2"),
            None
        );
        assert_eq!(made_by_another(&claim(json!({})), "r2"), None);
    }

    #[test]
    fn giving_back_changes_what_users_own_and_nothing_else() {
        let object = |data: Value, version: &str, status: i64| {
            Object::new(
                json!({"apiVersion": "v1", "kind": "X", "data": data, "status": {"n": status},
                "metadata": {"name": "x", "uid": "u", "resourceVersion": version}}),
            )
            .unwrap()
        };
        let (live, before) = (
            object(json!({"a": 2, "b": 1}), "7", 5),
            object(json!({"a": 1}), "3", 4),
        );
        let Patch::Json(patch) = back(&live, &before) else {
            panic!()
        };
        let mut value = live.value().clone();
        json_patch::patch(
            &mut value,
            &serde_json::from_value::<json_patch::Patch>(patch).unwrap(),
        )
        .unwrap();
        assert_eq!(value, *object(json!({"a": 1}), "7", 5).value());
    }
}
