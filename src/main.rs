//! The `ferry` command: crypto provider, runtime, exit code; nothing else.

mod allocator;

use std::process::ExitCode;

use clap::Parser;
#[global_allocator]
static ALLOCATOR: allocator::BySize = allocator::BySize;

/// `mi_option_purge_delay`: after how many milliseconds the system gets back what was freed (10).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

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
    if cli.is_data_plane() {
        // SAFETY: it sets a number, at any time, that the allocator looks at when memory is freed.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
    }
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(cli.run()).into(),
        Err(_) => ferry::exit::Exit::Internal.into(),
    }
}
