//! Hooks as steps: what recipes and annotations ask for, in the pods of workloads that run.
//!
//! ```text
//! on A (cutover):  every object of B, held ──▶ hook ──▶ hook ──▶ quiesce …
//! on B:            release ──▶ (ready) ──▶ hook ──▶ hook ──▶ whoever needs the workload ready; exposure
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use smol_str::SmolStr;

use super::super::items::Number;
use super::super::order::{Draft, Drafts, Key, Role};
use super::super::{Action, Class, Gate, Purpose, hold};
use super::{Builder, Holds};
use crate::capture::Capture;
use crate::finding::{Finding, Verdict};
use crate::graph::{Phase, Strength};
use crate::hook::{DEFAULT_CONTAINER, Hook, Moment, OnError, WaitFor, velero};
use crate::object::{Object, ObjectId};
use crate::transform::Transformed;

/// The rule that findings name.
const RULE: &str = "hooks";

/// Every hook of a plan, and what is to be said of them.
#[derive(Default)]
pub(super) struct Hooks {
    /// Those on A, in the order in which they run; the workload by its name on A.
    before: Vec<(Number, Hook)>,
    /// Those on B by the workload there, each workload's in order.
    after: BTreeMap<Number, Vec<Hook>>,
    pub(super) findings: Vec<Finding>,
}

/// Namespaces in whose pods hooks may run at a moment, as they are called there.
pub fn hooked(capture: &Capture, transformed: &Transformed, moment: Moment) -> BTreeSet<SmolStr> {
    let chosen = transformed.hooks.iter();
    let chosen = chosen.filter(|chosen| chosen.hook.moment == moment);
    let annotated = transformed.from(&capture.objects);
    let annotated = annotated.filter_map(|(captured, object)| {
        let object = match moment {
            Moment::BeforeHold => &captured.raw,
            Moment::AfterRelease => object,
        };
        let hook = velero::asked(moment, &|key| annotation(object, key)).hook;
        hook.map(|_| captured.object.id())
    });
    let all = chosen.map(|chosen| chosen.object.clone()).chain(annotated);
    let namespace = |id: ObjectId| match moment {
        Moment::BeforeHold => id.namespace.clone(),
        Moment::AfterRelease => transformed.on_b(&id).namespace.clone(),
    };
    all.filter_map(namespace).collect()
}

/// What is known of a workload in whose pods a hook runs.
struct Workload<'a> {
    id: &'a ObjectId,
    object: &'a Object,
}

impl Hooks {
    /// Collects them; a sync runs none.
    pub(super) fn collect(builder: &Builder<'_>) -> Self {
        let mut hooks = Self::default();
        let input = builder.input;
        if input.purpose == Purpose::Sync {
            return hooks;
        }
        for chosen in &input.transformed.hooks {
            hooks.add(builder, &chosen.object, chosen.hook.clone());
        }
        let replaced: BTreeSet<(Moment, ObjectId)> = (input.transformed.hooks.iter())
            .map(|chosen| (chosen.hook.moment, chosen.object.clone()))
            .collect();
        for captured in &input.capture.objects {
            let id = captured.raw.id();
            let on_b = builder.items.by_source(&id);
            let on_b = on_b.and_then(|number| builder.items.object(number));
            for (moment, object) in [
                (Moment::BeforeHold, Some(&captured.raw)),
                (Moment::AfterRelease, on_b),
            ] {
                let Some(object) = object.filter(|_| !passing(&id)) else {
                    continue;
                };
                let asked = velero::asked(moment, &|key| annotation(object, key));
                for said in asked.said {
                    hooks.say(Verdict::Warn, &id, said.to_string());
                }
                let Some(hook) = asked.hook else { continue };
                if replaced.contains(&(moment, id.clone())) {
                    let text = format!("a hook of a recipe takes the place of {}", hook.name);
                    hooks.say(Verdict::Info, &id, text);
                    continue;
                }
                hooks.add(builder, &id, hook);
            }
        }
        hooks
    }

    fn say(&mut self, verdict: Verdict, id: &ObjectId, text: String) -> &mut Finding {
        let at = self.findings.len();
        let finding = Finding::new(verdict, RULE, text).on(id.clone());
        self.findings.push(finding);
        &mut self.findings[at]
    }

    /// Adds a hook of a workload, called by its name on A.
    fn add(&mut self, builder: &Builder<'_>, id: &ObjectId, mut hook: Hook) {
        let name = hook.name.clone();
        match hook.moment {
            Moment::BeforeHold if !builder.cuts_over() => {
                let text = format!("hook {name} is not run: only a cutover holds the source");
                self.say(Verdict::Info, id, text);
            }
            Moment::BeforeHold => {
                let mut captured = builder.input.capture.objects.iter();
                let found = captured.find(|captured| captured.raw.id() == *id);
                let (Some(captured), Some(number)) = (found, builder.items.number(id)) else {
                    return;
                };
                let object = &captured.raw;
                if self.fits(builder, &Workload { id, object }, &mut hook) {
                    self.before.push((number, hook));
                }
            }
            Moment::AfterRelease => {
                let number = builder.items.by_source(id);
                let verdict = number.and_then(|at| builder.verdicts[at as usize].as_ref());
                let (Some(number), Some(verdict)) = (number, verdict) else {
                    let text = format!("hook {name} is not run: the workload stays on the source");
                    self.say(Verdict::Warn, id, text);
                    return;
                };
                // What is as it shall be was started by an earlier run, which ran its hooks.
                let starts = matches!(verdict.class, Class::Create | Class::Update);
                let (id, object) = (builder.items.id(number), &verdict.body);
                if starts && self.fits(builder, &Workload { id, object }, &mut hook) {
                    self.after.entry(number).or_default().push(hook);
                }
            }
        }
    }

