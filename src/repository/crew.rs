//! What the threads of one backup, restore or comparison have in common: whether to go on, why not, and
//! what they counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::backup::Totals;
use super::error::{Error, Result};
use super::node::{Node, NodeKind};
use super::progress::Progress;

/// Stops all threads when one fails, and remembers the failure that started it.
#[derive(Default)]
pub(super) struct Crew {
    failure: Mutex<Option<Error>>,
    stop: AtomicBool,
}

impl Crew {
    /// Whether to go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when another thread failed or the operation was asked to stop.
    pub(super) fn check(&self, progress: &Progress) -> Result<()> {
        match self.is_stopped() {
            true => Err(Error::Cancelled),
            false => progress.check(),
        }
    }

    /// The outcome of a thread: its failure stops the others. The first cause is the one that is told.
    pub(super) fn settle(&self, result: Result<()>) {
        let Err(error) = result else { return };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure
            .as_ref()
            .is_none_or(|first| matches!(first, Error::Cancelled))
        {
            *failure = Some(error);
        }
        self.stop();
    }

    /// Stops every thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The failure that started it all, if any thread failed.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Entries that are done, by sort.
#[derive(Default)]
pub(super) struct Tally {
    files: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    /// Counts an entry that is done.
    pub(super) fn count(&self, node: &Node, progress: &Progress) {
        let counter = match node.kind {
            NodeKind::File => &self.files,
            NodeKind::Directory => &self.directories,
            _ => &self.others,
        };
        Progress::add(counter, 1);
        Progress::add(&self.bytes, node.size);
        Progress::add(&progress.files_done, 1);
    }

    pub(super) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            files: read(&self.files),
            directories: read(&self.directories),
            others: read(&self.others),
            bytes: read(&self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_is_told_and_stops_everyone() {
        let (crew, progress) = (Crew::default(), Progress::default());
        crew.settle(Ok(()));
        assert!(crew.check(&progress).is_ok());
        // A thread that was stopped is no cause.
        crew.settle(Err(Error::Cancelled));
        let cause = |what: &str| Error::SnapshotNotFound {
            wanted: what.into(),
        };
        crew.settle(Err(cause("first")));
        crew.settle(Err(cause("second")));
        assert!(matches!(crew.check(&progress), Err(Error::Cancelled)));
        assert!(
            crew.take_failure()
                .is_some_and(|error| error.to_string().contains("first"))
        );
        assert!(crew.take_failure().is_none());
    }
}
