//! What the commands of a warm migration tell: what was measured, what a cutover would take, and where
//! both clusters stand when it stopped.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::hosts::{self, Switched};
use super::run::Parts;
use super::standing;
use crate::capture::Capture;
use crate::hook::{Hook, Moment};
use crate::journal::{self, Entry, Record};
use crate::plan::{Action, Plan, Purpose};
use crate::report::palette::{Role, paint};
use crate::report::units::{bytes, plural};
use crate::restore::{self, PodTimes, RestoreError, RunReport};
use crate::store::{Store, StoreError};
use crate::sync::{self, Forecast, Measure};

/// Runs that are looked through for the time their hooks took; the newest.
const LOOKED_BACK: usize = 16;
/// Name of [`Begun`] among the files of a cutover's run.
const BEGUN: &str = "cutover";
/// Seconds in which pods that end when they are asked to are gone.
const STOP: f64 = 2.0;
/// The part of what pods take that may be otherwise on the other cluster.
const DOUBT: f64 = 0.4;

/// What a cutover is expected to take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Expected {
    /// Seconds during which the application answers on neither cluster.
    seconds: f64,
    /// By how many of them it may be wrong.
    #[serde(default)]
    give_or_take: f64,
    /// Of these, to carry and prove the last changes.
    data: f64,
    /// Of these, for its pods to stop and to start.
    pods: f64,
    /// Of these, for hooks on B that ran before, as long as they took then.
    #[serde(default)]
    hooks: f64,
    /// Seconds that come on top at most in each pod, for hooks on B that never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown_hooks: Option<u64>,
    /// Seconds that come on top where a pod does not end when it is asked to, until it is killed.
    grace: u64,
    /// Bytes that will have changed since the last sync.
    changed: u64,
}

/// What a run of a warm migration measured, and what that says of the next.
#[derive(Default, Serialize)]
pub(super) struct Warm {
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<Measure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
    /// Seconds from the first hold on A until everything on B was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    downtime: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Sides>,
    /// Hosts that are B's now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hosts: Vec<Switched>,
}

/// Where the two clusters stand in a cutover.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Sides {
    /// A works; B is being prepared.
    Untouched,
    /// A is held, in part or as a whole; nothing runs on B.
    Held {
        holds: usize,
        of: usize,
        /// Something ran on A after its data was taken.
        broken: bool,
    },
    /// A is held; the application was begun to be started on B.
    Released,
}

/// What the syncs say of a cutover now; told, and `None` when there was none.
pub(super) async fn expect(parts: &Parts, plan: &Plan) -> Result<Option<Expected>, Failure> {
    let history = sync::history(&parts.store, plan).await?;
    let Some(forecast) = Forecast::at(Timestamp::now(), &history) else {
        return Ok(None);
    };
    let pods = match &parts.source {
        Some(source) => restore::pod_times(source, plan).await.unwrap_or_default(),
        None => PodTimes::default(),
    };
    let around = STOP + pods.start;
    // What pods do not tell may be as long again.
    let doubt = if pods.told { DOUBT } else { 1.0 };
    let (hooks, unknown_hooks) = hook_times(&parts.store, plan).await?;
    Ok(Some(Expected {
        seconds: forecast.seconds + around + hooks,
        give_or_take: forecast.give_or_take + around * doubt + hooks * DOUBT,
        hooks,
        unknown_hooks,
        data: forecast.seconds,
        pods: around,
        grace: pods.grace,
        changed: forecast.changed,
    }))
}

/// How long the hooks on B took when they ran last, in seconds, and what those that never ran may take at most in
/// each pod. Hooks on A run before anything is held and so do not count.
async fn hook_times(store: &Store, plan: &Plan) -> Result<(f64, Option<u64>), Failure> {
    let mut open: Vec<&Hook> = after_release(plan).map(|(_, hook)| hook).collect();
    let mut known = 0.0;
    for run in standing::names(store).await?.iter().take(LOOKED_BACK) {
        if open.is_empty() {
            break;
        }
        let earlier = restore::plan_of(store, run).await?;
        let records = journal::read(store, run)
            .await
            .map_err(RestoreError::from)?;
        let seconds = |wanted: &Hook| {
            let same = |hook: &Hook| hook.name == wanted.name && hook.command == wanted.command;
            let (step, _) = after_release(&earlier).find(|(_, hook)| same(hook))?;
            let ran = records.iter().filter(|record| record.step == Some(step));
            let times = ran.filter_map(|record| match record.entry {
                Entry::Ran { seconds, .. } => Some(seconds),
                _ => None,
            });
            times.reduce(|sum, one| sum + one)
        };
        open.retain(|hook| match seconds(hook) {
            Some(seconds) => {
                known += seconds;
                false
            }
            None => true,
        });
    }
    let most = open
        .iter()
        .map(|hook| hook.timeout)
        .reduce(|sum, one| sum + one);
    Ok((known, most))
}

