//! The sanitising table row by row: what travels, what stays, and why.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::classify::{Sorted, classify};
use super::*;
use crate::knowledge::Knowledge;
use crate::object::GroupKind;
use crate::surface::{ApiResource, ClusterIdentity};

fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

fn surface() -> Surface {
    let resource = |group: &str, kind: &str, namespaced| ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: format!("{}s", kind.to_lowercase()),
        namespaced,
        verbs: BTreeSet::new(),
        preferred: true,
        subresources: BTreeSet::new(),
    };
    Surface {
        cluster: ClusterIdentity {
            name: "a".into(),
            uid: "u".into(),
            version: "v1.34.4".into(),
        },
        resources: vec![
            resource("apps", "Deployment", true),
            resource("example.com", "Universe", false),
        ],
        objects: Vec::new(),
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}

fn clean(value: Value) -> Value {
    let table = &Knowledge::builtin().sanitize;
    let once = sanitise(&object(value), table);
    assert_eq!(
        sanitise(&once, table),
        once,
        "sanitising twice is sanitising once"
    );
    once.into_value()
}

fn sort(values: Vec<Value>) -> Sorted {
    let objects = values.into_iter().map(object).collect();
    classify(
        objects,
        &BTreeSet::new(),
        &Knowledge::builtin().sanitize,
        &surface(),
    )
}

/// The rule that keeps the one object given on A; `None` when it travels.
fn stays(value: Value) -> Option<String> {
    sort(vec![value]).dropped.pop().map(|dropped| dropped.rule)
}

fn owned(kind: &str, name: &str, uid: &str, owner: (&str, &str, &str, &str)) -> Value {
    let (api_version, owner_kind, owner_name, owner_uid) = owner;
    let own_version = match kind {
        "ReplicaSet" | "Deployment" | "StatefulSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "v1",
    };
    json!({"apiVersion": own_version, "kind": kind, "metadata": {
        "name": name, "namespace": "shop", "uid": uid, "ownerReferences": [{
            "apiVersion": api_version, "kind": owner_kind, "name": owner_name, "uid": owner_uid,
            "controller": true, "blockOwnerDeletion": true}]}})
}

#[test]
fn every_row_says_why() {
    let table = &Knowledge::builtin().sanitize;
    let whys = table.skip.iter().map(|row| (&row.id, &row.why));
    let whys = whys.chain(table.drop.iter().map(|row| (&row.id, &row.why)));
    for (id, why) in whys.chain(table.fields.iter().map(|row| (&row.id, &row.why))) {
        assert!(id.contains('-') && why.len() > 10, "{id}: {why}");
    }
}

#[test]
fn s_2_a_pod_is_produced_by_the_deployment_above_its_replica_set() {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "1"}});
    let replica_set = owned(
        "ReplicaSet",
        "web-1",
        "2",
        ("apps/v1", "Deployment", "web", "1"),
    );
    let pod = owned(
        "Pod",
        "web-1-x",
        "3",
        ("apps/v1", "ReplicaSet", "web-1", "2"),
    );
    let sorted = sort(vec![deployment, replica_set, pod]);
    assert_eq!(sorted.captured.len(), 1);
    let web = ObjectId::namespaced("apps", "Deployment", "shop", "web");
    for dropped in &sorted.dropped {
        assert_eq!(
            (dropped.rule.as_str(), dropped.class),
            ("S-2", DropClass::Produced)
        );
        assert_eq!(dropped.produced_by.as_ref(), Some(&web));
    }
}

#[test]
fn s_2_an_object_whose_owner_does_not_travel_is_kept_as_an_orphan() {
    let lost = owned(
        "ReplicaSet",
        "web-1",
        "2",
        ("apps/v1", "Deployment", "web", "gone"),
    );
    let sorted = sort(vec![lost]);
    assert_eq!(sorted.captured.len(), 1);
    assert_eq!(
        sorted.captured[0].owners[0].id.to_string(),
        "Deployment.apps shop/web"
    );
}

