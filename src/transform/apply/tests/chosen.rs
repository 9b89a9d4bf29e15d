//! T-3 and T-6 to T-13: what entries choose for the objects they select.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::capture::{Consistency, Proof, SavedVolume, Volume, VolumeMode};
use crate::finding::Verdict;
use crate::transform::Source;

fn all(values: Vec<Value>) -> Vec<Object> {
    let objects = values.into_iter().map(Object::new);
    objects.map(|object| object.unwrap()).collect()
}

fn deployment(pod: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod}},
    })
}

fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}, "data": data})
}

fn secret(kind: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": "s", "namespace": "n"}, "data": data})
}

fn at<'o>(done: &'o Transformed, index: usize, path: &str) -> &'o Value {
    done.objects[index].pointer(path).unwrap_or(&Value::Null)
}

fn messages(done: &Transformed) -> Vec<&str> {
    done.findings
        .iter()
        .map(|one| one.message.as_str())
        .collect()
}

#[test]
fn t_3_a_new_name_is_followed_by_references_claims_and_dns() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "n"}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "n"},
            "spec": {"serviceName": "db", "replicas": 1, "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"spec": {"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "c"}}],
                    "env": [{"name": "URL", "value": "pg://db:5432/db,db-0.db.n.svc"}, {"name": "X", "value": "db"}]}]}}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data-db-0", "namespace": "n"}}),
        config(json!({"host": "db.n.svc.cluster.local"})),
    ]);
    let done = run(
        &objects,
        "- names: {select: {kind: [Service, StatefulSet]}, map: {db: pg}}
- names: {select: {kind: ConfigMap}, map: {c: settings}}
",
    );
    assert_eq!(done.objects[0].name(), "pg");
    assert_eq!(at(&done, 1, "/spec/serviceName"), "pg");
    assert_eq!(done.objects[2].name(), "data-pg-0");
    let container = "/spec/template/spec/containers/0";
    assert_eq!(
        at(
            &done,
            1,
            &format!("{container}/envFrom/0/configMapRef/name")
        ),
        "settings"
    );
    assert_eq!(
        at(&done, 1, &format!("{container}/env/0/value")),
        "pg://pg:5432/db,db-0.pg.n.svc"
    );
    assert_eq!(at(&done, 3, "/data/host"), "pg.n.svc.cluster.local");
    // A word alone may be anything.
    assert_eq!(at(&done, 1, &format!("{container}/env/1/value")), "db");
    assert!(done.lookalikes.iter().any(|look| look.rule == "T-3"));
    let back = run(
        &done.objects,
        "- names: {select: {kind: [Service, StatefulSet]}, map: {pg: db}}
- names: {select: {kind: ConfigMap}, map: {settings: c}}
",
    );
    assert_eq!(back.objects, objects);
}

#[test]
fn t_6_labels_of_nodes_follow_in_selectors_affinity_and_topology() {
    let term = |key: &str, values: Value| json!({"key": key, "operator": "In", "values": values});
    let objects = all(vec![deployment(json!({
        "nodeSelector": {"disk": "ssd", "other": "x"},
        "schedulerName": "old",
        "tolerations": [{"key": "gpu"}, {"key": "keep"}],
        "topologySpreadConstraints": [{"topologyKey": "zone"}],
        "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [term("disk", json!(["ssd"])), term("disk", json!(["ssd", "tape"]))]}]}},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"podAffinityTerm": {"topologyKey": "zone"}}]},
        },
    }))]);
    let recipe = "- scheduling:
    nodeLabels: {disk=ssd: storage=nvme, zone: topology.kubernetes.io/zone}
    taints: {gpu: nvidia.com/gpu}
    schedulerName: {old: new}
  optional: true
- scheduling: {select: {kind: Deployment}, remove: [topologySpreadConstraints]}
  optional: true
";
    let done = run(&objects, recipe);
    let pod = at(&done, 0, "/spec/template/spec");
    assert_eq!(
        pod["nodeSelector"],
        json!({"storage": "nvme", "other": "x"})
    );
    assert_eq!(pod["schedulerName"], "new");
    assert_eq!(
        pod["tolerations"],
        json!([{"key": "nvidia.com/gpu"}, {"key": "keep"}])
    );
    assert_eq!(pod.get("topologySpreadConstraints"), None);
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"][0]["matchExpressions"];
    assert_eq!(terms[0], term("storage", json!(["nvme"])));
    assert_eq!(terms[1], term("disk", json!(["ssd", "tape"])));
    assert_eq!(
        messages(&done),
        ["only some values of the node label `disk` have a new name"]
    );
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
}

