//! A cutover's part of a plan: cluster A stands still between what is prepared and the last delta.
//!
//! ```text
//! B: every object, held ──▶ A: quiesce ──▶ quiet ──▶ snapshot ──▶ save ──▶ load ──▶ quiet still? ──▶ B: release
//! ```
//!
//! A is touched only when everything that needs no data stands on B: what B refuses costs no downtime.
//! Those who control others, as operators and GitOps controllers do, are held first, or they would undo
//! the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::items::{Number, namespace};
use super::super::order::{Draft, Drafts, Key, Role};
use super::super::{Action, Gate, Hold, Purpose, hold};
use super::Builder;
use super::hooks::Hooks;
use crate::capture::{Capture, DropClass};
use crate::finding::{Finding, Verdict};
use crate::graph::Phase;
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};

/// Groups whose controllers do only what their objects say.
const BUILT_IN: [&str; 4] = ["", "apps", "batch", "apps.openshift.io"];

/// Workloads of A that run and that a cutover holds (W-9), with what keeps them quiet, in order of name.
pub fn quiesced(capture: &Capture, knowledge: &Knowledge) -> BTreeMap<ObjectId, Hold> {
    let rows = &knowledge.holds;
    let captured = capture.objects.iter().filter_map(|captured| {
        let id = captured.raw.id();
        let hold = hold::hold(hold::row(rows, &id)?, &captured.raw)?;
        (!hold::has_ended(&captured.raw)).then_some((id, hold))
    });
    // An operator that is paused leaves what it made running.
    let made = capture.dropped.iter().filter_map(|dropped| {
        let maker = dropped.produced_by.as_ref()?;
        let operated = dropped.class == DropClass::Produced
            && !BUILT_IN.contains(&maker.group.as_str())
            && hold::row(rows, maker).is_some();
        let row = hold::row(rows, &dropped.id).filter(|row| row.scale && operated)?;
        let hold = Hold {
            rule: row.id.clone(),
            path: row.path.clone(),
            held: row.held.clone(),
            release: None,
            scale: row.scale,
        };
        Some((dropped.id.clone(), hold))
    });
    made.chain(captured).collect()
}

