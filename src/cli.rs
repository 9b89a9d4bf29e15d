//! The command line: arguments, and one file per command that runs it.
//!
//! A command understands its input completely, calls the pipeline, and hands values to `report`. It
//! decides nothing about objects or data itself.

mod apply;
mod capture;
mod carry;
mod completion;
mod context;
mod cutover;
mod data;
mod direct;
mod failure;
mod gc;
mod graph;
mod hosts;
mod journey;
mod migrate;
mod mover;
mod plan;
mod recipe;
mod run;
mod runs;
mod select;
mod show;
mod standing;
mod store;
mod sync;
mod warm;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use context::Context;
pub use failure::Failure;

use crate::exit::Exit;
use crate::report::{self, Output, Report};

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

// Commands whose arguments are described where they are declared have no description here: it would hide that.
#[derive(Debug, Subcommand)]
enum Command {
    Migrate(migrate::MigrateArgs),
    Sync(sync::SyncArgs),
    Cutover(cutover::CutoverArgs),
    Capture(capture::CaptureArgs),
    /// List, show and remove captures
    #[command(subcommand)]
    Captures(capture::CapturesCommand),
    Graph(graph::GraphArgs),
    /// Check, test and explain recipes
    #[command(subcommand)]
    Recipe(recipe::RecipeCommand),
    Check(plan::CheckArgs),
    Plan(plan::PlanArgs),
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
    Gc(gc::GcArgs),
    /// Build and push the movers' image
    #[command(subcommand)]
    Mover(mover::MoverCommand),
    Completion(completion::CompletionArgs),
}

impl Cli {
    /// Whether it is what a mover runs, on volumes of any size with the memory of a mover.
    pub fn is_data_plane(&self) -> bool {
        matches!(self.command, Command::Data(_) | Command::Mover(_))
    }

    /// Runs the command to its end and gives the exit code.
    pub async fn run(self) -> Exit {
        let Self { global, command } = self;
        let report = Report::new(global.output);
        start_logging(global.verbose);
        let context = Context::new(report, global.kubeconfig, command.is_resumable());
        let told = |exit| match report::lost() {
            None => Ok(exit),
            Some(error) => Err(Failure::refused(
                format!("the result could not be written: {error}"),
                "make room where stdout goes, and run it again",
            )),
        };
        match dispatch(&context, command).await.and_then(told) {
            Ok(exit) => exit,
            Err(failure) => {
                report.error(&*failure.error);
                failure.exit
            }
        }
    }
}

impl Command {
    /// Whether it is work that stops in order and goes on later; all else leaves nothing behind.
    fn is_resumable(&self) -> bool {
        match self {
            Self::Migrate(_)
            | Self::Sync(_)
            | Self::Cutover(_)
            | Self::Apply(_)
            | Self::Runs(_)
            | Self::Data(_) => true,
            Self::Capture(args) => args.is_live(),
            Self::Store(command) => command.is_resumable(),
            Self::Captures(_)
            | Self::Graph(_)
            | Self::Recipe(_)
            | Self::Check(_)
            | Self::Plan(_)
            | Self::Gc(_)
            | Self::Mover(_)
            | Self::Completion(_) => false,
        }
    }
}

async fn dispatch(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Migrate(args) => args.run(context).await,
        Command::Sync(args) => args.run(context).await,
        Command::Cutover(args) => args.run(context).await,
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
        Command::Gc(args) => args.run(context).await,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    /// Commands without others below them whose help shows no example.
    fn without_example(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let mut below = command.get_subcommands().peekable();
        if below.peek().is_none() {
            let help = command.get_long_about().map(ToString::to_string);
            if !help.is_some_and(|help| help.contains("Example")) {
                found.push(path.to_owned());
            }
        }
        for command in below.filter(|command| !command.is_hide_set()) {
            without_example(command, &format!("{path} {}", command.get_name()), found);
        }
    }

    #[test]
    fn every_commands_help_shows_an_example() {
        let mut found = Vec::new();
        without_example(&Cli::command(), "ferry", &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
