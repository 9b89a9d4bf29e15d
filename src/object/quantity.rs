//! Kubernetes quantities: `1Gi`, `100m`, `2e3`.

use std::cmp::Ordering;
use std::fmt;

/// A quantity, exact to a billionth; larger and finer ones do not occur in what Ferry compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nano: i128,
}

const UNIT: i128 = 1_000_000_000;

/// In the order in which they are preferred among texts of one length.
const SUFFIXES: [&str; 16] = [
    "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "k", "M", "G", "T", "P", "E", "m", "u", "n",
];

impl Quantity {
    /// Reads a quantity; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|character: char| !character.is_ascii_digit() && !".+-".contains(character))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (multiplier, divisor) = scale(suffix)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let value: i128 = digits.parse().ok()?;
        let below = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let scaled = value.checked_mul(UNIT)?.checked_mul(multiplier)?;
        Some(Self {
            nano: scaled.checked_div(divisor.checked_mul(below)?)?,
        })
    }

    /// Nothing of it.
    pub const NONE: Self = Self { nano: 0 };

    /// The quantity a number of times.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            nano: self.nano.saturating_mul(i128::from(count)),
        }
    }

    /// The quantity in whole units, rounded up: a volume must not be made too small.
    pub fn ceil(self) -> u64 {
        let whole = self.nano.div_euclid(UNIT) + i128::from(self.nano.rem_euclid(UNIT) != 0);
        u64::try_from(whole).unwrap_or(if whole < 0 { 0 } else { u64::MAX })
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let nano = self.nano.saturating_add(other.nano);
        Self { nano }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let nano = self.nano.saturating_sub(other.nano);
        Self { nano }
    }
}

/// The shortest way to write it; of two as short the one in powers of 1024. Equal quantities are written
/// alike.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = SUFFIXES
            .iter()
            .filter_map(|suffix| {
                let (multiplier, divisor) = scale(suffix)?;
                let scaled = self.nano.checked_mul(divisor)?;
                let unit = UNIT * multiplier;
                (scaled % unit == 0).then(|| format!("{}{suffix}", scaled / unit))
            })
            .min_by_key(String::len);
        f.write_str(&written.unwrap_or_default())
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_read_as_the_api_server_does() {
        let bytes = |text| Quantity::parse(text).unwrap().ceil();
        assert_eq!(bytes("1Gi"), 1 << 30);
        assert_eq!(bytes("1.5Gi"), 3 << 29);
        assert_eq!(bytes("10G"), 10_000_000_000);
        assert_eq!(bytes("2e3"), 2_000);
        assert_eq!(bytes("100m"), 1);
        assert_eq!(bytes("8Ei"), 1 << 63);
    }

    #[test]
    fn amounts_are_added_taken_away_and_multiplied() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!(of("1") + of("500m"), of("1500m"));
        assert_eq!((of("1Gi") - of("256Mi")).to_string(), "768Mi");
        assert_eq!(of("500m").times(3).to_string(), "1500m");
    }

    #[test]
    fn equal_amounts_are_equal_however_written() {
        assert_eq!(Quantity::parse("0.1"), Quantity::parse("100m"));
        assert_eq!(Quantity::parse("1024Mi"), Quantity::parse("1Gi"));
        assert!(Quantity::parse("1G") < Quantity::parse("1Gi"));
    }

    #[test]
    fn equal_amounts_are_written_alike() {
        let written = |text| Quantity::parse(text).unwrap().to_string();
        for (text, expected) in [
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("0.1", "100m"),
            ("1e9", "1G"),
            ("0", "0"),
            ("1536Mi", "1536Mi"),
            ("1.5Gi", "1536Mi"),
            ("500M", "500M"),
            ("0.1n", "0"),
            ("-2Ki", "-2Ki"),
        ] {
            assert_eq!(written(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "Gi", "1Xi", "1.2.3", "ten", "1e"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
