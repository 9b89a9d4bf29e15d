//! `ferry runs`: what was executed, and how to go on with it or take it back.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Failure;
use super::context::{Context, MoverArgs, StoreArgs};
use super::journey::JourneyArgs;
use super::run::{self, Parts};
use super::show::Review;
use super::standing::{self, Latest, Standing, find};
use crate::exit::Exit;
use crate::journal::{self, Entry, Record};
use crate::plan::{Action, Purpose};
use crate::report::palette::{Role, paint};
use crate::report::plan_view;
use crate::report::table::{Cell, render};
use crate::report::units::plural;
use crate::restore::{self, RunOptions, UndoOptions};
use crate::store::Store;

/// List, show, resume, undo and verify runs
#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List the runs in the store, newest first
    ///
    /// Example: `ferry runs list --store s3://bucket/ferry`
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show the plan of a run
    ///
    /// Example: `ferry runs show latest`
    Show {
        /// The run's id, or `latest`
        run: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show the journal of a run
    ///
    /// Example: `ferry runs logs latest`
    Logs {
        /// The run's id, or `latest`
        run: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Finish a run that was stopped, killed, or ended with failures
    ///
    /// `latest` is the newest run that is unfinished, which need not be the newest run.
    ///
    /// Example: `ferry runs resume latest`
    Resume {
        /// Leave a hook out that cannot end well; may be given several times
        #[arg(long = "skip-hook", value_name = "NAME")]
        skip_hooks: Vec<String>,
        #[command(flatten)]
        run: ResumeArgs,
    },
    /// Take back what a run wrote, in reverse order
    ///
    /// What the run made is deleted, as long as it is still the same object and nobody edited it; what it
    /// changed gets its former content back, unless that changed since. Everything else is left alone and
    /// listed with the reason.
    ///
    /// Example: `ferry runs undo latest --delete-data`
    Undo {
        /// Delete the claims the run made, with their data
        #[arg(long)]
        delete_data: bool,
        /// Delete also what somebody edited after the run made it
        #[arg(long)]
        delete_edited: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        run: ResumeArgs,
    },
    /// Look again at what a run made: is it there, as planned, and ready?
    ///
    /// Objects are compared with the cluster as it is now. Data is not read again: what is told of it is what was
    /// proven when it was loaded.
    ///
    /// Example: `ferry runs verify latest`
    Verify(ResumeArgs),
}

#[derive(Clone, Debug, Args)]
pub(super) struct ResumeArgs {
    /// The run's id, or `latest`: the newest run, to resume the newest that is unfinished
    run: String,
    /// Context of the cluster moved from; the plan's own name of it when not given
    #[arg(long, value_name = "CONTEXT")]
    from: Option<String>,
    /// Context of the cluster moved to; the plan's own name of it when not given
    #[arg(long, value_name = "CONTEXT")]
    to: Option<String>,
    /// Take fields that other managers own
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    mover: MoverArgs,
}

/// A run as the list shows it.
#[derive(Serialize)]
struct Listed {
    run: String,
    source: String,
    target: String,
    namespaces: Vec<(String, String)>,
    #[serde(flatten)]
    standing: Standing,
}

impl RunsCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List { store } => list(context, &store.open(context).await?).await,
            Self::Show { run, store } => {
                let store = store.open(context).await?;
                let plan = restore::plan_of(&store, &find(&store, &run).await?).await?;
                // Not the plan itself: its bodies hold the Secrets.
                let review = Review::new(&plan)?;
                context
                    .report
                    .data(&review.document(), || plan_view::table(&plan));
                Ok(Exit::Done)
            }
            Self::Logs { run, store } => logs(context, &store.open(context).await?, &run).await,
            Self::Resume { skip_hooks, run } => {
                let (run, mut parts) = run.parts(context, Latest::Unfinished).await?;
                known_hooks(&parts.store, &run, &skip_hooks).await?;
                parts.options.skip_hooks = skip_hooks;
                run::resume(context, &parts, &run).await
            }
            Self::Undo {
                delete_data,
                delete_edited,
                yes,
                run,
            } => {
                let options = UndoOptions {
                    delete_data,
                    delete_edited,
                };
                undo(context, run, options, yes).await
            }
            Self::Verify(args) => verify(context, args).await,
        }
    }
}

impl ResumeArgs {
    /// A run of the user's own words in a command that begins runs.
    pub(super) fn of(
        run: String,
        from: Option<String>,
        to: Option<String>,
        journey: JourneyArgs,
    ) -> Self {
        let JourneyArgs {
            store,
            mover,
            force_conflicts,
            ..
        } = journey;
        Self {
            run,
            from,
            to,
            force_conflicts,
            store,
            mover,
        }
    }

