//! From cluster A to cluster B in one command: what `migrate`, `sync` and `cutover` share.
//!
//! ```text
//! capture ──▶ plan for a purpose ──▶ shown ──▶ asked ──▶ run
//! ```

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::context::{Context, MoverArgs, PrivilegeArgs, RecipeArgs, StoreArgs};
use super::run::{self, Parts};
use super::select::SelectArgs;
use super::show::Review;
use super::warm;
use crate::capture;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline::{self, Choices, Prepared};
use crate::plan::Purpose;
use crate::restore::RunOptions;

/// From where to where.
#[derive(Debug, Args)]
pub(super) struct Ends {
    /// Context of the cluster to move from
    #[arg(long, value_name = "CONTEXT")]
    pub(super) from: String,
    /// Context of the cluster to move to
    #[arg(long, value_name = "CONTEXT")]
    pub(super) to: String,
    /// Namespace to move; may be given several times
    #[arg(long = "namespace", short, required = true, value_name = "NAMESPACE")]
    pub(super) namespaces: Vec<String>,
}

/// What travels, how, and how it is told.
#[derive(Debug, Args)]
pub(super) struct JourneyArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    pub(super) mover: MoverArgs,
    #[command(flatten)]
    privileges: PrivilegeArgs,
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
    pub(super) force_conflicts: bool,
    /// Bring definitions of custom resources that the target lacks; without their operator the
    /// resources are inert
    #[arg(long)]
    install_crds: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
}

impl JourneyArgs {
    pub(super) async fn run(
        self,
        context: &Context,
        ends: Ends,
        choices: Choices,
    ) -> Result<Exit, Failure> {
        let purpose = choices.purpose;
        let Self {
            select,
            recipes,
            store,
            mover,
            privileges,
            dry_run,
            diff,
            save_report,
            force_conflicts,
            install_crds,
            yes,
        } = self;
        let Ends {
            from,
            to,
            namespaces,
        } = ends;
        // Everything the user gave is understood before any cluster is asked.
        let recipes = recipes.load()?;
        let selection = select.within(namespaces);
        let store = store.open().await?;
        let (source, target) = tokio::try_join!(context.cluster(&from), context.cluster(&to))?;
        let capture =
            capture::take(&source, &selection, Knowledge::builtin(), &context.events).await?;
        let choices = Choices {
            install_crds,
            unprivileged: privileges.choice(),
            ..choices
        };
        let events = &context.events;
        let prepared =
            pipeline::prepare(capture, Some(&source), &target, &recipes, choices, events).await?;
        let Prepared {
            capture,
            transformed,
            plan,
        } = prepared;
        if purpose == Purpose::Cutover {
            warm::not_held(&store, &plan, &capture).await?;
        }
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
        let expected = match purpose {
            Purpose::Cutover => warm::expect(&parts, &plan).await?,
            Purpose::Move | Purpose::Sync => None,
        };
        if purpose == Purpose::Cutover {
            context.report.say(&warm::announce(expected.as_ref()));
        }
        if dry_run || !run::confirmed(context, &parts.store, &plan, yes).await? {
            return Ok(Exit::Changes);
        }
        run::start(context, &parts, &plan, capture, expected).await
    }
}