#[test]
fn t_6_classes_follow_their_references_and_old_annotations() {
    let objects = all(vec![
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": "n",
            "annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {"ingressClassName": "nginx"}}),
        deployment(json!({"priorityClassName": "high", "runtimeClassName": "kata"})),
    ]);
    let done = run(
        &objects,
        "- ingressClass: {map: {nginx: traefik}}
- priorityClass: {map: {high: urgent}}
- runtimeClass: {map: {kata: gvisor}}
",
    );
    assert_eq!(at(&done, 0, "/spec/ingressClassName"), "traefik");
    assert_eq!(
        done.objects[0].annotation("kubernetes.io/ingress.class"),
        Some("traefik")
    );
    assert_eq!(
        at(&done, 1, "/spec/template/spec/priorityClassName"),
        "urgent"
    );
    assert_eq!(
        at(&done, 1, "/spec/template/spec/runtimeClassName"),
        "gvisor"
    );
}

#[test]
fn t_6_a_clouds_annotations_are_translated_or_told() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lb", "namespace": "n", "annotations": {
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
            "service.beta.kubernetes.io/aws-load-balancer-type": "nlb", "mine": "x"}},
            "spec": {"type": "LoadBalancer", "loadBalancerIP": "1.2.3.4", "externalTrafficPolicy": "Local",
                "ports": [{"port": 80, "nodePort": 30080}]}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "n",
            "annotations": {"eks.amazonaws.com/role-arn": "arn:x"}}}),
    ]);
    let recipe = "- {exposure: {type: {LoadBalancer: ClusterIP}, cloud: {from: aws, to: gcp}}, optional: true}\n";
    let done = run(&objects, recipe);
    assert_eq!(
        done.objects[0].pointer("/metadata/annotations"),
        Some(&json!({"networking.gke.io/load-balancer-type": "Internal", "mine": "x"}))
    );
    assert_eq!(
        at(&done, 0, "/spec"),
        &json!({"type": "ClusterIP", "ports": [{"port": 80}]})
    );
    let verdicts: Vec<Verdict> = done.findings.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Info, Verdict::Warn]);
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
}

#[test]
fn t_7_autoscalers_and_budgets_are_looked_at() {
    let objects = all(vec![
        deployment(json!({})),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "namespace": "n"}, "spec": {"minReplicas": 3, "maxReplicas": 9,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "n"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}),
    ]);
    let done = run(
        &objects,
        "- scale: {select: {kind: Deployment}, replicas: 1}\n",
    );
    assert_eq!(
        messages(&done),
        [
            "the autoscaler brings it back to 3 replicas",
            "it keeps 2 pods of Deployment.apps n/web, which has 1",
        ]
    );
    let done = run(
        &objects,
        "- scale: {select: {kind: Deployment}, replicas: 1, autoscaler: {min: 1, max: 2}}\n",
    );
    assert_eq!(at(&done, 1, "/spec/minReplicas"), 1);
    assert_eq!(at(&done, 1, "/spec/maxReplicas"), 2);
}

