//! The rule book as tests: every case of `tests/rules/*.yaml` is one test, named after its rule.
//!
//! ```text
//! tests/rules/E-24.yaml ── objects ──▶ capture · recipe · graph ──▶ what the case expects
//! transforms/rules.yaml ── every rule must have a case, a test of its name, or a written reason
//!                       └─▶ docs/reference/rules.md
//! ```
//!
//! `cargo test --test rules E-24` runs the cases of one rule; `BLESS=1 cargo test --test rules page`
//! writes the page anew.

#![allow(unreachable_pub, reason = "a test binary exports nothing")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod book;
mod case;
mod expect;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = case::read_all(&root.join("tests/rules"));
    let mut trials = book::trials(root, &cases);
    trials.extend(cases.into_iter().map(|case| {
        let name = case.name();
        Trial::test(name, move || expect::run(&case).map_err(Into::into))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
