//! Writing blobs: packs filled by workers, uploaded by the runtime, made known by index files.
//!
//! ```text
//! worker ─▶ Packer (its own open pack) ─▶ Uploads (bounded) ─▶ store ─▶ index in memory ─▶ small index file
//! ```
//!
//! Order is what makes a kill harmless: a pack is durable before an index names it, an index before a snapshot needs
//! it. A small index file every 64 packs, 50,000 blobs or 30 seconds means that even without adopting packs no more is lost.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};

use super::Repository;
use super::backend::Kind;
use super::crypto::{NONCE, OVERHEAD};
use super::error::{Error, Result};
use super::id::{Hasher, Id};
use super::index::{IndexFile, IndexPack};
use super::pack::{self, BlobKind, PackedBlob};
use super::pool::{Pool, Pooled};
use super::sha::Growing;

/// Blobs per pack: keeps the header of a pack of tiny files below a megabyte, far from restic's limit of 16.
const BLOBS_PER_PACK: usize = 16 * 1024;
const PACKS_PER_INDEX: usize = 64;
const INDEX_INTERVAL: Duration = Duration::from_secs(30);
/// Blobs per merged index file, as restic writes them.
pub(super) const BLOBS_PER_INDEX: usize = 50_000;
/// Room in a pack buffer beyond its target size: the largest blob (8 MiB) with what zstd and the seal may add.
const PACK_SLACK: usize = (8 << 20) + (128 << 10);

/// How blobs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Size at which a pack is closed, in bytes. Larger packs mean fewer requests and more memory.
    pub pack_size: usize,
    /// zstd level.
    pub compression: i32,
    /// Whether each blob is opened, decompressed and hashed again before it is uploaded.
    pub verify: bool,
    /// Packs on their way to the store at one time.
    pub uploads: u32,
    /// Threads that hash, compress and seal; 0 means one for each CPU, at least 2 and at most 7: what a kill loses is
    /// a pack of each, of the trees, and of each upload, 192 MiB.
    pub workers: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            pack_size: 16 << 20,
            compression: 1,
            verify: true,
            uploads: 4,
            workers: 0,
        }
    }
}

impl WriteOptions {
    pub(super) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism()
                .map_or(2, usize::from)
                .clamp(2, 7),
            count => count,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run that writes blobs. Dropped without [`Writer::finish`], its unplaced claims are given up.
pub(super) struct Writer {
    uploads: Arc<Uploads>,
    pool: Pool,
    options: WriteOptions,
}

/// What is on its way to the store.
struct Uploads {
    repository: Repository,
    first: Option<(String, Vec<u8>)>,
    begun: OnceCell<()>,
    permits: Arc<Semaphore>,
    flushed: Mutex<Instant>,
    small_indexes: Mutex<Vec<Id>>,
    failed: AtomicBool,
    error: Mutex<Option<Error>>,
    bytes: AtomicU64,
    sent: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn new(repository: &Repository, options: WriteOptions) -> Self {
        Self::counting(repository, options, Arc::default(), None)
    }

    /// A writer that also adds the bytes it sent to `sent`, and seals something at a path before the first pack.
    pub(super) fn counting(
        repository: &Repository,
        options: WriteOptions,
        sent: Arc<AtomicU64>,
        first: Option<(String, Vec<u8>)>,
    ) -> Self {
        let uploads = Uploads {
            repository: repository.clone(),
            first,
            begun: OnceCell::new(),
            permits: Arc::new(Semaphore::new(options.uploads.max(1) as usize)),
            flushed: Mutex::new(Instant::now()),
            small_indexes: Mutex::default(),
            failed: AtomicBool::new(false),
            error: Mutex::default(),
            bytes: AtomicU64::new(0),
            sent,
        };
        let pool = Pool::new(options.pack_size + PACK_SLACK);
        Writer {
            uploads: Arc::new(uploads),
            pool,
            options,
        }
    }

    /// A packer for one thread.
    pub(super) fn packer(&self, kind: BlobKind) -> Result<Packer> {
        let codec = |error: io::Error| Error::damaged("the compressor", error);
        Ok(Packer {
            uploads: Arc::clone(&self.uploads),
            pool: self.pool.clone(),
            options: self.options,
            kind,
            open: None,
            hash: Growing::default(),
            blobs: Vec::new(),
            compressor: zstd::bulk::Compressor::new(self.options.compression).map_err(codec)?,
            decompressor: zstd::bulk::Decompressor::new().map_err(codec)?,
            sealed_copy: Vec::new(),
            plain_copy: Vec::new(),
            zeros: BTreeMap::new(),
        })
    }

