//! Stage 6: a plan becomes cluster B, exactly as it says.
//!
//! ```text
//! plan ──▶ schedule ──▶ check expectation ──▶ journal intent ──▶ write ──▶ gate ──▶ next steps
//!             ▲                                  (durable)          │
//!             └──────────────── journal result ◀────────────────────┘
//! ```
//!
//! Nothing is decided here: what is sent, in which order and under which expectation stands in the
//! plan. A step starts as soon as its own needs are met. A step that fails blocks what needs it and
//! nothing else. A run can be killed at any instant: [`resume`] goes on from its journal, [`undo`]
//! takes back what it made. It refuses to write an object that changed since the plan was made, and to
//! take fields from other managers unless told to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::data::Movers;
use crate::event::{Events, Stage};
use crate::journal::{self, Entry, Journal, Record, RunFiles};
use crate::knowledge::Knowledge;
use crate::plan::{Plan, file};

mod engine;
mod error;
mod evidence;
mod gate;
mod hooks;
mod lease;
mod moves;
mod owners;
mod past;
mod pods;
mod quiesce;
mod report;
mod resource;
mod schedule;
mod undo;
mod verify;
mod watcher;
mod write;

pub use engine::VOLUMES;
pub use error::{RestoreError, StepError};
pub use quiesce::{PodTimes, pod_times, still_held};
pub use report::{Failure, RunReport, Skipped};
pub use undo::{Left, UndoOptions, UndoReport, released, undo};
pub use verify::{Proven, VerifyReport, verify};

/// The field manager that gives held replica counts back (W-8).
pub const SCALE_MANAGER: &str = "ferry-scale";

/// What the user may ask of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Takes fields that other managers own (W-13).
    pub force_conflicts: bool,
    /// The longest time to wait for any object to become ready, where that is less than its kind's.
    pub patience: Option<Duration>,
    /// Names of hooks that are left out.
    pub skip_hooks: Vec<String>,
}

/// What a run works with.
pub struct RunContext<'a, M> {
    /// Name of the run: a valid label value, unique in the store.
    pub run: &'a str,
    /// Cluster B.
    pub target: &'a Cluster,
    /// Cluster A, where the plan has something to do there.
    pub source: Option<&'a Cluster>,
    /// Where the run's plan and journal are kept.
    pub files: Arc<dyn RunFiles>,
    /// What carries volumes; it knows cluster A.
    pub movers: &'a M,
    /// Readiness rules.
    pub knowledge: &'a Knowledge,
    /// Where to tell what happens.
    pub events: &'a Events,
    /// Stops the run: no step starts, running writes finish, the journal is closed.
    pub cancel: CancellationToken,
    /// What the user asked for.
    pub options: RunOptions,
}

/// How often a journal that somebody else wrote to meanwhile is read again before it is resumed.
const REOPENS: u32 = 3;

/// Name of a run's plan among its files.
pub const PLAN_FILE: &str = "plan";

/// Executes a plan as a new run.
///
/// # Errors
/// When the plan must not be executed on this cluster, or the run cannot be recorded. Failed steps
/// are not errors: they are in the report.
pub async fn execute<M: Movers>(
    plan: &Plan,
    context: &RunContext<'_, M>,
) -> Result<RunReport, RestoreError> {
    admit(plan, context.target)?;
    let bytes = file::encode(plan)?;
    let stored = context.files.put(context.run, PLAN_FILE, bytes).await;
    stored.map_err(|source| RestoreError::Files {
        run: context.run.into(),
        source,
    })?;
    let journal = open(context, &[]).await?;
    run(plan, context, journal, &[]).await
}

/// Goes on with a run that was stopped, killed, or ended with failures.
///
/// # Errors
/// As [`execute`]; and when the store has no such run.
pub async fn resume<M: Movers>(context: &RunContext<'_, M>) -> Result<RunReport, RestoreError> {
    let plan = plan_of(&*context.files, context.run).await?;
    admit(&plan, context.target)?;
    let mut tries = 0;
    let (journal, records) = loop {
        let records = journal::read(&*context.files, context.run).await?;
        not_undone(&records, context.run)?;
        match open(context, &records).await {
            Ok(journal) => break (journal, records),
            // The last write of a killed process may land after its successor has read the journal.
            Err(_) if tries < REOPENS => tries += 1,
            Err(error) => return Err(error),
        }
    };
    run(&plan, context, journal, &records).await
}

/// A run that was undone is not gone on with, nor is there anything of it to look at.
fn not_undone(records: &[Record], run: &str) -> Result<(), RestoreError> {
    let undone = |record: &Record| matches!(record.entry, Entry::Undone { .. });
    match records.iter().any(undone) {
        true => Err(RestoreError::Undone { run: run.into() }),
        false => Ok(()),
    }
}

