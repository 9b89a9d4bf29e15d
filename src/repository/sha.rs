//! Two SHA-256 at once.
//!
//! The rounds of one SHA-256 wait for each other: a processor with SHA instructions works half of the time. Two
//! independent ones fill each other's gaps, for almost the price of one. The engine often has two: a blob and the one
//! after it, or a blob that is read back and the pack it went into. Where there are no such instructions, the two are
//! done one after the other by aws-lc, which is as good as it gets there.

use super::id::Id;

const BLOCK: usize = 64;
#[cfg(target_arch = "x86_64")]
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The ids of two byte strings; best if they are of like length.
pub(super) fn pair(a: &[u8], b: &[u8]) -> (Id, Id) {
    let mut growing = Growing::default();
    let b = growing.together(a, b);
    (growing.finish(a), b)
}

/// The hash of a buffer that grows: each step takes in what came, while another string is hashed.
#[derive(Default)]
pub(super) struct Growing {
    /// State after the first `done` bytes. `None` until the first step that used the instructions.
    state: Option<[u32; 8]>,
    done: usize,
}

impl Growing {
    /// The id of `other`, and on the way as much of `buffer` as there are whole blocks. What was in the buffer at an
    /// earlier step must still be there.
    pub(super) fn together(&mut self, buffer: &[u8], other: &[u8]) -> Id {
        #[cfg(target_arch = "x86_64")]
        if x86::available() {
            let fresh = &buffer[self.done..];
            let fresh = &fresh[..fresh.len() / BLOCK * BLOCK];
            let mut states = [self.state.unwrap_or(START), START];
            let whole = other.len() / BLOCK * BLOCK;
            x86::two(&mut states, fresh, &other[..whole]);
            self.state = Some(states[0]);
            self.done += fresh.len();
            return x86::finish(states[1], &other[whole..], other.len());
        }
        let _ = buffer;
        Id::of(other)
    }

    /// The id of the whole buffer.
    pub(super) fn finish(self, buffer: &[u8]) -> Id {
        #[cfg(target_arch = "x86_64")]
        if let Some(mut state) = self.state {
            let rest = &buffer[self.done..];
            let (blocks, tail) = rest.split_at(rest.len() / BLOCK * BLOCK);
            x86::one(&mut state, blocks);
            return x86::finish(state, tail, buffer.len());
        }
        Id::of(buffer)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
        _mm_shuffle_epi8, _mm_shuffle_epi32,
    };

    use super::BLOCK;
    use crate::repository::id::Id;

    #[rustfmt::skip]
    const ROUNDS: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    /// Unoptimised, this file is many times slower than aws-lc, which is never so: a debug build has only its unit tests
    /// use it.
    pub(super) fn available() -> bool {
        cfg!(any(test, not(debug_assertions)))
            && std::arch::is_x86_feature_detected!("sha")
            && std::arch::is_x86_feature_detected!("sse4.1")
    }

    /// Takes whole blocks of two strings into their states: side by side as far as the shorter one goes.
    pub(super) fn two(states: &mut [[u32; 8]; 2], a: &[u8], b: &[u8]) {
        let both = a.len().min(b.len());
        // SAFETY: only called where `available` said that the processor has the instructions.
        unsafe { compress(states, [&a[..both], &b[..both]]) };
        let [first, second] = states;
        one(first, &a[both..]);
        one(second, &b[both..]);
    }

    /// Takes whole blocks into a state.
    pub(super) fn one(state: &mut [u32; 8], data: &[u8]) {
        let mut states = [*state];
        // SAFETY: a state exists only where `available` said that the processor has the instructions.
        unsafe { compress(&mut states, [data]) };
        [*state] = states;
    }

