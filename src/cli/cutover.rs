//! `ferry cutover`: the last delta while A stands still, then B; or everything back.

use clap::Args;

use super::Failure;
use super::context::Context;
use super::journey::{Ends, JourneyArgs};
use super::runs::{self, ResumeArgs};
use super::standing::Latest;
use crate::exit::Exit;
use crate::journal;
use crate::pipeline::Choices;
use crate::plan::Purpose;
use crate::restore::{self, RestoreError, UndoOptions};

/// Move for good: stop on the first cluster, bring the last changes, start on the second
///
/// Prepares everything on the second cluster, held; then holds the workloads of the first one (replicas 0,
/// CronJobs suspended, and so on), waits until their pods are gone, brings what changed since the last
/// `ferry sync`, proves it, and starts the second cluster. Before the question it tells how long that
/// will take. The first cluster stays held afterwards.
///
/// A cutover that stopped is finished by `ferry runs resume RUN`, or taken back by `--abort RUN` at any
/// moment before the second cluster was started: then the first runs exactly as it did, and the next
/// `ferry sync` goes on with the data that is there.
///
/// Example: `ferry cutover --from onprem --to cloud -n shop -r recipe.yaml --store s3://bucket/ferry`, and
/// to take it back `ferry cutover --abort latest`
#[derive(Debug, Args)]
pub(super) struct CutoverArgs {
    /// Context of the cluster to move from
    #[arg(long, value_name = "CONTEXT", required_unless_present = "abort")]
    from: Option<String>,
    /// Context of the cluster to move to
    #[arg(long, value_name = "CONTEXT", required_unless_present = "abort")]
    to: Option<String>,
    /// Namespace to move; may be given several times
    #[arg(
        long = "namespace",
        short,
        value_name = "NAMESPACE",
        required_unless_present = "abort"
    )]
    namespaces: Vec<String>,
    /// Take a cutover back that has not started the second cluster: its run's id, or `latest`, the newest
    /// cutover
    #[arg(long, value_name = "RUN", conflicts_with = "namespaces")]
    abort: Option<String>,
    /// Move the hosts too: when the second cluster runs and is ready, Ingresses, Routes and the like of the first one
    /// give their hosts up, and those of the second take them, whatever a recipe's `host` map says
    #[arg(long, conflicts_with = "abort")]
    switch_hosts: bool,
    #[command(flatten)]
    journey: JourneyArgs,
}

impl CutoverArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            from,
            to,
            namespaces,
            abort,
            switch_hosts,
            journey,
        } = self;
        match (abort, from, to) {
            (Some(run), from, to) => {
                let yes = journey.yes;
                let args = ResumeArgs::of(run, from, to, journey);
                abort_run(context, args, yes).await
            }
            (None, Some(from), Some(to)) => {
                let ends = Ends {
                    from,
                    to,
                    namespaces,
                };
                let choices = Choices {
                    purpose: Purpose::Cutover,
                    switch_hosts,
                    ..Choices::default()
                };
                journey.run(context, ends, choices).await
            }
            (None, ..) => Err(Failure::input(
                "a cutover needs both clusters",
                "name them with --from and --to",
            )),
        }
    }
}

async fn abort_run(context: &Context, args: ResumeArgs, yes: bool) -> Result<Exit, Failure> {
    let (run, parts) = args.parts(context, Latest::Cutover).await?;
    let plan = restore::plan_of(&parts.store, &run).await?;
    if plan.purpose != Purpose::Cutover {
        return Err(Failure::input(
            format!("run {run} is no cutover"),
            format!("`ferry runs undo {run}` takes it back; `ferry runs list` shows the others"),
        ));
    }
    let records = journal::read(&parts.store, &run)
        .await
        .map_err(RestoreError::from)?;
    if restore::released(&plan, &records) {
        return Err(Failure::input(
            format!(
                "run {run} has begun to start the application on cluster {}, which may have new data by now",
                plan.target.name
            ),
            format!(
                "`ferry runs resume {run}` finishes it; `ferry runs undo {run}` takes B back and starts A \
                 again, and loses what was written on B since"
            ),
        ));
    }
    runs::take_back(context, &run, &parts, UndoOptions::default(), yes).await
}