#[test]
fn s_3_s_4_static_pods_and_finished_jobs_stay() {
    let pod = |metadata: Value, phase: &str| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "status": {"phase": phase}});
        pod["metadata"]["name"] = "p".into();
        pod
    };
    let mirror = json!({"annotations": {"kubernetes.io/config.mirror": "x"}});
    assert_eq!(stays(pod(mirror, "Running")).as_deref(), Some("S-3"));
    assert_eq!(stays(pod(json!({}), "Succeeded")).as_deref(), Some("S-4"));
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {
        "name": "j", "namespace": "shop", "uid": "1"}});
    let mut ran = owned("Pod", "j-1", "2", ("batch/v1", "Job", "j", "1"));
    ran["status"] = json!({"phase": "Succeeded"});
    assert_eq!(
        sort(vec![job, ran]).dropped[0].rule,
        "S-4",
        "nobody makes it again"
    );
    assert_eq!(stays(pod(json!({}), "Running")), None);
    let job = |conditions: Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
            "status": {"conditions": conditions}})
    };
    assert_eq!(
        stays(job(json!([{"type": "Complete", "status": "True"}]))).as_deref(),
        Some("S-4")
    );
    assert_eq!(
        stays(job(json!([{"type": "Complete", "status": "False"}]))),
        None
    );
    assert_eq!(
        stays(job(json!([{"type": "Suspended", "status": "True"}]))),
        None
    );
}

#[test]
fn s_5_endpoints_made_by_a_selector_stay_and_those_made_by_hand_travel() {
    let service = |spec: Value| {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "db", "namespace": "shop"}, "spec": spec})
    };
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "db", "namespace": "shop"}, "subsets": []});
    let selected = sort(vec![
        service(json!({"selector": {"app": "db"}})),
        endpoints.clone(),
    ]);
    assert_eq!(selected.dropped[0].rule, "S-5");
    assert!(sort(vec![service(json!({})), endpoints]).dropped.is_empty());
    let slice = |by: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s", "labels": {"endpointslice.kubernetes.io/managed-by": by}}})
    };
    assert!(stays(slice("endpointslice-controller.k8s.io")).is_some());
    assert!(stays(slice("me")).is_none());
}

#[test]
fn s_6_s_8_what_every_namespace_is_given_stays() {
    let named = |kind: &str, name: &str, extra: Value| {
        let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        for (key, field) in extra.as_object().unwrap() {
            value[key] = field.clone();
        }
        value
    };
    assert_eq!(
        stays(named("ConfigMap", "kube-root-ca.crt", json!({}))).as_deref(),
        Some("S-6")
    );
    let token = json!({"type": "kubernetes.io/service-account-token", "metadata": {
        "name": "web-token-x2z4q", "annotations": {"kubernetes.io/service-account.name": "web"}}});
    assert_eq!(
        stays(named("Secret", "", token.clone())).as_deref(),
        Some("S-8")
    );
    let mut mine = token;
    mine["metadata"]["name"] = "my-own-token".into();
    assert_eq!(stays(named("Secret", "", mine)), None);
    let pull = json!({"type": "kubernetes.io/dockercfg"});
    assert_eq!(stays(named("Secret", "my-dockercfg-abc", pull)), None);
}

#[test]
fn s_7_the_default_account_travels_only_with_what_the_user_added() {
    let account = |pull: Value| {
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "shop", "uid": "1"},
            "secrets": [{"name": "default-token-abcde"}], "imagePullSecrets": pull})
    };
    assert_eq!(
        stays(account(json!([{"name": "default-dockercfg-xyz"}]))).as_deref(),
        Some("S-7")
    );
    let pull = json!([{"name": "default-dockercfg-xyz"}, {"name": "mine"}, {"name": "default-dockercfg-2"}]);
    let sorted = sort(vec![account(pull)]);
    let kept = &sorted.captured[0].object;
    assert_eq!(
        kept.pointer("/imagePullSecrets"),
        Some(&json!([{"name": "mine"}]))
    );
    assert_eq!(kept.pointer("/secrets"), None);
}

#[test]
fn s_9_a_token_secret_travels_without_the_token() {
    let secret = clean(json!({"apiVersion": "v1", "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "mine", "uid": "1", "annotations": {
            "kubernetes.io/service-account.name": "web", "kubernetes.io/service-account.uid": "9"}},
        "data": {"token": "YQ==", "ca.crt": "YQ==", "namespace": "YQ==", "extra": "YQ=="}}));
    assert_eq!(secret["data"], json!({"extra": "YQ=="}));
    assert_eq!(
        secret["metadata"]["annotations"],
        json!({"kubernetes.io/service-account.name": "web"})
    );
}

