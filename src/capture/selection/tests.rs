//! What is chosen, what stays for it, and what is said of that.

use serde_json::{Value, json};

use super::super::assemble::{Assembled, assemble};
use super::*;
use crate::surface::{ApiResource, ClusterIdentity};

fn surface() -> Surface {
    let resource = |group: &str, kind: &str, plural: &str| ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        namespaced: true,
        verbs: BTreeSet::new(),
        preferred: true,
        subresources: BTreeSet::new(),
    };
    Surface {
        cluster: ClusterIdentity {
            name: "a".into(),
            uid: String::new(),
            version: String::new(),
        },
        resources: vec![
            resource("", "Secret", "secrets"),
            resource("", "ConfigMap", "configmaps"),
            resource("apps", "Deployment", "deployments"),
        ],
        objects: Vec::new(),
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Object {
    let mut object = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": format!("{kind}/{name}")}});
    json_patch::merge(&mut object, &rest);
    Object::new(object).unwrap()
}

/// A Deployment with its ReplicaSet, the Secret and the ConfigMap it needs, and one nobody needs.
fn shop() -> Vec<Object> {
    let from = json!([{"secretRef": {"name": "db"}}, {"configMapRef": {"name": "web"}}]);
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i", "envFrom": from}]}});
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
        "uid": "Deployment/web", "controller": true}]);
    vec![
        object(
            "apps/v1",
            "Deployment",
            "web",
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"template": pod}}),
        ),
        object(
            "apps/v1",
            "ReplicaSet",
            "web-1",
            json!({"metadata": {"ownerReferences": owner}}),
        ),
        object("v1", "Secret", "db", json!({"data": {"p": "eA=="}})),
        object(
            "v1",
            "ConfigMap",
            "web",
            json!({"metadata": {"labels": {"app": "web"}}, "data": {"a": "b"}}),
        ),
        object("v1", "ConfigMap", "other", json!({"data": {"a": "b"}})),
    ]
}

fn patterns(texts: &[&str]) -> Vec<ObjectGlob> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn captured(selection: &Selection) -> (Vec<String>, Assembled) {
    let assembled = assemble(
        shop(),
        &BTreeSet::new(),
        &surface(),
        selection,
        Knowledge::builtin(),
    );
    let names = assembled.captured.iter().map(|one| one.object.id());
    (
        names.map(|id| format!("{}/{}", id.kind, id.name)).collect(),
        assembled,
    )
}

#[test]
fn every_form_of_pattern_fits_what_it_says() {
    let secret = ObjectId::namespaced("", "Secret", "shop", "db-1");
    let fits = |text: &str| {
        text.parse::<ObjectGlob>()
            .unwrap()
            .fits(&secret, Some("secrets"))
    };
    for yes in [
        "Secret",
        "secret",
        "secrets",
        "Secret.core",
        "*",
        "Sec*/db-*",
        "Secret/shop/db-1",
        "Secret/*/*-1",
    ] {
        assert!(fits(yes), "{yes}");
    }
    for no in [
        "Secret.apps",
        "*.apps",
        "Secret/db",
        "Secret/other/db-1",
        "ConfigMap",
        "Secretx",
    ] {
        assert!(!fits(no), "{no}");
    }
    let deployment = ObjectId::namespaced("apps", "Deployment", "shop", "web");
    for yes in [
        "Deployment",
        "Deployment.apps",
        "deployments.apps/web",
        "*.apps",
        "*.a*",
    ] {
        assert!(
            yes.parse::<ObjectGlob>()
                .unwrap()
                .fits(&deployment, Some("deployments")),
            "{yes}"
        );
    }
    for wrong in ["", "/a", "a/", "a/b/c/d", "Secret.", "a b"] {
        assert!(wrong.parse::<ObjectGlob>().is_err(), "{wrong}");
    }
}

#[test]
fn plurals_are_understood_where_no_cluster_tells_them() {
    let fits = |text: &str, kind: &str| {
        let pattern: ObjectGlob = text.parse().unwrap();
        pattern.fits_kind(&GroupKind::new("", kind), None)
    };
    assert!(fits("secrets", "Secret") && fits("networkpolicies", "NetworkPolicy"));
    assert!(fits("ingresses", "Ingress") && fits("endpoints", "Endpoints"));
    assert!(!fits("secrets", "SecretStore"));
}