    /// Whether the workload has pods and they the container, which is written into the hook.
    fn fits(&mut self, builder: &Builder<'_>, workload: &Workload<'_>, hook: &mut Hook) -> bool {
        let Workload { id, object } = workload;
        let row = hold::row(&builder.input.knowledge.holds, id);
        if row.is_some_and(|row| hold::hold(row, object).is_none()) {
            let text = format!("hook {} is not run: the workload has no pods", hook.name);
            self.say(Verdict::Warn, id, text);
            return false;
        }
        let known = containers(object);
        if known.is_empty() {
            return true;
        }
        let container = match (&hook.container, hook.origin.as_str()) {
            (Some(container), _) => container.clone(),
            // Velero takes the first, whatever the pod calls its default.
            (None, velero::ORIGIN) => known[0].to_owned(),
            (None, _) => annotation(object, DEFAULT_CONTAINER)
                .unwrap_or(known[0])
                .to_owned(),
        };
        if !known.contains(&container.as_str()) {
            let verdict = match hook.on_error {
                OnError::Fail => Verdict::Block,
                OnError::Continue => Verdict::Warn,
            };
            let text = format!("hook {} names no container of the pods", hook.name);
            let finding = self.say(verdict, id, text);
            finding.evidence = Some(format!("{container}; there are {}", known.join(", ")));
            finding.remedy = Some(
                "correct the container; for one that is put into pods when they are made, `onError: continue`"
                    .into(),
            );
        }
        hook.container = Some(container);
        true
    }

    /// Adds those on A, one after the other behind everything `prepared`; what comes next waits for the last.
    pub(super) fn draft_before(&self, drafts: &mut Drafts, prepared: Vec<Key>) -> Vec<Key> {
        let mut waited = prepared;
        for (index, (number, hook)) in (0..).zip(&self.before) {
            let action = Action::Hook(hook.clone().into());
            let mut draft = Draft::new(Phase::Workload, action);
            for key in &waited {
                draft.need(*key, Gate::Done);
            }
            let key = (*number, Role::HookBefore(index));
            drafts.insert(key, draft);
            waited = vec![key];
        }
        waited
    }

    /// The last hook of each workload of B.
    pub(super) fn last(&self) -> impl Iterator<Item = Key> {
        let last = |(number, hooks): (&Number, &Vec<Hook>)| {
            let index = u16::try_from(hooks.len().checked_sub(1)?).ok()?;
            Some((*number, Role::HookAfter(index)))
        };
        self.after.iter().filter_map(last)
    }

    /// Adds those on B, and makes whoever needs a workload ready wait for its hooks, and all exposure for all.
    pub(super) fn draft_after(&self, builder: &Builder<'_>, drafts: &mut Drafts, holds: &Holds) {
        let run = |number: Number| match holds.contains_key(&number) {
            true => Role::Release,
            false => Role::Apply,
        };
        let last: BTreeMap<Number, Key> = self.last().map(|key| (key.0, key)).collect();
        for (number, hooks) in &self.after {
            let mut before = None;
            for (index, hook) in (0..).zip(hooks) {
                let mut draft = Draft::new(Phase::Release, Action::Hook(hook.clone().into()));
                let gate = match hook.wait_for {
                    WaitFor::Ready => Gate::Ready,
                    WaitFor::Running => Gate::Done,
                };
                draft.need((*number, run(*number)), gate);
                if let Some(before) = before {
                    draft.need(before, Gate::Done);
                }
                let key = (*number, Role::HookAfter(index));
                drafts.insert(key, draft);
                before = Some(key);
            }
        }
        for tie in &builder.ties {
            let Some(hook) = last.get(&tie.to) else {
                continue;
            };
            let from = match tie.strength {
                Strength::H => (tie.from, Role::Apply),
                Strength::R if holds.contains_key(&tie.from) => (tie.from, Role::Release),
                _ => continue,
            };
            drafts.need(&from, *hook, Gate::Done);
        }
        if last.is_empty() {
            return;
        }
        let needed: BTreeSet<Number> = builder.ties.iter().map(|tie| tie.to).collect();
        for number in builder.items.numbers() {
            // What others need may be what a workload waits for.
            let exposes = builder.items.phase(number) == Some(Phase::Exposure);
            if exposes && !needed.contains(&number) {
                for hook in last.values() {
                    drafts.need(&(number, Role::Apply), *hook, Gate::Done);
                }
            }
        }
    }
}

/// Kinds whose pods end by themselves.
fn passing(id: &ObjectId) -> bool {
    id.group == "batch"
}

/// An annotation of a workload's pods.
fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    if object.is("", "Pod") {
        return object.annotation(key);
    }
    let annotations = object.pointer("/spec/template/metadata/annotations")?;
    annotations.get(key)?.as_str()
}

/// The names of a workload's containers that last, where it says them; init containers among them last.
fn containers(object: &Object) -> Vec<&str> {
    let list = |key: &'static str| {
        let spec = object.pod_spec().and_then(|spec| spec.get(key));
        spec.and_then(Value::as_array).into_iter().flatten()
    };
    let lasting = list("initContainers").filter(|one| one["restartPolicy"] == "Always");
    let all = list("containers").chain(lasting);
    all.filter_map(|one| one["name"].as_str()).collect()
}
