//! `ferry store`: make a store, see that it is sound, and look after it.

mod check;
mod import_velero;
mod keys;
mod retain;

use clap::Subcommand;
use serde::Serialize;

use super::context::{Context, StoreArgs};
use super::{Failure, watch};
use crate::data::Depot;
use crate::exit::Exit;
use crate::report::palette::{Role, paint};
use crate::store::{Location, Store, StoreError};

/// Make, check and look after stores
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
    /// Check that everything in the store can be restored
    ///
    /// Reads every index file and every directory of every snapshot, and that each capture is whole.
    /// Exits with 6 when something is damaged; all of it is listed.
    ///
    /// Example: `ferry store check --read-data`
    Check {
        /// Read every byte too, and prove it
        #[arg(long)]
        read_data: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show how large the store is, and how much of it nothing needs
    ///
    /// Example: `ferry store stats --store s3://bucket/ferry`
    Stats {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Forget captures and snapshots, by name or by what is to be kept
    ///
    /// The rules are those of `restic forget`; captures are kept or forgotten as wholes, by
    /// application. Their data is freed by `ferry store prune`.
    ///
    /// Example: `ferry store forget --keep-daily 7 --keep-weekly 4 --tag nightly --dry-run`
    Forget(retain::ForgetArgs),
    /// Free the space of what no snapshot needs
    ///
    /// Nobody else may work on the store meanwhile. It can be killed at any moment: nothing that a
    /// snapshot needs is ever removed, and the next prune finishes.
    ///
    /// Example: `ferry store prune --max-unused 0%`
    Prune(retain::PruneArgs),
    /// Passwords: several may open one store
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Remove the locks of processes that are dead
    ///
    /// Example: `ferry store unlock`
    Unlock {
        /// Remove every lock: a prune may then delete what a living process counts on
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List Velero's backups, or make a capture of one
    ///
    /// Velero's bucket is only read. Volumes that Velero uploaded with kopia come by way of a
    /// kopia binary: each is unpacked into a folder of this machine, for which it takes root to
    /// keep owners, and saved. What Velero left in the source's own snapshots is named, and stays.
    ///
    /// Examples:
    ///   ferry store import-velero s3://velero
    ///   ferry store import-velero s3://velero nightly -n shop --kopia kopia --store ./store
    #[command(verbatim_doc_comment)]
    ImportVelero(import_velero::ImportVeleroArgs),
    /// Remove what `migrate --direct` keeps on a cluster: data, captures and journals
    ///
    /// Runs it holds can then neither be finished nor undone. Folders and buckets are removed with their owners' tools.
    ///
    /// Example: `ferry store remove --store cluster://cloud/shop-1a2b3c4d5e`
    Remove {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        /// Which, as the migration named it
        #[arg(long, value_name = "URL", env = "FERRY_STORE")]
        store: String,
    },
    /// Print one of the repository's own objects
    ///
    /// Example: `ferry store cat snapshot 4f3a`
    Cat(keys::CatArgs),
}

#[derive(Serialize)]
struct Made<'a> {
    store: &'a str,
    repository: String,
}

impl StoreCommand {
    /// Whether it is work that stops in order and goes on later.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self, Self::ImportVelero(_))
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init { if_absent, store } => init(context, &store, if_absent).await,
            Self::Check { read_data, store } => check::check(context, &store, read_data).await,
            Self::Stats { store } => check::stats(context, &store).await,
            Self::Forget(args) => args.run(context).await,
            Self::Prune(args) => args.run(context).await,
            Self::Keys(command) => command.run(context).await,
            Self::Unlock { all, store } => keys::unlock(context, &store, all).await,
            Self::ImportVelero(args) => args.run(context).await,
            Self::Remove { yes, store } => remove(context, &store, yes).await,
            Self::Cat(args) => args.run(context).await,
        }
    }
}

async fn remove(context: &Context, url: &str, yes: bool) -> Result<Exit, Failure> {
    let Location::Depot { context: at, name } = Location::parse(url)? else {
        return Err(Failure::input(
            format!("{url} is not Ferry's to remove"),
            "only what `migrate --direct` keeps is removed so: cluster://CONTEXT/NAME",
        ));
    };
    let cluster = context.cluster(&at).await?;
    let question = format!("Remove {} with all it holds?", paint(Role::Name, url));
    if !context.agreed(yes, &question, "the removal", "")? {
        return Ok(Exit::Done);
    }
    Depot::remove(&cluster, &name).await?;
    context
        .report
        .data(&serde_json::json!({"removed": url}), || {
            format!("{} {url} removed", paint(Role::Good, "✓"))
        });
    Ok(Exit::Done)
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
