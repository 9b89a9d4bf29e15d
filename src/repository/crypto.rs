//! Sealing: AES-256-CTR for secrecy, Poly1305-AES for authenticity, as restic's format prescribes.
//!
//! ```text
//! sealed = nonce (16) ‖ ciphertext ‖ tag (16)      tag = Poly1305(r ‖ AES-128_k(nonce), ciphertext)
//! ```
//!
//! Both directions work in the caller's buffer: a pack is tens of megabytes, and copying it once more costs more than
//! encrypting it. The tag is compared in constant time and before a single byte is decrypted.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit as _};
use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Bytes before the ciphertext.
pub(super) const NONCE: usize = 16;
/// Bytes after the ciphertext.
pub(super) const TAG: usize = 16;
/// What sealing adds to a length.
pub(super) const OVERHEAD: usize = NONCE + TAG;

/// The repository's data key. Whoever has it can read and write the repository without the password: movers
/// get it in a short-lived Secret, so that no pod pays for scrypt and none learns the password.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.encrypt.zeroize();
        self.mac_k.zeroize();
        self.mac_r.zeroize();
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

/// restic's JSON form of a master key, in key files and in our Secret alike.
#[derive(Serialize, Deserialize)]
struct MasterKeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacJson {
    k: String,
    r: String,
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Self {
        let mut material = [0u8; 64];
        random(&mut material);
        let key = Self::from_material(&material);
        material.zeroize();
        key
    }

    /// A key cut from 64 bytes of key material: encryption key, then the two halves of the MAC key.
    pub(super) fn from_material(material: &[u8; 64]) -> Self {
        let mut key = MasterKey {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
        };
        key.encrypt.copy_from_slice(&material[..32]);
        key.mac_k.copy_from_slice(&material[32..48]);
        key.mac_r.copy_from_slice(&material[48..]);
        key
    }

    /// The key as JSON, in restic's own form. A secret: keep it out of logs and delete it after use.
    pub fn to_json(&self) -> String {
        let json = MasterKeyJson {
            mac: MacJson {
                k: STANDARD.encode(self.mac_k),
                r: STANDARD.encode(self.mac_r),
            },
            encrypt: STANDARD.encode(self.encrypt),
        };
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Reads what [`MasterKey::to_json`] wrote; `None` when it is not a key.
    pub fn from_json(text: &str) -> Option<Self> {
        let json: MasterKeyJson = serde_json::from_str(text).ok()?;
        let mut key = MasterKey {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
        };
        for (target, source) in [
            (&mut key.encrypt[..], &json.encrypt),
            (&mut key.mac_k[..], &json.mac.k),
            (&mut key.mac_r[..], &json.mac.r),
        ] {
            let mut bytes = STANDARD.decode(source).ok()?;
            if bytes.len() != target.len() {
                return None;
            }
            target.copy_from_slice(&bytes);
            bytes.zeroize();
        }
        Some(key)
    }
}

/// Fills `bytes` from the system's generator. Its failure leaves no safe way to go on.
pub(super) fn random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system's random generator works");
}

/// The tag did not match, or there was not even room for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAuthentic;

/// A master key made ready for use; shared by all threads.
pub(super) struct Sealer {
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
    mac_k: aes::Aes128,
    mac_r: [u8; 16],
}

impl Sealer {
    pub(super) fn new(key: &MasterKey) -> Self {
        let unbound =
            || UnboundCipherKey::new(&AES_256, &key.encrypt).expect("32 bytes are an AES-256 key");
        // restic masks r when it loads a key; Poly1305 itself clamps it the same way, so no mask is needed here.
        Sealer {
            encrypt: EncryptingKey::ctr(unbound()).expect("AES-256 works in counter mode"),
            decrypt: DecryptingKey::ctr(unbound()).expect("AES-256 works in counter mode"),
            mac_k: aes::Aes128::new(&key.mac_k.into()),
            mac_r: key.mac_r,
        }
    }

