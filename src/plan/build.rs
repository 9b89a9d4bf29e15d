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

use super::classify::{Verdict, classify};
use super::order::{Draft, Drafts, Role};
use super::volumes::Moves;
use super::{
    Action, Class, Drift, Gate, Hold, Plan, Purpose, VolumeMove, digest, hold, stamp, sync,
};
use crate::capture::{Capture, Captured, Consistency, Owner};
use crate::finding::Finding;
use crate::graph::{Edge, Graph, Phase, Strength};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::surface::Surface;
use crate::target::{DryRun, NamespaceState, SOURCE_ANNOTATION, TargetState};
use crate::transform::Transformed;

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
    pub graph: &'a Graph,
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
}

/// Decides every write and every data move.
pub fn build(input: &PlanInput) -> Plan {
    let builder = Builder::new(input);
    let mut findings = input.findings.to_vec();
    findings.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.cmp(b)));
    let plan = Plan {
        capture: input.capture.id.clone(),
        capture_digest: digest(input.capture),
        source: input.capture.surface.cluster.clone(),
        target: input.surface.cluster.clone(),
        namespaces: input.transformed.namespaces.clone().into_iter().collect(),
        recipes: input.recipes.to_vec(),
        late_binding: late_binding(input.surface),
        before: builder.before(),
        drift: builder.drift(),
        steps: builder.steps(),
        findings,
        changes: input.transformed.changes.clone(),
        graph: input.graph.clone(),
        purpose: input.purpose,
    };
    match input.purpose {
        Purpose::Move => plan,
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

struct Builder<'a> {
    input: &'a PlanInput<'a>,
    /// Objects after transforms by their names on B, missing namespaces added.
    objects: BTreeMap<ObjectId, Object>,
    /// Names on A to names on B.
    names: BTreeMap<ObjectId, ObjectId>,
    captured: BTreeMap<ObjectId, &'a Captured>,
    verdicts: BTreeMap<ObjectId, Verdict>,
    phases: BTreeMap<ObjectId, Phase>,
    /// Edges that order.
    edges: Vec<&'a Edge>,
    moves: BTreeMap<ObjectId, VolumeMove>,
    /// Whatever must be on B before data can arrive: never held, never waiting for data.
    beneath_data: BTreeSet<ObjectId>,
}

impl<'a> Builder<'a> {
    fn new(input: &'a PlanInput<'a>) -> Self {
        let mut builder = Self {
            input,
            objects: BTreeMap::new(),
            names: BTreeMap::new(),
            captured: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            phases: input
                .graph
                .nodes
                .iter()
                .map(|node| (node.id.clone(), node.phase))
                .collect(),
            edges: ordering(input.graph),
            moves: BTreeMap::new(),
            beneath_data: BTreeSet::new(),
        };
        for (captured, object) in input.transformed.from(&input.capture.objects) {
            builder.names.insert(captured.object.id(), object.id());
            builder.captured.insert(object.id(), captured);
        }
        for object in &input.transformed.objects {
            builder.objects.insert(object.id(), object.clone());
        }
        builder.add_namespaces();
        let blocked = builder.blocked();
        for (id, object) in &builder.objects {
            builder
                .verdicts
                .insert(id.clone(), classify(object, input.target, &blocked));
        }
        builder.moves = builder.moves();
        builder.beneath_data = builder.closure(builder.moves.keys().cloned().collect());
        builder
    }

