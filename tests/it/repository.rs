//! The engine on real files: proof, resume after a kill, a store that fails, devices, and hostile input.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ferry::repository::{
    BackupOptions, BackupResult, DifferenceClass, Error, LossClass, Progress, Repository,
    RestoreOptions, Snapshot, SnapshotInfo, VerifyOptions, WriteOptions,
};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use crate::restic_interop::runtime;
use crate::torture;

pub fn backup(
    repository: &Repository,
    source: &Path,
    parent: Option<Snapshot>,
) -> Result<BackupResult, Error> {
    let info = SnapshotInfo {
        hostname: "a".into(),
        tags: Vec::new(),
    };
    let write = WriteOptions {
        pack_size: 1 << 20,
        ..WriteOptions::default()
    };
    let options = BackupOptions {
        parent,
        write,
        ..BackupOptions::new("data", info)
    };
    repository.backup_directory(source, &options, &Progress::default())
}

pub fn restore(repository: &Repository, snapshot: &Snapshot, target: &Path) {
    fs::create_dir_all(target).unwrap();
    let options = RestoreOptions::new("data");
    let restored = repository.restore_directory(snapshot, target, &options, &Progress::default());
    assert_eq!(restored.unwrap().losses, []);
}

/// Fails every call once a budget of them is used up, as if the process or the store had died.
#[derive(Debug)]
pub struct Mortal {
    store: InMemory,
    pub writes_left: AtomicI64,
    /// After so many checkpoints there is no other write.
    pub checkpoints_left: AtomicI64,
    bytes_written: AtomicU64,
    requests: AtomicU64,
    /// How often all packs were listed.
    pub listings: AtomicU64,
}

impl Mortal {
    pub fn new() -> Arc<Self> {
        Arc::new(Mortal {
            store: InMemory::new(),
            writes_left: AtomicI64::new(i64::MAX),
            checkpoints_left: AtomicI64::new(i64::MAX),
            bytes_written: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            listings: AtomicU64::new(0),
        })
    }

    fn asked(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    fn live(&self) -> StoreResult<()> {
        if self.writes_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        // Of a kind nobody retries: the test must not wait for backoff.
        Err(object_store::Error::PermissionDenied {
            path: "dead".into(),
            source: "dead".into(),
        })
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        data: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.asked();
        // Long enough for others to wait for it.
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.live()?;
        let is_checkpoint = path.as_ref().starts_with("state/");
        if is_checkpoint && self.checkpoints_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.writes_left.store(0, Ordering::SeqCst);
        }
        self.bytes_written
            .fetch_add(data.content_length() as u64, Ordering::SeqCst);
        self.store.put_opts(path, data, options).await
    }
    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &ObjectPath, options: GetOptions) -> StoreResult<GetResult> {
        self.asked();
        self.store.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<ObjectPath>>,
    ) -> BoxStream<'static, StoreResult<ObjectPath>> {
        self.asked();
        self.store.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.asked();
        let packs = prefix.is_some_and(|prefix| prefix.as_ref() == "repo/data");
        self.listings.fetch_add(u64::from(packs), Ordering::SeqCst);
        self.store.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> StoreResult<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }
    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> StoreResult<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[test]
