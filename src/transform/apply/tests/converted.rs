//! OpenShift's kinds as those of plain Kubernetes.

use super::*;
use crate::transform::Source;

const APP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: route.openshift.io/v1
kind: Route
metadata:
  name: web
  namespace: shop
  annotations: {haproxy.router.openshift.io/timeout: 60s, mine: x}
spec:
  host: web.apps.a
  path: /shop
  to: {kind: Service, name: web, weight: 90}
  alternateBackends: [{kind: Service, name: canary, weight: 10}]
  port: {targetPort: 8080}
  tls: {termination: edge, insecureEdgeTerminationPolicy: Redirect, certificate: CERT, key: KEY}
---
apiVersion: apps.openshift.io/v1
kind: DeploymentConfig
metadata: {name: web, namespace: shop, annotations: {openshift.io/generated-by: x}}
spec:
  replicas: 2
  selector: {app: web}
  strategy:
    type: Rolling
    rollingParams: {maxSurge: 25%, timeoutSeconds: 600, pre: {failurePolicy: Abort}}
  triggers:
    - type: ConfigChange
    - type: ImageChange
      imageChangeParams: {containerNames: [web], from: {kind: ImageStreamTag, name: 'web:1'}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: ' '}
        - {name: log, image: 'image-registry.openshift-image-registry.svc:5000/shop/web:built'}
---
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: web, namespace: shop}
spec: {tags: [{name: '1', from: {kind: DockerImage, name: 'quay.io/team/web:1.0'}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {scaleTargetRef: {apiVersion: apps.openshift.io/v1, kind: DeploymentConfig, name: web}, maxReplicas: 3}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: plain
  namespace: shop
  annotations:
    image.openshift.io/triggers: '[{"from":{"kind":"ImageStreamTag","name":"web:1"},"fieldPath":"spec.template.spec.containers[?(@.name==\"c\")].image"}]'
spec: {template: {spec: {containers: [{name: c, image: old}]}}}
"#;

fn app() -> Vec<Object> {
    let documents = yaml::parse_all(APP).unwrap();
    let objects = documents.into_iter().map(Object::new);
    objects.map(|object| object.unwrap()).collect()
}

fn find<'d>(done: &'d Transformed, kind: &str, name: &str) -> &'d Object {
    let mut objects = done.objects.iter();
    let found = objects.find(|object| object.kind() == kind && object.name() == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn a_route_becomes_an_ingress_and_every_loss_is_told() {
    let recipe = "- convert: {routes: {to: Ingress, ingressClass: nginx}}\n- host: {map: {'*.apps.a': '*.apps.b'}}\n";
    let done = run(&app(), recipe);
    let ingress = find(&done, "Ingress", "web");
    assert_eq!(
        ingress.value(),
        &json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "shop", "annotations": {"mine": "x"}},
            "spec": {
                "ingressClassName": "nginx",
                "rules": [{"host": "web.apps.b", "http": {"paths": [{"path": "/shop", "pathType": "Prefix",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}],
                "tls": [{"hosts": ["web.apps.b"], "secretName": "web-tls"}],
            },
        })
    );
    assert_eq!(
        find(&done, "Secret", "web-tls").text("/type"),
        Some("kubernetes.io/tls")
    );
    let mut told: Vec<&str> = done
        .findings
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    told.retain(|text| !text.contains("OpenShift's own registry"));
    assert_eq!(
        told,
        [
            "the router's setting `haproxy.router.openshift.io/timeout` stays behind",
            "what becomes of plain HTTP (`Redirect`) is for B's controller to say",
            "an Ingress has one Service per path; the other backends stay behind",
        ]
    );
    let route = ObjectId::namespaced("route.openshift.io", "Route", "shop", "web");
    assert_eq!(done.on_b(&route), &ingress.id());
}

#[test]
fn a_route_becomes_an_http_route_with_weights() {
    let done = run(
        &app(),
        "- convert: {routes: {to: HTTPRoute, gateway: {name: public, namespace: infra}}}\n",
    );
    assert_eq!(
        find(&done, "HTTPRoute", "web").pointer("/spec"),
        Some(&json!({
            "parentRefs": [{"name": "public", "namespace": "infra"}],
            "hostnames": ["web.apps.a"],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": "/shop"}}],
                "backendRefs": [{"name": "web", "port": 80, "weight": 90}, {"name": "canary", "weight": 10}],
            }],
        }))
    );
}

#[test]
fn a_scrubbed_key_does_not_reach_the_secret_of_an_ingress() {
    let recipe = "- secrets: {scrub: redact}\n- convert: {routes: {to: Ingress}}\n";
    let done = run(&app(), recipe);
    assert!(done.objects.iter().all(|object| object.kind() != "Secret"));
    assert!(!format!("{:?}", done.objects).contains("KEY"));
}

#[test]
fn a_route_that_passes_tls_through_stays_and_is_told() {
    let mut objects = app();
    objects[1].value_mut()["spec"]["tls"] = json!({"termination": "passthrough"});
    let done = run(&objects, "- convert: {routes: {to: Ingress}}\n");
    assert_eq!(find(&done, "Route", "web").group(), "route.openshift.io");
    assert!(
        done.findings
            .iter()
            .any(|one| one.message.contains("passed through"))
    );
}

#[test]
fn a_deployment_config_becomes_a_deployment_that_its_autoscaler_finds() {
    let done = run(
        &app(),
        "- convert: {deploymentConfigs: {to: Deployment}, imageStreams: {to: image}}\n",
    );
    let deployment = find(&done, "Deployment", "web");
    assert_eq!(
        deployment.value(),
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": 2, "progressDeadlineSeconds": 600,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                    {"name": "web", "image": "quay.io/team/web:1.0"},
                    {"name": "log", "image": "image-registry.openshift-image-registry.svc:5000/shop/web:built"},
                ]}},
            },
        })
    );
    let scaler = find(&done, "HorizontalPodAutoscaler", "web");
    assert_eq!(
        scaler.pointer("/spec/scaleTargetRef"),
        Some(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}))
    );
    let told: Vec<&str> = done
        .findings
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    assert!(
        told.contains(&"the `pre` hook of the rollout has no counterpart"),
        "{told:?}"
    );
    assert!(
        told.contains(&"the image is in OpenShift's own registry"),
        "{told:?}"
    );
}

