//! T-11: what looks like something that moved and was left alone, for the user to judge.
//!
//! After all transforms, every text that still holds a name of A that is called something else on B is
//! listed: a text a rule of `targets.yaml` should have covered, or a word that happens to be equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Lookalike;
use super::host::HostPattern;
use super::image::Prefix;
use super::names::Maps;
use super::text::words;
use super::work::Work;
use crate::diff::replace_passwords;
use crate::finding::{Finding, Verdict};
use crate::object::{Object, ObjectId, pointer};

/// How much text around a look-alike is shown, to each side, in bytes.
const AROUND: usize = 30;

/// Keys of free data: a whole value equal to a namespace's or class's name is worth a look there.
const FREE: [&str; 4] = ["/data/", "/stringData/", "/env/", "/args/"];

pub(super) fn find(work: &mut Work<'_>, maps: &Maps) {
    let mut found = Vec::new();
    let addresses = addresses(work);
    let shared = shared_prefix(addresses.keys());
    let suspicious = Suspicious::new(maps);
    let mut hard_coded = Vec::new();
    for index in 0..work.objects().len() {
        let object = &work.objects()[index];
        if !addresses.is_empty() {
            texts(object, &mut |path, text, _| {
                if path.starts_with("/spec/clusterIP") {
                    return;
                }
                // Most texts are told apart by the first digits all addresses share.
                if !text.contains(shared) {
                    return;
                }
                let words = words(text).into_iter();
                let numbers = words.filter(|place| text.as_bytes()[place.start].is_ascii_digit());
                let known = numbers.filter_map(|place| addresses.get(&text[place]));
                hard_coded.extend(known.map(|service| (object.id(), path.to_owned(), service)));
            });
        }
        if !suspicious.holds(object) {
            continue;
        }
        let mut look = |path: &str, text: &str, masked: bool| {
            for (rule, at) in suspects(path, text, maps) {
                found.push(Lookalike {
                    rule: rule.to_owned(),
                    object: work.id(index).clone(),
                    path: path.to_owned(),
                    excerpt: if masked {
                        "(in a Secret)".into()
                    } else {
                        replace_passwords(&excerpt(text, at), |_| "hidden".to_owned())
                    },
                });
            }
        };
        texts(object, &mut look);
    }
    work.lookalikes = found;
    for (id, path, service) in hard_coded {
        let message = format!("the address of {service} on A is written here");
        let remedy = "write the Service's name; addresses are new on B";
        let finding = Finding::new(Verdict::Warn, "T-11", message);
        work.find(finding.on(id).at(path).remedy(remedy));
    }
}

/// All names a text could be suspected for, looked for at once: nearly every text holds none.
struct Suspicious(Option<AhoCorasick>);

impl Suspicious {
    fn new(maps: &Maps) -> Self {
        let registries = maps.images.moved().map(|prefix| prefix.registry.as_str());
        let hosts = maps.hosts.moved().map(|host| host.name.as_str());
        let names = maps.namespaces.moved().chain(maps.moved_classes());
        let renamed = maps.renames.moved().map(|id| id.name.as_str());
        let all: BTreeSet<&str> = registries
            .chain(hosts)
            .chain(names)
            .chain(renamed)
            .collect();
        let all = all.into_iter().filter(|name| !name.is_empty());
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            // Texts are short: looking for rare bytes first costs more than it spares.
            .prefilter(false)
            .build(all);
        // Too many for one search: then every object is looked at.
        Self(search.ok())
    }

    /// Whether one of the names may be in an object. What a Secret holds is encoded.
    fn holds(&self, object: &Object) -> bool {
        let Self(Some(search)) = self else {
            return true;
        };
        search.patterns_len() > 0
            && (object.is("", "Secret") || any_text(object.value(), &|text| search.is_match(text)))
    }
}

fn any_text(value: &Value, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, wanted)),
        Value::Object(map) => map.values().any(|child| any_text(child, wanted)),
        _ => false,
    }
}

/// What all texts begin with.
fn shared_prefix<'t>(texts: impl Iterator<Item = &'t String>) -> &'t str {
    let shorter = |one: &'t str, two: &'t str| {
        let pairs = one.bytes().zip(two.bytes());
        &one[..pairs.take_while(|(left, right)| left == right).count()]
    };
    texts
        .map(String::as_str)
        .reduce(shorter)
        .unwrap_or_default()
}

/// Addresses that Services had on A, and have no more.
fn addresses(work: &Work<'_>) -> BTreeMap<String, ObjectId> {
    let mut found = BTreeMap::new();
    for index in 0..work.before.len() {
        let Some(raw) = work.source.raw(index).filter(|raw| raw.is("", "Service")) else {
            continue;
        };
        let list = raw.pointer("/spec/clusterIPs").and_then(Value::as_array);
        let list = list.into_iter().flatten().filter_map(Value::as_str);
        for address in list.chain(raw.text("/spec/clusterIP")) {
            if address.parse::<std::net::IpAddr>().is_ok() {
                found.insert(address.to_owned(), work.id(index).clone());
            }
        }
    }
    found
}

/// Every text of an object that could name something: all strings but the object's own identity.
fn texts(object: &Object, look: &mut dyn FnMut(&str, &str, bool)) {
    let secret = object.is("", "Secret");
    walk(object.value(), &mut String::new(), secret, look);
}