/// The hooks that run on B, with their steps' numbers.
fn after_release(plan: &Plan) -> impl Iterator<Item = (u32, &Hook)> {
    plan.steps.iter().filter_map(|step| match &step.action {
        Action::Hook(hook) if hook.moment == Moment::AfterRelease => {
            Some((step.number, hook.as_ref()))
        }
        _ => None,
    })
}

/// The lines before the question.
pub(super) fn announce(expected: Option<&Expected>) -> String {
    let hooks = expected.map_or_else(String::new, |expected| {
        let mut text = String::new();
        if expected.hooks > 0.0 {
            text.push_str(&format!(
                ", {:.1} s for hooks as they took before",
                expected.hooks
            ));
        }
        if let Some(most) = expected.unknown_hooks {
            text.push_str(&format!(
                ", and what hooks take that never ran before: {most} s in each pod at most"
            ));
        }
        text
    });
    match expected {
        Some(expected) => format!(
            "expected to stand still for about {:.0} s, give or take {:.0}: {:.1} s for {} that will have changed, \
             {:.1} s for the pods to stop and to start as they did on A{hooks}; up to {} s more if one does not end when it \
             is asked to",
            expected.seconds.ceil(),
            expected.give_or_take.ceil(),
            expected.data,
            bytes(expected.changed),
            expected.pods,
            expected.grace,
        ),
        None => format!(
            "{} no sync has been made: everything is copied while A stands still; `ferry sync` first \
             makes that short",
            paint(Role::Warn, "!")
        ),
    }
}

/// What a cutover leaves among its run's files, to be found by the next one.
#[derive(Serialize, Deserialize)]
struct Begun {
    /// UID of cluster A.
    source: String,
    expected: Option<Expected>,
}

/// Keeps that a cutover begins, and what was foretold.
pub(super) async fn keep(
    store: &Store,
    run: &str,
    plan: &Plan,
    expected: Option<Expected>,
) -> Result<(), StoreError> {
    let begun = Begun {
        source: plan.source.uid.clone(),
        expected,
    };
    let text = serde_json::to_vec(&begun).unwrap_or_default();
    store.put_run_file(run, BEGUN, &text).await
}

