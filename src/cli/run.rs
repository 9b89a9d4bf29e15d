//! Executing a plan, for `migrate`, `apply` and `runs resume`: the one place that starts a run, tells
//! how it ended, and turns that into an exit code.

use std::sync::Arc;

use serde::Serialize;

use super::Failure;
use super::context::{Context, MoverArgs};
use super::hosts;
use super::standing;
use super::warm::{self, Expected, Warm};
use crate::capture::{Capture, Proof, SavedVolume};
use crate::cluster::Cluster;
use crate::data::ClusterMovers;
use crate::exit::Exit;
use crate::hook::quoted;
use crate::journal::{self, Entry};
use crate::knowledge::Knowledge;
use crate::moment;
use crate::object::ObjectId;
use crate::plan::{Action, Plan, Purpose, VolumeMove};
use crate::report::palette::{Role, paint};
use crate::report::units::{bytes, count, plural};
use crate::restore::{self, RestoreError, RunContext, RunOptions, RunReport};
use crate::store::{Store, StoreError};

/// Name of the capture among a run's files: it is committed once its data is in the store.
const CAPTURE_FILE: &str = "capture";

/// The two clusters and the store of a run.
pub(super) struct Parts {
    pub(super) source: Option<Cluster>,
    pub(super) target: Cluster,
    pub(super) store: Store,
    pub(super) mover: MoverArgs,
    pub(super) options: RunOptions,
}

/// Whether the user wants the plan executed, knowing what is unfinished in its place.
pub(super) async fn confirmed(
    context: &Context,
    store: Option<&Store>,
    plan: &Plan,
    yes: bool,
) -> Result<bool, Failure> {
    // A store that is still to be made holds no run.
    if let Some(store) = store {
        standing::tell_unfinished(context, store, plan).await?;
    }
    let question = format!(
        "{} on cluster {}. Go ahead?",
        plural(plan.pending(), "step"),
        paint(Role::Name, &plan.target.name),
    );
    context.agreed(
        yes,
        &question,
        "the plan",
        " once the plan has been reviewed",
    )
}

/// Executes a plan as a new run and tells how it ended.
pub(super) async fn start(
    context: &Context,
    parts: &Parts,
    plan: &Plan,
    capture: Capture,
    expected: Option<Expected>,
) -> Result<Exit, Failure> {
    let run = moment::name(jiff::Timestamp::now());
    let movers = movers(context, parts, &run, plan);
    movers.admitted(moves(plan)).await?;
    context
        .report
        .say(&format!("run {}", paint(Role::Name, &run)));
    keep_capture(&parts.store, &run, &capture).await?;
    if plan.purpose == Purpose::Cutover {
        warm::keep(&parts.store, &run, plan, expected).await?;
    }
    let report = restore::execute(plan, &run_context(context, parts, &run, &movers)).await?;
    finish(context, parts, plan, capture, report).await
}

/// Goes on with a run and tells how it ended.
pub(super) async fn resume(context: &Context, parts: &Parts, run: &str) -> Result<Exit, Failure> {
    let plan = restore::plan_of(&parts.store, run).await?;
    let capture = kept_capture(&parts.store, run).await?;
    let movers = movers(context, parts, run, &plan);
    let report = restore::resume(&run_context(context, parts, run, &movers)).await?;
    finish(context, parts, &plan, capture, report).await
}

/// Every volume of a plan, as often as a step is about it.
fn moves(plan: &Plan) -> impl Iterator<Item = &VolumeMove> {
    plan.steps.iter().filter_map(|step| step.action.volume())
}

/// The movers of a run.
pub(super) fn movers(context: &Context, parts: &Parts, run: &str, plan: &Plan) -> ClusterMovers {
    let namespaces: Vec<String> = plan
        .namespaces
        .iter()
        .map(|(on_a, _)| on_a.clone())
        .collect();
    let moves: Vec<&VolumeMove> = moves(plan).collect();
    let settings = parts
        .mover
        .settings(run, &plan.capture, &namespaces, &moves);
    context.movers(
        &parts.store,
        parts.source.clone(),
        Some(parts.target.clone()),
        settings,
    )
}

/// What the restore engine works with.
pub(super) fn run_context<'a>(
    context: &'a Context,
    parts: &'a Parts,
    run: &'a str,
    movers: &'a ClusterMovers,
) -> RunContext<'a, ClusterMovers> {
    RunContext {
        run,
        target: &parts.target,
        source: parts.source.as_ref(),
        files: Arc::new(parts.store.clone()),
        movers,
        knowledge: Knowledge::builtin(),
        events: &context.events,
        cancel: context.cancel.clone(),
        options: parts.options.clone(),
    }
}

/// What a run's end looks like as JSON.
#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    report: &'a RunReport,
    capture: &'a str,
    complete: bool,
    #[serde(flatten)]
    warm: &'a Warm,
}

