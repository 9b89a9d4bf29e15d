//! Builds a plan from values: no client, no clock, no randomness.
//!
//! ```text
//! object ──▶ Apply (held) ─────────────────────────────────────────┐
//! claim  ──▶ Apply ──▶ Load ◀── Save ◀── Snapshot                  ├──▶ Release
//!                        └─────────── every volume (W-7) ──────────┘
//! ```
//!
//! An H edge waits for the target's gate, an R edge for its existence (for its gate on release), an S
//! edge for its end, well or not (W-4). Needs never close a circle: whatever the data itself waits
//! for is neither held nor made to wait for data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::classify::{Verdict, classify};
use super::items::{Items, Number, Tie};
use super::order::{Draft, Drafts, Role};
use super::unprivileged::{self, Unprivileged};
use super::volumes::Moves;
use super::{
    Action, Body, Class, Drift, Gate, Grouping, Hold, Plan, Purpose, VolumeMove, hold, stamp, sync,
    together,
};
use crate::capture::{Capture, Owner};
use crate::finding::Finding;
use crate::graph::{Graph, Phase, Strength};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::surface::Surface;
use crate::target::{DryRun, SOURCE_ANNOTATION, TargetState};
use crate::transform::Transformed;

mod cutover;
mod hooks;
mod hosts;

pub use cutover::quiesced;
pub use hooks::hooked;
pub use hosts::{exposed, hosts_of};

use self::hooks::Hooks;

/// Everything a plan follows from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What was captured on A.
    pub capture: &'a Capture,
    /// Its objects after the recipes, in the capture's order.
    pub transformed: &'a Transformed,
    /// Name and SHA-256 of every recipe used.
    pub recipes: &'a [(String, String)],
    /// What refers to what, with B's names.
    pub graph: &'a Arc<Graph>,
    /// What B offers.
    pub surface: &'a Surface,
    /// What B holds and says.
    pub target: &'a TargetState,
    /// What the checks found.
    pub findings: &'a [Finding],
    /// Holds.
    pub knowledge: &'a Knowledge,
    /// What the plan is for.
    pub purpose: Purpose,
    /// Whether a cutover moves A's hosts to B.
    pub switch_hosts: bool,
    /// Where movers have no privileges.
    pub unprivileged: Unprivileged,
    /// Which claims are frozen at one moment.
    pub grouping: Grouping,
    /// Whether the user says that both clusters are on one storage.
    pub shared_storage: bool,
}

/// Decides every write and every data move.
pub fn build(input: &PlanInput) -> Plan {
    let mut builder = Builder::new(input);
    let mut findings = input.findings.to_vec();
    findings.extend(builder.warm_findings());
    let mut hooks = Hooks::collect(&builder);
    findings.append(&mut hooks.findings);
    findings.extend(builder.host_findings());
    findings.extend(builder.moves.values().filter_map(unprivileged::finding));
    findings.extend(builder.group_findings());
    findings.append(&mut builder.storage_findings);
    findings.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.cmp(b)));
    let (before, drift) = (builder.before(), builder.drift());
    let plan = Plan {
        steps: builder.steps(&hooks),
        capture: input.capture.id.clone(),
        source: input.capture.surface.cluster.clone(),
        target: input.surface.cluster.clone(),
        namespaces: input.transformed.namespaces.clone().into_iter().collect(),
        recipes: input.recipes.to_vec(),
        late_binding: late_binding(input.surface),
        before,
        drift,
        findings,
        changes: Arc::clone(&input.transformed.changes),
        graph: Arc::clone(input.graph),
        purpose: input.purpose,
    };
    match input.purpose {
        Purpose::Move | Purpose::Cutover => plan,
        Purpose::Sync => sync::data_alone(plan),
    }
}

fn late_binding(surface: &Surface) -> BTreeSet<String> {
    surface
        .of_kind("storage.k8s.io", "StorageClass")
        .filter(|class| class.text("/volumeBindingMode") == Some("WaitForFirstConsumer"))
        .map(|class| class.name().to_owned())
        .collect()
}

/// What is held, by the held object.
type Holds = BTreeMap<Number, Hold>;

struct Builder<'a> {
    input: &'a PlanInput<'a>,
    items: Items<'a>,
    /// What becomes of each object; none for what only is referred to.
    verdicts: Vec<Option<Verdict>>,
    ties: Vec<Tie>,
    /// By the claim on B.
    moves: BTreeMap<Number, VolumeMove>,
    /// What keeps the storage from carrying some of them by itself.
    storage_findings: Vec<Finding>,
    /// Whatever must be on B before data can arrive: never held, never waiting for data.
    beneath_data: Vec<bool>,
}

