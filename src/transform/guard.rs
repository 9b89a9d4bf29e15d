//! T-13: a copy of production that can do no harm. What that takes is data (`guard.yaml`); the network
//! is closed by a policy that Ferry adds.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::alerts;
use super::apply::{entries, whole};
use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, in_words, placed_texts, select_of, suggest};
use super::recipe::{Entry, Placed, Transform};
use super::select::Select;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::knowledge::Knowledge;
use crate::knowledge::guard::{GuardRow, RemoveKeys};
use crate::knowledge::sanitize::glob;
use crate::object::{Object, pointer};
use crate::yaml::located::Located;

/// Which precautions are taken.
#[derive(Clone, Debug)]
pub struct CloneGuard {
    /// Which objects; without it all.
    pub select: Select,
    /// Precautions that are not taken.
    pub except: Vec<Placed<String>>,
    /// Networks that pods may reach beside DNS and the namespaces of the copy, as CIDR.
    pub allow: Vec<Placed<String>>,
}

/// The precaution that is an object of its own.
const EGRESS: &str = "egress";
/// What it is called on B.
const POLICY: &str = "ferry-clone-guard";

/// Reads `cloneGuard:`.
pub(super) fn parse(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<CloneGuard> {
    let fields = Fields::read(body, span, &grammar::CLONE_GUARD, faults)?;
    let mut list = |key| {
        let node = fields.get(key);
        node.map(|node| placed_texts(node, faults))
            .unwrap_or_default()
    };
    let (except, allow) = (list("except"), list("allow"));
    let parts = parts();
    for name in &except {
        if !parts.contains(&name.value.as_str()) {
            faults
                .add(
                    format!("unknown precaution `{}`", name.value),
                    &name.span,
                    "not one",
                )
                .help(
                    suggest(&name.value, &parts)
                        .unwrap_or_else(|| format!("they are {}", in_words(&parts))),
                );
        }
    }
    for network in &allow {
        if !is_network(&network.value) {
            faults
                .add(
                    format!("`{}` is no network", network.value),
                    &network.span,
                    "refused",
                )
                .help("write it as `10.0.0.0/8` or `2001:db8::/32`");
        }
    }
    Some(CloneGuard {
        select: select_of(&fields, faults),
        except,
        allow,
    })
}

/// Every precaution's name.
fn parts() -> Vec<&'static str> {
    let rows = Knowledge::builtin().guard.iter();
    let names: BTreeSet<&str> = rows.map(|row| row.part.as_str()).chain([EGRESS]).collect();
    names.into_iter().collect()
}

fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    recipe: usize,
    entry: &Entry,
    guard: &CloneGuard,
) {
    let part = whole(recipe, entry);
    let wanted = |name: &str| !guard.except.iter().any(|except| except.value == name);
    let mut namespaces = BTreeSet::new();
    for index in work.selected(recipe, entry) {
        namespaces.extend(work.objects()[index].namespace().map(str::to_owned));
        for row in knowledge.guard.iter().filter(|row| wanted(&row.part)) {
            if !row.applies(&work.objects()[index]) {
                continue;
            }
            if let Some(set) = &row.set
                && let Some(path) = set.path.exact()
            {
                work.assign(index, &path, set.value.clone(), &row.id, part);
            }
            if let Some(remove) = &row.remove {
                for place in removed(remove, &work.objects()[index]) {
                    work.unassign(index, &place, &row.id, part);
                }
            }
            for (path, muted) in muted(row, &work.objects()[index]) {
                work.assign(index, &path, muted, &row.id, part);
            }
        }
    }
    if wanted(EGRESS) {
        close(work, &namespaces, guard, part);
    }
}

/// The configurations of Alertmanagers in an object, and what becomes of them.
fn muted(row: &GuardRow, object: &Object) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let Some(mute) = &row.mute else { return found };
    mute.visit(object.value(), &mut |path, value| {
        let encoded = object.is("", "Secret") && path.starts_with("/data/");
        let text = value.as_str().and_then(|text| match encoded {
            true => String::from_utf8(STANDARD.decode(text).ok()?).ok(),
            false => Some(text.to_owned()),
        });
        let Some(new) = text.and_then(|text| alerts::muted(&text)) else {
            return;
        };
        let new = if encoded { STANDARD.encode(new) } else { new };
        found.push((path.to_owned(), new.into()));
    });
    found
}

