//! The store's heart: a restic repository, format 2, written and read by our own engine.
//!
//! ```text
//! directory, device, or files in memory ──▶ backup ──▶ packs ─▶ index ─▶ snapshot      (commit points left to right)
//! directory, device, or files in memory ◀── restore ◀── snapshot                       ──▶ verify
//! ```
//!
//! Anybody can list, check and restore everything with plain `restic -r <store>/repo`. docs/design/0003-restic-format.md
//! says why this format and why not a library.
//!
//! # How to use it
//! Every call **blocks** and works with threads of its own; the calling thread must not be a worker of a tokio
//! runtime, but a runtime must be entered, because it drives the store's I/O. From async code:
//!
//! ```no_run
//! # async fn example(store: std::sync::Arc<dyn object_store::ObjectStore>) -> Result<(), Box<dyn std::error::Error>> {
//! use ferry::repository::{Repository, SnapshotInfo};
//! let snapshots = tokio::task::spawn_blocking(move || {
//!     let repository = Repository::open(store, "the password")?;
//!     let file = ("capture.yaml".into(), b"kind: Capture\n".to_vec());
//!     let files = [Ok::<_, std::convert::Infallible>(file)];
//!     let info = SnapshotInfo { hostname: "cluster-a".into(), tags: vec!["capture=1".into()] };
//!     let Ok(_snapshot) = repository.save_files(files, &info)?;
//!     repository.snapshots(&["capture=1"])
//! })
//! .await??;
//! # Ok(()) }
//! ```
//!
//! [`Repository`] is cheap to clone and safe to share. Writers take the repository's lock themselves.
//!
//! # What it refuses to do
//! It never reports success with something missing: what could not be read, stored, restored or proven is in the
//! result, by path and cause, and the caller decides. It prunes under an exclusive lock only, and it never trusts a name, a length, or
//! a number from the store before the seal around it is checked.

mod adopt;
mod answer;
mod backend;
#[cfg(target_os = "linux")]
mod backup;
mod cat;
mod chunker;
mod config;
mod copy;
mod crew;
mod crypto;
#[cfg(target_os = "linux")]
mod device;
mod digest;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod id;
mod index;
mod key;
mod keys;
#[cfg(target_os = "linux")]
mod local;
mod lock;
mod maintain;
mod node;
mod outage;
mod pack;
mod pool;
mod progress;
mod read;
#[cfg(target_os = "linux")]
mod restore;
mod sealed;
mod sha;
mod snapshot;
mod text;
mod tree;
#[cfg(target_os = "linux")]
mod verify;
mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use tokio::runtime::Handle;

use backend::{Backend, CONFIG, Kind};
use config::Config;
use crypto::Sealer;
use index::{Index, IndexFile, IndexPack};
use key::KeyFile;
use outage::Outage;
use read::Window;

pub use answer::Answer;
pub(crate) use answer::reason;
#[cfg(target_os = "linux")]
pub use backup::{
    BackupOptions, BackupResult, CheckpointOptions, INCOMPLETE, Problem, ProblemKind, Totals,
};
pub use cat::ObjectKind;
pub use crypto::MasterKey;
#[cfg(target_os = "linux")]
pub use device::DeviceVerification;
pub(crate) use digest::KnownDigests;
pub use error::{Error, Result};
pub(crate) use error::{Unanswered, is_full, outage};
pub use files::FileEntry;
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz_stored;
pub use id::Id;
pub use keys::KeyInfo;
pub use lock::RepositoryLock;
pub use maintain::{CheckReport, Fault, PruneOptions, PruneReport, Statistics};
pub use node::{Node, NodeKind, Time, Xattr};
pub use progress::Progress;
#[cfg(target_os = "linux")]
pub use restore::{ExpectedLoss, Loss, LossClass, RestoreOptions, RestoreResult};
pub use snapshot::{Snapshot, SnapshotInfo};
#[cfg(target_os = "linux")]
pub use verify::{Difference, DifferenceClass, TreeDigest, Verification, VerifyOptions};
pub use verify::{fingerprint_device, fingerprint_directory};
pub use writer::WriteOptions;

/// How long a store's first answer may take: the link to a depot comes up within 45 s.
const FIRST: Duration = Duration::from_secs(60);
/// The same for a mover: it waits three minutes for the one who serves its relay.
const FIRST_BY_RELAY: Duration = Duration::from_secs(200);

