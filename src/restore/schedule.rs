//! Which step may start next: pure bookkeeping over the needs of a plan (W-2, W-4, W-6).
//!
//! A step starts as soon as its own needs are met; wave numbers are for people. A failed step blocks
//! only what needs it. Steps that write objects also wait until the objects of earlier phases have
//! ended, well or not; the plan's phases never contradict its needs, so that cannot deadlock.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Phase;
use crate::plan::{Gate, Step};

/// How far one step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not started.
    Waiting,
    /// Started.
    Running,
    /// Executed; its object is not ready yet.
    Done,
    /// Executed, and its object is ready.
    Ready,
    /// It failed. `done`: it was executed, and its object did not become ready.
    Failed { done: bool },
    /// It cannot run, because that step failed.
    Skipped { because: u32 },
}

pub(super) struct Schedule {
    states: Vec<State>,
    phases: Vec<Phase>,
    objects: Vec<bool>,
    /// Needs not met yet, per step.
    open: Vec<usize>,
    /// Who waits for a step, and for what.
    waiters: Vec<Vec<(usize, Gate)>>,
    /// Steps that wait for nothing but their phase.
    free: BTreeSet<usize>,
    /// Steps that write objects and have not ended, per phase.
    unended: BTreeMap<Phase, usize>,
}

