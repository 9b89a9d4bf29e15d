//! From drafts that name each other to numbered steps in waves.
//!
//! A step's phase may be moved forward, never back: when a hard need points from an earlier phase to
//! a later one, the needed step joins the earlier phase (references win over phases, W-1). After
//! that needs only point to the same phase or before, and phases can be barriers without a deadlock.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::items::Number;
use super::{Action, Gate, Need, Step};
use crate::graph::Phase;
use crate::object::ObjectId;

/// What a draft does, for its key; the order breaks ties within a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    Apply,
    HookBefore(u16),
    Quiesce,
    Quiet,
    Snapshot,
    Save,
    Load,
    StillQuiet,
    Release,
    HookAfter(u16),
    GiveUp,
}

/// Names a draft: one object has at most one of each role.
pub(super) type Key = (Number, Role);

/// A step without a number.
pub(super) struct Draft {
    phase: Phase,
    action: Action,
    needs: Vec<(Key, Gate)>,
}

impl Draft {
    pub(super) fn new(phase: Phase, action: Action) -> Self {
        Self {
            phase,
            action,
            needs: Vec::new(),
        }
    }

    /// Adds a need; of two on the same step the stronger counts.
    pub(super) fn need(&mut self, key: Key, gate: Gate) {
        self.needs.push((key, gate));
    }
}

/// All drafts, and where each stands in the list.
pub(super) struct Drafts {
    list: Vec<(Key, Draft)>,
    places: HashMap<Key, usize>,
}

impl Drafts {
    /// Room for so many, and more.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            list: Vec::with_capacity(count),
            places: HashMap::with_capacity(count),
        }
    }

    /// Adds a draft; there is none of that key yet.
    pub(super) fn insert(&mut self, key: Key, draft: Draft) {
        self.places.insert(key, self.list.len());
        self.list.push((key, draft));
    }

    /// Adds a need to a draft, if there is one of that key.
    pub(super) fn need(&mut self, of: &Key, key: Key, gate: Gate) {
        if let Some(place) = self.places.get(of) {
            self.list[*place].1.need(key, gate);
        }
    }

    /// Writes of objects that come no later than workloads and wait, over however many others, for no draft
    /// of these roles; in order.
    pub(super) fn independent_of(&self, roles: &[Role]) -> Vec<Key> {
        let mut waiting: HashMap<Key, Vec<Key>> = HashMap::new();
        for (key, draft) in &self.list {
            for (need, _) in &draft.needs {
                waiting.entry(*need).or_default().push(*key);
            }
        }
        // Also those that are waited for and not drafted yet.
        let all = self.list.iter().map(|(key, _)| key).chain(waiting.keys());
        let mut work: Vec<Key> = all.filter(|key| roles.contains(&key.1)).copied().collect();
        let mut dependent: HashSet<Key> = work.iter().copied().collect();
        while let Some(key) = work.pop() {
            for next in waiting.get(&key).into_iter().flatten() {
                if dependent.insert(*next) {
                    work.push(*next);
                }
            }
        }
        let free = |(key, draft): &&(Key, Draft)| {
            key.1 == Role::Apply && draft.phase <= Phase::Workload && !dependent.contains(key)
        };
        let mut found: Vec<Key> = self.list.iter().filter(free).map(|(key, _)| *key).collect();
        found.sort();
        found
    }

    /// Numbers the drafts; `ids` are the objects' names by number. Needs on drafts that do not exist are
    /// dropped.
    pub(super) fn steps(self, ids: &[ObjectId]) -> Vec<Step> {
        let Self {
            list: mut drafts,
            places,
        } = self;
        drop(places);
        drafts.sort_unstable_by_key(|(key, _)| *key);
        let mut links = Links::new(&mut drafts);
        links.pull_forward();
        let waves = links.waves();
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        // By wave first: data steps begin in wave 0, whatever their phase, and are read where they begin.
        order.sort_by_key(|at| (waves[*at], links.phases[*at], *at));
        let mut numbers = vec![0; drafts.len()];
        for (number, at) in (0..).zip(&order) {
            numbers[*at] = number;
        }
        let mut drafts: Vec<_> = drafts.into_iter().map(Some).collect();
        let step = |at: usize| {
            let ((object, _), draft) = drafts[at].take()?;
            let need = |(step, gate): &(u32, Gate)| Need {
                step: numbers[*step as usize],
                gate: *gate,
            };
            let mut needs: Vec<Need> = links.needs[at].iter().map(need).collect();
            needs.sort();
            Some(Step {
                number: numbers[at],
                wave: waves[at],
                phase: links.phases[at],
                object: ids[object as usize].clone(),
                action: draft.action,
                needs,
            })
        };
        order.into_iter().filter_map(step).collect()
    }
}

