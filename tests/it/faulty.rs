//! An object store that fails on purpose: with errors, with lost answers, or for good at a chosen request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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
}

/// What befalls one request.
enum Fate {
    Answered,
    /// It never arrives.
    Refused(object_store::Error),
    /// It is done, and nobody hears of it.
    Unheard(object_store::Error),
}

impl Faulty {
    /// Fails nothing yet.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        let state = State {
            calls: AtomicU64::new(0),
            dies_at: AtomicU64::new(u64::MAX),
            seed: AtomicU64::new(0),
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

    /// Lives again.
    pub fn heal(&self) {
        self.state.dies_at.store(u64::MAX, Ordering::SeqCst);
        self.stumble(0);
    }

    /// Requests so far.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    fn fate(&self) -> Fate {
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
            _ => Fate::Answered,
        }
    }

    async fn befall<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fate() {
            Fate::Answered => call.await,
            Fate::Refused(error) => Err(error),
            Fate::Unheard(error) => {
                call.await.ok();
                Err(error)
            }
        }
    }
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
        self.befall(self.store.put_opts(path, data, options)).await
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
        self.befall(self.store.get_opts(path, options)).await
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
                    this.befall(this.store.delete(&path)).await?;
                    Ok(path)
                }
            })
            .boxed()
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Fate::Answered => self.store.list(prefix),
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
