//! `ferry store` as people run it, held against what `restic` says of the same repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{self, Done};
use crate::torture;

const PASSWORD: &str = "correct horse battery staple";

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        scene.ferry(&["store", "init"]).exits(0);
        fs::create_dir(scene.path("source")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    fn with(&self, password: &str, args: &[&str]) -> Done {
        let store = self.path("store").display().to_string();
        let mut command = support::ferry(args);
        command
            .args(["--store", &store])
            .env("FERRY_PASSWORD", password)
            .env("FERRY_NEW_PASSWORD", "another one");
        support::run(&mut command)
    }

    #[track_caller]
    fn ferry(&self, args: &[&str]) -> Done {
        self.with(PASSWORD, args)
    }

    #[track_caller]
    fn save(&self, seed: u64) -> String {
        let source = self.path("source");
        fs::write(source.join("f"), torture::noise(seed, 300_000)).unwrap();
        let done = self.ferry(&["data", "save", source.to_str().unwrap(), "-o", "json"]);
        done.exits(0).json()["snapshot"].as_str().unwrap().into()
    }

    #[track_caller]
    fn restic_with(&self, password: &str, args: &[&str]) -> String {
        let mut command = Command::new("restic");
        command
            .args(["--no-cache", "-r"])
            .arg(self.path("store/repo"))
            .env("RESTIC_PASSWORD", password)
            .args(args);
        support::run(&mut command).exits(0).stdout
    }

    #[track_caller]
    fn restic(&self, args: &[&str]) -> String {
        self.restic_with(PASSWORD, args)
    }
}

/// Some file below a folder; a prune leaves empty folders.
fn one_of(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).unwrap();
    entries.find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            one_of(&path)
        } else {
            Some(path)
        }
    })
}

