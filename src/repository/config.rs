//! The repository's `config` object: its version, its id, and the secret that keys the chunker.

use serde::{Deserialize, Serialize};

use super::crypto::random;
use super::error::{Error, Result};

/// restic's `config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) chunker_polynomial: String,
}

impl Config {
    /// A new repository of format 2.
    pub(super) fn generate() -> Self {
        let mut id = [0; 32];
        random(&mut id);
        Config {
            version: 2,
            id: hex::encode(id),
            chunker_polynomial: format!("{:x}", random_irreducible()),
        }
    }

    pub(super) fn parse(plain: &[u8]) -> Result<Self> {
        let config: Config =
            serde_json::from_slice(plain).map_err(|error| Error::damaged("config", error))?;
        match config.version {
            2 => Ok(config),
            // Version 1 has no compression: our packs in it would be unreadable to the tools that made it.
            other => Err(Error::Unsupported {
                object: "config".into(),
                what: format!("repository format {other}; run `restic migrate upgrade_repo_v2`"),
            }),
        }
    }
}

/// restic cuts with a Rabin fingerprint and refuses a config whose polynomial is reducible. We cut with another
/// chunker, but a user's restic must be able to go on in our repository.
const DEGREE: u32 = 53;

fn random_irreducible() -> u64 {
    loop {
        let mut bytes = [0; 8];
        random(&mut bytes);
        // Degree exactly 53, constant term set: anything divisible by x is reducible.
        let candidate = u64::from_le_bytes(bytes) & ((1 << (DEGREE + 1)) - 1) | 1 << DEGREE | 1;
        if irreducible(candidate) {
            return candidate;
        }
    }
}

/// Ben-Or: f is irreducible iff gcd(f, x^(2^i) - x) = 1 for all i up to half its degree.
fn irreducible(f: u64) -> bool {
    let mut power = 2u64;
    for _ in 0..DEGREE / 2 {
        power = multiply(power, power, f);
        if gcd(f, power ^ 2) != 1 {
            return false;
        }
    }
    true
}

fn degree(f: u64) -> i32 {
    63 - f.leading_zeros() as i32
}

/// a · b mod f over GF(2).
fn multiply(mut a: u64, mut b: u64, f: u64) -> u64 {
    let top = 1 << degree(f);
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a & top != 0 {
            a ^= f;
        }
    }
    product
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        std::mem::swap(&mut a, &mut b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_known_to_restic_are_irreducible() {
        // From the format's own documentation and test data.
        assert!(irreducible(0x3DA3358B4DC173));
        assert!(irreducible(0x25b468838dcb75));
        assert!(!irreducible(0x3DA3358B4DC173 ^ 0b110));
        let own = random_irreducible();
        assert_eq!(degree(own), 53);
        assert!(irreducible(own));
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let text = br#"{"version":1,"id":"x","chunker_polynomial":"3DA3358B4DC173"}"#;
        assert!(matches!(
            Config::parse(text),
            Err(Error::Unsupported { .. })
        ));
    }
}
