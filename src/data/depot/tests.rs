//! A depot on this machine, met by who may use it, who may not, and who tries tricks.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::reach::Pass;
use super::serve::{Secrets, accept, folder_store};
use super::tls::PrivateKey;
use super::*;
use crate::data::relay::Token;

/// A depot in a folder, the address of it, and what lets one in.
async fn depot() -> (tempfile::TempDir, String, Pass) {
    let folder = tempfile::tempdir().unwrap();
    let secrets = Secrets::random().unwrap();
    let pass = Pass {
        key: secrets.key.public().unwrap(),
        token: secrets.token.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let store = folder_store(&folder.path().join("store")).unwrap();
    tokio::spawn(async move { accept(&secrets, store, &listener).await });
    (folder, address, pass)
}

#[tokio::test]
async fn a_depot_works_like_a_folder() {
    let (folder, address, pass) = depot().await;
    let store = pass.store_at(&address);
    let path = Path::from("repo/data/00/one");
    let big: Bytes = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    store.put(&path, big.clone().into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), big);
    assert_eq!(
        store.get_range(&path, 7..2_000_007).await.unwrap(),
        big.slice(7..2_000_007)
    );
    assert_eq!(
        std::fs::read(folder.path().join("store/repo/data/00/one")).unwrap(),
        big
    );
    let create = || PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let again = store
        .put_opts(&path, Bytes::from_static(b"x").into(), create())
        .await;
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    store.delete(&path).await.unwrap();
    let gone = store.head(&path).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn who_has_another_token_or_expects_another_key_is_not_let_in() {
    let (_folder, address, pass) = depot().await;
    assert_eq!(pass.obstacle(&address).await, None);
    let stranger = Pass {
        token: Token::random(),
        ..pass.clone()
    };
    let obstacle = stranger.obstacle(&address).await.unwrap();
    assert!(obstacle.contains("not of this run"), "{obstacle}");
    let deceived = Pass {
        key: PrivateKey::random().unwrap().public().unwrap(),
        ..pass
    };
    let obstacle = deceived.obstacle(&address).await.unwrap();
    assert!(obstacle.contains("invalid peer certificate"), "{obstacle}");
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let obstacle = deceived.obstacle(&closed.to_string()).await.unwrap();
    assert!(obstacle.contains("refused"), "{obstacle}");
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_nothing() {
    let (_folder, address, _) = depot().await;
    let mut wire = TcpStream::connect(&address).await.unwrap();
    wire.write_all(b"ferry-relay/1\n\0\0GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    // It may end with a reset: what counts is that it ends, and without a word but TLS's own alert.
    let read = timeout(Duration::from_secs(30), wire.read_to_end(&mut heard)).await;
    assert!(read.is_ok() && heard.len() < 16, "{heard:?}");
}

#[test]
fn a_migration_finds_its_depot_by_its_clusters_and_namespaces_in_any_order() {
    let cluster = |uid: &str| ClusterIdentity {
        name: "context".into(),
        uid: uid.into(),
        version: String::new(),
    };
    let name = |uid: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Depot::name_for(&cluster(uid), &cluster("b"), &names)
    };
    assert_eq!(name("a", &["shop", "mail"]), name("a", &["mail", "shop"]));
    assert_ne!(name("a", &["shop"]), name("c", &["shop"]));
    assert_ne!(name("a", &["shop"]), name("a", &["shop", "mail"]));
    let long = name("a", &[&"x".repeat(63)]);
    assert!(namespace(&long).len() <= 63, "{long}");
}

#[test]
fn a_depot_asks_for_nothing_that_the_restricted_level_forbids_and_lets_openshift_choose_its_user() {
    let bodies = super::bodies::Bodies {
        name: "x",
        image: "i",
    };
    let pod = bodies.pod(&serde_json::Value::Null);
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 65532);
    let container = &pod["spec"]["containers"][0]["securityContext"];
    assert_eq!(
        container["capabilities"],
        serde_json::json!({"drop": ["ALL"]})
    );
    let home = serde_json::json!({"metadata": {"annotations": {"openshift.io/sa.scc.uid-range": "1000/10"}}});
    let pod = bodies.pod(&home);
    assert!(pod["spec"]["securityContext"].get("runAsUser").is_none());
}
