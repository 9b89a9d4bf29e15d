//! What a killed save had read is not read again, and what comes of it is the same.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferry::repository::{
    BackupOptions, BackupResult, CheckpointOptions, Error, Progress, Repository, Snapshot,
    SnapshotInfo, WriteOptions,
};
use object_store::memory::InMemory;
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::repository::{Mortal, backup, restore};
use crate::restic_interop::runtime;
use crate::torture;

/// Keeps what was read as often as it can, of a source that is a copy of `frozen`.
fn options(frozen: Option<&str>) -> BackupOptions {
    let checkpoint = CheckpointOptions {
        every: Duration::from_millis(2),
        frozen: frozen.map(Into::into),
        ..CheckpointOptions::new("a", "source")
    };
    let write = WriteOptions {
        pack_size: 1 << 20,
        ..WriteOptions::default()
    };
    BackupOptions {
        checkpoint: Some(checkpoint),
        write,
        ..BackupOptions::new("data", SnapshotInfo::default())
    }
}

/// Whether the tree of a checkpoint has files.
fn has_files(repository: &Repository, kept: &Value) -> bool {
    if kept["tree"].is_null() {
        return false;
    }
    let snapshot = json!({"time": "2026-01-01T00:00:00Z", "tree": kept["tree"]});
    let snapshot: Snapshot = serde_json::from_value(snapshot).unwrap();
    let digest = repository.digest(&snapshot, "");
    digest.is_ok_and(|digest| digest.totals.files > 0)
}

/// Saves until a checkpoint is there that is `enough`, then no further.
fn interrupt(
    repository: &Repository,
    enough: impl Fn(&Value) -> bool + Sync,
    save: impl FnOnce(&Progress) -> Result<BackupResult, Error>,
) {
    let progress = Progress::default();
    let path = options(None).checkpoint.unwrap().path;
    let over = AtomicBool::new(false);
    let saved = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let kept = repository.get_sealed(&path);
                let kept = kept.map(|plain| serde_json::from_slice(&plain).unwrap());
                if kept.is_ok_and(|kept| enough(&kept)) {
                    progress.cancel();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let saved = save(&progress);
        over.store(true, Ordering::SeqCst);
        saved
    });
    assert!(matches!(saved, Err(Error::Cancelled)), "{saved:?}");
}

/// A store after a save that it let come to so many checkpoints; `None` if that was enough to end it.
fn killed(
    checkpoints: i64,
    save: impl FnOnce(&Repository) -> Result<BackupResult, Error>,
) -> Option<Repository> {
    let store = Mortal::new();
    let repository = Repository::init(store.clone(), "p").unwrap();
    store.checkpoints_left.store(checkpoints, Ordering::SeqCst);
    match save(&repository) {
        Ok(_) => return None,
        Err(Error::Store { .. }) => {}
        // A checkpoint waits for packs, and must not take their failure for its own.
        Err(error) => panic!("not the store's own words: {error:?}"),
    }
    store.writes_left.store(i64::MAX, Ordering::SeqCst);
    Some(Repository::open_with_master_key(store, repository.master_key()).unwrap())
}

