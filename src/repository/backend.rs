//! The only place that talks to the object store: names, retries, and the sealed form of small objects.
//!
//! The store's root holds the restic repository under `repo/` (so that `restic -r <root>/repo` works) and Ferry's own
//! sealed objects beside it. All names of packs, indexes, snapshots and locks are the SHA-256 of what they hold, so
//! writing one twice is harmless and every failed write of them may be retried.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::crypto::{NONCE, Sealer};
use super::digest;
use super::error::{Error, Result, Unanswered};
use super::id::Id;
use super::outage::Outage;

/// Tries per call that fails in any other way than by an [outage](super::outage), on top of what the cloud clients of
/// `object_store` retry by themselves. A store that never answered is not asked again on top of that: whoever mistyped
/// its address would wait for minutes.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Version byte of a compressed unpacked object. Plain JSON starts with `{` or `[` instead.
const COMPRESSED: u8 = 2;
/// Guard against a hostile object that decompresses without end. Index files are the largest honest ones.
const UNPACKED_LIMIT: u64 = 256 << 20;

/// The kinds of objects in a restic repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Index,
    Snapshot,
    Lock,
    Pack,
}

impl Kind {
    pub(super) fn folder(self) -> &'static str {
        match self {
            Kind::Key => "repo/keys",
            Kind::Index => "repo/index",
            Kind::Snapshot => "repo/snapshots",
            Kind::Lock => "repo/locks",
            Kind::Pack => "repo/data",
        }
    }

    /// A name of this kind that nothing has: to see whether deleting is allowed.
    pub(super) fn absent(self) -> String {
        self.path(&Id::random())
    }

    /// The name of the object `id` of this kind.
    pub(super) fn path(self, id: &Id) -> String {
        match self {
            Kind::Pack => format!("{}/{}/{id}", self.folder(), hex::encode(&id.0[..1])),
            _ => format!("{}/{id}", self.folder()),
        }
    }
}

/// The name of the config object.
pub(super) const CONFIG: &str = "repo/config";

/// The store, and the runtime that drives it. Blocking callers go through [`Backend::wait`].
#[derive(Clone)]
pub(super) struct Backend {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    outage: Outage,
}

impl Backend {
    /// A store that is given so long for its first answer.
    pub(super) fn new(store: Arc<dyn ObjectStore>, runtime: Handle, first: Duration) -> Self {
        Backend {
            store,
            runtime,
            outage: Outage::new(first),
        }
    }

    pub(super) fn outage(&self) -> &Outage {
        &self.outage
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs `future` to its end on the calling thread, which must not be a worker of the runtime.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(super) async fn retry<T, F>(
        &self,
        operation: &'static str,
        object: &str,
        call: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut wait = FIRST_WAIT;
        let (mut tries, mut away) = (1, None);
        loop {
            let (begun, reached) = (Instant::now(), self.outage.reached());
            let answer = self.outage.attend(call()).await;
            let answer = answer.map_err(|error| Error::store(operation, object, error));
            let unanswered = answer.as_ref().err().and_then(Error::outage);
            if unanswered.is_none() {
                away = None;
                self.outage.answered();
            }
            let error = match answer {
                Err(error @ Error::Store { .. }) if error.retryable() && reached => error,
                last => return last,
            };
            tracing::debug!(operation, object, tries, %error, "it failed");
            if unanswered.is_some_and(|how| self.is_away(how, begun)) {
                let away = away.get_or_insert_with(|| self.outage.begin(begun));
                if !away.goes_on(|| error.reason()) {
                    return Err(error);
                }
                away.pause(wait).await;
            } else {
                away = None;
                if tries == TRIES {
                    return Err(error);
                }
                tries += 1;
                sleep(wait).await;
            }
            wait = (wait * 3).min(LONGEST_WAIT);
        }
    }

    /// Whether the store is away for a call that was not answered. One that answers others meanwhile is slow, or does
    /// not like the call.
    fn is_away(&self, how: Unanswered, begun: Instant) -> bool {
        match how {
            Unanswered::Refused => true,
            Unanswered::Late | Unanswered::Broken => !self.outage.heard_since(begun),
        }
    }

    pub(super) async fn put(&self, object: &str, data: Bytes) -> Result<()> {
        let path = Path::from(object);
        self.retry("write", object, || {
            self.store.put(&path, PutPayload::from(data.clone()))
        })
        .await?;
        Ok(())
    }

    /// Writes an object that is named after its content.
    pub(super) async fn put_named(&self, kind: Kind, id: &Id, data: Bytes) -> Result<()> {
        let object = kind.path(id);
        let path = Path::from(object.as_str());
        self.retry("write", &object, || {
            let put = self.store.put(&path, PutPayload::from(data.clone()));
            digest::known(data.clone(), *id, put)
        })
        .await?;
        Ok(())
    }

    /// Writes `object` only if it does not exist. A client that repeats a request whose answer was lost finds its
    /// own object there: equal bytes are ours, since every seal has a nonce of its own.
    pub(super) async fn put_new(&self, object: &str, data: Bytes) -> Result<()> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let path = Path::from(object);
        let put = self.retry("create", object, || {
            let data = PutPayload::from(data.clone());
            self.store.put_opts(&path, data, options.clone())
        });
        let Err(error) = put.await else {
            return Ok(());
        };
        match self.get(object).await {
            Ok(there) if there == data => Ok(()),
            _ => Err(error),
        }
    }

