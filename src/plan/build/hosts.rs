//! Hosts that change sides in a cutover: A's exposure objects give them up, then B's take them (T-5).
//!
//! ```text
//! B: everything runs and is ready ──▶ hooks ──▶ A: give up ──▶ B: Ingress, Route … with A's hosts
//! ```
//!
//! Two clusters that claim one host make a DNS controller that follows objects undo the other's records, so A
//! gives up first. What A's objects were is in the journal before they are changed, as with a hold.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::items::Number;
use super::super::order::{Draft, Drafts, Role};
use super::super::{Action, Gate, Hold};
use super::hooks::Hooks;
use super::{Builder, Holds, reached};
use crate::capture::Capture;
use crate::finding::{Finding, Verdict};
use crate::graph::Phase;
use crate::knowledge::Knowledge;
use crate::knowledge::exposed::ExposedRow;
use crate::object::{Object, ObjectId, pointer};

/// What is put behind a parked host: no name below it ever resolves (RFC 2606).
const PARKED: &str = ".invalid";

/// The hosts an object is reached by.
pub fn hosts_of(object: &Object, knowledge: &Knowledge) -> Vec<String> {
    let mut hosts: Vec<String> = rows(object, knowledge)
        .flat_map(|row| row.hosts.find(object.value()))
        .filter_map(|at| object.text(&at))
        .flat_map(|text| text.split(','))
        .map(|host| host.trim().to_owned())
        .filter(|host| is_host(host))
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Every object of A that hosts reach, by its name there.
pub fn exposed<'c>(
    capture: &'c Capture,
    knowledge: &Knowledge,
) -> BTreeMap<ObjectId, (&'c Object, Vec<String>)> {
    let objects = capture.objects.iter().map(|captured| &captured.raw);
    objects
        .map(|raw| (raw.id(), (raw, hosts_of(raw, knowledge))))
        .filter(|(_, (_, hosts))| !hosts.is_empty())
        .collect()
}

fn rows<'k>(object: &Object, knowledge: &'k Knowledge) -> impl Iterator<Item = &'k ExposedRow> {
    let kind = object.group_kind();
    let fits = move |row: &&ExposedRow| {
        let mut kinds = row.kinds.iter();
        kinds.any(|pattern| pattern.matches(&kind.group, &kind.kind))
    };
    knowledge.exposed.iter().filter(fits)
}

/// A name that DNS could have; `*` alone stands for all of them.
fn is_host(text: &str) -> bool {
    text.contains('.')
}

/// The fields of an object of A while its hosts are B's.
fn parked(object: &Object, knowledge: &Knowledge) -> Vec<Hold> {
    let mut value = object.value().clone();
    let (mut fields, mut gone) = (Vec::new(), Vec::new());
    for row in rows(object, knowledge) {
        let found = row.hosts.find(object.value());
        let host = |at: &&String| object.text(at).is_some_and(is_host);
        let found: Vec<&String> = found.iter().filter(host).collect();
        if found.is_empty() {
            continue;
        }
        if let Some(field) = &row.parked {
            for at in found {
                let name = object.text(at).unwrap_or_default();
                pointer::set(&mut value, at, format!("{name}{PARKED}").into());
            }
            fields.push((row, field));
        }
        gone.extend(row.gone.iter().map(|field| (row, field)));
    }
    let hold = |row: &ExposedRow, field: &String, held: Value| Hold {
        rule: row.id.clone(),
        path: field.clone(),
        held,
        release: object.pointer(field).cloned(),
        scale: false,
    };
    let parked = fields.into_iter().map(|(row, field)| {
        let held = value.pointer(field).cloned().unwrap_or_default();
        hold(row, field, held)
    });
    let there = |(_, field): &(&ExposedRow, &String)| object.pointer(field).is_some();
    let gone = gone.into_iter().filter(there);
    parked
        .chain(gone.map(|(row, field)| hold(row, field, Value::Null)))
        .collect()
}

impl Builder<'_> {
    /// Adds the steps by which A gives its hosts up, and makes B's objects wait for them.
    pub(super) fn switch_hosts(&self, drafts: &mut Drafts, hooks: &Hooks, holds: &Holds) {
        let mut given = Vec::new();
        for (id, (object, hosts)) in self.switched() {
            let Some(number) = self.items.number(&id) else {
                continue;
            };
            let action = Action::GiveUp {
                hosts,
                holds: parked(object, self.input.knowledge),
            };
            let mut draft = Draft::new(Phase::Exposure, action);
            for (workload, _) in self.verdicts() {
                if self.items.phase(workload) == Some(Phase::Workload) {
                    let role = match holds.contains_key(&workload) {
                        true => Role::Release,
                        false => Role::Apply,
                    };
                    draft.need((workload, role), Gate::Ready);
                }
            }
            for key in hooks.last() {
                draft.need(key, Gate::Done);
            }
            for namespace in self.quiet_namespaces() {
                draft.need((namespace, Role::StillQuiet), Gate::Done);
            }
            let key = (number, Role::GiveUp);
            drafts.insert(key, draft);
            given.push(key);
        }
        for number in self.taking() {
            for key in &given {
                drafts.need(&(number, Role::Apply), *key, Gate::Done);
            }
        }
    }

    /// What of A gives hosts up; nothing where nobody asked.
    fn switched(&self) -> BTreeMap<ObjectId, (&Object, Vec<String>)> {
        match self.input.switch_hosts && self.cuts_over() {
            true => exposed(self.input.capture, self.input.knowledge),
            false => BTreeMap::new(),
        }
    }

    /// Objects of B that take hosts and that no workload waits for.
    fn taking(&self) -> impl Iterator<Item = Number> {
        let workloads = self.items.numbers().filter(|number| {
            let phase = self.items.phase(*number);
            phase.is_some_and(|phase| phase <= Phase::Workload)
        });
        let needs = self.ties.iter().map(|tie| (tie.from, tie.to));
        let early = reached(self.items.len(), workloads, needs);
        self.verdicts()
            .filter(move |(number, verdict)| {
                !early[*number as usize]
                    && !hosts_of(&verdict.body, self.input.knowledge).is_empty()
            })
            .map(|(number, _)| number)
    }

    /// What the user is told of it.
    pub(super) fn host_findings(&self) -> Vec<Finding> {
        if !self.input.switch_hosts {
            return Vec::new();
        }
        let switched = self.switched();
        if switched.is_empty() {
            let finding = Finding::new(
                Verdict::Warn,
                "T-5",
                "no object of the source names a host: --switch-hosts has nothing to do",
            );
            return vec![finding];
        }
        let said = switched.into_iter().map(|(id, (_, hosts))| {
            Finding::new(
                Verdict::Info,
                "T-5",
                "its hosts are given up when B runs, and taken by B as they are, whatever a `host` map says",
            )
            .on(id)
            .because(hosts.join(", "))
        });
        said.collect()
    }
}