impl<'a> Builder<'a> {
    fn new(input: &'a PlanInput<'a>) -> Self {
        let items = Items::new(input);
        let ties = items.ties(input.graph);
        let blocked = blocked(input, &items, &ties);
        let verdict = |number: Number| {
            let object = items.object(number)?;
            Some(classify(object, input.target, blocked[number as usize]))
        };
        let verdicts: Vec<Option<Verdict>> = items.numbers().map(verdict).collect();
        let (moves, storage_findings) = moves(input, &items, &verdicts);
        let needs = ties.iter().map(|tie| (tie.from, tie.to));
        let beneath_data = reached(items.len(), moves.keys().copied(), needs);
        Self {
            input,
            items,
            verdicts,
            ties,
            moves,
            storage_findings,
            beneath_data,
        }
    }

    fn group_findings(&self) -> Vec<Finding> {
        let volumes = self.input.capture.volumes.iter();
        let moved = volumes.filter_map(|volume| {
            let claim = self.items.by_source(&volume.claim)?;
            Some((self.moves.get(&claim)?, volume))
        });
        together::findings(moved, self.input.grouping)
    }

    /// The objects that are written, with what becomes of each.
    fn verdicts(&self) -> impl Iterator<Item = (Number, &Verdict)> {
        let all = self.items.numbers().zip(&self.verdicts);
        all.filter_map(|(number, verdict)| Some((number, verdict.as_ref()?)))
    }

    /// Captured objects before transforms, each with its name on B. What a recipe adds has none.
    fn before(&self) -> Vec<(ObjectId, Object)> {
        let captured = |at| {
            let captured = self.items.captured(at)?;
            Some((self.items.id(at).clone(), captured.object.clone()))
        };
        self.items.numbers().filter_map(captured).collect()
    }

    fn steps(self, hooks: &Hooks) -> Vec<super::Step> {
        let moved = |tie: &&Tie| self.moves.contains_key(&tie.to);
        let mounts_moved: BTreeSet<Number> =
            self.ties.iter().filter(moved).map(|tie| tie.from).collect();
        let hold = |(number, verdict)| Some((number, self.hold(number, verdict, &mounts_moved)?));
        let holds: Holds = self.verdicts().filter_map(hold).collect();
        let mut drafts = Drafts::with_capacity(self.items.len());
        for (number, verdict) in self.verdicts() {
            self.draft_object(&mut drafts, number, verdict, holds.get(&number));
        }
        for (claim, volume) in &self.moves {
            self.draft_move(&mut drafts, *claim, volume);
        }
        self.connect(&mut drafts, &holds);
        hooks.draft_after(&self, &mut drafts, &holds);
        self.stand_still(&mut drafts, hooks);
        self.switch_hosts(&mut drafts, hooks, &holds);
        // Drafts and steps are the most a plan ever holds: what led to them makes room.
        drop((self.verdicts, self.ties));
        drafts.steps(&self.items.into_ids())
    }

    /// The hold of one object, if it needs one while data is under way.
    fn hold(
        &self,
        number: Number,
        verdict: &Verdict,
        mounts_moved: &BTreeSet<Number>,
    ) -> Option<Hold> {
        let nothing_to_wait_for = self.moves.is_empty() && !self.cuts_over();
        if nothing_to_wait_for || self.beneath_data[number as usize] {
            return None;
        }
        let id = self.items.id(number);
        let row = hold::row(&self.input.knowledge.holds, id)?;
        let wanted = match verdict.class {
            Class::Create => true,
            // What runs on B already is not stopped, unless it waits for this very data.
            Class::Update => {
                self.input
                    .target
                    .live
                    .get(id)
                    .is_some_and(|live| hold::is_held(row, live))
                    || mounts_moved.contains(&number)
            }
            Class::Same | Class::Keep | Class::Blocked => false,
        };
        if wanted {
            hold::hold(row, &verdict.body)
        } else {
            None
        }
    }

    fn draft_object(
        &self,
        drafts: &mut Drafts,
        number: Number,
        verdict: &Verdict,
        held: Option<&Hold>,
    ) {
        let phase = self.items.phase(number).unwrap_or(Phase::Workload);
        let mut body = Body::from(verdict.body.clone());
        if verdict.class == Class::Create {
            body.annotate(SOURCE_ANNOTATION, &self.source(number));
            if self.moves.contains_key(&number) {
                body.annotate(stamp::DATA_ANNOTATION, stamp::DATA_PENDING);
                if self.input.purpose != Purpose::Move {
                    body.annotate(stamp::SYNC_ANNOTATION, "");
                }
            }
        }
        if let Some(held) = held {
            let release = Action::Release {
                holds: vec![held.clone()],
                body: hold::released(&body, held),
            };
            drafts.insert((number, Role::Release), Draft::new(Phase::Release, release));
            body = hold::held(&body, held);
        }
        let apply = Action::Apply {
            body,
            class: verdict.class,
            expect: verdict.expect.clone(),
            holds: held.into_iter().cloned().collect(),
            owners: self.owners(number),
        };
        drafts.insert((number, Role::Apply), Draft::new(phase, apply));
    }