impl Builder<'_> {
    /// Whether A is made to stand still.
    pub(super) fn cuts_over(&self) -> bool {
        self.input.purpose == Purpose::Cutover
    }

    /// Adds the steps on A and makes the data wait for them, and whatever runs on B for the data.
    pub(super) fn stand_still(&self, drafts: &mut Drafts, hooks: &Hooks) {
        if !self.cuts_over() {
            return;
        }
        let prepared = drafts.independent_of(&[Role::Load, Role::StillQuiet, Role::Release]);
        let prepared = hooks.draft_before(drafts, prepared);
        let held = quiesced(self.input.capture, self.input.knowledge);
        let (first, rest): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|(id, _)| !BUILT_IN.contains(&id.group.as_str()));
        let controllers = self.quiesce(drafts, first, &prepared);
        let before = if controllers.is_empty() {
            &prepared
        } else {
            &controllers
        };
        let mut held = self.quiesce(drafts, rest, before);
        held.extend(controllers);
        self.watch(drafts, &prepared, &held);
    }

    /// Adds the holds of some workloads of A, each after everything that comes before.
    fn quiesce(
        &self,
        drafts: &mut Drafts,
        held: Vec<(ObjectId, Hold)>,
        before: &[Key],
    ) -> Vec<Key> {
        let quiesces = held.into_iter().filter_map(|(id, hold)| {
            let holds = vec![hold];
            let mut draft = Draft::new(Phase::Workload, Action::Quiesce { holds });
            for key in before {
                draft.need(*key, Gate::Done);
            }
            Some(((self.items.number(&id)?, Role::Quiesce), draft))
        });
        let mut keys = Vec::new();
        for (key, draft) in quiesces {
            keys.push(key);
            drafts.insert(key, draft);
        }
        keys
    }

    /// Before the data is taken nothing runs any more, and when it has arrived nothing runs again.
    fn watch(&self, drafts: &mut Drafts, prepared: &[Key], held: &[Key]) {
        for namespace in self.quiet_namespaces() {
            let mut quiet = Draft::new(Phase::Workload, Action::Quiet { waits: true });
            for key in held.iter().chain(prepared) {
                quiet.need(*key, Gate::Done);
            }
            let mut still = Draft::new(Phase::Workload, Action::Quiet { waits: false });
            still.need((namespace, Role::Quiet), Gate::Done);
            for (claim, volume) in &self.moves {
                still.need((*claim, Role::Load), Gate::Done);
                let Some(source) = self.items.number(&volume.source) else {
                    continue;
                };
                for role in [Role::Snapshot, Role::Save] {
                    drafts.need(&(source, role), (namespace, Role::Quiet), Gate::Done);
                }
            }
            drafts.insert((namespace, Role::Quiet), quiet);
            drafts.insert((namespace, Role::StillQuiet), still);
        }
    }

    /// The captured namespaces, as what is watched on A.
    pub(super) fn quiet_namespaces(&self) -> impl Iterator<Item = Number> {
        let names = self.input.capture.namespaces.iter();
        names
            .filter(|_| self.cuts_over())
            .filter_map(|name| self.items.number(&namespace(name)))
    }

    /// StatefulSets whose claims their controller deletes when they are scaled down, as a hold does.
    fn deleting_claims(&self, verdict: Verdict) -> impl Iterator<Item = Finding> {
        const AT: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled";
        let deleting = self.input.capture.objects.iter().filter(|captured| {
            captured.raw.is("apps", "StatefulSet") && captured.raw.text(AT) == Some("Delete")
        });
        deleting.map(move |captured| {
            Finding::new(
                verdict,
                "W-9",
                "a cutover holds it at 0 replicas, and then its claims are deleted",
            )
            .on(captured.raw.id())
            .at(AT)
            .because("whenScaled is Delete on the source cluster")
            .remedy("set it to Retain on the source cluster first")
        })
    }

    /// Pods of their own, which nothing scales down.
    fn running_on(&self) -> impl Iterator<Item = Finding> {
        let pods = self.input.capture.objects.iter().map(|one| &one.raw);
        let pods = pods.filter(|raw| raw.is("", "Pod")).map(|raw| raw.id());
        let uses = |id: &ObjectId| {
            let mut volumes = self.input.capture.volumes.iter();
            volumes.any(|volume| volume.mounted_by.contains(id))
        };
        pods.filter(move |id| !uses(id)).map(|id| {
            Finding::new(
                Verdict::Warn,
                "W-9",
                "it runs on while the rest is cut over",
            )
            .on(id)
            .because("nothing is known that would stop it; it uses no claim")
            .remedy("stop it by hand if it writes elsewhere")
        })
    }

    /// What makes a cutover lose data, or a sync pointless: found before anything is touched.
    pub(super) fn warm_findings(&self) -> Vec<Finding> {
        let verdict = match self.input.purpose {
            Purpose::Move => return Vec::new(),
            Purpose::Sync => Verdict::Warn,
            Purpose::Cutover => Verdict::Block,
        };
        let rows = &self.input.knowledge.holds;
        let known: BTreeSet<ObjectId> = (self.input.capture.objects.iter())
            .map(|captured| captured.raw.id())
            .collect();
        let mut findings: Vec<Finding> = self.deleting_claims(verdict).collect();
        findings.extend(self.running_on());
        for volume in &self.input.capture.volumes {
            let stops = |id: &&ObjectId| known.contains(*id) && hold::row(rows, id).is_some();
            for user in volume.mounted_by.iter().filter(|id| !stops(id)) {
                findings.push(
                    Finding::new(verdict, "W-9", "nothing is known that would stop it for a cutover")
                        .on(user.clone())
                        .because(format!("it uses claim {}", volume.claim.name))
                        .remedy(
                            "stop it by hand before the cutover, or select it too where it was left out",
                        ),
                );
            }
            let target = self.items.by_source(&volume.claim);
            if target.is_some_and(|target| !self.moves.contains_key(&target)) {
                findings.push(
                    Finding::new(
                        verdict,
                        "W-13",
                        "the claim on the target is not a sync's: the data of now would stay behind",
                    )
                    .on(volume.claim.clone())
                    .because("it was there before, or holds the data of a finished run")
                    .remedy(
                        "take that run back with `ferry runs undo RUN --delete-data`, or delete the claim \
                         and what mounts it on the target",
                    ),
                );
            }
        }
        findings
    }
}

impl Hold {
    /// Whether an object is as quiet as the hold makes it.
    pub fn is_quiet(&self, live: &Object) -> bool {
        self.is_set(live) || hold::has_ended(live)
    }

    /// Whether the field is as the hold makes it; null stands for one that is not there.
    pub fn is_set(&self, live: &Object) -> bool {
        live.pointer(&self.path).unwrap_or(&Value::Null) == &self.held
    }

    /// A merge patch that sets the field to a value, or removes it.
    pub fn set_to(&self, value: Value) -> Value {
        hold::nested(&self.path, value)
    }
}