impl Schedule {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut schedule = Self {
            states: vec![State::Waiting; steps.len()],
            phases: steps.iter().map(|step| step.phase).collect(),
            objects: steps.iter().map(|step| step.action.is_object()).collect(),
            open: steps.iter().map(|step| step.needs.len()).collect(),
            waiters: vec![Vec::new(); steps.len()],
            free: BTreeSet::new(),
            unended: BTreeMap::new(),
        };
        for (index, step) in steps.iter().enumerate() {
            for need in &step.needs {
                schedule.waiters[need.step as usize].push((index, need.gate));
            }
            if step.needs.is_empty() {
                schedule.free.insert(index);
            }
            if step.action.is_object() {
                *schedule.unended.entry(step.phase).or_default() += 1;
            }
        }
        schedule
    }

    pub(super) fn state(&self, step: usize) -> &State {
        &self.states[step]
    }

    /// Whether some step waits for this one to be ready.
    pub(super) fn wanted_ready(&self, step: usize) -> bool {
        self.waiters[step]
            .iter()
            .any(|(_, gate)| *gate == Gate::Ready)
    }

    /// Starts the first step that may start and that `admit` lets pass.
    pub(super) fn start(&mut self, admit: impl Fn(usize) -> bool) -> Option<usize> {
        let first_unended = self
            .unended
            .iter()
            .find(|(_, count)| **count > 0)
            .map(|(phase, _)| *phase);
        let step = self.free.iter().copied().find(|&step| {
            let barred =
                self.objects[step] && first_unended.is_some_and(|phase| phase < self.phases[step]);
            !barred && admit(step)
        })?;
        self.free.remove(&step);
        self.states[step] = State::Running;
        Some(step)
    }

    /// The step was executed.
    pub(super) fn done(&mut self, step: usize) {
        self.states[step] = State::Done;
        self.end(step);
        self.meet(step, |gate| gate <= Gate::Done);
    }

    /// The step's object is ready.
    pub(super) fn ready(&mut self, step: usize) {
        self.states[step] = State::Ready;
        self.meet(step, |gate| gate == Gate::Ready);
    }

    /// The step failed before it was executed, or, after [`Schedule::done`], did not become ready.
    pub(super) fn failed(&mut self, step: usize) {
        let done = self.states[step] == State::Done;
        self.states[step] = State::Failed { done };
        if !done {
            self.end(step);
            self.meet(step, |gate| gate == Gate::Settled);
        }
        self.skip_waiters(step, if done { Gate::Ready } else { Gate::Done });
    }

    fn end(&mut self, step: usize) {
        if self.objects[step]
            && let Some(count) = self.unended.get_mut(&self.phases[step])
        {
            *count -= 1;
        }
    }

    fn meet(&mut self, step: usize, met: impl Fn(Gate) -> bool) {
        for (waiter, gate) in self.waiters[step].clone() {
            if met(gate) {
                self.open[waiter] -= 1;
                if self.open[waiter] == 0 && self.states[waiter] == State::Waiting {
                    self.free.insert(waiter);
                }
            }
        }
    }

    /// Skips whoever waits for at least `gate` of a step, and whoever needs those.
    fn skip_waiters(&mut self, step: usize, gate: Gate) {
        let mut work = vec![(step, gate)];
        while let Some((failed, gate)) = work.pop() {
            for (waiter, wanted) in self.waiters[failed].clone() {
                if wanted >= gate && self.states[waiter] == State::Waiting {
                    self.states[waiter] = State::Skipped {
                        because: u32::try_from(step).unwrap_or(0),
                    };
                    self.free.remove(&waiter);
                    self.end(waiter);
                    self.meet(waiter, |gate| gate == Gate::Settled);
                    work.push((waiter, Gate::Done));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::{Object, ObjectId};
    use crate::plan::{Action, Class, Expect, Need};

    fn step(number: u32, phase: Phase, needs: &[(u32, Gate)]) -> Step {
        let body = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}});
        Step {
            number,
            wave: 0,
            phase,
            object: ObjectId::cluster("", "X", "x"),
            action: Action::Apply {
                body: Object::new(body).unwrap().into(),
                class: Class::Create,
                expect: Expect::Absent,
                holds: Vec::new(),
                owners: Vec::new(),
            },
            needs: needs
                .iter()
                .map(|(step, gate)| Need {
                    step: *step,
                    gate: *gate,
                })
                .collect(),
        }
    }

    fn all(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.start(|_| true)).collect()
    }

    const P: Phase = Phase::Skeleton;

    #[test]
    fn w_6_a_step_starts_when_its_needs_are_met_and_not_before() {
        let steps = [
            step(0, P, &[]),
            step(1, P, &[(0, Gate::Done)]),
            step(2, P, &[(0, Gate::Ready)]),
        ];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(all(&mut schedule), [0]);
        schedule.done(0);
        assert_eq!(all(&mut schedule), [1]);
        schedule.ready(0);
        assert_eq!(all(&mut schedule), [2]);
    }

    #[test]
    fn a_failure_skips_its_descendants_and_nobody_else() {
        let steps = [
            step(0, P, &[]),
            step(1, P, &[(0, Gate::Done)]),
            step(2, P, &[(1, Gate::Ready)]),
            step(3, P, &[(2, Gate::Settled)]),
            step(4, P, &[]),
        ];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(all(&mut schedule), [0, 4]);
        schedule.failed(0);
        assert_eq!(all(&mut schedule), [3]);
        assert_eq!(*schedule.state(1), State::Skipped { because: 0 });
        assert_eq!(*schedule.state(2), State::Skipped { because: 0 });
        assert_eq!(*schedule.state(4), State::Running);
    }

    #[test]
    fn an_object_that_does_not_become_ready_blocks_only_who_needs_it_ready() {
        let steps = [
            step(0, P, &[]),
            step(1, P, &[(0, Gate::Done)]),
            step(2, P, &[(0, Gate::Ready)]),
        ];
        let mut schedule = Schedule::new(&steps);
        schedule.start(|_| true);
        schedule.done(0);
        schedule.failed(0);
        assert_eq!(all(&mut schedule), [1]);
        assert_eq!(*schedule.state(0), State::Failed { done: true });
        assert_eq!(*schedule.state(2), State::Skipped { because: 0 });
    }

    #[test]
    fn a_phase_waits_for_the_objects_of_earlier_phases_to_end() {
        let steps = [
            step(0, P, &[]),
            step(1, P, &[]),
            step(2, Phase::Workload, &[]),
        ];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(all(&mut schedule), [0, 1]);
        schedule.done(0);
        assert_eq!(all(&mut schedule), Vec::<usize>::new());
        schedule.failed(1);
        assert_eq!(all(&mut schedule), [2]);
    }

    #[test]
    fn who_is_not_admitted_does_not_hold_up_the_others() {
        let steps = [step(0, P, &[]), step(1, P, &[])];
        let mut schedule = Schedule::new(&steps);
        assert_eq!(schedule.start(|step| step != 0), Some(1));
        assert_eq!(schedule.start(|step| step != 0), None);
    }
}
