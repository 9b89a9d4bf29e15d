//! Owners by the UIDs they have on B (W-12).
//!
//! What is written after its owner carries the reference from the start. Data an operator would make
//! anew, such as a Secret or a claim, is written before its owner and linked when that is there.

use serde_json::{Value, json};

use super::StepError;
use super::engine::Engine;
use crate::capture::Owner;
use crate::cluster::{MANAGER, Patch, Place};
use crate::data::Movers;
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Class, Step};

/// How often a link is tried on an object that changes under it.
const ATTEMPTS: usize = 5;

impl<M: Movers> Engine<'_, M> {
    /// References to those owners of a step's object that are on B.
    pub(super) fn references(&self, step: &Step) -> Vec<Value> {
        let Action::Apply { owners, .. } = &step.action else {
            return Vec::new();
        };
        owners
            .iter()
            .filter_map(|owner| self.reference(owner))
            .collect()
    }

    fn reference(&self, owner: &Owner) -> Option<Value> {
        let uid = self.uids.lock().ok()?.get(&owner.id)?.clone();
        let Action::Apply { body, .. } = &self.applies.get(&owner.id)?.action else {
            return None;
        };
        Some(
            json!({"apiVersion": body.api_version(), "kind": body.kind(),
            "name": body.name(), "uid": uid, "controller": owner.controller,
            "blockOwnerDeletion": owner.block_deletion}),
        )
    }

    /// Links what this run made earlier to the owner it has just written. A missing link does no harm
    /// now, so a failure is a warning.
    pub(super) async fn adopt(&self, owner: &ObjectId) {
        for step in self.applies.values() {
            let Action::Apply {
                body,
                owners,
                class: Class::Create,
                ..
            } = &step.action
            else {
                continue;
            };
            let Some(link) = owners.iter().find(|link| link.id == *owner) else {
                continue;
            };
            let written = self
                .uids
                .lock()
                .is_ok_and(|uids| uids.contains_key(&step.object));
            if !written {
                continue;
            }
            if let Err(error) = self.link(body, link).await {
                let text = format!(
                    "{} is not linked to its owner {owner}: {}",
                    step.object,
                    error.full()
                );
                self.events().warning(text);
            }
        }
    }

    async fn link(&self, body: &Object, owner: &Owner) -> Result<(), StepError> {
        let (resource, _) = self.resources.of(body)?;
        let place = Place::of(resource, body);
        let Some(reference) = self.reference(owner) else {
            return Ok(());
        };
        let mut attempt = 1;
        loop {
            let Some(live) = self.target().get(place).await? else {
                return Ok(());
            };
            let Some(references) = linked(&live, &reference) else {
                return Ok(());
            };
            // An apply merges references by UID and may not take a second controller; a patch that
            // names the version it saw can neither lose nor double one.
            let patch = Patch::Json(json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": live.resource_version()},
                {"op": "add", "path": "/metadata/ownerReferences", "value": references},
            ]));
            match self.target().patch(place, None, &patch, MANAGER).await {
                Ok(_) => return Ok(()),
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(_) => attempt += 1,
            }
        }
    }
}

/// The object's references with one more; `None` when it has that owner, or another controller took
/// the place.
fn linked(live: &Object, reference: &Value) -> Option<Vec<Value>> {
    let mut references: Vec<Value> = live
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let controls = |reference: &Value| reference["controller"] == true;
    let taken = references
        .iter()
        .any(|other| other["uid"] == reference["uid"] || (controls(other) && controls(reference)));
    if taken {
        return None;
    }
    references.push(reference.clone());
    Some(references)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w_12_a_controller_on_b_keeps_its_place() {
        let live = |references: Value| {
            Object::new(json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "s", "ownerReferences": references}}))
            .unwrap()
        };
        let ours = json!({"uid": "1", "controller": true});
        let theirs = json!({"uid": "2", "controller": true});
        assert_eq!(linked(&live(json!([])), &ours), Some(vec![ours.clone()]));
        assert_eq!(linked(&live(json!([theirs.clone()])), &ours), None);
        assert_eq!(linked(&live(json!([ours.clone()])), &ours), None);
        let other = json!({"uid": "2", "controller": false});
        let both = Some(vec![other.clone(), ours.clone()]);
        assert_eq!(linked(&live(json!([other])), &ours), both);
    }
}