/// The drafts by their places in the order of their keys.
struct Links {
    phases: Vec<Phase>,
    /// Whether it writes an object.
    objects: Vec<bool>,
    needs: Vec<Vec<(u32, Gate)>>,
}

impl Links {
    /// Takes the needs out of the drafts, which are sorted by their keys.
    fn new(drafts: &mut [(Key, Draft)]) -> Self {
        let places: HashMap<Key, u32> = drafts.iter().map(|(key, _)| *key).zip(0..).collect();
        let needs = (0..).zip(drafts.iter_mut()).map(|(own, (_, draft))| {
            let place = |(key, gate): (Key, Gate)| Some((*places.get(&key)?, gate));
            let needs = std::mem::take(&mut draft.needs).into_iter();
            let mut needs: Vec<_> = needs.filter_map(place).collect();
            needs.retain(|(place, _)| *place != own);
            // The strongest of several on one step comes first and stays.
            needs.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            needs.dedup_by_key(|(place, _)| *place);
            needs
        });
        Self {
            needs: needs.collect(),
            phases: drafts.iter().map(|(_, draft)| draft.phase).collect(),
            objects: drafts
                .iter()
                .map(|(_, draft)| draft.action.is_object())
                .collect(),
        }
    }

    /// Lowers phases until no hard need points to a later phase, then drops the soft ones that do.
    fn pull_forward(&mut self) {
        let mut work: Vec<usize> = (0..self.phases.len()).collect();
        while let Some(at) = work.pop() {
            let phase = self.phases[at];
            for (need, gate) in &self.needs[at] {
                let need = *need as usize;
                if *gate > Gate::Settled && self.phases[need] > phase {
                    self.phases[need] = phase;
                    work.push(need);
                }
            }
        }
        for (needs, phase) in self.needs.iter_mut().zip(&self.phases) {
            needs.retain(|(need, _)| self.phases[*need as usize] <= *phase);
        }
    }

    /// Longest path, phase after phase; objects of a phase come after all objects of the one before.
    fn waves(&self) -> Vec<u32> {
        let mut waiting: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut wanted_by: Vec<Vec<u32>> = vec![Vec::new(); waiting.len()];
        for (at, needs) in (0..).zip(&self.needs) {
            for (need, _) in needs {
                wanted_by[*need as usize].push(at);
            }
        }
        let mut ready: BTreeSet<(Phase, usize)> = (0..waiting.len())
            .filter(|at| waiting[*at] == 0)
            .map(|at| (self.phases[at], at))
            .collect();
        let mut waves = vec![0; waiting.len()];
        let mut base = (Phase::Cluster, 0);
        let mut top = 0;
        while let Some((phase, at)) = ready.pop_first() {
            if phase > base.0 {
                base = (phase, top);
            }
            let floor = if self.objects[at] { base.1 } else { 0 };
            let after = self.needs[at]
                .iter()
                .map(|(need, _)| waves[*need as usize] + 1);
            let wave = after.max().unwrap_or(0).max(floor);
            if self.objects[at] {
                top = top.max(wave + 1);
            }
            waves[at] = wave;
            for next in wanted_by[at].iter().map(|next| *next as usize) {
                waiting[next] -= 1;
                if waiting[next] == 0 {
                    ready.insert((self.phases[next], next));
                }
            }
        }
        waves
    }
}
