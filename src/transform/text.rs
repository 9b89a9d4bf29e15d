//! T-11: names inside free text, word by word.
//!
//! A configuration file is not parsed; it is cut into words that could be host names. A word changes
//! when it is the full name of a captured Service in a namespace that moves, or a host that moves.
//! Everything else stays byte for byte, and what looks alike is listed.

use std::ops::Range;

/// From a Service, if one is named, and its namespace to what both are called.
pub(super) type ServiceRenamer<'a> =
    dyn Fn(Option<&str>, &str) -> Option<(Option<String>, String)> + 'a;

/// From a word and its place to another word, and how many bytes after it come with it.
pub(super) type Replacer<'a> = dyn FnMut(&str, &Range<usize>) -> Option<(String, usize)> + 'a;

/// Full names of Services: `[pod.]service.namespace[.svc[.domain]]`.
///
/// `service` says whether a Service of that name is in the namespace; `rename` gives the new names of a
/// Service, if one is named, and of its namespace. Two-part names (`web.shop`) are as likely a file or a table, so they only count where the
/// text shows a host: alone, after `//` or `@`, or before a port or path.
pub(super) fn service_names(
    text: &str,
    rename: &ServiceRenamer<'_>,
    service: &dyn Fn(&str, &str) -> bool,
) -> Option<String> {
    replace(text, &mut |word, place| {
        let labels: Vec<&str> = word.split('.').collect();
        let at = (0..labels.len()).find(|&at| {
            let after = labels.get(at + 1);
            let known = |name: &str| service(name, labels[at]);
            match after {
                // `*.shop.svc` and `.shop.svc`: every Service of the namespace.
                Some(&"svc") if at == 0 => starts_with_dot(text, place),
                Some(&"svc") => known(labels[at - 1]),
                None => at == 1 && known(labels[0]) && shows_host(text, place),
                Some(_) => false,
            }
        })?;
        let named = at.checked_sub(1).map(|at| labels[at]);
        let (own, namespace) = rename(named, labels[at])?;
        let mut labels: Vec<&str> = labels;
        labels[at] = &namespace;
        if let (Some(own), Some(at)) = (&own, at.checked_sub(1)) {
            labels[at] = own;
        }
        Some((labels.join("."), 0))
    })
}

/// Names of Services as their own namespace writes them: one word, where the text shows a host.
pub(super) fn bare_names(text: &str, rename: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    replace(text, &mut |word, place| {
        let alone = place.len() == text.len();
        let host = !word.contains('.') && !alone && shows_host(text, place);
        host.then(|| rename(word)).flatten().map(|new| (new, 0))
    })
}

/// The clusters' own DNS domain: `….svc.<domain>`.
pub(super) fn cluster_domains(
    text: &str,
    rename: &mut dyn FnMut(&str) -> Option<String>,
) -> Option<String> {
    replace(text, &mut |word, _| {
        let at = word.find(".svc.").map(|at| at + 5);
        let at = at.or_else(|| word.strip_prefix("svc.").map(|_| 4))?;
        let new = rename(&word[at..])?;
        Some((format!("{}{new}", &word[..at]), 0))
    })
}

/// Hosts that move.
pub(super) fn hosts(text: &str, rename: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    replace(text, &mut |word, place| {
        // Only text that could be a host is looked up: a word with a dot, or a wildcard's rest.
        if !word.contains('.') {
            return None;
        }
        if starts_with_dot(text, place) && place.start >= 2 && text[..place.start].ends_with("*.") {
            let new = rename(&format!("*.{word}"))?;
            return new.strip_prefix("*.").map(|rest| (rest.to_owned(), 0));
        }
        rename(word).map(|new| (new, 0))
    })
}

fn starts_with_dot(text: &str, place: &Range<usize>) -> bool {
    text[..place.start].ends_with('.')
}

fn shows_host(text: &str, place: &Range<usize>) -> bool {
    let (before, after) = (&text[..place.start], &text[place.end..]);
    let port = after
        .strip_prefix(':')
        .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()));
    (before.is_empty() && after.is_empty())
        || before.ends_with("//")
        || before.ends_with('@')
        || port
}

/// Replaces words of letters, digits, `-`, `_` and inner dots, and as many bytes after each as come
/// with the new word.
pub(super) fn replace(text: &str, new: &mut Replacer<'_>) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for place in words(text) {
        if place.start < copied {
            continue;
        }
        if let Some((word, after)) = new(&text[place.clone()], &place) {
            out.push_str(&text[copied..place.start]);
            out.push_str(&word);
            copied = place.end + after;
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    (out != text).then_some(out)
}

/// The words of a text that could be host names.
pub(super) fn words(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let inner =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte >= 0x80;
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !inner(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len()
            && (inner(bytes[at])
                || (bytes[at] == b'.' && bytes.get(at + 1).copied().is_some_and(inner)))
        {
            at += 1;
        }
        words.push(start..at);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(text: &str) -> String {
        let rename =
            |_: Option<&str>, name: &str| (name == "shop").then(|| (None, "new".to_owned()));
        let service = |service: &str, namespace: &str| {
            namespace == "shop" && ["postgres", "postgres-headless"].contains(&service)
        };
        service_names(text, &rename, &service).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn t_11_full_names_of_captured_services_follow_the_namespace() {
        let cases = [
            (
                "postgres.shop.svc.cluster.local",
                "postgres.new.svc.cluster.local",
            ),
            (
                "jdbc:postgresql://postgres.shop.svc:5432/shop",
                "jdbc:postgresql://postgres.new.svc:5432/shop",
            ),
            (
                "postgres-0.postgres-headless.shop.svc.cluster.local:5432,postgres.shop.svc:5432",
                "postgres-0.postgres-headless.new.svc.cluster.local:5432,postgres.new.svc:5432",
            ),
            ("a=postgres.shop:5432", "a=postgres.new:5432"),
            ("postgres.shop", "postgres.new"),
            ("http://postgres.shop/x", "http://postgres.new/x"),
            (
                "no_proxy=.shop.svc,*.shop.svc.cluster.local",
                "no_proxy=.new.svc,*.new.svc.cluster.local",
            ),
            (
                "ends a sentence with postgres.shop.svc.",
                "ends a sentence with postgres.new.svc.",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(moved(before), after);
        }
    }

    #[test]
    fn t_11_what_only_looks_alike_stays() {
        for text in [
            "postgres",
            "postgres:5432",
            "shop",
            "postgres.workshop.svc.cluster.local",
            "postgres.shops.example.com",
            "web.shop.svc",
            "SELECT * FROM postgres.shop WHERE 1",
            "xpostgres.shop.svc",
            "postgres.shop.example.com",
            "shop.svc",
            "",
        ] {
            assert_eq!(moved(text), text);
        }
    }

    #[test]
    fn t_5_hosts_in_text_are_whole_words() {
        let mut rename = |host: &str| match host {
            "a.x" => Some("b.y".to_owned()),
            "*.a.x" => Some("*.b.y".to_owned()),
            _ => None,
        };
        let text = "url=https://a.x/a.x?h=a.x:80 www.a.x a.xx *.a.x é.a.x";
        assert_eq!(
            hosts(text, &mut rename).unwrap(),
            "url=https://b.y/b.y?h=b.y:80 www.a.x a.xx *.b.y é.a.x"
        );
    }
}
