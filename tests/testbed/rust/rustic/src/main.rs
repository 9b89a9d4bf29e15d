//! `rustic check REPOSITORY` reads all data of a repository in a folder and finds nothing to say;
//! `rustic restore REPOSITORY SNAPSHOT[:PATH] TARGET` restores it. For benchmarks, `rustic init REPOSITORY` begins one with
//! zstd's quickest level and `rustic backup REPOSITORY SOURCE` saves into it. The password is `RUSTIC_PASSWORD`.

use std::error::Error;
use std::process::ExitCode;

use rustic_backend::BackendOptions;
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, KeyOptions, LocalDestination,
    LsOptions, OpenStatus, PathList, Repository, RepositoryOptions, RestoreOptions,
    SnapshotOptions,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn repository(path: &str) -> Result<Repository<()>> {
    let options = BackendOptions::default().repository(path);
    Ok(Repository::new(
        &RepositoryOptions::default().no_cache(true),
        &options.to_backends()?,
    )?)
}

fn password() -> Result<Credentials> {
    Ok(Credentials::password(std::env::var("RUSTIC_PASSWORD")?))
}

fn open(path: &str) -> Result<Repository<OpenStatus>> {
    Ok(repository(path)?.open(&password()?)?)
}

fn init(path: &str) -> Result<()> {
    let quickest = ConfigOptions::default().set_compression(1);
    repository(path)?.init(&password()?, &KeyOptions::default(), &quickest)?;
    Ok(())
}

fn backup(path: &str, source: &str) -> Result<()> {
    let repository = open(path)?.to_indexed_ids()?;
    let snapshot = SnapshotOptions::default().to_snapshot()?;
    let source = PathList::from_string(source)?;
    repository.backup(&BackupOptions::default(), &source, snapshot)?;
    Ok(())
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
        ["init", path] => init(path),
        ["backup", path, source] => backup(path, source),
        ["check", path] => check(path),
        ["restore", path, snapshot, target] => restore(path, snapshot, target),
        _ => Err(
            "usage: rustic init REPOSITORY | backup REPOSITORY SOURCE | check REPOSITORY | \
             restore REPOSITORY SNAPSHOT TARGET"
                .into(),
        ),
    };
    done.map_or_else(
        |error| {
            eprintln!("rustic: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