#[test]
fn references_to_image_streams_become_the_images_they_mean() {
    let mut raw = app();
    raw[3].value_mut()["status"] = json!({"tags": [{"tag": "built", "items": [
        {"image": "sha256:1", "dockerImageReference": "quay.io/team/built:7"}]}]});
    let objects = app();
    let source = Source {
        raw: raw.iter().collect(),
        ..Source::new(&objects)
    };
    let recipes = [recipe(
        "- convert: {imageStreams: {to: image}}\n- registry: {map: {quay.io: r.b}}\n",
    )];
    let done = apply_to(&source, &recipes, Knowledge::builtin()).unwrap();
    let config = find(&done, "DeploymentConfig", "web");
    let containers = config.pointer("/spec/template/spec/containers").unwrap();
    assert_eq!(containers[0]["image"], "r.b/team/web:1.0");
    assert_eq!(containers[1]["image"], "r.b/team/built:7");
    let plain = find(&done, "Deployment", "plain");
    assert_eq!(
        plain.text("/spec/template/spec/containers/0/image"),
        Some("r.b/team/web:1.0")
    );
    assert_eq!(plain.annotation("image.openshift.io/triggers"), None);
    assert!(
        done.objects
            .iter()
            .all(|object| object.kind() != "ImageStream")
    );
}

#[test]
fn conversions_are_idempotent() {
    let recipe = "- convert: {routes: {to: Ingress}, deploymentConfigs: {to: Deployment}, imageStreams: {to: image}}\n  optional: true\n";
    let once = run(&app(), recipe);
    let twice = run(&once.objects, recipe);
    assert_eq!(twice.objects, once.objects);
    assert!(twice.changes.is_empty());
}
