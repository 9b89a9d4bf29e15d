//! T-10: secrets of A that must not reach B, and those B needs instead.
//!
//! What counts as a secret is data (`targets.yaml`, `rewrites: secret`): values of Secrets, keys of
//! routes, webhook secrets, environment values that are called like one. Values come from the recipe,
//! from the environment or from a file, and are read when the recipe is. Of a value in a store such as
//! Vault only its place is named ([`external`]): B's operator reads it, with rights Ferry never has.
//!
//! Nothing here is random: the same seed gives the same copy, so that a plan can be made twice. What is
//! derived from the seed says nothing about the original.

pub mod external;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;
use zeroize::Zeroizing;

use self::external::External;
use super::apply::{entries, whole};
use super::fault::Faults;
use super::parse::{Fields, entries_of, in_words, select_of, text, texts};
use super::recipe::{Placed, Transform};
use super::select::{Glob, Select};
use super::work::{Part, Work};
use super::{grammar, guard};
use crate::finding::{Finding, Verdict};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::{Form, Rewrites};
use crate::object::{Object, pointer};
use crate::yaml::located::{Located, Node};

/// What becomes of selected objects' secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Which objects.
    pub select: Select,
    /// Which keys of them; empty for all.
    pub keys: Vec<Glob>,
    /// What every value becomes.
    pub scrub: Option<Scrub>,
    /// Keys of Secrets that get a value of their own.
    pub set: Vec<(Placed<String>, Given)>,
}

/// Where a value of B's own comes from.
#[derive(Clone, Debug)]
pub enum Given {
    /// It is known.
    Value(Sensitive),
    /// B's operator reads it from a store.
    External(External),
}

/// What a secret value becomes.
#[derive(Clone, Debug)]
pub enum Scrub {
    /// The word `REDACTED`.
    Redact,
    /// Other letters and digits of the same sort and number, derived from the seed.
    Random(Sensitive),
    /// `hash:` and a keyed digest: equal values stay equal.
    Hash(Sensitive),
    /// Nothing: it is removed.
    Drop,
    /// What it is, whatever other entries say.
    Keep,
}

/// A value nobody may see.
#[derive(Clone)]
pub struct Sensitive(Arc<Zeroizing<Vec<u8>>>);

impl Sensitive {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

pub(super) use self::external::STORES;
pub(super) const MODES: [&str; 5] = ["redact", "random", "hash", "drop", "keep"];
/// Bytes of the shortest seed: eight random letters are more than anyone tries.
const SEED_MIN: usize = 8;
const REDACTED: &str = "REDACTED";
const HASH: &str = "hash:";

/// Types of Secrets that a scrubbed value would break: the kubelet pulls with the first two, and
/// Helm's records have a rule of their own (T-4h).
const KEPT: [&str; 3] = [
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "helm.sh/release.v1",
];

/// Names under which secrets are kept.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)pass|secret|token|key|credential").expect("a constant that a unit test reads")
});

/// Reads `secrets:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Secrets> {
    let fields = Fields::read(body, span, &grammar::SECRETS, faults)?;
    let seed = fields.get("seed").and_then(|node| sensitive(node, faults));
    let scrub = match fields.get("scrub") {
        Some(node) => scrub(node, seed, fields.get("seed").is_some(), faults),
        None => None,
    };
    let set = fields.get("set").map(|node| {
        let entries = entries_of(node, &node.span, "`set`", faults).unwrap_or_default();
        let mut list = Vec::new();
        for (key, node) in entries {
            if let Some(value) = given(node, faults) {
                let key = Placed {
                    value: key.text.clone(),
                    span: key.span.clone(),
                };
                list.push((key, value));
            }
        }
        list
    });
    if fields.get("scrub").is_none() && fields.get("set").is_none() {
        faults
            .add(
                "`secrets` changes nothing",
                span,
                "neither `scrub` nor `set`",
            )
            .help("add `scrub: redact` or `set: {key: {env: NAME}}`");
    }
    let keys = fields.get("keys").map(|node| texts(node, faults));
    let keys = keys.unwrap_or_default();
    Some(Secrets {
        select: select_of(&fields, faults),
        keys: keys.iter().filter_map(|text| Glob::new(text)).collect(),
        scrub,
        set: set.unwrap_or_default(),
    })
}

