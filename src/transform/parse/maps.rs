//! The `map:` of the typed transforms, and what must hold between several of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use super::fields::{Fields, text_map};
use crate::transform::class::Class;
use crate::transform::endpoint::Endpoint;
use crate::transform::fault::Faults;
use crate::transform::grammar::{self, Shape};
use crate::transform::host::{HostPattern, is_dns_label, is_dns_name};
use crate::transform::image::Prefix;
use crate::transform::recipe::{Entry, Mapping, Placed, Registry, Transform};
use crate::yaml::located::Located;

/// T-1, T-6. The empty name is a storage class too: it says "no class", which is not the same as
/// saying nothing.
pub(super) fn classes(
    class: Class,
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Mapping<String>>> {
    let valid = |name: &str| name.is_empty() && class == Class::Storage || is_dns_name(name);
    let help = "use lower-case letters, digits, `-` and `.`";
    map(
        body,
        span,
        class.shape(),
        "a class name",
        faults,
        named(valid, help),
    )
}

/// T-2.
pub(super) fn registry(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Registry> {
    let fields = Fields::read(body, span, &grammar::REGISTRY, faults)?;
    if fields.get("map").is_none() && fields.get("digests").is_none() {
        fields.required("map", faults);
    }
    let what = "a registry or image prefix";
    let digest = |text: &str| match text.split_once(':') {
        Some((algorithm, hex))
            if !algorithm.is_empty()
                && hex.len() >= 32
                && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("write it as `sha256:…`".to_owned()),
    };
    Some(Registry {
        map: mappings(&fields, "map", what, faults, Prefix::parse),
        digests: mappings(&fields, "digests", "a digest", faults, digest),
    })
}

/// T-11.
pub(super) fn endpoints(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Mapping<Endpoint>>> {
    let map = map(
        body,
        span,
        &grammar::ENDPOINT,
        "an endpoint",
        faults,
        Endpoint::parse,
    )?;
    for Mapping { from, to } in &map {
        if from.value.port.is_some() != to.value.port.is_some() {
            faults
                .add("give both a port, or none", &to.span, "of another form")
                .also(&from.span, "this one")
                .help("without a port every port of the host is meant, and stays");
        }
    }
    Some(map)
}

/// T-11.
pub(super) fn domains(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Mapping<String>>> {
    let domain = named(is_dns_name, "write it as `cluster.local`");
    map(
        body,
        span,
        &grammar::CLUSTER_DOMAIN,
        "a DNS domain",
        faults,
        domain,
    )
}

/// T-4.
pub(super) fn namespaces(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Mapping<String>>> {
    let label = named(
        is_dns_label,
        "use 1 to 63 lower-case letters, digits and `-`",
    );
    map(
        body,
        span,
        &grammar::NAMESPACE,
        "a namespace",
        faults,
        label,
    )
}

/// T-5.
pub(super) fn hosts(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Vec<Mapping<HostPattern>>> {
    let map = map(
        body,
        span,
        &grammar::HOST,
        "a host",
        faults,
        HostPattern::parse,
    )?;
    for Mapping { from, to } in &map {
        if from.value.wildcard && !to.value.wildcard {
            faults
                .add(
                    "a wildcard can only become a wildcard",
                    &to.span,
                    "one host",
                )
                .also(&from.span, "many hosts")
                .help(format!("write `*.{}`", to.value.name));
        } else if to.value.wildcard && !from.value.wildcard {
            faults
                .add("one host cannot become a wildcard", &to.span, "many hosts")
                .also(&from.span, "one host");
        }
    }
    Some(map)
}

/// Takes a name as it is, when it is valid.
fn named(
    valid: impl Fn(&str) -> bool,
    help: &'static str,
) -> impl Fn(&str) -> Result<String, String> {
    move |name| match valid(name) {
        true => Ok(name.to_owned()),
        false => Err(help.to_owned()),
    }
}

fn map<T>(
    body: &Located,
    span: &Range<usize>,
    shape: &'static Shape,
    what: &str,
    faults: &mut Faults,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<Mapping<T>>> {
    let fields = Fields::read(body, span, shape, faults)?;
    Some(mappings(&fields, "map", what, faults, parse))
}

/// The lines of a map under a key; none when the key is not there.
pub(in crate::transform) fn mappings<T>(
    fields: &Fields<'_>,
    key: &str,
    what: &str,
    faults: &mut Faults,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<Mapping<T>> {
    let read = |placed: Placed<String>, faults: &mut Faults| match parse(&placed.value) {
        Ok(value) => Some(Placed {
            value,
            span: placed.span,
        }),
        Err(help) => {
            let message = format!("`{}` is not {what}", placed.value);
            faults.add(message, &placed.span, "refused").help(help);
            None
        }
    };
    let pairs = fields
        .get(key)
        .map(|node| text_map(node, fields.span(), &format!("`{key}`"), faults));
    let mut list = Vec::new();
    for (from, to) in pairs.unwrap_or_default() {
        // Both sides are read before either may fail: all mistakes at once.
        let (from, to) = (read(from, faults), read(to, faults));
        list.extend(from.zip(to).map(|(from, to)| Mapping { from, to }));
    }
    list
}

/// Label or annotation keys and values to set.
pub(super) fn marks_to_set(
    node: &Located,
    what: &str,
    faults: &mut Faults,
) -> Vec<(Placed<String>, String)> {
    let pairs = text_map(node, &node.span, "`set`", faults);
    for (key, value) in &pairs {
        if !is_qualified(&key.value) {
            faults
                .add(
                    format!("`{}` is not a key for {what}", key.value),
                    &key.span,
                    "refused",
                )
                .help("use letters, digits, `-`, `_`, `.`, and one prefix `dns.name/` at most");
        }
        if what == "labels" && !value.value.is_empty() && !is_mark_name(&value.value) {
            faults
                .add(format!("`{}` is not a label value", value.value), &value.span, "refused")
                .help("use at most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends");
        }
    }
    pairs
        .into_iter()
        .map(|(key, value)| (key, value.value))
        .collect()
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_name(prefix) && is_mark_name(name),
        None => is_mark_name(key),
    }
}

fn is_mark_name(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.bytes().next())
        && edge(name.bytes().last())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Finds sources mapped to two targets, and namespaces that would flow together.
pub(super) fn contradictions(entries: &[Entry], faults: &mut Faults) {
    let mut names: BTreeMap<&str, Vec<&Mapping<String>>> = BTreeMap::new();
    let mut registries = Vec::new();
    let mut hosts = Vec::new();
    let mut endpoints = Vec::new();
    for entry in entries {
        let key = entry.transform.key();
        match &entry.transform {
            Transform::Class(_, map)
            | Transform::Namespace(map)
            | Transform::ClusterDomain(map) => {
                names.entry(key).or_default().extend(map);
            }
            Transform::Registry(registry) => {
                registries.extend(&registry.map);
                names
                    .entry("digests")
                    .or_default()
                    .extend(&registry.digests);
            }
            Transform::Host(map) => hosts.extend(map),
            Transform::Endpoint(map) => endpoints.extend(map),
            // These select objects; they have no map that all share.
            _ => {}
        }
    }
    for (key, map) in &names {
        twice(map, faults);
        if *key == "namespace" {
            together(map, faults);
        }
    }
    twice(&registries, faults);
    twice(&hosts, faults);
    twice(&endpoints, faults);
}

fn twice<T: Ord + Display>(maps: &[&Mapping<T>], faults: &mut Faults) {
    let mut seen: BTreeMap<&T, &Mapping<T>> = BTreeMap::new();
    for map in maps {
        let Some(first) = seen.insert(&map.from.value, map) else {
            continue;
        };
        let (from, one, two) = (&map.from.value, &first.to.value, &map.to.value);
        let message = match one == two {
            true => format!("`{from}` is mapped twice"),
            false => format!("`{from}` is mapped twice, to `{one}` and to `{two}`"),
        };
        faults
            .add(message, &map.from.span, "mapped again here")
            .also(&first.from.span, "mapped here")
            .help("keep one of the two; a base recipe leaves its target open with a variable");
    }
}

fn together(maps: &[&Mapping<String>], faults: &mut Faults) {
    let mut seen: BTreeMap<&str, &Mapping<String>> = BTreeMap::new();
    for map in maps {
        let Some(first) = seen.insert(&map.to.value, map) else {
            continue;
        };
        let (one, two, to) = (&first.from.value, &map.from.value, &map.to.value);
        if one != two {
            faults
                .add(
                    format!("`{one}` and `{two}` would both become the namespace `{to}`"),
                    &map.to.span,
                    "taken",
                )
                .also(&first.to.span, "first used here")
                .help("objects of the same name would overwrite each other; choose another name");
        }
    }
}
