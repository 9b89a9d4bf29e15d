//! Key files: the master key, sealed under a password by scrypt.
//!
//! A repository may have many; each opens the same master key. `keys/<id>` is plain JSON.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::crypto::{MasterKey, NONCE, Sealer, random};
use super::error::{Error, Result};

/// What scrypt may cost at most, so that a hostile key file cannot exhaust the machine: 128·N·r bytes.
const MEMORY_LIMIT: u64 = 1 << 30;
/// What our own key files cost: N = 2^15, r = 8, p = 1 is 32 MiB and about 0.1 s, as restic calibrates it.
const LOG_N: u8 = 15;

/// restic's key file.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyFile {
    pub(super) created: String,
    pub(super) username: String,
    pub(super) hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

impl KeyFile {
    /// Seals `master` under `password`.
    pub(super) fn create(
        master: &MasterKey,
        password: &str,
        user: &str,
        host: &str,
    ) -> Result<Self> {
        let mut salt = [0u8; 64];
        random(&mut salt);
        let derived = derive(password, &salt, 1 << LOG_N, 8, 1)
            .map_err(|what| Error::damaged("a new key", what))?;
        let mut data = vec![0u8; NONCE];
        data.extend_from_slice(master.to_json().as_bytes());
        Sealer::new(&derived).seal(&mut data, 0);
        Ok(KeyFile {
            created: Timestamp::now().to_string(),
            username: user.to_owned(),
            hostname: host.to_owned(),
            kdf: "scrypt".into(),
            n: 1 << LOG_N,
            r: 8,
            p: 1,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// Parses a key file; `object` names it in errors.
    pub(super) fn parse(bytes: &[u8], object: &str) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| Error::damaged(object, error))
    }

    /// The master key if `password` fits, `None` if it does not.
    pub(super) fn open(&self, password: &str, object: &str) -> Result<Option<MasterKey>> {
        if self.kdf != "scrypt" {
            let what = format!("key derivation `{}`", self.kdf);
            return Err(Error::Unsupported {
                object: object.into(),
                what,
            });
        }
        let decode = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|error| Error::damaged(object, error))
        };
        let salt = decode(&self.salt)?;
        let mut data = decode(&self.data)?;
        let started = Instant::now();
        let derived = derive(password, &salt, self.n, self.r, self.p)
            .map_err(|what| Error::damaged(object, what))?;
        tracing::debug!(object, elapsed = ?started.elapsed(), "derived a key from the password");
        let Ok(plain) = Sealer::new(&derived).open(&mut data) else {
            return Ok(None);
        };
        let master = std::str::from_utf8(plain)
            .ok()
            .and_then(MasterKey::from_json);
        plain.zeroize();
        master
            .map(Some)
            .ok_or_else(|| Error::damaged(object, "it holds no master key"))
    }
}

fn derive(password: &str, salt: &[u8], n: u64, r: u32, p: u32) -> Result<MasterKey, String> {
    let log_n = n.trailing_zeros() as u8;
    let cost = n
        .saturating_mul(u64::from(r))
        .saturating_mul(128)
        .saturating_mul(u64::from(p.max(1)));
    if !n.is_power_of_two() || cost > MEMORY_LIMIT {
        return Err(format!("unreasonable scrypt parameters N={n} r={r} p={p}"));
    }
    let params = scrypt::Params::new(log_n, r, p).map_err(|error| error.to_string())?;
    let mut material = [0u8; 64];
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut material)
        .map_err(|error| error.to_string())?;
    let key = MasterKey::from_material(&material);
    material.zeroize();
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_opens_with_its_password_only() {
        let master = MasterKey::generate();
        let file = KeyFile::create(&master, "pässword", "u", "h").unwrap();
        let json = serde_json::to_vec(&file).unwrap();
        let file = KeyFile::parse(&json, "keys/1").unwrap();
        assert_eq!(file.open("pässword", "keys/1").unwrap(), Some(master));
        assert_eq!(file.open("password", "keys/1").unwrap(), None);
    }

    #[test]
    fn hostile_scrypt_parameters_are_refused() {
        assert!(derive("p", b"s", 1 << 40, 8, 1).is_err());
        assert!(derive("p", b"s", 3, 8, 1).is_err());
        assert!(derive("p", b"s", 1 << 15, 8, 1 << 20).is_err());
        assert!(derive("p", b"s", 0, 8, 1).is_err());
    }
}
