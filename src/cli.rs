//! The command line: arguments, and one file per command that runs it.
//!
//! A command understands its input completely, calls the pipeline, and hands values to `report`. It
//! decides nothing about objects or data itself.

mod apply;
mod capture;
mod carry;
mod completion;
mod context;
mod data;
mod failure;
mod graph;
mod journey;
mod migrate;
mod mover;
mod plan;
mod recipe;
mod run;
mod runs;
mod select;
mod show;
mod store;
mod sync;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use context::Context;
pub use failure::Failure;

use crate::exit::Exit;
use crate::report::{Output, Report};

const EXIT_CODES: &str = "Exit codes: 0 done or no change, 1 internal error, 2 changes pending, \
3 blocked by findings, 4 a run ended with failures and can be resumed, 5 the input is wrong, \
6 a cluster or store cannot be reached or refuses.";

/// Move and clone applications between Kubernetes and OpenShift clusters
#[derive(Debug, Parser)]
#[command(
    name = "ferry",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// How to write results
    #[arg(
        long,
        short,
        value_enum,
        default_value_t,
        global = true,
        env = "FERRY_OUTPUT"
    )]
    output: Output,
    /// Kubeconfig file; without it, KUBECONFIG and ~/.kube/config as kubectl reads them
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Log what happens on the wire to stderr; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Move namespaces with their data from one cluster to another: the whole pipeline
    Migrate(migrate::MigrateArgs),
    /// Bring the data over while the first cluster works on; may be repeated
    Sync(sync::SyncArgs),
    /// Record namespaces and their data in the store
    Capture(capture::CaptureArgs),
    /// List, show and remove captures
    #[command(subcommand)]
    Captures(capture::CapturesCommand),
    /// Draw what refers to what
    Graph(graph::GraphArgs),
    /// Check, test and explain recipes
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    /// Check whether a cluster can take a capture
    Check(plan::CheckArgs),
    /// Show exactly what a restore would write, and save it
    Plan(plan::PlanArgs),
    /// Execute a saved plan
    Apply(apply::ApplyArgs),
    /// List, show, resume, undo and verify runs
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Save, restore and verify a folder or a device of this machine
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Make, check and look after stores
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Build and push the movers' image
    #[command(subcommand)]
    Mover(mover::MoverCommand),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

impl Cli {
    /// Runs the command to its end and gives the exit code.
    pub async fn run(self) -> Exit {
        let Self { global, command } = self;
        let report = Report::new(global.output);
        start_logging(global.verbose);
        let context = Context::new(report, global.kubeconfig);
        match dispatch(&context, command).await {
            Ok(exit) => exit,
            Err(failure) => {
                report.error(&*failure.error);
                failure.exit
            }
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Migrate(args) => args.run(context).await,
        Command::Sync(args) => args.run(context).await,
        Command::Capture(args) => args.run(context).await,
        Command::Captures(command) => command.run(context).await,
        Command::Graph(args) => args.run(context).await,
        Command::Recipe(command) => command.run(context).await,
        Command::Check(args) => args.run(context).await,
        Command::Plan(args) => args.run(context).await,
        Command::Apply(args) => args.run(context).await,
        Command::Runs(command) => command.run(context).await,
        Command::Data(command) => command.run(context).await,
        Command::Store(command) => command.run(context).await,
        Command::Mover(command) => command.run(context).await,
        Command::Completion(args) => Ok(args.run(context)),
    }
}

/// Logs go to stderr and only when asked for: `-v`, `-vv`, or `FERRY_LOG` in tracing's filter syntax.
fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "off",
        1 => "ferry=debug,kube=info",
        _ => "ferry=trace,kube=debug,object_store=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("FERRY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
