//! Memory by size: mimalloc for the many small blocks of objects, the system for large ones.
//!
//! mimalloc gives a block that another thread frees back to the thread that took it, when that takes its next one. A
//! restore from a folder takes buffers of megabytes in threads that read and frees them in threads that write, and all
//! that was restored stayed in memory. The system gives large blocks back at once, whoever frees them.

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

/// Blocks from this size on are the system's: also those in which one blob is read.
const LARGE: usize = 128 << 10;

/// The program's allocator.
pub(crate) struct BySize;

// SAFETY: both allocators keep the contract, and a block's size, which does not change while it lives, says whose it is.
unsafe impl GlobalAlloc for BySize {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.alloc(layout),
                false => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.alloc_zeroed(layout),
                false => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on, to the allocator that the size says.
        unsafe {
            match layout.size() < LARGE {
                true => MiMalloc.dealloc(block, layout),
                false => System.dealloc(block, layout),
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on; a block that changes sides is copied as far as both reach, and
        // the old one is freed only when there is a new one.
        unsafe {
            match (layout.size() < LARGE, size < LARGE) {
                (true, true) => MiMalloc.realloc(block, layout, size),
                (false, false) => System.realloc(block, layout, size),
                _ => {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        block.copy_to_nonoverlapping(new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_keeps_its_content_when_it_grows_and_shrinks_past_the_border() {
        let mut bytes: Vec<u8> = Vec::with_capacity(16);
        for number in 0..3 * LARGE {
            bytes.push(number as u8);
        }
        bytes.truncate(LARGE / 2);
        bytes.shrink_to_fit();
        bytes.extend(std::iter::repeat_n(7, LARGE));
        let right = |(at, byte): (usize, &u8)| *byte == if at < LARGE / 2 { at as u8 } else { 7 };
        assert!(bytes.iter().enumerate().all(right));
        assert!(vec![0u8; 2 * LARGE].iter().all(|byte| *byte == 0));
    }
}
