//! Numbers as people read them.

use std::time::Duration;

/// Bytes in binary units, three significant digits: `999 B`, `1.21 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number with its digits grouped: `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun: `1 object`, `2 objects`.
pub fn plural(number: usize, noun: &str) -> String {
    let number_text = count(number as u64);
    match (number, noun) {
        (1, _) => format!("{number_text} {noun}"),
        (_, noun) if noun.ends_with('s') || noun.ends_with('x') => {
            format!("{number_text} {noun}es")
        }
        (_, noun) if noun.ends_with('y') => format!("{number_text} {}ies", &noun[..noun.len() - 1]),
        _ => format!("{number_text} {noun}s"),
    }
}

/// A time span: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_three_significant_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.50 KiB");
        assert_eq!(bytes(220 << 20), "220 MiB");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(plural(1, "object"), "1 object");
        assert_eq!(plural(2, "class"), "2 classes");
        assert_eq!(plural(3, "entry"), "3 entries");
    }

    #[test]
    fn spans_use_the_unit_that_fits() {
        assert_eq!(span(Duration::from_millis(420)), "0.4 s");
        assert_eq!(span(Duration::from_secs(185)), "3 min 05 s");
        assert_eq!(span(Duration::from_secs(7620)), "2 h 07 min");
    }
}
