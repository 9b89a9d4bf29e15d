//! Where a file is cut into blobs: content-defined, so that an insertion moves one or two cuts and not all.
//!
//! FastCDC with normalised chunking (Xia et al., 2016/2020): a gear hash over the last 64 bytes, a strict mask before the
//! wanted size and a loose one after it. Our own few lines, with golden vectors, because a cut point that moves between
//! two versions of a library means that every volume is stored a second time. The gear table is derived from
//! the repository's chunker secret: without it, the lengths of blobs tell less about known files.

use super::id::Hasher;

/// Sizes that rule the cutting, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) min: usize,
    pub(super) average: usize,
    pub(super) max: usize,
}

/// For files up to [`HUGE`]. A change costs two to three blobs whatever it touches, so that smaller ones make increments
/// smaller: a page of a database here and there, 20 changes of 1 MiB. Each costs an entry in index and tree.
pub(super) const NORMAL: Sizes = Sizes {
    min: 256 << 10,
    average: 512 << 10,
    max: 2 << 20,
};
/// For larger ones: each blob costs 67 bytes of tree, and a 1 TiB file must not need more than 20 MB of them.
pub(super) const LARGE: Sizes = Sizes {
    min: 2 << 20,
    average: 4 << 20,
    max: 8 << 20,
};
/// Above this many bytes a file is cut by [`LARGE`].
pub(super) const HUGE: u64 = 64 << 30;

/// A gear table and the masks for one set of sizes.
#[derive(Clone)]
pub(super) struct Chunker {
    gear: Box<[u64; 256]>,
    sizes: Sizes,
    strict: u64,
    loose: u64,
}

impl Chunker {
    pub(super) fn new(secret: &str, sizes: Sizes) -> Self {
        let mut gear = Box::new([0u64; 256]);
        for (value, entry) in gear.iter_mut().enumerate() {
            let mut hasher = Hasher::new();
            hasher.update(b"ferry gear v1\0");
            hasher.update(secret.as_bytes());
            hasher.update(&[0, value as u8]);
            let digest = hasher.finish().0;
            *entry = u64::from_le_bytes([
                digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6],
                digest[7],
            ]);
        }
        // One bit more before the wanted size and one less after it ("normalisation level 1"); the high bits depend on
        // the most bytes.
        let bits = sizes.average.ilog2();
        let mask = |count: u32| !0u64 << (64 - count);
        Chunker {
            gear,
            sizes,
            strict: mask(bits + 1),
            loose: mask(bits - 1),
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Length of the first blob of `data`. The caller passes at least `max` bytes, or all that is left.
    pub(super) fn cut(&self, data: &[u8]) -> usize {
        let Sizes { min, average, max } = self.sizes;
        if data.len() <= min {
            return data.len();
        }
        let end = data.len().min(max);
        let middle = end.min(average);
        let mut hash = 0u64;
        // The hash forgets a byte after 64 steps: warming it up just before `min` sees all it can see there.
        for &byte in &data[min - 64..min] {
            hash = (hash << 1).wrapping_add(self.gear[usize::from(byte)]);
        }
        for (mask, range) in [(self.strict, min..middle), (self.loose, middle..end)] {
            let start = range.start;
            if let Some(length) = self.scan(&mut hash, mask, &data[range]) {
                return start + length;
            }
        }
        end
    }

    /// The length up to and with the first byte after which `hash` has no bit of `mask`.
    fn scan(&self, hash: &mut u64, mask: u64, data: &[u8]) -> Option<usize> {
        let gear = |byte: u8| self.gear[usize::from(byte)];
        let (fours, rest) = data.as_chunks::<4>();
        for (number, four) in fours.iter().enumerate() {
            // Each of the four hashes is made from the one before the four: one of them alone would have to wait for
            // its predecessor.
            let [a, b, c, d] = four.map(gear);
            let two = (a << 1).wrapping_add(b);
            let three = (two << 1).wrapping_add(c);
            let last = (*hash << 4).wrapping_add((three << 1).wrapping_add(d));
            let hashes = [
                (*hash << 1).wrapping_add(a),
                (*hash << 2).wrapping_add(two),
                (*hash << 3).wrapping_add(three),
                last,
            ];
            if let Some(first) = hashes.iter().position(|hash| hash & mask == 0) {
                return Some(4 * number + first + 1);
            }
            *hash = last;
        }
        for (offset, &byte) in rest.iter().enumerate() {
            *hash = (*hash << 1).wrapping_add(gear(byte));
            if *hash & mask == 0 {
                return Some(data.len() - rest.len() + offset + 1);
            }
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A fixed stream nobody can change under us: SHA-256 in counter mode.
    pub(in super::super) fn stream(length: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(length + 32);
        let mut counter = 0u64;
        while data.len() < length {
            data.extend_from_slice(&super::super::id::Id::of(&counter.to_le_bytes()).0);
            counter += 1;
        }
        data.truncate(length);
        data
    }

    fn cuts(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let length = chunker.cut(data);
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    #[test]
    fn cut_points_are_golden() {
        let data = stream(24 << 20);
        let chunker = Chunker::new("3da3358b4dc173", NORMAL);
        let golden = [
            1410275, 575173, 733646, 741575, 560255, 583172, 274564, 742301, 1079695, 532585,
            774529, 857367, 1466654, 569817, 450109, 567887, 650129, 641254, 844152, 316558,
            407678, 543513, 671453, 358995, 570122, 626495, 837490, 856343, 579892, 474239, 399616,
            798200, 807522, 576972, 582485, 311561, 797089, 594462,
        ];
        assert_eq!(cuts(&chunker, &data), golden);
        let chunker = Chunker::new("3da3358b4dc173", LARGE);
        assert_eq!(
            cuts(&chunker, &data),
            [4878660, 5453131, 4447584, 5918158, 4468291]
        );
    }

    #[test]
    fn an_insertion_moves_few_cuts() {
        let data = stream(24 << 20);
        let chunker = Chunker::new("1", NORMAL);
        let mut changed = data.clone();
        changed.splice(5 << 20..5 << 20, *b"inserted");
        let (before, after) = (cuts(&chunker, &data), cuts(&chunker, &changed));
        let kept = after
            .iter()
            .rev()
            .zip(before.iter().rev())
            .take_while(|(a, b)| a == b)
            .count();
        assert!(kept > before.len() / 2, "{kept} of {} kept", before.len());
    }

    #[test]
    fn sizes_hold_and_nothing_is_lost() {
        let data = stream(9 << 20);
        let chunker = Chunker::new("2", NORMAL);
        let lengths = cuts(&chunker, &data);
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        assert!(
            lengths[..lengths.len() - 1]
                .iter()
                .all(|l| (NORMAL.min..=NORMAL.max).contains(l))
        );
        assert_eq!(
            cuts(&chunker, &vec![0; 9 << 20])[..2],
            [NORMAL.max, NORMAL.max]
        );
        assert_eq!(chunker.cut(&[]), 0);
    }
}
