//! One object in, its references out; each test names its rule.

use super::*;
use serde_json::json;

fn find_with(crds: &[Object], value: Value) -> Vec<Reference> {
    let object = Object::new(value).unwrap();
    References::new(Knowledge::builtin(), crds).find(&object)
}

/// References as `rule strength target at pointer`, one a line.
fn lines(value: Value) -> Vec<String> {
    find_with(&[], value)
        .iter()
        .map(|r| format!("{} {} {} at {}", r.rule, r.strength, r.target, r.pointer))
        .collect()
}

fn object(kind: &str, rest: Value) -> Value {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    let mut value = json!({"apiVersion": api_version, "kind": kind,
                           "metadata": {"name": "web", "namespace": "shop"}});
    for (key, part) in rest.as_object().unwrap() {
        match (key.as_str(), part.as_object()) {
            ("metadata", Some(part)) => {
                for (key, part) in part {
                    value["metadata"][key] = part.clone();
                }
            }
            _ => value[key] = part.clone(),
        }
    }
    value
}

fn deployment(pod: Value) -> Value {
    object(
        "apps/v1/Deployment",
        json!({"spec": {"template": {"spec": pod}}}),
    )
}

#[test]
fn e_pt1_a_pod_without_a_service_account_uses_default() {
    assert_eq!(
        lines(deployment(json!({}))),
        ["E-PT1 R ServiceAccount shop/default at /spec/template/spec"]
    );
    assert_eq!(
        lines(object("v1/Pod", json!({"spec": {"serviceAccount": "old"}}))),
        ["E-PT1 H ServiceAccount shop/old at /spec"]
    );
}

#[test]
fn e_pt3_and_e_pt4_name_secrets_and_config_maps_and_optional_is_soft() {
    let pod = json!({
        "serviceAccountName": "sa",
        "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}}]}],
        "containers": [{"envFrom": [{"configMapRef": {"name": "c1", "optional": true}}]}],
        "volumes": [
            {"secret": {"secretName": "s2"}},
            {"projected": {"sources": [{"configMap": {"name": "c2"}}]}},
            {"persistentVolumeClaim": {"claimName": "data"}},
        ],
    });
    let at = "/spec/template/spec";
    assert_eq!(
        lines(deployment(pod)),
        [
            format!("E-PT1 R ServiceAccount shop/sa at {at}"),
            format!("E-PT3 R Secret shop/s1 at {at}/initContainers/0/env/0/valueFrom/secretKeyRef"),
            format!("E-PT3 S ConfigMap shop/c1 at {at}/containers/0/envFrom/0/configMapRef"),
            format!("E-PT4 R Secret shop/s2 at {at}/volumes/0/secret"),
            format!("E-PT4 R ConfigMap shop/c2 at {at}/volumes/1/projected/sources/0/configMap"),
            format!(
                "E-PT6 R PersistentVolumeClaim shop/data at {at}/volumes/2/persistentVolumeClaim"
            ),
        ]
    );
}

#[test]
fn e_pt15_networks_are_read_as_a_list_and_as_json() {
    for (text, spots) in [
        ("net1, other/net2@eth1", ["net1", "net2"]),
        (
            "[{\"name\":\"net1\"},{\"name\":\"net2\",\"namespace\":\"other\"}]",
            ["net1", "net2"],
        ),
    ] {
        let pod = object(
            "v1/Pod",
            json!({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": text}},
                   "spec": {"serviceAccountName": "sa"}}),
        );
        let found: Vec<_> = find_with(&[], pod.clone())
            .into_iter()
            .filter(|reference| reference.rule == "E-PT15")
            .collect();
        assert_eq!(found[0].target.namespace.as_deref(), Some("shop"));
        assert_eq!(found[1].target.namespace.as_deref(), Some("other"));
        let read = |spot: &Option<Spot>| spot.as_ref().and_then(|spot| spot.read(&pod));
        assert_eq!(
            found
                .iter()
                .map(|r| read(&r.name).unwrap())
                .collect::<Vec<_>>(),
            spots
        );
        assert_eq!(read(&found[1].namespace).unwrap(), "other");
    }
}