fn scrub(
    node: &Located,
    seed: Option<Sensitive>,
    seed_given: bool,
    faults: &mut Faults,
) -> Option<Scrub> {
    let mode = text(node, faults)?;
    let seeded = ["random", "hash"].contains(&mode.as_str());
    if seeded && !seed_given {
        faults
            .add(
                format!("`scrub: {mode}` needs a `seed`"),
                &node.span,
                "no seed",
            )
            .help("add `seed: {env: NAME}`: without a secret seed the new values could be guessed");
    }
    if seeded && seed.as_ref().is_some_and(|seed| seed.0.len() < SEED_MIN) {
        faults
            .add(
                format!("the `seed` of `scrub: {mode}` is too short"),
                &node.span,
                format!("fewer than {SEED_MIN} bytes could be guessed"),
            )
            .help("take a random one and keep it: `openssl rand -hex 16`");
    }
    match (mode.as_str(), seed) {
        ("redact", _) => Some(Scrub::Redact),
        ("drop", _) => Some(Scrub::Drop),
        ("keep", _) => Some(Scrub::Keep),
        ("random", seed) => seed.map(Scrub::Random),
        ("hash", seed) => seed.map(Scrub::Hash),
        _ => {
            faults
                .add(format!("unknown mode `{mode}`"), &node.span, "not a mode")
                .help(format!("the modes are {}", in_words(&MODES)));
            None
        }
    }
}

/// What [`sensitive`] reads, or `{externalSecret: …}`.
fn given(node: &Located, faults: &mut Faults) -> Option<Given> {
    let elsewhere = match &node.node {
        Node::Map(entries) => entries.iter().any(|(key, _)| key.text == external::KEY),
        _ => false,
    };
    match elsewhere {
        true => external::parse(node, faults).map(Given::External),
        false => sensitive(node, faults).map(Given::Value),
    }
}

/// A text, `{value: …}`, `{env: NAME}` or `{file: PATH}`.
fn sensitive(node: &Located, faults: &mut Faults) -> Option<Sensitive> {
    if let Node::Scalar(_) = &node.node {
        return Some(Sensitive::new(text(node, faults)?.into_bytes()));
    }
    let fields = Fields::read(node, &node.span, &grammar::SENSITIVE, faults)?;
    let mut given = fields.entries();
    let (Some((key, node)), None) = (given.next(), given.next()) else {
        faults
            .add("a value has one origin", fields.span(), "exactly one")
            .help("write `{env: NAME}`, `{file: PATH}` or `{value: …}`");
        return None;
    };
    let name = text(node, faults)?;
    let found = match key.text.as_str() {
        "value" => Ok(name.clone().into_bytes()),
        "env" => std::env::var(&name)
            .map(String::into_bytes)
            .map_err(|_| format!("the environment has no `{name}`")),
        "file" => std::fs::read(faults.folder().join(&name))
            .map_err(|error| format!("cannot read {name}: {error}")),
        _ => return None,
    };
    match found {
        Ok(bytes) if !bytes.is_empty() => Some(Sensitive::new(bytes)),
        Ok(_) => {
            faults.add("the value is empty", &node.span, "nothing there");
            None
        }
        Err(reason) => {
            faults.add(reason, &node.span, "not there");
            None
        }
    }
}

/// Applies every entry: values to keep are known before any is scrubbed.
pub(super) fn apply_all(work: &mut Work<'_>, knowledge: &Knowledge) {
    let recipes = work.recipes;
    let all = || {
        entries(recipes).filter_map(|(recipe, entry)| match &entry.transform {
            Transform::Secrets(secrets) => Some((recipe, entry, secrets)),
            _ => None,
        })
    };
    let mut kept: BTreeSet<(usize, String)> =
        guard::own_values(work, knowledge).into_iter().collect();
    for (recipe, entry, secrets) in all() {
        for index in work.selected(recipe, entry) {
            // A value that is given is not scrubbed by another entry.
            for (key, _) in &secrets.set {
                let places = ["/data", "/stringData"];
                kept.extend(places.map(|map| (index, pointer::join(map, &key.value))));
            }
        }
        if matches!(secrets.scrub, Some(Scrub::Keep)) {
            for index in work.selected(recipe, entry) {
                for place in places(work, knowledge, index, &secrets.keys) {
                    work.used(whole(recipe, entry));
                    kept.insert((index, place.path));
                }
            }
        }
    }
    for (recipe, entry, secrets) in all() {
        let part = whole(recipe, entry);
        let mut scrubbed = false;
        for index in work.selected(recipe, entry) {
            set(work, index, secrets, part);
            if is_kept(&work.before[index]) {
                tell_kept(work, index, secrets);
                continue;
            }
            for place in places(work, knowledge, index, &secrets.keys) {
                if !kept.contains(&(index, place.path.clone())) {
                    scrubbed |= scrub_place(work, index, &place, secrets, part);
                }
            }
            tell_immutable(work, index);
        }
        if scrubbed && !work.source.volumes.is_empty() {
            let message = "passwords that databases and brokers keep in their own data are copied as they are";
            work.find(
                Finding::new(Verdict::Warn, "T-10", message)
                    .because("secrets are scrubbed, and volumes are carried")
                    .remedy("change them in the copied data by a hook before the copy is used"),
            );
        }
    }
}