/// Nobody needs it any more.
fn assert_removed(repository: &Repository) {
    assert_eq!(
        repository.list_sealed("state").unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_tree_is_read_on_from_any_checkpoint() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    for number in 0..40 {
        let inner = source.join(format!("{}/{number:03}/deep", number % 3));
        fs::create_dir_all(&inner).unwrap();
        fs::write(
            inner.join("file"),
            torture::noise(number, 40_000 + number as usize),
        )
        .unwrap();
    }
    // A directory that is compressed while it is written, with another one open in the middle of it.
    let wide = source.join("1/wide");
    fs::create_dir_all(wide.join("02500")).unwrap();
    fs::write(wide.join("02500/file"), "inside").unwrap();
    for number in 0..20_000 {
        fs::write(wide.join(format!("{number:05}-entry")), "").unwrap();
    }
    let whole = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let save = |repository: &Repository| {
        repository.backup_directory(&source, &options(None), &Progress::default())
    };
    let tree = save(&whole).unwrap().snapshot.tree;
    assert_removed(&whole);
    let mut taken_over = 0;
    for checkpoints in (1..60).step_by(4) {
        let Some(reopened) = killed(checkpoints, save) else {
            break;
        };
        let second = save(&reopened).unwrap();
        assert_eq!((second.problems, second.snapshot.tree), (Vec::new(), tree));
        taken_over = taken_over.max(second.unchanged);
        assert_removed(&reopened);
        let check = reopened.check(true, &Progress::default()).unwrap();
        assert_eq!(check.faults, []);
    }
    assert!(taken_over > 3000, "{taken_over} of 20041 were not read");
}

#[test]
fn what_was_read_of_a_large_file_is_not_read_again() {
    const SEGMENT: u64 = 256 << 20;
    let runtime = runtime();
    let _entered = runtime.enter();
    let disk = Disk::new("mkfs.btrfs -q");
    let target = tempfile::tempdir().unwrap();
    let noise: Vec<Vec<u8>> = (0..4).map(|seed| torture::noise(seed, 24 << 20)).collect();
    let write = |folder: &Path| {
        let file = fs::File::create(folder.join("large")).unwrap();
        for (number, noise) in (0..).zip(&noise) {
            file.write_all_at(noise, number * SEGMENT).unwrap();
        }
    };
    write(&disk.path());
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    // All of it has arrived once, so that it is about reading only.
    let known = tempfile::tempdir().unwrap();
    write(known.path());
    assert!(backup(&repository, known.path(), None).unwrap().bytes_added > 0);
    let save =
        |progress: &Progress| repository.backup_directory(&disk.path(), &options(None), progress);
    interrupt(
        &repository,
        |kept| kept["large"][0]["segments"][0].is_object(),
        save,
    );
    // It could not be read any more.
    disk.lose(&noise[0][8 << 20..(8 << 20) + 4096]);
    fs::read(disk.path().join("large")).unwrap_err();
    let saved = save(&Progress::default()).unwrap();
    assert_eq!(saved.problems, []);
    assert_removed(&repository);
    restore(&repository, &saved.snapshot, target.path());
    let restored = fs::File::open(target.path().join("large")).unwrap();
    for (number, noise) in (0..).zip(&noise) {
        let mut found = vec![0; noise.len()];
        restored
            .read_exact_at(&mut found, number * SEGMENT)
            .unwrap();
        assert!(found == *noise, "segment {number}");
    }
}

#[test]
fn a_large_file_that_changed_after_the_kill_is_read_again() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = fs::File::create(source.path().join("large")).unwrap();
    for number in 0..4 {
        file.write_all_at(&torture::noise(number, 24 << 20), number << 28)
            .unwrap();
    }
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let save =
        |progress: &Progress| repository.backup_directory(source.path(), &options(None), progress);
    interrupt(
        &repository,
        |kept| kept["large"][0]["segments"][0].is_object(),
        save,
    );
    file.write_all_at(b"new", 77).unwrap();
    let saved = save(&Progress::default()).unwrap();
    restore(&repository, &saved.snapshot, target.path());
    torture::assert_same(source.path(), target.path());
}

