//! `ferry completion`: shell completion scripts.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::context::Context;
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
    pub(super) fn run(&self, context: &Context) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ferry", &mut script);
        context.report.text(&String::from_utf8_lossy(&script));
        Exit::Done
    }
}
