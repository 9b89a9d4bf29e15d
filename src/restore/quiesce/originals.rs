//! What workloads of A were before they were held, and giving them back exactly that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ATTEMPTS, all_of, place, resource};
use crate::capture::Capture;
use crate::cluster::{Cluster, MANAGER, Patch, Place};
use crate::journal::{Entry, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Hold, Plan};
use crate::restore::StepError;
use crate::surface::ApiResource;

/// An annotation that is there for a moment, for a workload's version to change.
const TOUCHED: &str = "ferry.dev/touched";

/// What workloads of A were before this run held them, by the number of the step; without those that an
/// undo gave back.
pub(in crate::restore) fn originals(plan: &Plan, records: &[Record]) -> BTreeMap<u32, Object> {
    let quiesces = |number: u32| {
        let step = plan.steps.get(number as usize);
        step.is_some_and(|step| step.action.holds_on_source().is_some())
    };
    let mut originals = BTreeMap::new();
    for record in records {
        let Some(step) = record.step.filter(|step| quiesces(*step)) else {
            continue;
        };
        match &record.entry {
            // Nothing is announced of what is held already: the last one is what somebody wanted last.
            Entry::Intent {
                before: Some(before),
                ..
            } => drop(originals.insert(step, before.clone())),
            Entry::GivenBack => drop(originals.remove(&step)),
            _ => {}
        }
    }
    originals
}

/// Workloads that a run held and that are at rest as it left them, as a capture shows them.
pub fn still_held(plan: &Plan, records: &[Record], capture: &Capture) -> Vec<ObjectId> {
    let live: BTreeMap<ObjectId, &Object> = (capture.objects.iter())
        .map(|captured| (captured.raw.id(), &captured.raw))
        .collect();
    let held = |(number, before): (u32, Object)| {
        let step = plan.steps.get(number as usize)?;
        let Action::Quiesce { holds } = &step.action else {
            return None;
        };
        let live = live.get(&step.object)?;
        let is_held = |hold: &Hold| {
            hold.is_set(live) && live.pointer(&hold.path) != before.pointer(&hold.path)
        };
        let same = live.uid() == before.uid();
        (same && holds.iter().any(is_held)).then(|| step.object.clone())
    };
    originals(plan, records)
        .into_iter()
        .filter_map(held)
        .collect()
}

/// What became of giving a workload of A back.
pub(in crate::restore) enum Given {
    /// It is as it was.
    Back,
    /// It was as it was already, or is gone.
    Nothing,
    /// Somebody else changed it since.
    Left(String),
}

/// Takes the holds off one workload of A, and gives the fields to those who had them. One that is not held may have
/// been `announced` only: its hold may still be on its way, from a process that nobody has stopped.
pub(in crate::restore) async fn give_back(
    source: &Cluster,
    served: &[ApiResource],
    holds: &[Hold],
    before: &Object,
    announced: bool,
) -> Result<Given, StepError> {
    let id = before.id();
    let resource = resource(served, &id)?;
    let place = place(resource, &id);
    for _ in 0..ATTEMPTS {
        let Some(live) = source.get(place).await? else {
            return Ok(Given::Nothing);
        };
        if live.uid() != before.uid() {
            return Ok(Given::Left("it was made anew since".into()));
        }
        let differs = |hold: &&Hold| live.pointer(&hold.path) != before.pointer(&hold.path);
        let open: Vec<&Hold> = holds.iter().filter(differs).collect();
        if open.is_empty() && (!announced || touch(source, place, &live).await?) {
            return Ok(Given::Nothing);
        }
        if open.is_empty() {
            continue;
        }
        if let Some(hold) = open.iter().find(|hold| !hold.is_set(&live)) {
            let reason = format!("{} was changed since by somebody else", hold.path);
            return Ok(Given::Left(reason));
        }
        let former = open.into_iter().map(|hold| {
            let former = before.pointer(&hold.path).cloned();
            hold.set_to(former.unwrap_or_default())
        });
        let patch = Patch::Merge(all_of(&live, former));
        match source.patch(place, None, &patch, MANAGER).await {
            Ok(live) => {
                owners_back(source, resource, before, live).await;
                return Ok(Given::Back);
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Given::Left(
        "it changes faster than it can be written".into(),
    ))
}

/// Writes to a workload and takes that back: a hold on its way is for the version that was, and is refused now. Who
/// sends it has to announce the next one in the journal, which is closed to it. False when somebody else wrote first.
async fn touch(source: &Cluster, place: Place<'_>, live: &Object) -> Result<bool, StepError> {
    let mark = |value: Value| json!({"metadata": {"annotations": {TOUCHED: value}}});
    let mut patch = mark("true".into());
    patch["metadata"]["resourceVersion"] = live.resource_version().into();
    match source
        .patch(place, None, &Patch::Merge(patch), MANAGER)
        .await
    {
        Ok(_) => {
            let patch = Patch::Merge(mark(Value::Null));
            source.patch(place, None, &patch, MANAGER).await?;
            Ok(true)
        }
        Err(error) if error.is_conflict() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives fields back to the managers who owned them: who applies the object next time, as a GitOps
/// controller does, meets no conflict with Ferry. Where that fails the workload runs all the same.
async fn owners_back(source: &Cluster, resource: &ApiResource, before: &Object, given: Object) {
    let (theirs, ours) = (entries(before, false), entries(&given, false));
    let mut live = given;
    // The workload's controller writes its status meanwhile; anybody else's write is left alone.
    for _ in 0..ATTEMPTS {
        let mut wanted = theirs.clone();
        wanted.extend(entries(&live, true));
        let patch = Patch::Json(json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version()},
            {"op": "add", "path": "/metadata/managedFields", "value": wanted},
        ]));
        let place = Place::of(resource, &live);
        let Err(error) = source.patch(place, None, &patch, MANAGER).await else {
            return;
        };
        tracing::debug!(%error, object = %live.id(), "fields stay with Ferry's manager so far");
        match source.get(place).await {
            Ok(Some(found)) if entries(&found, false) == ours => live = found,
            _ => return,
        }
    }
}

/// What managers own of an object, or of its status.
fn entries(object: &Object, status: bool) -> Vec<Value> {
    let entries = object.pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    entries
        .filter(|entry| (entry["subresource"] == "status") == status)
        .cloned()
        .collect()
}