async fn kept(store: &Store, run: &str) -> Result<Option<Begun>, StoreError> {
    let kept = store.get_run_file(run, BEGUN).await?;
    Ok(kept.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Refuses to cut over what an earlier cutover holds: at rest on A, it would be brought to rest on B too.
pub(super) async fn not_held(store: &Store, plan: &Plan, capture: &Capture) -> Result<(), Failure> {
    // An older one may have held the same and was taken back.
    for run in standing::names(store).await? {
        let begun = kept(store, &run).await?;
        if begun.is_none_or(|begun| begun.source != plan.source.uid) {
            continue;
        }
        let earlier = restore::plan_of(store, &run).await?;
        let records = journal::read(store, &run)
            .await
            .map_err(RestoreError::from)?;
        let held = restore::still_held(&earlier, &records, capture);
        if let Some(first) = held.first() {
            return Err(Failure::input(
                format!(
                    "cutover {run} holds {} of cluster A, as {first}",
                    plural(held.len(), "workload")
                ),
                format!(
                    "finish it with `ferry runs resume {run}`, or give them back with `ferry cutover --abort \
                     {run}` (after it has started B: `ferry runs undo {run}`)"
                ),
            ));
        }
    }
    Ok(())
}

impl Warm {
    /// What a run's end says; keeps what a finished sync measured.
    pub(super) async fn of(
        store: &Store,
        plan: &Plan,
        report: &RunReport,
        records: &[Record],
    ) -> Result<Self, StoreError> {
        let mut warm = Self::default();
        match plan.purpose {
            Purpose::Sync if report.complete() => {
                warm.sync = Measure::of(plan, records);
                if let Some(measure) = &warm.sync {
                    measure.keep(store, &report.run).await?;
                }
                let history = sync::history(store, plan).await?;
                warm.forecast = Forecast::at(Timestamp::now(), &history);
            }
            Purpose::Cutover => {
                warm.expected = kept(store, &report.run)
                    .await?
                    .and_then(|begun| begun.expected);
                match report.complete() {
                    true => warm.downtime = downtime(records),
                    false => warm.standing = Some(standing(plan, records)),
                }
            }
            Purpose::Move | Purpose::Sync => {}
        }
        Ok(warm)
    }

    /// It as lines.
    pub(super) fn text(&self, run: &str) -> String {
        let mut out = String::new();
        if let Some(sync) = &self.sync {
            out.push_str(&format!(
                "{} had changed and travelled, of volumes that hold {}; {:.1} s until proven\n",
                bytes(sync.changed),
                bytes(sync.size),
                sync.seconds,
            ));
        }
        if let Some(forecast) = &self.forecast {
            out.push_str(&foretold(forecast));
        }
        if let Some(downtime) = self.downtime {
            let expected = self.expected.as_ref().map(|expected| {
                let (seconds, doubt) = (expected.seconds.ceil(), expected.give_or_take.ceil());
                format!(", {seconds:.0} s were expected, give or take {doubt:.0}")
            });
            out.push_str(&format!(
                "the application stood still for {downtime:.1} s{}; on A it stays held, and `ferry runs undo {run}` \
                 would start it there again, without what was written on B since\n",
                expected.unwrap_or_default(),
            ));
        }
        out.push_str(&hosts::text(&self.hosts));
        if let Some(standing) = self.standing {
            out.push_str(&standing.text(run));
        }
        out
    }
}

impl Sides {
    /// Where both clusters are, and both ways on.
    fn text(self, run: &str) -> String {
        let (a, b, back) = match self {
            Self::Untouched => (
                "works as before, nothing was changed on it".to_owned(),
                "what was made there is held and runs nothing",
                format!("ferry cutover --abort {run}"),
            ),
            Self::Held { holds, of, .. } => (
                format!(
                    "{holds} of {} held, the application stands still",
                    plural(of, "workload")
                ),
                "what was made there is held and runs nothing",
                format!("ferry cutover --abort {run}"),
            ),
            Self::Released => (
                "held, the application stands still there".to_owned(),
                "the application was begun to be started and may have new data",
                format!("ferry runs undo {run}"),
            ),
        };
        let mut out = format!("  cluster A: {a}\n  cluster B: {b}\n");
        if !matches!(self, Self::Held { broken: true, .. }) {
            let resume = paint(Role::Hint, format!("ferry runs resume {run}"));
            out.push_str(&format!("  finish it with:             {resume}\n"));
        }
        let loses = match self {
            Self::Released => "  (loses what was written on B since)",
            Self::Untouched | Self::Held { .. } => "",
        };
        let label = match self {
            Self::Untouched => "or take it back:           ",
            Self::Held { .. } | Self::Released => "or start A again as it was:",
        };
        let back = paint(Role::Hint, back);
        out.push_str(&format!("  {label} {back}{loses}\n"));
        out
    }
}

fn standing(plan: &Plan, records: &[Record]) -> Sides {
    if restore::released(plan, records) {
        return Sides::Released;
    }
    let quiesces = |step: &&crate::plan::Step| matches!(step.action, Action::Quiesce { .. });
    let of = plan.steps.iter().filter(quiesces).count();
    match held(records).len() {
        0 => Sides::Untouched,
        holds => Sides::Held {
            holds,
            of,
            broken: (records.iter()).any(|record| matches!(record.entry, Entry::Broken { .. })),
        },
    }
}

/// Steps that hold a workload, or may: what was announced and did not fail, or was done before.
fn held(records: &[Record]) -> BTreeSet<u32> {
    let (mut held, mut done) = (BTreeSet::new(), BTreeSet::new());
    for record in records.iter().filter(|record| record.action == "quiesce") {
        let Some(step) = record.step else { continue };
        match record.entry {
            Entry::Intent { .. } => drop(held.insert(step)),
            Entry::Done { .. } => drop(done.insert(step)),
            Entry::Failed { .. } if !done.contains(&step) => drop(held.remove(&step)),
            _ => {}
        }
    }
    held
}

/// From the first hold on A until the last workload of B was ready and its hooks had run.
fn downtime(records: &[Record]) -> Option<f64> {
    let times = |action: &'static str| records.iter().filter(move |record| record.action == action);
    let begun = times("quiesce").map(|record| record.time).min()?;
    let released = times("release").map(|record| record.time).max()?;
    let ended = times("hook")
        .map(|record| record.time)
        .fold(released, Ord::max);
    Some(ended.duration_since(begun).as_secs_f64())
}

/// What a cutover would carry, in one line.
fn foretold(forecast: &Forecast) -> String {
    let rate = match forecast.change_rate {
        Some(rate) => format!("{}/s change on A", bytes(rate as u64)),
        None => "how much changes on A is known after the next sync".to_owned(),
    };
    let speed = match forecast.bandwidth {
        Some(speed) => format!(" at {}/s", bytes(speed as u64)),
        None => String::new(),
    };
    format!(
        "a cutover now would carry {} in about {:.0} s{speed}, give or take {:.0} s, and stand still so long and for \
         the pods to stop and start; {rate}\n",
        bytes(forecast.changed),
        forecast.seconds.ceil(),
        forecast.give_or_take.ceil(),
    )
}
