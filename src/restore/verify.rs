//! Looks again at what a run made: is it there, as planned, ready, and does the data's mark stand?

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::past::Past;
use super::resource::Resources;
use super::{RestoreError, RunContext, StepError, not_undone, plan_of};
use crate::capture::Proof;
use crate::cluster::{ApplyOptions, MANAGER, Place};
use crate::data::Movers;
use crate::journal;
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Class, Plan, Step, same, stamp};
use crate::ready::{Around, Readiness, readiness};
use crate::target::DryRun;

/// Objects looked at at once.
const PARALLEL: usize = 16;

/// What a look at a finished run shows.
#[must_use = "objects may differ"]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Objects that are as planned and ready.
    pub good: u64,
    /// Objects that are not, each with what is wrong.
    pub wrong: BTreeMap<String, String>,
    /// Claims whose mark says that exactly the saved data arrived, with what was found then. Their data is
    /// not read again.
    pub proofs: Vec<Proven>,
}

/// What a run's load found in a claim, equal to what was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// The claim on B.
    pub claim: ObjectId,
    /// When the load ended, as the journal has it.
    pub at: Timestamp,
    /// What was found.
    #[serde(flatten)]
    pub proof: Proof,
}

/// Compares B with what a run was to make.
///
/// # Errors
/// When the store has no such run, it was undone, or cluster B does not answer at all.
pub async fn verify<M: Movers>(context: &RunContext<'_, M>) -> Result<VerifyReport, RestoreError> {
    let plan = plan_of(&*context.files, context.run).await?;
    let records = journal::read(&*context.files, context.run).await?;
    not_undone(&records, context.run)?;
    let past = Past::new(&records, context.run);
    let verify = Verify {
        context,
        resources: Resources::new(context.target.served().await?, &plan),
        bodies: final_bodies(&plan),
        plan: &plan,
    };
    let mut report = VerifyReport::default();
    let bodies: Vec<(&ObjectId, &Object)> = verify.bodies.clone().into_iter().collect();
    let looking = &verify;
    let mut looks = stream::iter(bodies)
        .map(|(id, body)| async move { (id, looking.look(body).await) })
        .buffer_unordered(PARALLEL);
    while let Some((id, look)) = looks.next().await {
        match look {
            Ok(None) => report.good += 1,
            Ok(Some(wrong)) => drop(report.wrong.insert(id.to_string(), wrong)),
            Err(error) => drop(report.wrong.insert(id.to_string(), error.full())),
        }
    }
    drop(looks);
    for step in &plan.steps {
        verify.look_at_data(step, &past, &mut report).await;
    }
    Ok(report)
}

/// Every object as it shall be in the end: released where it was held.
fn final_bodies(plan: &Plan) -> BTreeMap<&ObjectId, &Object> {
    let mut bodies = BTreeMap::new();
    for step in &plan.steps {
        match &step.action {
            Action::Apply {
                class: Class::Blocked | Class::Keep,
                ..
            } => {}
            Action::Apply { body, .. } | Action::Release { body, .. } => {
                bodies.insert(&step.object, &**body);
            }
            _ => {}
        }
    }
    bodies
}

struct Verify<'a, M> {
    context: &'a RunContext<'a, M>,
    resources: Resources,
    bodies: BTreeMap<&'a ObjectId, &'a Object>,
    plan: &'a Plan,
}

impl<M: Movers> Verify<'_, M> {
    /// What is wrong with one object, if anything.
    async fn look(&self, body: &Object) -> Result<Option<String>, StepError> {
        let (resource, _) = self.resources.of(body)?;
        let target = self.context.target;
        let Some(live) = target.get(Place::of(resource, body)).await? else {
            return Ok(Some("it is not there".into()));
        };
        let claim = body.is("", "PersistentVolumeClaim");
        let mut sent = body.clone();
        stamp::keep(&mut sent, &live);
        let options = ApplyOptions {
            manager: MANAGER,
            force: false,
            dry_run: true,
        };
        let answer = match target.apply(resource, &sent, &options).await {
            Ok(object) => Some(DryRun::Accepted { object }),
            Err(error) if error.failure().is_some() => None,
            Err(error) => return Err(error.into()),
        };
        if !claim && !same(&sent, &live, answer.as_ref()) {
            return Ok(Some("it differs from the plan".into()));
        }
        let around = Around {
            late_binding: self.plan.late_binding.clone(),
            present: crate::ready::beside(&self.context.knowledge.gates, &live.id())
                .into_iter()
                .collect(),
        };
        Ok(
            match readiness(&self.context.knowledge.gates, &live, &around) {
                Readiness::Current | Readiness::Settling => None,
                Readiness::InProgress(reason) | Readiness::Failed(reason) => Some(reason),
            },
        )
    }

    async fn look_at_data(&self, step: &Step, past: &Past, report: &mut VerifyReport) {
        let Action::Load(volume) = &step.action else {
            return;
        };
        let claim = &volume.target;
        let proof = past
            .ended
            .get(&step.number)
            .and_then(|ended| Some((ended.proof.clone()?, ended.time)));
        let mark = match self.bodies.get(claim) {
            Some(body) => self.mark(body).await,
            None => None,
        };
        match proof {
            Some((proof, at)) if mark.as_deref() == Some(proof.digest.as_str()) => {
                let claim = claim.clone();
                report.proofs.push(Proven { claim, at, proof });
            }
            _ => {
                let wrong = "its data has not arrived in full".to_owned();
                report.wrong.insert(claim.to_string(), wrong);
            }
        }
    }

    async fn mark(&self, body: &Object) -> Option<String> {
        let (resource, _) = self.resources.of(body).ok()?;
        let live = self
            .context
            .target
            .get(Place::of(resource, body))
            .await
            .ok()??;
        live.annotation(self.plan.purpose.mark()).map(str::to_owned)
    }
}
