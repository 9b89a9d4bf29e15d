//! `ferry store forget` and `prune`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::watch::watched;
use super::{Context, Exit, Failure, Role, Store, StoreArgs, paint};
use crate::event::Direction;
use crate::report::table::{Cell, render};
use crate::report::units::{bytes, plural};
use crate::repository::{Progress, PruneOptions, PruneReport};
use crate::store::Retention;
use crate::store::retention::{Age, Policy};

/// What is forgotten.
#[derive(Debug, Args)]
pub(in crate::cli) struct ForgetArgs {
    /// Captures by name, snapshots by id
    names: Vec<String>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Only what carries all of these tags, separated by commas; may be given several times
    #[arg(long = "tag", value_name = "TAG[,TAG…]")]
    tags: Vec<String>,
    /// Show what would be forgotten, and why the rest is kept
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Free the space afterwards, as `ferry store prune` does
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What is kept.
#[derive(Debug, Args)]
struct KeepArgs {
    /// Keep the newest so many
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_last: u32,
    /// Keep the newest of each of so many hours
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_hourly: u32,
    /// Keep the newest of each of so many days
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_daily: u32,
    /// Keep the newest of each of so many weeks
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_weekly: u32,
    /// Keep the newest of each of so many months
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_monthly: u32,
    /// Keep the newest of each of so many years
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    keep_yearly: u32,
    /// Keep everything at most this much older than the newest, as in 1y5m7d2h
    #[arg(long, value_name = "AGE")]
    keep_within: Option<Age>,
    /// Keep what carries all of these tags, separated by commas; may be given several times
    #[arg(long = "keep-tag", value_name = "TAG[,TAG…]")]
    keep_tags: Vec<String>,
}

impl KeepArgs {
    fn policy(self) -> Policy {
        let Self {
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            keep_within,
            keep_tags,
        } = self;
        Policy {
            last: keep_last,
            hourly: keep_hourly,
            daily: keep_daily,
            weekly: keep_weekly,
            monthly: keep_monthly,
            yearly: keep_yearly,
            within: keep_within,
            tags: lists(&keep_tags),
        }
    }
}

fn lists(texts: &[String]) -> Vec<Vec<String>> {
    let list = |text: &String| text.split(',').map(Into::into).collect();
    texts.iter().map(list).collect()
}

impl ForgetArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            names,
            keep,
            tags,
            dry_run,
            prune,
            store,
        } = self;
        let policy = keep.policy();
        if names.is_empty() == policy.is_empty() {
            return Err(Failure::input(
                "what is to be forgotten is not said, or said twice",
                "name captures or snapshots, or say what is kept with --keep-last, --keep-daily and the like",
            ));
        }
        if dry_run && !names.is_empty() {
            return Err(Failure::input(
                "--dry-run has nothing to decide when everything is named",
                "leave --dry-run out, or say what is kept instead",
            ));
        }
        let opened = store.open(context).await?;
        if policy.is_empty() {
            let mut forgotten = Vec::new();
            for name in &names {
                forgotten.push(opened.forget(name).await?);
            }
            context.report.data(&forgotten, || {
                let what = plural(forgotten.len(), "item");
                format!("{} {what} forgotten", paint(Role::Good, "✓"))
            });
        } else {
            let retention = opened.retention(&policy, &lists(&tags)).await?;
            if !dry_run {
                for one in retention.forgotten() {
                    opened.forget(&one.id).await?;
                }
            }
            context
                .report
                .data(&retention, || text(&retention, dry_run));
        }
        if prune && !dry_run {
            let report = run_prune(context, &opened, &store.store, PruneOptions::default()).await?;
            // The answer on stdout is what was forgotten; this is talk.
            context.report.say(&prune_text(&report, false));
        }
        Ok(Exit::Done)
    }
}

fn text(retention: &Retention, dry_run: bool) -> String {
    let mut text = String::new();
    for group in &retention.groups {
        let rows: Vec<Vec<Cell>> = group
            .states
            .iter()
            .map(|state| {
                let kept = !state.reasons.is_empty();
                let id = match state.capture {
                    true => state.id.as_str(),
                    false => &state.id[..8.min(state.id.len())],
                };
                vec![
                    Cell::new(Role::Name, id),
                    state.time.chars().take(19).collect::<String>().into(),
                    match kept {
                        true => Cell::new(Role::Good, "keep"),
                        false => Cell::new(Role::Bad, "forget"),
                    },
                    state.reasons.join(", ").into(),
                ]
            })
            .collect();
        text.push_str(&paint(Role::Heading, &group.name));
        text.push('\n');
        text.push_str(&render(&["ID", "TAKEN", "DECISION", "WHY"], &rows));
        text.push('\n');
    }
    let forgotten = plural(retention.forgotten().count(), "item");
    text.push_str(&match dry_run {
        true => format!("{forgotten} would be forgotten"),
        false => format!("{} {forgotten} forgotten", paint(Role::Good, "✓")),
    });
    text
}

/// What is freed.
#[derive(Debug, Args)]
pub(in crate::cli) struct PruneArgs {
    /// Share of the store that may stay unused, in percent: less means that more is copied
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = percent)]
    max_unused: f64,
    /// Leave packs of interrupted saves alone until they are this many hours old, so that the saves
    /// can be taken up again
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    grace: u64,
    /// Show what would be freed
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| format!("{text:?} is no percentage such as 5%"))?;
    match (0.0..100.0).contains(&number) {
        true => Ok(number / 100.0),
        false => Err("it must be at least 0% and less than 100%".into()),
    }
}

impl PruneArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            max_unused,
            grace,
            dry_run,
            store,
        } = self;
        let opened = store.open(context).await?;
        let options = PruneOptions {
            max_unused,
            grace: Duration::from_secs(grace.saturating_mul(3600)),
            dry_run,
            ..PruneOptions::default()
        };
        let report = run_prune(context, &opened, &store.store, options).await?;
        let pruned = Pruned { dry_run, report };
        context
            .report
            .data(&pruned, || prune_text(&pruned.report, dry_run));
        Ok(Exit::Done)
    }
}

#[derive(Serialize)]
struct Pruned {
    dry_run: bool,
    #[serde(flatten)]
    report: PruneReport,
}

async fn run_prune(
    context: &Context,
    store: &Store,
    name: &str,
    options: PruneOptions,
) -> Result<PruneReport, Failure> {
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let work = async { Ok(store.with(move |one| one.prune(&options, &theirs)).await?) };
    watched(context, name, Direction::Examine, progress, work).await
}

fn prune_text(report: &PruneReport, dry_run: bool) -> String {
    let PruneReport {
        packs_kept,
        packs_rewritten,
        bytes_rewritten,
        packs_removed,
        bytes_removed,
        packs_waiting,
        bytes_waiting,
        bytes_unused,
    } = *report;
    let freed = bytes(bytes_removed.saturating_sub(bytes_rewritten));
    let mut text = match dry_run {
        true => format!("{freed} would be freed"),
        false => format!("{} {freed} freed", paint(Role::Good, "✓")),
    };
    text.push_str(&format!(
        "\n  {} removed, {} of them after {} were copied; {} kept with {} unused",
        plural(packs_removed as usize, "pack"),
        packs_rewritten,
        bytes(bytes_rewritten),
        plural(packs_kept as usize, "pack"),
        bytes(bytes_unused),
    ));
    if packs_waiting > 0 {
        text.push_str(&format!(
            "\n  {} with {} of interrupted saves stay for now; --grace 0 removes them",
            plural(packs_waiting as usize, "pack"),
            bytes(bytes_waiting),
        ));
    }
    text
}
