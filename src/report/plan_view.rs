//! A plan as a table, and its findings as a list.

use std::collections::BTreeMap;

use super::palette::{Role, paint};
use super::table::{Cell, render};
use super::units::{bytes, plural};
use crate::capture::Consistency;
use crate::finding::{Finding, Verdict};
use crate::object::ObjectId;
use crate::plan::{Action, Class, Hold, Plan, Step, VolumeMove, with_others};

/// The plan's steps as a table with a line of totals.
pub fn table(plan: &Plan) -> String {
    let rows: Vec<Vec<Cell>> = plan
        .steps
        .iter()
        .filter(|step| !matches!(step.action, Action::Release { .. }) || pending(step))
        .map(row)
        .collect();
    format!(
        "{}\n{}\n",
        render(&["WAVE", "DO", "NAMESPACE", "OBJECT", "NOTE"], &rows),
        totals(plan)
    )
}

fn row(step: &Step) -> Vec<Cell> {
    let (role, word) = word(&step.action);
    vec![
        step.wave.to_string().into(),
        Cell::new(role, word),
        step.object.namespace.clone().unwrap_or_default().into(),
        format!("{}/{}", step.object.group_kind(), step.object.name).into(),
        Cell::new(Role::Dim, note(&step.action)),
    ]
}

/// What a step does, in a word.
pub fn word(action: &Action) -> (Role, &'static str) {
    match action {
        Action::Apply { class, .. } => match class {
            Class::Create => (Role::Good, "create"),
            Class::Update => (Role::Warn, "update"),
            Class::Same => (Role::Dim, "same"),
            Class::Keep => (Role::Dim, "keep"),
            Class::Blocked => (Role::Bad, "blocked"),
        },
        Action::Release { .. } => (Role::Good, "release"),
        Action::Quiesce { .. } => (Role::Warn, "quiesce"),
        Action::Quiet { .. } => (Role::Name, "quiet"),
        Action::Hook(_) => (Role::Warn, "hook"),
        Action::GiveUp { .. } => (Role::Warn, "give-up"),
        Action::Snapshot(volume) if volume.consistency == Consistency::Clone => {
            (Role::Name, "clone")
        }
        Action::Snapshot(_) => (Role::Name, "snapshot"),
        Action::Save(_) => (Role::Name, "save"),
        Action::Load(_) => (Role::Name, "load"),
    }
}

fn note(action: &Action) -> String {
    match action {
        Action::Apply { holds, .. } if !holds.is_empty() => {
            let held: Vec<&str> = holds
                .iter()
                .map(|hold| hold.path.rsplit('/').next().unwrap_or(""))
                .collect();
            format!("held ({}) until its data is proven", held.join(", "))
        }
        Action::Apply { .. } | Action::Release { .. } => String::new(),
        Action::Quiesce { holds } => {
            let held: Vec<String> = holds.iter().map(set).collect();
            format!("on A: {}", held.join(", "))
        }
        Action::Quiet { waits: true } => "on A: its pods are waited for".into(),
        Action::Quiet { waits: false } => "on A: still nothing runs".into(),
        Action::Hook(hook) => hook.to_string(),
        Action::GiveUp { hosts, .. } => {
            let hosts: Vec<String> = hosts.iter().map(|host| parked(host)).collect();
            format!("on A: {}", hosts.join(", "))
        }
        Action::Snapshot(volume) => claim_on_a(volume),
        Action::Save(volume) if volume.shares => {
            let claim = claim_on_a(volume);
            format!("{claim}; read for its fingerprint, the storage holds the data")
        }
        Action::Save(volume) => claim_on_a(volume),
        Action::Load(volume) => format!(
            "data of {}/{}{}{}",
            volume.source.namespace.as_deref().unwrap_or(""),
            volume.source.name,
            on_one_node(&volume.with),
            if volume.shares {
                "; the storage makes it of A's snapshot"
            } else {
                ""
            }
        ),
    }
}

fn claim_on_a(volume: &VolumeMove) -> String {
    format!("{} claim on A, {}", bytes(volume.capacity), moment(volume))
}

