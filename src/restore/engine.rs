//! Runs the steps of a plan: starts what may start, waits for whatever ends first, repeats.
//!
//! One task drives everything, so that dropping its future stops the run at once and leaves B as the
//! journal says.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::OnceCell;

use super::gate::Gated;
use super::lease::Leases;
use super::past::Past;
use super::resource::Resources;
use super::schedule::{Schedule, State};
use super::watcher::Watchers;
use super::{Failure, RunContext, RunReport, Skipped, StepError, undo};
use crate::capture::{Proof, SavedVolume};
use crate::cluster::Cluster;
use crate::data::Movers;
use crate::event::{Direction, Event, Events};
use crate::journal::{After, Entry, Journal, Record};
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Class, Expect, Plan, Step, content, digest};
use crate::surface::ApiResource;

/// Object writes in flight at once: an API server with default flow control never refuses these (W-2).
const OBJECTS: usize = 16;

/// Volumes in flight at once: more share one disk and one wire.
pub const VOLUMES: usize = 4;

/// What a step left behind when it was executed.
#[derive(Default)]
pub(super) struct Executed {
    /// The object on B, where it was read or written.
    pub(super) live: Option<Object>,
    /// Whether an earlier process did it, and this one only found it done.
    pub(super) found: bool,
    pub(super) saved: Option<SavedVolume>,
    pub(super) proof: Option<Proof>,
}

impl Executed {
    /// What an earlier process did, or what needs no doing any more.
    pub(super) fn found() -> Self {
        Self {
            found: true,
            ..Self::default()
        }
    }

    /// A write that B accepted.
    pub(super) fn of(live: Object) -> Self {
        Self {
            live: Some(live),
            ..Self::default()
        }
    }
}

/// What a task of the engine came to.
pub(super) enum Ended {
    Steps(Vec<(usize, Result<Executed, StepError>)>),
    Gate(usize, Gated),
    Tidied,
}

pub(super) struct Engine<'a, M> {
    pub(super) plan: &'a Plan,
    pub(super) context: &'a RunContext<'a, M>,
    pub(super) journal: &'a Journal,
    pub(super) resources: Resources,
    pub(super) past: Past,
    pub(super) watchers: Watchers,
    pub(super) applies: BTreeMap<&'a ObjectId, &'a Step>,
    /// UIDs of the objects on B, as far as this run saw them (W-12).
    pub(super) uids: Mutex<BTreeMap<ObjectId, String>>,
    /// What was saved, by the claim on A.
    pub(super) saved: Mutex<BTreeMap<ObjectId, SavedVolume>>,
    /// Whether an earlier process began to start the application on B: what becomes of A is its owner's
    /// business since.
    pub(super) released: bool,
    /// Done when whatever data needs stands by.
    pub(super) standing_by: OnceCell<()>,
    /// What A serves, asked once.
    pub(super) source_served: OnceCell<Vec<ApiResource>>,
    /// The namespaces that are this run's.
    leases: &'a Leases<'a>,
}

struct Running<'b> {
    schedule: Schedule,
    tasks: FuturesUnordered<BoxFuture<'b, Ended>>,
    objects: usize,
    volumes: usize,
    reasons: BTreeMap<usize, String>,
    proofs: BTreeMap<ObjectId, Proof>,
    /// Steps this process executed.
    executed: u64,
}

impl<'a, M: Movers> Engine<'a, M> {
    pub(super) fn new(
        plan: &'a Plan,
        context: &'a RunContext<'a, M>,
        journal: &'a Journal,
        served: &[ApiResource],
        records: &[Record],
        leases: &'a Leases<'a>,
    ) -> Self {
        Self {
            plan,
            context,
            journal,
            resources: Resources::new(served.to_vec(), plan),
            past: Past::new(records, context.run),
            released: undo::released(plan, records),
            watchers: Watchers::new(context.target.clone()),
            applies: plan.applies(),
            uids: Mutex::default(),
            saved: Mutex::default(),
            standing_by: OnceCell::new(),
            source_served: OnceCell::new(),
            leases,
        }
    }