    /// The run's name, its clusters and its store. The source is only connected when the plan still
    /// reads from it; where the run is not gone on with, one that does not answer is only a warning: it
    /// may be gone by now.
    pub(super) async fn parts(
        self,
        context: &Context,
        latest: Latest,
    ) -> Result<(String, Parts), Failure> {
        let resumes = latest == Latest::Unfinished;
        let Self {
            run,
            from,
            to,
            force_conflicts,
            store,
            mover,
        } = self;
        let store = store.open(context).await?;
        let run = latest.find(context, &store, &run).await?;
        let plan = restore::plan_of(&store, &run).await?;
        let target = context
            .cluster(to.as_deref().unwrap_or(&plan.target.name))
            .await?;
        let source = match plan.reads_source() {
            true => {
                let name = from.as_deref().unwrap_or(&plan.source.name);
                match context.cluster(name).await {
                    Ok(source) => Some(source),
                    Err(_) if !resumes => {
                        context.events.warning(format!(
                            "cluster {name} does not answer: what the run may have left there, such as \
                             snapshots, is not removed"
                        ));
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
            false => None,
        };
        let options = RunOptions {
            force_conflicts,
            ..RunOptions::default()
        };
        Ok((
            run,
            Parts {
                source,
                target,
                store,
                mover,
                options,
            },
        ))
    }
}

/// Refuses names that no hook of a run has.
async fn known_hooks(store: &Store, run: &str, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let plan = restore::plan_of(store, run).await?;
    let hooks = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Hook(hook) => Some(hook.name.as_str()),
        _ => None,
    });
    let known: Vec<&str> = hooks.collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Failure::input(
            format!("run {run} has no hook {name:?}"),
            match known.as_slice() {
                [] => "it has none at all".to_owned(),
                known => format!("it has {}", known.join(", ")),
            },
        )),
    }
}

async fn list(context: &Context, store: &Store) -> Result<Exit, Failure> {
    let mut listed = Vec::new();
    for run in standing::names(store).await? {
        let plan = restore::plan_of(store, &run).await?;
        let standing = Standing::read(store, &run).await?;
        listed.push(Listed {
            run,
            source: plan.source.name,
            target: plan.target.name,
            namespaces: plan.namespaces,
            standing,
        });
    }
    context.report.data(&listed, || {
        let row = |one: &Listed| -> Vec<Cell> {
            let names: Vec<String> = one
                .namespaces
                .iter()
                .map(|(a, b)| format!("{a} → {b}"))
                .collect();
            vec![
                Cell::new(Role::Name, &one.run),
                format!("{} → {}", one.source, one.target).into(),
                names.join(", ").into(),
                one.standing.text().into(),
            ]
        };
        let rows: Vec<_> = listed.iter().map(row).collect();
        render(&["RUN", "CLUSTERS", "NAMESPACES", "STATE"], &rows)
    });
    Ok(Exit::Done)
}

async fn logs(context: &Context, store: &Store, run: &str) -> Result<Exit, Failure> {
    let run = find(store, run).await?;
    let mut records = journal::read(store, &run)
        .await
        .map_err(restore::RestoreError::from)?;
    for record in &mut records {
        // What an object was before may be a Secret's content.
        if let Entry::Intent { before, .. } = &mut record.entry {
            *before = None;
        }
    }
    context
        .report
        .data(&records, || records.iter().map(line).collect());
    Ok(Exit::Done)
}

/// One record as a line: when, what, on which object, and how it went.
fn line(record: &Record) -> String {
    let Record {
        seq: _,
        time,
        step: _,
        object,
        action,
        entry,
    } = record;
    let what = match entry {
        Entry::Opened { ferry } => format!("begun or gone on with by ferry {ferry}"),
        Entry::Intent { .. } => "about to write".into(),
        Entry::Done {
            proof: Some(proof), ..
        } => format!("done, digest {}", proof.digest),
        Entry::Done { .. } => "done".into(),
        Entry::Ran {
            pod,
            container,
            exit: _,
            problem,
            output,
            seconds,
        } => {
            let how = match problem {
                None => "ended well".into(),
                Some(problem) => paint(Role::Bad, format!("failed: {problem}")),
            };
            let output = output.replace('\n', "\n    ");
            format!(
                "command in Pod {pod}, container {container}, {seconds:.1} s: {how}\n    {output}"
            )
            .trim_end()
            .to_owned()
        }
        Entry::Ready => "ready".into(),
        Entry::Failed { reason } => paint(Role::Bad, format!("failed: {reason}")),
        Entry::Broken { reason } => paint(Role::Bad, format!("can only be taken back: {reason}")),
        Entry::LeftOut => "left out, as the user said".into(),
        Entry::GivenBack => "as it was before it was held".into(),
        Entry::Closed { done, open } => format!("ended: {done} done, {open} open"),
        Entry::Undone { left: None } => "about to be taken back".into(),
        Entry::Undone { left: Some(left) } => format!("taken back, {left} left"),
    };
    let time = time.strftime("%F %T%.3f");
    match object {
        Some(object) => format!("{time} {action} {}: {what}\n", paint(Role::Name, object)),
        None => format!("{time} {what}\n"),
    }
}

