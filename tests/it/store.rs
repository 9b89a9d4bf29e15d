//! Stores on real file systems and a real S3 server.

use std::path::Path;
use std::process::Command;

use ferry::exit::Exit;
use ferry::store::{Password, Store, StoreError};

use crate::support::{run, testbed, unique};

/// A file system of a given size, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={size}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "ferry"])
            .arg(folder.path()))
        .exits(0);
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_such_and_what_was_there_stays() {
    let disk = Small::new("256k");
    let url = disk.path().join("store").display().to_string();
    let store = Store::init(&url, &Password::new("p"))
        .await
        .expect("it fits");
    store
        .put_run_file("r", "plan", b"small")
        .await
        .expect("it fits");
    let error = store
        .put_run_file("r", "plan", &noise(1 << 20))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.help().is_some_and(|help| help.contains("free space")));
    let kept = store.get_run_file("r", "plan").await.expect("it reads");
    assert_eq!(kept.as_deref(), Some(&b"small"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_too_small_for_a_store_holds_none_afterwards() {
    let disk = Small::new("4k");
    let url = disk.path().join("store").display().to_string();
    let password = Password::new("p");
    let error = Store::init(&url, &password).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let error = Store::open(&url, &password).await.unwrap_err();
    assert!(
        matches!(error, StoreError::NotARepository { .. }),
        "{error:?}"
    );
}

/// Needs `AWS_ENDPOINT_URL`, as `tests/testbed/testbed env` and the real user set it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_runs_and_tells_a_missing_one() {
    ferry::install_crypto();
    if std::env::var_os("AWS_ENDPOINT_URL").is_none() {
        // The endpoint is the process's; it is set for all tests at once or for none.
        let endpoint = testbed("FERRY_TESTBED_S3_ENDPOINT");
        let bin = std::env::current_exe().expect("this binary");
        let name = "store::a_bucket_keeps_runs_and_tells_a_missing_one";
        run(Command::new(bin)
            .args(["--exact", name])
            .env("AWS_ENDPOINT_URL", endpoint))
        .exits(0);
        return;
    }
    let bucket = testbed("FERRY_TESTBED_S3_BUCKET");
    let url = format!("s3://{bucket}/it-store-{}", unique());
    let password = Password::new("p");
    let store = Store::init(&url, &password)
        .await
        .expect("the testbed's S3 answers");
    store
        .create_run_file("r", "journal/1", b"begin")
        .await
        .expect("it is new");
    let again = store
        .create_run_file("r", "journal/1", b"again")
        .await
        .unwrap_err();
    assert!(matches!(again, StoreError::Taken { .. }), "{again:?}");
    let store = Store::open(&url, &password).await.expect("it is there");
    assert_eq!(store.list_runs().await.expect("it lists"), ["r"]);
    let error = Store::init("s3://no-such-bucket/x", &password)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error:?}");
    let error = Store::open("s3://no-such-bucket/x", &password)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NoBucket { .. }), "{error:?}");
    let error = Store::open(&format!("{url}-none"), &password)
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::NotARepository { .. }),
        "{error:?}"
    );
}
