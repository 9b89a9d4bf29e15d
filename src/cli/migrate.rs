//! `ferry migrate`: the whole pipeline in one command.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::context::{Context, MoverArgs, RecipeArgs, StoreArgs};
use super::run::{self, Parts};
use super::select::SelectArgs;
use super::show::Review;
use crate::capture;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline::{self, Choices, Prepared};
use crate::restore::RunOptions;

/// Move namespaces with their data from one cluster to another
///
/// Captures the namespaces on the first cluster, applies the recipes, checks the second cluster,
/// shows every change, asks, and then carries objects and data over in the order of their references.
/// The first cluster is only read. A run that was stopped is finished by `ferry runs resume`.
///
/// Example: `ferry migrate --from onprem --to cloud -n shop -r recipe.yaml --store s3://bucket/ferry`
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Context of the cluster to move from
    #[arg(long, value_name = "CONTEXT")]
    from: String,
    /// Context of the cluster to move to
    #[arg(long, value_name = "CONTEXT")]
    to: String,
    /// Namespace to move; may be given several times
    #[arg(long = "namespace", short, required = true, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    mover: MoverArgs,
    /// Show the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Show the diff of every object
    #[arg(long)]
    diff: bool,
    /// Write plan.txt, diff.patch and graph.svg into a folder
    #[arg(long, value_name = "FOLDER")]
    save_report: Option<PathBuf>,
    /// Take fields that other managers own on the target
    #[arg(long)]
    force_conflicts: bool,
    /// Bring definitions of custom resources that the target lacks; without their operator the
    /// resources are inert
    #[arg(long)]
    install_crds: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl MigrateArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            from,
            to,
            namespaces,
            select,
            recipes,
            store,
            mover,
            dry_run,
            diff,
            save_report,
            force_conflicts,
            install_crds,
            yes,
        } = self;
        // Everything the user gave is understood before any cluster is asked.
        let recipes = recipes.load()?;
        let selection = select.within(namespaces);
        let store = store.open().await?;
        let (source, target) = tokio::try_join!(context.cluster(&from), context.cluster(&to))?;
        let capture =
            capture::take(&source, &selection, Knowledge::builtin(), &context.events).await?;
        let choices = Choices { install_crds };
        let prepared =
            pipeline::prepare(capture, &target, &recipes, choices, &context.events).await?;
        let Prepared {
            capture,
            transformed,
            plan,
        } = prepared;
        let review = Review::new(&plan)?.with_lookalikes(&transformed.lookalikes);
        if let Some(folder) = &save_report {
            review.save(folder)?;
        }
        let pending = plan.pending();
        let runs = pending > 0 && !plan.blocked() && !dry_run;
        if runs {
            // The run's own end is the data of this command.
            context.report.say(&review.text(diff));
        } else {
            context
                .report
                .data(&review.document(), || review.text(diff));
        }
        if plan.blocked() {
            return Ok(Exit::Blocked);
        }
        if pending == 0 {
            return Ok(Exit::Done);
        }
        if !dry_run {
            mover.suffice(&plan)?;
        }
        if dry_run || !run::confirmed(context, &plan, yes)? {
            return Ok(Exit::Changes);
        }
        let options = RunOptions {
            force_conflicts,
            ..RunOptions::default()
        };
        let parts = Parts {
            source: Some(source),
            target,
            store,
            mover,
            options,
        };
        run::start(context, &parts, &plan, capture).await
    }
}