    fn tag(&self, nonce: &[u8; NONCE], ciphertext: &[u8]) -> [u8; TAG] {
        let mut block = aes::Block::from(*nonce);
        self.mac_k.encrypt_block(&mut block);
        let mut key = [0u8; 32];
        key[..16].copy_from_slice(&self.mac_r);
        key[16..].copy_from_slice(&block);
        poly1305::Poly1305::new(&key.into())
            .compute_unpadded(ciphertext)
            .into()
    }

    /// Seals `buffer[start + NONCE..]` where it lies; the caller left [`NONCE`] bytes free at `start`. Appends the tag.
    pub(super) fn seal(&self, buffer: &mut Vec<u8>, start: usize) {
        let mut nonce = [0u8; NONCE];
        random(&mut nonce);
        self.seal_with(buffer, start, nonce);
    }

    fn seal_with(&self, buffer: &mut Vec<u8>, start: usize, nonce: [u8; NONCE]) {
        let body = start + NONCE;
        buffer[start..body].copy_from_slice(&nonce);
        self.encrypt
            .less_safe_encrypt(
                &mut buffer[body..],
                EncryptionContext::Iv128(FixedLength::from(nonce)),
            )
            .expect("counter mode takes any length");
        let tag = self.tag(&nonce, &buffer[body..]);
        buffer.extend_from_slice(&tag);
    }

    /// Opens `sealed` where it lies and returns the plain part of it.
    pub(super) fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        if sealed.len() < OVERHEAD {
            return Err(NotAuthentic);
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| NotAuthentic)?;
        let (body, tag) = rest.split_at_mut(rest.len() - TAG);
        verify_slices_are_equal(&self.tag(&nonce, body), tag).map_err(|_| NotAuthentic)?;
        if !body.is_empty() {
            self.decrypt
                .decrypt(body, DecryptionContext::Iv128(FixedLength::from(nonce)))
                .map_err(|_| NotAuthentic)?;
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        let mut material = [0u8; 64];
        for (index, byte) in material.iter_mut().enumerate() {
            *byte = index as u8;
        }
        MasterKey::from_material(&material)
    }

    #[test]
    fn what_is_sealed_opens_and_what_is_changed_does_not() {
        let sealer = Sealer::new(&key());
        for length in [0usize, 1, 15, 16, 17, 4096, 100_000] {
            let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let mut sealed = vec![7; NONCE];
            sealed.extend_from_slice(&plain);
            sealer.seal(&mut sealed, 0);
            assert_eq!(sealed.len(), length + OVERHEAD);
            for position in [0, NONCE, sealed.len() / 2, sealed.len() - 1] {
                let mut broken = sealed.clone();
                broken[position] ^= 1;
                assert_eq!(sealer.open(&mut broken), Err(NotAuthentic));
            }
            assert_eq!(sealer.open(&mut sealed).unwrap(), &plain[..]);
        }
        assert_eq!(sealer.open(&mut [0; 31]), Err(NotAuthentic));
    }

    #[test]
    fn the_sealed_form_is_golden() {
        let mut sealed = vec![0; NONCE];
        sealed.extend_from_slice(b"the quick brown fox");
        Sealer::new(&key()).seal_with(&mut sealed, 0, [9; NONCE]);
        let golden = "090909090909090909090909090909098666836f23d5df270bee96e4d10e60202202eaaaee469ec19da8e325fe46fa85f0b3d0";
        assert_eq!(hex::encode(&sealed), golden);
    }

    #[test]
    fn a_master_key_survives_json_and_never_shows_in_debug() {
        let key = key();
        assert_eq!(MasterKey::from_json(&key.to_json()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "MasterKey(hidden)");
        assert_eq!(
            MasterKey::from_json(r#"{"mac":{"k":"","r":""},"encrypt":""}"#),
            None
        );
    }
}
