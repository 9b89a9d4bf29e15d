//! `ferry check` and `ferry plan`: what a restore would do, without doing it.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::context::{Context, PrivilegeArgs, RecipeArgs, StoreArgs};
use super::show::Review;
use crate::exit::Exit;
use crate::pipeline::{self, Choices, Prepared};
use crate::plan::file;
use crate::report::plan_view;

/// Check whether a cluster can take a capture
///
/// Example: `ferry check latest --to prod-b -r recipe.yaml`
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    input: PlanInputArgs,
}

/// Show exactly what a restore would write, and save it
///
/// Exits with 0 when there is nothing to do, 2 when there are changes, 3 when findings block it.
///
/// Example: `ferry plan latest --to prod-b -r recipe.yaml --diff -O shop.plan`
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    input: PlanInputArgs,
    /// Show the diff of every object
    #[arg(long)]
    diff: bool,
    /// Write the plan to a file for `ferry apply`; it is sealed with the store's key
    #[arg(long = "out", short = 'O', value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write plan.txt, diff.patch and graph.svg into a folder
    #[arg(long, value_name = "FOLDER")]
    save_report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PlanInputArgs {
    /// The capture's id, or `latest`
    #[arg(value_name = "CAPTURE")]
    capture: String,
    /// Context of the cluster to restore to
    #[arg(long, value_name = "CONTEXT")]
    to: String,
    /// Bring definitions of custom resources that the target lacks; without their operator the
    /// resources are inert
    #[arg(long)]
    install_crds: bool,
    #[command(flatten)]
    privileges: PrivilegeArgs,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl PlanInputArgs {
    async fn prepare(&self, context: &Context) -> Result<Prepared, Failure> {
        let recipes = self.recipes.load()?;
        let store = self.store.open(context).await?;
        let target = context.cluster(&self.to).await?;
        let capture = store.load_capture(&self.capture).await?;
        let choices = Choices {
            install_crds: self.install_crds,
            unprivileged: self.privileges.choice(),
            ..Choices::default()
        };
        Ok(pipeline::prepare(capture, None, &target, &recipes, choices, &context.events).await?)
    }
}

impl CheckArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let prepared = self.input.prepare(context).await?;
        let findings = &prepared.plan.findings;
        context
            .report
            .data(findings, || plan_view::findings(findings));
        Ok(if prepared.plan.blocked() {
            Exit::Blocked
        } else {
            Exit::Done
        })
    }
}

impl PlanArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            input,
            diff,
            out,
            save_report,
        } = self;
        let prepared = input.prepare(context).await?;
        let plan = &prepared.plan;
        let review = Review::new(plan)?.with_lookalikes(&prepared.transformed.lookalikes);
        context
            .report
            .data(&review.document(), || review.text(diff));
        if let Some(folder) = &save_report {
            review.save(folder)?;
        }
        if let Some(path) = &out {
            let store = input.store.open(context).await?;
            file::save(plan, path, &store)?;
            context.report.say(&format!(
                "saved; execute it with: ferry apply {}",
                path.display()
            ));
        }
        Ok(match (plan.blocked(), plan.pending()) {
            (true, _) => Exit::Blocked,
            (false, 0) => Exit::Done,
            (false, _) => Exit::Changes,
        })
    }
}