/// Begins this process's part of the journal. Nothing is written on B before it succeeds.
async fn open<M: Movers>(
    context: &RunContext<'_, M>,
    records: &[Record],
) -> Result<Journal, RestoreError> {
    let last = records.last().map_or(0, |record| record.seq);
    let journal = Journal::open(context.files.clone(), context.run, last);
    let opened = Entry::Opened {
        ferry: env!("CARGO_PKG_VERSION").into(),
    };
    journal.intend(Record::of_run(opened)).await?;
    Ok(journal)
}

/// The plan a run executes.
///
/// # Errors
/// When the store has no such run, or its plan is damaged.
pub async fn plan_of(files: &dyn RunFiles, run: &str) -> Result<Plan, RestoreError> {
    let found = files.get(run, PLAN_FILE).await;
    let bytes = found.map_err(|source| RestoreError::Files {
        run: run.into(),
        source,
    })?;
    let bytes = bytes.ok_or_else(|| RestoreError::NoRun { run: run.into() })?;
    Ok(file::decode(&bytes)?)
}

/// A plan with blocking findings, or for another cluster, is not executed.
fn admit(plan: &Plan, target: &Cluster) -> Result<(), RestoreError> {
    if plan.blocked() {
        return Err(RestoreError::Blocked);
    }
    let found = &target.identity().uid;
    if !plan.target.uid.is_empty() && !found.is_empty() && plan.target.uid != *found {
        return Err(RestoreError::OtherCluster {
            planned: plan.target.name.clone(),
            found: target.name().into(),
        });
    }
    Ok(())
}

/// The namespaces of B that the run writes to.
fn written(plan: &Plan) -> BTreeSet<&str> {
    let pending = plan.steps.iter().filter(|step| step.action.pending());
    let targets = pending.filter_map(|step| match &step.action {
        action if action.is_on_source() => None,
        _ => step.object.namespace.as_deref(),
    });
    targets.collect()
}

/// Takes every namespace the run writes to, unless it has nothing to do there.
async fn take_all(plan: &Plan, leases: &lease::Leases<'_>) -> Result<(), RestoreError> {
    let targets = written(plan);
    leases.look(&targets).await;
    for namespace in targets {
        leases.take(namespace).await.map_err(RestoreError::Busy)?;
    }
    Ok(())
}

/// Executes while the Leases are kept. When another run took a namespace over, this one stops as for the
/// user: what it is writing it finishes, and it can be resumed.
async fn drive<M: Movers>(
    engine: &engine::Engine<'_, M>,
    leases: &lease::Leases<'_>,
    context: &RunContext<'_, M>,
) -> Result<RunReport, RestoreError> {
    let mut executed = std::pin::pin!(engine.run());
    tokio::select! {
        report = &mut executed => Ok(report),
        lost = leases.keep() => {
            let Err(error) = lost;
            context.events.warning(error.full());
            context.cancel.cancel();
            Ok(executed.await)
        }
    }
}

async fn run<M: Movers>(
    plan: &Plan,
    context: &RunContext<'_, M>,
    journal: Journal,
    records: &[Record],
) -> Result<RunReport, RestoreError> {
    context.events.started(Stage::Restore);
    let served = context.target.served().await?;
    let leases = lease::Leases::new(context.target, context.run, context.events, &served);
    let taken = tokio::select! {
        taken = take_all(plan, &leases) => taken,
        // While one namespace is waited for, those already taken are kept.
        lost = leases.keep() => {
            let Err(error) = lost;
            Err(RestoreError::Busy(error))
        }
        // The engine then starts nothing, and says so.
        () = context.cancel.cancelled() => Ok(()),
    };
    let engine = engine::Engine::new(plan, context, &journal, &served, records, &leases);
    let report = match taken {
        Ok(()) => drive(&engine, &leases, context).await,
        Err(error) => Err(error),
    };
    leases.release().await;
    let report = report?;
    if !report.data_is_done()
        && let Err(error) = context.movers.stand_down().await
    {
        context
            .events
            .warning(format!("{error}; the run's end removes it"));
    }
    journal.note(Record::of_run(Entry::Closed {
        done: report.done(),
        open: report.open(),
    }));
    let closed = journal.close().await;
    if report.data_is_done()
        && let Err(error) = context.movers.clean().await
    {
        context
            .events
            .warning(format!("{error}; `ferry runs resume` tries again"));
    }
    closed?;
    if report.complete() {
        context.events.finished(Stage::Restore, report.summary());
    }
    Ok(report)
}
