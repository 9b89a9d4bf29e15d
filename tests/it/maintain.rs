//! Check and prune: every fault is found, nothing a snapshot needs is ever lost, and `restic` agrees with both.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ferry::repository::{
    BackupOptions, Error, Progress, PruneOptions, PruneReport, Repository, RestoreOptions,
    Snapshot, SnapshotInfo, WriteOptions,
};
use futures::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::faulty::Faulty;
use crate::restic_interop::{run, runtime};
use crate::torture;

pub const PASSWORD: &str = "correct horse battery staple";

fn info(tag: &str) -> SnapshotInfo {
    SnapshotInfo {
        hostname: "a".into(),
        tags: vec![tag.into()],
    }
}

/// Small packs: many of them, and many requests, from little data.
fn small() -> WriteOptions {
    WriteOptions {
        pack_size: 48 << 10,
        ..WriteOptions::default()
    }
}

fn backup(repository: &Repository, source: &Path, tag: &str) -> Snapshot {
    let options = BackupOptions {
        write: small(),
        ..BackupOptions::new("data", info(tag))
    };
    let progress = Progress::default();
    let result = repository.backup_directory(source, &options, &progress);
    result.unwrap().snapshot
}

fn everything(max_unused: f64) -> PruneOptions {
    PruneOptions {
        max_unused,
        grace: Duration::ZERO,
        write: small(),
        ..PruneOptions::default()
    }
}

fn prune(repository: &Repository, max_unused: f64) -> Result<PruneReport, Error> {
    repository.prune(&everything(max_unused), &Progress::default())
}

#[track_caller]
fn assert_whole(repository: &Repository) {
    let report = repository.check(true, &Progress::default()).unwrap();
    assert_eq!(report.faults, []);
}

/// Three snapshots that share half of what they have, the first two of which are forgotten. Returns the last.
fn wasteful(repository: &Repository, folder: &Path) -> (PathBuf, Snapshot) {
    let source = folder.join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    let mut snapshots = Vec::new();
    for round in 0..3u64 {
        for file in 0..12u64 {
            // A third changes every time; the rest is written once, so that packs hold both.
            let seed = if file % 3 == 0 { 100 * round } else { 0 } + file + 1;
            let place = if file % 2 == 0 { "deep/er" } else { "." };
            let content = torture::noise(seed, 17_000);
            fs::write(source.join(place).join(format!("f{file}")), content).unwrap();
        }
        snapshots.push(backup(repository, &source, &format!("round={round}")));
    }
    let last = snapshots.pop().unwrap();
    for snapshot in snapshots {
        repository.forget(&snapshot.id.unwrap()).unwrap();
    }
    (source, last)
}

fn restored_is(repository: &Repository, snapshot: &Snapshot, source: &Path) {
    let target = tempfile::tempdir().unwrap();
    let options = RestoreOptions::new("data");
    let restored =
        repository.restore_directory(snapshot, target.path(), &options, &Progress::default());
    assert_eq!(restored.unwrap().losses, []);
    torture::assert_same(source, target.path());
}

pub async fn copy_of(store: &dyn ObjectStore) -> Arc<InMemory> {
    let copy = InMemory::new();
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    for meta in listed {
        let data = store.get(&meta.location).await.unwrap();
        let data = data.bytes().await.unwrap();
        copy.put(&meta.location, data.into()).await.unwrap();
    }
    Arc::new(copy)
}

#[test]
fn a_prune_frees_what_nobody_needs_and_keeps_the_rest() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::init(Arc::new(InMemory::new()), PASSWORD).unwrap();
    let (source, last) = wasteful(&repository, folder.path());
    let progress = Progress::default();
    let before = repository.statistics(&progress).unwrap();
    assert!(before.unused_bytes > 100_000, "{before:?}");

    let dry = PruneOptions {
        dry_run: true,
        ..everything(0.0)
    };
    let said = repository.prune(&dry, &progress).unwrap();
    assert_eq!(repository.statistics(&progress).unwrap(), before);
    let done = prune(&repository, 0.0).unwrap();
    assert_eq!(said.packs_removed, done.packs_removed);
    assert!(done.packs_rewritten > 0 && done.packs_kept > 0, "{done:?}");
    let after = repository.statistics(&progress).unwrap();
    assert_eq!((after.unused_bytes, after.unindexed_packs), (0, 0));
    assert!(after.stored_bytes < before.stored_bytes - 100_000);
    assert_whole(&repository);
    // The same handle, which saw all the old packs, and another one.
    restored_is(&repository, &last, &source);
    let again = backup(&repository, &source, "again");
    assert_whole(&repository);
    restored_is(&repository, &again, &source);
    assert_eq!(prune(&repository, 0.0).unwrap().packs_removed, 0);
}