fn is_kept(object: &Object) -> bool {
    let kind = object.text("/type").unwrap_or_default();
    object.is("", "Secret") && KEPT.contains(&kind)
}

fn tell_kept(work: &mut Work<'_>, index: usize, secrets: &Secrets) {
    let pulls = work.before[index].text("/type") != Some(KEPT[2]);
    if pulls && secrets.scrub.is_some() && !matches!(secrets.scrub, Some(Scrub::Keep)) {
        let finding = Finding::new(
            Verdict::Info,
            "T-10",
            "credentials for pulling images are not scrubbed",
        )
        .on(work.objects()[index].id())
        .remedy("give B its own with `set: {.dockerconfigjson: {file: PATH}}`");
        work.find(finding);
    }
}

/// T-9: the data of an immutable object never changes again; where B has it already it stays.
pub(super) fn tell_immutable(work: &mut Work<'_>, index: usize) {
    let object = &work.objects()[index];
    let immutable = object.pointer("/immutable") == Some(&Value::Bool(true));
    if immutable && object.pointer("/data") != work.before[index].pointer("/data") {
        let finding = Finding::new(
            Verdict::Warn,
            "T-9",
            "the object is immutable and its data changes",
        )
        .on(object.id())
        .at("/immutable")
        .remedy("if B has it already, give it a new name with `names`");
        work.find(finding);
    }
}

fn set(work: &mut Work<'_>, index: usize, secrets: &Secrets, part: Part) {
    if !work.before[index].is("", "Secret") {
        return;
    }
    let mut stored = Vec::new();
    for (key, given) in &secrets.set {
        let path = pointer::join("/data", &key.value);
        // A Secret that comes from files may have it here, where it would win.
        let plain = pointer::join("/stringData", &key.value);
        work.unassign(index, &plain, "T-10", part);
        match given {
            Given::Value(value) => {
                let value = STANDARD.encode(value.0.as_slice());
                work.assign(index, &path, value.into(), "T-10", part);
            }
            Given::External(external) => {
                work.unassign(index, &path, "T-10", part);
                stored.push((key.value.as_str(), external));
            }
        }
    }
    external::add(work, index, &stored, part);
}

/// One secret value.
struct Place {
    path: String,
    form: Form,
}

fn places(work: &Work<'_>, knowledge: &Knowledge, index: usize, keys: &[Glob]) -> Vec<Place> {
    let object = &work.objects()[index];
    let rows = knowledge.targets.iter();
    let rows = rows.filter(|row| row.rewrites == Rewrites::Secret && row.applies(object));
    let mut found = Vec::new();
    for row in rows {
        row.path.visit(object.value(), &mut |path, value| {
            let (path, key) = match row.form {
                // A variable with a value of its own, called like a secret.
                Form::NamedValue => {
                    let name = value["name"].as_str().unwrap_or_default();
                    if !value["value"].is_string() || !SECRET_NAME.is_match(name) {
                        return;
                    }
                    (format!("{path}/value"), name.to_owned())
                }
                _ if value.is_string() => {
                    let key = pointer::split(path).map(|(_, key)| key.into_owned());
                    (path.to_owned(), key.unwrap_or_default())
                }
                _ => return,
            };
            if keys.is_empty() || keys.iter().any(|glob| glob.matches(&key)) {
                let form = row.form;
                found.push(Place { path, form });
            }
        });
    }
    found
}

fn scrub_place(
    work: &mut Work<'_>,
    index: usize,
    place: &Place,
    secrets: &Secrets,
    part: Part,
) -> bool {
    let Some(scrub) = &secrets.scrub else {
        return false;
    };
    let object = &work.objects()[index];
    let Some(now) = object.text(&place.path) else {
        return false;
    };
    let context = format!("{}\0{}", object.id(), place.path);
    let new = match (place.form, scrub) {
        (_, Scrub::Keep) => return false,
        // A certificate that is none would be refused.
        (_, Scrub::Drop) | (Form::Pem, _) => {
            work.unassign(index, &place.path, "T-10", part);
            return true;
        }
        (Form::Base64, scrub) => {
            let bytes = STANDARD
                .decode(now)
                .unwrap_or_else(|_| now.as_bytes().to_vec());
            STANDARD.encode(scrubbed(&bytes, scrub, &context))
        }
        (_, scrub) => {
            let new = scrubbed(now.as_bytes(), scrub, &context);
            String::from_utf8(new).unwrap_or_else(|_| REDACTED.to_owned())
        }
    };
    work.assign(index, &place.path, new.into(), "T-10", part);
    true
}