#[test]
fn t_7_a_custom_resource_is_scaled_where_its_definition_says() {
    let crd = Object::new(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "w.x.y"},
        "spec": {"group": "x.y", "names": {"kind": "W"}, "versions": [{"name": "v1",
            "subresources": {"scale": {"specReplicasPath": ".spec.size.pods"}}}]},
    }))
    .unwrap();
    let objects = all(vec![
        json!({"apiVersion": "x.y/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {}}),
    ]);
    let source = Source {
        definitions: vec![&crd],
        ..Source::new(&objects)
    };
    let recipes = [recipe("- scale: {select: {kind: W}, replicas: 2}\n")];
    let done = apply_to(&source, &recipes, Knowledge::builtin()).unwrap();
    assert_eq!(at(&done, 0, "/spec/size/pods"), 2);
}

#[test]
fn t_7_resources_are_set_and_capped() {
    let objects = all(vec![deployment(json!({
        "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "100m"}}}],
        "containers": [
            {"name": "web", "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}},
            {"name": "log"},
        ],
    }))]);
    let recipe = "- resources: {max: {cpu: 500m, memory: 1Gi}}
- resources: {containers: [log], requests: {cpu: 10m}, limits: {memory: null}}
";
    let done = run(&objects, recipe);
    let pod = at(&done, 0, "/spec/template/spec");
    assert_eq!(
        pod["containers"][0]["resources"],
        json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
    );
    assert_eq!(
        pod["containers"][1]["resources"],
        json!({"requests": {"cpu": "10m"}})
    );
    assert_eq!(
        pod["initContainers"][0]["resources"]["requests"]["cpu"],
        "100m"
    );
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    assert_eq!(
        refused(
            &objects,
            "- resources: {containers: [web], requests: {cpu: 5}}\n"
        ),
        ["Deployment.apps n/web would ask for more cpu than its limit"]
    );
}

fn volume(claim: &Object, capacity: u64, used: u64) -> Volume {
    Volume {
        claim: claim.id(),
        mode: VolumeMode::Filesystem,
        capacity,
        storage_class: None,
        driver: None,
        access_modes: Vec::new(),
        node: None,
        mounted_by: Vec::new(),
        saved: Some(SavedVolume {
            snapshot: String::new(),
            consistency: Consistency::Live,
            proof: Proof {
                files: 1,
                bytes: used,
                digest: String::new(),
            },
            added: 0,
        }),
    }
}

#[test]
fn t_8_a_claim_is_never_smaller_than_its_data() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "n"},
        "spec": {"resources": {"requests": {"storage": "100Gi"}}}}),
    ]);
    let gi = 1 << 30;
    let volumes = [volume(&objects[0], 100 * gi, 7 * gi)];
    let source = Source {
        volumes: &volumes,
        ..Source::new(&objects)
    };
    let run = |text: &str| apply_to(&source, &[recipe(text)], Knowledge::builtin());
    let done = run("- volumes: {size: {max: 10Gi}}\n").unwrap();
    assert_eq!(at(&done, 0, "/spec/resources/requests/storage"), "10Gi");
    assert_eq!(
        messages(&done),
        ["the volume becomes smaller than on A: 10Gi"]
    );
    let error = run("- volumes: {size: 5Gi}\n").unwrap_err();
    assert_eq!(
        error.faults[0].to_string(),
        "5Gi is too small for the data of PersistentVolumeClaim n/data"
    );
}

#[test]
fn t_8_a_claim_that_several_pods_share_is_told() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "n"},
            "spec": {"accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
        deployment(
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}),
        ),
    ]);
    let recipe =
        "- volumes: {accessModes: {ReadWriteMany: ReadWriteOnce}, volumeMode: Filesystem}\n";
    let done = run(&objects, recipe);
    assert_eq!(at(&done, 0, "/spec/accessModes"), &json!(["ReadWriteOnce"]));
    assert_eq!(at(&done, 0, "/spec/volumeMode"), "Filesystem");
    assert_eq!(
        messages(&done),
        ["Deployment.apps n/web has 3 replicas, and only one node can mount the claim"]
    );
}

#[test]
fn t_9_text_is_replaced_at_once_and_only_where_asked() {
    let encoded = STANDARD.encode("level=debug");
    let objects = all(vec![
        config(json!({"app.conf": "level=debug\npool=20\n"})),
        secret("Opaque", json!({"x": encoded})),
        deployment(
            json!({"containers": [{"name": "c", "args": ["--level=debug"], "env": [{"name": "L", "value": "level=debug"}]}]}),
        ),
    ]);
    let recipe = "- text:
    replace: [{find: level=debug, with: level=info}, {regex: 'pool=(\\d)\\d\\b', with: 'pool=$1', max: 1}]
  optional: true
";
    let done = run(&objects, recipe);
    assert_eq!(at(&done, 0, "/data/app.conf"), "level=info\npool=2\n");
    assert_eq!(at(&done, 1, "/data/x"), &json!(encoded));
    let container = at(&done, 2, "/spec/template/spec/containers/0");
    assert_eq!(container["args"][0], "--level=info");
    assert_eq!(container["env"][0]["value"], "level=info");
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let done = run(
        &objects,
        "- text: {in: [secrets], replace: [{find: debug, with: info}]}\n",
    );
    assert_eq!(
        at(&done, 1, "/data/x"),
        &json!(STANDARD.encode("level=info"))
    );
}