    /// Bytes of packs written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.uploads.bytes.load(Ordering::Relaxed)
    }

    /// Puts packs that were found in the store, but in no index, into the next index file.
    pub(super) fn adopt(&self, pack: IndexPack) {
        self.uploads
            .repository
            .index()
            .add_pack(pack.id, &pack.blobs);
        self.uploads.repository.unindexed().push(pack);
    }

    /// Waits until every pack that is on its way has arrived.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if one did not; [`Writer::take_error`] tells why.
    pub(super) fn settle(&self) -> Result<()> {
        let all = self.options.uploads.max(1);
        let backend = self.uploads.repository.backend();
        drop(backend.wait(self.uploads.permits.acquire_many(all)));
        self.uploads.check()
    }

    /// Waits until every pack is durable and every blob is in a durable index file. The packers must be flushed.
    pub(super) fn finish(&self) -> Result<()> {
        let settled = self.settle();
        self.take_error().and(settled)?;
        let backend = self.uploads.repository.backend();
        backend.wait(self.uploads.flush_index(true))
    }

    /// The first failure of an upload, which is the cause of every `Cancelled` that followed it.
    pub(super) fn take_error(&self) -> Result<()> {
        self.uploads.take_error()
    }

    /// Whether this run left several small index files.
    pub(super) fn has_indexes_to_merge(&self) -> bool {
        lock(&self.uploads.small_indexes).len() > 1
    }

