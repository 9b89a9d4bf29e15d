//! Tests of behaviour, against real parts: the two clusters of `tests/testbed`, its S3 server and
//! registry, and the real `restic`. One binary, so that it links once; every file is one area.
//!
//! `tests/run.sh` brings everything up and runs them. By hand: `tests/testbed/testbed up`,
//! `eval "$(tests/testbed/testbed env)"`, `cargo test --test it NAME`.

#![allow(unreachable_pub, reason = "a test binary exports nothing")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that panics has failed; what it prints is shown then"
)]

mod archive;
mod bad_input;
mod bench;
mod capture;
mod checkpoint;
mod checks;
mod clones;
mod clouds;
mod cutover;
mod data;
mod data_command;
mod direct;
mod disk;
mod faulty;
mod gc;
mod golden;
mod helm;
mod hooks;
mod killed;
mod listing;
mod maintain;
mod migrate;
mod others;
mod outage;
mod party;
mod reading;
mod recipes;
mod repository;
mod restic_interop;
mod restore;
mod s3;
mod shared;
mod store;
mod store_command;
mod support;
mod sweep;
mod together;
mod torture;
mod trip;
mod unprivileged;
mod velero;
mod yaml_interop;