#[test]
fn what_is_left_out_and_needed_is_a_finding_and_never_silence() {
    let selection = Selection {
        exclude: patterns(&["Secret"]),
        ..Selection::default()
    };
    let (names, assembled) = captured(&selection);
    assert_eq!(
        names,
        ["ConfigMap/other", "ConfigMap/web", "Deployment/web"]
    );
    let told: Vec<_> = assembled
        .findings
        .iter()
        .map(|one| (one.rule.as_str(), one.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [("E-PT3", "it needs Secret shop/db, which does not travel")]
    );
    let kept = assembled
        .dropped
        .iter()
        .find(|one| one.id.kind == "Secret")
        .unwrap();
    assert_eq!(kept.class, DropClass::Excluded);
    assert_eq!(kept.reason, "--exclude Secret leaves it out");
}

#[test]
fn a_kind_left_out_whole_need_not_be_read_to_be_missed() {
    let selection = Selection {
        exclude: patterns(&["secrets"]),
        ..Selection::default()
    };
    let surface = surface();
    let chooser = Chooser::new(&selection, &surface);
    assert!(chooser.left_out(&GroupKind::new("", "Secret")).is_some());
    assert!(chooser.left_out(&GroupKind::new("", "ConfigMap")).is_none());
    let listed = shop()
        .into_iter()
        .filter(|object| object.kind() != "Secret")
        .collect();
    let none = BTreeSet::new();
    let assembled = assemble(listed, &none, &surface, &selection, Knowledge::builtin());
    assert_eq!(assembled.findings.len(), 1);
}

#[test]
fn what_an_owner_of_a_kind_that_was_not_read_makes_stays_with_it() {
    let kind = GroupKind::new("apps", "Deployment");
    let unread = BTreeSet::from([kind.clone()]);
    let mut listed = shop();
    listed.retain(|object| object.group_kind() != kind);
    let all = Selection::default();
    let knowledge = Knowledge::builtin();
    let assembled = assemble(listed.clone(), &unread, &surface(), &all, knowledge);
    let travels = |kind: &str| {
        let mut captured = assembled.captured.iter();
        captured.any(|one| one.object.kind() == kind)
    };
    assert!(!travels("ReplicaSet") && travels("ConfigMap"));
    let made = assembled
        .dropped
        .iter()
        .find(|one| one.id.kind == "ReplicaSet")
        .unwrap();
    assert_eq!(
        (made.class, made.reason.as_str()),
        (
            DropClass::Excluded,
            "Deployment.apps shop/web, which makes it, was not read"
        )
    );
    // One whose owner is gone from a list that was read is nobody's, and travels by itself.
    let assembled = assemble(listed, &BTreeSet::new(), &surface(), &all, knowledge);
    let mut captured = assembled.captured.iter();
    assert!(captured.any(|one| one.object.kind() == "ReplicaSet"));
}

#[test]
fn labels_and_includes_choose_and_what_an_unchosen_owner_makes_stays_with_it() {
    let selection = Selection {
        labels: Some("app=web".parse().unwrap()),
        ..Selection::default()
    };
    let (names, assembled) = captured(&selection);
    assert_eq!(names, ["ConfigMap/web", "Deployment/web"]);
    assert_eq!(assembled.findings.len(), 1);

    let selection = Selection {
        include: patterns(&["ConfigMap/w*"]),
        ..Selection::default()
    };
    let (names, assembled) = captured(&selection);
    assert_eq!(names, ["ConfigMap/web"]);
    let made = assembled
        .dropped
        .iter()
        .find(|one| one.id.kind == "ReplicaSet")
        .unwrap();
    assert_eq!(
        (made.class, &made.produced_by),
        (DropClass::Excluded, &None)
    );
}

#[test]
fn a_pattern_that_fits_no_kind_is_named() {
    let selection = Selection {
        include: patterns(&["Deployment/web"]),
        exclude: patterns(&["Secert", "*.apps"]),
        ..Selection::default()
    };
    let surface = surface();
    let kinds = Chooser::new(&selection, &surface).kinds();
    assert_eq!(Chooser::unknown(&selection, &kinds), ["Secert"]);
}

#[test]
fn cluster_wide_rights_stay_when_no_account_they_are_for_was_chosen() {
    let rbac = "rbac.authorization.k8s.io/v1";
    let cluster = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": rbac, "kind": kind, "metadata": {"name": name}});
        json_patch::merge(&mut object, &rest);
        Object::new(object).unwrap()
    };
    let binding = |account: &str| {
        cluster(
            "ClusterRoleBinding",
            account,
            json!({
            "roleRef": {"kind": "ClusterRole", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "shop"}]}),
        )
    };
    let role = |name: &str| cluster("ClusterRole", name, json!({"rules": []}));
    let account = |name: &str| {
        object(
            "v1",
            "ServiceAccount",
            name,
            json!({"metadata": {"labels": {"l": name}}}),
        )
    };
    let listed = vec![
        account("web"),
        account("ci"),
        binding("web"),
        binding("ci"),
        role("web"),
        role("ci"),
    ];
    let selection = Selection {
        labels: Some("l=web".parse().unwrap()),
        ..Selection::default()
    };
    let assembled = assemble(
        listed,
        &BTreeSet::new(),
        &surface(),
        &selection,
        Knowledge::builtin(),
    );
    let names: BTreeSet<_> = assembled
        .captured
        .iter()
        .map(|one| one.object.name())
        .collect();
    assert_eq!(
        (assembled.captured.len(), names),
        (3, BTreeSet::from(["web"]))
    );
}

#[test]
fn a_pattern_that_nothing_fits_is_told() {
    let selection = Selection {
        labels: Some("nope=nope".parse().unwrap()),
        include: patterns(&["Deployment/nope-*", "ConfigMap"]),
        exclude: patterns(&["Secret/typo", "Secret"]),
        ..Selection::default()
    };
    let (_, assembled) = captured(&selection);
    let told: Vec<&str> = assembled
        .findings
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "nothing that could travel fits --include Deployment/nope-*",
            "nothing that could travel fits --exclude Secret/typo",
            "nothing that could travel fits --selector nope=nope",
        ]
    );
}