#[test]
fn a_prune_killed_at_any_request_loses_nothing_and_the_next_one_finishes() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let origin = Arc::new(InMemory::new());
    let repository = Repository::init(origin.clone(), PASSWORD).unwrap();
    let (source, last) = wasteful(&repository, folder.path());
    let expected = repository.digest(&last, "data").unwrap();
    let open = |store: Arc<dyn ObjectStore>| {
        Repository::open_with_master_key(store, repository.master_key()).unwrap()
    };
    let mut call = 0;
    loop {
        let store = runtime.block_on(copy_of(&*origin));
        let faulty = Faulty::new(store.clone());
        let dying = open(Arc::new(faulty.clone()));
        faulty.die_at(call);
        let killed = prune(&dying, 0.0);
        faulty.heal();
        let fresh = open(store);
        // The killed process's lock: it lives, as far as anybody can tell.
        fresh.unlock(true).unwrap();
        assert_whole(&fresh);
        assert_eq!(fresh.digest(&last, "data").unwrap(), expected, "{call}");
        prune(&fresh, 0.0).unwrap();
        assert_whole(&fresh);
        let figures = fresh.statistics(&Progress::default()).unwrap();
        assert_eq!((figures.unused_bytes, figures.unindexed_packs), (0, 0));
        if call % 16 == 0 {
            restored_is(&fresh, &last, &source);
        }
        if killed.is_ok() {
            break;
        }
        call += 1;
    }
    assert!(
        call > 40,
        "{call} requests are too few for this to mean much"
    );
}

#[test]
fn saves_and_prunes_through_a_store_that_stumbles_end_whole() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..=6 {
        let place = folder.path().join(format!("store-{seed}"));
        fs::create_dir(&place).unwrap();
        let store = LocalFileSystem::new_with_prefix(&place).unwrap();
        let faulty = Faulty::new(Arc::new(store));
        let repository = Repository::init(Arc::new(faulty.clone()), PASSWORD).unwrap();
        faulty.stumble(seed);
        let (source, last) = wasteful(&repository, &folder.path().join(seed.to_string()));
        prune(&repository, 0.0).unwrap();
        faulty.heal();
        assert_whole(&repository);
        restored_is(&repository, &last, &source);
        if seed % 3 == 0 {
            run(restic(&place).args(["check", "--read-data"]));
        }
    }
}

fn restic(store: &Path) -> Command {
    let mut command = Command::new("restic");
    command
        .args(["--no-cache", "-r"])
        .arg(store.join("repo"))
        .env("RESTIC_PASSWORD", PASSWORD);
    command
}

fn folder_store(folder: &Path) -> Arc<LocalFileSystem> {
    fs::create_dir_all(folder).unwrap();
    Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap())
}

#[test]
fn restic_and_ferry_prune_behind_each_other() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let repository = Repository::init(folder_store(&place), PASSWORD).unwrap();
    let (source, first) = wasteful(&repository, folder.path());
    prune(&repository, 0.0).unwrap();
    let checked = run(restic(&place).args(["check", "--read-data"]));
    assert!(checked.contains("no errors were found"), "{checked}");
    assert!(!checked.contains("not referenced"), "{checked}");
    run(restic(&place)
        .arg("backup")
        .arg(&source)
        .args(["--tag", "theirs"]));
    fs::write(source.join("new"), torture::noise(77, 60_000)).unwrap();
    let second = backup(&repository, &source, "new");
    // restic removes the packs that this very handle has in its index.
    run(restic(&place).args(["forget", "--tag", "theirs", "--keep-last", "1"]));
    run(restic(&place)
        .arg("forget")
        .arg(first.id.unwrap().to_string()));
    fs::remove_file(source.join("new")).unwrap();
    let third = backup(&repository, &source, "third");
    run(restic(&place)
        .arg("forget")
        .arg(second.id.unwrap().to_string()));
    run(restic(&place).args(["prune", "--max-unused", "0"]));
    assert_whole(&repository);
    fs::write(source.join("new"), torture::noise(77, 60_000)).unwrap();
    let last = backup(&repository, &source, "last");
    assert_whole(&repository);
    restored_is(&repository, &last, &source);
    repository.forget(&third.id.unwrap()).unwrap();
    prune(&repository, 0.0).unwrap();
    run(restic(&place).args(["check", "--read-data"]));
}

#[test]
fn locks_of_either_program_are_respected_by_the_other() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let repository = Repository::init(folder_store(&place), PASSWORD).unwrap();
    let other = Repository::open(folder_store(&place), PASSWORD).unwrap();
    let shared = repository.lock().unwrap();
    assert!(matches!(prune(&other, 0.0), Err(Error::Locked { .. })));
    let refused = restic(&place).arg("prune").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("lock"), "{said}");
    shared.release().unwrap();
    let exclusive = repository.lock_exclusively().unwrap();
    let refused = restic(&place).args(["backup", "/etc/hostname"]).output();
    assert!(!refused.unwrap().status.success());
    assert!(matches!(
        other.check(false, &Progress::default()),
        Err(Error::Locked {
            exclusive: true,
            ..
        })
    ));
    // It is held by a process that lives: only force removes it.
    assert_eq!(other.unlock(false).unwrap(), 0);
    assert_eq!(other.unlock(true).unwrap(), 1);
    drop(exclusive);
    prune(&other, 0.0).unwrap();
    assert!(other.list_sealed("repo/locks").unwrap().is_empty());
}

