//! `ferry store`: make a store, and see that it is sound.

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::context::{Context, StoreArgs};
use crate::exit::Exit;
use crate::report::palette::{Role, paint};
use crate::store::{Store, StoreError};

/// Make and check stores
#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Make a new store: a restic repository and the folders beside it
    ///
    /// Example: `ferry store init --store s3://backups/ferry --password-file pw`
    Init {
        /// Do nothing when there is a store already that the password opens
        #[arg(long)]
        if_absent: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Serialize)]
struct Made<'a> {
    store: &'a str,
    repository: String,
}

impl StoreCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init { if_absent, store } => init(context, &store, if_absent).await,
        }
    }
}

async fn init(context: &Context, args: &StoreArgs, if_absent: bool) -> Result<Exit, Failure> {
    let password = args.password()?;
    let store = match Store::init(&args.store, &password).await {
        Err(StoreError::Exists { .. }) if if_absent => {
            Store::open(&args.store, &password).await?;
            context
                .report
                .say(&format!("the store at {} is there already", args.store));
            return Ok(Exit::Done);
        }
        made => made?,
    };
    let made = Made {
        store: &args.store,
        repository: store.repository_id(),
    };
    context.report.data(&made, || {
        format!(
            "{} store made at {}\n  keep the password: without it nothing in the store can be read",
            paint(Role::Good, "✓"),
            args.store
        )
    });
    Ok(Exit::Done)
}
