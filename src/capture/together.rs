//! Which claims their driver can freeze at one moment, and by what the API can choose them.
//!
//! A VolumeGroupSnapshot chooses the claims of its namespace by labels, and the controller reads `matchLabels` alone:
//! an expression would be passed over, and more claims frozen than were meant. So only labels that exactly these
//! claims have in common will do; where the namespace has no other claims, none are needed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Together, Volume};
use crate::object::{GroupKind, Object};
use crate::surface::Surface;

const GROUP: &str = "groupsnapshot.storage.k8s.io";
/// Claims of one group; each names all others, and no driver is known to take more.
const MOST: usize = 128;

type Labels = BTreeMap<String, String>;

/// A claim of a captured namespace, whether it travels or not.
pub(super) struct Claim {
    namespace: String,
    name: String,
    labels: Labels,
}

/// Every claim among the objects.
pub(super) fn claims(listed: &[Object]) -> Vec<Claim> {
    let claims = listed
        .iter()
        .filter(|object| object.is("", "PersistentVolumeClaim"));
    claims
        .map(|claim| Claim {
            namespace: claim.namespace().unwrap_or_default().to_owned(),
            name: claim.name().to_owned(),
            labels: labels(claim),
        })
        .collect()
}

fn labels(object: &Object) -> Labels {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        // Ferry's own are gone when a run ends.
        .filter(|(key, _)| !key.starts_with("ferry.dev/"))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Notes with each volume the others that can be frozen with it: of one driver, in one namespace.
pub(super) fn join(volumes: &mut [Volume], claims: &[Claim], surface: &Surface) {
    let kind = GroupKind::new(GROUP, "VolumeGroupSnapshot");
    if surface.resource(&kind, None).is_none() {
        return;
    }
    let has_class = |group, kind, driver: &str| {
        let mut classes = surface.of_kind(group, kind);
        classes.any(|class| class.text("/driver") == Some(driver))
    };
    let mut groups: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (at, volume) in volumes.iter().enumerate() {
        if let (Some(driver), Some(namespace)) = (&volume.driver, &volume.claim.namespace) {
            let key = (namespace.to_string(), driver.clone());
            groups.entry(key).or_default().push(at);
        }
    }
    for ((namespace, driver), members) in groups {
        if !(2..=MOST).contains(&members.len())
            || !has_class(GROUP, "VolumeGroupSnapshotClass", &driver)
            || !has_class("snapshot.storage.k8s.io", "VolumeSnapshotClass", &driver)
        {
            continue;
        }
        let names = members.iter().map(|at| volumes[*at].claim.name.to_string());
        let names: BTreeSet<String> = names.collect();
        let together = Together {
            labels: chosen(
                &names,
                claims.iter().filter(|claim| claim.namespace == namespace),
            ),
            claims: names,
        };
        for at in members {
            volumes[at].together = Some(together.clone());
        }
    }
}

/// The labels that these claims have in common and no other claim has; `None` when others have them too.
fn chosen<'a>(
    wanted: &BTreeSet<String>,
    claims: impl Iterator<Item = &'a Claim>,
) -> Option<Labels> {
    let (members, others): (Vec<&Claim>, Vec<&Claim>) =
        claims.partition(|claim| wanted.contains(&claim.name));
    if others.is_empty() {
        return Some(Labels::new());
    }
    let mut common = members.first()?.labels.clone();
    common.retain(|key, value| members.iter().all(|one| one.labels.get(key) == Some(value)));
    let has_all = |claim: &&Claim| {
        let mut labels = common.iter();
        labels.all(|(key, value)| claim.labels.get(key) == Some(value))
    };
    (!others.iter().any(has_all)).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, labels: &[(&str, &str)]) -> Claim {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        Claim {
            namespace: "shop".into(),
            name: name.into(),
            labels: labels.collect(),
        }
    }

    fn chosen_of(wanted: &[&str], claims: &[Claim]) -> Option<Vec<String>> {
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        let labels = chosen(&wanted, claims.iter())?;
        Some(
            labels
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        )
    }

    #[test]
    fn all_claims_of_a_namespace_need_no_label() {
        let claims = [claim("a", &[]), claim("b", &[("app", "db")])];
        assert_eq!(chosen_of(&["a", "b"], &claims), Some(Vec::new()));
    }

    #[test]
    fn labels_choose_claims_only_where_no_other_claim_has_them() {
        let db = [("app", "db"), ("team", "x")];
        let mut claims = vec![
            claim("a", &db),
            claim("b", &db),
            claim("c", &[("team", "x")]),
        ];
        let wanted = ["app=db".to_owned(), "team=x".to_owned()];
        assert_eq!(chosen_of(&["a", "b"], &claims), Some(wanted.to_vec()));
        assert_eq!(chosen_of(&["a", "c"], &claims), None);
        // One that waits for its volume would fail the group.
        claims.push(claim("d", &db));
        assert_eq!(chosen_of(&["a", "b"], &claims), None);
    }

    #[test]
    fn claims_without_a_label_in_common_are_not_told_from_others() {
        let claims = [claim("a", &[]), claim("b", &[]), claim("c", &[])];
        assert_eq!(chosen_of(&["a", "b"], &claims), None);
    }
}
