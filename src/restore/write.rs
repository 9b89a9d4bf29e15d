//! Writing objects on B: expectation, intent, server-side apply; and taking holds off.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::engine::{Engine, Executed};
use super::{SCALE_MANAGER, StepError};
use crate::cluster::{ApplyOptions, MANAGER, Patch, Place};
use crate::data::Movers;
use crate::journal::{Entry, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Class, Expect, Hold, Step, content, digest, stamp};
use crate::surface::ApiResource;
use crate::target::RUN_LABEL;

/// How long a kind whose definition was just written may be unknown to the server.
const REGISTER: Duration = Duration::from_secs(30);

/// How often a write is tried against an object that changes under it.
const ATTEMPTS: usize = 5;

/// A resource version no object has: as a guard it says that there must be none.
const NO_VERSION: &str = "1";

/// What became of a guarded write.
enum Sent {
    Accepted(Object),
    /// The object is not the one looked at any more; nothing was written.
    Modified,
}

impl<M: Movers> Engine<'_, M> {
    /// An object that stays as it is: only looked at.
    pub(super) async fn leave(&self, step: &Step) -> Result<Executed, StepError> {
        let Action::Apply { body, .. } = &step.action else {
            return Ok(Executed::default());
        };
        let (resource, _) = self.resources.of(body)?;
        let live = self.target().get(Place::of(resource, body)).await?;
        Ok(Executed {
            live,
            ..Executed::default()
        })
    }

    /// Creates or updates an object.
    pub(super) async fn apply(
        &self,
        step: &Step,
        body: &Object,
        expect: &Expect,
    ) -> Result<Executed, StepError> {
        let (resource, served) = self.resources.of(body)?;
        if *expect == Expect::Absent && !self.past.intended(step.number) {
            // One call instead of two: the guard makes the server itself look.
            let sent = self.dress(&step.object, body, None);
            self.intend(step, None, &sent).await?;
            if let Sent::Accepted(live) = self.send(resource, served, &sent, None).await? {
                return Ok(Executed::of(self.identity(resource, body, live).await?));
            }
        }
        let mut tried = false;
        for _ in 0..ATTEMPTS {
            let live = self.target().get(Place::of(resource, body)).await?;
            if let Some(found) = self.found(step, live.as_ref()) {
                return Ok(found);
            }
            let sent = self.dress(&step.object, body, live.as_ref());
            if let Err(error) = self.check(step, expect, live.as_ref()) {
                return match live {
                    // The answer to the write may have been lost, and its repetition refused.
                    Some(live) if tried && self.is_written(resource, &sent, &live).await? => {
                        Ok(Executed::of(self.identity(resource, body, live).await?))
                    }
                    _ => Err(error),
                };
            }
            self.intend(step, live.as_ref(), &sent).await?;
            let answer = self.send(resource, served, &sent, live.as_ref()).await?;
            if let Sent::Accepted(live) = answer {
                return Ok(Executed::of(self.identity(resource, body, live).await?));
            }
            tried = true;
        }
        Err(stale("the object changes faster than it can be written"))
    }

    /// S-70: writes the identity that a custom resource keeps in its status, before its controller is
    /// let go on. An apply leaves a status alone where that is a sub-resource, and has written it where
    /// it is none.
    async fn identity(
        &self,
        resource: &ApiResource,
        body: &Object,
        live: Object,
    ) -> Result<Object, StepError> {
        let Some(status) = body.pointer("/status") else {
            return Ok(live);
        };
        let patch = Patch::Merge(json!({"status": status}));
        let place = Place::of(resource, body);
        match self
            .target()
            .patch(place, Some("status"), &patch, MANAGER)
            .await
        {
            Ok(live) => Ok(live),
            Err(error) if error.is_not_found() => Ok(live),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the object is already what applying the body makes of it, and Ferry is among those who
    /// wrote it.
    async fn is_written(
        &self,
        resource: &ApiResource,
        sent: &Object,
        live: &Object,
    ) -> Result<bool, StepError> {
        let entries = live.pointer("/metadata/managedFields");
        let mut entries = entries.and_then(Value::as_array).into_iter().flatten();
        if !entries.any(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply") {
            return Ok(false);
        }
        let options = ApplyOptions {
            manager: MANAGER,
            force: self.context.options.force_conflicts,
            dry_run: true,
        };
        match self.target().apply(resource, sent, &options).await {
            Ok(made) => Ok(content(&made) == content(live)),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the hold off (W-8): the replica count goes to the scale manager first; then the apply
    /// without it gives up our own claim, and the value stays.
    pub(super) async fn release(
        &self,
        step: &Step,
        holds: &[Hold],
        body: &Object,
    ) -> Result<Executed, StepError> {
        let (resource, served) = self.resources.of(body)?;
        for _ in 0..ATTEMPTS {
            let live = self.target().get(Place::of(resource, body)).await?;
            let Some(live) = live else {
                return Err(stale(
                    "the object was deleted on the target while it was held",
                ));
            };
            let is_held = |hold: &Hold| live.pointer(&hold.path) == Some(&hold.held);
            if !holds.iter().any(is_held)
                && let Some(found) = self.found(step, Some(&live))
            {
                return Ok(found);
            }
            let mut sent = self.dress(&step.object, body, Some(&live));
            self.intend(step, Some(&live), &sent).await?;
            let mut guard = Some(live.clone());
            for hold in holds.iter().filter(|hold| hold.scale && is_held(hold)) {
                self.scale(resource, &mut sent, hold).await?;
                // That was a change of our own: the apply must be held against what it made.
                guard = self.target().get(Place::of(resource, body)).await?;
            }
            let answer = self.send(resource, served, &sent, guard.as_ref()).await?;
            if let Sent::Accepted(live) = answer {
                return Ok(Executed::of(live));
            }
        }
        Err(stale("the object changes faster than it can be written"))
    }

    /// Sets the count through the scale sub-resource; where a kind has none, by our own apply.
    async fn scale(
        &self,
        resource: &ApiResource,
        sent: &mut Object,
        hold: &Hold,
    ) -> Result<(), StepError> {
        let patch = Patch::Merge(json!({"spec": {"replicas": hold.release}}));
        let place = Place::of(resource, sent);
        match self
            .target()
            .patch(place, Some("scale"), &patch, SCALE_MANAGER)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                json_patch::merge(
                    sent.value_mut(),
                    &json!({"spec": {"replicas": hold.release}}),
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What an earlier process of this run wrote and is still there.
    fn found(&self, step: &Step, live: Option<&Object>) -> Option<Executed> {
        let after = self.past.ended.get(&step.number)?.after.as_ref()?;
        let live = live.filter(|live| live.uid() == Some(after.uid.as_str()))?;
        Some(Executed {
            live: Some(live.clone()),
            found: true,
            ..Executed::default()
        })
    }

    /// Refuses what is not as the plan expects.
    fn check(&self, step: &Step, expect: &Expect, live: Option<&Object>) -> Result<(), StepError> {
        if live.is_some_and(Object::is_going) {
            return Err(stale("the object is being deleted on the target"));
        }
        let ours = self.past.intended(step.number);
        match (expect, live) {
            (Expect::Absent, None) => Ok(()),
            (Expect::Absent, Some(live)) => {
                // An intent alone proves nothing: somebody else may have made it since.
                let marked = live.label(RUN_LABEL) == Some(self.context.run);
                if marked || self.made_namespace_of(&step.object) {
                    Ok(())
                } else {
                    Err(stale("the object was made on the target after this plan"))
                }
            }
            (Expect::Live { .. }, None) => Err(stale(
                "the object was deleted on the target after this plan",
            )),
            (
                Expect::Live {
                    uid,
                    content: planned,
                    ..
                },
                Some(live),
            ) => {
                if live.uid() != Some(uid.as_str()) {
                    return Err(stale(
                        "the object was made anew on the target after this plan",
                    ));
                }
                if !ours && digest(&content(live)) != *planned {
                    return Err(stale(
                        "the object was changed on the target after this plan",
                    ));
                }
                Ok(())
            }
        }
    }

    /// Whether the plan makes the object's namespace: whatever is in it was then made by B's own
    /// controllers, as the default ServiceAccount is.
    fn made_namespace_of(&self, id: &ObjectId) -> bool {
        let Some(namespace) = &id.namespace else {
            return false;
        };
        let namespace = ObjectId::cluster("", "Namespace", namespace);
        self.applies.get(&namespace).is_some_and(|step| {
            matches!(
                &step.action,
                Action::Apply {
                    class: Class::Create,
                    ..
                }
            )
        })
    }

    /// The body with the run's label and with owners as B knows them.
    fn dress(&self, id: &ObjectId, body: &Object, live: Option<&Object>) -> Object {
        let mut sent = body.clone();
        if let Some(live) = live {
            stamp::keep(&mut sent, live);
        }
        let Some(step) = self.applies.get(id) else {
            return sent;
        };
        if let Action::Apply {
            class: Class::Create,
            ..
        } = &step.action
        {
            stamp::label(&mut sent, RUN_LABEL, self.context.run);
        }
        let references = self.references(step);
        if !references.is_empty() {
            let patch = json!({"metadata": {"ownerReferences": references}});
            json_patch::merge(sent.value_mut(), &patch);
        }
        sent
    }

    async fn intend(
        &self,
        step: &Step,
        before: Option<&Object>,
        sent: &Object,
    ) -> Result<(), StepError> {
        let entry = Entry::Intent {
            before: before.cloned(),
            payload: digest(sent.value()),
        };
        Ok(self.journal.intend(Record::of_step(step, entry)).await?)
    }

    /// Applies the body against exactly the object that was looked at, or against none: a resource
    /// version in the body is compared by the server in the same transaction (seen on 1.34).
    async fn send(
        &self,
        resource: &ApiResource,
        served: bool,
        sent: &Object,
        live: Option<&Object>,
    ) -> Result<Sent, StepError> {
        let mut guarded = sent.clone();
        let version = live.map_or(Some(NO_VERSION), Object::resource_version);
        let guard = json!({"metadata": {"resourceVersion": version}});
        json_patch::merge(guarded.value_mut(), &guard);
        let options = ApplyOptions {
            manager: MANAGER,
            force: self.context.options.force_conflicts,
            dry_run: false,
        };
        let started = Instant::now();
        loop {
            let error = match self.target().apply(resource, &guarded, &options).await {
                Ok(live) => return Ok(Sent::Accepted(live)),
                Err(error) => error,
            };
            let says = |text: &str| {
                error
                    .failure()
                    .is_some_and(|failure| failure.message.contains(text))
            };
            if error.status() == 500 && says("duplicate entries for key") {
                return self.send_duplicates(resource, sent, live.is_some()).await;
            }
            if error.is_conflict() && says("the object has been modified") {
                return Ok(Sent::Modified);
            }
            let unknown = error.is_not_found() && !served && started.elapsed() < REGISTER;
            if !unknown {
                return Err(match error.failure() {
                    Some(failure) if error.is_conflict() => StepError::Conflict {
                        message: failure.message.clone(),
                    },
                    _ => error.into(),
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lists with a key twice, such as one environment variable set two times, are accepted by create
    /// and merge patch, and refused by apply (W-11).
    async fn send_duplicates(
        &self,
        resource: &ApiResource,
        sent: &Object,
        exists: bool,
    ) -> Result<Sent, StepError> {
        let target = self.target();
        let answer = if exists {
            let patch = Patch::Merge(sent.value().clone());
            target
                .patch(Place::of(resource, sent), None, &patch, MANAGER)
                .await
        } else {
            target.create(resource, sent, MANAGER).await
        };
        match answer {
            Ok(live) => Ok(Sent::Accepted(live)),
            Err(error) if error.is_already_exists() => Ok(Sent::Modified),
            Err(error) => Err(error.into()),
        }
    }
}

fn stale(reason: &str) -> StepError {
    StepError::Stale {
        reason: reason.into(),
    }
}
