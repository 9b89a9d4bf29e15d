//! The `ferry` command: crypto provider, runtime, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ferry::install_crypto();
    let cli = match ferry::cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a stream that is gone cannot be told about itself.
            drop(error.print());
            let exit = if error.use_stderr() {
                ferry::exit::Exit::Input
            } else {
                ferry::exit::Exit::Done
            };
            return exit.into();
        }
    };
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(cli.run()).into(),
        Err(_) => ferry::exit::Exit::Internal.into(),
    }
}
