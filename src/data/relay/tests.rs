//! The relay over connections that break: what was asked is done once or said to have failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Semaphore;

use super::ask::{Answer, Ask};
use super::frame::Kind;
use super::link::LinkError;
use super::{Link, Pool, RelayStore, Token, serve};

/// Joins two ends and cuts the connection after some bytes have passed in one direction.
fn cut_after(mut from: DuplexStream, mut to: DuplexStream, limit: usize) {
    tokio::spawn(async move {
        let (mut a, mut b) = (vec![0; 4096], vec![0; 4096]);
        let mut left = limit;
        loop {
            tokio::select! {
                read = from.read(&mut a) => {
                    let Ok(count @ 1..) = read else { break };
                    let passed = count.min(left);
                    if to.write_all(&a[..passed]).await.is_err() { break }
                    left -= passed;
                    if left == 0 { break }
                }
                read = to.read(&mut b) => {
                    let Ok(count @ 1..) = read else { break };
                    if from.write_all(&b[..count]).await.is_err() { break }
                }
            }
        }
    });
}

/// A store behind a relay whose links are cut as told; the last number repeats for ever.
fn relayed(cuts: Vec<usize>, mover_side: bool) -> (RelayStore, Arc<InMemory>, Arc<AtomicUsize>) {
    let (real, pool, token) = (Arc::new(InMemory::new()), Pool::new(), Token::random());
    let opened = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (real, pool, token) = (Arc::clone(&real), pool.clone(), token.clone());
        let (opened, cuts) = (Arc::clone(&opened), cuts.clone());
        tokio::spawn(async move {
            loop {
                let number = opened.fetch_add(1, Ordering::SeqCst);
                let limit = *cuts.get(number).or(cuts.last()).unwrap_or(&usize::MAX);
                let (cli, near) = duplex(1 << 16);
                let (far, mover) = duplex(1 << 16);
                if mover_side {
                    cut_after(far, near, limit)
                } else {
                    cut_after(near, far, limit)
                }
                let (accepting, accept) = (pool.clone(), token.clone());
                tokio::spawn(async move {
                    if let Ok(link) = Link::accept(mover, &accept).await {
                        accepting.put(link);
                    }
                });
                if let Ok(mut link) = Link::connect(cli, &token).await {
                    serve(&mut link, real.as_ref(), &Semaphore::new(1)).await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    (RelayStore::new(pool), real, opened)
}

fn bytes(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at * 31 % 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

async fn works_like_the_store_behind_it(store: &RelayStore, real: &InMemory) {
    let path = Path::from("repo/data/00/one");
    let big = bytes(3_500_000);
    store.put(&path, big.clone().into()).await.unwrap();
    assert_eq!(real.get(&path).await.unwrap().bytes().await.unwrap(), big);
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), big);
    assert_eq!(
        store.get_range(&path, 10..1_500_000).await.unwrap(),
        big.slice(10..1_500_000)
    );
    assert_eq!(store.head(&path).await.unwrap().size, 3_500_000);
    store
        .put(&Path::from("repo/empty"), Bytes::new().into())
        .await
        .unwrap();
    assert_eq!(
        store
            .get(&Path::from("repo/empty"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .len(),
        0
    );
    let create = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    let lease = Path::from("state/lease");
    store
        .put_opts(&lease, Bytes::from_static(b"mine").into(), create.clone())
        .await
        .unwrap();
    let second = store
        .put_opts(&lease, Bytes::from_static(b"yours").into(), create)
        .await;
    assert!(
        matches!(second, Err(Error::AlreadyExists { .. })),
        "{second:?}"
    );
    let mut listed: Vec<_> = store
        .list(Some(&Path::from("repo")))
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    listed.sort();
    assert_eq!(listed, ["repo/data/00/one", "repo/empty"]);
    let folder = store
        .list_with_delimiter(Some(&Path::from("repo")))
        .await
        .unwrap();
    assert_eq!((folder.common_prefixes.len(), folder.objects.len()), (1, 1));
    store.delete(&path).await.unwrap();
    let gone = store.get(&path).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_relayed_store_works_like_the_store_behind_it() {
    let (store, real, opened) = relayed(vec![], true);
    works_like_the_store_behind_it(&store, &real).await;
    assert_eq!(opened.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn links_cut_at_any_byte_lose_nothing() {
    // Up to the middle of a frame, of a head, of the handshake, of a digest; then links that live just
    // long enough for the largest object here.
    for cuts in [
        vec![1, 47, 90, 500],
        vec![2_000_000, 1_048_700, 100],
        vec![113, 114, 130, 3_400_000],
    ] {
        for mover_side in [false, true] {
            let cuts: Vec<usize> = cuts.iter().copied().chain([4_000_000]).collect();
            let (store, real, opened) = relayed(cuts, mover_side);
            works_like_the_store_behind_it(&store, &real).await;
            assert!(opened.load(Ordering::SeqCst) > 3);
        }
    }
}

#[tokio::test]
async fn who_does_not_know_the_token_is_turned_away() {
    let (cli, mover) = duplex(1 << 10);
    let (mine, theirs) = (Token::random(), Token::random());
    let (connected, accepted) =
        tokio::join!(Link::connect(cli, &mine), Link::accept(mover, &theirs));
    assert!(matches!(connected, Err(LinkError::Stranger)));
    assert!(accepted.is_err());
    let (mut wire, mover) = duplex(1 << 10);
    wire.write_all(&[0; 200]).await.unwrap();
    assert!(matches!(
        Link::accept(mover, &mine).await,
        Err(LinkError::Stranger)
    ));
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder_that_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("store");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("outside"), "secret").unwrap();
    let store = LocalFileSystem::new_with_prefix(&inside).unwrap();
    let (near, far) = duplex(1 << 16);
    let token = Token::random();
    let (asks, answers) = tokio::join!(Link::connect(near, &token), Link::accept(far, &token));
    let (mut asks, mut answers) = (asks.unwrap(), answers.unwrap());
    tokio::spawn(async move { serve(&mut answers, &store, &Semaphore::new(1)).await });
    for path in [
        "../outside",
        "a/../../outside",
        "./../outside",
        "..",
        "/../outside",
        "a//../b",
    ] {
        let path = || path.to_owned();
        // No honest mover can ask so: its own paths cannot hold this.
        for ask in [
            Ask::Get {
                path: path(),
                range: None,
                head: false,
            },
            Ask::Delete { path: path() },
            Ask::Copy {
                from: path(),
                to: "b".into(),
                create: false,
            },
            Ask::List {
                folder: Some(path()),
                after: None,
            },
            Ask::ListFolder {
                folder: Some(path()),
            },
        ] {
            let body = serde_json::to_vec(&ask).unwrap();
            asks.send(Kind::Ask, 1, &body).await.unwrap();
            let answer = asks.receive(Duration::from_secs(30)).await.unwrap();
            let answer: Answer = serde_json::from_slice(&answer.body).unwrap();
            assert!(
                matches!(answer, Answer::Failed { .. }),
                "{ask:?}: {answer:?}"
            );
        }
    }
    assert!(folder.path().join("outside").exists());
}

#[tokio::test]
async fn a_link_speaks_for_the_store_and_never_for_nobody() {
    let (store, real, _) = relayed(vec![], true);
    let missing = store.head(&Path::from("captures/none")).await;
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
    drop(real);
}