/// Commits the capture once all of its data is saved, and tells how the run ended.
async fn finish(
    context: &Context,
    parts: &Parts,
    plan: &Plan,
    mut capture: Capture,
    report: RunReport,
) -> Result<Exit, Failure> {
    let records = journal::read(&parts.store, &report.run)
        .await
        .map_err(RestoreError::from)?;
    for record in &records {
        if let Entry::Done {
            saved: Some(saved), ..
        } = &record.entry
        {
            let source = record.step.and_then(|step| plan.steps.get(step as usize));
            let source = source.and_then(|step| match &step.action {
                Action::Save(volume) | Action::Load(volume) => Some(&volume.source),
                _ => None,
            });
            let volume = capture
                .volumes
                .iter_mut()
                .find(|volume| Some(&volume.claim) == source);
            if let Some(volume) = volume {
                volume.saved = Some(saved.clone());
            }
        }
    }
    // What the storage holds may yet have to be copied, until all has arrived.
    let last = report.data_is_done();
    let known = |saved: &SavedVolume| last || saved.held.is_none();
    let mut volumes = capture.volumes.iter();
    let whole = volumes.all(|volume| volume.saved.as_ref().is_some_and(known));
    let committed = async || -> Result<bool, StoreError> {
        let captures = parts.store.list_captures().await?;
        Ok(captures.iter().any(|known| known.id == capture.id))
    };
    if whole && !committed().await? {
        parts.store.save_capture(&capture).await?;
    }
    let complete = report.complete();
    let mut warm = Warm::of(&parts.store, plan, &report, &records).await?;
    if complete {
        warm.hosts = hosts::switched(&parts.target, plan).await;
    }
    let ended = Ended {
        report: &report,
        capture: &capture.id,
        complete,
        warm: &warm,
    };
    context.report.data(&ended, || {
        format!("{}{}", tell(plan, &report), warm.text(&report.run))
    });
    Ok(if complete {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

fn tell(plan: &Plan, report: &RunReport) -> String {
    let mut out = String::new();
    for failure in &report.failed {
        let head = format!(
            "{} {} {}",
            paint(Role::Bad, "✗"),
            failure.action,
            failure.object
        );
        out.push_str(&format!("{head}: {}\n", failure.reason));
        if let Some(Action::Hook(hook)) =
            (plan.steps.get(failure.step as usize)).map(|step| &step.action)
        {
            let name = quoted(&hook.name);
            let skip = format!("ferry runs resume {} --skip-hook {name}", report.run);
            out.push_str(&format!(
                "  resume without it: {}\n",
                paint(Role::Hint, skip)
            ));
        }
    }
    for skipped in &report.skipped {
        let head = format!(
            "{} {} {}",
            paint(Role::Dim, "-"),
            skipped.action,
            skipped.object
        );
        out.push_str(&format!(
            "{head}: not reached, it waits for {}\n",
            skipped.because
        ));
    }
    // What an earlier process proved is not proven again by going over it.
    if !report.nothing_done() {
        for (claim, proof) in &report.proofs {
            out.push_str(&format!(
                "{} proven {} equal on both sides\n",
                paint(Role::Good, "✓"),
                found(claim, proof)
            ));
        }
    }
    match report.next() {
        None => out.push_str(&format!(
            "{} run {}: {}\n",
            paint(Role::Good, "✓"),
            report.run,
            report.summary()
        )),
        // What is next in a cutover depends on where both clusters stand.
        Some(_) if plan.purpose == Purpose::Cutover => out.push_str(&format!(
            "{} cutover {} is not complete: {}\n",
            paint(Role::Bad, "✗"),
            report.run,
            report.summary()
        )),
        Some(next) => out.push_str(&format!(
            "{} run {} is not complete: {}\n  finish it with:  {}\n  or take it back: {}\n",
            paint(Role::Bad, "✗"),
            report.run,
            report.summary(),
            paint(Role::Hint, next),
            paint(Role::Hint, format!("ferry runs undo {}", report.run)),
        )),
    }
    out
}

/// What arrived in a claim: entries, bytes, and the digest both sides agree on.
pub(super) fn found(claim: &ObjectId, proof: &Proof) -> String {
    let Proof {
        files,
        bytes: size,
        digest,
    } = proof;
    format!(
        "{}/{}: {} entries, {} ({} bytes), digest {}",
        claim.namespace.as_deref().unwrap_or_default(),
        claim.name,
        count(*files),
        bytes(*size),
        count(*size),
        digest.get(..16).unwrap_or(digest),
    )
}

async fn keep_capture(store: &Store, run: &str, capture: &Capture) -> Result<(), Failure> {
    let json =
        serde_json::to_vec(capture).map_err(|error| Failure::plain(Exit::Internal, error))?;
    Ok(store.put_run_file(run, CAPTURE_FILE, &json).await?)
}

async fn kept_capture(store: &Store, run: &str) -> Result<Capture, Failure> {
    let json = store
        .get_run_file(run, CAPTURE_FILE)
        .await?
        .ok_or_else(|| {
            Failure::input(
                format!("the store has no run {run:?} to go on with"),
                "`ferry runs list` shows those it has",
            )
        })?;
    serde_json::from_slice(&json).map_err(|error| Failure::plain(Exit::Refused, error))
}