#[test]
fn a_store_is_checked_counted_forgotten_from_and_pruned() {
    let scene = Scene::new();
    let (first, second) = (scene.save(1), scene.save(2));
    scene.ferry(&["store", "check"]).exits(0).shows("sound");
    let before = scene
        .ferry(&["store", "stats", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(
        (&before["snapshots"], &before["unused_bytes"]),
        (&2.into(), &0.into())
    );

    // Nothing said is an error, and so is nothing to decide.
    scene
        .ferry(&["store", "forget"])
        .exits(5)
        .says("--keep-last");
    scene.ferry(&["store", "forget", "no-such"]).exits(5);
    let keep = ["store", "forget", "--keep-last", "1", "-o", "json"];
    let dry = scene
        .ferry(&[&keep[..], &["--dry-run"]].concat())
        .exits(0)
        .json();
    let done = scene.ferry(&keep).exits(0).json();
    assert_eq!(dry, done);
    let states = &done["groups"][0]["states"];
    assert_eq!(
        (&states[0]["id"], &states[1]["id"]),
        (&Value::from(second), &Value::from(first))
    );
    assert_eq!(states[1]["reasons"], Value::Array(vec![]));

    let dry = scene
        .ferry(&["store", "prune", "--dry-run", "-o", "json"])
        .exits(0)
        .json();
    assert!(dry["bytes_removed"].as_u64().unwrap() > 290_000, "{dry}");
    scene.ferry(&["store", "prune"]).exits(0).shows("freed");
    let after = scene
        .ferry(&["store", "stats", "-o", "json"])
        .exits(0)
        .json();
    let stored = |figures: &Value| figures["stored_bytes"].as_u64().unwrap();
    assert!(stored(&after) < stored(&before) - 290_000);
    scene.restic(&["check", "--read-data"]);
    let sound = scene
        .ferry(&["store", "check", "--read-data", "-o", "json"])
        .exits(0)
        .json();
    assert!(sound["bytes_read"].as_u64().unwrap() > 0);

    let pack = one_of(&scene.path("store/repo/data")).expect("a pack");
    let mut bytes = fs::read(&pack).unwrap();
    bytes[7] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let damaged = scene.ferry(&["store", "check", "--read-data"]).exits(6);
    damaged.shows(pack.file_name().unwrap().to_str().unwrap());
}

#[test]
fn retention_decides_as_restic_does() {
    let scene = Scene::new();
    let source = scene.path("source");
    fs::write(source.join("f"), "x").unwrap();
    let times = [
        "2025-11-30 23:59:59",
        "2025-12-31 12:00:00",
        "2026-01-01 00:30:00",
        "2026-01-01 00:45:00",
        "2026-01-04 22:00:00",
        "2026-01-05 01:00:00",
        "2026-02-28 10:00:00",
        "2026-03-01 09:00:00",
        "2026-03-01 10:00:00",
        "2026-03-01 10:30:00",
        "2026-03-02 10:00:00",
    ];
    for time in times {
        let path = source.to_str().unwrap();
        scene.restic(&[
            "backup",
            path,
            "--time",
            time,
            "--host",
            "h",
            "--tag",
            &time[..7],
        ]);
    }
    let rules: [&[&str]; 7] = [
        &["--keep-last", "3"],
        &["--keep-hourly", "4"],
        &["--keep-daily", "3", "--keep-monthly", "2"],
        &["--keep-weekly", "3"],
        &["--keep-monthly", "9", "--keep-yearly", "1"],
        &["--keep-within", "2m1d"],
        &["--keep-tag", "2025-12", "--keep-last", "1"],
    ];
    for rule in rules {
        let theirs: Value = serde_json::from_str(
            &scene.restic(&[&["forget", "--dry-run", "--json"], rule].concat()),
        )
        .unwrap();
        let theirs: BTreeSet<String> = theirs[0]["keep"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kept| kept["id"].as_str().unwrap().into())
            .collect();
        let args = [&["store", "forget", "--dry-run", "-o", "json"], rule].concat();
        let ours = scene.ferry(&args).exits(0).json();
        let ours: BTreeSet<String> = ours["groups"][0]["states"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|state| !state["reasons"].as_array().unwrap().is_empty())
            .map(|state| state["id"].as_str().unwrap().into())
            .collect();
        assert_eq!(ours, theirs, "{rule:?}");
    }
    // Only what carries the tag is decided about.
    scene
        .ferry(&["store", "forget", "--keep-last", "1", "--tag", "2026-03"])
        .exits(0);
    let left: Value = serde_json::from_str(&scene.restic(&["snapshots", "--json"])).unwrap();
    assert_eq!(left.as_array().unwrap().len(), 8);
}

#[test]
fn keys_are_shared_with_restic() {
    let scene = Scene::new();
    let list = |password: &str| {
        let keys = scene.with(password, &["store", "keys", "list", "-o", "json"]);
        keys.exits(0).json().as_array().unwrap().clone()
    };
    let first = list(PASSWORD)[0]["id"].as_str().unwrap().to_owned();
    scene.ferry(&["store", "keys", "add"]).exits(0);
    assert_eq!(list("another one").len(), 2);
    let theirs: Value = serde_json::from_str(&scene.restic(&["key", "list", "--json"])).unwrap();
    assert_eq!(theirs.as_array().unwrap().len(), 2);
    scene.restic_with("another one", &["snapshots"]);

    scene
        .ferry(&["store", "keys", "remove", &first])
        .exits(5)
        .says("in use");
    scene
        .with("another one", &["store", "keys", "remove", &first])
        .exits(0);
    scene.ferry(&["store", "check"]).exits(5).says("password");
    // And a change of the password that is left.
    fs::write(scene.path("new"), "third\nignored\n").unwrap();
    let new = scene.path("new").display().to_string();
    let passwd = ["store", "keys", "passwd", "--new-password-file", &new];
    scene.with("another one", &passwd).exits(0);
    scene.with("another one", &["store", "check"]).exits(5);
    assert_eq!(list("third").len(), 1);
    scene.restic_with("third", &["check"]);

    let config: Value =
        serde_json::from_str(&scene.restic_with("third", &["cat", "config"])).unwrap();
    let ours = scene
        .with("third", &["store", "cat", "config"])
        .exits(0)
        .json();
    assert_eq!(ours, config);
    scene
        .with("third", &["store", "cat", "snapshot", "ab"])
        .exits(5);
    scene
        .with("third", &["store", "unlock"])
        .exits(0)
        .shows("0 locks");
}

#[test]
fn a_capture_is_removed_only_by_a_yes() {
    let scene = Scene::new();
    let manifests = support::root().join("examples/shop/manifests");
    let manifests = manifests.to_str().unwrap();
    scene
        .ferry(&["capture", "--from-dir", manifests, "-n", "shop"])
        .exits(0);
    let captures = || {
        scene
            .ferry(&["captures", "list", "-o", "json"])
            .exits(0)
            .json()
    };
    assert_eq!(captures().as_array().unwrap().len(), 1);
    // Stdin is no terminal here: nobody can be asked.
    scene
        .ferry(&["captures", "rm", "latest"])
        .exits(5)
        .says("nobody is there to confirm the removal")
        .says("--yes");
    assert_eq!(captures().as_array().unwrap().len(), 1);
    scene
        .ferry(&["captures", "rm", "latest", "--yes"])
        .exits(0)
        .shows("removed");
    assert_eq!(captures().as_array().unwrap().len(), 0);
}