    /// Joins the small index files of this run into large ones, then deletes them. Losing power between
    /// the two leaves both, which is redundant and correct.
    pub(super) fn merge_indexes(&self) -> Result<()> {
        let small = std::mem::take(&mut *lock(&self.uploads.small_indexes));
        let repository = &self.uploads.repository;
        let (backend, sealer) = (repository.backend(), repository.sealer());
        backend.wait(async {
            let (mut merged, mut blobs, mut done) = (IndexFile::default(), 0, Vec::new());
            for id in &small {
                let plain = backend.load_unpacked(sealer, Kind::Index, id).await?;
                let file: IndexFile = serde_json::from_slice(&plain)
                    .map_err(|error| Error::damaged(Kind::Index.path(id), error))?;
                blobs += file
                    .packs
                    .iter()
                    .map(|pack| pack.blobs.len())
                    .sum::<usize>();
                merged.packs.extend(file.packs);
                done.push(*id);
                if blobs >= BLOBS_PER_INDEX || done.len() == small.len() {
                    save_index(repository, &merged).await?;
                    (merged.packs, blobs) = (Vec::new(), 0);
                }
            }
            for id in small {
                backend.delete(&Kind::Index.path(&id)).await?;
                repository.drop_index(&id);
            }
            Ok(())
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.uploads.repository.index().release_claims();
    }
}

/// Writes an index file.
pub(super) async fn save_index(repository: &Repository, file: &IndexFile) -> Result<Id> {
    let json = serde_json::to_vec(file).map_err(|error| Error::damaged("a new index", error))?;
    let id = repository
        .backend()
        .save_unpacked(repository.sealer(), Kind::Index, &json)
        .await?;
    repository.note_index(id);
    Ok(id)
}

impl Uploads {
    fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn take_error(&self) -> Result<()> {
        lock(&self.error).take().map_or_else(|| self.check(), Err)
    }

    fn fail(&self, error: Error) {
        lock(&self.error).get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    /// Hands a finished pack to the runtime; blocks while too many are on their way.
    fn send(self: &Arc<Self>, id: Id, pack: Pooled, blobs: Vec<PackedBlob>) -> Result<()> {
        self.check()?;
        let backend = self.repository.backend();
        let permit = backend.wait(Arc::clone(&self.permits).acquire_owned());
        let permit = permit.map_err(|_| Error::Cancelled)?;
        let this = Arc::clone(self);
        backend.runtime().spawn(async move {
            if let Err(error) = this.upload(id, pack, blobs).await {
                this.fail(error);
            }
            drop(permit);
        });
        Ok(())
    }

    async fn upload(&self, id: Id, pack: Pooled, blobs: Vec<PackedBlob>) -> Result<()> {
        let size = pack.len() as u64;
        self.begun.get_or_try_init(|| self.begin()).await?;
        self.repository
            .backend()
            .put_named(Kind::Pack, &id, Bytes::from_owner(pack))
            .await?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.sent.fetch_add(size, Ordering::Relaxed);
        self.repository.index().add_pack(id, &blobs);
        self.repository.unindexed().push(IndexPack { id, blobs });
        self.flush_index(false).await
    }

    async fn begin(&self) -> Result<()> {
        let Some((path, plain)) = &self.first else {
            return Ok(());
        };
        let sealed = self.repository.seal_file(plain)?;
        self.repository.backend().put(path, sealed.into()).await
    }

    /// Writes the packs that arrived into an index file, when there are enough of them or time has passed.
    async fn flush_index(&self, now: bool) -> Result<()> {
        let packs = {
            let mut packs = self.repository.unindexed();
            let mut flushed = lock(&self.flushed);
            // A pack of tiny files has thousands of blobs: the count of blobs is what an index file's size follows.
            let blobs: usize = packs.iter().map(|pack| pack.blobs.len()).sum();
            let due = now
                || packs.len() >= PACKS_PER_INDEX
                || blobs >= BLOBS_PER_INDEX
                || flushed.elapsed() >= INDEX_INTERVAL;
            if !due || packs.is_empty() {
                return Ok(());
            }
            *flushed = Instant::now();
            std::mem::take(&mut *packs)
        };
        let file = IndexFile { packs };
        match save_index(&self.repository, &file).await {
            Ok(id) => {
                lock(&self.small_indexes).push(id);
                Ok(())
            }
            Err(error) => {
                // They are durable and known to this process: the next run must still name them.
                self.repository.unindexed().extend(file.packs);
                Err(error)
            }
        }
    }
}

/// One thread's open pack, with the codecs and scratch space that go with it.
pub(super) struct Packer {
    uploads: Arc<Uploads>,
    pool: Pool,
    options: WriteOptions,
    kind: BlobKind,
    open: Option<Pooled>,
    /// Of the open pack: what is read back to be verified is hashed beside it.
    hash: Growing,
    blobs: Vec<PackedBlob>,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    sealed_copy: Vec<u8>,
    plain_copy: Vec<u8>,
    zeros: BTreeMap<usize, Id>,
}

impl Packer {
    /// Stores `plain` unless the repository has it. Returns its id, and whether it was new.
    pub(super) fn store(&mut self, plain: &[u8]) -> Result<(Id, bool)> {
        let id = Id::of(plain);
        Ok((id, self.store_as(id, plain)?))
    }

    /// Stores `plain`, whose id is known, unless the repository has it. Returns whether it was new.
    pub(super) fn store_as(&mut self, id: Id, plain: &[u8]) -> Result<bool> {
        let new = self.uploads.repository.index().claim(&id);
        if new {
            self.add(id, plain)?;
        }
        Ok(new)
    }

    /// Stores a blob of `length` zeros, which is hashed only the first time.
    pub(super) fn store_zeros(&mut self, length: usize) -> Result<Id> {
        if let Some(id) = self.zeros.get(&length) {
            return Ok(*id);
        }
        let (id, _) = self.store(&vec![0; length])?;
        self.zeros.insert(length, id);
        Ok(id)
    }

    /// Adds a claimed blob to the open pack.
    fn add(&mut self, id: Id, plain: &[u8]) -> Result<()> {
        self.uploads.check()?;
        let bound = zstd::zstd_safe::compress_bound(plain.len());
        let plain_length = length_of("a blob", plain.len())?;
        self.make_room(bound + OVERHEAD)?;
        let mut pack = self.open.take().unwrap_or_else(|| self.pool.take());
        let start = pack.len();
        let body = start + NONCE;
        pack.resize(body, 0);
        pack.reserve(bound + OVERHEAD);
        let mut cursor = Cursor::new(&mut *pack);
        cursor.set_position(body as u64);
        let written = self
            .compressor
            .compress_to_buffer(plain, &mut cursor)
            .map_err(|error| Error::damaged("the compressor", error))?;
        // Trees are always compressed in format 2; data only if that makes it smaller.
        let compressed = self.kind == BlobKind::Tree || written < plain.len();
        if !compressed {
            pack.truncate(body);
            pack.extend_from_slice(plain);
        }
        self.seal(pack, start, id, compressed.then_some(plain_length))
    }

    /// Stores a blob that was compressed while it was made, because it is too large to be held plain; in parts that follow
    /// each other.
    pub(super) fn store_compressed(
        &mut self,
        id: Id,
        compressed: &[&[u8]],
        plain: u64,
    ) -> Result<bool> {
        if !self.uploads.repository.index().claim(&id) {
            return Ok(false);
        }
        self.uploads.check()?;
        let plain_length = length_of("a directory", plain as usize)?;
        let length = compressed.iter().map(|part| part.len()).sum::<usize>() + OVERHEAD;
        length_of("a directory", length)?;
        self.make_room(length)?;
        let mut pack = self.open.take().unwrap_or_else(|| self.pool.take());
        let start = pack.len();
        pack.resize(start + NONCE, 0);
        for part in compressed {
            pack.extend_from_slice(part);
        }
        self.seal(pack, start, id, Some(plain_length))?;
        Ok(true)
    }

    /// Adds a blob as another pack has it, sealed, to a new pack. That it is known already is why it is copied.
    pub(super) fn copy(&mut self, blob: &PackedBlob, sealed: &[u8]) -> Result<()> {
        self.uploads.check()?;
        self.make_room(sealed.len())?;
        let mut pack = self.open.take().unwrap_or_else(|| self.pool.take());
        let offset = length_of("a pack", pack.len())?;
        pack.extend_from_slice(sealed);
        self.blobs.push(PackedBlob {
            offset,
            ..blob.clone()
        });
        self.keep_open(pack)
    }

    fn seal(&mut self, mut pack: Pooled, start: usize, id: Id, plain: Option<u32>) -> Result<()> {
        self.uploads.repository.sealer().seal(&mut pack, start);
        if self.options.verify {
            self.reopen(&pack, start, id, plain)?;
        }
        self.blobs.push(PackedBlob {
            id,
            kind: self.kind,
            offset: start as u32,
            length: (pack.len() - start) as u32,
            uncompressed_length: plain,
        });
        self.keep_open(pack)
    }

    /// Goes on with a pack, or sends it when it is full.
    fn keep_open(&mut self, pack: Pooled) -> Result<()> {
        let full = pack.len() >= self.options.pack_size || self.blobs.len() >= BLOBS_PER_PACK;
        self.open = Some(pack);
        if full { self.flush() } else { Ok(()) }
    }

    /// Opens, decompresses and hashes what was just sealed: nothing that does not read back is ever uploaded.
    fn reopen(&mut self, pack: &[u8], start: usize, id: Id, plain: Option<u32>) -> Result<()> {
        let failed = || Error::SelfCheck { id };
        self.sealed_copy.clear();
        self.sealed_copy.extend_from_slice(&pack[start..]);
        let sealer = self.uploads.repository.sealer();
        let body = sealer.open(&mut self.sealed_copy).map_err(|_| failed())?;
        let found = match plain {
            None => self.hash.together(pack, body),
            Some(length) if length as usize <= PACK_SLACK => {
                self.plain_copy.clear();
                self.plain_copy.reserve(length as usize);
                self.decompressor
                    .decompress_to_buffer(body, &mut self.plain_copy)
                    .map_err(|_| failed())?;
                self.hash.together(pack, &self.plain_copy)
            }
            Some(_) => hash_compressed(body).map_err(|_| failed())?,
        };
        if self.sealed_copy.capacity() > 2 * PACK_SLACK {
            self.sealed_copy = Vec::new();
        }
        if found == id { Ok(()) } else { Err(failed()) }
    }

    /// Closes the open pack if `more` bytes do not fit into its buffer any more.
    fn make_room(&mut self, more: usize) -> Result<()> {
        let used = self.open.as_ref().map_or(0, |pack| pack.len());
        let header = self.blobs.len() * 41 + 1024;
        if used + more + header > self.options.pack_size + PACK_SLACK {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends the open pack on its way.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(mut pack) = self.open.take() else {
            return Ok(());
        };
        let blobs = std::mem::take(&mut self.blobs);
        if blobs.is_empty() {
            return Ok(());
        }
        pack::finish(&mut pack, &blobs, self.uploads.repository.sealer());
        length_of("a pack", pack.len())?;
        let id = std::mem::take(&mut self.hash).finish(&pack);
        self.uploads.send(id, pack, blobs)
    }
}

fn length_of(what: &str, length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::TooLarge {
        what: what.to_owned(),
        size: length as u64,
        limit: u64::from(u32::MAX),
    })
}

fn hash_compressed(body: &[u8]) -> io::Result<Id> {
    let mut decoder = zstd::stream::read::Decoder::new(body)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}
