//! T-3 and T-6 to T-8: what entries choose for the objects they select.

use super::support::{all, at, config, deployment, messages};
use super::*;
use crate::capture::{Consistency, Proof, SavedVolume, Volume, VolumeMode};
use crate::finding::Verdict;
use crate::transform::Source;

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

/// A namespace with a Deployment of three pods, a range and a quota.
fn bounded(range: Value, hard: Value) -> Vec<Object> {
    let of = |kind: &str, spec: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "b", "namespace": "n"}, "spec": spec});
    all(vec![
        deployment(json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}},
            {"name": "b"}]})),
        of("LimitRange", json!({"limits": [range]})),
        of("ResourceQuota", json!({"hard": hard})),
    ])
}

#[test]
fn t_7_ranges_and_quotas_follow_what_pods_ask_for() {
    let objects = bounded(
        json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "200m"}, "min": {"cpu": "600m"}, "max": {"cpu": "4"}}),
        json!({"requests.cpu": "10", "limits.cpu": "20", "pods": "10", "requests.storage": "1Ti", "count/secrets": "9"}),
    );
    let recipe = "- scale: {replicas: 1}\n- resources: {max: {cpu: 500m}, quotas: true}\n";
    let done = run(&objects, recipe);
    assert_eq!(
        at(&done, 1, "/spec/limits/0"),
        &json!({"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "200m"}, "min": {"cpu": "500m"}, "max": {"cpu": "4"}})
    );
    // On A three pods of 1.2 and 3 processors; on B one of 0.7 and 1.
    assert_eq!(
        at(&done, 2, "/spec/hard"),
        &json!({"requests.cpu": "7100m", "limits.cpu": "12", "pods": "8", "requests.storage": "1Ti", "count/secrets": "9"})
    );
    assert_eq!(messages(&done), Vec::<&str>::new());
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
}

#[test]
fn t_7_pods_that_a_range_or_quota_refuses_are_told() {
    let objects = bounded(
        json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2"}}),
        json!({"requests.cpu": "3"}),
    );
    let done = run(
        &objects,
        "- scale: {replicas: 4}\n- resources: {containers: [b], requests: {cpu: 50m}}\n",
    );
    assert_eq!(
        messages(&done),
        [
            "LimitRange n/b refuses its pods: 50m of cpu, and its `min` is 100m",
            "the quota allows 3 of requests.cpu, and its pods ask for 4200m",
        ]
    );
    let done = run(
        &objects,
        "- resources: {select: {kind: ResourceQuota}, quotas: true}\n",
    );
    assert_eq!(at(&done, 2, "/spec/hard/requests.cpu"), "3");
}

#[test]
fn s_58_an_identity_in_a_cloud_is_kept_and_told() {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "n",
        "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}}});
    let objects = all(vec![account]);
    let done = apply(&objects, &[], Knowledge::builtin()).unwrap();
    assert_eq!(messages(&done), ["the account acts as an identity of A's"]);
    assert_eq!(done.objects, objects);
    let own = "- annotations: {set: {eks.amazonaws.com/role-arn: 'arn:aws:iam::2:role/b'}}\n";
    assert_eq!(messages(&run(&objects, own)), Vec::<&str>::new());
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
        pods: Vec::new(),
        user: None,
        together: None,
        saved: Some(SavedVolume {
            held: None,
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
fn t_3_a_name_that_no_cluster_takes_blocks() {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "web", "namespace": "n"}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n"}});
    let objects = all(vec![config(json!({})), role, service]);
    let found = |map: &str| {
        let done = run(&objects, &format!("- names: {{map: {{{map}}}}}\n"));
        let blocks = done
            .findings
            .iter()
            .filter(|one| one.verdict == Verdict::Block);
        blocks.map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        found("web: Web_1"),
        [r#"no cluster takes the name "Web_1" for a Service"#],
        "rights may be called so"
    );
    assert_eq!(
        found("c: a.b, web: a.b"),
        [r#"no cluster takes the name "a.b" for a Service"#]
    );
    assert!(found("c: a.b, web: a-b").is_empty());
}
