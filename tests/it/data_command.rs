//! `ferry data` on folders and image files of this machine, with the binary as people run it.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ferry::repository::Repository;
use object_store::local::LocalFileSystem;
use serde_json::{Value, json};

use crate::restic_interop::runtime;
use crate::support::{self, Done};
use crate::torture;

const PASSWORD: &str = "correct horse battery staple";
/// A user with no rights.
const NOBODY: u32 = 65_534;

/// A store of the test's own, and what is around it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        scene.ferry(&["store", "init"]).exits(0);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = support::ferry(args);
        command
            .args(["--store", &self.text("store")])
            .env("FERRY_PASSWORD", PASSWORD);
        command
    }

    #[track_caller]
    fn ferry(&self, args: &[&str]) -> Done {
        support::run(&mut self.command(args))
    }

    #[track_caller]
    fn save(&self, source: &str) -> serde_json::Value {
        let source = self.text(source);
        self.ferry(&["data", "save", &source, "--tag", "t", "-o", "json"])
            .exits(0)
            .json()
    }
}

fn packs(store: &Path) -> usize {
    let folders = fs::read_dir(store.join("repo/data"))
        .into_iter()
        .flatten()
        .flatten();
    folders
        .filter_map(|folder| Some(fs::read_dir(folder.path()).ok()?.count()))
        .sum()
}

#[test]
fn a_folder_goes_through_the_store_and_every_difference_is_told() {
    let scene = Scene::new();
    fs::create_dir(scene.path("source")).unwrap();
    torture::create(&scene.path("source"));
    let first = scene.save("source");
    assert!(first["bytes_added"].as_u64().unwrap() > 1 << 20);
    let again = scene.save("source");
    assert_eq!(
        (&again["bytes_added"], &again["digest"]),
        (&0.into(), &first["digest"])
    );
    let source = scene.text("source");
    for wanted in ["latest", first["snapshot"].as_str().unwrap()] {
        scene
            .ferry(&["data", "verify", wanted, &source])
            .exits(0)
            .shows("equal");
    }
    // The target is made, and the restore is repeatable.
    let target = scene.text("a/target");
    let restore = ["data", "restore", "latest", &target, "-o", "json"];
    let restored = scene.ferry(&restore).exits(0).json();
    assert_eq!(restored["digest"], first["digest"]);
    torture::assert_same(&scene.path("source"), &scene.path("a/target"));
    let repeated = scene.ferry(&restore).exits(0).json();
    assert_eq!(repeated["bytes_written"], 0);

    fs::write(scene.path("a/target/extra"), "e").unwrap();
    fs::write(scene.path("a/target/zero"), "z").unwrap();
    let differs = ["data", "verify", "latest", &target, "-o", "json"];
    let found = scene.ferry(&differs).exits(4).json();
    assert_eq!(found["equal"], false);
    let paths: Vec<_> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert!(
        paths.contains(&"extra") && paths.contains(&"zero"),
        "{paths:?}"
    );
    scene.ferry(&restore).exits(4).says("extra");
    scene
        .ferry(&["data", "restore", "latest", &target, "--delete-extra"])
        .exits(0)
        .shows("verified");
    scene
        .ferry(&["data", "verify", "latest", &target])
        .exits(0)
        .shows("equal");
}

#[test]
fn an_image_file_is_saved_as_the_device_it_is() {
    let scene = Scene::new();
    let disk = fs::File::create(scene.path("disk")).unwrap();
    disk.set_len(40 << 20).unwrap();
    disk.write_all_at(&torture::noise(1, 3 << 20), 20 << 20)
        .unwrap();
    let saved = scene.save("disk");
    assert_eq!(saved["bytes"], 40 << 20);
    let copy = scene.text("copy");
    scene.ferry(&["data", "restore", "latest", &copy]).exits(0);
    assert!(fs::read(scene.path("disk")).unwrap() == fs::read(&copy).unwrap());
    scene.ferry(&["data", "verify", "latest", &copy]).exits(0);
    fs::OpenOptions::new()
        .write(true)
        .open(&copy)
        .unwrap()
        .write_all_at(b"x", 21 << 20)
        .unwrap();
    scene
        .ferry(&["data", "verify", "latest", &copy])
        .exits(4)
        .says("byte 22020096");
}

/// What a mover is told that loads a snapshot.
fn load_job(scene: &Scene, saved: &Value, accept: &[&str]) -> String {
    let objects = LocalFileSystem::new_with_prefix(scene.path("store")).unwrap();
    let runtime = runtime();
    let _inside = runtime.enter();
    let repository = Repository::open(Arc::new(objects), PASSWORD).unwrap();
    let proof = json!({"files": 1, "bytes": 1, "digest": "not compared by the mover"});
    let saved = json!({"snapshot": saved["snapshot"], "consistency": "live", "proof": proof});
    json!({
        "id": format!("load-{}", accept.len()),
        "task": {"task": "load", "saved": saved, "accept": accept},
        "mode": "Filesystem",
        "path": scene.path("volume"),
        "store": {"access": "direct", "url": scene.path("store")},
        "key": repository.master_key().to_json(),
    })
    .to_string()
}

