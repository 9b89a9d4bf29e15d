//! Moving volumes: each call may be repeated, and a claim's mark says when its data has arrived.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::StepError;
use super::engine::{Ended, Engine, Executed, VOLUMES};
use crate::capture::{Proof, SavedVolume};
use crate::cluster::{MANAGER, Patch, Place};
use crate::data::{DataError, Loaded, Movers};
use crate::event::Direction;
use crate::journal::{Entry, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Purpose, Step, VolumeMove, stamp};

/// A load whose turn has come.
enum ToLoad {
    /// An earlier process did it, perhaps with what was saved in place of what the storage held.
    Arrived(Proof, Option<SavedVolume>),
    Saved(SavedVolume),
}

impl<M: Movers> Engine<'_, M> {
    /// Has movers stand by before A stands still; only those of a cutover's volumes that are still to be moved, the
    /// largest first, as each keeps a pod waiting on its cluster.
    pub(super) async fn stand_by(&self) -> Result<(), StepError> {
        let mut moves: Vec<(&VolumeMove, Direction)> = Vec::new();
        for step in self.plan.steps.iter() {
            match &step.action {
                Action::Save(volume) if self.saved_before(volume).is_none() => {
                    moves.push((volume, Direction::Save));
                }
                Action::Load(volume) if !self.past.ended.contains_key(&step.number) => {
                    moves.push((volume, Direction::Load));
                }
                _ => {}
            }
        }
        let mut parties = BTreeMap::<_, Vec<&VolumeMove>>::new();
        for (volume, way) in moves {
            let party = parties.entry((way == Direction::Load, volume.party()));
            party.or_default().push(volume);
        }
        let mut parties: Vec<_> = parties.into_iter().collect();
        let size = |party: &[&VolumeMove]| party.iter().map(|volume| volume.capacity).max();
        parties.sort_by_key(|(_, party)| std::cmp::Reverse(size(party)));
        let mut room = 2 * VOLUMES;
        parties.retain(|(_, party)| {
            let fits = party.len() <= room;
            room = if fits { room - party.len() } else { 0 };
            fits
        });
        let movers = self.context.movers;
        let ready = parties.into_iter().map(|((loads, _), party)| async move {
            let way = if loads {
                Direction::Load
            } else {
                Direction::Save
            };
            match movers.stand_by(&party, way).await {
                Err(error @ DataError::Cancelled { .. }) => Err(error.into()),
                Err(error) => {
                    self.events().warning(format!(
                        "{error}; its mover is started when A stands still, which takes longer"
                    ));
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        });
        futures::future::try_join_all(ready).await.map(drop)
    }

    /// Freezes a claim on A, unless its data is in the store already.
    pub(super) async fn snapshot(
        &self,
        step: &Step,
        volume: &VolumeMove,
    ) -> Result<Executed, StepError> {
        if self.saved_before(volume).is_some() {
            return Ok(Executed {
                found: true,
                ..Executed::default()
            });
        }
        self.announce(step, volume).await?;
        self.context.movers.snapshot(volume).await?;
        Ok(Executed::default())
    }

    /// Carries the data of claims that travel together into the store.
    pub(super) async fn save(&self, steps: &[&Step]) -> Vec<Result<Executed, StepError>> {
        let mut saved = BTreeMap::new();
        let mut open = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            let Action::Save(volume) = &step.action else {
                continue;
            };
            match self.saved_before(volume) {
                Some(before) => drop(saved.insert(at, Ok((before, true)))),
                None => match self.announce(step, volume).await {
                    Ok(()) => drop(open.insert(at, &**volume)),
                    Err(error) => drop(saved.insert(at, Err(error))),
                },
            }
        }
        let volumes: Vec<&VolumeMove> = open.values().copied().collect();
        let done = match volumes.is_empty() {
            true => Vec::new(),
            false => self.context.movers.save(&volumes).await,
        };
        for (at, done) in open.into_keys().zip(done) {
            saved.insert(at, done.map(|saved| (saved, false)).map_err(Into::into));
        }
        let saved = saved.into_values().zip(steps);
        saved
            .map(|(saved, step)| self.note_saved(step, saved?))
            .collect()
    }

    fn note_saved(
        &self,
        step: &Step,
        (saved, found): (SavedVolume, bool),
    ) -> Result<Executed, StepError> {
        if let (Action::Save(volume), Ok(mut all)) = (&step.action, self.saved.lock()) {
            all.insert(volume.source.clone(), saved.clone());
        }
        Ok(Executed {
            found,
            saved: Some(saved),
            ..Executed::default()
        })
    }

    /// Carries the data into claims on B that travel together, and marks each with what arrived.
    pub(super) async fn load(&self, steps: &[&Step]) -> Vec<Result<Executed, StepError>> {
        let mut proven = BTreeMap::new();
        let mut open = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            let Action::Load(volume) = &step.action else {
                continue;
            };
            match self.to_load(step, volume).await {
                Ok(ToLoad::Arrived(proof, instead)) => {
                    drop(proven.insert(at, Ok((proof, instead))))
                }
                Ok(ToLoad::Saved(saved)) => drop(open.insert(at, (&**volume, saved))),
                Err(error) => drop(proven.insert(at, Err(error))),
            }
        }
        let loads: Vec<_> = open
            .values()
            .map(|(volume, saved)| (*volume, saved))
            .collect();
        let done = match loads.is_empty() {
            true => Vec::new(),
            false => self.context.movers.load(&loads).await,
        };
        for ((at, (volume, saved)), loaded) in open.iter().zip(done) {
            let proof = match loaded {
                Ok(Loaded { proof, instead }) => {
                    let saved = instead.as_ref().unwrap_or(saved);
                    let proven = self.prove(volume, saved, &proof).await;
                    proven.map(|()| (proof, instead))
                }
                Err(error) => Err(error.into()),
            };
            proven.insert(*at, proof);
        }
        let executed = |(proof, saved)| Executed {
            proof: Some(proof),
            saved,
            ..Executed::default()
        };
        proven
            .into_values()
            .map(|proof| proof.map(executed))
            .collect()
    }

    /// What is to be loaded, unless it has arrived.
    async fn to_load(&self, step: &Step, volume: &VolumeMove) -> Result<ToLoad, StepError> {
        let instead = self.past.ended.get(&step.number);
        let instead = instead.and_then(|ended| ended.saved.clone());
        let saved = instead
            .clone()
            .or_else(|| volume.saved.clone())
            .or_else(|| self.saved.lock().ok()?.get(&volume.source).cloned());
        let saved = saved.ok_or_else(|| StepError::NotSaved {
            claim: path(&volume.source),
        })?;
        if let Some(proof) = self.loaded_before(step, volume, &saved).await? {
            return Ok(ToLoad::Arrived(proof, instead));
        }
        self.announce(step, volume).await?;
        Ok(ToLoad::Saved(saved))
    }

    /// Removes what a move left, while others go on: the data has arrived, and nothing waits for this.
    pub(super) async fn tidy(&self, step: &Step) -> Ended {
        let movers = self.context.movers;
        let tidied = match &step.action {
            Action::Save(volume) => movers.tidy(volume, Direction::Save).await,
            Action::Load(volume) => movers.tidy(volume, Direction::Load).await,
            _ => Ok(()),
        };
        if let Err(error) = tidied {
            // The run's end tries again, and tells the user.
            tracing::debug!(%error, object = %step.object, "a mover's traces are left for later");
        }
        Ended::Tidied
    }

    async fn prove(
        &self,
        volume: &VolumeMove,
        saved: &SavedVolume,
        proof: &Proof,
    ) -> Result<(), StepError> {
        if *proof != saved.proof {
            return Err(StepError::Differs {
                claim: path(&volume.target),
                found: proof.digest.clone(),
                wanted: saved.proof.digest.clone(),
            });
        }
        let Some(claim) = self.claim(volume) else {
            return Ok(());
        };
        let (resource, _) = self.resources.of(claim)?;
        // After a sync the claim still waits for its data, which is the next sync's, or the cutover's.
        let marks = match self.plan.purpose {
            Purpose::Sync => json!({stamp::SYNC_ANNOTATION: proof.digest}),
            Purpose::Move | Purpose::Cutover => {
                json!({stamp::DATA_ANNOTATION: proof.digest, stamp::SYNC_ANNOTATION: Value::Null})
            }
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": marks}}));
        self.target()
            .patch(Place::of(resource, claim), None, &patch, MANAGER)
            .await?;
        Ok(())
    }

    fn claim(&self, volume: &VolumeMove) -> Option<&Object> {
        match &self.applies.get(&volume.target)?.action {
            Action::Apply { body, .. } => Some(body),
            _ => None,
        }
    }

    async fn announce(&self, step: &Step, volume: &VolumeMove) -> Result<(), StepError> {
        let payload = volume.saved.as_ref().map(|saved| saved.snapshot.clone());
        let entry = Entry::Intent {
            before: None,
            payload: payload.unwrap_or_default(),
        };
        Ok(self.journal.intend(Record::of_step(step, entry)).await?)
    }

    /// What an earlier process of this run saved of the volume.
    fn saved_before(&self, volume: &VolumeMove) -> Option<SavedVolume> {
        let save = self.plan.steps.iter().find(|step| match &step.action {
            Action::Save(other) => other.source == volume.source,
            _ => false,
        })?;
        self.past.ended.get(&save.number)?.saved.clone()
    }

    /// The proof, when this run began the load and the claim's mark says that all of it arrived: the
    /// mark is set after the comparison and by nobody else.
    async fn loaded_before(
        &self,
        step: &Step,
        volume: &VolumeMove,
        saved: &SavedVolume,
    ) -> Result<Option<Proof>, StepError> {
        if !self.past.intended(step.number) {
            return Ok(None);
        }
        let Some(claim) = self.claim(volume) else {
            return Ok(None);
        };
        let (resource, _) = self.resources.of(claim)?;
        let live = self.target().get(Place::of(resource, claim)).await?;
        let mark = self.plan.purpose.mark();
        let arrived =
            live.is_some_and(|live| live.annotation(mark) == Some(saved.proof.digest.as_str()));
        Ok(arrived.then(|| saved.proof.clone()))
    }
}

/// `namespace/claim`.
fn path(claim: &ObjectId) -> String {
    format!(
        "{}/{}",
        claim.namespace.as_deref().unwrap_or_default(),
        claim.name
    )
}
