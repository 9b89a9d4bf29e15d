//! One test for each rule of the rule book's §6 that is decided here.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::diff::equal;

fn object(value: Value) -> Object {
    let mut object = json!({"metadata": {"name": "x", "namespace": "n"}});
    json_patch::merge(&mut object, &value);
    Object::new(object).unwrap()
}

#[track_caller]
fn same(a: Value, b: Value) {
    let normal = |value| normalise(&object(value), Knowledge::builtin());
    assert_eq!(normal(a), normal(b));
}

#[track_caller]
fn different(a: Value, b: Value) {
    assert!(!equal(&object(a), &object(b), Knowledge::builtin()));
}

fn deployment(pod: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": pod}}})
}

#[test]
fn d_1_what_the_server_and_ferry_write_is_no_difference() {
    same(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "binaryData": {},
            "status": {"x": 1}, "metadata": {"uid": "u", "managedFields": [{}], "labels":
            {"ferry.dev/run": "r"}, "annotations": {"ferry.dev/source": "a/n",
            "kubectl.kubernetes.io/last-applied-configuration": "{}"}}}),
    );
}

#[test]
fn d_1_empty_values_count_in_custom_resources_and_unions() {
    let issuer = |spec| json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "spec": spec});
    different(issuer(json!({"selfSigned": {}})), issuer(json!({})));
    different(
        deployment(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
        deployment(json!({"volumes": [{"name": "v"}]})),
    );
}

#[test]
fn d_2_string_data_is_data() {
    let secret = |fields: Value| {
        let mut value = json!({"apiVersion": "v1", "kind": "Secret"});
        json_patch::merge(&mut value, &fields);
        value
    };
    same(
        secret(json!({"stringData": {"a": "b"}})),
        secret(json!({"data": {"a": "Yg=="}, "type": "Opaque"})),
    );
}

#[test]
fn d_3_quantities_numbers_and_ports_have_one_spelling() {
    let limits = |cpu, memory| {
        deployment(json!({"containers": [{"name": "c", "resources":
            {"limits": {"cpu": cpu, "memory": memory}}}]}))
    };
    same(limits("0.1", "1024Mi"), limits("100m", "1Gi"));
    let service = |port: Value| {
        json!({"apiVersion": "v1", "kind": "Service",
            "spec": {"ports": [{"port": 1.0, "targetPort": port}]}})
    };
    same(service(json!("80")), service(json!(80)));
    different(service(json!("http")), service(json!(80)));
}

#[test]
fn d_4_order_counts_only_where_it_means_something() {
    let role = |verbs: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    };
    same(role(json!(["get", "list"])), role(json!(["list", "get"])));
    let args = |args: Value| deployment(json!({"containers": [{"name": "c", "args": args}]}));
    different(args(json!(["a", "b"])), args(json!(["b", "a"])));
}

#[test]
fn d_5_and_d_6_what_the_server_fills_in_is_no_difference() {
    same(
        deployment(
            json!({"containers": [{"name": "c", "image": "nginx:1", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}}]}),
        ),
        deployment(
            json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "containers": [{"name": "c", "image": "nginx:1",
            "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1000m"}}}]}),
        ),
    );
    different(
        deployment(json!({"restartPolicy": "Always"})),
        deployment(json!({"restartPolicy": "OnFailure"})),
    );
}

#[test]
fn d_7_assigned_addresses_are_no_difference_but_none_is() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": spec});
    same(
        service(json!({"ports": [{"port": 80}]})),
        service(
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP",
            "ipFamilies": ["IPv4"], "ports": [{"port": 80, "targetPort": 80, "nodePort": 30000}]}),
        ),
    );
    same(
        service(json!({"clusterIP": "None"})),
        service(json!({"clusterIP": "None", "clusterIPs": ["None"]})),
    );
    different(service(json!({"clusterIP": "None"})), service(json!({})));
}

#[test]
fn d_8_rules_that_others_gather_are_no_difference() {
    let role = |aggregation: Value, verb: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "aggregationRule": aggregation,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    };
    let gathered = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    same(role(gathered.clone(), "get"), role(gathered, "list"));
    different(role(Value::Null, "get"), role(Value::Null, "list"));
}

#[test]
fn d_10_owners_are_compared_by_kind_and_name() {
    let owned = |uid: &str, name: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"ownerReferences":
            [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid}]}})
    };
    same(owned("1", "web"), owned("2", "web"));
    different(owned("1", "web"), owned("1", "api"));
}

#[test]
fn d_11_images_are_compared_parsed() {
    let image = |image: &str| deployment(json!({"containers": [{"name": "c", "image": image}]}));
    same(image("nginx"), image("docker.io/library/nginx:latest"));
    let digest = |digit: &str| format!("r.io/a@sha256:{}", digit.repeat(64));
    different(image(&digest("1")), image(&digest("2")));
}

#[test]
fn d_14_a_metric_repeated_by_an_old_server_is_no_difference() {
    let hpa = |metrics: Value| {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"maxReplicas": 3, "metrics": metrics}})
    };
    let metric = json!({"type": "Resource", "resource": {"name": "memory"}});
    same(hpa(json!([metric, metric])), hpa(json!([metric])));
}

/// Values of the keys that rows are about, right and wrong.
fn field() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i8>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        prop::sample::select(vec![
            "TCP", "1Gi", "1024Mi", "80", "nginx", "Always", "Opaque", "None", "", "x",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        let key = prop::sample::select(vec![
            "spec",
            "template",
            "containers",
            "ports",
            "port",
            "targetPort",
            "protocol",
            "name",
            "image",
            "imagePullPolicy",
            "resources",
            "limits",
            "requests",
            "cpu",
            "volumes",
            "emptyDir",
            "env",
            "value",
            "type",
            "clusterIP",
            "rules",
            "verbs",
            "strategy",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(
        kind in prop::sample::select(vec![
            ("apps/v1", "Deployment"), ("v1", "Service"), ("v1", "Secret"), ("v1", "Pod"),
            ("rbac.authorization.k8s.io/v1", "Role"), ("example.com/v1", "Thing"),
        ]),
        spec in field(),
        rules in field(),
    ) {
        let value = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": {"name": "x"},
            "spec": spec, "rules": rules, "stringData": {"a": "b"}});
        let once = normalise(&Object::new(value).unwrap(), Knowledge::builtin());
        let twice = normalise(&Object::new(once.clone()).unwrap(), Knowledge::builtin());
        prop_assert_eq!(once, twice);
    }
}
