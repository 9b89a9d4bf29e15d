//! Buffers that are used again. Fresh buffers of tens of megabytes cost page faults worth almost half of a backup's CPU
//! time; a few that go round cost none.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// A stock of buffers of one capacity.
#[derive(Clone)]
pub(super) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
    capacity: usize,
}

impl Pool {
    pub(super) fn new(capacity: usize) -> Self {
        Pool {
            free: Arc::default(),
            capacity,
        }
    }

    /// An empty buffer of the pool's capacity, which comes back when it is dropped.
    pub(super) fn take(&self) -> Pooled {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let buffer = free.unwrap_or_else(|| Vec::with_capacity(self.capacity));
        Pooled {
            buffer,
            pool: self.clone(),
        }
    }
}

/// A buffer on loan.
pub(super) struct Pooled {
    buffer: Vec<u8>,
    pool: Pool,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // One that had to grow for a giant is not kept: the pool's memory stays what was planned.
        if buffer.capacity() <= self.pool.capacity * 2 {
            buffer.clear();
            self.pool
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(buffer);
        }
    }
}

impl Deref for Pooled {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.buffer
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}
