//! From cluster A to cluster B in one command: what `migrate`, `sync` and `cutover` share.
//!
//! ```text
//! capture ──▶ plan for a purpose ──▶ shown ──▶ asked ──▶ run
//! ```

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::context::{Context, FreezeArgs, MoverArgs, PrivilegeArgs, RecipeArgs, StoreArgs};
use super::run::{self, Parts};
use super::select::SelectArgs;
use super::show::Review;
use super::warm;
use crate::capture::{self, Capture};
use crate::cluster::Cluster;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline::{self, Choices, Prepared};
use crate::plan::{Plan, Purpose};
use crate::restore::RunOptions;
use crate::store::Store;
use crate::transform::Recipe;

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
    pub(super) recipes: RecipeArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    pub(super) mover: MoverArgs,
    #[command(flatten)]
    pub(super) privileges: PrivilegeArgs,
    #[command(flatten)]
    freeze: FreezeArgs,
    /// Show the plan and stop
    #[arg(long)]
    pub(super) dry_run: bool,
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
        // Everything the user gave is understood before any cluster is asked.
        let recipes = self.recipes.load()?;
        let store = self.store.open(context).await?;
        let (source, target) = context.ends(&ends).await?;
        let clusters = (&source, &target);
        let looked = Looked::at(
            context,
            &ends,
            &self,
            &recipes,
            choices,
            clusters,
            Some(&store),
        );
        let Looked { capture, plan, end } = looked.await?;
        if let Some(end) = end.filter(|end| *end != Exit::Changes || purpose != Purpose::Cutover) {
            return Ok(end);
        }
        let parts = self.parts(source, target, store);
        let expected = match purpose {
            Purpose::Cutover => warm::expect(&parts, &plan).await?,
            Purpose::Move | Purpose::Sync => None,
        };
        if purpose == Purpose::Cutover {
            context.report.say(&warm::announce(expected.as_ref()));
        }
        if end.is_some() || !run::confirmed(context, Some(&parts.store), &plan, self.yes).await? {
            return Ok(Exit::Changes);
        }
        run::start(context, &parts, &plan, capture, expected).await
    }

    /// With what a run works.
    pub(super) fn parts(&self, source: Cluster, target: Cluster, store: Store) -> Parts {
        Parts {
            source: Some(source),
            target,
            store,
            mover: self.mover.clone(),
            options: RunOptions {
                force_conflicts: self.force_conflicts,
                ..RunOptions::default()
            },
        }
    }
}

/// What is there, and what would be done: everything that only reads.
pub(super) struct Looked {
    pub(super) capture: Capture,
    pub(super) plan: Plan,
    /// How the command ends when nothing is to be run: blocked, nothing to do, or a dry run.
    pub(super) end: Option<Exit>,
}

impl Looked {
    /// Captures, plans, and shows the plan.
    pub(super) async fn at(
        context: &Context,
        ends: &Ends,
        journey: &JourneyArgs,
        recipes: &[Recipe],
        choices: Choices,
        (source, target): (&Cluster, &Cluster),
        store: Option<&Store>,
    ) -> Result<Self, Failure> {
        let selection = journey.select.clone().within(ends.namespaces.clone());
        let capture =
            capture::take(source, &selection, Knowledge::builtin(), &context.events).await?;
        let choices = Choices {
            install_crds: journey.install_crds,
            unprivileged: journey.privileges.choice(),
            grouping: journey.freeze.choice(),
            ..choices
        };
        let events = &context.events;
        let prepared =
            pipeline::prepare(capture, Some(source), target, recipes, choices, events).await?;
        let Prepared {
            capture,
            transformed,
            plan,
        } = prepared;
        if let (Purpose::Cutover, Some(store)) = (choices.purpose, store) {
            warm::not_held(store, &plan, &capture).await?;
        }
        let review = Review::new(&plan)?.with_lookalikes(&transformed.lookalikes);
        if let Some(folder) = &journey.save_report {
            review.save(folder)?;
        }
        let end = match plan.pending() {
            _ if plan.blocked() => Some(Exit::Blocked),
            0 => Some(Exit::Done),
            _ if journey.dry_run => Some(Exit::Changes),
            _ => None,
        };
        match end {
            // The run's own end is the data of this command.
            None => context.report.say(&review.text(journey.diff)),
            Some(_) => context
                .report
                .data(&review.document(), || review.text(journey.diff)),
        }
        if end.is_none() {
            journey.mover.suffice(&plan)?;
        }
        Ok(Self { capture, plan, end })
    }
}