/// Values that a guard rewrites from what they are on A: nothing else may make them unreadable first,
/// and what the guard leaves of them is no secret.
pub(super) fn own_values(work: &Work<'_>, knowledge: &Knowledge) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    for (recipe, entry) in entries(work.recipes) {
        let Transform::CloneGuard(guard) = &entry.transform else {
            continue;
        };
        let wanted = |name: &str| !guard.except.iter().any(|except| except.value == name);
        let rows = knowledge.guard.iter();
        let rows: Vec<&GuardRow> = rows
            .filter(|row| row.mute.is_some() && wanted(&row.part))
            .collect();
        for index in work.selected(recipe, entry) {
            let object = &work.objects()[index];
            for row in rows.iter().filter(|row| row.applies(object)) {
                let places = muted(row, object).into_iter();
                all.extend(places.map(|(path, _)| (index, path)));
            }
        }
    }
    all
}

/// The places that a row takes out of an object.
fn removed(row: &RemoveKeys, object: &Object) -> Vec<String> {
    let mut places = Vec::new();
    row.path.visit(object.value(), &mut |map, value| {
        let keys = value.as_object().into_iter().flat_map(|map| map.keys());
        let goes = |key: &&String| row.like.iter().any(|pattern| glob(pattern, key));
        places.extend(keys.filter(goes).map(|key| pointer::join(map, key)));
    });
    places
}

/// Closes the network to the outside: DNS, the copy's own namespaces and what the recipe allows.
fn close(work: &mut Work<'_>, namespaces: &BTreeSet<String>, guard: &CloneGuard, part: Part) {
    let mut egress = vec![
        json!({"ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"},
            {"port": 5353, "protocol": "UDP"}, {"port": 5353, "protocol": "TCP"},
        ]}),
        json!({"to": [{"namespaceSelector": {"matchExpressions": [{
            "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces,
        }]}}]}),
    ];
    let allow = guard.allow.iter();
    let blocks: Vec<Value> = allow
        .map(|network| json!({"ipBlock": {"cidr": network.value}}))
        .collect();
    if !blocks.is_empty() {
        egress.push(json!({"to": blocks}));
    }
    for object in work.objects().to_vec() {
        // Policies add up: what another one allows stays allowed.
        let open = object.is("networking.k8s.io", "NetworkPolicy")
            && object.name() != POLICY
            && object
                .namespace()
                .is_some_and(|name| namespaces.contains(name))
            && object
                .pointer("/spec/egress")
                .and_then(Value::as_array)
                .is_some_and(|l| !l.is_empty());
        if open {
            let message = "this policy allows more than the clone guard does";
            let remedy = "look at its `egress`; narrow it with a patch";
            let finding = Finding::new(Verdict::Warn, "T-13", message);
            work.find(finding.on(object.id()).at("/spec/egress").remedy(remedy));
        }
    }
    for namespace in namespaces {
        let policy = Object::new(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": POLICY, "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress},
        }));
        if let Ok(policy) = policy {
            work.add(policy, "T-13", part);
        }
    }
    if !namespaces.is_empty() {
        let allowed: Vec<&str> = guard.allow.iter().map(|one| one.value.as_str()).collect();
        let message = "pods of the copy reach DNS and each other, and nothing else";
        work.find(
            Finding::new(Verdict::Info, "T-13", message)
                .because(match allowed.is_empty() {
                    true => format!("the network policy `{POLICY}` is added"),
                    false => format!(
                        "the network policy `{POLICY}` is added; allowed are {}",
                        allowed.join(", ")
                    ),
                })
                .remedy(
                    "name what they need in `allow`, the API server too; a policy is only kept where \
                     the network of B enforces policies",
                ),
        );
    }
}