#[test]
fn t_9_what_finds_nothing_too_much_or_itself_is_refused() {
    let objects = all(vec![config(json!({"a": "one one", "b": "two"}))]);
    let found = refused(
        &objects,
        "- text: {replace: [{find: three, with: x}]}
- text: {replace: [{find: one, with: x, max: 1}]}
- text: {replace: [{find: two, with: two two}]}
",
    );
    assert_eq!(
        found,
        [
            "`one` is found 2 times, and at most 1 were expected",
            "the replacement would change its own result in ConfigMap n/c",
            "the text rule for `three` matches nothing",
        ]
    );
    assert_eq!(
        refused(
            &objects,
            "- text: {replace: [{find: one, with: x}, {regex: 'ne o', with: z}]}\n"
        )[0],
        "two replacements want the same characters of ConfigMap n/c"
    );
}

#[test]
fn t_9_an_immutable_object_whose_data_changes_is_told() {
    let mut value = config(json!({"a": "one"}));
    value["immutable"] = json!(true);
    let done = run(
        &all(vec![value]),
        "- text: {replace: [{find: one, with: x}]}\n",
    );
    assert_eq!(
        messages(&done),
        ["the object is immutable and its data changes"]
    );
}

#[test]
fn t_10_scrubbed_secrets_leave_nothing_of_a_behind() {
    let mut pod = deployment(json!({"containers": [{"name": "c", "env": [
        {"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "MODE", "value": "prod"}]}]}));
    pod["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"p\":\"hunter2\"}"});
    let docker = STANDARD.encode("{\"auths\":{}}");
    let mut pull = secret(
        "kubernetes.io/dockerconfigjson",
        json!({".dockerconfigjson": docker}),
    );
    pull["metadata"]["name"] = json!("pull");
    let objects = all(vec![
        secret(
            "Opaque",
            json!({"password": STANDARD.encode("hunter2"), "user": STANDARD.encode("me"), "bin": "/////w=="}),
        ),
        pod,
        pull,
    ]);
    let recipe = "- secrets: {keys: [user], scrub: keep}
- secrets: {scrub: redact, set: {token: {value: new}}, select: {kind: [Secret, Deployment], name: [s, web, pull]}}
";
    // The second entry's `set` is for one Secret only.
    let recipe = recipe.replace(", set: {token: {value: new}}", "");
    let set = "- secrets: {select: {kind: Secret, name: s}, set: {token: {value: new}}}\n";
    let text = format!("{recipe}{set}");
    let done = run(&objects, &text);
    let decoded = |key: &str| {
        let text = at(&done, 0, &format!("/data/{key}")).as_str().unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(
        ["password", "user", "bin", "token"].map(decoded),
        ["REDACTED", "me", "REDACTED", "new"]
    );
    assert!(!done.objects[1].value().to_string().contains("hunter2"));
    assert_eq!(
        at(&done, 1, "/spec/template/spec/containers/0/env/1/value"),
        "prod"
    );
    assert_eq!(at(&done, 2, "/data/.dockerconfigjson"), &json!(docker));
    assert_eq!(
        messages(&done),
        ["credentials for pulling images are not scrubbed"]
    );
    assert_eq!(run(&done.objects, &text).objects, done.objects);
}

#[test]
fn t_10_random_values_need_a_seed_and_are_stable() {
    let objects = all(vec![secret(
        "Opaque",
        json!({"a": STANDARD.encode("abc123"), "b": STANDARD.encode("abc123")}),
    )]);
    let recipe = "- secrets: {scrub: random, seed: {value: s}}\n";
    let done = run(&objects, recipe);
    let (a, b) = (at(&done, 0, "/data/a"), at(&done, 0, "/data/b"));
    assert_ne!(a, b);
    assert_ne!(a, &json!(STANDARD.encode("abc123")));
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let text = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n- secrets: {scrub: random}\n";
    let error = Recipe::parse("t.yaml", text).unwrap_err();
    assert_eq!(
        error.faults[0].to_string(),
        "`scrub: random` needs a `seed`"
    );
}

#[test]
fn t_11_endpoints_and_cluster_domains_follow_in_text() {
    let objects = all(vec![
        config(json!({"url": "jdbc:x://db.prod.example:5432/a?h=web.n.svc.cluster.local"})),
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e", "namespace": "n"},
            "subsets": [{"addresses": [{"ip": "10.0.0.7"}]}]}),
    ]);
    let done = run(
        &objects,
        "- endpoint: {map: {db.prod.example:5432: db.staging.example:6432, 10.0.0.7: 10.1.0.7}}
- clusterDomain: {map: {cluster.local: b.internal}}
",
    );
    assert_eq!(
        at(&done, 0, "/data/url"),
        "jdbc:x://db.staging.example:6432/a?h=web.n.svc.b.internal"
    );
    assert_eq!(at(&done, 1, "/subsets/0/addresses/0/ip"), "10.1.0.7");
}

#[test]
fn t_11_an_address_of_a_service_in_text_is_told() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "n"}}),
        config(json!({"h": "host=10.96.0.12;"})),
    ]);
    let mut raw = objects.clone();
    raw[0].value_mut()["spec"] = json!({"clusterIP": "10.96.0.12"});
    let source = Source {
        raw: raw.iter().collect(),
        ..Source::new(&objects)
    };
    let done = apply_to(&source, &[], Knowledge::builtin()).unwrap();
    assert_eq!(
        messages(&done),
        ["the address of Service n/db on A is written here"]
    );
}

