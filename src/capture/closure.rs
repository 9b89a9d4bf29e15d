//! Cluster-wide objects the namespaces need (rule book §0, *closure*).
//!
//! Copied: ClusterRoleBindings that grant something to the namespaces' service accounts, and the
//! ClusterRoles that these and the namespaces' RoleBindings name. Mapped, never copied: what every
//! cluster has its own of, such as classes, and CustomResourceDefinitions, which operators install.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use serde_json::Value;
use smol_str::SmolStr;

use super::{Captured, DropClass, Dropped};
use crate::cluster::{Cluster, ClusterError, ListOptions, Place};
use crate::finding::{Finding, Verdict};
use crate::graph::references::{Reference, References};
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::Surface;

/// Reads in flight at once.
const PARALLEL: usize = 8;

const RBAC: &str = "rbac.authorization.k8s.io";
/// Kinds that are mapped to one of B's.
const CLASSES: [(&str, &str); 8] = [
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("security.openshift.io", "SecurityContextConstraints"),
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttributesClass"),
];

pub(super) const CRD: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

/// Reads the ClusterRoles that bindings among the objects name.
pub(super) async fn roles(
    cluster: &Cluster,
    surface: &Surface,
    listed: &[Object],
    findings: &mut Vec<Finding>,
) -> Result<Vec<Object>, ClusterError> {
    let kind = GroupKind::new(RBAC, "ClusterRole");
    let Some(resource) = surface.resource(&kind, None) else {
        return Ok(Vec::new());
    };
    // Owned items: a stream of borrowed ones would keep this future from being spawned.
    let mut answers = stream::iter(named_roles(listed.iter()))
        .map(|name| async move {
            let place = Place {
                resource,
                namespace: None,
                name: &name,
            };
            let role = cluster.get(place).await;
            (name, role)
        })
        .buffered(PARALLEL);
    let mut found = Vec::new();
    while let Some((name, role)) = answers.next().await {
        match role {
            Ok(role) => found.extend(role),
            Err(error) if error.is_forbidden() => findings.push(
                Finding::new(
                    Verdict::Warn,
                    "C-61",
                    format!("ClusterRole {name} is used and may not be read"),
                )
                .remedy("see that it is on the target already"),
            ),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Names of the ClusterRoles that bindings name.
pub(super) fn named_roles<'a>(objects: impl Iterator<Item = &'a Object>) -> BTreeSet<String> {
    objects
        .filter(|object| object.is(RBAC, "RoleBinding") || object.is(RBAC, "ClusterRoleBinding"))
        .filter(|binding| binding.text("/roleRef/kind") == Some("ClusterRole"))
        .filter_map(|binding| binding.text("/roleRef/name").map(Into::into))
        .collect()
}

/// Reads the ClusterRoleBindings that grant something to the namespaces' service accounts; or says that
/// the user may not.
pub(super) async fn bindings(
    cluster: &Cluster,
    surface: &Surface,
    namespaces: &BTreeSet<&str>,
) -> Result<(Vec<Object>, Option<Finding>), ClusterError> {
    let kind = GroupKind::new(RBAC, "ClusterRoleBinding");
    let Some(resource) = surface.resource(&kind, None) else {
        return Ok((Vec::new(), None));
    };
    match cluster.list(resource, None, &ListOptions::default()).await {
        Ok(bindings) => {
            let bindings = bindings.into_iter();
            let shares = bindings.filter_map(|binding| share(binding, namespaces));
            Ok((shares.collect(), None))
        }
        Err(error) if error.is_forbidden() => {
            let unseen = Finding::new(
                Verdict::Warn,
                "C-61",
                "cluster-wide rights of the namespaces' service accounts do not travel",
            )
            .because("the user may not list ClusterRoleBindings on the source cluster")
            .remedy("bind the accounts on the target by hand, or capture as a user who may");
            Ok((Vec::new(), Some(unseen)))
        }
        Err(error) => Err(error),
    }
}

/// The part of a binding that is about the namespaces: what it grants to others' service accounts
/// is not ours to grant on B.
pub(super) fn share(mut binding: Object, namespaces: &BTreeSet<&str>) -> Option<Object> {
    let subjects = binding.value_mut().get_mut("subjects")?.as_array_mut()?;
    if !subjects
        .iter()
        .any(|subject| home(subject).is_some_and(|home| namespaces.contains(home)))
    {
        return None;
    }
    subjects.retain(|subject| home(subject).is_none_or(|home| namespaces.contains(home)));
    Some(binding)
}

/// The namespace of a subject that is a service account, in any of the three ways to name one.
fn home(subject: &Value) -> Option<&str> {
    let name = subject["name"].as_str()?;
    match subject["kind"].as_str()? {
        "ServiceAccount" => subject["namespace"].as_str(),
        "User" => name
            .strip_prefix("system:serviceaccount:")?
            .split(':')
            .next(),
        "Group" => name.strip_prefix("system:serviceaccounts:"),
        _ => None,
    }
}

/// The classes the objects name. B has its own; a recipe says which is which.
pub(super) fn classes(
    objects: &[Captured],
    surface: &Surface,
    knowledge: &Knowledge,
) -> Vec<Dropped> {
    let classes = surface.objects.iter();
    let classes = classes.filter(|one| CLASSES.contains(&(one.group(), one.kind())));
    let classes: BTreeSet<ObjectId> = classes.map(Object::id).collect();
    if classes.is_empty() {
        return Vec::new();
    }
    let definitions: Vec<&Object> = surface.of_kind(CRD.0, CRD.1).collect();
    let references = References::new(knowledge, definitions);
    let is_class = |kind: &GroupKind| CLASSES.contains(&(&*kind.group, &*kind.kind));
    let mut used: BTreeMap<ObjectId, (SmolStr, ObjectId)> = BTreeMap::new();
    for captured in objects {
        for Reference { target, rule, .. } in references.find_to(&captured.object, is_class) {
            if classes.contains(&target) {
                used.entry(target)
                    .or_insert_with(|| (rule, captured.object.id()));
            }
        }
    }
    used.into_iter()
        .map(|(id, (rule, user))| Dropped {
            id,
            rule: rule.into(),
            reason: format!("B has classes of its own; {user} names it"),
            class: DropClass::Mapped,
            produced_by: None,
        })
        .collect()
}

/// The definitions of the custom resources among the objects: B must have them.
pub(super) fn definitions<'a>(
    objects: impl Iterator<Item = &'a Object>,
    surface: &Surface,
) -> Vec<Dropped> {
    let mut first: BTreeMap<(&str, &str), &Object> = BTreeMap::new();
    for object in objects {
        first
            .entry((object.group(), object.kind()))
            .or_insert(object);
    }
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for object in first.into_values() {
        let Some(resource) = surface.resource(&object.group_kind(), None) else {
            continue;
        };
        let name = format!("{}.{}", resource.plural, resource.group);
        if surface.find(CRD.0, CRD.1, &name).is_some() {
            used.entry(name).or_insert_with(|| object.id().to_string());
        }
    }
    used.into_iter()
        .map(|(name, user)| Dropped {
            id: ObjectId::cluster(CRD.0, CRD.1, &name),
            rule: "C-10".into(),
            reason: format!("an operator of B's brings it; {user} needs it"),
            class: DropClass::Mapped,
            produced_by: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn binding(subjects: Value) -> Object {
        Object::new(json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": "x"},
            "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": subjects}))
        .unwrap()
    }

    #[test]
    fn a_binding_travels_when_any_form_of_subject_is_of_the_namespaces() {
        let namespaces = BTreeSet::from(["shop"]);
        for subject in [
            json!({"kind": "ServiceAccount", "name": "web", "namespace": "shop"}),
            json!({"kind": "User", "name": "system:serviceaccount:shop:web"}),
            json!({"kind": "Group", "name": "system:serviceaccounts:shop"}),
        ] {
            assert!(
                share(binding(json!([subject])), &namespaces).is_some(),
                "{subject}"
            );
        }
        let other = json!([{"kind": "Group", "name": "system:serviceaccounts"},
                           {"kind": "User", "name": "system:serviceaccount:shop2:web"}]);
        assert!(share(binding(other), &namespaces).is_none());
    }

    #[test]
    fn what_a_binding_grants_to_other_namespaces_stays() {
        let shared = share(
            binding(json!([
                {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
                {"kind": "ServiceAccount", "name": "ci", "namespace": "build"},
                {"kind": "Group", "name": "developers"},
            ])),
            &BTreeSet::from(["shop"]),
        )
        .unwrap();
        let names: Vec<_> = shared.value()["subjects"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        assert_eq!(names.len(), 2);
        assert_eq!(names[1]["name"], "developers");
    }
}
