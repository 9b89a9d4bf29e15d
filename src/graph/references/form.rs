//! How names sit in a text: alone, with a namespace, in a list, as a user, as a host.

use std::ops::Range;

use smol_str::SmolStr;

use super::spot::Spot;
use crate::knowledge::edges::Form;
use crate::object::{GroupKind, pointer};

/// A name read out of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: SmolStr,
    pub(super) name_spot: Option<Spot>,
    pub(super) namespace: Option<SmolStr>,
    pub(super) namespace_spot: Option<Spot>,
    /// The kind, for the forms that say it.
    pub(super) kind: Option<GroupKind>,
}

impl Named {
    /// A name that is written nowhere.
    pub(super) fn implied(name: &str) -> Self {
        Self {
            name: name.into(),
            name_spot: None,
            namespace: None,
            namespace_spot: None,
            kind: None,
        }
    }

    fn at(text: &str, whole: &Spot, name: Range<usize>, namespace: Option<Range<usize>>) -> Self {
        Self {
            name: text[name.clone()].into(),
            name_spot: Some(whole.part(name)),
            namespace: namespace.clone().map(|bytes| text[bytes].into()),
            namespace_spot: namespace.map(|bytes| whole.part(bytes)),
            kind: None,
        }
    }
}

/// Reads the names in a text; `whole` is where the text stands, `own` the namespace it stands in.
pub(super) fn split(form: Form, own: Option<&str>, text: &str, whole: &Spot) -> Vec<Named> {
    match form {
        Form::Plain => vec![Named::at(text, whole, 0..text.len(), None)],
        Form::Slash => vec![slash(text, whole, 0..text.len())],
        Form::Tag => {
            let end = text.find([':', '@']).unwrap_or(text.len());
            vec![Named::at(text, whole, 0..end, None)]
        }
        Form::OtherTag if !text.contains([':', '@']) => Vec::new(),
        Form::OtherTag => split(Form::Tag, own, text, whole),
        Form::Networks if text.trim_start().starts_with(['[', '{']) => Vec::new(),
        Form::Networks => pieces(text)
            .map(|bytes| {
                let end = text[bytes.clone()].find('@').map(|at| bytes.start + at);
                slash(text, whole, bytes.start..end.unwrap_or(bytes.end))
            })
            .collect(),
        Form::Traefik => pieces(text)
            .filter_map(|bytes| traefik(text, own, whole, bytes))
            .collect(),
        Form::ServiceAccountUser => {
            let prefix = "system:serviceaccount:";
            let rest = text
                .strip_prefix(prefix)
                .and_then(|rest| rest.split_once(':'));
            rest.map(|(namespace, _)| {
                let middle = prefix.len() + namespace.len();
                Named::at(
                    text,
                    whole,
                    middle + 1..text.len(),
                    Some(prefix.len()..middle),
                )
            })
            .into_iter()
            .collect()
        }
        Form::ServiceAccountGroup => {
            let prefix = "system:serviceaccounts:";
            let found = text.strip_prefix(prefix);
            found
                .map(|_| Named::at(text, whole, prefix.len()..text.len(), None))
                .into_iter()
                .collect()
        }
        Form::Host => host(text, whole).into_iter().collect(),
        Form::DependsOn => pieces(text)
            .filter_map(|bytes| depends_on(text, whole, bytes))
            .collect(),
        // No text has this form.
        Form::RoleRule => Vec::new(),
    }
}

/// Reads a name out of the last key of a pointer, between two texts.
pub(super) fn from_key(at: &str, before: &str, after: &str) -> Option<Named> {
    let (_, key) = pointer::split(at)?;
    let name = key.strip_prefix(before)?.strip_suffix(after)?;
    let bytes = before.len()..before.len() + name.len();
    Some(Named {
        name_spot: Some(Spot::key(at.to_owned(), bytes)),
        ..Named::implied(name)
    })
}

/// The pieces of a comma-separated list, without the spaces around them.
fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split(',').filter_map(move |piece| {
        let lead = piece.len() - piece.trim_start().len();
        let from = start + lead;
        start += piece.len() + 1;
        let length = piece.trim().len();
        (length > 0).then_some(from..from + length)
    })
}

fn slash(text: &str, whole: &Spot, bytes: Range<usize>) -> Named {
    match text[bytes.clone()].find('/') {
        Some(at) => {
            let middle = bytes.start + at;
            Named::at(
                text,
                whole,
                middle + 1..bytes.end,
                Some(bytes.start..middle),
            )
        }
        None => Named::at(text, whole, bytes, None),
    }
}

/// `<namespace>-<name>@kubernetescrd`: both may hold dashes. The object's own namespace is the likely
/// one; for others the first dash is a guess that the graph can only confirm when the target is known.
fn traefik(text: &str, own: Option<&str>, whole: &Spot, bytes: Range<usize>) -> Option<Named> {
    let piece = text[bytes.clone()].strip_suffix("@kubernetescrd")?;
    let is_own = |own: &&str| {
        piece
            .strip_prefix(own)
            .is_some_and(|rest| rest.starts_with('-'))
    };
    let middle = bytes.start + own.filter(is_own).map_or(piece.find('-')?, str::len);
    let end = bytes.start + piece.len();
    Some(Named::at(
        text,
        whole,
        middle + 1..end,
        Some(bytes.start..middle),
    ))
}

/// `name`, `name.namespace` or `name.namespace.svc…`; other hosts with dots are not services.
fn host(text: &str, whole: &Spot) -> Option<Named> {
    let mut labels = text.split('.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    let Some(namespace) = labels.next() else {
        return Some(Named::at(text, whole, 0..name.len(), None));
    };
    match labels.next() {
        None | Some("svc") => {
            let from = name.len() + 1;
            let namespace = from..from + namespace.len();
            Some(Named::at(text, whole, 0..name.len(), Some(namespace)))
        }
        Some(_) => None,
    }
}

/// `group/namespaces/namespace/Kind/name` or `group/Kind/name`; the core group is empty.
fn depends_on(text: &str, whole: &Spot, bytes: Range<usize>) -> Option<Named> {
    let parts: Vec<&str> = text[bytes.clone()].split('/').collect();
    let name_at = |name: &str| bytes.end - name.len()..bytes.end;
    let (named, group, kind) = match parts[..] {
        [group, "namespaces", namespace, kind, name] => {
            let from = bytes.start + group.len() + "/namespaces/".len();
            let namespace = from..from + namespace.len();
            let named = Named::at(text, whole, name_at(name), Some(namespace));
            (named, group, kind)
        }
        [group, kind, name] => (Named::at(text, whole, name_at(name), None), group, kind),
        _ => return None,
    };
    Some(Named {
        kind: Some(GroupKind::new(group, kind)),
        ..named
    })
}
