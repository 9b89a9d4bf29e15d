//! Both clusters on one storage: it makes B's volumes of A's snapshots, and no byte goes through the store.

use std::process::Command;

use crate::migrate::{Running, gone, moves};
use crate::support::{kubectl, run, testbed};
use crate::trip::Trip;

/// A pod with two claims, of files and a raw device.
const APP: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: FILES, resources: {requests: {storage: 256Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: raw, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: DEVICE, resources: {requests: {storage: 64Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data}}
      - {name: raw, persistentVolumeClaim: {claimName: raw}}
      containers:
      - name: app
        image: registry-a.testbed:5000/library/busybox:1
        command: [sleep, '86400']
        volumeMounts: [{name: data, mountPath: /data}]
        volumeDevices: [{name: raw, devicePath: /dev/raw}]
";

const FILL: &str = "
    cd /data; mkdir -p deep/er; for i in 1 2 3; do head -c 30000000 /dev/urandom >part$i; done
    ln part1 deep/again; ln -s ../part1 deep/link; chmod 640 part2; chown 7:8 part3; mkfifo pipe
    dd if=/dev/zero of=sparse bs=1 count=1 seek=50000000; head -c 60000000 /dev/urandom >/dev/raw; sync";

/// The application with claims of two classes of A, for files and for the device, which a recipe maps to those of B.
fn application(topic: &str, files: [&str; 2], device: [&str; 2]) -> Trip {
    let trip = Trip::of(
        topic,
        &APP.replace("FILES", files[0]).replace("DEVICE", device[0]),
    );
    trip.recipe(&format!(
        "- storageClass: {{map: {{{}: {}, {}: {}}}}}\n",
        files[0], files[1], device[0], device[1]
    ));
    ready("a", &trip.from);
    sh("a", &trip.from, FILL);
    trip
}

fn shared(topic: &str) -> Trip {
    let files = ["cow-shared-ext4", "fast-shared-ext4"];
    application(topic, files, ["cow-shared", "fast-shared"])
}

fn ready(context: &str, namespace: &str) {
    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl(context, &[&["-n", namespace][..], &ready].concat());
}

fn sh(context: &str, namespace: &str, script: &str) -> String {
    let exec = ["exec", "deploy/app", "--", "sh", "-ec", script];
    kubectl(context, &[&["-n", namespace][..], &exec].concat())
}

/// What is on the device.
fn raw(context: &str, namespace: &str) -> String {
    sh(
        context,
        namespace,
        "dd if=/dev/raw of=/tmp/raw bs=1M count=64 && sha256sum /tmp/raw",
    )
}

/// The application runs on B with what it had on A, files and device.
#[track_caller]
fn assert_arrived(trip: &Trip, saved: &str, device: &str) {
    ready("b", &trip.to.name);
    assert_eq!(trip.data("b"), saved);
    assert_eq!(raw("b", &trip.to.name), device);
}

/// Bytes in the store.
fn stored(trip: &Trip) -> u64 {
    let statistics = run(&mut trip.ferry(&["store", "stats", "-o", "json"])).exits(0);
    let statistics = statistics.json();
    let bytes = statistics["stored_bytes"].as_u64();
    bytes.unwrap_or_else(|| panic!("no number of bytes in {statistics}"))
}

#[test]
fn volumes_on_one_storage_arrive_and_are_proven_without_a_byte_of_them_in_the_store() {
    let trip = shared("shared");
    let (saved, device) = (trip.data("a"), raw("a", &trip.from));
    run(&mut trip.migrate(&["--shared-storage", "--dry-run"]))
        .exits(2)
        .shows("the storage makes it of A's snapshot");
    run(&mut trip.migrate(&["--shared-storage"]))
        .exits(0)
        .says("driver shared.csi.ferry.test made its volume on B of A's snapshot");
    assert_arrived(&trip, &saved, &device);
    assert!(stored(&trip) < 4 << 20, "{} bytes", stored(&trip));
    let (name, _) = trip.newest_run();
    trip.assert_clean(&name);

    run(&mut trip.migrate(&["--shared-storage"]))
        .exits(0)
        .shows("no changes");
    run(&mut trip.ferry(&["captures", "show", "latest"]))
        .exits(0)
        .shows("carried by the storage");
    run(&mut trip.ferry(&["store", "check"])).exits(0);
    // B's volume is its own: A's snapshot is gone already, and what is written on B is not seen on A.
    sh("b", &trip.to.name, "echo more >/data/more; sync");
    assert_eq!(trip.data("a"), saved);

    // Where it is gone, the capture cannot bring it again, and says so before anything is written.
    let recipe = trip.path("recipe.yaml").display().to_string();
    let gone = [
        "delete",
        "deployment/app",
        "pvc/data",
        "pvc/raw",
        "--timeout=60s",
    ];
    kubectl("b", &[&["-n", &trip.to.name][..], &gone].concat());
    run(&mut trip.ferry(&["plan", "latest", "--to", "b", "-r", &recipe]))
        .exits(3)
        .shows("the claim's data is not in the store");
}

#[test]
fn what_the_storage_of_b_does_not_know_travels_through_the_store_after_all() {
    // One driver by its name, and a storage of its own on each cluster.
    let trip = application(
        "unshared",
        ["cow-ext4", "fast-ext4"],
        ["cow-late", "fast-late"],
    );
    let (saved, device) = (trip.data("a"), raw("a", &trip.from));
    run(&mut trip.migrate(&["--shared-storage"]))
        .exits(0)
        .says("the storage did not carry")
        .says("its bytes travel through the store instead");
    assert_arrived(&trip, &saved, &device);
    assert!(stored(&trip) > 140_000_000, "{} bytes", stored(&trip));
    let (name, _) = trip.newest_run();
    trip.assert_clean(&name);
    // This capture is whole: what travelled is in the store.
    let recipe = trip.path("recipe.yaml").display().to_string();
    run(&mut trip.ferry(&["plan", "latest", "--to", "b", "-r", &recipe]))
        .exits(0)
        .shows("no changes");
    run(&mut trip.ferry(&["store", "check"])).exits(0);
}

#[test]
fn a_volume_that_is_another_on_b_is_found_out_by_its_fingerprint_and_copied() {
    let trip = shared("shared-other");
    let (saved, device) = (trip.data("a"), raw("a", &trip.from));
    let mut running = Running::start(trip.migrate(&["--shared-storage", "-o", "json"]));
    let claim = format!("{}/raw", trip.from);
    running.until("A's device read", |line| {
        line.contains("volume-finished") && line.contains(&claim)
    });
    // Between the two fingerprints, the storage loses some of what it holds.
    running.signal("-STOP");
    damage_snapshot(&trip.from, "raw");
    running.signal("-CONT");
    running
        .end()
        .exits(0)
        .says("the storage did not carry")
        .says("its bytes travel through the store instead");
    // The copy is made of what A's mover has read.
    assert_arrived(&trip, &saved, &device);
    assert!(stored(&trip) > 50_000_000, "{} bytes", stored(&trip));
    run(&mut trip.ferry(&["store", "check"])).exits(0);
    let (name, _) = trip.newest_run();
    trip.assert_clean(&name);
}

/// Overwrites a piece of the snapshot that the storage keeps of a claim of A.
fn damage_snapshot(namespace: &str, claim: &str) {
    let name = ["-n", namespace, "get", "pvc", claim, "-o"];
    let volume = kubectl("a", &[&name[..], &["jsonpath={.spec.volumeName}"]].concat());
    let handle = [
        "get",
        "pv",
        &volume,
        "-o",
        "jsonpath={.spec.csi.volumeHandle}",
    ];
    let handle = kubectl("a", &handle);
    let script = "
        cd $(findmnt -rno TARGET -t btrfs | grep '/shared$')
        id=$(jq -r --arg of $0 'select(.Snapshot and .Source == $of).ID' meta/*.json)
        dd if=/dev/urandom of=data/$id.img bs=64k seek=64 count=1 conv=notrunc,fsync";
    let enter = ["enter", "a", "sh", "-ec", script, &handle];
    run(Command::new(testbed("FERRY_TESTBED")).args(enter)).exits(0);
}

/// Begins a migration and kills it when B's volume is made and compared.
fn kill_while_b_is_read(trip: &Trip) {
    let mut running = Running::start(trip.migrate(&["--shared-storage", "-o", "json"]));
    let on_b = &trip.to.name;
    running.until("volume of B being read", |line| {
        moves(line, "read") && line.contains(on_b)
    });
    running.signal("-KILL");
    running.end().exits(-1);
}

#[test]
fn a_run_killed_while_the_storage_carries_is_resumed_from_the_same_snapshot() {
    let trip = shared("shared-killed");
    let saved = trip.data("a");
    kill_while_b_is_read(&trip);
    // What is written meanwhile is not what was frozen.
    sh("a", &trip.from, "echo later >/data/later; sync");
    run(&mut trip.ferry(&["runs", "resume", "latest"]))
        .exits(0)
        .says("made its volume on B of A's snapshot");
    ready("b", &trip.to.name);
    assert_eq!(trip.data("b"), saved);
    let (name, state) = trip.newest_run();
    assert_eq!(state, "complete");
    trip.assert_clean(&name);
}

#[test]
fn a_run_taken_back_while_the_storage_carries_leaves_nothing_on_either_side() {
    let trip = shared("shared-undone");
    let saved = trip.data("a");
    kill_while_b_is_read(&trip);
    let (name, _) = trip.newest_run();
    let undo = ["runs", "undo", &name, "--yes", "--delete-data"];
    run(&mut trip.ferry(&undo)).exits(0).shows("0 left");
    gone(&trip.to);
    trip.assert_clean(&name);
    assert_eq!(trip.data("a"), saved);
    // The storage holds no snapshot for it either, and can carry the same claims once more.
    run(&mut trip.migrate(&["--shared-storage"]))
        .exits(0)
        .says("made its volume on B of A's snapshot");
    ready("b", &trip.to.name);
    assert_eq!(trip.data("b"), saved);
}

#[test]
fn a_resumed_run_leaves_alone_what_was_copied_after_all_and_written_to_since() {
    let files = ["cow-ext4", "fast-ext4"];
    let trip = application("unshared-killed", files, ["cow-late", "fast-late"]);
    let mut running = Running::start(trip.migrate(&["--shared-storage", "-o", "json"]));
    running.until("application of B released", |line| {
        line.contains("step-finished") && line.contains("release")
    });
    running.signal("-KILL");
    running.end().exits(-1);
    ready("b", &trip.to.name);
    sh("b", &trip.to.name, "echo new >/data/new; sync");
    let written = trip.data("b");
    run(&mut trip.ferry(&["runs", "resume", "latest"])).exits(0);
    ready("b", &trip.to.name);
    assert_eq!(trip.data("b"), written);
    let (name, state) = trip.newest_run();
    assert_eq!(state, "complete");
    trip.assert_clean(&name);
    // The capture is the whole of what was copied.
    run(&mut trip.ferry(&["captures", "show", "latest"]))
        .exits(0)
        .shows("one point in time");
    run(&mut trip.ferry(&["store", "check"])).exits(0);
}

#[test]
fn a_class_that_makes_its_volumes_at_once_cannot_take_a_snapshot_over_and_the_plan_says_so() {
    let trip = Trip::objects("shared-not");
    run(&mut trip.migrate(&["--shared-storage", "--dry-run"]))
        .exits(2)
        .shows("although the storage is said to be shared")
        .shows("StorageClass fast of B makes an empty volume at once");
}