#[test]
fn s_10_s_12_helm_releases_and_owned_data_travel() {
    let release = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": "sh.helm.release.v1.shop.v1"}});
    assert_eq!(stays(release), None);
    let cluster = json!({"apiVersion": "db.example.com/v1", "kind": "Database",
        "metadata": {"name": "main", "namespace": "shop", "uid": "1"}});
    for kind in ["Secret", "ConfigMap", "PersistentVolumeClaim"] {
        let data = owned(
            kind,
            "main",
            "2",
            ("db.example.com/v1", "Database", "main", "1"),
        );
        assert!(
            sort(vec![cluster.clone(), data]).dropped.is_empty(),
            "{kind}"
        );
    }
}

#[test]
fn s_13_what_an_operator_makes_again_is_produced() {
    let database = json!({"apiVersion": "db.example.com/v1", "kind": "Database",
        "metadata": {"name": "main", "namespace": "shop", "uid": "1"}});
    let service = owned(
        "Service",
        "main",
        "2",
        ("db.example.com/v1", "Database", "main", "1"),
    );
    let sorted = sort(vec![database, service]);
    assert_eq!(sorted.dropped[0].rule, "S-13");
    assert_eq!(
        sorted.dropped[0].produced_by.as_ref().unwrap().kind,
        "Database"
    );
}

#[test]
fn s_40_s_41_s_42_s_43_what_the_server_and_controllers_own_is_dropped() {
    let cleaned = clean(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "2",
            "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z", "generateName": "w",
            "managedFields": [], "finalizers": ["x/y"], "ownerReferences": [{"uid": "9"}],
            "labels": {"app": "web"}},
        "spec": {"replicas": 2, "template": {"metadata": {"creationTimestamp": null,
            "labels": {"app": "web"}}}},
        "status": {"replicas": 2}}));
    assert_eq!(
        cleaned,
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}}})
    );
}

#[test]
fn s_40_an_object_being_deleted_stays() {
    let dying = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert_eq!(stays(dying).as_deref(), Some("S-40"));
}

#[test]
fn s_41_a_claim_template_loses_its_status() {
    let cleaned = clean(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db"}, "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data",
            "creationTimestamp": null}, "spec": {}, "status": {"phase": "Pending"}}]}}));
    assert_eq!(
        cleaned["spec"]["volumeClaimTemplates"],
        json!([{"metadata": {"name": "data"}, "spec": {}}])
    );
}

#[test]
fn s_44_s_45_annotations_of_controllers_and_tools_are_dropped_and_the_users_kept() {
    let cleaned = clean(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
        "name": "web", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "deployment.kubernetes.io/revision": "4", "argocd.argoproj.io/tracking-id": "x",
            "meta.helm.sh/release-name": "shop", "note": "mine"},
        "labels": {"app.kubernetes.io/instance": "shop"}},
        "spec": {"template": {"metadata": {"annotations": {
            "kubectl.kubernetes.io/restartedAt": "now"}}}}}),
    );
    assert_eq!(
        cleaned["metadata"]["annotations"],
        json!({"meta.helm.sh/release-name": "shop", "note": "mine"})
    );
    assert_eq!(
        cleaned["metadata"]["labels"],
        json!({"app.kubernetes.io/instance": "shop"})
    );
    let template = &cleaned["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(template["kubectl.kubernetes.io/restartedAt"], "now");
}

#[test]
fn s_50_a_namespace_keeps_its_labels_and_nothing_of_the_server() {
    let cleaned = clean(json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "uid": "1", "labels": {"kubernetes.io/metadata.name": "shop",
            "pod-security.kubernetes.io/enforce": "baseline"}},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}));
    assert_eq!(
        cleaned,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop",
            "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    );
}

#[test]
fn s_52_s_60_a_service_loses_addresses_and_allocated_ports_and_keeps_the_users() {
    let service = |ip: &str, managed: Value| {
        clean(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "uid": "1", "managedFields": managed},
            "spec": {"type": "NodePort", "clusterIP": ip, "clusterIPs": [ip],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}}))["spec"]
            .clone()
    };
    assert_eq!(
        service("10.0.0.9", json!([])),
        json!({"type": "NodePort", "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "protocol": "TCP"}]})
    );
    let port = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {
        "f:nodePort": {}}}}});
    let managed = json!([{"manager": "kubectl", "operation": "Update", "fieldsV1": port}]);
    assert_eq!(service("10.0.0.9", managed)["ports"][0]["nodePort"], 30080);
    assert_eq!(service("None", json!([]))["clusterIP"], "None");
}