/// `path` is where the value stands; it is always put back.
fn walk(value: &Value, path: &mut String, secret: bool, look: &mut dyn FnMut(&str, &str, bool)) {
    let length = path.len();
    match value {
        Value::String(text) if secret && path.starts_with("/data/") => {
            let decoded = STANDARD.decode(text).ok();
            if let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
                look(path, &text, true);
            }
        }
        Value::String(text) => look(path, text, secret),
        Value::Object(map) => {
            for (key, child) in map {
                path.push('/');
                path.push_str(&pointer::escape(key));
                if !identity(path) {
                    walk(child, path, secret, look);
                }
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(path, "/{index}");
                walk(child, path, secret, look);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn identity(path: &str) -> bool {
    matches!(
        path,
        "/apiVersion"
            | "/kind"
            | "/metadata/name"
            | "/metadata/namespace"
            | "/binaryData"
            | "/status"
    )
}

/// Which rules a text looks like a case for, and where in it.
fn suspects(path: &str, text: &str, maps: &Maps) -> Vec<(&'static str, usize)> {
    let mut found = Vec::new();
    if let Some(at) = maps.images.moved().find_map(|prefix| image(text, prefix)) {
        found.push(("T-2", at));
    }
    if let Some(at) = maps.hosts.moved().find_map(|host| named(text, host)) {
        found.push(("T-5", at));
    }
    if let Some(at) = maps
        .namespaces
        .moved()
        .find_map(|name| namespace(path, text, name))
    {
        found.push(("T-4", at));
    }
    let mut classes = maps.moved_classes();
    if classes.any(|name| name == text && !name.is_empty())
        && (path.to_ascii_lowercase().contains("class") || free(path))
    {
        found.push(("T-1", 0));
    }
    let renamed = maps.renames.moved().filter(|_| free(path));
    if renamed.into_iter().any(|id| id.name == text) {
        found.push(("T-3", 0));
    }
    found
}

fn free(path: &str) -> bool {
    FREE.iter().any(|part| path.contains(part))
}

/// The prefix as text, with an end on both sides.
fn image(text: &str, prefix: &Prefix) -> Option<usize> {
    if !text.contains(&prefix.registry) {
        return None;
    }
    let wanted = prefix.to_string();
    let ends = |letter: Option<char>| {
        letter.is_none_or(|letter| !(letter.is_alphanumeric() || "-_.".contains(letter)))
    };
    text.match_indices(&wanted).map(|(at, _)| at).find(|at| {
        ends(text[..*at].chars().next_back()) && ends(text[at + wanted.len()..].chars().next())
    })
}

/// A word that is the host or below it.
fn named(text: &str, host: &HostPattern) -> Option<usize> {
    // Most texts are told apart without a look at their words.
    let (bytes, wanted) = (text.as_bytes(), host.name.as_bytes());
    let mut places = bytes.windows(wanted.len());
    if !places.any(|place| place.eq_ignore_ascii_case(wanted)) {
        return None;
    }
    let place = words(text).into_iter().find(|place| {
        let word = text[place.clone()].to_ascii_lowercase();
        word.strip_suffix(&host.name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })?;
    Some(place.start)
}

/// `x.namespace`, `….namespace.svc…`, `namespaces/namespace`, or the namespace alone in free data.
fn namespace(path: &str, text: &str, name: &str) -> Option<usize> {
    if text == name && free(path) {
        return Some(0);
    }
    let place = words(text).into_iter().find(|place| {
        let labels: Vec<&str> = text[place.clone()].split('.').collect();
        let dns = labels.iter().enumerate().any(|(at, label)| {
            let last_of_two = at == 1 && labels.len() == 2;
            *label == name && (last_of_two || labels.get(at + 1) == Some(&"svc"))
        });
        let api = labels == [name] && text[..place.start].ends_with("namespaces/");
        dns || api
    })?;
    Some(place.start)
}

fn excerpt(text: &str, at: usize) -> String {
    let mut from = at.saturating_sub(AROUND);
    let mut to = (at + 2 * AROUND).min(text.len());
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    while !text.is_char_boundary(to) {
        to += 1;
    }
    let line = text[from..to].replace(['\n', '\t', '\r'], " ");
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t_11_a_namespace_is_suspected_in_names_paths_and_alone() {
        let at = |path: &str, text: &str| namespace(path, text, "shop");
        assert_eq!(at("/data/x", "shop"), Some(0));
        assert_eq!(at("/metadata/labels/team", "shop"), None);
        assert_eq!(at("/data/x", "u http://web.shop.svc/"), Some(9));
        assert_eq!(at("/spec/x", "/api/v1/namespaces/shop/pods"), Some(19));
        assert_eq!(
            at("/data/x", "the shop, its workshop and a.shops.example.com"),
            None
        );
    }

    #[test]
    fn t_2_a_prefix_is_suspected_as_a_whole() {
        let prefix = Prefix::parse("r.a:5000").unwrap();
        assert_eq!(image("docker pull r.a:5000/x", &prefix), Some(12));
        assert_eq!(image("xr.a:5000/x r.a:50001", &prefix), None);
    }

    #[test]
    fn an_excerpt_is_cut_between_letters() {
        let text = "é".repeat(100);
        assert!(excerpt(&text, 50).len() <= 4 * AROUND);
    }
}