fn verify_proves_equality_and_names_every_difference() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    torture::create(&source);
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let result = backup(&repository, &source, None).unwrap();
    restore(&repository, &result.snapshot, &target);
    let verify = || {
        let options = VerifyOptions::new("data");
        repository
            .verify_directory(&result.snapshot, &target, &options, &Progress::default())
            .unwrap()
    };
    let proof = verify();
    assert_eq!(proof.differences, []);
    assert_eq!(proof.expected, proof.found);
    assert_eq!(proof.expected.totals, result.totals);
    assert_eq!(
        proof.expected,
        repository.digest(&result.snapshot, "data").unwrap()
    );
    assert!(proof.is_equal_except(&[]));

    rustix::fs::chown(
        target.join("zero"),
        Some(rustix::fs::Uid::from_raw(7)),
        None,
    )
    .unwrap();
    let proof = verify();
    assert!(!proof.is_equal_except(&[]) && proof.is_equal_except(&[LossClass::Owner]));
    fs::write(target.join("extra"), "e").unwrap();
    fs::remove_file(target.join("many/0007")).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(target.join("big"))
        .unwrap()
        .write_all_at(b"X", 9 << 20)
        .unwrap();
    fs::remove_file(target.join("hard-2")).unwrap();
    fs::copy(target.join("hard-1"), target.join("hard-2")).unwrap();
    let proof = verify();
    let seen = |path: &str, class| {
        proof
            .differences
            .iter()
            .any(|d| d.path == path && d.class == class)
    };
    assert!(seen("extra", DifferenceClass::Extra));
    assert!(seen("many/0007", DifferenceClass::Missing));
    assert!(seen("big", DifferenceClass::Content));
    assert!(seen(
        "hard-2",
        DifferenceClass::Attribute(LossClass::HardLink)
    ));
    assert_ne!(proof.expected.digest, proof.found.digest);

    // A second restore repairs all of it, and writes little more than what was wrong.
    let options = RestoreOptions {
        delete_extra: true,
        ..RestoreOptions::new("data")
    };
    let repaired = repository
        .restore_directory(&result.snapshot, &target, &options, &Progress::default())
        .unwrap();
    assert_eq!(
        (repaired.losses, repaired.extra),
        (vec![], vec!["extra".to_owned()])
    );
    assert!(
        repaired.bytes_written < 5 << 20,
        "{}",
        repaired.bytes_written
    );
    torture::assert_same(&source, &target);
    assert_eq!(verify().differences, []);
}

#[test]
fn a_backup_killed_at_any_write_is_finished_by_the_next_without_sending_data_twice() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    for number in 0..12 {
        fs::write(
            source.join(format!("f{number}")),
            torture::noise(number, 1 << 20),
        )
        .unwrap();
    }
    let total = 12 << 20;
    for budget in 1..20 {
        let store = Mortal::new();
        let repository = Repository::init(store.clone(), "p").unwrap();
        store.writes_left.store(budget, Ordering::SeqCst);
        let killed = backup(&repository, &source, None);
        let sent = store.bytes_written.load(Ordering::SeqCst);
        if killed.is_ok() {
            assert!(budget > 12, "{budget} writes cannot be enough");
            continue;
        }
        store.writes_left.store(i64::MAX, Ordering::SeqCst);
        let reopened =
            Repository::open_with_master_key(store.clone(), repository.master_key()).unwrap();
        assert_eq!(reopened.snapshots::<&str>(&[]).unwrap(), []);
        let result = backup(&reopened, &source, None).unwrap();
        let again = store.bytes_written.load(Ordering::SeqCst) - sent;
        // What was durable is not sent again; only seals and trees add to the rest.
        if budget == 8 {
            assert!(result.packs_adopted >= 5, "{}", result.packs_adopted);
        }
        assert!(
            sent + again < total + (1 << 19),
            "{budget}: {sent} + {again}"
        );
        let fresh = Repository::open_with_master_key(store, repository.master_key()).unwrap();
        restore(&fresh, &result.snapshot, &target.join(budget.to_string()));
        torture::assert_same(&source, &target.join(budget.to_string()));
    }
}

#[test]
fn an_unchanged_tree_of_many_directories_costs_a_handful_of_requests() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let source = tempfile::tempdir().unwrap();
    for number in 0..600 {
        let folder = format!("{}/{}/{number}", number % 4, number % 20);
        let folder = source.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), number.to_string()).unwrap();
    }
    let store = Mortal::new();
    let repository = Repository::init(store.clone(), "p").unwrap();
    let first = backup(&repository, source.path(), None).unwrap();
    let before = store.requests.load(Ordering::SeqCst);
    let reopened =
        Repository::open_with_master_key(store.clone(), repository.master_key()).unwrap();
    let second = backup(&reopened, source.path(), Some(first.snapshot.clone())).unwrap();
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    // Config, lock, other locks, index, its file, packs, all trees, snapshot, and the lock again.
    let requests = store.requests.load(Ordering::SeqCst) - before;
    assert!(requests <= 9, "{requests} requests");
}

