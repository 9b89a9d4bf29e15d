//! `ferry sync`: the data of today on B, while A works on.

use clap::Args;

use super::Failure;
use super::context::Context;
use super::journey::{Ends, JourneyArgs};
use crate::exit::Exit;
use crate::pipeline::Choices;
use crate::plan::Purpose;

/// Bring the data over while the first cluster works on; may be repeated
///
/// Makes the namespaces and claims on the second cluster, without anything that runs, and fills them.
/// The next sync sends only what changed since and brings the same claims up to date. Each tells how
/// long a cutover would stand still. The first cluster is only read.
///
/// Example: `ferry sync --from onprem --to cloud -n shop -r recipe.yaml --store s3://bucket/ferry`
#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    journey: JourneyArgs,
}

impl SyncArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let choices = Choices {
            purpose: Purpose::Sync,
            ..Choices::default()
        };
        self.journey.run(context, self.ends, choices).await
    }
}
