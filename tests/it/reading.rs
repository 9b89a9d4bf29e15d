//! Files that are hard to read: large ones, damaged ones, and those that change meanwhile.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ferry::repository::{
    BackupOptions, ProblemKind, Progress, Repository, Snapshot, SnapshotInfo, VerifyOptions,
};
use object_store::memory::InMemory;

use crate::disk::Disk;
use crate::repository::{backup, restore};
use crate::restic_interop::runtime;
use crate::torture;

/// A snapshot has what is in the folder.
#[track_caller]
fn assert_holds(repository: &Repository, snapshot: &Snapshot, folder: &Path) {
    let options = VerifyOptions::new("data");
    let found = repository.verify_directory(snapshot, folder, &options, &Progress::default());
    assert_eq!(found.unwrap().differences, []);
}

#[test]
fn a_file_that_several_threads_read_comes_back_as_it_was() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    // Data across the first cut, a hole across the second, data and half a hole across the third, and an odd end.
    let cut = 256 << 20;
    let file = fs::File::create(source.join("disk")).unwrap();
    for (seed, offset, length) in [
        (1, 0, 3 << 20),
        (2, cut - (5 << 20), 9 << 20),
        (3, 3 * cut - (1 << 20), 1 << 20),
        (4, 3 * cut + (2 << 20), (1 << 20) + 7),
    ] {
        let noise = torture::noise(seed, length);
        file.write_all_at(&noise, offset).unwrap();
    }
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let saved = backup(&repository, &source, None).unwrap();
    assert_eq!(saved.problems, []);
    restore(&repository, &saved.snapshot, &target);
    torture::assert_same(&source, &target);
}

#[test]
fn a_large_file_that_the_disk_does_not_give_back_is_named_and_the_rest_is_saved() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (disk, target) = (Disk::new("mkfs.btrfs -q"), tempfile::tempdir().unwrap());
    // Behind a long hole, so that pieces of it still wait to be stored when the file turns out to be lost.
    let noise = torture::noise(1, 1 << 20);
    let large = fs::File::create(disk.path().join("large")).unwrap();
    large.write_all_at(&noise, 64 << 20).unwrap();
    drop(large);
    fs::write(disk.path().join("small"), "small").unwrap();
    disk.lose(&noise[..4096]);
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let saved = backup(&repository, &disk.path(), None).unwrap();
    let problems: Vec<_> = (saved.problems.iter())
        .map(|problem| (problem.path.as_str(), problem.kind))
        .collect();
    assert_eq!(problems, [("large", ProblemKind::Unreadable)]);
    restore(&repository, &saved.snapshot, target.path());
    assert_eq!(
        fs::read_to_string(target.path().join("small")).unwrap(),
        "small"
    );
}

#[test]
fn what_a_torn_file_was_taken_for_is_not_believed_by_the_next_save() {
    const SIZE: u64 = 64 << 20;
    let runtime = runtime();
    let _entered = runtime.enter();
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("torn");
    fs::write(&path, torture::noise(1, SIZE as usize)).unwrap();
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let progress = Progress::default();
    let mut options = BackupOptions::new("data", SnapshotInfo::default());
    options.accept_torn = true;
    let torn = std::thread::scope(|scope| {
        // Changes its beginning in the middle of each of three reads, and never again.
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            for read in 0..3 {
                while progress.bytes_done.load(Ordering::Relaxed) < read * SIZE + SIZE / 2 {
                    std::thread::yield_now();
                }
                file.write_all_at(&torture::noise(100 + read, 4096), 0)
                    .unwrap();
            }
        });
        repository.backup_directory(source.path(), &options, &progress)
    })
    .unwrap();
    assert_eq!(torn.problems[0].kind, ProblemKind::Torn);
    let next = backup(&repository, source.path(), Some(torn.snapshot)).unwrap();
    assert_eq!((next.unchanged, next.problems), (0, Vec::new()));
    assert_holds(&repository, &next.snapshot, source.path());
}

#[test]
fn a_change_that_leaves_all_times_as_they_are_is_found() {
    let runtime = runtime();
    let _entered = runtime.enter();
    // Inodes as small as that have room for whole seconds only.
    let disk = Disk::new("mkfs.ext4 -q -I 128");
    let path = disk.path().join("counter");
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let ctime = || {
        let stat = fs::metadata(&path).unwrap();
        (stat.ctime(), stat.ctime_nsec())
    };
    let mut last = None;
    // Twice within one second, at the latest at the next one's begin.
    let next = loop {
        fs::write(&path, "1").unwrap();
        let before = ctime();
        let first = backup(&repository, &disk.path(), last.take()).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(b"2", 0)
            .unwrap();
        let second = backup(&repository, &disk.path(), Some(first.snapshot)).unwrap();
        if ctime() == before {
            break second;
        }
        last = Some(second.snapshot);
    };
    assert_holds(&repository, &next.snapshot, &disk.path());
}