#[test]
fn t_13_the_clone_guard_keeps_a_copy_quiet() {
    let objects = all(vec![
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "mail", "namespace": "n"}, "spec": {"suspend": false}}),
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "le", "namespace": "n"},
            "spec": {"acme": {"server": "https://acme-v02.api.letsencrypt.org/directory"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n",
            "annotations": {"external-dns.alpha.kubernetes.io/hostname": "shop.example", "k": "v"}}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "q", "namespace": "n"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open", "namespace": "n"},
            "spec": {"podSelector": {}, "egress": [{}]}}),
    ]);
    let recipe = "- cloneGuard: {allow: [10.0.0.0/8]}\n- namespace: {map: {n: staging}, }\n  optional: true\n";
    let done = run(&objects, recipe);
    assert_eq!(at(&done, 0, "/spec/suspend"), true);
    assert_eq!(
        at(&done, 1, "/spec/acme/server"),
        "https://acme-staging-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(at(&done, 2, "/metadata/annotations"), &json!({"k": "v"}));
    assert_eq!(
        done.objects[3].annotation("autoscaling.keda.sh/paused"),
        Some("true")
    );
    let policy = &done.objects[5];
    assert_eq!(
        (policy.kind(), policy.namespace()),
        ("NetworkPolicy", Some("staging"))
    );
    assert_eq!(done.origins[5], None);
    assert_eq!(
        at(&done, 5, "/spec/egress/2/to/0/ipBlock/cidr"),
        "10.0.0.0/8"
    );
    assert!(messages(&done).contains(&"this policy allows more than the clone guard does"));
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let done = run(&objects, "- cloneGuard: {except: [egress, suspend]}\n");
    assert_eq!(at(&done, 0, "/spec/suspend"), false);
    assert_eq!(done.objects.len(), 5);
}

#[test]
fn two_entries_may_not_disagree_unless_one_says_that_it_wins() {
    let objects = all(vec![deployment(json!({}))]);
    let two = |more: &str| {
        format!("- scale: {{replicas: 1}}\n- scale: {{select: {{name: web}}, replicas: 2}}\n{more}")
    };
    assert_eq!(
        refused(&objects, &two("")),
        ["two entries disagree about /spec/replicas of Deployment.apps n/web"]
    );
    let done = run(&objects, &two("  override: true\n"));
    assert_eq!(at(&done, 0, "/spec/replicas"), 2);
    assert_eq!(
        refused(
            &objects,
            "- scale: {replicas: 1}\n- patch: {select: {name: web}, merge: {spec: {replicas: 4}}}\n"
        ),
        ["two entries disagree about /spec/replicas of Deployment.apps n/web"]
    );
}

#[test]
fn an_expression_that_fails_on_an_object_fails_the_recipe() {
    let objects = all(vec![deployment(json!({})), config(json!({}))]);
    let done = run(
        &objects,
        "- scale: {select: {cel: 'has(object.spec) && object.spec.replicas > 2'}, replicas: 1}\n",
    );
    assert_eq!(at(&done, 0, "/spec/replicas"), 1);
    assert_eq!(
        refused(
            &objects,
            "- scale: {select: {cel: object.spec.replicas > 2}, replicas: 1}\n"
        ),
        ["the expression fails on ConfigMap n/c"]
    );
}

