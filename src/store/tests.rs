//! A store in memory and in a folder: what goes in comes out.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::capture::{
    Capture, Captured, Consistency, DropClass, Dropped, Owner, Proof, SavedVolume, Volume,
    VolumeMode,
};
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::{ApiResource, ClusterIdentity, Surface};

fn object(value: serde_json::Value) -> Object {
    Object::new(value).unwrap()
}

fn capture(id: &str) -> Capture {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "shop"},
        "data": {"yes": "no", "octal": "0644", "text": "a\nb: c\n", "empty": ""}});
    let mut raw = config.clone();
    raw["metadata"]["uid"] = "1".into();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "shop:reader"}, "rules": []});
    let long = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "x".repeat(253), "namespace": "shop"}});
    let claim = ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "data");
    let mut objects = vec![
        Captured {
            object: object(config),
            raw: object(raw),
            owners: vec![Owner {
                id: ObjectId::namespaced("example.com", "Thing", "shop", "t"),
                controller: true,
                block_deletion: false,
            }],
        },
        Captured {
            object: object(role.clone()),
            raw: object(role),
            owners: vec![],
        },
        Captured {
            object: object(long.clone()),
            raw: object(long),
            owners: vec![],
        },
    ];
    objects.sort_by_cached_key(|captured| captured.object.id());
    Capture {
        id: id.into(),
        created: "2026-11-21T09:00:00Z".parse().unwrap(),
        namespaces: vec!["shop".into()],
        objects,
        findings: Vec::new(),
        dropped: vec![Dropped {
            id: ObjectId::namespaced("", "Pod", "shop", "p"),
            rule: "S-2".into(),
            reason: "its owner travels".into(),
            class: DropClass::Produced,
            produced_by: Some(ObjectId::namespaced("apps", "Deployment", "shop", "web")),
        }],
        volumes: vec![Volume {
            claim,
            mode: VolumeMode::Filesystem,
            capacity: 1 << 30,
            storage_class: Some("fast".into()),
            driver: None,
            access_modes: vec!["ReadWriteOnce".into()],
            node: Some("n1".into()),
            mounted_by: vec![],
            pods: vec![],
            user: None,
            together: None,
            saved: Some(SavedVolume {
                held: None,
                snapshot: "ab".into(),
                consistency: Consistency::Snapshot,
                proof: Proof {
                    files: 3,
                    bytes: 42,
                    digest: "d".into(),
                },
                added: 0,
            }),
        }],
        surface: Surface {
            cluster: ClusterIdentity {
                name: "a".into(),
                uid: "u".into(),
                version: "v1.34.4".into(),
            },
            resources: vec![ApiResource {
                group: String::new(),
                version: "v1".into(),
                kind: "Pod".into(),
                plural: "pods".into(),
                namespaced: true,
                verbs: BTreeSet::from(["get".into()]),
                preferred: true,
                subresources: BTreeSet::from(["log".into()]),
            }],
            objects: vec![object(
                json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": "fast"}, "provisioner": "x"}),
            )],
            unseen: BTreeSet::from([GroupKind::new("", "Node")]),
            silent: BTreeSet::new(),
        },
    }
}

fn password() -> Password {
    Password::new("correct horse")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_comes_back_as_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("store").display().to_string();
    let store = Store::init(&url, &password()).await.unwrap();
    let saved = capture("20261121-090000-0001");
    let summary = store.save_capture(&saved).await.unwrap();
    assert_eq!((summary.objects, summary.saved, summary.bytes), (3, 1, 42));
    let store = Store::open(&url, &password()).await.unwrap();
    for wanted in ["latest", "20261121-090000-0001", "2026"] {
        assert_eq!(store.load_capture(wanted).await.unwrap(), saved);
    }
    assert_eq!(store.list_captures().await.unwrap(), [summary]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_is_not_there_names_those_that_are() {
    let store = Store::init("memory://names", &password()).await.unwrap();
    let error = store.load_capture("latest").await.unwrap_err();
    assert!(
        error
            .help()
            .is_some_and(|help| help.contains("no captures")),
        "{error}"
    );
    for id in ["20261121-090000-0001", "20261121-090000-0002"] {
        store.save_capture(&capture(id)).await.unwrap();
    }
    assert_eq!(
        store.load_capture("latest").await.unwrap().id,
        "20261121-090000-0002"
    );
    let error = store.load_capture("1999").await.unwrap_err();
    assert_eq!(
        error.help().as_deref(),
        Some("there are: 20261121-090000-0002, 20261121-090000-0001")
    );
    let error = store.load_capture("2026").await.unwrap_err();
    assert!(matches!(error, StoreError::ManyCaptures { ref fitting, .. } if fitting.len() == 2));
    store.remove_capture("20261121-090000-0002").await.unwrap();
    assert_eq!(
        store.load_capture("latest").await.unwrap().id,
        "20261121-090000-0001"
    );
    assert_eq!(store.list_captures().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_and_a_wrong_password_are_told_apart_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let url = nowhere.display().to_string();
    let error = Store::open(&url, &password()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotARepository { .. }),
        "{error:?}"
    );
    assert!(!nowhere.exists());
    let error = Store::open(&folder.path().display().to_string(), &password())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::NotARepository { .. }),
        "{error:?}"
    );
    Store::init(&url, &password()).await.unwrap();
    let error = Store::init(&url, &password()).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
    let error = Store::open(&url, &Password::new("wrong"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::WrongPassword { .. }),
        "{error:?}"
    );
    assert_eq!(error.exit(), crate::exit::Exit::Input);
}