#[test]
fn e_pt16_image_triggers_name_streams() {
    let text =
        "[{\"from\":{\"kind\":\"ImageStreamTag\",\"name\":\"web:latest\"},\"fieldPath\":\"x\"}]";
    let mut value = deployment(json!({"serviceAccountName": "sa"}));
    value["metadata"]["annotations"] = json!({"image.openshift.io/triggers": text});
    let found = find_with(&[], value.clone());
    let stream = found.iter().find(|r| r.rule == "E-PT16").unwrap();
    assert_eq!(
        stream.target.to_string(),
        "ImageStream.image.openshift.io shop/web"
    );
    assert_eq!(stream.name.as_ref().unwrap().read(&value).unwrap(), "web");
}

#[test]
fn e_8_a_data_source_says_its_kind() {
    let spec = json!({"dataSourceRef": {"apiGroup": "snapshot.storage.k8s.io",
        "kind": "VolumeSnapshot", "name": "snap", "namespace": "other"}});
    assert_eq!(
        lines(object("v1/PersistentVolumeClaim", json!({"spec": spec}))),
        ["E-8 H VolumeSnapshot.snapshot.storage.k8s.io other/snap at /spec/dataSourceRef"]
    );
}

#[test]
fn e_15_a_stateful_set_has_one_claim_for_each_ordinal() {
    let spec = json!({"replicas": 2, "ordinals": {"start": 3}, "template": {"spec": {}},
                      "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
    let found = find_with(&[], object("apps/v1/StatefulSet", json!({"spec": spec})));
    let claims: Vec<_> = found
        .iter()
        .filter(|r| r.rule == "E-15")
        .map(|r| r.target.name.as_str())
        .collect();
    assert_eq!(claims, ["data-web-3", "data-web-4"]);
}

#[test]
fn e_21_a_quota_names_types_and_classes_in_its_keys() {
    let hard = json!({"count/widgets.example.com": "3", "pods": "9",
                      "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"});
    let value = object("v1/ResourceQuota", json!({"spec": {"hard": hard}}));
    assert_eq!(
        lines(value.clone()),
        [
            "E-21 H CustomResourceDefinition.apiextensions.k8s.io widgets.example.com at \
             /spec/hard/count~1widgets.example.com",
            "E-21 S StorageClass.storage.k8s.io gold at \
             /spec/hard/gold.storageclass.storage.k8s.io~1requests.storage",
        ]
    );
    let mut changed = value.clone();
    let name = find_with(&[], value)[1].name.clone().unwrap();
    assert_eq!(rewrite(&mut changed, &[(name, "silver".into())]), 1);
    assert!(
        changed["spec"]["hard"]["silver.storageclass.storage.k8s.io/requests.storage"].is_string()
    );
}

#[test]
fn e_23_subjects_come_in_three_forms() {
    let value = object(
        "rbac.authorization.k8s.io/v1/RoleBinding",
        json!({"subjects": [
            {"kind": "ServiceAccount", "name": "a", "namespace": "other"},
            {"kind": "User", "name": "system:serviceaccount:other:b"},
            {"kind": "User", "name": "alice"},
            {"kind": "Group", "name": "system:serviceaccounts:other"},
        ]}),
    );
    assert_eq!(
        lines(value.clone()),
        [
            "E-23 S ServiceAccount other/a at /subjects/0",
            "E-23 S ServiceAccount other/b at /subjects/1",
            "E-23 N Namespace other at /subjects/3",
        ]
    );
    let mut changed = value.clone();
    let edits: Vec<_> = find_with(&[], value)
        .into_iter()
        .map(|r| r.namespace.or(r.name).unwrap())
        .map(|spot| (spot, "new".to_owned()))
        .collect();
    assert_eq!(rewrite(&mut changed, &edits), 3);
    assert_eq!(changed["subjects"][0]["namespace"], "new");
    assert_eq!(
        changed["subjects"][1]["name"],
        "system:serviceaccount:new:b"
    );
    assert_eq!(changed["subjects"][3]["name"], "system:serviceaccounts:new");
}

#[test]
fn e_36_and_e_37_default_to_gateway_and_service() {
    let spec = json!({"parentRefs": [{"name": "gw", "namespace": "infra"}],
                      "rules": [{"backendRefs": [{"name": "api", "port": 80}]}]});
    assert_eq!(
        lines(object(
            "gateway.networking.k8s.io/v1/HTTPRoute",
            json!({"spec": spec})
        )),
        [
            "E-36 R Gateway.gateway.networking.k8s.io infra/gw at /spec/parentRefs/0",
            "E-37 R Service shop/api at /spec/rules/0/backendRefs/0",
        ]
    );
}

#[test]
fn e_60_a_certificate_names_its_issuer_by_kind() {
    let issuer = |kind: Value| {
        let spec = json!({"spec": {"issuerRef": kind}});
        lines(object("cert-manager.io/v1/Certificate", spec))
    };
    assert_eq!(
        issuer(json!({"name": "le", "kind": "ClusterIssuer"})),
        ["E-60 R ClusterIssuer.cert-manager.io le at /spec/issuerRef"]
    );
    assert_eq!(
        issuer(json!({"name": "ca"})),
        ["E-60 R Issuer.cert-manager.io shop/ca at /spec/issuerRef"]
    );
    assert_eq!(
        issuer(json!({"name": "x", "kind": "Y", "group": "z.io"})),
        [""; 0]
    );
}

#[test]
fn e_70_hosts_and_gateways_of_a_virtual_service() {
    let spec = json!({"gateways": ["mesh", "infra/public"],
        "http": [{"route": [{"destination": {"host": "api.other.svc.cluster.local"}},
                            {"destination": {"host": "www.example.com"}}]}]});
    assert_eq!(
        lines(object(
            "networking.istio.io/v1/VirtualService",
            json!({"spec": spec})
        )),
        [
            "E-70 R Gateway.networking.istio.io infra/public at /spec/gateways/1",
            "E-70 S Service other/api at /spec/http/0/route/0/destination/host",
        ]
    );
}

#[test]
fn e_u1_the_user_may_ask_for_an_order() {
    let text = "apps/namespaces/shop/Deployment/db, /namespaces/shop/Secret/key";
    let metadata = json!({"annotations": {"config.kubernetes.io/depends-on": text}});
    assert_eq!(
        lines(object("v1/ConfigMap", json!({"metadata": metadata}))),
        [
            "E-U1 S Deployment.apps shop/db at /metadata/annotations/config.kubernetes.io~1depends-on",
            "E-U1 S Secret shop/key at /metadata/annotations/config.kubernetes.io~1depends-on",
        ]
    );
}

#[test]
fn e_g_unknown_custom_resources_are_read_by_shape() {
    let crd = |group: &str, kind: &str| {
        Object::new(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}s.{group}", kind.to_lowercase())},
            "spec": {"group": group, "names": {"kind": kind}},
        }))
        .unwrap()
    };
    let crds = [
        crd("shop.example.com", "Campaign"),
        crd("shop.example.com", "Channel"),
    ];
    let value = object(
        "shop.example.com/v1/Campaign",
        json!({"spec": {
            "mailSecretRef": {"name": "mail"},
            "apiToken": {"name": "token", "key": "t"},
            "tls": {"secretName": "tls"},
            "templates": {"configMapRef": {"name": "tpl", "namespace": "other"}},
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "channelRef": {"name": "news"},
            "storage": {"storageClass": "gold", "serviceName": "svc"},
            "plain": {"name": "nothing"},
        }, "status": {"secretName": "no"}}),
    );
    let found: Vec<_> = find_with(&crds, value)
        .iter()
        .map(|r| format!("{} {} {}%", r.rule, r.target, r.confidence))
        .collect();
    assert_eq!(
        found,
        [
            "E-G1 Secret shop/token 80%",
            "E-G5 Channel.shop.example.com shop/news 70%",
            "E-G1 Secret shop/mail 90%",
            "E-G6 Service shop/svc 85%",
            "E-G6 StorageClass.storage.k8s.io gold 85%",
            "E-G4 Deployment.apps shop/web 90%",
            "E-G3 ConfigMap other/tpl 90%",
            "E-G2 Secret shop/tls 80%",
        ]
    );
}

#[test]
fn a_custom_kind_that_its_definition_calls_cluster_wide_has_no_namespace() {
    let crd = Object::new(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "plans.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Plan"}, "scope": "Cluster"},
    }));
    let value = object(
        "example.com/v1/Order",
        json!({"spec": {"planRef": {"name": "gold"}}}),
    );
    let found = find_with(&[crd.unwrap()], value);
    assert_eq!(found[0].target.to_string(), "Plan.example.com gold");
    assert_eq!(found[0].namespace, None);
}