    /// What the updates change on B.
    fn drift(&self) -> Vec<Drift> {
        let target = self.input.target;
        let all = self.verdicts();
        let updates = all.filter(|(_, verdict)| verdict.class == Class::Update);
        updates
            .filter_map(|(number, verdict)| {
                let id = self.items.id(number);
                let live = target.live.get(id)?.clone();
                let applied = match target.dry_run.get(id) {
                    Some(DryRun::Accepted { object }) => object.clone(),
                    _ => {
                        let mut applied = live.clone();
                        json_patch::merge(applied.value_mut(), verdict.body.value());
                        applied
                    }
                };
                Some(Drift { live, applied })
            })
            .collect()
    }

    /// `<cluster A>/<namespace on A>`, for the stamp.
    fn source(&self, number: Number) -> String {
        let cluster = &self.input.capture.surface.cluster.name;
        let captured = self.items.captured(number);
        match captured.and_then(|captured| captured.object.namespace()) {
            Some(namespace) => format!("{cluster}/{namespace}"),
            None => cluster.clone(),
        }
    }

    /// Owners by their names on B, of those that travel.
    fn owners(&self, number: Number) -> Vec<Owner> {
        let captured = self.items.captured(number).into_iter();
        captured
            .flat_map(|captured| &captured.owners)
            .filter_map(|owner| {
                let on_b = self.items.by_source(&owner.id)?;
                Some(Owner {
                    id: self.items.id(on_b).clone(),
                    ..owner.clone()
                })
            })
            .collect()
    }

    fn draft_move(&self, drafts: &mut Drafts, claim: Number, volume: &VolumeMove) {
        // In a cutover the data waits for A to stand still, and A for what is prepared on B.
        let phase = if self.cuts_over() {
            Phase::Workload
        } else {
            Phase::Storage
        };
        let draft = |action| Draft::new(phase, action);
        let on_a = |volume: &VolumeMove| self.items.number(&volume.source);
        let mut load = draft(Action::Load(volume.clone().into()));
        load.need((claim, Role::Apply), Gate::Done);
        self.gather(&mut load, volume);
        if let (None, Some(source)) = (&volume.saved, on_a(volume)) {
            let mut save = draft(Action::Save(volume.clone().into()));
            // All data shows one time: nothing is read before every snapshot was tried.
            for other in self.moves.values().filter_map(on_a) {
                save.need((other, Role::Snapshot), Gate::Settled);
            }
            save.need((source, Role::Snapshot), Gate::Done);
            load.need((source, Role::Save), Gate::Done);
            drafts.insert((source, Role::Save), save);
            if volume.consistency.is_frozen() {
                let snapshot = draft(Action::Snapshot(volume.clone().into()));
                drafts.insert((source, Role::Snapshot), snapshot);
            }
        }
        drafts.insert((claim, Role::Load), load);
    }

    /// One mover loads what must be on one node when all of it can be loaded, or never will be. Of more than it
    /// carries, the rest comes after, and so to where the first has been put.
    fn gather(&self, load: &mut Draft, volume: &VolumeMove) {
        let others = volume.with.iter().filter_map(|id| self.items.number(id));
        let moves = others.filter_map(|number| Some((number, self.moves.get(&number)?)));
        for (claim, other) in moves {
            if volume.travels_with(other) {
                load.need((claim, Role::Apply), Gate::Settled);
                if let Some(source) = self.items.number(&other.source) {
                    load.need((source, Role::Save), Gate::Settled);
                }
            } else if other.party() < volume.party() {
                load.need((claim, Role::Load), Gate::Settled);
            }
        }
    }

