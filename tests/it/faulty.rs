//! An object store that fails on purpose: with errors, lost answers, bodies cut short and listings of a moment ago, or
//! for good at a chosen request.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

/// Wraps a store. Clones share the counters.
#[derive(Clone, Debug)]
pub struct Faulty {
    store: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    calls: AtomicU64,
    dies_at: AtomicU64,
    seed: AtomicU64,
    stale: AtomicBool,
    faults: AtomicU64,
    packs_sent: AtomicU64,
    /// What was written or deleted lately, and when.
    changes: Mutex<Vec<(u64, Change)>>,
}

#[derive(Debug)]
enum Change {
    Written(Path),
    Deleted(ObjectMeta),
}

/// Where packs are.
const PACKS: &str = "repo/data/";
/// Requests for which a listing may not know of a change.
const LATE: u64 = 12;

/// What befalls one request.
enum Fate {
    Answered,
    /// It never arrives.
    Refused(object_store::Error),
    /// It is done, and nobody hears of it.
    Unheard(object_store::Error),
    /// What is read ends too early, without an error; a listing is that of a moment ago.
    Short,
}

impl Faulty {
    /// Fails nothing yet.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let state = State {
            calls: AtomicU64::new(0),
            dies_at: AtomicU64::new(u64::MAX),
            seed: AtomicU64::new(0),
            stale: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            packs_sent: AtomicU64::new(0),
            changes: Mutex::default(),
        };
        let state = Arc::new(state);
        Self { store, state }
    }

    /// From the request of this number on, counted from now, nothing succeeds any more; of every second seed that
    /// very request is done before its answer is lost.
    pub fn die_at(&self, call: u64) {
        let now = self.calls();
        self.state
            .dies_at
            .store(now.saturating_add(call), Ordering::SeqCst);
    }

    /// Fails one request in thirty, as the seed says; 0 stops that.
    pub fn stumble(&self, seed: u64) {
        self.state.seed.store(seed, Ordering::SeqCst);
    }

    /// Whether, while it stumbles, reads are also cut short and listings late.
    pub fn lie(&self, lies: bool) {
        self.state.stale.store(lies, Ordering::SeqCst);
    }

    /// Lives again.
    pub fn heal(&self) {
        self.state.dies_at.store(u64::MAX, Ordering::SeqCst);
        self.stumble(0);
        self.lie(false);
    }

    /// Requests that failed so far.
    pub fn faults(&self) -> u64 {
        self.state.faults.load(Ordering::SeqCst)
    }

    /// Bytes of packs that were sent to it so far, whatever became of them.
    pub fn packs_sent(&self) -> u64 {
        self.state.packs_sent.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    fn fate(&self) -> Fate {
        let fate = self.next_fate();
        if !matches!(fate, Fate::Answered) {
            self.state.faults.fetch_add(1, Ordering::SeqCst);
        }
        fate
    }

    fn next_fate(&self) -> Fate {
        let call = self.state.calls.fetch_add(1, Ordering::SeqCst);
        let dies_at = self.state.dies_at.load(Ordering::SeqCst);
        // Of a kind nobody retries: a dead process does not wait either.
        let dead = || object_store::Error::PermissionDenied {
            path: "dead".into(),
            source: "dead".into(),
        };
        if call == dies_at && call.is_multiple_of(2) {
            return Fate::Unheard(dead());
        }
        if call >= dies_at {
            return Fate::Refused(dead());
        }
        let seed = self.state.seed.load(Ordering::SeqCst);
        let dice = (call ^ seed.rotate_left(32))
            .wrapping_add(seed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            >> 40;
        let busy = || object_store::Error::Generic {
            store: "faulty",
            source: "503 slow down".into(),
        };
        match (seed, dice % 60) {
            (0, _) => Fate::Answered,
            (_, 0) => Fate::Refused(busy()),
            (_, 1) => Fate::Unheard(busy()),
            (_, 2) if self.state.stale.load(Ordering::SeqCst) => Fate::Short,
            _ => Fate::Answered,
        }
    }

    async fn befall<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate() {
            Fate::Answered | Fate::Short => call.await,
            Fate::Refused(error) => Err(error),
            Fate::Unheard(error) => {
                call.await.ok();
                Err(error)
            }
        }
    }

    fn changed(&self, change: Change) {
        let now = self.calls();
        let mut changes = self.state.changes.lock().unwrap();
        changes.retain(|(at, _)| at + LATE >= now);
        changes.push((now, change));
    }

    /// What was true of a folder a moment ago.
    fn listed_before(&self, now: Vec<ObjectMeta>, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        let changes = self.state.changes.lock().unwrap();
        let mut before = now;
        for (_, change) in changes.iter().rev() {
            match change {
                Change::Written(path) => before.retain(|meta| meta.location != *path),
                Change::Deleted(meta) if prefix.is_none_or(|p| meta.location.prefix_matches(p)) => {
                    before.push(meta.clone());
                }
                Change::Deleted(_) => {}
            }
        }
        before
    }
}

/// The first half of what was read, and no error.
async fn cut(result: GetResult) -> Result<GetResult> {
    let (meta, range) = (result.meta.clone(), result.range.clone());
    let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
    let data: Bytes = result.bytes().await?;
    let half = data.slice(..data.len() / 2);
    let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(half) }).boxed());
    Ok(GetResult {
        payload,
        meta,
        range,
        attributes,
        extensions,
    })
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        data: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if path.as_ref().starts_with(PACKS) {
            let length = data.content_length() as u64;
            self.state.packs_sent.fetch_add(length, Ordering::SeqCst);
        }
        let put = self.befall(self.store.put_opts(path, data, options)).await;
        self.changed(Change::Written(path.clone()));
        put
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.befall(self.store.put_multipart_opts(path, options))
            .await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate() {
            Fate::Answered => self.store.get_opts(path, options).await,
            Fate::Short => cut(self.store.get_opts(path, options).await?).await,
            Fate::Refused(error) | Fate::Unheard(error) => Err(error),
        }
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        paths
            .then(move |path| {
                let this = this.clone();
                async move {
                    let path = path?;
                    if let Ok(meta) = this.store.head(&path).await {
                        this.changed(Change::Deleted(meta));
                    }
                    this.befall(this.store.delete(&path)).await?;
                    Ok(path)
                }
            })
            .boxed()
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Answered => self.store.list(prefix),
            Fate::Short => {
                let (this, prefix) = (self.clone(), prefix.cloned());
                let before = async move {
                    let now = this.store.list(prefix.as_ref()).try_collect().await?;
                    let before = this.listed_before(now, prefix.as_ref());
                    Ok::<_, object_store::Error>(futures::stream::iter(before).map(Ok))
                };
                futures::stream::once(before).try_flatten().boxed()
            }
            Fate::Refused(error) | Fate::Unheard(error) => {
                futures::stream::once(async move { Err(error) }).boxed()
            }
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.befall(self.store.list_with_delimiter(prefix)).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.befall(self.store.copy_opts(from, to, options)).await
    }
}