/// The files of a folder, by their paths.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn every_object_that_is_cut_flipped_swapped_or_gone_is_found_and_nothing_is_pruned_then() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("store");
    let repository = Repository::init(folder_store(&place), PASSWORD).unwrap();
    wasteful(&repository, folder.path());
    prune(&repository, 0.0).unwrap();
    let master = repository.master_key();
    let all = files(&place.join("repo"));
    let is_pack = |path: &Path| path.starts_with(place.join("repo/data"));
    let some_pack = all.keys().find(|path| is_pack(path)).unwrap();
    for (path, good) in &all {
        let flipped = |at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 4;
            Some(bad)
        };
        let swapped = (path != some_pack && is_pack(path)).then(|| all[some_pack].clone());
        let harms = [
            ("flipped", flipped(good.len() / 2)),
            ("flipped at its end", flipped(good.len() - 1)),
            ("cut", Some(good[..good.len() - 1].to_vec())),
            ("swapped", swapped.or(flipped(0))),
            ("gone", None),
        ];
        for (harm, bad) in harms {
            match bad {
                Some(bad) => fs::write(path, bad).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let name = path.strip_prefix(&place).unwrap().display().to_string();
            let found = Repository::open_with_master_key(folder_store(&place), master.clone())
                .and_then(|opened| opened.check(true, &Progress::default()));
            // A snapshot or a key that is gone was forgotten or removed, as far as anybody can tell.
            let forgotten = harm == "gone" && (name.contains("snapshots") || name.contains("keys"));
            match found {
                Ok(report) if forgotten => assert_eq!(report.faults, []),
                Ok(report) => {
                    assert!(!report.faults.is_empty(), "{name} {harm} is not found");
                    let opened =
                        Repository::open_with_master_key(folder_store(&place), master.clone());
                    let packs = files(&place.join("repo/data")).len();
                    let pruned = prune(&opened.unwrap(), 0.0);
                    let harmless = name.contains("keys") || pruned.is_ok() && is_pack(path);
                    assert!(harmless || pruned.is_err(), "{name} {harm}: {pruned:?}");
                    assert_eq!(
                        files(&place.join("repo/data")).len(),
                        packs,
                        "{name} {harm}"
                    );
                }
                Err(error) => assert!(name.ends_with("config"), "{name} {harm}: {error}"),
            }
            fs::write(path, good).unwrap();
        }
    }
    assert_whole(&repository);
}

#[test]
fn packs_of_an_interrupted_save_wait_for_it_and_go_when_they_are_old() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let faulty = Faulty::new(Arc::new(InMemory::new()));
    let repository = Repository::init(Arc::new(faulty.clone()), PASSWORD).unwrap();
    for file in 0..12 {
        let content = torture::noise(file, 60_000);
        fs::write(folder.path().join(file.to_string()), content).unwrap();
    }
    let options = BackupOptions {
        write: WriteOptions {
            workers: 1,
            ..small()
        },
        ..BackupOptions::new("data", info("t"))
    };
    faulty.die_at(8);
    repository
        .backup_directory(folder.path(), &options, &Progress::default())
        .unwrap_err();
    faulty.heal();
    let fresh = Repository::open_with_master_key(Arc::new(faulty), repository.master_key());
    let fresh = fresh.unwrap();
    fresh.unlock(true).unwrap();
    let patient = PruneOptions {
        grace: Duration::from_secs(3600),
        ..everything(0.0)
    };
    let waited = fresh.prune(&patient, &Progress::default()).unwrap();
    assert!(
        waited.packs_waiting > 0 && waited.packs_removed == 0,
        "{waited:?}"
    );
    let done = prune(&fresh, 0.0).unwrap();
    assert_eq!(done.packs_removed, waited.packs_waiting);
    assert_eq!(fresh.list_sealed("repo/data").unwrap(), [""; 0]);
}

#[test]
fn what_jobs_left_beside_the_repository_goes_after_half_a_year() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let repository = Repository::init(Arc::new(store), PASSWORD).unwrap();
    for (job, days) in [("long-ago", 181), ("lately", 179)] {
        let path = format!("state/{job}/result");
        repository.put_sealed(&path, b"{}").unwrap();
        let mut touch = Command::new("touch");
        run(touch
            .args(["-d", &format!("{days} days ago")])
            .arg(folder.path().join(path)));
    }
    let mut options = everything(0.0);
    options.dry_run = true;
    repository.prune(&options, &Progress::default()).unwrap();
    assert_eq!(repository.list_sealed("state").unwrap().len(), 2);
    prune(&repository, 0.0).unwrap();
    let left = repository.list_sealed("state").unwrap();
    assert_eq!(left, ["state/lately/result"]);
}
