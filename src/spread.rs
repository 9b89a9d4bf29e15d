//! The same work on many things, on all processors.

use std::panic::resume_unwind;
use std::thread;

/// Things that are worth a thread: it takes longer to start than fewer of them take.
const SHARE: usize = 500;

/// Hands each thread its share of `items` and gives what they made of them, in the order of the items.
pub(crate) fn spread<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&[T]) -> Vec<R> + Sync,
) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(SHARE);
    let work = &work;
    thread::scope(|scope| {
        let shares: Vec<_> = items
            .chunks(share)
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let made = shares.into_iter().map(|share| share.join());
        made.flat_map(|made| made.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_make_comes_in_the_order_of_the_things() {
        let numbers: Vec<usize> = (0..SHARE * 3 + 1).collect();
        let doubled = spread(&numbers, |share| share.iter().map(|n| n * 2).collect());
        assert!(doubled.iter().enumerate().all(|(at, n)| at * 2 == *n));
        assert_eq!(doubled.len(), numbers.len());
        assert!(spread(&[], |share: &[u8]| share.to_vec()).is_empty());
    }
}