/// What a value becomes. `context` says which value it is, so that two get different letters.
fn scrubbed(now: &[u8], scrub: &Scrub, context: &str) -> Vec<u8> {
    match scrub {
        Scrub::Keep => now.to_vec(),
        Scrub::Redact | Scrub::Drop => REDACTED.as_bytes().to_vec(),
        Scrub::Hash(seed) => {
            let hashed = std::str::from_utf8(now)
                .ok()
                .and_then(|text| text.strip_prefix(HASH));
            let done = hashed.is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            if done {
                return now.to_vec();
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, &seed.0);
            format!("{HASH}{}", hex::encode(hmac::sign(&key, now))).into_bytes()
        }
        Scrub::Random(seed) => {
            let text = std::str::from_utf8(now).is_ok();
            let stream = Stream::new(seed, context);
            now.iter()
                .zip(stream)
                .map(|(byte, random)| match byte {
                    b'0'..=b'9' => b'0' + random % 10,
                    b'a'..=b'z' => b'a' + random % 26,
                    b'A'..=b'Z' => b'A' + random % 26,
                    _ if text => *byte,
                    _ => random,
                })
                .collect()
        }
    }
}

/// Bytes that only the seed's owner can tell, the same each time.
struct Stream {
    key: hmac::Key,
    context: String,
    block: Vec<u8>,
    number: u64,
}

impl Stream {
    fn new(seed: &Sensitive, context: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed.0),
            context: context.to_owned(),
            block: Vec::new(),
            number: 0,
        }
    }
}

impl Iterator for Stream {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.block.is_empty() {
            let message = format!("{}\0{}", self.number, self.context);
            self.block = hmac::sign(&self.key, message.as_bytes()).as_ref().to_vec();
            self.number += 1;
        }
        self.block.pop()
    }
}

/// Scrubs values that Helm's record of a release was given (T-4h): those called like a secret. Comes
/// back with the entry that asked for it.
pub(super) fn record_values(work: &Work<'_>, index: usize, values: &mut Value) -> Option<Part> {
    let (recipe, entry, scrub) = entries(work.recipes).find_map(|(recipe, entry)| {
        let Transform::Secrets(Secrets {
            scrub: Some(scrub), ..
        }) = &entry.transform
        else {
            return None;
        };
        let selected = work.selected(recipe, entry).contains(&index);
        (selected && !matches!(scrub, Scrub::Keep)).then_some((recipe, entry, scrub))
    })?;
    let context = work.objects()[index].id().to_string();
    let before = values.clone();
    walk(values, false, scrub, &context);
    (*values != before).then(|| whole(recipe, entry))
}

fn walk(value: &mut Value, secret: bool, scrub: &Scrub, context: &str) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let context = format!("{context}/{key}");
                walk(child, secret || SECRET_NAME.is_match(key), scrub, &context);
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| walk(item, secret, scrub, context)),
        Value::String(text) if secret && !text.is_empty() => {
            let new = scrubbed(text.as_bytes(), scrub, context);
            *text = String::from_utf8(new).unwrap_or_else(|_| REDACTED.to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(now: &str, scrub: &Scrub) -> String {
        String::from_utf8(scrubbed(now.as_bytes(), scrub, "Secret shop/db\0/data/p")).unwrap()
    }

    #[test]
    fn t_10_random_keeps_length_and_alphabet_and_is_the_same_each_time() {
        let seed = Sensitive::new(b"seed".to_vec());
        let scrub = Scrub::Random(seed);
        let once = text("Pa55-wörd", &scrub);
        assert_ne!(once, "Pa55-wörd");
        assert_eq!(once.chars().count(), 9);
        assert!(once.starts_with(|first: char| first.is_ascii_uppercase()));
        assert_eq!(once.as_bytes()[4], b'-');
        assert_eq!(text("Pa55-wörd", &scrub), once);
        assert_eq!(text(&once, &scrub), once);
    }

    #[test]
    fn t_10_hashes_keep_equal_values_equal_and_are_stable() {
        let scrub = Scrub::Hash(Sensitive::new(b"seed".to_vec()));
        let once = text("secret", &scrub);
        assert!(once.starts_with("hash:"));
        assert_eq!(text(&once, &scrub), once);
        assert_ne!(text("Secret", &scrub), once);
        let other = Scrub::Hash(Sensitive::new(b"other".to_vec()));
        assert_ne!(text("secret", &other), once);
    }

    #[test]
    fn t_10_values_in_helms_record_are_found_by_their_names() {
        let mut values =
            serde_json::json!({"auth": {"rootPassword": "x", "user": "u"}, "apiKeys": ["a"]});
        walk(&mut values, false, &Scrub::Redact, "");
        assert_eq!(
            values,
            serde_json::json!({"auth": {"rootPassword": REDACTED, "user": "u"}, "apiKeys": [REDACTED]})
        );
    }

    #[test]
    fn a_sensitive_value_is_never_shown() {
        assert_eq!(format!("{:?}", Sensitive::new(b"x".to_vec())), "(hidden)");
    }
}