#[test]
fn s_53_a_claim_is_unbound_and_as_large_as_its_volume() {
    let cleaned = clean(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "uid": "1", "finalizers": ["kubernetes.io/pvc-protection"],
            "annotations": {"pv.kubernetes.io/bind-completed": "yes",
                "volume.beta.kubernetes.io/storage-provisioner": "x",
                "volume.kubernetes.io/selected-node": "n1"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "volumeMode": "Filesystem", "volumeName": "pv-1",
            "dataSourceRef": {"kind": "VolumeSnapshot", "name": "s"},
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}));
    assert_eq!(
        cleaned,
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "volumeMode": "Filesystem", "resources": {"requests": {"storage": "2Gi"}}}})
    );
}

#[test]
fn s_55_a_bare_pod_loses_what_admission_and_the_scheduler_added() {
    let cleaned = clean(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "1"},
        "spec": {"nodeName": "n1", "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
            "serviceAccount": "web", "serviceAccountName": "web",
            "volumes": [{"name": "kube-api-access-abcde"}, {"name": "data"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "data"},
                {"name": "kube-api-access-abcde"}]}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 300}, {"key": "mine"}]}}),
    );
    assert_eq!(
        cleaned["spec"],
        json!({"serviceAccountName": "web", "volumes": [{"name": "data"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}],
            "tolerations": [{"key": "mine"}]})
    );
}

#[test]
fn s_56_a_job_loses_its_uid_everywhere_unless_its_selector_is_the_users() {
    let labels = json!({"controller-uid": "9", "batch.kubernetes.io/controller-uid": "9",
        "job-name": "j", "batch.kubernetes.io/job-name": "j", "app": "x"});
    let job = |manual: bool| {
        clean(json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "j", "uid": "1", "labels": labels},
            "spec": {"manualSelector": manual, "selector": {"matchLabels": {"controller-uid": "9"}},
                "template": {"metadata": {"labels": labels}}}}))
    };
    let cleaned = job(false);
    assert_eq!(
        cleaned["spec"]["template"]["metadata"]["labels"],
        json!({"app": "x"})
    );
    assert_eq!(cleaned["metadata"]["labels"], json!({"app": "x"}));
    assert_eq!(cleaned["spec"].get("selector"), None);
    assert!(job(true)["spec"].get("selector").is_some());
}

#[test]
fn s_59_a_generated_route_host_stays_and_a_chosen_one_travels() {
    let route = |generated: &str| {
        clean(
            json!({"apiVersion": "route.openshift.io/v1", "kind": "Route",
            "metadata": {"name": "web", "uid": "1",
                "annotations": {"openshift.io/host.generated": generated, "x": "y"}},
            "spec": {"host": "web.example.com"}, "status": {"ingress": []}}),
        )
    };
    assert_eq!(route("true")["spec"].get("host"), None);
    assert_eq!(route("true")["metadata"]["annotations"], json!({"x": "y"}));
    assert_eq!(route("false")["spec"]["host"], "web.example.com");
}

#[test]
fn an_unknown_custom_resource_travels_whole() {
    let spec = json!({"a": [1, {"b": null}], "metadata": {"creationTimestamp": null}});
    let cleaned = clean(json!({"apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {"name": "t", "uid": "1"}, "spec": spec, "status": {"x": 1}}));
    assert_eq!(
        cleaned,
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"},
            "spec": spec})
    );
}

#[test]
fn a_cluster_scoped_owner_is_recorded_without_a_namespace() {
    let sorted = sort(vec![owned(
        "Secret",
        "s",
        "2",
        ("example.com/v1", "Universe", "all", "1"),
    )]);
    assert_eq!(
        sorted.captured[0].owners[0].id,
        ObjectId::cluster("example.com", "Universe", "all")
    );
    let kind: GroupKind = sorted.captured[0].object.group_kind();
    assert_eq!(kind, GroupKind::new("", "Secret"));
}
