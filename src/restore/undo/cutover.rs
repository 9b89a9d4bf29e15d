//! What an undo of a cutover does besides: A runs as it did, and B's claims wait for the next sync.

use serde_json::json;

use super::super::quiesce::{self, Given};
use super::{Left, Undo, UndoReport};
use crate::cluster::{MANAGER, Patch, Place};
use crate::data::Movers;
use crate::journal::{Entry, Journal, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Plan, Purpose, Step, stamp};
use crate::restore::{RestoreError, StepError};

/// Whether a cutover has begun to start the application on B. From then on B may have data that A has
/// not.
pub fn released(plan: &Plan, records: &[Record]) -> bool {
    records
        .iter()
        .filter(|record| matches!(record.entry, Entry::Intent { .. }))
        .filter_map(|record| plan.steps.get(record.step? as usize))
        .any(|step| starts(plan, step))
}

/// Whether a step starts something on B, for which A has to stand still.
fn starts(plan: &Plan, step: &Step) -> bool {
    step.needs.iter().any(|need| {
        let needed = plan.steps.get(need.step as usize);
        needed.is_some_and(|step| matches!(step.action, Action::Quiet { waits: false }))
    })
}

impl<M: Movers> Undo<'_, M> {
    /// What the cutover started on B and the undo left there.
    pub(super) fn still_on_target(&self, report: &UndoReport) -> Option<ObjectId> {
        let left = report.left.iter().map(|left| &left.object);
        let mut running = left.filter(|id| {
            let mut steps = self.plan.steps.iter().filter(|step| step.object == **id);
            steps.any(|step| starts(self.plan, step))
        });
        running.next().cloned()
    }

    /// Lists A's workloads as left, for what runs on B.
    pub(super) fn leave_source_held(&self, report: &mut UndoReport, running: &ObjectId) {
        for number in self.originals.keys() {
            if let Some(step) = self.plan.steps.get(*number as usize) {
                report.left.push(Left {
                    object: step.object.clone(),
                    reason: format!(
                        "on cluster A: it stays held, as {running} still runs on cluster B; remove that, or pass \
                         --delete-edited, and undo again"
                    ),
                    failed: true,
                });
            }
        }
    }

    /// Takes the holds off A's workloads: those that control others last, as they were held first.
    pub(super) async fn give_source_back(
        &self,
        report: &mut UndoReport,
        journal: &Journal,
    ) -> Result<(), RestoreError> {
        if self.originals.is_empty() {
            return Ok(());
        }
        let source = self.context.source.ok_or(RestoreError::NoSource)?;
        let served = source.served().await?;
        for (number, before) in self.originals.iter().rev() {
            let Some(step) = self.plan.steps.get(*number as usize) else {
                continue;
            };
            let Some(holds) = step.action.holds_on_source() else {
                continue;
            };
            let object = &step.object;
            let given = || journal.note(Record::of_step(step, Entry::GivenBack));
            let left = |reason: String, failed: bool| Left {
                object: object.clone(),
                reason: format!("on cluster A: {reason}"),
                failed,
            };
            let announced = !self.past.ended.contains_key(number);
            match quiesce::give_back(source, &served, holds, before, announced).await {
                Ok(Given::Back) => {
                    given();
                    report.given_back.push(object.clone());
                }
                Ok(Given::Nothing) => given(),
                Ok(Given::Left(reason)) => report.left.push(left(reason, false)),
                Err(error) => report.left.push(left(error.full(), true)),
            }
        }
        Ok(())
    }

    /// Lets the next sync go on with the claims: what they hold is not final after all.
    pub(super) async fn reopen_claims(&self, report: &mut UndoReport) {
        if self.plan.purpose != Purpose::Cutover {
            return;
        }
        let loads = self
            .plan
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Load(_)));
        for step in loads.filter(|step| self.past.intended(step.number)) {
            if let Err(error) = self.reopen(step).await {
                report.left.push(Left {
                    object: step.object.clone(),
                    reason: format!("it is not marked for the next sync: {}", error.full()),
                    failed: true,
                });
            }
        }
    }

    async fn reopen(&self, step: &Step) -> Result<(), StepError> {
        let applies = self.plan.applies();
        let Some(Action::Apply { body, .. }) = applies.get(&step.object).map(|step| &step.action)
        else {
            return Ok(());
        };
        let (resource, _) = self.resources.of(body)?;
        let place = Place::of(resource, body);
        let Some(live) = self.context.target.get(place).await? else {
            return Ok(());
        };
        let Some(holds) = final_digest(&live) else {
            return Ok(());
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": {
            stamp::DATA_ANNOTATION: stamp::DATA_PENDING, stamp::SYNC_ANNOTATION: holds}}}));
        self.context
            .target
            .patch(place, None, &patch, MANAGER)
            .await?;
        Ok(())
    }
}

/// What a claim holds for good, by its mark.
fn final_digest(live: &Object) -> Option<&str> {
    live.annotation(stamp::DATA_ANNOTATION)
        .filter(|held| *held != stamp::DATA_PENDING)
}