async fn undo(
    context: &Context,
    args: ResumeArgs,
    options: UndoOptions,
    yes: bool,
) -> Result<Exit, Failure> {
    let (run, parts) = args.parts(context, Latest::Any).await?;
    take_back(context, &run, &parts, options, yes).await
}

/// Asks, takes a run back, and tells what came of it.
pub(super) async fn take_back(
    context: &Context,
    run: &str,
    parts: &Parts,
    options: UndoOptions,
    yes: bool,
) -> Result<Exit, Failure> {
    let plan = restore::plan_of(&parts.store, run).await?;
    let back = match plan.purpose {
        Purpose::Cutover => ", and start the application on A as it was",
        Purpose::Move | Purpose::Sync => "",
    };
    let question = format!(
        "Take back run {run} on cluster {}{back}?",
        paint(Role::Name, &plan.target.name)
    );
    if !context.agreed(yes, &question, "the undo", "")? {
        return Ok(Exit::Done);
    }
    let movers = run::movers(context, parts, run, &plan);
    let undone = restore::undo(&run::run_context(context, parts, run, &movers), options).await?;
    let failed = undone.left.iter().filter(|left| left.failed).count();
    context.report.data(&undone, || {
        let left: String = undone
            .left
            .iter()
            .map(|left| {
                let mark = if left.failed {
                    paint(Role::Bad, "✗")
                } else {
                    paint(Role::Warn, "!")
                };
                format!("{mark} left {}: {}\n", left.object, left.reason)
            })
            .collect();
        let mut counts = format!(
            "{} deleted, {} restored, {} left",
            undone.deleted.len(),
            undone.restored.len(),
            undone.left.len(),
        );
        if !undone.given_back.is_empty() {
            let objects = plural(undone.given_back.len(), "object");
            counts.push_str(&format!(", {objects} of A as before"));
        }
        match failed {
            0 => format!(
                "{left}{} run {run} taken back: {counts}\n",
                paint(Role::Good, "✓")
            ),
            _ => format!(
                "{left}{} run {run} is not taken back whole: {counts}\n  try again with: {}\n",
                paint(Role::Bad, "✗"),
                paint(Role::Hint, format!("ferry runs undo {run}")),
            ),
        }
    });
    Ok(if failed == 0 {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

async fn verify(context: &Context, args: ResumeArgs) -> Result<Exit, Failure> {
    let (run, parts) = args.parts(context, Latest::Any).await?;
    let plan = restore::plan_of(&parts.store, &run).await?;
    let movers = run::movers(context, &parts, &run, &plan);
    let verified = restore::verify(&run::run_context(context, &parts, &run, &movers)).await?;
    context.report.data(&verified, || {
        let wrong: String = verified
            .wrong
            .iter()
            .map(|(object, reason)| format!("{} {object}: {reason}\n", paint(Role::Bad, "✗")))
            .collect();
        let proofs: String = verified.proofs.iter().map(proven).collect();
        format!(
            "{wrong}{proofs}{} as planned, {} not\n",
            plural(verified.good as usize, "object"),
            verified.wrong.len()
        )
    });
    Ok(if verified.wrong.is_empty() {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

/// A claim's line: what was proven when, for a look at objects reads no data.
fn proven(proven: &restore::Proven) -> String {
    format!(
        "{} proven at {}, and not read again: {} was equal on both sides\n",
        paint(Role::Good, "✓"),
        proven.at.strftime("%F %T UTC"),
        run::found(&proven.claim, &proven.proof),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proven_is_told_in_the_past_tense_with_its_time() {
        let line = proven(&restore::Proven {
            claim: crate::object::ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "db"),
            at: "2026-03-01T10:20:30Z".parse().unwrap(),
            proof: crate::capture::Proof {
                files: 3,
                bytes: 10,
                digest: "0123456789abcdef0".into(),
            },
        });
        assert!(
            line.contains(
                "proven at 2026-03-01 10:20:30 UTC, and not read again: shop/db: 3 entries"
            ),
            "{line}"
        );
        assert!(
            line.ends_with("digest 0123456789abcdef was equal on both sides\n"),
            "{line}"
        );
    }
}
