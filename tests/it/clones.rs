//! Claims that are read from clones of them: each shows one moment while it is written to, and whatever comes between,
//! the clones go and the application's own claims stay as they are.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::migrate::{Running, moves};
use crate::support::{apply, ferry, kubectl, run, testbed, unique};
use crate::trip::Trip;

/// Two claims, each with a large file. The same is counted at the top of each, flushed, then at its end, flushed: who
/// reads a file while that goes on sees it change.
const COUNTER: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: now, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: CLASS, resources: {requests: {storage: 192Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: late, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: CLASS-late, resources: {requests: {storage: 192Mi}}}
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
      - {name: now, persistentVolumeClaim: {claimName: now}}
      - {name: late, persistentVolumeClaim: {claimName: late}}
      containers:
      - name: app
        image: registry-a.testbed:5000/library/busybox:1
        command:
        - sh
        - -c
        - |
          for claim in now late; do head -c 9 /$claim/data; tail -c 9 /$claim/data; done >/tmp/found
          for claim in now late; do [ -e /$claim/data ] || head -c 100000000 /dev/urandom >/$claim/data; done
          n=0
          while n=$((n + 1)); do
            for claim in now late; do
              for place in 0 11111111; do
                printf '%08d ' $n | dd of=/$claim/data bs=9 seek=$place conv=notrunc,fsync 2>/dev/null
              done
            done
            touch /tmp/counts
            sleep 0.01
          done
        volumeMounts: [{name: now, mountPath: /now}, {name: late, mountPath: /late}]
        readinessProbe: {exec: {command: [test, -e, /tmp/counts]}, periodSeconds: 1}
";

/// What groups claims would only be in the way: they are of one driver.
const ALONE: [&str; 2] = ["--group-snapshots", "off"];

/// Two StorageClasses of the testbed's driver on A whose volumes are to be cloned; deleted at the end.
struct Classes(String);

impl Classes {
    fn new() -> Self {
        let classes = Self(format!("it-{}", unique()));
        classes.make("image", "true");
        classes
    }

    fn make(&self, backing: &str, says: &str) {
        for (suffix, binds, policy) in [
            ("", "Immediate", "Delete"),
            ("-late", "WaitForFirstConsumer", "Retain"),
        ] {
            let class = format!(
                "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {}{suffix}, \
                 annotations: {{ferry.dev/clone: '{says}'}}}}, provisioner: cow.csi.ferry.test, \
                 volumeBindingMode: {binds}, reclaimPolicy: {policy}, parameters: {{backing: {backing}, csi.storage.k8s.io/fstype: ext4}}}}",
                self.0
            );
            apply("a", &class);
        }
    }

    /// An application with a claim of each that counts on both.
    fn counter(&self, topic: &str) -> Trip {
        let trip = Trip::of(topic, &COUNTER.replace("CLASS", &self.0));
        let name = &self.0;
        trip.recipe(&format!(
            "- storageClass: {{map: {{{name}: fast-ext4, {name}-late: fast-late}}}}\n"
        ));
        ready("a", &trip.from);
        // The class would retain it when the test has ended.
        let volume = ["get", "pvc", "late", "-o", "jsonpath={.spec.volumeName}"];
        let volume = kubectl("a", &[&["-n", &trip.from][..], &volume].concat());
        let goes = "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Delete\"}}";
        kubectl("a", &["patch", "pv", &volume, "-p", goes]);
        trip
    }
}

impl Drop for Classes {
    fn drop(&mut self) {
        let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
        delete.args(["--context", "a", "delete", "storageclass", &self.0]);
        drop(delete.arg(format!("{}-late", self.0)).output());
    }
}

fn ready(context: &str, namespace: &str) {
    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl(context, &[&["-n", namespace][..], &ready].concat());
}

/// The claims of a namespace on A as people wrote them, by name.
fn claims(namespace: &str) -> Vec<Value> {
    let found = kubectl("a", &["-n", namespace, "get", "pvc", "-o", "json"]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let kept = |claim: &Value| {
        let meta = &claim["metadata"];
        serde_json::json!([
            meta["name"],
            meta["labels"],
            meta["annotations"],
            claim["spec"]
        ])
    };
    found["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(kept)
        .collect()
}

/// Only the application's own claims are there, as they were, each with its one volume; a driver takes its time to delete.
#[track_caller]
fn assert_left_alone(trip: &Trip, before: &[Value], run: &str) {
    assert_eq!(claims(&trip.from), before);
    trip.assert_clean(run);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let of = "jsonpath={range .items[*]}{.spec.claimRef.namespace}{\"\\n\"}{end}";
        let volumes = kubectl("a", &["get", "pv", "-o", of]);
        let left = volumes.lines().filter(|place| *place == trip.from).count();
        if left == before.len() {
            return;
        }
        assert!(Instant::now() < end, "{left} volumes are left");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What moments the volumes of the newest capture show.
fn shows(trip: &Trip) -> Vec<String> {
    let show = ["captures", "show", "latest", "-o", "json"];
    let shown = run(&mut trip.ferry(&show)).exits(0).json();
    let volumes = shown["volumes"].as_array().expect("volumes").iter();
    let shows = volumes.map(|one| one["saved"]["consistency"].as_str().expect("a word"));
    shows.map(str::to_owned).collect()
}

#[test]
fn claims_that_are_written_to_arrive_as_of_one_moment_by_clones_though_the_run_was_killed() {
    let classes = Classes::new();
    let trip = classes.counter("clones");
    let before = claims(&trip.from);
    // One moment for both is more than one for each.
    run(&mut trip.migrate(&["--dry-run"]))
        .exits(2)
        .shows("one point in time with");
    run(trip.migrate(&["--dry-run"]).args(ALONE))
        .exits(2)
        .shows("point in time, by a clone");
    assert_eq!(claims(&trip.from), before);

    let mut migrate = trip.migrate(&["-o", "json"]);
    migrate.args(ALONE);
    let mut running = Running::start(migrate);
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);
    let (name, _) = trip.newest_run();
    let clones = claims(&trip.from).len() - before.len();
    assert_eq!(clones, 2, "a clone of each is made before one is read");
    run(&mut trip.ferry(&["runs", "resume", &name])).exits(0);

    ready("b", &trip.to.name);
    let found = ["exec", "deploy/app", "--", "cat", "/tmp/found"];
    let found = kubectl("b", &[&["-n", &trip.to.name][..], &found].concat());
    let found: Vec<u64> = found
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect();
    for pair in found.chunks(2) {
        let [top, end] = pair else {
            panic!("not two counts for each: {found:?}");
        };
        assert!(*end > 0 && (top == end || *top == end + 1), "{found:?}");
    }
    assert_eq!(found.len(), 4);
    assert_left_alone(&trip, &before, &name);
}

#[test]
fn clones_of_a_killed_capture_are_found_and_removed_and_claims_that_nothing_uses_are_cloned_too() {
    let classes = Classes::new();
    let trip = classes.counter("cloned");
    let before = claims(&trip.from);
    let capture = ["capture", "--from", "a", "-n", &trip.from, "-o", "json"];
    let capture = [&capture[..], &ALONE].concat();
    let mut running = Running::start(trip.ferry(&capture));
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);

    let gc = |args: &[&str]| {
        let all = ["gc", "--context", "a", "--output", "json"];
        let found = run(&mut ferry(&[&all[..], args].concat())).exits(0).json();
        let mut found = found.as_array().expect("leftovers").clone();
        found.retain(|left| left["objects"].to_string().contains(&trip.from));
        found.pop().unwrap_or_default()
    };
    let left = gc(&["--dry-run"]);
    let id = left["id"].as_str().expect("what the capture left");
    let of = |namespace: &str| {
        let objects = left["objects"].as_array().expect("objects").iter();
        let claims = objects.filter(|one| one["kind"] == "PersistentVolumeClaim");
        claims.filter(|one| one["namespace"] == namespace).count()
    };
    assert_eq!(of(&trip.from), 2, "{left}");
    assert!(of(&format!("ferry-{id}")) > 0, "{left}");
    gc(&["--run", id, "--yes"]);
    assert_left_alone(&trip, &before, id);

    let scale = ["scale", "deployment/app", "--replicas=0"];
    kubectl("a", &[&["-n", &trip.from][..], &scale].concat());
    let gone = [
        "wait",
        "pod",
        "-l",
        "app=counter",
        "--for=delete",
        "--timeout=60s",
    ];
    kubectl("a", &[&["-n", &trip.from][..], &gone].concat());
    for privileges in [&[][..], &["--unprivileged"]] {
        let taken = run(trip.ferry(&capture).args(privileges)).exits(0).json();
        assert_eq!(shows(&trip), ["clone", "clone"]);
        assert_left_alone(&trip, &before, taken["id"].as_str().expect("an id"));
    }
    run(&mut trip.ferry(&["captures", "show", "latest"]))
        .exits(0)
        .shows("point in time, by a clone");
}

#[test]
fn a_mover_without_privileges_reads_clones_of_claims_in_use() {
    let classes = Classes::new();
    let trip = classes.counter("beside");
    let before = claims(&trip.from);
    let capture = [
        "capture",
        "--from",
        "a",
        "-n",
        &trip.from,
        "-o",
        "json",
        "--unprivileged",
    ];
    let taken = run(trip.ferry(&capture).args(ALONE)).exits(0).json();
    assert_eq!(shows(&trip), ["clone", "clone"]);
    assert_left_alone(&trip, &before, taken["id"].as_str().expect("an id"));
}

#[test]
fn a_clone_that_cannot_be_is_an_error_that_says_why_and_what_to_do() {
    let classes = Classes::new();
    let trip = classes.counter("unclonable");
    let before = claims(&trip.from);
    let capture = ["capture", "--from", "a", "-n", &trip.from];
    let capture = [&capture[..], &ALONE].concat();

    let quota = ["create", "quota", "full", "--hard=persistentvolumeclaims=2"];
    kubectl("a", &[&["-n", &trip.from][..], &quota].concat());
    run(&mut trip.ferry(&capture))
        .exits(6)
        .says("refuses a temporary claim in namespace")
        .says("exceeded quota")
        .says("ferry.dev/clone=false");
    assert_eq!(claims(&trip.from), before);
    kubectl("a", &["-n", &trip.from, "delete", "quota", "full"]);

    // Volumes of another make under the names of the old: the driver turns a clone down.
    let late = format!("{}-late", classes.0);
    kubectl("a", &["delete", "storageclass", &classes.0, &late]);
    classes.make("subvolume", "true");
    run(&mut trip.ferry(&capture))
        .exits(4)
        .says("no clone of claim")
        .says("source is a image, the volume would be a subvolume")
        .says(&format!("annotate StorageClass {}", classes.0))
        .says("ferry.dev/clone=false");
    assert_eq!(claims(&trip.from), before, "the clones are gone");
}
