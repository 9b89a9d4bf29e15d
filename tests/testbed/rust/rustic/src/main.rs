//! `rustic check REPOSITORY` reads all data of a repository in a folder and finds nothing to say;
//! `rustic restore REPOSITORY SNAPSHOT[:PATH] TARGET` restores it. The password is `RUSTIC_PASSWORD`.

use std::error::Error;
use std::process::ExitCode;

use rustic_backend::BackendOptions;
use rustic_core::{
    CheckOptions, Credentials, LocalDestination, LsOptions, OpenStatus, Repository,
    RepositoryOptions, RestoreOptions,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn open(path: &str) -> Result<Repository<OpenStatus>> {
    let options = BackendOptions::default().repository(path);
    let repository = Repository::new(
        &RepositoryOptions::default().no_cache(true),
        &options.to_backends()?,
    )?;
    let password = Credentials::password(std::env::var("RUSTIC_PASSWORD")?);
    Ok(repository.open(&password)?)
}

fn check(path: &str) -> Result<()> {
    let found = open(path)?.check(CheckOptions::default().read_data(true))?;
    for (level, finding) in &found.0 {
        eprintln!("{level:?}: {finding}");
    }
    if found.0.is_empty() {
        return Ok(());
    }
    Err("the repository is not as rustic wants it".into())
}

fn restore(path: &str, snapshot: &str, target: &str) -> Result<()> {
    let repository = open(path)?.to_indexed()?;
    let node = repository.node_from_snapshot_path(snapshot, |_| true)?;
    let nodes = repository.ls(&node, &LsOptions::default())?;
    let target = LocalDestination::new(target, true, !node.is_dir())?;
    let options = RestoreOptions::default();
    let plan = repository.prepare_restore(&options, nodes.clone(), &target, false)?;
    Ok(repository.restore(plan, &options, nodes, &target)?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["check", path] => check(path),
        ["restore", path, snapshot, target] => restore(path, snapshot, target),
        _ => Err("usage: rustic check REPOSITORY | restore REPOSITORY SNAPSHOT TARGET".into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("rustic: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