#[test]
fn objects_are_selected_by_their_fields() {
    let service = |name: &str, kind: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"type": kind}});
    let objects = all(vec![
        service("a", "LoadBalancer"),
        service("b", "ClusterIP"),
        config(json!({})),
    ]);
    let labelled = |select: &str| {
        let done = run(
            &objects,
            &format!("- labels: {{select: {{{select}}}, set: {{l: v}}}}\n"),
        );
        let labelled = done
            .objects
            .iter()
            .filter(|object| object.label("l").is_some());
        labelled
            .map(|object| object.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(labelled("fields: {/spec/type: LoadBalancer}"), ["a"]);
    assert_eq!(
        labelled("fields: {/spec/type: [LoadBalancer, ClusterIP]}"),
        ["a", "b"]
    );
    assert_eq!(
        labelled("fields: {/spec/type: {notIn: [LoadBalancer]}}"),
        ["b", "c"]
    );
    assert_eq!(labelled("fields: {/spec: {exists: false}}"), ["c"]);
}

#[test]
fn a_json_patch_acts_at_every_place_of_a_pattern() {
    let objects = all(vec![deployment(json!({"containers": [
        {"name": "a", "image": "x", "ports": [1, 2]}, {"name": "b", "image": "y"}]}))]);
    let done = run(
        &objects,
        "- patch:
    select: {kind: Deployment}
    jsonPatch:
    - {op: add, path: '/spec/template/spec/containers[]/imagePullPolicy', value: Always}
    - {op: replace, path: '/spec/template/spec/containers[name=b]/image', value: z}
    - {op: remove, path: '/spec/template/spec/containers[name=a]/ports[]'}
",
    );
    assert_eq!(
        at(&done, 0, "/spec/template/spec/containers"),
        &json!([
            {"name": "a", "image": "x", "ports": [], "imagePullPolicy": "Always"},
            {"name": "b", "image": "z", "imagePullPolicy": "Always"},
        ])
    );
    assert_eq!(
        refused(
            &objects,
            "- patch: {select: {kind: Deployment}, jsonPatch: [{op: remove, path: '/spec/template/spec/containers[name=c]'}]}\n"
        ),
        ["the patch fails on Deployment.apps n/web"]
    );
}

#[test]
fn a_strategic_merge_needs_a_known_kind() {
    let objects = all(vec![
        deployment(json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]})),
        json!({"apiVersion": "x.y/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {}}),
    ]);
    let patch = |kind: &str| {
        format!(
            "- patch: {{select: {{kind: {kind}}}, strategic: {{spec: {{template: {{spec: {{containers: [{{name: a, image: z}}]}}}}}}}}}}\n"
        )
    };
    let done = run(&objects, &patch("Deployment"));
    assert_eq!(
        at(&done, 0, "/spec/template/spec/containers"),
        &json!([{"name": "a", "image": "z"}, {"name": "b"}])
    );
    assert_eq!(
        refused(&objects, &patch("W")),
        ["no strategic merge for W.x.y w"]
    );
}

#[test]
fn t_2_digests_and_images_written_apart_follow() {
    let (old, new) = (
        "sha256:".to_owned() + &"a".repeat(64),
        "sha256:".to_owned() + &"b".repeat(64),
    );
    let objects = all(vec![
        deployment(
            json!({"containers": [{"name": "a", "image": format!("r.a/x:1@{old}")}, {"name": "b", "image": format!("q.a/y@{old}")}]}),
        ),
        json!({"apiVersion": "x.y/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {
            "image": {"registry": "r.a", "repository": "team/x", "tag": "1"},
            "other": {"repository": "r.a/team/y", "tag": "2"}, "git": {"repository": "r.a/code"}}}),
    ]);
    let done = run(
        &objects,
        &format!("- registry: {{map: {{r.a: r.b/m}}, digests: {{'{old}': '{new}'}}}}\n"),
    );
    let containers = at(&done, 0, "/spec/template/spec/containers");
    assert_eq!(containers[0]["image"], json!(format!("r.b/m/x:1@{new}")));
    assert_eq!(containers[1]["image"], json!(format!("q.a/y@{new}")));
    assert_eq!(
        at(&done, 1, "/spec"),
        &json!({
            "image": {"registry": "r.b", "repository": "m/team/x", "tag": "1"},
            "other": {"repository": "r.b/m/team/y", "tag": "2"}, "git": {"repository": "r.a/code"}})
    );
}

#[test]
fn what_is_left_out_stays_on_a() {
    let objects = all(vec![deployment(json!({})), config(json!({}))]);
    let done = run(&objects, "- leaveOut: {select: {kind: Deployment}}\n");
    assert_eq!(done.objects.len(), 1);
    assert_eq!(done.origins, [Some(1)]);
    let pairs: Vec<_> = done
        .from(&objects)
        .map(|(old, new)| (old.name(), new.name()))
        .collect();
    assert_eq!(pairs, [("c", "c")]);
}
