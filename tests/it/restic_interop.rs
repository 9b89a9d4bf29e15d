//! The real `restic` is the judge of our format: it checks, lists, restores and continues what we wrote, and back.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use ferry::repository::{
    BackupOptions, BackupResult, Progress, Repository, RestoreOptions, Snapshot, SnapshotInfo,
};
use object_store::local::LocalFileSystem;

use crate::torture;

const PASSWORD: &str = "correct horse battery staple";

/// Runs a command and returns what it printed; fails with its errors if it fails.
pub fn run(command: &mut Command) -> String {
    let output = finish(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command to its end, whatever that is. A program that is missing is a failure, never a skip.
pub fn finish(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| {
        panic!("cannot start `{program}`: {error}; install it: `apt-get install -y {program}`")
    })
}

/// A runtime for the store's I/O.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn store(folder: &Path) -> Arc<LocalFileSystem> {
    fs::create_dir_all(folder).unwrap();
    Arc::new(
        LocalFileSystem::new_with_prefix(folder)
            .unwrap()
            .with_fsync(true),
    )
}

fn restic(store: &Path) -> Command {
    let mut command = Command::new("restic");
    command
        .arg("--no-cache")
        .arg("-r")
        .arg(store.join("repo"))
        .env("RESTIC_PASSWORD", PASSWORD);
    command
}

fn info(tag: &str) -> SnapshotInfo {
    SnapshotInfo {
        hostname: "cluster-a".into(),
        tags: vec![tag.into()],
    }
}

fn backup(repository: &Repository, source: &Path, parent: Option<Snapshot>) -> BackupResult {
    let options = BackupOptions {
        parent,
        ..BackupOptions::new("data", info("pvc=shop/files"))
    };
    let result = repository
        .backup_directory(source, &options, &Progress::default())
        .unwrap();
    assert_eq!(result.problems, []);
    result
}

fn restore(repository: &Repository, snapshot: &Snapshot, target: &Path) -> u64 {
    fs::create_dir_all(target).unwrap();
    let options = RestoreOptions::new("data");
    let result = repository
        .restore_directory(snapshot, target, &options, &Progress::default())
        .unwrap();
    assert_eq!(result.losses, []);
    result.bytes_written
}

#[test]
fn a_torture_tree_survives_us_and_restic() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, repo) = (folder.path().join("source"), folder.path().join("store"));
    fs::create_dir(&source).unwrap();
    torture::create(&source);
    let repository = Repository::init(store(&repo), PASSWORD).unwrap();
    let result = backup(&repository, &source, None);

    let ours = folder.path().join("ours");
    restore(&repository, &result.snapshot, &ours);
    torture::assert_same(&source, &ours);
    // Again over what is there: nothing is written, nothing changes.
    assert_eq!(restore(&repository, &result.snapshot, &ours), 0);
    torture::assert_same(&source, &ours);

    run(restic(&repo).args(["check", "--read-data"]));
    let json = run(restic(&repo).args(["snapshots", "--json", "--tag", "pvc=shop/files"]));
    let listed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(listed[0]["hostname"], "cluster-a");
    assert_eq!(listed[0]["paths"][0], "/data");
    let theirs = folder.path().join("theirs");
    // Debian's restic makes no sockets and wraps years after 2262; everything else must be there.
    run(restic(&repo)
        .args(["restore", "latest", "--target"])
        .arg(&theirs));
    for name in [
        "big",
        "medium",
        "zero",
        "hard-2",
        "utf8-grün-文",
        "many/0299",
        "sparse",
    ] {
        let (a, b) = (source.join(name), theirs.join("data").join(name));
        assert!(
            fs::read(a).unwrap() == fs::read(b).unwrap(),
            "{name} differs"
        );
    }
    let (expected, found) = (
        torture::describe(&source),
        torture::describe(&theirs.join("data")),
    );
    let missing: Vec<_> = expected
        .keys()
        .filter(|name| !found.contains_key(*name))
        .collect();
    assert_eq!(missing, ["./socket"]);
}

#[test]
fn an_unchanged_tree_costs_nothing_and_restic_continues_ours() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, repo) = (folder.path().join("source"), folder.path().join("store"));
    fs::create_dir(&source).unwrap();
    torture::create(&source);
    let repository = Repository::init(store(&repo), PASSWORD).unwrap();
    let first = backup(&repository, &source, None);
    let second = backup(&repository, &source, Some(first.snapshot.clone()));
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    assert_eq!((second.bytes_added, second.totals), (0, first.totals));
    assert_eq!(second.unchanged, first.totals.files + first.totals.others);

    // restic adds a snapshot of its own; we restore it, and back up with it as parent.
    run(restic(&repo)
        .arg("backup")
        .arg(&source)
        .args(["--tag", "theirs"]));
    let theirs = repository.snapshots(&["theirs"]).unwrap().pop().unwrap();
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    let path = fs::canonicalize(&source).unwrap();
    let options = RestoreOptions::new(path.to_str().unwrap());
    let result = repository
        .restore_directory(&theirs, &target, &options, &Progress::default())
        .unwrap();
    assert_eq!(result.losses, []);
    assert!(fs::read(source.join("big")).unwrap() == fs::read(target.join("big")).unwrap());
    run(restic(&repo).args(["forget", "--prune", &first.snapshot.id.unwrap().to_string()]));
    run(restic(&repo).args(["check", "--read-data"]));
    let reopened = Repository::open(store(&repo), PASSWORD).unwrap();
    restore(&reopened, &second.snapshot, &folder.path().join("again"));
    torture::assert_same(&source, &folder.path().join("again"));
}

#[test]
fn a_repository_begun_by_restic_is_continued_by_us() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, repo) = (folder.path().join("source"), folder.path().join("store"));
    fs::create_dir_all(source.join("d")).unwrap();
    fs::create_dir(&repo).unwrap();
    fs::write(source.join("d/file"), torture::noise(9, 5 << 20)).unwrap();
    run(restic(&repo).args(["init", "--repository-version", "2"]));
    run(restic(&repo).current_dir(&source).args(["backup", "."]));
    let repository = Repository::open(store(&repo), PASSWORD).unwrap();
    let result = backup(&repository, &source, None);
    run(restic(&repo).args(["check", "--read-data"]));
    let all = repository.snapshots::<&str>(&[]).unwrap();
    assert_eq!(all.last(), Some(&result.snapshot));
    let ids = all.iter().map(|snapshot| snapshot.id.unwrap().to_string());
    run(restic(&repo).arg("diff").args(ids));
    let file = ("objects/a.yaml".to_owned(), b"kind: A\n".to_vec());
    let files = [Ok::<_, Infallible>(file)];
    let Ok(saved) = repository.save_files(files, &info("capture=1")).unwrap();
    let mut dump = restic(&repo);
    dump.args(["dump", &saved.id.unwrap().to_string(), "/objects/a.yaml"]);
    assert_eq!(run(&mut dump), "kind: A\n");
    run(restic(&repo).args(["unlock"]));
    assert!(repository.list_sealed("repo/locks").unwrap().is_empty());
}
