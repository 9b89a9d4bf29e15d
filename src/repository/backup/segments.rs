//! Large files in segments, which can be read each by itself.

use std::ops::Range;

/// A file is cut at every multiple of this many bytes, wherever its content would be: so several threads can read it.
const SEGMENT: u64 = 256 << 20;
/// Holes at least this long are not read and cut the file; shorter ones are read as the zeros they are.
const HOLE: u64 = 1 << 20;

/// A stretch of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) range: Range<u64>,
    /// Not to be read.
    pub(super) hole: bool,
}

impl Span {
    pub(super) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A file's stretches, in segments that can be read each by itself. The last goes one byte beyond the file's end, unless
/// that is a hole, so that growth is noticed.
pub(super) fn segments(size: u64, holes: &[(u64, u64)]) -> Vec<Vec<Span>> {
    let mut segments: Vec<Vec<Span>> = Vec::new();
    let mut position = 0;
    let mut go_on = |to: u64, hole: bool| {
        while position < to {
            let end = (position - position % SEGMENT + SEGMENT).min(to);
            let range = position..end;
            let span = Span { range, hole };
            match segments.last_mut() {
                Some(segment) if position % SEGMENT > 0 => segment.push(span),
                _ => segments.push(vec![span]),
            }
            position = end;
        }
        position
    };
    for &(start, length) in holes.iter().filter(|(_, length)| *length >= HOLE) {
        go_on(start, false);
        go_on(start + length, true);
    }
    let ends_in_hole = go_on(0, false) == size && size > 0;
    if !ends_in_hole {
        go_on(size + 1, false);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(range: Range<u64>) -> Span {
        Span { range, hole: false }
    }

    fn hole(range: Range<u64>) -> Span {
        Span { range, hole: true }
    }

    #[test]
    fn segments_are_all_of_a_file_and_one_byte_that_should_not_be_there() {
        assert_eq!(segments(0, &[]), [[data(0..1)]]);
        assert_eq!(segments(7, &[]), [[data(0..8)]]);
        let past = SEGMENT..SEGMENT + 1;
        let two = [[data(0..SEGMENT)], [data(past)]];
        assert_eq!(segments(SEGMENT, &[]), two);
    }

    #[test]
    fn long_holes_are_cut_out_and_short_ones_are_not() {
        let (long, short) = ((HOLE, 2 * HOLE), (4 * HOLE, HOLE - 1));
        let spans = [
            data(0..HOLE),
            hole(HOLE..3 * HOLE),
            data(3 * HOLE..6 * HOLE + 1),
        ];
        assert_eq!(segments(6 * HOLE, &[long, short]), [spans]);
        // One that goes on in the next segment, to the file's end.
        let (start, size) = (SEGMENT - HOLE, SEGMENT + HOLE);
        let first = vec![data(0..start), hole(start..SEGMENT)];
        let all = [first, vec![hole(SEGMENT..size)]];
        assert_eq!(segments(size, &[(start, 2 * HOLE)]), all);
    }
}
