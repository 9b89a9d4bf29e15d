//! Hosts that change sides in a cutover: A's Ingress gives them up when B runs, B's takes them, and an undo gives them
//! back exactly.

use serde_json::{Value, json};

use crate::support::{apply, kubectl, run};
use crate::trip::Trip;

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: NAMESPACE
  annotations: {external-dns.alpha.kubernetes.io/hostname: shop.old.example}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.old.example], secretName: tls}]
  rules:
  - host: shop.old.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";

/// Has no field of those that hold it.
const DAEMON: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'registry-a.testbed:5000/library/busybox:1', command: [sleep, '86400']}]
";

fn selector(trip: &Trip) -> String {
    let path = "jsonpath={.spec.template.spec.nodeSelector}";
    kubectl("a", &["-n", &trip.from, "get", "ds/agent", "-o", path])
}

fn ingress(context: &str, namespace: &str) -> Value {
    let get = ["get", "ingress/web", "-o", "json", "--show-managed-fields"];
    let text = kubectl(context, &[&["-n", namespace][..], &get].concat());
    let mut object: Value = serde_json::from_str(&text).expect("JSON");
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|key, _| ["annotations", "managedFields"].contains(&key.as_str()));
    json!([metadata, object["spec"]])
}

#[test]
fn t_5_hosts_are_taken_when_b_runs_and_given_back_as_they_were() {
    let trip = Trip::application("hosts", 4);
    for manifest in [INGRESS, DAEMON] {
        apply("a", &manifest.replace("NAMESPACE", &trip.from));
    }
    // To try B, it is reached by a host of its own.
    trip.recipe(
        "- storageClass: {map: {cow: fast}}\n- host: {map: {shop.old.example: shop.new.example}}\n",
    );
    let recipe = trip.path("recipe.yaml").display().to_string();
    let cutover = |more: &[&str]| {
        let mut ferry = trip.ferry(&["cutover", "--from", "a", "--to", "b", "--yes", "-o", "json"]);
        ferry
            .args(["-n", &trip.from, "-r", &recipe, "--switch-hosts"])
            .args(more);
        run(&mut ferry)
    };
    let before = ingress("a", &trip.from);
    let shown = cutover(&["--dry-run"]).exits(2).json();
    let steps = shown["steps"].as_array().expect("steps");
    let gives =
        |step: &&Value| step["action"] == "give-up" && step["hosts"][0] == "shop.old.example";
    assert_eq!(steps.iter().filter(gives).count(), 1, "{shown}");

    let over = cutover(&[]).exits(0).json();
    assert_eq!(over["hosts"][0]["host"], "shop.old.example", "{over}");
    assert!(selector(&trip).contains("ferry.dev/hold"));
    let (a, b) = (ingress("a", &trip.from), ingress("b", &trip.to.name));
    assert_eq!(a[1]["rules"][0]["host"], "shop.old.example.invalid");
    assert_eq!(a[1]["tls"], Value::Null);
    assert_eq!(a[0]["annotations"], Value::Null);
    assert_eq!(b[1]["rules"], before[1]["rules"]);
    assert_eq!(b[1]["tls"], before[1]["tls"]);

    run(&mut trip.ferry(&["runs", "undo", "latest", "--yes"])).exits(0);
    assert_eq!(ingress("a", &trip.from), before, "A has them as before");
    assert_eq!(selector(&trip), "");
}
