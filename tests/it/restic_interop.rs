//! The real `restic` is the judge of our format: it checks, lists, restores and continues what we wrote, and back.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ferry::repository::{
    BackupOptions, BackupResult, Progress, Repository, RestoreOptions, Snapshot, SnapshotInfo,
};
use object_store::local::LocalFileSystem;

use crate::support::testbed;
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

fn rustic() -> Command {
    let mut command = Command::new(testbed("FERRY_TESTBED_RUSTIC"));
    command.env("RUSTIC_PASSWORD", PASSWORD);
    command
}

/// What another program did not bring back as it was, by name and kind of fact. Holes aside: they are
/// a matter of its own.
fn lost(source: &Path, target: &Path) -> Vec<String> {
    let mut lost = BTreeSet::new();
    for (name, facts) in torture::differences(source, target) {
        let kinds = facts
            .iter()
            .flatten()
            .filter_map(|fact| fact.split(' ').next());
        let kinds = kinds.filter(|kind| *kind != "holes");
        lost.extend(kinds.map(|kind| format!("{}: {kind}", name.display())));
    }
    Vec::from_iter(lost)
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
    run(restic(&repo)
        .args(["restore", "latest", "--target"])
        .arg(&theirs));
    // Debian's restic makes no sockets, wraps years after 2262 and reads no names but UTF-8.
    let weak = [
        "./attributes: xattr",
        "./socket: device",
        "./socket: mode",
        "./socket: mtime",
        "./socket: owner",
        "./symlink-bytes: target",
        "./year-2300: mtime",
    ];
    assert_eq!(lost(&source, &theirs.join("data")), weak);

    let rustics = folder.path().join("rustic");
    let path = repo.join("repo");
    run(rustic().arg("check").arg(&path));
    run(rustic()
        .arg("restore")
        .arg(&path)
        .arg("latest")
        .arg(&rustics));
    let weak = ["./attributes: xattr"];
    assert_eq!(lost(&source, &rustics.join("data")), weak);
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

/// A repository mounted by restic; unmounted when dropped.
struct Mounted {
    restic: Child,
    at: PathBuf,
}

impl Mounted {
    fn new(store: &Path, at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        let mut command = restic(store);
        command.arg("mount").arg(&at).stdout(Stdio::null());
        let mut mounted = Self {
            restic: command.spawn().unwrap(),
            at,
        };
        while !mounted.at.join("snapshots").exists() {
            assert_eq!(
                mounted.restic.try_wait().unwrap(),
                None,
                "restic did not mount"
            );
            thread::sleep(Duration::from_millis(20));
        }
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        finish(Command::new("fusermount").arg("-u").arg(&self.at));
        self.restic.kill().ok();
        self.restic.wait().ok();
    }
}

#[test]
fn restic_mounts_our_snapshots_and_tells_them_apart() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, repo) = (folder.path().join("source"), folder.path().join("store"));
    fs::create_dir(&source).unwrap();
    torture::create(&source);
    let repository = Repository::init(store(&repo), PASSWORD).unwrap();
    let first = backup(&repository, &source, None).snapshot;
    fs::remove_file(source.join("many/0007")).unwrap();
    fs::write(source.join("many/0008"), "changed").unwrap();
    fs::write(source.join("many/new"), "new").unwrap();
    let second = backup(&repository, &source, Some(first.clone())).snapshot;

    let ids = [&first, &second].map(|snapshot| snapshot.id.unwrap().to_string());
    let compared = run(restic(&repo).arg("diff").args(ids));
    let paths: Vec<_> = compared
        .lines()
        .filter(|line| line.contains("/data"))
        .collect();
    assert_eq!(
        paths,
        [
            "-    /data/many/0007",
            "M    /data/many/0008",
            "+    /data/many/new"
        ]
    );

    let mounted = Mounted::new(&repo, folder.path().join("mounted"));
    // What its file system does not show: numbers of devices, inodes, sticky bits, times before 1970.
    let weak = [
        "./attributes: xattr",
        "./blockdev: device",
        "./chardev: device",
        "./hard-1: link",
        "./hard-2: link",
        "./mode-1777: mode",
        "./sticky: mode",
        "./symlink-bytes: target",
        "./year-1969: mtime",
        "./year-2300: mtime",
    ];
    let found = mounted.at.join("snapshots/latest/data");
    assert_eq!(lost(&source, &found), weak);
}