    /// Turns edges into needs.
    fn connect(&self, drafts: &mut Drafts, holds: &Holds) {
        let is_held = |number: Number| holds.contains_key(&number);
        for Tie { from, to, strength } in self.ties.iter().copied() {
            let held = is_held(to);
            let (create, run) = match strength {
                Strength::H => (Gate::Ready, Gate::Ready),
                Strength::R => (Gate::Done, Gate::Ready),
                Strength::S | Strength::N | Strength::P => (Gate::Settled, Gate::Settled),
            };
            // A held workload is ready in name only: who needs it ready needs it released.
            let create_role = if held && create == Gate::Ready {
                Role::Release
            } else {
                Role::Apply
            };
            drafts.need(&(from, Role::Apply), (to, create_role), create);
            if is_held(from) {
                let run_role = if held { Role::Release } else { Role::Apply };
                drafts.need(&(from, Role::Release), (to, run_role), run);
            }
        }
        let mut namespaces: HashMap<&str, Option<Number>> = HashMap::new();
        for (number, _) in self.verdicts() {
            if let Some(name) = self.items.id(number).namespace.as_deref() {
                let find = || self.items.number(&ObjectId::cluster("", "Namespace", name));
                if let Some(namespace) = *namespaces.entry(name).or_insert_with(find) {
                    drafts.need(
                        &(number, Role::Apply),
                        (namespace, Role::Apply),
                        Gate::Ready,
                    );
                }
            }
            let held = is_held(number);
            if held {
                drafts.need(&(number, Role::Release), (number, Role::Apply), Gate::Done);
            }
            let waiting = if held { Role::Release } else { Role::Apply };
            if held || self.runs_unheld(number) {
                for claim in self.moves.keys() {
                    drafts.need(&(number, waiting), (*claim, Role::Load), Gate::Done);
                }
                for namespace in self.quiet_namespaces() {
                    let still = (namespace, Role::StillQuiet);
                    drafts.need(&(number, waiting), still, Gate::Done);
                }
            }
        }
    }

    /// Whether an object of the workload phase can neither be held nor is quiet: it waits for data.
    fn runs_unheld(&self, number: Number) -> bool {
        let verdict = self.verdicts[number as usize].as_ref();
        self.items.phase(number) == Some(Phase::Workload)
            && !self.beneath_data[number as usize]
            && hold::row(&self.input.knowledge.holds, self.items.id(number)).is_none()
            && verdict.is_some_and(|verdict| verdict.class == Class::Create)
    }
}

/// Objects a finding blocks, and whatever cannot be made without them (H edges).
fn blocked(input: &PlanInput<'_>, items: &Items<'_>, ties: &[Tie]) -> Vec<bool> {
    let findings = input.findings.iter();
    let named = findings
        .filter(|finding| finding.verdict.blocks())
        .filter_map(|finding| finding.object.as_ref())
        .filter_map(|id| items.by_source(id).or_else(|| items.number(id)));
    let hard = ties.iter().filter(|tie| tie.strength == Strength::H);
    reached(items.len(), named, hard.map(|tie| (tie.to, tie.from)))
}

/// The given objects and everything reached from them.
fn reached(
    count: usize,
    from: impl Iterator<Item = Number>,
    steps: impl Iterator<Item = (Number, Number)>,
) -> Vec<bool> {
    let mut reached = vec![false; count];
    let mut work: Vec<Number> = from.collect();
    if work.is_empty() {
        return reached;
    }
    let mut next: HashMap<Number, Vec<Number>> = HashMap::new();
    for (from, to) in steps {
        next.entry(from).or_default().push(to);
    }
    while let Some(number) = work.pop() {
        if !std::mem::replace(&mut reached[number as usize], true) {
            work.extend(next.get(&number).into_iter().flatten());
        }
    }
    reached
}

/// Data moves by the claim on B: into claims that are made now, or whose data never arrived.
fn moves(
    input: &PlanInput<'_>,
    items: &Items<'_>,
    verdicts: &[Option<Verdict>],
) -> (BTreeMap<Number, VolumeMove>, Vec<Finding>) {
    let moves = Moves {
        capture: input.capture,
        users: users_of_claims(input.graph),
        items,
        live: &input.target.live,
        purpose: input.purpose,
        unprivileged: input.unprivileged,
        grouping: input.grouping,
        shared_storage: input.shared_storage,
        surface: input.surface,
        knowledge: input.knowledge,
        mounted: input.capture.mounted_together(),
    };
    let made_now = |claim: Number| {
        let verdict = verdicts[claim as usize].as_ref();
        verdict.is_some_and(|verdict| matches!(verdict.class, Class::Create | Class::Same))
    };
    let volumes = input.capture.volumes.iter();
    let mut findings = Vec::new();
    let moved = volumes
        .filter_map(|volume| Some((items.by_source(&volume.claim)?, volume)))
        .filter(|(claim, _)| made_now(*claim))
        .map(|(claim, volume)| {
            let (moved, finding) = moves.of(volume, items.id(claim));
            findings.extend(finding);
            (claim, moved)
        })
        .collect();
    (moved, findings)
}

/// Who refers to each claim, in order of name.
fn users_of_claims(graph: &Graph) -> HashMap<&ObjectId, Vec<&ObjectId>> {
    let mut users: HashMap<_, Vec<_>> = HashMap::new();
    for edge in &graph.edges {
        if edge.to.is("", "PersistentVolumeClaim") {
            users.entry(&edge.to).or_default().push(&edge.from);
        }
    }
    users
}