/// An open repository. Clones share one index and one connection; of several that write, one does at a time.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    sealer: Sealer,
    master: MasterKey,
    config: Config,
    index: Index,
    /// Index files read or written so far.
    indexes: Mutex<BTreeSet<Id>>,
    windows: Mutex<VecDeque<Window>>,
    /// Packs that are durable and in the index in memory, but in no index file yet. Kept here and not with the writer: after
    /// a run that failed, the next one counts on their blobs and has to name them.
    unindexed: Mutex<Vec<IndexPack>>,
    /// One writer at a time: a blob claimed by a run that fails must not be what another run counts on.
    writing: Mutex<()>,
    /// The key that this process opened the repository with.
    current_key: Mutex<Option<Id>>,
    host: String,
    user: String,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("id", &self.inner.config.id)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Creates a repository under `repo/` of `store`, with one key that `password` opens.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`] when there is one; nothing is changed then.
    ///
    /// # Panics
    /// Outside a tokio runtime, or on one of its worker threads; so do all other calls.
    pub fn init(store: Arc<dyn ObjectStore>, password: &str) -> Result<Self> {
        let backend = Backend::new(store, Handle::current(), FIRST);
        let already = || Error::AlreadyInitialized {
            object: CONFIG.into(),
        };
        if backend.wait(backend.exists(CONFIG))? {
            return Err(already());
        }
        let (host, user) = (host_name(), user_name());
        let master = MasterKey::generate();
        let config = Config::generate();
        let key = KeyFile::create(&master, password, &user, &host)?;
        let json = |error| Error::damaged("a new repository", error);
        let key = serde_json::to_vec(&key).map_err(json)?;
        let plain = serde_json::to_vec(&config).map_err(json)?;
        let mut sealed = vec![0; crypto::NONCE];
        sealed.extend_from_slice(&plain);
        Sealer::new(&master).seal(&mut sealed, 0);
        // The config comes last: without it there is no repository, and of two that race one creates it.
        let key_id = Id::of(&key);
        let key_path = Kind::Key.path(&key_id);
        backend.wait(backend.put(&key_path, key.into()))?;
        match backend.wait(backend.put_new(CONFIG, sealed.into())) {
            Ok(()) => {
                let made = Self::assemble(backend, master, config, host, user);
                made.set_current_key(key_id);
                Ok(made)
            }
            Err(error) => {
                backend.wait(backend.delete(&key_path)).ok();
                Err(if matches!(error, Error::Exists { .. }) {
                    already()
                } else {
                    error
                })
            }
        }
    }

    /// Opens the repository under `repo/` of `store` with a password.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::NotFound`] where not even a bucket is, [`Error::WrongPassword`],
    /// [`Error::Unsupported`] for format 1.
    pub fn open(store: Arc<dyn ObjectStore>, password: &str) -> Result<Self> {
        let backend = Backend::new(store, Handle::current(), FIRST);
        // The keys are asked for even if there is no config: a bucket that does not exist says so to a listing only.
        let (config, ids) = backend
            .wait(async { futures::join!(backend.get(CONFIG), backend.list_ids(Kind::Key)) });
        let (config, ids) = match (config, ids) {
            (Err(Error::NotFound { .. }), ids) => {
                ids?;
                return Err(not_a_repository());
            }
            (config, ids) => (config?, ids?),
        };
        for (id, _) in &ids {
            let object = Kind::Key.path(id);
            let file = KeyFile::parse(&backend.wait(backend.get(&object))?, &object)?;
            if let Some(master) = file.open(password, &object)? {
                let opened = Self::with_key(backend, master, config)?;
                opened.set_current_key(*id);
                return Ok(opened);
            }
        }
        Err(Error::WrongPassword { keys: ids.len() })
    }

    /// Opens the repository with its master key: what a mover does, which never learns the password.
    ///
    /// # Errors
    /// [`Error::NotARepository`]; [`Error::Tampered`] when the key is of another repository.
    pub fn open_with_master_key(store: Arc<dyn ObjectStore>, master: MasterKey) -> Result<Self> {
        let backend = Backend::new(store, Handle::current(), FIRST_BY_RELAY);
        match backend.wait(backend.get(CONFIG)) {
            Ok(config) => Self::with_key(backend, master, config),
            Err(Error::NotFound { .. }) => Err(not_a_repository()),
            Err(error) => Err(error),
        }
    }

    /// `config` is as it lies in the store.
    fn with_key(backend: Backend, master: MasterKey, config: Bytes) -> Result<Self> {
        let mut sealed: Vec<u8> = config.into();
        let sealer = Sealer::new(&master);
        let plain = sealer.open(&mut sealed).map_err(|_| Error::Tampered {
            object: CONFIG.into(),
        })?;
        let config = Config::parse(plain)?;
        Ok(Self::assemble(
            backend,
            master,
            config,
            host_name(),
            user_name(),
        ))
    }

    fn assemble(
        backend: Backend,
        master: MasterKey,
        config: Config,
        host: String,
        user: String,
    ) -> Self {
        let inner = Inner {
            backend,
            sealer: Sealer::new(&master),
            master,
            config,
            index: Index::new(),
            indexes: Mutex::default(),
            windows: Mutex::default(),
            unindexed: Mutex::default(),
            writing: Mutex::default(),
            current_key: Mutex::default(),
            host,
            user,
        };
        Repository {
            inner: Arc::new(inner),
        }
    }

    /// The repository's own id, as `restic cat config` shows it.
    pub fn id(&self) -> &str {
        &self.inner.config.id
    }

    /// The name of the machine this process runs on, as its snapshots and locks say it.
    pub fn host_name(&self) -> &str {
        self.host()
    }

    /// The key to hand to a mover.
    pub fn master_key(&self) -> MasterKey {
        self.inner.master.clone()
    }

    fn current_key(&self) -> Option<Id> {
        *self
            .inner
            .current_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_current_key(&self, id: Id) {
        let mut current = self
            .inner
            .current_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Some(id);
    }

    fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    /// When the store was there and is away.
    pub(crate) fn outage(&self) -> &Outage {
        self.backend().outage()
    }

    fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    fn index(&self) -> &Index {
        &self.inner.index
    }

    fn config(&self) -> &Config {
        &self.inner.config
    }

    fn host(&self) -> &str {
        &self.inner.host
    }

    fn user(&self) -> &str {
        &self.inner.user
    }

    fn windows(&self) -> MutexGuard<'_, VecDeque<Window>> {
        self.inner
            .windows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unindexed(&self) -> MutexGuard<'_, Vec<IndexPack>> {
        self.inner
            .unindexed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever writes blobs.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.inner
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn known_indexes(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.inner
            .indexes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// An index file we wrote ourselves need not be read.
    fn note_index(&self, id: Id) {
        self.known_indexes().insert(id);
    }

    /// An index file we removed ourselves, whose content is in another, is not missed.
    fn drop_index(&self, id: &Id) {
        self.known_indexes().remove(id);
    }

    /// Forgets what is remembered of the index: the next reader or writer reads it anew.
    fn forget_index(&self) {
        self.index().clear();
        self.known_indexes().clear();
        self.unindexed().clear();
    }

    /// What a reader does first: as [`Repository::refresh_index`], unless a run of this process is under way, whose
    /// index is as fresh as its lock.
    fn index_to_read(&self) -> Result<()> {
        match self.inner.writing.try_lock() {
            Ok(writing) => self.refresh_index(&writing),
            Err(TryLockError::Poisoned(poisoned)) => self.refresh_index(&poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => self.load_index(),
        }
    }

    /// Makes the index what the store says it is: what a writer must know before it counts on a blob. A process that
    /// lives long may remember packs that somebody has pruned since; when an index file it read is gone, it forgets all
    /// of them and reads anew. Packs of a failed run that are in no index file are forgotten too: adoption finds them
    /// again if they still exist. Only with the writer's guard: of a run under way nothing may be forgotten.
    fn refresh_index(&self, _writing: &MutexGuard<'_, ()>) -> Result<()> {
        let listed = self.listed_indexes()?;
        let stale = !self.known_indexes().is_subset(&listed) || !self.unindexed().is_empty();
        if stale {
            tracing::debug!("the index changed under us and is read anew");
            self.forget_index();
        }
        self.read_indexes(&listed)
    }

    /// Reads the index files not read yet.
    fn load_index(&self) -> Result<()> {
        self.read_indexes(&self.listed_indexes()?)
    }

    fn listed_indexes(&self) -> Result<BTreeSet<Id>> {
        let listed = self.backend().wait(self.backend().list_ids(Kind::Index))?;
        Ok(listed.into_iter().map(|(id, _)| id).collect())
    }

    fn read_indexes(&self, listed: &BTreeSet<Id>) -> Result<()> {
        let new: Vec<Id> = {
            let known = self.known_indexes();
            listed.difference(&known).copied().collect()
        };
        let read = |id: Id, plain: Vec<u8>| {
            let file: IndexFile = serde_json::from_slice(&plain)
                .map_err(|error| Error::damaged(Kind::Index.path(&id), error))?;
            for pack in file.packs {
                self.index().add_pack(pack.id, &pack.blobs);
            }
            self.note_index(id);
            Ok(())
        };
        let backend = self.backend();
        backend.wait(backend.load_all(self.sealer(), Kind::Index, &new, read))
    }
}

fn not_a_repository() -> Error {
    Error::NotARepository {
        object: CONFIG.into(),
    }
}

/// The host's name: in a pod, the pod's.
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The user's name, for people who read locks.
fn user_name() -> String {
    std::env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string())
}
