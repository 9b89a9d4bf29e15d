//! C-1 to C-4, C-10 to C-12: does B serve the kinds, at these versions?
//!
//! B's discovery decides. A kind whose CRD travels with the capture is served once that is applied.

use std::collections::BTreeMap;

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::object::{GroupKind, Object};
use crate::surface::ApiResource;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let travelling = travelling_kinds(input);
    let mut by_kind: BTreeMap<(&str, &str), Vec<&ApiResource>> = BTreeMap::new();
    for object in input.objects() {
        let kind = object.group_kind();
        let served = by_kind.entry((object.group(), object.kind()));
        let served = served.or_insert_with(|| versions(input, &kind));
        if served.is_empty() {
            match travelling.get(&kind) {
                Some(versions) if versions.iter().any(|version| version == object.version()) => {}
                _ => findings.push(absent(object, &kind)),
            }
            continue;
        }
        findings.extend(other_scope(input, object, &kind));
        if !served
            .iter()
            .any(|resource| resource.version == object.version())
        {
            findings.push(other_version(input, object, &kind, served));
        }
    }
}

/// Kinds of the CRDs that travel, with the versions they serve.
fn travelling_kinds(input: &CheckInput<'_>) -> BTreeMap<GroupKind, Vec<String>> {
    let crds = input
        .objects()
        .iter()
        .filter(|object| object.is("apiextensions.k8s.io", "CustomResourceDefinition"));
    crds.filter_map(|crd| {
        let kind = GroupKind::new(crd.text("/spec/group")?, crd.text("/spec/names/kind")?);
        let versions = crd.pointer("/spec/versions")?.as_array()?;
        let served = |version: &&serde_json::Value| version["served"] == true;
        let name = |version: &serde_json::Value| version["name"].as_str().map(str::to_owned);
        let versions = versions.iter().filter(served).filter_map(name).collect();
        Some((kind, versions))
    })
    .collect()
}

fn versions<'a>(input: &CheckInput<'a>, kind: &GroupKind) -> Vec<&'a ApiResource> {
    let resources = input.surface.resources.iter();
    resources
        .filter(|resource| resource.group == kind.group && resource.kind == kind.kind)
        .collect()
}

/// Groups without a dot, and Kubernetes' own, are compiled into the API server.
fn built_in(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io") && !group.starts_with("snapshot.storage")
}

fn absent(object: &Object, kind: &GroupKind) -> Finding {
    if built_in(&kind.group) && kind.group != "gateway.networking.k8s.io" {
        return Finding::new(
            Verdict::Block,
            "C-4",
            format!("the target cluster does not serve {kind}"),
        )
        .on(object.id())
        .because("no version of it is in the cluster's discovery")
        .remedy("replace the object by a kind the cluster serves, or leave it out");
    }
    Finding::new(
        Verdict::Block,
        "C-10",
        format!("the target cluster does not know the kind {kind}"),
    )
    .on(object.id())
    .because("its CustomResourceDefinition is not there")
    .remedy(format!(
        "install the operator that brings {} there, at the version of the source cluster or later",
        kind.group
    ))
}

/// C-11.
fn other_scope(input: &CheckInput<'_>, object: &Object, kind: &GroupKind) -> Option<Finding> {
    let on_b = input.surface.resource(kind, None)?;
    (on_b.namespaced != object.namespace().is_some()).then(|| {
        let scope = |namespaced| {
            if namespaced {
                "in namespaces"
            } else {
                "cluster-wide"
            }
        };
        Finding::new(
            Verdict::Block,
            "C-11",
            format!("{kind} has another scope on the target cluster"),
        )
        .on(object.id())
        .because(format!(
            "there its objects are {}, here {}",
            scope(on_b.namespaced),
            scope(!on_b.namespaced)
        ))
        .remedy("install the same definition on both clusters")
    })
}

/// C-2 for built-in kinds, C-12 for custom ones.
fn other_version(
    input: &CheckInput<'_>,
    object: &Object,
    kind: &GroupKind,
    served: &[&ApiResource],
) -> Finding {
    let on_b: Vec<&str> = served
        .iter()
        .map(|resource| resource.version.as_str())
        .collect();
    let resources = input.capture.surface.resources.iter();
    let common: Vec<String> = resources
        .filter(|on_a| on_a.group == kind.group && on_a.kind == kind.kind)
        .filter(|on_a| on_b.contains(&on_a.version.as_str()))
        .map(ApiResource::api_version)
        .collect();
    let rule = if built_in(&kind.group) { "C-2" } else { "C-12" };
    let remedy = match common.first() {
        Some(version) => format!(
            "both clusters serve {version}: compare the fields (`kubectl get --output-version`-like \
             `kubectl get {kind}.{version}`), then patch `/apiVersion` in a recipe"
        ),
        None => "upgrade one of the clusters' definitions until both serve one version".into(),
    };
    Finding::new(
        Verdict::Block,
        rule,
        format!(
            "the target cluster does not serve {kind} at {}",
            object.version()
        ),
    )
    .on(object.id())
    .at("/apiVersion")
    .because(format!("it serves {}", list(on_b)))
    .remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object, resource};

    #[test]
    fn c_1_a_served_version_is_fine() {
        Case::new(vec![object("apps/v1", "Deployment", "shop/a", "{}")]).expect(&[]);
    }

    #[test]
    fn c_2_another_version_of_a_built_in_kind_blocks() {
        Case::new(vec![object("batch/v1beta1", "CronJob", "shop/a", "{}")]).expect(&[
            "block C-2 CronJob.batch shop/a /apiVersion: the target cluster does not serve CronJob.batch at v1beta1",
        ]);
    }

    #[test]
    fn c_4_a_built_in_kind_that_is_gone_blocks() {
        Case::new(vec![object("policy/v1beta1", "PodSecurityPolicy", "a", "{}")]).expect(&[
            "block C-4 PodSecurityPolicy.policy a: the target cluster does not serve PodSecurityPolicy.policy",
        ]);
    }

    #[test]
    fn c_10_a_custom_kind_without_its_definition_blocks() {
        Case::new(vec![object("db.example.com/v1", "Database", "shop/a", "{}")]).expect(&[
            "block C-10 Database.db.example.com shop/a: the target cluster does not know the kind Database.db.example.com",
        ]);
    }

    #[test]
    fn c_10_a_definition_that_travels_is_enough() {
        let crd = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "databases.db.example.com",
            r#"{"group": "db.example.com", "names": {"kind": "Database"},
                "versions": [{"name": "v1", "served": true}]}"#,
        );
        Case::new(vec![
            crd,
            object("db.example.com/v1", "Database", "shop/a", "{}"),
        ])
        .expect(&[]);
    }

    #[test]
    fn c_11_another_scope_blocks() {
        let mut case = Case::new(vec![object("x.example.com/v1", "Thing", "shop/a", "{}")]);
        case.surface
            .resources
            .push(resource("x.example.com", "v1", "Thing", false));
        case.expect(&[
            "block C-11 Thing.x.example.com shop/a: Thing.x.example.com has another scope on the target cluster",
        ]);
    }

    #[test]
    fn c_12_another_version_of_a_custom_kind_blocks() {
        let mut case = Case::new(vec![object("x.example.com/v1", "Thing", "shop/a", "{}")]);
        case.surface
            .resources
            .push(resource("x.example.com", "v2", "Thing", true));
        case.expect(&[
            "block C-12 Thing.x.example.com shop/a /apiVersion: the target cluster does not serve Thing.x.example.com at v1",
        ]);
    }
}
