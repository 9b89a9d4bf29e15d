//! Cluster A in a cutover: workloads are kept quiet by holds (W-9), and given back as they were.
//!
//! What a workload was is in the journal before anything of it is changed, whole, so that an abort gives
//! back exactly that: the value, and who owns it. A workload that is quiet by itself, such as a suspended
//! CronJob, is neither touched nor journalled, and so stays as it is whatever becomes of the run.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::patience::{Patience, still_running};
use self::watch::{Watch, in_words};
use super::StepError;
use super::engine::{Engine, Executed};
use crate::cluster::{Cluster, MANAGER, Patch, Place};
use crate::data::Movers;
use crate::event::Event;
use crate::journal::{Entry, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Hold, Step};
use crate::surface::ApiResource;

mod originals;
mod patience;
mod watch;

pub use originals::still_held;
pub(super) use originals::{Given, give_back, originals};
pub use watch::{PodTimes, pod_times};

/// How often a write is tried against an object that changes under it.
const ATTEMPTS: usize = 5;
const LOOK: Duration = Duration::from_millis(250);
/// How often it is seen while pods end that nobody gave a workload back.
const CHECK: Duration = Duration::from_secs(5);

impl<M: Movers> Engine<'_, M> {
    /// Sets the holds of one workload of A.
    pub(super) async fn quiesce(&self, step: &Step, holds: &[Hold]) -> Result<Executed, StepError> {
        if self.released {
            return Ok(Executed::found());
        }
        self.unbroken()?;
        // The last moment before the application stands still.
        self.standing_by.get_or_try_init(|| self.stand_by()).await?;
        self.take(step, holds, true).await
    }

    /// Sets fields of one object of A, whose whole is in the journal before. One that is to be quiet `for_data` was held
    /// before its data was taken.
    pub(super) async fn take(
        &self,
        step: &Step,
        holds: &[Hold],
        for_data: bool,
    ) -> Result<Executed, StepError> {
        let (source, served) = self.source().await?;
        let resource = resource(served, &step.object)?;
        let place = place(resource, &step.object);
        for _ in 0..ATTEMPTS {
            // What was deleted meanwhile is as quiet as can be.
            let Some(live) = source.get(place).await? else {
                return Ok(Executed::default());
            };
            let Some(patch) = still_to_hold(holds, &live) else {
                return Ok(Executed::default());
            };
            if for_data && self.data_was_taken() {
                return Err(self.broken(step, started_again(&step.object)).await);
            }
            let entry = Entry::Intent {
                before: Some(live),
                payload: String::new(),
            };
            self.journal.intend(Record::of_step(step, entry)).await?;
            match source
                .patch(place, None, &Patch::Merge(patch), MANAGER)
                .await
            {
                Ok(_) => return Ok(Executed::default()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StepError::Running {
            reason: "it changes faster than it can be held".into(),
        })
    }

    /// Waits until nothing runs in a namespace of A that could still write to what moves; or, once the data
    /// was taken, sees that nothing has begun to.
    pub(super) async fn quiet(&self, step: &Step, waits: bool) -> Result<Executed, StepError> {
        if self.released {
            return Ok(Executed::found());
        }
        self.unbroken()?;
        let (source, served) = self.source().await?;
        let namespace = step.object.name.as_str();
        let watch = Watch::new(self.plan, source, served, namespace);
        let mut patience = Patience::from(Instant::now());
        let (mut told, mut checked) = (None::<(String, Instant)>, None::<Instant>);
        loop {
            let running = watch.running().await?;
            if running.is_empty() || checked.is_none_or(|at| at.elapsed() > CHECK) {
                if let Some(id) = watch.given_back().await? {
                    let reason = started_again(id);
                    return Err(match waits && !self.data_was_taken() {
                        true => StepError::Running { reason },
                        false => self.broken(step, reason).await,
                    });
                }
                checked = Some(Instant::now());
            }
            if running.is_empty() {
                return Ok(Executed::default());
            }
            if !waits {
                let names = in_words(&running);
                let reason = format!("{names} runs on cluster A after its data was taken");
                return Err(self.broken(step, reason).await);
            }
            if let Some(reason) = patience.over(&running, Instant::now()) {
                return Err(StepError::Running { reason });
            }
            let message = still_running(&running);
            // Again now and then: who writes lines tells only of what lasts.
            let fresh = told
                .as_ref()
                .is_some_and(|(last, at)| *last == message && at.elapsed() < CHECK);
            if !fresh {
                self.events().send(Event::Waiting {
                    object: step.object.clone(),
                    message: message.clone(),
                });
                told = Some((message, Instant::now()));
            }
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(StepError::Stopped),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether an earlier process of the run froze or read volumes: all was held by then.
    fn data_was_taken(&self) -> bool {
        self.plan.steps.iter().any(|step| {
            let takes = matches!(step.action, Action::Snapshot(_) | Action::Save(_));
            takes && self.past.intended(step.number)
        })
    }

    /// Records that A has what the data does not show, so that no resume starts B without it.
    async fn broken(&self, step: &Step, reason: String) -> StepError {
        let entry = Entry::Broken {
            reason: reason.clone(),
        };
        match self.journal.intend(Record::of_step(step, entry)).await {
            Ok(()) => only_back(&reason),
            Err(error) => error.into(),
        }
    }

    /// Refuses to go on with a run that can only be taken back.
    fn unbroken(&self) -> Result<(), StepError> {
        match &self.past.broken {
            Some(reason) => Err(only_back(reason)),
            None => Ok(()),
        }
    }

    /// Cluster A and what it serves.
    pub(super) async fn source(&self) -> Result<(&Cluster, &[ApiResource]), StepError> {
        let Some(source) = self.context.source else {
            return Err(StepError::NoSource);
        };
        let served = self
            .source_served
            .get_or_try_init(|| source.served())
            .await?;
        Ok((source, served.as_slice()))
    }
}

fn started_again(id: &ObjectId) -> String {
    format!(
        "{id} was started again on cluster A while it was held, by a GitOps controller, an operator or a \
         person"
    )
}

fn only_back(reason: &str) -> StepError {
    StepError::Running {
        reason: format!(
            "{reason}: what was written there is not on B; take the cutover back with `ferry cutover \
             --abort`, and begin anew when nothing starts it"
        ),
    }
}

/// A merge patch that sets what is not quiet yet of exactly this object; `None` when all of it is.
fn still_to_hold(holds: &[Hold], live: &Object) -> Option<Value> {
    let open: Vec<&Hold> = holds.iter().filter(|hold| !hold.is_quiet(live)).collect();
    if open.is_empty() {
        return None;
    }
    let set = open.into_iter().map(|hold| hold.set_to(hold.held.clone()));
    Some(all_of(live, set))
}

/// One merge patch of several, for exactly this version of an object.
fn all_of(live: &Object, patches: impl Iterator<Item = Value>) -> Value {
    let mut all = json!({"metadata": {"resourceVersion": live.resource_version()}});
    patches.for_each(|patch| lay(&mut all, patch));
    all
}

/// Puts one merge patch beside another. To merge them would carry out the nulls of the second, which are to be sent.
fn lay(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                lay(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn resource<'a>(served: &'a [ApiResource], id: &ObjectId) -> Result<&'a ApiResource, StepError> {
    let found = served
        .iter()
        .find(|one| one.group == id.group && one.kind == id.kind && one.preferred);
    found.ok_or_else(|| StepError::Running {
        reason: format!("cluster A does not serve {} any more", id.group_kind()),
    })
}

fn place<'a>(resource: &'a ApiResource, id: &'a ObjectId) -> Place<'a> {
    Place {
        resource,
        namespace: id.namespace.as_deref(),
        name: &id.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_stands_in_the_patch() {
        let live = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "resourceVersion": "7"}});
        let patches = [
            json!({"spec": {"tls": null}}),
            json!({"spec": {"rules": [1]}}),
            json!({"metadata": {"annotations": {"a": null}}}),
        ];
        let all = all_of(&Object::new(live).unwrap(), patches.into_iter());
        let wanted = json!({"metadata": {"resourceVersion": "7", "annotations": {"a": null}},
            "spec": {"tls": null, "rules": [1]}});
        assert_eq!(all, wanted);
    }
}