#[test]
fn a_failed_backup_can_be_repeated_on_the_same_handle() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), torture::noise(1, 3 << 20)).unwrap();
    let store = Mortal::new();
    let repository = Repository::init(store.clone(), "p").unwrap();
    store.writes_left.store(3, Ordering::SeqCst);
    let failed = backup(&repository, folder.path(), None).unwrap_err();
    assert!(
        matches!(
            failed,
            Error::Store {
                operation: "write",
                ..
            }
        ),
        "{failed:?}"
    );
    assert!(!failed.retryable());
    store.writes_left.store(i64::MAX, Ordering::SeqCst);
    let result = backup(&repository, folder.path(), None).unwrap();
    let target = tempfile::tempdir().unwrap();
    // Read through another handle: what the first one still remembers must be in the store too.
    let fresh = Repository::open_with_master_key(store, repository.master_key()).unwrap();
    restore(&fresh, &result.snapshot, target.path());
    torture::assert_same(folder.path(), target.path());
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_saved() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let missing = Path::new("/nonexistent/source");
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    assert!(matches!(
        backup(&repository, missing, None),
        Err(Error::Local { .. })
    ));
    let progress = Progress::default();
    progress.cancel();
    let options = BackupOptions::new("data", SnapshotInfo::default());
    let cancelled = repository.backup_directory(Path::new("/etc"), &options, &progress);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert!(repository.snapshots::<&str>(&[]).unwrap().is_empty());
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, repo) = (folder.path().join("source"), folder.path().join("store"));
    fs::create_dir_all(&source).unwrap();
    fs::create_dir(&repo).unwrap();
    fs::write(source.join("f"), torture::noise(1, 100_000)).unwrap();
    let store = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(&repo).unwrap());
    let repository = Repository::init(store.clone(), "p").unwrap();
    let snapshot = backup(&repository, &source, None).unwrap().snapshot;
    for (round, kind) in ["data", "index", "snapshots"].iter().enumerate() {
        for path in repository.list_sealed(&format!("repo/{kind}")).unwrap() {
            let path = repo.join(path);
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            let middle = bad.len() / 2;
            bad[middle] ^= 1;
            fs::write(&path, &bad).unwrap();
            let opened =
                Repository::open_with_master_key(store.clone(), repository.master_key()).unwrap();
            let target = tempfile::tempdir().unwrap();
            let options = RestoreOptions::new("data");
            let found = opened.snapshot(&snapshot.id.unwrap().to_string());
            let result = found.and_then(|snapshot| {
                opened.restore_directory(&snapshot, target.path(), &options, &Progress::default())
            });
            assert!(
                matches!(result, Err(Error::Tampered { .. })),
                "{round} {}",
                path.display()
            );
            fs::write(&path, &good).unwrap();
        }
    }
}

