//! restic's locks: our backups hold a non-exclusive one, so that a user's `restic prune` cannot race us, and we
//! stay out while somebody holds an exclusive one.
//!
//! A lock is an object that says who holds it. It is refreshed every five minutes (a new object, then the old one goes) and
//! is stale after thirty, or at once if its process was on this host and is no more, or its number is another's. We write ours first and look at the
//! others then: of two that start together, at least one sees the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::Repository;
use super::backend::Kind;
use super::error::{Error, Result};
use super::id::Id;
use super::outage::PATIENCE;

const REFRESH: Duration = Duration::from_secs(5 * 60);
const STALE_MINUTES: u64 = 30;
/// We stop trusting our own lock well before others may remove it: what follows a last look at it may be a call to a store
/// that is away, waited for twice as long as [`PATIENCE`] when it hangs.
const LOST: Duration = Duration::from_secs(STALE_MINUTES * 60 - 12 * 60);
const _: () = assert!(2 * PATIENCE.as_secs() < STALE_MINUTES * 60 - LOST.as_secs());

/// By how much a process has to be younger than a lock to be another than the one that wrote it: a clock that is set
/// right makes a lock look older than it is, by seconds.
const REUSE: SignedDuration = SignedDuration::from_secs(60);
/// Of the kernel's figures about processes; the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// For how long a process has run. The numbers of dead processes are given away again, within minutes on a busy machine.
fn age_of(pid: rustix::process::Pid) -> Option<SignedDuration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    // The name, in brackets, may hold anything; the start is the twentieth figure after it.
    let started: f64 = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
    SignedDuration::try_from_secs_f64(uptime - started / TICKS_PER_SECOND).ok()
}

