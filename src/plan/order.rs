//! From drafts that name each other to numbered steps in waves.
//!
//! A step's phase may be moved forward, never back: when a hard need points from an earlier phase to
//! a later one, the needed step joins the earlier phase (references win over phases, W-1). After
//! that needs only point to the same phase or before, and phases can be barriers without a deadlock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Gate, Need, Step};
use crate::graph::Phase;
use crate::object::ObjectId;

/// What a draft does, for its key; the order breaks ties within a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Apply,
    Snapshot,
    Save,
    Load,
    Release,
}

/// Names a draft: one object has at most one of each role.
pub(super) type Key = (ObjectId, Role);

/// A step without a number.
pub(super) struct Draft {
    pub(super) phase: Phase,
    pub(super) action: Action,
    pub(super) needs: BTreeMap<Key, Gate>,
}

impl Draft {
    pub(super) fn new(phase: Phase, action: Action) -> Self {
        Self {
            phase,
            action,
            needs: BTreeMap::new(),
        }
    }

    /// Adds a need; of two on the same step the stronger stays.
    pub(super) fn need(&mut self, key: Key, gate: Gate) {
        let entry = self.needs.entry(key).or_insert(gate);
        *entry = (*entry).max(gate);
    }
}

/// Numbers the drafts. Needs on drafts that do not exist are dropped.
pub(super) fn steps(mut drafts: BTreeMap<Key, Draft>) -> Vec<Step> {
    let known: BTreeSet<Key> = drafts.keys().cloned().collect();
    for (key, draft) in &mut drafts {
        draft
            .needs
            .retain(|need, _| need != key && known.contains(need));
    }
    pull_forward(&mut drafts);
    let waves = waves(&drafts);
    // By wave first: data steps begin in wave 0, whatever their phase, and are read where they begin.
    let mut order: Vec<(u32, Phase, Key)> = drafts
        .iter()
        .map(|(key, draft)| {
            (
                waves.get(key).copied().unwrap_or(0),
                draft.phase,
                key.clone(),
            )
        })
        .collect();
    order.sort();
    let numbers: BTreeMap<&Key, u32> = (0..)
        .zip(&order)
        .map(|(number, (_, _, key))| (key, number))
        .collect();
    order
        .iter()
        .filter_map(|(wave, phase, key)| {
            let draft = drafts.remove(key)?;
            let mut needs: Vec<Need> = draft
                .needs
                .iter()
                .map(|(need, gate)| Need {
                    step: numbers[need],
                    gate: *gate,
                })
                .collect();
            needs.sort();
            Some(Step {
                number: numbers[key],
                wave: *wave,
                phase: *phase,
                object: key.0.clone(),
                action: draft.action,
                needs,
            })
        })
        .collect()
}

/// Lowers phases until no hard need points to a later phase, then drops the soft ones that do.
fn pull_forward(drafts: &mut BTreeMap<Key, Draft>) {
    let mut work: Vec<Key> = drafts.keys().cloned().collect();
    while let Some(key) = work.pop() {
        let Some(draft) = drafts.get(&key) else {
            continue;
        };
        let phase = draft.phase;
        let later: Vec<Key> = draft
            .needs
            .iter()
            .filter(|(need, gate)| {
                **gate > Gate::Settled && drafts.get(need).is_some_and(|to| to.phase > phase)
            })
            .map(|(need, _)| need.clone())
            .collect();
        for need in later {
            if let Some(to) = drafts.get_mut(&need) {
                to.phase = phase;
            }
            work.push(need);
        }
    }
    let phases: BTreeMap<Key, Phase> = drafts
        .iter()
        .map(|(key, draft)| (key.clone(), draft.phase))
        .collect();
    for draft in drafts.values_mut() {
        let phase = draft.phase;
        draft.needs.retain(|need, _| phases[need] <= phase);
    }
}

/// Longest path, phase after phase; objects of a phase come after all objects of the one before.
fn waves(drafts: &BTreeMap<Key, Draft>) -> BTreeMap<Key, u32> {
    let mut waiting: BTreeMap<&Key, usize> = BTreeMap::new();
    let mut wanted_by: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for (key, draft) in drafts {
        waiting.insert(key, draft.needs.len());
        for need in draft.needs.keys() {
            wanted_by.entry(need).or_default().push(key);
        }
    }
    let mut ready: BTreeSet<(Phase, &Key)> = waiting
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(key, _)| (drafts[*key].phase, *key))
        .collect();
    let mut waves: BTreeMap<Key, u32> = BTreeMap::new();
    let mut base = (Phase::Cluster, 0);
    let mut top = 0;
    while let Some((phase, key)) = ready.pop_first() {
        let draft = &drafts[key];
        if phase > base.0 {
            base = (phase, top);
        }
        let floor = if draft.action.is_object() { base.1 } else { 0 };
        let after = draft
            .needs
            .keys()
            .filter_map(|need| waves.get(need))
            .map(|wave| wave + 1)
            .max();
        let wave = floor.max(after.unwrap_or(0));
        if draft.action.is_object() {
            top = top.max(wave + 1);
        }
        waves.insert(key.clone(), wave);
        for next in wanted_by.get(key).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((drafts[*next].phase, *next));
                }
            }
        }
    }
    waves
}