#[test]
fn a_target_that_cannot_take_everything_is_refused_before_the_first_write() {
    let scene = Scene::new();
    assert!(
        torture::is_root(),
        "this test gives files away: run it as root"
    );
    fs::create_dir(scene.path("source")).unwrap();
    fs::write(scene.path("source/theirs"), "content").unwrap();
    std::os::unix::fs::chown(scene.path("source/theirs"), Some(1234), Some(1234)).unwrap();
    let kind = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let device = rustix::fs::makedev(1, 3);
    let path = scene.path("source/null");
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, device).unwrap();
    let saved = scene.save("source");
    // From here on somebody without rights works.
    fs::create_dir(scene.path("target")).unwrap();
    std::os::unix::fs::chown(scene.path("target"), Some(NOBODY), Some(NOBODY)).unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(scene.folder.path(), open).unwrap();
    let store = scene.path("store");
    support::run(Command::new("chmod").args(["-R", "a+rwX"]).arg(store)).exits(0);
    let binary = scene.path("ferry");
    fs::copy(support::binary(), &binary).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(args).env("NO_COLOR", "1");
        command
            .env("FERRY_PASSWORD", PASSWORD)
            .env("FERRY_STORE", scene.path("store"))
            .uid(NOBODY)
            .gid(NOBODY);
        support::run(&mut command)
    };
    let target = scene.text("target");
    let refused = nobody(&["data", "restore", "latest", &target]).exits(3);
    let refused = refused.says("nothing was written").says("--accept-loss");
    refused.says("owner").says("special");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    let accept = ["--accept-loss", "owner", "--accept-loss", "special"];
    let args = [&["data", "restore", "latest", &target][..], &accept].concat();
    let taken = nobody(&args).exits(0).shows("losses accepted");
    taken.says("device nodes");
    assert_eq!(fs::read(scene.path("target/theirs")).unwrap(), b"content");
    let args = [&["data", "verify", "latest", &target][..], &accept].concat();
    nobody(&args).exits(0);
    nobody(&["data", "verify", "latest", &target]).exits(4);
    // A mover, which is told what to accept by its job.
    let volume = scene.path("volume");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::chown(&volume, Some(NOBODY), Some(NOBODY)).unwrap();
    let load = |accept: &[&str]| {
        fs::write(scene.path("job"), load_job(&scene, &saved, accept)).unwrap();
        let (job, result) = (scene.text("job"), scene.text("volume.result"));
        nobody(&["mover", "run", "--job", &job, "--result", &result])
    };
    load(&[]).exits(3).shows("nothing was written");
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    let done = load(&["owner", "special"]).exits(0);
    done.shows(r#""lost":["owner","special"]"#);
    assert_eq!(fs::read(volume.join("theirs")).unwrap(), b"content");
}

#[test]
fn an_interrupted_save_ends_cleanly_and_the_next_sends_the_rest_only() {
    let scene = Scene::new();
    fs::create_dir(scene.path("source")).unwrap();
    let size = 160 << 20;
    fs::write(scene.path("source/big"), torture::noise(3, size)).unwrap();
    let source = scene.text("source");
    let mut child = scene
        .command(&["data", "save", &source])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    while packs(&scene.path("store")) == 0 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    // It may have ended by now; then the signal finds nobody, and there is nothing left to send below.
    rustix::process::kill_process(pid, rustix::process::Signal::INT).ok();
    let ended = child.wait_with_output().unwrap();
    let interrupted = ended.status.code() == Some(4);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        interrupted || ended.status.success(),
        "{:?}: {said}",
        ended.status
    );
    let locks = fs::read_dir(scene.path("store/repo/locks")).unwrap();
    assert_eq!(locks.count(), 0, "no lock is left");
    let saved = scene.save("source");
    if interrupted {
        assert!(said.contains("run the same command again"), "{said}");
        assert!(saved["bytes_adopted"].as_u64().unwrap() > 0, "{saved}");
    }
    assert!(saved["bytes_added"].as_u64().unwrap() < size as u64);
    scene.ferry(&["data", "verify", "latest", &source]).exits(0);
}

#[test]
fn bad_input_is_told_with_what_to_do() {
    let scene = Scene::new();
    scene
        .ferry(&["data", "save", "/no/such/folder"])
        .exits(5)
        .says("name a folder");
    let target = scene.text("target");
    scene
        .ferry(&["data", "restore", "latest", &target])
        .exits(5)
        .says("no snapshot");
    scene
        .ferry(&["data", "restore", "abc", &target])
        .exits(5)
        .says("no snapshot `abc`");
    assert!(!scene.path("target").exists());
    scene
        .ferry(&["data", "restore", "x", &target, "--accept-loss", "colour"])
        .exits(5)
        .says("owner");
    fs::create_dir(scene.path("source")).unwrap();
    fs::write(scene.path("source/secret"), "s").unwrap();
    symlink("nowhere", scene.path("source/link")).unwrap();
    let source = scene.text("source");
    let mut wrong = scene.command(&["data", "save", &source]);
    let done = support::run(wrong.env("FERRY_PASSWORD", "wrong"));
    done.exits(5).says("password");
}