#[test]
fn a_device_comes_back_equal_and_an_increment_sends_only_what_changed() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("disk"), folder.path().join("target"));
    // Three extents: data, zeros, and a last one that is no whole number of blocks.
    let size = (2 << 30) + (5 << 20) + 12_345;
    let disk = fs::File::create(&source).unwrap();
    disk.set_len(size).unwrap();
    disk.write_all_at(&torture::noise(1, 6 << 20), 100 << 20)
        .unwrap();
    disk.write_all_at(b"end", size - 3).unwrap();
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let options = BackupOptions::new("disk", SnapshotInfo::default());
    let first = repository
        .backup_device(&source, &options, &Progress::default())
        .unwrap();
    assert_eq!((first.totals.bytes, first.totals.files), (size, 2));
    disk.write_all_at(b"change", 103 << 20).unwrap();
    let second = repository
        .backup_device(&source, &options, &Progress::default())
        .unwrap();
    assert!(second.bytes_added < 2 << 20, "{}", second.bytes_added);

    let mut open = fs::OpenOptions::new();
    let small = open
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&target)
        .unwrap();
    small.set_len(size - 1).unwrap();
    let restore = |snapshot: &Snapshot| {
        let options = RestoreOptions::new("disk");
        repository.restore_device(snapshot, &target, &options, &Progress::default())
    };
    assert!(matches!(
        restore(&second.snapshot),
        Err(Error::TargetTooSmall { .. })
    ));
    small.set_len(size + 999).unwrap();
    small
        .write_all_at(&torture::noise(8, 3 << 20), 1500 << 20)
        .unwrap();
    let restored = restore(&second.snapshot).unwrap();
    assert!(
        restored.bytes_written < 12 << 20,
        "{}",
        restored.bytes_written
    );
    let proof = repository
        .verify_device(&second.snapshot, &target, "disk", &Progress::default())
        .unwrap();
    assert_eq!((proof.expected, &proof.different), (proof.found, &vec![]));
    let mut there = vec![0; 6 << 20];
    small.read_exact_at(&mut there, 100 << 20).unwrap();
    let mut expected = torture::noise(1, 6 << 20);
    expected[3 << 20..(3 << 20) + 6].copy_from_slice(b"change");
    assert!(there == expected);
    let proof = repository
        .verify_device(&first.snapshot, &target, "disk", &Progress::default())
        .unwrap();
    assert_eq!(proof.different, [103 << 20]);
}

#[test]
fn a_restore_goes_through_no_link_that_lies_in_the_target() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let outside = folder.path().join("outside");
    fs::create_dir_all(source.join("d")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&target).unwrap();
    fs::write(source.join("d/file"), b"inside").unwrap();
    fs::write(source.join("file"), b"inside").unwrap();
    fs::write(outside.join("file"), b"untouched").unwrap();
    std::os::unix::fs::symlink(&outside, target.join("d")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), target.join("file")).unwrap();
    let repository = Repository::init(Arc::new(InMemory::new()), "p").unwrap();
    let snapshot = backup(&repository, &source, None).unwrap().snapshot;
    restore(&repository, &snapshot, &target);
    torture::assert_same(&source, &target);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
}

#[test]
fn a_full_disk_under_the_store_is_said_so_and_the_next_run_finishes() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
    let runtime = runtime();
    let _entered = runtime.enter();
    assert!(
        torture::is_root(),
        "this test mounts a small tmpfs: run it as root"
    );
    let folder = tempfile::tempdir().unwrap();
    let (source, disk) = (folder.path().join("source"), folder.path().join("disk"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&disk).unwrap();
    fs::write(source.join("f"), torture::noise(1, 12 << 20)).unwrap();
    mount("none", &disk, "tmpfs", MountFlags::empty(), c"size=8m").unwrap();
    let store = object_store::local::LocalFileSystem::new_with_prefix(&disk)
        .unwrap()
        .with_fsync(true);
    let store = Arc::new(store);
    let repository = Repository::init(store.clone(), "p").unwrap();
    let full = backup(&repository, &source, None);
    mount_remount(&disk, MountFlags::empty(), c"size=40m").unwrap();
    let repeated = backup(&repository, &source, None).unwrap();
    let fresh = Repository::open(store, "p").unwrap();
    let target = folder.path().join("target");
    restore(&fresh, &repeated.snapshot, &target);
    unmount(&disk, UnmountFlags::DETACH).unwrap();
    assert!(matches!(full, Err(Error::StoreFull { .. })), "{full:?}");
    assert!(repeated.bytes_added < 12 << 20, "{}", repeated.bytes_added);
    torture::assert_same(&source, &target);
}
