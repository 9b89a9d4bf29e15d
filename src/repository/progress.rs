//! What a running operation tells while it runs, and how it is asked to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Repository;
use super::error::{Error, Result};
use super::outage::Outage;

/// Counters of one backup, restore, or verify. Shared by reference: the doing side adds, the telling side reads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Entries done, whatever their kind.
    pub files_done: AtomicU64,
    /// Bytes of content done, as files count them (a hole counts too).
    pub bytes_done: AtomicU64,
    /// Entries known so far; grows while a tree is walked.
    pub files_total: AtomicU64,
    /// Bytes known so far.
    pub bytes_total: AtomicU64,
    /// Bytes sent to or received from the store.
    pub bytes_transferred: Arc<AtomicU64>,
    cancelled: AtomicBool,
    outage: OnceLock<Outage>,
}

impl Progress {
    /// Asks the operation to stop. It ends with [`Error::Cancelled`] soon, having committed nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Tells from now on when that repository's store is away; the first one named counts.
    pub(crate) fn follow(&self, repository: &Repository) {
        self.outage.get_or_init(|| repository.outage().clone());
    }

    /// Why the store is waited for, while it is.
    pub(crate) fn waits_for_store(&self) -> Option<String> {
        self.outage.get().and_then(Outage::reason)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// Waits for a message, but not beyond the end of the run: `None` when nobody can send one any more.
///
/// A plain `recv` would wait for ever: a job that was queued for a thread that failed stays in its queue, and with it the
/// sender of its answer, for as long as anybody can still queue jobs.
pub(super) fn receive<T>(
    queue: &Receiver<T>,
    mut check: impl FnMut() -> Result<()>,
) -> Result<Option<T>> {
    loop {
        match queue.recv_timeout(Duration::from_millis(100)) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => check()?,
        }
    }
}
