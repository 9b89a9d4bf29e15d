//! Waiting for an object to become ready (rule book §5.1, W-6).

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::evidence::evidence;
use crate::cluster::Place;
use crate::data::Movers;
use crate::event::Event;
use crate::knowledge::gates::Timeout;
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Step};
use crate::ready::{self, Around, Readiness};

/// How waiting ended.
pub(super) enum Gated {
    Ready,
    Failed(String),
    /// The run was stopped first.
    Stopped,
}

/// A kind nobody described counts as ready when nothing has spoken against it for this long.
const SETTLE: Duration = Duration::from_secs(3);

/// How often to look when no watch tells: at what a controller makes beside the object, or at an
/// object that cannot be watched.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_BLIND: Duration = Duration::from_secs(1);

impl<M: Movers> Engine<'_, M> {
    /// Waits until a step's object is ready.
    pub(super) async fn gate(&self, step: &Step, after: Option<Object>) -> Gated {
        let (Action::Apply { body, .. } | Action::Release { body, .. }) = &step.action else {
            return Gated::Ready;
        };
        let Ok((resource, _)) = self.resources.of(body) else {
            return Gated::Ready;
        };
        let started = Instant::now();
        let patience = self.patience(&step.object, body);
        let floor = after.as_ref().map_or(0, version);
        let mut seen = after;
        let mut watched = None;
        let mut told = String::new();
        loop {
            let verdict = self.judge(&step.object, seen.as_ref()).await;
            let message = match verdict {
                Readiness::Current => return Gated::Ready,
                Readiness::Settling if started.elapsed() >= SETTLE => return Gated::Ready,
                Readiness::Settling => String::new(),
                Readiness::Failed(reason) => return self.not_ready(&step.object, &reason).await,
                Readiness::InProgress(message) => message,
            };
            if !message.is_empty() && message != told {
                told.clone_from(&message);
                self.events().send(Event::Waiting {
                    object: step.object.clone(),
                    message,
                });
            }
            if started.elapsed() >= patience {
                let reason = format!("not ready after {} s: {told}", patience.as_secs());
                return self.not_ready(&step.object, &reason).await;
            }
            let (watch, changes) = watched.get_or_insert_with(|| {
                let watch = self.watchers.of(resource, step.object.namespace.as_deref());
                let changes = watch.changes();
                (watch, changes)
            });
            let blind = watch.is_blind();
            let pause = self
                .pause(&step.object, blind)
                .min(patience.saturating_sub(started.elapsed()));
            tokio::select! {
                () = self.context.cancel.cancelled() => return Gated::Stopped,
                _ = changes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let newest = if blind {
                let place = Place::of(resource, body);
                self.target()
                    .get(place)
                    .await
                    .unwrap_or_else(|_| seen.clone())
            } else {
                watch.get(&step.object.name)
            };
            // The watch may be behind our own write; what it then shows is not what we wait for.
            if newest
                .as_ref()
                .is_some_and(|object| version(object) >= floor)
            {
                seen = newest;
            }
        }
    }

    async fn judge(&self, id: &ObjectId, seen: Option<&Object>) -> Readiness {
        let Some(object) = seen else {
            return Readiness::InProgress("it is not there yet".into());
        };
        let rows = &self.context.knowledge.gates;
        let mut around = Around {
            late_binding: self.plan.late_binding.clone(),
            ..Around::default()
        };
        for beside in ready::beside(rows, id) {
            let Some(resource) = self.resources.core(&beside.kind) else {
                continue;
            };
            let place = Place {
                resource,
                namespace: beside.namespace.as_deref(),
                name: &beside.name,
            };
            match self.target().get(place).await {
                Ok(None) => break,
                // Who may not look takes it for granted: it was made within 40 ms wherever it was seen.
                Ok(Some(_)) | Err(_) => drop(around.present.insert(beside)),
            }
        }
        ready::readiness(rows, object, &around)
    }

    fn patience(&self, id: &ObjectId, body: &Object) -> Duration {
        let row = ready::row(&self.context.knowledge.gates, id);
        let class = row.map_or(Timeout::default(), |row| row.timeout).duration();
        let deadline = body
            .pointer("/spec/progressDeadlineSeconds")
            .and_then(serde_json::Value::as_u64);
        let own = deadline.map_or(class, |seconds| {
            class.max(Duration::from_secs(seconds + 60))
        });
        self.context
            .options
            .patience
            .map_or(own, |patience| own.min(patience))
    }

    fn pause(&self, id: &ObjectId, blind: bool) -> Duration {
        if !ready::beside(&self.context.knowledge.gates, id).is_empty() {
            LOOK
        } else if blind {
            LOOK_BLIND
        } else {
            SETTLE
        }
    }

    async fn not_ready(&self, id: &ObjectId, reason: &str) -> Gated {
        let evidence = evidence(self.target(), &self.resources, id, reason).await;
        Gated::Failed(match evidence.as_str() {
            "" => reason.to_owned(),
            evidence => format!("{reason} ({evidence})"),
        })
    }
}

/// Resource versions of one server grow; anything else counts as new.
fn version(object: &Object) -> u64 {
    object
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or(u64::MAX)
}