    pub(super) async fn get(&self, object: &str) -> Result<Bytes> {
        let path = Path::from(object);
        self.retry("read", object, || async {
            self.store.get(&path).await?.bytes().await
        })
        .await
    }

    /// Reads exactly `range`; a shorter answer is damage, not success.
    pub(super) async fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        let path = Path::from(object);
        let wanted = range.end - range.start;
        let data = self
            .retry("read", object, || {
                self.store.get_range(&path, range.clone())
            })
            .await?;
        if data.len() as u64 != wanted {
            let what = format!(
                "{} bytes at {} where {wanted} should be",
                data.len(),
                range.start
            );
            return Err(Error::damaged(object, what));
        }
        Ok(data)
    }

    /// Whether a small object is there. It is read: the refusal of a mere look at it has no text, and the user is to
    /// be told why.
    pub(super) async fn exists(&self, object: &str) -> Result<bool> {
        match self.get(object).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes `object`; that it is gone already is success.
    pub(super) async fn delete(&self, object: &str) -> Result<()> {
        let path = Path::from(object);
        match self
            .retry("delete", object, || self.store.delete(&path))
            .await
        {
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Deletes `object` for the sake of tidiness. False: the keys may only add, and it stays.
    pub(super) async fn tidy(&self, object: &str) -> Result<bool> {
        match self.delete(object).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_refusal() => {
                tracing::debug!(object, "it may not be deleted, and stays");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Everything below `folder`.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let path = Path::from(folder);
        self.retry("list", folder, || {
            self.store.list(Some(&path)).try_collect()
        })
        .await
    }

    /// The objects of one kind, with their sizes. Names that are not ids (a half-written temporary of another
    /// program) are passed over, as restic does.
    pub(super) async fn list_ids(&self, kind: Kind) -> Result<Vec<(Id, u64)>> {
        let all = self.list(kind.folder()).await?;
        Ok(all
            .into_iter()
            .filter_map(|meta| Some((meta.location.filename()?.parse().ok()?, meta.size)))
            .collect())
    }

    /// Seals `json` the way restic stores indexes, snapshots and locks, and writes it under its own hash.
    pub(super) async fn save_unpacked(
        &self,
        sealer: &Sealer,
        kind: Kind,
        json: &[u8],
    ) -> Result<Id> {
        let sealed = seal_unpacked(sealer, json)?;
        let id = Id::of(&sealed);
        self.put_named(kind, &id, sealed.into()).await?;
        Ok(id)
    }

    /// Reads such an object back. Its name proves its content before its seal does.
    pub(super) async fn load_unpacked(
        &self,
        sealer: &Sealer,
        kind: Kind,
        id: &Id,
    ) -> Result<Vec<u8>> {
        let object = kind.path(id);
        let data = self.get(&object).await?;
        if Id::of(&data) != *id {
            return Err(Error::Tampered { object });
        }
        open_unpacked(sealer, &object, data.into())
    }

    /// Loads many objects at once and hands each to `each` on this task, in the order they arrive.
    pub(super) async fn load_all(
        &self,
        sealer: &Sealer,
        kind: Kind,
        ids: &[Id],
        mut each: impl FnMut(Id, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let loads = ids
            .iter()
            .map(|id| async move { (*id, self.load_unpacked(sealer, kind, id).await) });
        let mut loads = futures::stream::iter(loads).buffer_unordered(8);
        while let Some((id, loaded)) = loads.next().await {
            match loaded {
                Ok(plain) => each(id, plain)?,
                // Removed between the listing and the read: somebody merged or forgot it.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Compresses and seals.
pub(super) fn seal_unpacked(sealer: &Sealer, plain: &[u8]) -> Result<Vec<u8>> {
    let compressed =
        zstd::bulk::compress(plain, 3).map_err(|error| Error::damaged("a new object", error))?;
    let mut sealed = Vec::with_capacity(compressed.len() + 64);
    sealed.resize(NONCE, 0);
    sealed.push(COMPRESSED);
    sealed.extend_from_slice(&compressed);
    sealer.seal(&mut sealed, 0);
    Ok(sealed)
}

/// Opens and decompresses; `object` names it in errors.
pub(super) fn open_unpacked(sealer: &Sealer, object: &str, mut sealed: Vec<u8>) -> Result<Vec<u8>> {
    let plain = sealer.open(&mut sealed).map_err(|_| Error::Tampered {
        object: object.to_owned(),
    })?;
    match plain.first() {
        None => Ok(Vec::new()),
        Some(b'{' | b'[') => Ok(plain.to_vec()),
        Some(&COMPRESSED) => decompress_limited(&plain[1..], UNPACKED_LIMIT)
            .map_err(|error| Error::damaged(object, error)),
        Some(other) => Err(Error::damaged(object, format!("unknown encoding {other}"))),
    }
}

fn decompress_limited(data: &[u8], limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(data)?
        .take(limit + 1)
        .read_to_end(&mut plain)?;
    if plain.len() as u64 > limit {
        return Err(std::io::Error::other(format!(
            "larger than {limit} bytes when decompressed"
        )));
    }
    Ok(plain)
}
