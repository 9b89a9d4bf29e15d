//! How much room a text needs. The picture brings no font, so that the room must do for the widest of
//! the sans-serif faces systems fall back to.

/// The widest usual face (DejaVu Sans) over the one whose widths are below (Helvetica and its kin).
const WIDEST: f64 = 1.19;

/// Widths of the printable ASCII characters in bold, in thousandths of the size.
const BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

/// Regular faces are a little narrower than bold ones.
const REGULAR: f64 = 0.94;

/// The width of a text in bold.
pub(super) fn bold(text: &str, size: f64) -> f64 {
    let thousandths: f64 = text
        .chars()
        .map(|character| f64::from(width(character)))
        .sum();
    thousandths * size / 1000.0 * WIDEST
}

/// The width of a text in regular weight.
pub(super) fn regular(text: &str, size: f64) -> f64 {
    bold(text, size) * REGULAR
}

fn width(character: char) -> u16 {
    let ascii = u32::from(character)
        .checked_sub(32)
        .and_then(|index| BOLD.get(index as usize));
    // Wide enough for what is not Latin.
    ascii.copied().unwrap_or(1000)
}

/// The text, or as much of its beginning and end as fits.
pub(super) fn fitted(text: &str, size: f64, space: f64) -> String {
    if bold(text, size) <= space {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    for kept in (2..characters.len()).rev() {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let short: String = characters[..head]
            .iter()
            .chain(&['…'])
            .chain(&characters[characters.len() - tail..])
            .collect();
        if bold(&short, size) <= space {
            return short;
        }
    }
    "…".to_owned()
}