    pub(super) fn target(&self) -> &'a Cluster {
        self.context.target
    }

    pub(super) fn events(&self) -> &'a Events {
        self.context.events
    }

    /// Executes every step that can be.
    pub(super) async fn run(&self) -> RunReport {
        let started = Instant::now();
        let mut running = Running {
            schedule: Schedule::new(&self.plan.steps),
            tasks: FuturesUnordered::new(),
            objects: 0,
            volumes: 0,
            reasons: BTreeMap::new(),
            proofs: BTreeMap::new(),
            executed: 0,
        };
        loop {
            self.start(&mut running);
            match running.tasks.next().await {
                None => break,
                Some(Ended::Steps(ended)) => {
                    for (index, result) in ended {
                        self.executed(&mut running, index, result);
                    }
                }
                Some(Ended::Gate(index, gated)) => self.gated(&mut running, index, gated),
                Some(Ended::Tidied) => {}
            }
        }
        self.report(running, started.elapsed().as_secs_f64())
    }

    fn start<'b>(&'b self, running: &mut Running<'b>) {
        while !self.context.cancel.is_cancelled() {
            let (objects, volumes) = (running.objects, running.volumes);
            let admit = |index: usize| {
                if moves_data(&self.plan.steps[index]) {
                    volumes < VOLUMES
                } else {
                    objects < OBJECTS
                }
            };
            let Some(index) = running.schedule.start(admit) else {
                return;
            };
            let mut party = vec![index];
            if moves_data(&self.plan.steps[index]) {
                let joins = |other: usize| self.travel_together(index, other);
                party.extend(std::iter::from_fn(|| running.schedule.start(joins)));
                running.volumes += party.len();
            } else {
                running.objects += 1;
            }
            let task = async move { Ended::Steps(self.execute(party).await) };
            running.tasks.push(Box::pin(task));
        }
    }

    /// Whether one mover carries the data of both steps, the same way.
    fn travel_together(&self, one: usize, other: usize) -> bool {
        match (&self.plan.steps[one].action, &self.plan.steps[other].action) {
            (Action::Save(one), Action::Save(other)) | (Action::Load(one), Action::Load(other)) => {
                one.travels_with(other)
            }
            _ => false,
        }
    }

    /// Executes one step, or those that one mover carries the data of.
    async fn execute(&self, party: Vec<usize>) -> Vec<(usize, Result<Executed, StepError>)> {
        let steps: Vec<&Step> = party.iter().map(|index| &self.plan.steps[*index]).collect();
        for step in steps.iter().filter(|step| step.action.pending()) {
            self.events().send(Event::StepStarted {
                step: step.number,
                object: step.object.clone(),
                action: step.action.word().into(),
            });
        }
        let results = self.dispatch(&steps).await;
        for (step, result) in steps.iter().zip(&results) {
            if let Ok(executed) = result {
                self.remember(step, executed).await;
            }
            if step.action.pending() {
                self.tell_end(step, result);
            }
        }
        party.into_iter().zip(results).collect()
    }

    async fn dispatch(&self, steps: &[&Step]) -> Vec<Result<Executed, StepError>> {
        let step = steps[0];
        let alone = match &step.action {
            Action::Save(_) => return self.save(steps).await,
            Action::Load(_) => return self.load(steps).await,
            Action::Apply {
                class: Class::Same | Class::Keep,
                ..
            } => self.leave(step).await,
            Action::Apply {
                class: Class::Blocked,
                ..
            } => Err(StepError::Blocked),
            Action::Apply {
                body,
                class: Class::Create | Class::Update,
                expect,
                ..
            } => self.apply_and_take(step, body, expect).await,
            Action::Release { holds, body } => self.release(step, holds, body).await,
            Action::Quiesce { holds } => self.quiesce(step, holds).await,
            Action::GiveUp { holds, .. } => self.take(step, holds, false).await,
            Action::Quiet { waits } => self.quiet(step, *waits).await,
            Action::Hook(hook) => self.hook(step, hook).await,
            Action::Snapshot(volume) => self.snapshot(step, volume).await,
        };
        vec![alone]
    }

    fn tell_end(&self, step: &Step, result: &Result<Executed, StepError>) {
        let (number, object) = (step.number, step.object.clone());
        let action = step.action.word().into();
        self.events().send(match result {
            Err(error) if error.is_stop() => Event::StepStopped {
                step: number,
                object,
                action,
            },
            _ => Event::StepFinished {
                step: number,
                object,
                action,
                error: result.as_ref().err().map(StepError::full),
            },
        });
    }

    /// Applies; a namespace that was just made is taken before anything is written to it.
    async fn apply_and_take(
        &self,
        step: &Step,
        body: &Object,
        expect: &Expect,
    ) -> Result<Executed, StepError> {
        let executed = self.apply(step, body, expect).await?;
        if step.object.is("", "Namespace") {
            self.leases.take(&step.object.name).await?;
        }
        Ok(executed)
    }

    /// Keeps the UID of what is on B now, and links what was waiting for it.
    async fn remember(&self, step: &Step, executed: &Executed) {
        if let Some(uid) = executed.live.as_ref().and_then(Object::uid) {
            if let Ok(mut uids) = self.uids.lock() {
                uids.insert(step.object.clone(), uid.into());
            }
            if matches!(step.action, Action::Apply { .. }) {
                self.adopt(&step.object).await;
            }
        }
    }

    fn executed<'b>(
        &'b self,
        running: &mut Running<'b>,
        index: usize,
        result: Result<Executed, StepError>,
    ) {
        let step = &self.plan.steps[index];
        if moves_data(step) {
            running.volumes -= 1;
        } else {
            running.objects -= 1;
        }
        match result {
            Ok(executed) => {
                if !executed.found && step.action.pending() {
                    self.note_done(step, &executed);
                    running.executed += 1;
                    if moves_data(step) {
                        running.tasks.push(Box::pin(self.tidy(step)));
                    }
                }
                if let Some(proof) = executed.proof {
                    running.proofs.insert(step.object.clone(), proof);
                }
                running.schedule.done(index);
                let gated = step.action.is_object()
                    && (step.action.pending() || running.schedule.wanted_ready(index));
                if gated {
                    let task =
                        async move { Ended::Gate(index, self.gate(step, executed.live).await) };
                    running.tasks.push(Box::pin(task));
                } else {
                    running.schedule.ready(index);
                }
            }
            // A stopped move is open, not failed: it goes on where it was.
            Err(error) if error.is_stop() => {}
            // Another process has the journal, as an undo has: what is waited for may never come.
            Err(error @ StepError::Journal(_)) => {
                self.context.cancel.cancel();
                self.fail(running, index, error.full());
            }
            Err(error) => self.fail(running, index, error.full()),
        }
    }

    fn note_done(&self, step: &Step, executed: &Executed) {
        let after = executed.live.as_ref().map(|live| After {
            uid: live.uid().unwrap_or_default().into(),
            resource_version: live.resource_version().unwrap_or_default().into(),
            content: digest(&content(live)),
        });
        let took = match &step.action {
            Action::Save(volume) => self.context.movers.took(volume, Direction::Save),
            Action::Load(volume) => self.context.movers.took(volume, Direction::Load),
            _ => None,
        };
        let entry = Entry::Done {
            after,
            saved: executed.saved.clone(),
            proof: executed.proof.clone(),
            seconds: took.map(|took| took.as_secs_f64()),
        };
        self.journal.note(Record::of_step(step, entry));
    }

    fn gated(&self, running: &mut Running<'_>, index: usize, gated: Gated) {
        let step = &self.plan.steps[index];
        match gated {
            Gated::Ready => {
                if step.action.pending() {
                    self.journal.note(Record::of_step(step, Entry::Ready));
                }
                running.schedule.ready(index);
            }
            Gated::Stopped => {}
            Gated::Failed(reason) => {
                self.events().send(Event::StepFinished {
                    step: step.number,
                    object: step.object.clone(),
                    action: step.action.word().into(),
                    error: Some(reason.clone()),
                });
                self.fail(running, index, reason);
            }
        }
    }

    fn fail(&self, running: &mut Running<'_>, index: usize, reason: String) {
        let entry = Entry::Failed {
            reason: reason.clone(),
        };
        self.journal
            .note(Record::of_step(&self.plan.steps[index], entry));
        running.reasons.insert(index, reason);
        running.schedule.failed(index);
    }

    fn report(&self, mut running: Running<'_>, seconds: f64) -> RunReport {
        let mut report = RunReport {
            run: self.context.run.into(),
            already: self.past.complete && running.executed == 0,
            proofs: running.proofs.into_iter().collect(),
            seconds,
            ..RunReport::default()
        };
        for (index, step) in self.plan.steps.iter().enumerate() {
            let (object, action) = (step.object.clone(), step.action.word().to_owned());
            let state = running.schedule.state(index);
            if step.action.is_for_data() && *state != State::Ready {
                report.data_open += 1;
            }
            match state {
                State::Ready => *report.counts.entry(action).or_default() += 1,
                State::Failed { .. } => report.failed.push(Failure {
                    step: step.number,
                    object,
                    action,
                    reason: running.reasons.remove(&index).unwrap_or_default(),
                }),
                State::Skipped { because } => report.skipped.push(Skipped {
                    object,
                    action,
                    because: self.plan.steps[*because as usize].object.clone(),
                }),
                State::Waiting | State::Running | State::Done => report.unfinished += 1,
            }
        }
        report
    }
}

/// Whether a step carries a volume's bytes, as opposed to a few calls to an API server.
fn moves_data(step: &Step) -> bool {
    matches!(step.action, Action::Save(_) | Action::Load(_))
}
