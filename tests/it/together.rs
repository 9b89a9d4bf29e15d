//! Claims frozen at one moment: what an application wrote to one after the other arrives so, and whatever a
//! killed command leaves is found.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::migrate::{Running, moves};
use crate::support::{ferry, kubectl, run};
use crate::trip::Trip;

/// Two claims, a counter written and flushed to the first, then to the second, and so on; and a claim that waits for
/// a pod, which fails every group that it is in.
const COUNTER: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE, labels: {app: counter}}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow-ext4, resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: wal, namespace: NAMESPACE, labels: {app: counter}}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow-ext4, resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: idle, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow-late, resources: {requests: {storage: 64Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: counter}}
  template:
    metadata: {labels: {app: counter}}
    spec:
      terminationGracePeriodSeconds: 0
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: wal, persistentVolumeClaim: {claimName: wal}}
      containers:
      - name: app
        image: registry-a.testbed:5000/library/busybox:1
        command:
        - sh
        - -c
        - |
          cat /data/n /wal/n >/tmp/found; touch /tmp/looked; n=0
          while n=$((n + 1)); do
            for claim in data wal; do echo $n | dd of=/$claim/n conv=fsync 2>/dev/null; done
            sleep 0.01
          done
        volumeMounts: [{name: data, mountPath: /data}, {name: wal, mountPath: /wal}]
        readinessProbe: {exec: {command: [test, -s, /wal/n]}, periodSeconds: 1}
";

fn counter(topic: &str) -> Trip {
    let trip = Trip::of(topic, COUNTER);
    trip.recipe("- storageClass: {map: {cow-ext4: fast-ext4, cow-late: fast-late}}\n");
    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl("a", &[&["-n", &trip.from][..], &ready].concat());
    trip
}

/// The groups of a namespace, and the snapshots in them.
fn groups(namespace: &str) -> String {
    let kinds = "volumegroupsnapshots,volumesnapshots";
    kubectl("a", &["-n", namespace, "get", kinds, "-o", "name"])
}

