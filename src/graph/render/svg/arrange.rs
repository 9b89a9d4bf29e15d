//! The order of items in their columns, and their heights: few crossings, straight lines.
//!
//! Sweeps over the columns, to the right and back, put each item at the middle of those it is joined
//! to (barycentre), sort by that, and move items apart as little as possible.

use super::grid::{Grid, Item, Side};

/// Sweeps that may change the order, and those after them that only straighten.
const ORDERING: usize = 14;
const STRAIGHTENING: usize = 10;

/// Gives every item its place in its column.
pub(super) fn arrange(grid: &mut Grid) {
    let tops = tops(grid);
    for column in 0..grid.columns.len() {
        settle(grid, column, &tops, |_, item| item.y, false);
    }
    let mut best = (crossings(grid, &tops), grid.clone());
    for sweep in 0..ORDERING {
        let rightwards = sweep % 2 == 0;
        let wish = |grid: &Grid, item: &Item| {
            let joined = if rightwards { &item.left } else { &item.right };
            middle(grid, &tops, item, joined).unwrap_or(item.y)
        };
        for column in columns(grid, rightwards) {
            settle(grid, column, &tops, wish, true);
        }
        let count = crossings(grid, &tops);
        if count < best.0 {
            best = (count, grid.clone());
        }
    }
    *grid = best.1;
    for sweep in 0..STRAIGHTENING {
        // A lane goes straight on from what it leads to, and bends late; boxes stand amid their lines.
        let wish = |grid: &Grid, item: &Item| {
            let both: Vec<usize> = item.left.iter().chain(&item.right).copied().collect();
            let joined = match item.towards {
                Some(Side::Left) => &item.left,
                Some(Side::Right) => &item.right,
                None => &both,
            };
            middle(grid, &tops, item, joined).unwrap_or(item.y)
        };
        for column in columns(grid, sweep % 2 == 1) {
            settle(grid, column, &tops, wish, false);
        }
    }
}

fn columns(grid: &Grid, rightwards: bool) -> Vec<usize> {
    let all = 0..grid.columns.len();
    if rightwards {
        all.collect()
    } else {
        all.rev().collect()
    }
}

/// The middle of those an item is joined to, from the top of the item's band.
fn middle(grid: &Grid, tops: &[f64], item: &Item, joined: &[usize]) -> Option<f64> {
    let sum: f64 = joined
        .iter()
        .map(|other| grid.items[*other].y + tops[grid.items[*other].band])
        .sum();
    (!joined.is_empty()).then(|| sum / joined.len() as f64 - tops[item.band])
}

/// How often lines cross between columns.
fn crossings(grid: &Grid, tops: &[f64]) -> usize {
    let at = |item: usize| tops[grid.items[item].band] + grid.items[item].y;
    let mut count = 0;
    for column in &grid.columns {
        let mut lines: Vec<(f64, f64)> = column
            .slots
            .iter()
            .flatten()
            .flat_map(|left| {
                let joined = &grid.items[*left].right;
                joined.iter().map(|right| (at(*left), at(*right)))
            })
            .collect();
        lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut ends: Vec<f64> = lines.into_iter().map(|(_, end)| end).collect();
        count += inversions(&mut ends);
    }
    count
}

/// Pairs that stand in the wrong order; sorts on the way (merge sort).
fn inversions(values: &mut [f64]) -> usize {
    if values.len() < 2 {
        return 0;
    }
    let half = values.len() / 2;
    let mut count = inversions(&mut values[..half]) + inversions(&mut values[half..]);
    let (left, right) = (values[..half].to_vec(), values[half..].to_vec());
    let (mut i, mut j) = (0, 0);
    for slot in values.iter_mut() {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            *slot = left[i];
            i += 1;
        } else {
            *slot = right[j];
            j += 1;
            count += left.len() - i;
        }
    }
    count
}

/// Upper ends of the bands, without what stands between them.
fn tops(grid: &Grid) -> Vec<f64> {
    let mut top = 0.0;
    (0..grid.bands.len())
        .map(|band| {
            let here = top;
            top += height(grid, band);
            here
        })
        .collect()
}

/// The room a band needs: that of its fullest column.
pub(super) fn height(grid: &Grid, band: usize) -> f64 {
    grid.columns
        .iter()
        .map(|column| {
            column.slots[band]
                .iter()
                .map(|item| grid.items[*item].height)
                .sum()
        })
        .fold(0.0, f64::max)
}

/// Puts the items of one column as near as possible to where they wish to be.
fn settle(
    grid: &mut Grid,
    column: usize,
    tops: &[f64],
    wish: impl Fn(&Grid, &Item) -> f64,
    reorder: bool,
) {
    for band in 0..tops.len() {
        let mut slot = grid.columns[column].slots[band].clone();
        let mut wishes: Vec<(f64, usize)> = slot
            .iter()
            .map(|item| (wish(grid, &grid.items[*item]), *item))
            .collect();
        if reorder {
            wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
            slot = wishes.iter().map(|(_, item)| *item).collect();
        }
        let heights: Vec<f64> = slot.iter().map(|item| grid.items[*item].height).collect();
        let wanted: Vec<f64> = wishes.iter().map(|(wish, _)| *wish).collect();
        let middles = spread(&wanted, &heights, height(grid, band));
        for (item, middle) in slot.iter().zip(middles) {
            grid.items[*item].y = middle;
        }
        grid.columns[column].slots[band] = slot;
    }
}

/// Middles nearest to those wanted, in their order, without overlap, within `room`: least squares by
/// pooling neighbours that push each other.
fn spread(wanted: &[f64], heights: &[f64], room: f64) -> Vec<f64> {
    let mut before = 0.0;
    let mut offsets = Vec::with_capacity(heights.len());
    for height in heights {
        offsets.push(before + height / 2.0);
        before += height;
    }
    let slack = (room - before).max(0.0);
    // Blocks of items that touch: sum of wishes, number of items.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (wanted, offset) in wanted.iter().zip(&offsets) {
        let mut block = (wanted - offset, 1);
        while let Some((sum, count)) = blocks.pop() {
            if sum / (count as f64) <= block.0 / (block.1 as f64) {
                blocks.push((sum, count));
                break;
            }
            block = (block.0 + sum, block.1 + count);
        }
        blocks.push(block);
    }
    blocks
        .into_iter()
        .flat_map(|(sum, count)| std::iter::repeat_n(sum / count as f64, count))
        .zip(offsets)
        .map(|(start, offset)| start.clamp(0.0, slack) + offset)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_counted() {
        assert_eq!(inversions(&mut [1.0, 2.0, 2.0, 3.0]), 0);
        assert_eq!(inversions(&mut [3.0, 2.0, 1.0]), 3);
        assert_eq!(inversions(&mut [2.0, 4.0, 1.0, 3.0]), 3);
    }

    #[test]
    fn items_stand_where_they_wish_or_side_by_side() {
        assert_eq!(spread(&[50.0], &[10.0], 100.0), [50.0]);
        assert_eq!(spread(&[50.0, 50.0], &[10.0, 20.0], 100.0), [42.5, 57.5]);
        assert_eq!(spread(&[-9.0, 0.0], &[10.0, 10.0], 100.0), [5.0, 15.0]);
        assert_eq!(spread(&[999.0], &[10.0], 100.0), [95.0]);
    }
}
