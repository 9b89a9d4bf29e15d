//! `ferry store`: make a store, and see that it is sound.

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::context::{Context, StoreArgs};
use crate::exit::Exit;
use crate::report::palette::{Role, paint};
use crate::store::Store;

/// Make and check stores
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Make a new store: a restic repository and the folders beside it
    ///
    /// Example: `ferry store init --store s3://backups/ferry --password-file pw`
    Init(StoreArgs),
}

#[derive(Serialize)]
struct Made<'a> {
    store: &'a str,
    repository: String,
}

impl StoreCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init(args) => init(context, &args).await,
        }
    }
}

async fn init(context: &Context, args: &StoreArgs) -> Result<Exit, Failure> {
    let password = args.password()?;
    let store = Store::init(&args.store, &password).await?;
    let made = Made { store: &args.store, repository: store.repository_id() };
    context.report.data(&made, || {
        format!(
            "{} store made at {}\n  keep the password: without it nothing in the store can be read",
            paint(Role::Good, "✓"),
            args.store
        )
    });
    Ok(Exit::Done)
}