    /// The padding, the length, and the digest.
    pub(super) fn finish(mut state: [u32; 8], tail: &[u8], length: usize) -> Id {
        let mut last = [0u8; 2 * BLOCK];
        last[..tail.len()].copy_from_slice(tail);
        last[tail.len()] = 0x80;
        let end = if tail.len() < BLOCK - 8 {
            BLOCK
        } else {
            2 * BLOCK
        };
        last[end - 8..end].copy_from_slice(&(length as u64 * 8).to_be_bytes());
        one(&mut state, &last[..end]);
        let mut id = Id([0; 32]);
        for (bytes, word) in id.0.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        id
    }

    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn load(bytes: &[u8]) -> __m128i {
        let (mut low, mut high) = ([0; 8], [0; 8]);
        low.copy_from_slice(&bytes[..8]);
        high.copy_from_slice(&bytes[8..16]);
        let words = _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low));
        // The words of SHA-256 are big-endian.
        let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        _mm_shuffle_epi8(words, order)
    }

    /// `N` strings of one length in blocks, each with its own state. The compiler keeps the order of the source within a
    /// lane only, so the lanes fill each other's waits.
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn compress<const N: usize>(states: &mut [[u32; 8]; N], data: [&[u8]; N]) {
        let blocks = data.iter().map(|one| one.len() / BLOCK).min().unwrap_or(0);
        // The instructions want the state as the words a, b, e, f and c, d, g, h.
        let mut abef = [_mm_setzero_si128(); N];
        let mut cdgh = [_mm_setzero_si128(); N];
        for lane in 0..N {
            let [a, b, c, d, e, f, g, h] = states[lane].map(u32::cast_signed);
            abef[lane] = _mm_set_epi32(a, b, e, f);
            cdgh[lane] = _mm_set_epi32(c, d, g, h);
        }
        for block in 0..blocks {
            let (before_abef, before_cdgh) = (abef, cdgh);
            let mut words = [[_mm_setzero_si128(); 4]; N];
            for lane in 0..N {
                let block = &data[lane][block * BLOCK..(block + 1) * BLOCK];
                for part in 0..4 {
                    words[lane][part] = load(&block[16 * part..16 * part + 16]);
                }
            }
            for quarter in 0..4 {
                for part in 0..4 {
                    let [k0, k1, k2, k3] = std::array::from_fn(|number| {
                        ROUNDS[16 * quarter + 4 * part + number].cast_signed()
                    });
                    let constants = _mm_set_epi32(k3, k2, k1, k0);
                    for lane in 0..N {
                        let w = &mut words[lane];
                        if quarter > 0 {
                            let sum = _mm_sha256msg1_epu32(w[part], w[(part + 1) % 4]);
                            let shifted =
                                _mm_alignr_epi8::<4>(w[(part + 3) % 4], w[(part + 2) % 4]);
                            let sum = _mm_add_epi32(sum, shifted);
                            w[part] = _mm_sha256msg2_epu32(sum, w[(part + 3) % 4]);
                        }
                        let round = _mm_add_epi32(w[part], constants);
                        cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], round);
                        let round = _mm_shuffle_epi32::<0x0e>(round);
                        abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], round);
                    }
                }
            }
            for lane in 0..N {
                abef[lane] = _mm_add_epi32(abef[lane], before_abef[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], before_cdgh[lane]);
            }
        }
        for lane in 0..N {
            let (x, y) = (abef[lane], cdgh[lane]);
            states[lane] = [
                _mm_extract_epi32::<3>(x),
                _mm_extract_epi32::<2>(x),
                _mm_extract_epi32::<3>(y),
                _mm_extract_epi32::<2>(y),
                _mm_extract_epi32::<1>(x),
                _mm_extract_epi32::<0>(x),
                _mm_extract_epi32::<1>(y),
                _mm_extract_epi32::<0>(y),
            ]
            .map(i32::cast_unsigned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunker::tests::stream;
    use super::*;

    const LENGTHS: [usize; 14] = [
        0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000, 4096, 70_001,
    ];

    #[test]
    fn two_at_once_are_the_same_as_one_after_the_other() {
        let data = stream(80_000);
        for a in LENGTHS {
            for b in LENGTHS {
                let (a, b) = (&data[..a], &data[7..7 + b]);
                assert_eq!(
                    pair(a, b),
                    (Id::of(a), Id::of(b)),
                    "{} and {}",
                    a.len(),
                    b.len()
                );
            }
        }
    }

    #[test]
    fn a_buffer_that_grows_is_hashed_as_a_whole() {
        let data = stream(300_000);
        let mut growing = Growing::default();
        let (mut buffer, mut rest) = (Vec::new(), data.as_slice());
        for length in LENGTHS {
            let (part, after) = rest.split_at(length);
            buffer.extend_from_slice(part);
            assert_eq!(
                growing.together(&buffer, &data[..length * 3]),
                Id::of(&data[..length * 3])
            );
            rest = after;
        }
        buffer.extend_from_slice(rest);
        assert_eq!(growing.finish(&buffer), Id::of(&data));
    }
}
