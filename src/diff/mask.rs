//! Objects as they are shown: normalised, secrets masked, as YAML.

use std::sync::LazyLock;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;

use super::normalise::{Rows, normalise};
use crate::knowledge::Knowledge;
use crate::knowledge::normalize::Mask;
use crate::object::Object;
use crate::yaml;

/// How a masked value begins.
pub(super) const MARK: &str = "sha256-";

/// The key under which secrets are digested: without it a digest cannot be tried against guesses.
/// Equal values have equal digests under one key only.
pub struct MaskKey(hmac::Key);

impl MaskKey {
    /// A key from 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A key of this process's own: equal values look equal in what it shows, and tell nothing
    /// elsewhere.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)?;
        Ok(Self::new(&bytes))
    }

    /// `sha256-1a2b3c4d len=12`: what stands for a value (D-2).
    pub fn mask(&self, value: &[u8]) -> String {
        let digest = hmac::sign(&self.0, value);
        let short = hex::encode(&digest.as_ref()[..4]);
        format!("{MARK}{short} len={}", value.len())
    }
}

/// Not the key.
impl std::fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskKey")
    }
}

/// The object as YAML, in the form in which it is compared, fit to be shown.
pub(super) fn shown(object: &Object, knowledge: &Knowledge, key: &MaskKey) -> String {
    masked(object, normalise(object, knowledge), knowledge, key)
}

/// The object as YAML, every field of it, fit to be shown.
pub(super) fn shown_whole(object: &Object, knowledge: &Knowledge, key: &MaskKey) -> String {
    masked(object, object.value().clone(), knowledge, key)
}

fn masked(object: &Object, mut value: Value, knowledge: &Knowledge, key: &MaskKey) -> String {
    let rows = Rows::of(object, knowledge);
    for row in &rows.rows {
        for mask in &row.mask {
            for at in rows.places(row.at, &mask.path, &value) {
                if !mask.named.is_empty() && !is_named(&value, &at, &mask.named) {
                    continue;
                }
                if let Some(slot) = value.pointer_mut(&at) {
                    hide(slot, mask, key);
                }
            }
        }
    }
    // Every JSON value has a YAML form; an empty text would hide a difference, its JSON does not.
    yaml::emit(&value).unwrap_or_else(|_| format!("{value:#}\n"))
}

fn hide(slot: &mut Value, mask: &Mask, key: &MaskKey) {
    let bytes = match &*slot {
        Value::String(text) if mask.url_password => {
            let hidden = without_password(text, key);
            if hidden != *text {
                *slot = hidden.into();
            }
            return;
        }
        _ if mask.url_password => return,
        Value::String(text) if mask.base64 => STANDARD
            .decode(text)
            .unwrap_or_else(|_| text.clone().into_bytes()),
        Value::String(text) => text.clone().into_bytes(),
        Value::Null => return,
        other => other.to_string().into_bytes(),
    };
    *slot = key.mask(&bytes).into();
}

fn without_password(text: &str, key: &MaskKey) -> String {
    replace_passwords(text, |password| key.mask(password.as_bytes()))
}

/// Text whose passwords in URLs (`scheme://user:password@host`) are replaced, in angle brackets.
pub(crate) fn replace_passwords(text: &str, replacement: impl Fn(&str) -> String) -> String {
    static PASSWORD: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*:)(?P<password>[^\s/@]+)@")
            .expect("the pattern is constant")
    });
    if !text.contains("://") {
        return text.to_owned();
    }
    PASSWORD
        .replace_all(text, |found: &regex::Captures| {
            let masked = replacement(&found["password"]);
            format!("{}<{masked}>@", &found["before"])
        })
        .into_owned()
}

/// Whether the `name` beside a value holds one of the words.
fn is_named(value: &Value, at: &str, words: &[String]) -> bool {
    let name = at
        .rsplit_once('/')
        .and_then(|(parent, _)| value.pointer(parent)?.get("name")?.as_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    words.iter().any(|word| name.contains(word.as_str()))
}
