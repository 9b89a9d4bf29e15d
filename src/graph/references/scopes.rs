//! What is known of kinds: which are cluster-wide, and what resources are called in the plural.

use std::collections::BTreeMap;

use serde_json::Value;
use smol_str::SmolStr;

use super::form::Named;
use super::{Place, spot_of};
use crate::graph::roots::crd_kind;
use crate::knowledge::Knowledge;
use crate::knowledge::kinds::{KindPattern, Kinds};
use crate::object::{GroupKind, Object};

/// The kinds of the tables, and those that definitions bring.
#[derive(Debug)]
pub(super) struct Scopes<'k> {
    kinds: &'k Kinds,
    /// Custom kinds, and whether they are cluster-wide.
    pub(super) custom: BTreeMap<GroupKind, bool>,
    /// Kinds by group and plural, as roles name them.
    plurals: BTreeMap<(SmolStr, String), SmolStr>,
}

impl<'k> Scopes<'k> {
    /// Takes the tables and definitions; other objects are passed over.
    pub(super) fn new<'o>(
        knowledge: &'k Knowledge,
        crds: impl IntoIterator<Item = &'o Object>,
    ) -> Self {
        let mut custom = BTreeMap::new();
        let mut plurals: BTreeMap<(SmolStr, String), SmolStr> = named(knowledge)
            .map(|kind| ((kind.group, plural(&kind.kind)), kind.kind))
            .collect();
        for crd in crds {
            let Some(kind) = crd_kind(crd) else { continue };
            if let Some(plural) = crd.text("/spec/names/plural") {
                plurals.insert((kind.group.clone(), plural.to_owned()), kind.kind.clone());
            }
            custom.insert(kind, crd.text("/spec/scope") == Some("Cluster"));
        }
        Self {
            kinds: &knowledge.kinds,
            custom,
            plurals,
        }
    }

    pub(super) fn is_cluster_wide(&self, kind: &GroupKind) -> bool {
        let custom = self.custom.get(kind).copied();
        custom.unwrap_or_else(|| self.kinds.is_cluster_wide(kind))
    }

    /// E-25: what the `resourceNames` of a role's rule name, once for every kind they may be of.
    pub(super) fn of_role_rule(&self, place: Place<'_>, rule: &Value) -> Vec<Named> {
        let texts = |key: &str| {
            let list = rule.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str)
        };
        let mut kinds: Vec<GroupKind> = Vec::new();
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                let resource = resource.split('/').next().unwrap_or_default();
                let known = self.plurals.get(&(group.into(), resource.to_owned()));
                kinds.extend(known.map(|kind| GroupKind::new(group, kind.clone())));
            }
        }
        kinds.sort();
        kinds.dedup();
        let names = (0..).zip(texts("resourceNames"));
        names
            .flat_map(|(index, name): (usize, &str)| {
                let spot = spot_of(place, &format!("/resourceNames/{index}"), name.len());
                kinds.iter().map(move |kind| Named {
                    name_spot: Some(spot.clone()),
                    kind: Some(kind.clone()),
                    ..Named::implied(name)
                })
            })
            .collect()
    }
}

/// Every kind the tables name.
fn named(knowledge: &Knowledge) -> impl Iterator<Item = GroupKind> {
    let rows = &knowledge.edges.rows;
    let edges = rows
        .iter()
        .flat_map(|row| row.kinds.iter().chain(&row.target));
    let phases = knowledge.kinds.phases.iter().flat_map(|row| &row.kinds);
    let roots = knowledge.roots.iter().flat_map(|row| &row.kinds);
    let all = edges
        .chain(phases)
        .chain(roots)
        .chain(&knowledge.kinds.cluster);
    all.filter_map(KindPattern::exact)
}

/// What the API calls a kind in its paths, as the API machinery guesses it too.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    let before_last = kind.chars().rev().nth(1).unwrap_or_default();
    if let Some(stem) = kind.strip_suffix('y')
        && !"aeiou".contains(before_last)
    {
        return format!("{stem}ies");
    }
    match kind.as_str() {
        // Endpoints, SecurityContextConstraints: kinds that are plural already.
        _ if kind.ends_with('s') && before_last != 's' => kind,
        _ if ["ss", "x", "z", "ch", "sh"]
            .iter()
            .any(|end| kind.ends_with(end)) =>
        {
            format!("{kind}es")
        }
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_plurals_the_api_gives_them() {
        for (kind, expected) in [
            ("Secret", "secrets"),
            ("NetworkPolicy", "networkpolicies"),
            ("Gateway", "gateways"),
            ("Ingress", "ingresses"),
            ("StorageClass", "storageclasses"),
            ("Endpoints", "endpoints"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }
}
