//! `ferry migrate`: the whole pipeline in one command.

use clap::Args;

use super::Failure;
use super::context::Context;
use super::direct::{DirectArgs, NO_STORE};
use super::journey::{Ends, JourneyArgs};
use crate::exit::Exit;
use crate::pipeline::Choices;
use crate::plan::Purpose;

/// Move namespaces with their data from one cluster to another
///
/// Captures the namespaces on the first cluster, applies the recipes, checks the second cluster,
/// shows every change, asks, and then carries objects and data over in the order of their references.
/// The first cluster is only read. A run that was stopped is finished by `ferry runs resume`.
///
/// Example: `ferry migrate --from onprem --to cloud -n shop -r recipe.yaml --store s3://bucket/ferry`
///
/// On one storage, without copying: `ferry migrate --from prod --to staging -n shop -r recipe.yaml --shared-storage`
///
/// Without a store: `ferry migrate --from onprem --to cloud -n shop -r recipe.yaml --direct`
#[derive(Debug, Args)]
#[command(mut_arg("store", |store| store.required(false).default_value_if("direct", "true", NO_STORE)))]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    journey: JourneyArgs,
    #[command(flatten)]
    direct: DirectArgs,
    /// Both clusters are on one storage: where it can, it makes B's volumes of A's snapshots by itself, and only
    /// fingerprints are read to prove it. What it refuses travels through the store
    #[arg(long)]
    shared_storage: bool,
}

impl MigrateArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            ends,
            journey,
            direct,
            shared_storage,
        } = self;
        let choices = Choices {
            purpose: Purpose::Move,
            shared_storage,
            ..Choices::default()
        };
        match direct.direct {
            true => direct.run(context, ends, journey, choices).await,
            false => journey.run(context, ends, choices).await,
        }
    }
}