/// restic's lock object.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LockFile {
    time: String,
    exclusive: bool,
    hostname: String,
    username: String,
    pid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl LockFile {
    fn ours(repository: &Repository, exclusive: bool, now: Timestamp) -> Self {
        LockFile {
            time: now.to_string(),
            exclusive,
            hostname: repository.host().to_owned(),
            username: repository.user().to_owned(),
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    fn is_stale(&self, host: &str) -> bool {
        let Ok(time) = self.time.parse::<Timestamp>() else {
            return false;
        };
        let age = Timestamp::now().duration_since(time);
        if age.as_secs() > (STALE_MINUTES * 60) as i64 {
            return true;
        }
        // Pods share names only by design of somebody; a pid that we cannot look up says nothing.
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        self.hostname == host
            && pid.is_some_and(|pid| {
                rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
                    || age_of(pid).is_some_and(|process| process + REUSE < age)
            })
    }

    fn conflict(&self) -> Error {
        Error::Locked {
            exclusive: self.exclusive,
            host: self.hostname.clone(),
            user: self.username.clone(),
            pid: self.pid,
            since: self.time.clone(),
        }
    }
}

/// A lock we hold. Dropping it removes it, [`RepositoryLock::release`] also waits for that.
pub struct RepositoryLock {
    repository: Repository,
    state: Arc<State>,
    refresher: JoinHandle<()>,
    released: bool,
}

struct State {
    id: Mutex<Id>,
    /// That of the lock as it was last written.
    fresh: Mutex<Stamp>,
    lost: AtomicBool,
}

/// When a lock says that it was written, which is before it is there: by two clocks, as one stands still while the machine
/// sleeps and the other may be set.
#[derive(Clone, Copy)]
struct Stamp(Instant, Timestamp);

impl Stamp {
    fn now() -> Self {
        Self(Instant::now(), Timestamp::now())
    }

    fn is_old(self) -> bool {
        let slept = Timestamp::now().duration_since(self.1).as_secs() > LOST.as_secs() as i64;
        slept || self.0.elapsed() > LOST
    }
}

impl State {
    fn new(id: Id, fresh: Stamp) -> Self {
        State {
            id: Mutex::new(id),
            fresh: Mutex::new(fresh),
            lost: AtomicBool::new(false),
        }
    }

    fn renew(&self, fresh: Stamp) {
        *self.fresh.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Whether others may have taken the lock for stale, now or ever before.
    fn expired(&self) -> bool {
        let fresh = *self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.is_old() {
            self.lost.store(true, Ordering::Release);
        }
        self.lost.load(Ordering::Acquire)
    }
}

impl Repository {
    /// Takes a non-exclusive lock: others may read and write too, nobody may prune.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody holds an exclusive lock that is not stale.
    pub fn lock(&self) -> Result<RepositoryLock> {
        self.acquire(false)
    }

    /// Takes an exclusive lock, to delete data.
    ///
    /// # Errors
    /// [`Error::Locked`] when anybody holds a lock that is not stale.
    pub fn lock_exclusively(&self) -> Result<RepositoryLock> {
        self.acquire(true)
    }

    /// Works under a non-exclusive lock and gives it back whatever came of the work: a process that fails must not keep
    /// others from pruning until its lock is stale.
    pub(super) fn locked<T>(&self, work: impl FnOnce(&RepositoryLock) -> Result<T>) -> Result<T> {
        let lock = self.lock()?;
        settled(work(&lock), lock.release())
    }

    /// As [`Repository::locked`], under an exclusive lock.
    pub(super) fn locked_exclusively<T>(
        &self,
        work: impl FnOnce(&RepositoryLock) -> Result<T>,
    ) -> Result<T> {
        let lock = self.lock_exclusively()?;
        settled(work(&lock), lock.release())
    }

    /// As [`Repository::locked`], for work that only reads.
    pub(super) fn locked_to_read<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = self.lock_to_read()?;
        settled(work(), lock.map_or(Ok(()), RepositoryLock::release))
    }

    /// A lock for reading, or none when the credentials may only read: then nobody can be kept from pruning, and
    /// a blob that is pruned meanwhile is an error, not a wrong result.
    fn lock_to_read(&self) -> Result<Option<RepositoryLock>> {
        match self.lock() {
            Err(Error::Store { source, .. }) if source.is_refusal() => {
                tracing::warn!(error = %source, "reading without a lock: the store cannot be written");
                Ok(None)
            }
            locked => locked.map(Some),
        }
    }

    fn acquire(&self, exclusive: bool) -> Result<RepositoryLock> {
        let backend = self.backend();
        let (id, fresh) = backend.wait(async {
            if exclusive {
                // Keys that may only add find out before they lock everybody out.
                for kind in [Kind::Pack, Kind::Lock] {
                    backend.delete(&kind.absent()).await?;
                }
            }
            let (id, fresh) = write(self, exclusive).await?;
            let entered = self.enter(&id, exclusive).await;
            if entered.is_err() {
                backend.tidy(&Kind::Lock.path(&id)).await?;
            }
            entered.map(|()| (id, fresh))
        })?;
        let state = Arc::new(State::new(id, fresh));
        let refresher =
            backend
                .runtime()
                .spawn(refresh(self.clone(), Arc::clone(&state), exclusive));
        Ok(RepositoryLock {
            repository: self.clone(),
            state,
            refresher,
            released: false,
        })
    }

    /// Removes locks: the stale ones, or every one there is. Returns how many.
    ///
    /// A lock that is not stale belongs to a process that lives, or to one on another host that nobody can ask: removing
    /// it lets a prune delete what that process counts on.
    pub fn unlock(&self, all: bool) -> Result<usize> {
        let backend = self.backend();
        backend.wait(async {
            let mut gone = Vec::new();
            let ids = backend.list_ids(Kind::Lock).await?;
            for (id, _) in ids {
                let object = Kind::Lock.path(&id);
                let stale = match backend.load_unpacked(self.sealer(), Kind::Lock, &id).await {
                    Ok(plain) => serde_json::from_slice::<LockFile>(&plain)
                        .map_err(|error| Error::damaged(&object, error))
                        .map(|lock| lock.is_stale(self.host())),
                    Err(Error::NotFound { .. }) => continue,
                    Err(error) => Err(error),
                };
                // What cannot be read says nothing about who holds it: only force removes it.
                if all || stale? {
                    gone.push(object);
                }
            }
            for object in &gone {
                backend.delete(object).await?;
            }
            Ok(gone.len())
        })
    }

    /// Fails if somebody's lock forbids ours. Who enters alone removes the stale ones: each costs everybody a request.
    async fn enter(&self, own: &Id, exclusive: bool) -> Result<()> {
        let others = self.other_locks(own).await?;
        let mut live = others.live.iter();
        if let Some(other) = live.find(|other| exclusive || other.exclusive) {
            return Err(other.conflict());
        }
        if exclusive {
            for id in &others.stale {
                self.backend().tidy(&Kind::Lock.path(id)).await?;
            }
        }
        Ok(())
    }

    async fn other_locks(&self, own: &Id) -> Result<Others> {
        let ids = self.backend().list_ids(Kind::Lock).await?.into_iter();
        let ids: Vec<Id> = ids.map(|(id, _)| id).filter(|id| id != own).collect();
        let mut others = Others::default();
        let load = self
            .backend()
            .load_all(self.sealer(), Kind::Lock, &ids, |id, plain| {
                let lock: LockFile = serde_json::from_slice(&plain)
                    .map_err(|error| Error::damaged(Kind::Lock.path(&id), error))?;
                if lock.is_stale(self.host()) {
                    others.stale.push(id);
                } else {
                    others.live.push(lock);
                }
                Ok(())
            });
        load.await?;
        Ok(others)
    }
}

/// The locks that are not ours.
#[derive(Default)]
struct Others {
    live: Vec<LockFile>,
    stale: Vec<Id>,
}

/// What came of the work; only when it went well does the lock's own end count.
fn settled<T>(work: Result<T>, released: Result<()>) -> Result<T> {
    let value = work?;
    released.map(|()| value)
}

async fn write(repository: &Repository, exclusive: bool) -> Result<(Id, Stamp)> {
    let fresh = Stamp::now();
    let json = serde_json::to_vec(&LockFile::ours(repository, exclusive, fresh.1))
        .map_err(|error| Error::damaged("a lock", error))?;
    let id = repository
        .backend()
        .save_unpacked(repository.sealer(), Kind::Lock, &json)
        .await?;
    Ok((id, fresh))
}

async fn refresh(repository: Repository, state: Arc<State>, exclusive: bool) {
    let mut wait = REFRESH;
    loop {
        tokio::time::sleep(wait).await;
        let written = write(&repository, exclusive).await;
        // Also after a write that went well: it may have been late, and a new lock does not bring back what
        // somebody removed under the stale one.
        let lost = state.expired();
        match written {
            Ok((new, fresh)) => {
                if !lost {
                    state.renew(fresh);
                }
                // From what it says on, however long it took to be written.
                wait = REFRESH.saturating_sub(fresh.0.elapsed());
                let old = {
                    let mut id = state.id.lock().unwrap_or_else(PoisonError::into_inner);
                    std::mem::replace(&mut *id, new)
                };
                if let Err(error) = repository.backend().tidy(&Kind::Lock.path(&old)).await {
                    tracing::warn!(%error, "the old lock stays until it is stale");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot refresh the repository lock");
                wait = Duration::from_secs(15);
            }
        }
    }
}

impl RepositoryLock {
    /// Fails once the lock can no longer be trusted; asked before every commit.
    pub fn check(&self) -> Result<()> {
        if self.state.expired() {
            return Err(Error::LockLost {
                minutes: STALE_MINUTES,
            });
        }
        Ok(())
    }

    /// Whether nobody else works on the repository at this moment.
    pub(super) fn alone(&self) -> Result<bool> {
        let own = self.id();
        let others = self
            .repository
            .backend()
            .wait(self.repository.other_locks(&own))?;
        Ok(others.live.is_empty())
    }

    fn id(&self) -> Id {
        *self.state.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the lock and waits until it is gone. One that may not be deleted stays until it is stale.
    pub fn release(mut self) -> Result<()> {
        self.refresher.abort();
        let backend = self.repository.backend();
        // It may be about to say that the lock has another name by now.
        backend.wait(&mut self.refresher).ok();
        backend.wait(backend.tidy(&Kind::Lock.path(&self.id())))?;
        self.released = true;
        Ok(())
    }
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        self.refresher.abort();
        // Not waited for: a drop may happen on a thread that must not block. What is not deleted becomes stale.
        let (repository, id) = (self.repository.clone(), self.id());
        self.repository.backend().runtime().spawn(async move {
            repository
                .backend()
                .delete(&Kind::Lock.path(&id))
                .await
                .ok();
        });
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_number_that_another_process_has_by_now_holds_no_lock() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let held_since = |seconds| LockFile {
            time: (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string(),
            exclusive: true,
            hostname: "here".into(),
            username: "me".into(),
            pid: child.id(),
            uid: 0,
            gid: 0,
        };
        let (now, earlier) = (held_since(0), held_since(600));
        assert!(!now.is_stale("here"));
        assert!(
            earlier.is_stale("here"),
            "the process is younger than the lock"
        );
        assert!(!earlier.is_stale("there"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(now.is_stale("here"));
    }

    #[test]
    fn who_enters_alone_removes_the_locks_of_the_dead_and_nobody_else_does() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let repository = Repository::init(Arc::new(InMemory::new()), "s").unwrap();
        let locks = || repository.list_sealed("repo/locks").unwrap().len();
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let left = LockFile {
            pid: dead.id(),
            ..LockFile::ours(&repository, true, Timestamp::now())
        };
        let json = serde_json::to_vec(&left).unwrap();
        let backend = repository.backend();
        let save = backend.save_unpacked(repository.sealer(), Kind::Lock, &json);
        backend.wait(save).unwrap();
        repository.lock().unwrap().release().unwrap();
        assert_eq!(locks(), 1);
        let shared = repository.lock().unwrap();
        repository.lock_exclusively().err().unwrap();
        assert_eq!(locks(), 2, "whoever is kept out removes nothing");
        shared.release().unwrap();
        repository.lock_exclusively().unwrap().release().unwrap();
        assert_eq!(locks(), 0);
    }
}