/// What moment the data of a claim on A shows.
fn moment(volume: &VolumeMove) -> String {
    match volume.consistency {
        Consistency::Snapshot => "point in time".into(),
        Consistency::Together => match with_others(volume) {
            Some(others) => format!("one point in time with {others}"),
            None => "one point in time with others".into(),
        },
        Consistency::Clone => "point in time, by a clone".into(),
        Consistency::Quiet => "while nothing runs".into(),
        Consistency::Live => "live copy, not a point in time".into(),
    }
}

/// `, on one node with wal, logs`.
fn on_one_node(with: &[ObjectId]) -> String {
    let names: Vec<&str> = with.iter().map(|claim| claim.name.as_str()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", on one node with {}", names.join(", ")),
    }
}

/// `shop.example.com → shop.example.com.invalid`.
fn parked(host: &str) -> String {
    format!("{host} → {host}.invalid")
}

/// `replicas 3 → 0`.
fn set(hold: &Hold) -> String {
    let name = hold.path.rsplit('/').next().unwrap_or("");
    match &hold.release {
        Some(value) => format!("{} {value} → {}", name.replace("~1", "/"), hold.held),
        None => format!("{} {}", name.replace("~1", "/"), hold.held),
    }
}

fn pending(step: &Step) -> bool {
    !matches!(
        &step.action,
        Action::Apply {
            class: Class::Same | Class::Keep,
            ..
        }
    )
}

/// `12 to create, 1 to update, 30 the same, 3 volumes to move`.
pub fn totals(plan: &Plan) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &plan.steps {
        *counts.entry(word(&step.action).1).or_default() += 1;
    }
    let count = |word: &str| counts.get(word).copied().unwrap_or(0);
    let mut parts = Vec::new();
    for (word, text) in [
        ("create", "to create"),
        ("update", "to update"),
        ("same", "the same"),
        ("keep", "kept as they are"),
        ("blocked", "blocked"),
    ] {
        if count(word) > 0 {
            parts.push(format!("{} {text}", count(word)));
        }
    }
    if count("quiesce") > 0 {
        parts.push(format!(
            "{} of A to hold",
            plural(count("quiesce"), "workload")
        ));
    }
    if count("hook") > 0 {
        parts.push(format!("{} to run", plural(count("hook"), "hook")));
    }
    if count("load") > 0 {
        parts.push(format!("{} to move", plural(count("load"), "volume")));
    }
    if parts.is_empty() {
        "nothing to do".into()
    } else {
        parts.join(", ")
    }
}

/// Findings, worst first, each with its evidence and remedy; `Ok` ones are left out.
pub fn findings(findings: &[Finding]) -> String {
    let mut shown: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.verdict > Verdict::Ok)
        .collect();
    shown.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.cmp(b)));
    shown.into_iter().map(finding).collect()
}

fn finding(finding: &Finding) -> String {
    let role = match finding.verdict {
        Verdict::Ok | Verdict::Info => Role::Dim,
        Verdict::Fix => Role::Hint,
        Verdict::Warn => Role::Warn,
        Verdict::Block | Verdict::Abort => Role::Bad,
    };
    let mut out = format!(
        "{} {} ",
        paint(role, format!("{:<5}", finding.verdict.to_string())),
        finding.rule
    );
    if let Some(object) = &finding.object {
        out.push_str(&format!("{}: ", paint(Role::Name, object)));
    }
    out.push_str(&finding.message);
    out.push('\n');
    // What runs over several lines, as commands do, stays in its column.
    let mut detail = |label: &str, text: &str| {
        let text = text.replace('\n', "\n           ");
        out.push_str(&format!("        {label} {text}\n"));
    };
    if let Some(path) = &finding.path {
        detail("at", path);
    }
    if let Some(evidence) = &finding.evidence {
        detail("seen", evidence);
    }
    if let Some(remedy) = &finding.remedy {
        detail(&paint(Role::Hint, "do"), remedy);
    }
    out
}
