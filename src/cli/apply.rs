//! `ferry apply`: execute a saved plan exactly as it is.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::context::{Context, MoverArgs, StoreArgs};
use super::run::{self, Parts};
use super::show::Review;
use crate::exit::Exit;
use crate::plan::file;
use crate::restore::RunOptions;

/// Execute a saved plan
///
/// The plan runs exactly as it was reviewed; it is refused where the target changed since.
///
/// Example: `ferry apply shop.plan --yes`
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The file that `ferry plan --out` wrote
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Context of the cluster to restore to; the plan's own name of it when not given
    #[arg(long, value_name = "CONTEXT")]
    to: Option<String>,
    /// Take fields that other managers own on the target
    #[arg(long)]
    force_conflicts: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    mover: MoverArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl ApplyArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            plan: path,
            to,
            yes,
            force_conflicts,
            mover,
            store,
        } = self;
        let store = store.open(context).await?;
        let plan = file::load(&path, &store)?;
        let target = context
            .cluster(to.as_deref().unwrap_or(&plan.target.name))
            .await?;
        context.report.say(&Review::new(&plan)?.text(false));
        if plan.blocked() {
            return Ok(Exit::Blocked);
        }
        mover.suffice(&plan)?;
        if !run::confirmed(context, Some(&store), &plan, yes).await? {
            return Ok(Exit::Changes);
        }
        let capture = store.load_capture(&plan.capture).await?;
        let options = RunOptions {
            force_conflicts,
            ..RunOptions::default()
        };
        let parts = Parts {
            source: None,
            target,
            store,
            mover,
            options,
        };
        run::start(context, &parts, &plan, capture, None).await
    }
}
