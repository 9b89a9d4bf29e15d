//! `ferry completion`: shell completion scripts.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;

/// Print a completion script for a shell
///
/// Example: `ferry completion bash > /etc/bash_completion.d/ferry`
#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionArgs {
    pub(super) fn run(&self) -> Exit {
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "ferry",
            &mut std::io::stdout(),
        );
        Exit::Done
    }
}
