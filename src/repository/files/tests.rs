use std::convert::Infallible;
use std::sync::Arc;

use object_store::memory::InMemory;

use super::super::MasterKey;
use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn files() -> Vec<FileEntry> {
    vec![
        ("capture.yaml".into(), b"kind: Capture\n".to_vec()),
        (
            "objects/shop/apps/Deployment/web.yaml".into(),
            vec![b'x'; 5 << 20],
        ),
        (
            "objects/shop/apps/Deployment/api.yaml".into(),
            b"a".to_vec(),
        ),
        ("objects/_cluster/empty.yaml".into(), Vec::new()),
    ]
}

fn save(repository: &Repository, files: Vec<FileEntry>, info: &SnapshotInfo) -> Result<Snapshot> {
    let files = files.into_iter().map(Ok::<_, Infallible>);
    repository
        .save_files(files, info)
        .map(|Ok(snapshot)| snapshot)
}

#[test]
fn files_come_back_sorted_and_equal_after_a_reopen_with_each_kind_of_key() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let store = Arc::new(InMemory::new());
    let repository = Repository::init(store.clone(), "secret").unwrap();
    let info = SnapshotInfo {
        hostname: "a".into(),
        tags: vec!["capture=1".into(), "x".into()],
    };
    let saved = save(&repository, files(), &info).unwrap();
    let master = repository.master_key();
    let mut expected = files();
    expected.sort();
    for opened in [
        Repository::open(store.clone(), "secret").unwrap(),
        Repository::open_with_master_key(store.clone(), master).unwrap(),
    ] {
        let snapshots = opened.snapshots(&["capture=1"]).unwrap();
        assert_eq!(snapshots, std::slice::from_ref(&saved));
        let found: Vec<_> = opened
            .read_files(&saved)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(
            opened.read_file(&saved, "/capture.yaml").unwrap(),
            b"kind: Capture\n"
        );
        assert!(opened.snapshots(&["capture=2"]).unwrap().is_empty());
        assert_eq!(opened.snapshot(&saved.id.unwrap().short()).unwrap(), saved);
    }
    repository.forget(&saved.id.unwrap()).unwrap();
    assert!(repository.snapshots::<&str>(&[]).unwrap().is_empty());
    assert!(repository.list_sealed("repo/locks").unwrap().is_empty());
}

#[test]
fn wrong_input_is_told_apart() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let store = Arc::new(InMemory::new());
    assert!(matches!(
        Repository::open(store.clone(), "s"),
        Err(Error::NotARepository { .. })
    ));
    let repository = Repository::init(store.clone(), "s").unwrap();
    assert!(matches!(
        Repository::init(store.clone(), "s"),
        Err(Error::AlreadyInitialized { .. })
    ));
    assert!(matches!(
        Repository::open(store.clone(), "t"),
        Err(Error::WrongPassword { keys: 1 })
    ));
    let other = Repository::open_with_master_key(store, MasterKey::generate());
    assert!(matches!(other, Err(Error::Tampered { .. })));
    for path in ["", "/", "a/../b", "a//b"] {
        let files = vec![(path.into(), Vec::new())];
        let result = save(&repository, files, &SnapshotInfo::default());
        assert!(matches!(result, Err(Error::Damaged { .. })), "{path}");
    }
    let twice = vec![("a/b".into(), Vec::new()), ("a".into(), Vec::new())];
    assert!(save(&repository, twice, &SnapshotInfo::default()).is_err());
}

#[test]
fn a_file_that_cannot_be_made_leaves_no_snapshot_and_no_lock() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let repository = Repository::init(Arc::new(InMemory::new()), "s").unwrap();
    let files = [Ok(("a".into(), b"a".to_vec())), Err("no b")];
    let saved = repository.save_files(files, &SnapshotInfo::default());
    assert_eq!(saved.unwrap().unwrap_err(), "no b");
    assert!(repository.snapshots::<&str>(&[]).unwrap().is_empty());
    assert!(repository.list_sealed("repo/locks").unwrap().is_empty());
}

#[test]
fn an_exclusive_lock_keeps_us_out_and_says_whose_it_is() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let repository = Repository::init(Arc::new(InMemory::new()), "s").unwrap();
    let shared = repository.lock().unwrap();
    assert!(matches!(
        repository.lock_exclusively(),
        Err(Error::Locked {
            exclusive: false,
            ..
        })
    ));
    shared.release().unwrap();
    let exclusive = repository.lock_exclusively().unwrap();
    let refused = save(&repository, files(), &SnapshotInfo::default()).unwrap_err();
    assert!(
        matches!(refused, Error::Locked { exclusive: true, pid, .. } if pid == std::process::id())
    );
    exclusive.release().unwrap();
    save(&repository, files(), &SnapshotInfo::default()).unwrap();
}

#[test]
fn sealed_files_open_only_unchanged() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let repository = Repository::init(Arc::new(InMemory::new()), "s").unwrap();
    repository.put_sealed("captures/1", b"manifest").unwrap();
    assert_eq!(repository.get_sealed("captures/1").unwrap(), b"manifest");
    assert!(matches!(
        repository.create_sealed("captures/1", b"x"),
        Err(Error::Exists { .. })
    ));
    assert!(matches!(
        repository.get_sealed("captures/2"),
        Err(Error::NotFound { .. })
    ));
    assert_eq!(repository.list_sealed("captures").unwrap(), ["captures/1"]);
    let mut sealed = repository.seal_file(b"x").unwrap();
    sealed[20] ^= 1;
    assert!(matches!(
        repository.open_file("x", sealed),
        Err(Error::Tampered { .. })
    ));
    repository.delete_sealed("captures/1").unwrap();
}