#[test]
fn a_bucket_nobody_serves_is_unreachable() {
    let location = Location::parse("s3://bucket/prefix").unwrap();
    let error = crate::repository::Error::Store {
        operation: "read",
        object: "repo/config".into(),
        source: object_store::Error::Generic {
            store: "S3",
            source: "connection refused".into(),
        }
        .into(),
    };
    let error = StoreError::from_repository(&location, error);
    assert!(matches!(error, StoreError::Unreachable { .. }));
    assert_eq!(error.exit(), crate::exit::Exit::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_file_is_made_once_and_read_back() {
    let store = Store::init("memory://runs", &password()).await.unwrap();
    store.put_run_file("r1", "plan", b"one").await.unwrap();
    store.put_run_file("r1", "plan", b"two").await.unwrap();
    store
        .create_run_file("r1", "journal/0000", b"begin")
        .await
        .unwrap();
    let error = store
        .create_run_file("r1", "journal/0000", b"again")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Taken { .. }), "{error:?}");
    store
        .create_run_file("r2", "journal/0000", b"")
        .await
        .unwrap();
    let store = Store::open("memory://runs", &password()).await.unwrap();
    assert_eq!(
        store.get_run_file("r1", "plan").await.unwrap().as_deref(),
        Some(&b"two"[..])
    );
    assert_eq!(
        store
            .get_run_file("r1", "journal/0000")
            .await
            .unwrap()
            .as_deref(),
        Some(&b"begin"[..])
    );
    assert_eq!(store.get_run_file("r1", "other").await.unwrap(), None);
    assert_eq!(
        store.list_run_files("r1", "journal").await.unwrap(),
        ["journal/0000"]
    );
    assert_eq!(
        store.list_run_files("r1", "").await.unwrap(),
        ["journal/0000", "plan"]
    );
    assert_eq!(store.list_runs().await.unwrap(), ["r1", "r2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_file_under_another_name_is_refused() {
    use object_store::{ObjectStoreExt as _, path::Path};
    let store = Store::init("memory://moved", &password()).await.unwrap();
    store.put_run_file("r1", "plan", b"one").await.unwrap();
    let objects = store.objects();
    objects
        .copy(&Path::from("runs/r1/plan"), &Path::from("runs/r2/plan"))
        .await
        .unwrap();
    let error = store.get_run_file("r2", "plan").await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_other_things_in_it_does_not_become_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().display().to_string();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let error = Store::init(&url, &password()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::remove_file(folder.path().join("thesis.txt")).unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    Store::init(&url, &password()).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_capture_is_carried_with_its_data_and_proven_on_the_way() {
    use crate::repository::{BackupOptions, Progress};
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/file"), vec![7; 3_000_000]).unwrap();
    let from = Store::init("memory://carry-from", &password())
        .await
        .unwrap();
    let path = folder.path().to_path_buf();
    let (snapshot, digest) = from
        .with(move |repository| {
            let options = BackupOptions::new("data", crate::repository::SnapshotInfo::default());
            let saved = repository.backup_directory(&path, &options, &Progress::default())?;
            let digest = repository.digest(&saved.snapshot, "data")?.digest;
            Ok((saved.snapshot.id.unwrap().to_string(), digest.to_string()))
        })
        .await
        .unwrap();
    let with_data = |id: &str, digest: &str| {
        let mut capture = capture(id);
        let saved = capture.volumes[0].saved.as_mut().unwrap();
        (saved.snapshot, saved.proof.digest) = (snapshot.clone(), digest.into());
        capture
    };
    let good = with_data("20261121-090000-0001", &digest);
    from.save_capture(&good).await.unwrap();
    let to = Store::init("memory://carry-to", &password()).await.unwrap();
    let progress = Arc::new(Progress::default());
    from.carry_capture("latest", &to, progress.clone())
        .await
        .unwrap();
    let mut arrived = to.load_capture("latest").await.unwrap();
    let saved = arrived.volumes[0].saved.as_mut().unwrap();
    assert_ne!(saved.snapshot, snapshot);
    saved.snapshot = snapshot.clone();
    assert_eq!(arrived, good);
    let (captures, report) = to.check(true, progress.clone()).await.unwrap();
    assert_eq!((captures, report.faults), (1, vec![]));

    let error = from.carry_capture("latest", &to, progress.clone()).await;
    assert!(matches!(error, Err(StoreError::Taken { .. })), "{error:?}");
    let wrong = with_data("20261121-090000-0002", "another digest");
    from.save_capture(&wrong).await.unwrap();
    let error = from.carry_capture("latest", &to, progress).await;
    assert!(
        matches!(error, Err(StoreError::Damaged { .. })),
        "{error:?}"
    );
    assert_eq!(to.list_captures().await.unwrap().len(), 1);
}