#[test]
fn of_a_device_what_was_read_counts_for_the_same_snapshot_only() {
    const EXTENT: u64 = 1 << 30;
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("device");
    let file = fs::File::create(&device).unwrap();
    file.set_len(3 * EXTENT).unwrap();
    for (number, length) in [(0, 1 << 20), (2, 48 << 20)] {
        let noise = torture::noise(number, length);
        file.write_all_at(&noise, (number + 1) * EXTENT - length as u64)
            .unwrap();
    }
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let save = |frozen, progress: &Progress| {
        repository.backup_device(&device, &options(Some(frozen)), progress)
    };
    // All of it has arrived once, so that it is about reading only.
    let known = BackupOptions::new("data", SnapshotInfo::default());
    let known = repository.backup_device(&device, &known, &Progress::default());
    assert!(known.unwrap().bytes_added > 0);
    // The last extent is still read then.
    let first = |kept: &Value| has_files(&repository, kept);
    interrupt(&repository, first, |progress| save("snap-1", progress));
    // No snapshot does that: it shows who looks.
    file.write_all_at(b"changed", 0).unwrap();
    let found = |saved: &BackupResult| {
        repository
            .verify_device(&saved.snapshot, &device, "data", &Progress::default())
            .unwrap()
            .different
    };
    let same = save("snap-1", &Progress::default()).unwrap();
    assert_eq!(found(&same), [0]);
    assert_removed(&repository);
    interrupt(&repository, first, |progress| save("snap-1", progress));
    let other = save("snap-2", &Progress::default()).unwrap();
    assert_eq!(found(&other), Vec::<u64>::new());
}

#[test]
fn packs_are_listed_only_when_a_save_was_interrupted() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let source = tempfile::tempdir().unwrap();
    for number in 0..8 {
        let noise = torture::noise(number, 1 << 20);
        fs::write(source.path().join(number.to_string()), noise).unwrap();
    }
    let store = Mortal::new();
    let repository = Repository::init(store.clone(), "p").unwrap();
    let key = repository.master_key();
    let options = BackupOptions {
        checkpoint: Some(CheckpointOptions::new("a", "source")),
        ..options(None)
    };
    let save = || {
        let repository = Repository::open_with_master_key(store.clone(), key.clone()).unwrap();
        repository.backup_directory(source.path(), &options, &Progress::default())
    };
    let listings = || store.listings.load(Ordering::SeqCst);
    store.writes_left.store(5, Ordering::SeqCst);
    save().unwrap_err();
    store.writes_left.store(i64::MAX, Ordering::SeqCst);
    assert_eq!(listings(), 0);
    assert!(save().unwrap().packs_adopted > 0);
    assert_eq!(listings(), 1);
    fs::write(source.path().join("new"), torture::noise(9, 1 << 20)).unwrap();
    assert_eq!(save().unwrap().packs_adopted, 0);
    assert_eq!(listings(), 1);
    assert_removed(&repository);
}

#[test]
fn links_of_one_file_are_still_links_when_a_checkpoint_came_between_them() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let disk = Disk::new("mkfs.ext4 -q");
    for folder in ["a", "m", "z"] {
        fs::create_dir(disk.path().join(folder)).unwrap();
    }
    for number in 0..10_000 {
        fs::write(disk.path().join(format!("m/{number}")), "").unwrap();
    }
    fs::write(disk.path().join("a/one"), "linked").unwrap();
    fs::hard_link(disk.path().join("a/one"), disk.path().join("z/two")).unwrap();
    let device = || fs::metadata(disk.path()).unwrap().dev();
    let save = |repository: &Repository| {
        repository.backup_directory(&disk.path(), &options(None), &Progress::default())
    };
    let (mut resumed, mut others) = (0, Vec::new());
    for checkpoints in 1..8 {
        let Some(reopened) = killed(checkpoints, save) else {
            break;
        };
        // The next mover gets the volume under another number.
        let before = device();
        while device() == before {
            disk.unmount();
            others.push(Disk::new("mkfs.ext4 -q"));
            disk.mount();
        }
        let saved = save(&reopened).unwrap();
        resumed = resumed.max(saved.unchanged);
        let target = tempfile::tempdir().unwrap();
        restore(&reopened, &saved.snapshot, target.path());
        let inode = |name: &str| fs::metadata(target.path().join(name)).unwrap().ino();
        assert_eq!(inode("a/one"), inode("z/two"), "{checkpoints}");
    }
    assert!(resumed > 0);
}