/// Nothing of a group is left; the driver takes its time to delete.
#[track_caller]
fn assert_thawed(trip: &Trip, run: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let contents = "volumegroupsnapshotcontents,volumesnapshotcontents";
        let contents = kubectl("a", &["get", contents, "-o", "yaml"]);
        let left = groups(&trip.from);
        if left.is_empty() && !contents.contains(&trip.from) {
            break;
        }
        assert!(Instant::now() < end, "left: {left}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let labelled = ["get", "pvc", "-A", "-l", "ferry.dev/freeze", "-o", "name"];
    assert!(!kubectl("a", &labelled).contains(&trip.from));
    trip.assert_clean(run);
}

#[test]
fn two_claims_written_in_turn_arrive_as_of_one_moment() {
    let trip = counter("together");
    run(&mut trip.migrate(&["--dry-run"]))
        .exits(2)
        .shows("one point in time with wal");
    run(&mut trip.migrate(&[])).exits(0);
    let (name, _) = trip.newest_run();

    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl("b", &[&["-n", &trip.to.name][..], &ready].concat());
    let found = ["exec", "deploy/app", "--", "cat", "/tmp/found"];
    let found = kubectl("b", &[&["-n", &trip.to.name][..], &found].concat());
    let found: Vec<u64> = found
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [data, wal] = found[..] else {
        panic!("not two counters: {found:?}");
    };
    assert!(
        wal > 0 && (data == wal || data == wal + 1),
        "{data} and {wal}"
    );
    assert_thawed(&trip, &name);
}

#[test]
fn what_a_killed_capture_froze_is_found_and_only_a_label_is_taken_off_the_claims() {
    let trip = counter("frozen");
    let unlabel = ["label", "pvc", "data", "wal", "app-"];
    kubectl("a", &[&["-n", &trip.from][..], &unlabel].concat());
    let capture = ["capture", "--from", "a", "-n", &trip.from, "-o", "json"];
    let label = [&capture[..], &["--group-snapshots", "label"]].concat();
    let mut running = Running::start(trip.ferry(&label));
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);
    assert!(
        groups(&trip.from).contains("volumegroupsnapshot"),
        "no group"
    );

    let gc = |args: &[&str]| {
        let all = ["gc", "--context", "a", "--output", "json"];
        let found = run(&mut ferry(&[&all[..], args].concat())).json();
        let mut found = found.as_array().expect("leftovers").clone();
        found.retain(|left| left["objects"].to_string().contains(&trip.from));
        found.pop().unwrap_or_default()
    };
    let left = gc(&["--dry-run"]);
    let id = left["id"].as_str().expect("what the capture left");
    assert_eq!(
        left["labelled"],
        Value::Array(Vec::new()),
        "the label was off at once"
    );
    // Killed a moment earlier, it would have been on.
    let freeze = format!("ferry.dev/freeze={id}");
    kubectl("a", &["-n", &trip.from, "label", "pvc", "data", &freeze]);
    let left = gc(&["--dry-run"]);
    assert_eq!(left["labelled"].as_array().map(Vec::len), Some(1));
    let claim =
        |object: &Value| object["kind"] == "PersistentVolumeClaim" && object["name"] == "data";
    assert!(
        !left["objects"]
            .as_array()
            .expect("objects")
            .iter()
            .any(claim)
    );
    gc(&["--run", id, "--yes"]);
    assert_thawed(&trip, id);

    // Nobody said that claims may be labelled.
    run(&mut trip.migrate(&["--dry-run"]))
        .exits(2)
        .shows("are frozen one after another")
        .shows("--group-snapshots label");
    // In the application's namespace the members serve as they are.
    let beside = [&label[..], &["--unprivileged"]].concat();
    let id = run(&mut trip.ferry(&beside)).exits(0).json();
    let show = ["captures", "show", "latest", "-o", "json"];
    let shown = run(&mut trip.ferry(&show)).exits(0).json();
    let volumes = shown["volumes"].as_array().expect("volumes");
    let shows: Vec<&Value> = volumes
        .iter()
        .map(|one| &one["saved"]["consistency"])
        .collect();
    assert_eq!(shows, ["together", "together"]);
    assert_thawed(&trip, id["id"].as_str().expect("an id"));
}

#[test]
fn snapshots_that_are_kept_are_the_users_and_no_leftovers() {
    let trip = counter("kept");
    let capture = |groups: &str| {
        let capture = ["capture", "--from", "a", "-n", &trip.from, "-o", "json"];
        let keep = ["--keep-snapshots", "--group-snapshots", groups];
        let done = run(&mut trip.ferry(&[&capture[..], &keep].concat())).exits(0);
        done.json()["id"].as_str().expect("an id").to_owned()
    };
    let taken = |what: &str| groups(&trip.from).matches(&format!("{what}.")).count();
    let ids = [capture("off"), capture("label")];
    let of = |run: &str| {
        let kinds = "volumegroupsnapshots,volumesnapshots";
        let found = kubectl("a", &["-n", &trip.from, "get", kinds, "-o", "json"]);
        let found: Value = serde_json::from_str(&found).expect("JSON");
        let items = found["items"].as_array().expect("a list").clone();
        let by = |one: &&Value| one["metadata"]["annotations"]["ferry.dev/kept-by"] == run;
        items.iter().filter(by).count()
    };
    assert_eq!((of(&ids[0]), of(&ids[1])), (2, 1), "{}", groups(&trip.from));
    assert_eq!(
        (taken("volumesnapshot"), taken("volumegroupsnapshot")),
        (4, 1)
    );
    let left = ["gc", "--context", "a", "--dry-run", "--output", "json"];
    let left = run(&mut ferry(&left)).exits(0).stdout;
    assert!(!left.contains(&trip.from), "{left}");
}
