//! What a running operation tells while it runs, and how it is asked to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::{Error, Result};

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
    pub bytes_transferred: AtomicU64,
    cancelled: AtomicBool,
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