    /// Namespaces that are not on B and did not travel are made plain.
    fn add_namespaces(&mut self) {
        for (name, state) in &self.input.target.namespaces {
            let id = ObjectId::cluster("", "Namespace", name);
            let absent = *state == NamespaceState::Absent;
            if absent && !self.objects.contains_key(&id) {
                let value = serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
                    "metadata": {"name": name}});
                if let Ok(object) = Object::new(value) {
                    self.phases.insert(id.clone(), Phase::Skeleton);
                    self.objects.insert(id, object);
                }
            }
        }
    }

    /// Objects a finding blocks, and whatever cannot be made without them (H edges).
    fn blocked(&self) -> BTreeSet<ObjectId> {
        let mut blocked: BTreeSet<ObjectId> = self
            .input
            .findings
            .iter()
            .filter(|finding| finding.verdict.blocks())
            .filter_map(|finding| finding.object.as_ref())
            .map(|id| self.names.get(id).unwrap_or(id).clone())
            .collect();
        let mut dependents: BTreeMap<&ObjectId, Vec<&ObjectId>> = BTreeMap::new();
        for edge in self
            .edges
            .iter()
            .filter(|edge| edge.strength == Strength::H)
        {
            dependents.entry(&edge.to).or_default().push(&edge.from);
        }
        let mut work: Vec<ObjectId> = blocked.iter().cloned().collect();
        while let Some(target) = work.pop() {
            for from in dependents.get(&target).into_iter().flatten() {
                if blocked.insert((*from).clone()) {
                    work.push((*from).clone());
                }
            }
        }
        blocked
    }

    /// Data moves by the claim on B: into claims that are made now, or whose data never arrived.
    fn moves(&self) -> BTreeMap<ObjectId, VolumeMove> {
        let moves = Moves {
            capture: self.input.capture,
            users: users_of_claims(self.input.graph),
            objects: &self.objects,
            names: &self.names,
            live: &self.input.target.live,
            purpose: self.input.purpose,
        };
        self.input
            .capture
            .volumes
            .iter()
            .filter_map(|volume| moves.of(volume))
            .filter(|volume| {
                self.verdicts
                    .get(&volume.target)
                    .is_some_and(|verdict| matches!(verdict.class, Class::Create | Class::Same))
            })
            .map(|volume| (volume.target.clone(), volume))
            .collect()
    }

    /// The given objects and everything they need, over every ordering edge.
    fn closure(&self, roots: BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        let mut needs: BTreeMap<&ObjectId, Vec<&ObjectId>> = BTreeMap::new();
        for edge in &self.edges {
            needs.entry(&edge.from).or_default().push(&edge.to);
        }
        let mut work: Vec<ObjectId> = roots.iter().cloned().collect();
        let mut seen = roots;
        while let Some(id) = work.pop() {
            for to in needs.get(&id).into_iter().flatten() {
                if seen.insert((*to).clone()) {
                    work.push((*to).clone());
                }
            }
        }
        seen
    }

    /// Captured objects before transforms, in the order of the graph's nodes.
    fn before(&self) -> Vec<Object> {
        self.captured
            .values()
            .map(|captured| captured.object.clone())
            .collect()
    }

    fn steps(&self) -> Vec<super::Step> {
        let mounts_moved: BTreeSet<&ObjectId> = self
            .edges
            .iter()
            .filter(|edge| self.moves.contains_key(&edge.to))
            .map(|edge| &edge.from)
            .collect();
        let holds: BTreeMap<&ObjectId, Hold> = self
            .verdicts
            .iter()
            .filter_map(|(id, verdict)| Some((id, self.hold(id, verdict, &mounts_moved)?)))
            .collect();
        let mut drafts = Drafts::default();
        for (id, verdict) in &self.verdicts {
            self.draft_object(&mut drafts, id, verdict, holds.get(id));
        }
        for volume in self.moves.values() {
            self.draft_move(&mut drafts, volume);
        }
        self.connect(&mut drafts, &holds);
        drafts.steps()
    }

    /// The hold of one object, if it needs one while data is under way.
    fn hold(
        &self,
        id: &ObjectId,
        verdict: &Verdict,
        mounts_moved: &BTreeSet<&ObjectId>,
    ) -> Option<Hold> {
        if self.moves.is_empty() || self.beneath_data.contains(id) {
            return None;
        }
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
                    || mounts_moved.contains(id)
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
        id: &ObjectId,
        verdict: &Verdict,
        held: Option<&Hold>,
    ) {
        let phase = self.phases.get(id).copied().unwrap_or(Phase::Workload);
        let mut body = verdict.body.clone();
        if verdict.class == Class::Create {
            stamp::annotate(&mut body, SOURCE_ANNOTATION, &self.source(id));
            if self.moves.contains_key(id) {
                stamp::annotate(&mut body, stamp::DATA_ANNOTATION, stamp::DATA_PENDING);
                if self.input.purpose != Purpose::Move {
                    stamp::annotate(&mut body, stamp::SYNC_ANNOTATION, "");
                }
            }
        }
        if let Some(held) = held {
            let release = Action::Release {
                holds: vec![held.clone()],
                body: hold::released(&body, held),
            };
            drafts.insert(
                (id.clone(), Role::Release),
                Draft::new(Phase::Release, release),
            );
            body = hold::held(&body, held);
        }
        let apply = Action::Apply {
            body,
            class: verdict.class,
            expect: verdict.expect.clone(),
            holds: held.into_iter().cloned().collect(),
            owners: self.owners(id),
        };
        drafts.insert((id.clone(), Role::Apply), Draft::new(phase, apply));
    }

    /// What the updates change on B.
    fn drift(&self) -> Vec<Drift> {
        let target = self.input.target;
        let updates = self
            .verdicts
            .iter()
            .filter(|(_, verdict)| verdict.class == Class::Update);
        updates
            .filter_map(|(id, verdict)| {
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
    fn source(&self, id: &ObjectId) -> String {
        let cluster = &self.input.capture.surface.cluster.name;
        let captured = self.captured.get(id);
        match captured.and_then(|captured| captured.object.namespace()) {
            Some(namespace) => format!("{cluster}/{namespace}"),
            None => cluster.clone(),
        }
    }

    /// Owners by their names on B, of those that travel.
    fn owners(&self, id: &ObjectId) -> Vec<Owner> {
        self.captured
            .get(id)
            .into_iter()
            .flat_map(|captured| &captured.owners)
            .filter_map(|owner| {
                let id = self.names.get(&owner.id)?.clone();
                Some(Owner {
                    id,
                    ..owner.clone()
                })
            })
            .collect()
    }

    fn draft_move(&self, drafts: &mut Drafts, volume: &VolumeMove) {
        let draft = |action| Draft::new(Phase::Storage, action);
        let claim = &volume.target;
        let mut load = draft(Action::Load(volume.clone()));
        load.need((claim.clone(), Role::Apply), Gate::Done);
        if volume.saved.is_none() {
            let source = &volume.source;
            let mut save = draft(Action::Save(volume.clone()));
            // All data shows one time: nothing is read before every snapshot was tried.
            for other in self.moves.values() {
                save.need((other.source.clone(), Role::Snapshot), Gate::Settled);
            }
            save.need((source.clone(), Role::Snapshot), Gate::Done);
            load.need((source.clone(), Role::Save), Gate::Done);
            drafts.insert((source.clone(), Role::Save), save);
            if volume.consistency == Consistency::Snapshot {
                let snapshot = draft(Action::Snapshot(volume.clone()));
                drafts.insert((source.clone(), Role::Snapshot), snapshot);
            }
        }
        drafts.insert((claim.clone(), Role::Load), load);
    }

    /// Turns edges into needs.
    fn connect(&self, drafts: &mut Drafts, holds: &BTreeMap<&ObjectId, Hold>) {
        let key = |id: &ObjectId, role| (id.clone(), role);
        let mut need = |from, to, gate| drafts.need(&from, to, gate);
        for edge in &self.edges {
            let (from, to) = (&edge.from, &edge.to);
            let held = holds.contains_key(to);
            let (create, run) = match edge.strength {
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
            need(key(from, Role::Apply), key(to, create_role), create);
            if holds.contains_key(from) {
                let run_role = if held { Role::Release } else { Role::Apply };
                need(key(from, Role::Release), key(to, run_role), run);
            }
        }
        for id in self.verdicts.keys() {
            if let Some(namespace) = &id.namespace {
                let namespace = ObjectId::cluster("", "Namespace", namespace);
                need(
                    key(id, Role::Apply),
                    key(&namespace, Role::Apply),
                    Gate::Ready,
                );
            }
            if holds.contains_key(id) {
                need(key(id, Role::Release), key(id, Role::Apply), Gate::Done);
            }
            let waiting = if holds.contains_key(id) {
                Role::Release
            } else {
                Role::Apply
            };
            if holds.contains_key(id) || self.runs_unheld(id) {
                for claim in self.moves.keys() {
                    need(key(id, waiting), key(claim, Role::Load), Gate::Done);
                }
            }
        }
    }

    /// Whether an object of the workload phase can neither be held nor is quiet: it waits for data.
    fn runs_unheld(&self, id: &ObjectId) -> bool {
        self.phases.get(id) == Some(&Phase::Workload)
            && !self.beneath_data.contains(id)
            && hold::row(&self.input.knowledge.holds, id).is_none()
            && self
                .verdicts
                .get(id)
                .is_some_and(|verdict| verdict.class == Class::Create)
    }
}

/// Who refers to each claim, in order of name.
fn users_of_claims(graph: &Graph) -> BTreeMap<&ObjectId, Vec<&ObjectId>> {
    let mut users: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for edge in &graph.edges {
        if edge.to.is("", "PersistentVolumeClaim") {
            users.entry(&edge.to).or_default().push(&edge.from);
        }
    }
    users
}

/// The edges that order: N and P edges and those left out to avoid circles do not.
fn ordering(graph: &Graph) -> Vec<&Edge> {
    let dropped: BTreeSet<&Edge> = graph.dropped.iter().map(|dropped| &dropped.edge).collect();
    graph
        .edges
        .iter()
        .filter(|edge| matches!(edge.strength, Strength::H | Strength::R | Strength::S))
        .filter(|edge| !dropped.contains(edge))
        .collect()
}
