//! Warm migration on the real pair: syncs while the application works.

use serde_json::Value;

use crate::support::{kubectl, run};
use crate::trip::Trip;

/// A command of the trip between `a` and `b`, agreed to.
fn warm(trip: &Trip, command: &str) -> std::process::Command {
    let recipe = trip.path("recipe.yaml").display().to_string();
    let mut ferry = trip.ferry(&[command, "--from", "a", "--to", "b", "--yes"]);
    ferry.args(["-n", &trip.from, "-r", &recipe, "-o", "json"]);
    ferry
}

fn on_a(trip: &Trip, script: &str) -> String {
    let place = ["-n", &trip.from, "exec", "deploy/app", "--"];
    kubectl("a", &[&place[..], &["sh", "-ec", script]].concat())
}

/// The claim's marks on B.
fn marks(trip: &Trip) -> (Value, Value) {
    let claim = kubectl(
        "b",
        &["-n", &trip.to.name, "get", "pvc", "data", "-o", "json"],
    );
    let claim: Value = serde_json::from_str(&claim).expect("JSON");
    let mark = |name: &str| claim["metadata"]["annotations"][name].clone();
    (mark("ferry.dev/data"), mark("ferry.dev/sync"))
}

#[test]
fn a_second_sync_sends_what_changed_and_a_migration_brings_the_rest() {
    let trip = Trip::application("sync", 40);
    let first = run(&mut warm(&trip, "sync")).exits(0).json();
    assert_eq!(first["complete"], true);
    let all = first["sync"]["changed"].as_u64().expect("bytes");
    assert!(all > 40_000_000, "{first}");
    let made = kubectl(
        "b",
        &[
            "-n",
            &trip.to.name,
            "get",
            "deploy,secret,pvc",
            "-o",
            "name",
        ],
    );
    assert_eq!(made.trim(), "persistentvolumeclaim/data", "only data came");
    assert_eq!(marks(&trip).0, "pending");

    on_a(
        &trip,
        "cd /data; head -c 1000000 /dev/urandom | dd of=part1 seek=3 bs=1000000 conv=notrunc 2>/dev/null; \
         rm part4; mkdir new; echo y >new/file; sync",
    );
    let second = run(&mut warm(&trip, "sync")).exits(0).json();
    let changed = second["sync"]["changed"].as_u64().expect("bytes");
    assert!((1_000_000..12_000_000).contains(&changed), "{second}");
    assert!(second["forecast"]["change_rate"].as_f64().expect("a rate") > 0.0);
    let (data, sync) = marks(&trip);
    assert_eq!(data, "pending");
    assert_eq!(sync, second["proofs"][0][1]["digest"]);

    // What was deleted on A is gone from B, and the claim is not marked as a sync's any more.
    on_a(&trip, "echo z >/data/last; sync");
    run(&mut trip.migrate(&[])).exits(0);
    assert_eq!(trip.data("a"), trip.data("b"));
    assert_eq!(marks(&trip).1, Value::Null);
    // Now it is in use: a sync leaves it alone.
    let third = run(&mut warm(&trip, "sync")).exits(0);
    assert!(third.stdout.contains("keep the data"), "{}", third.stdout);
    assert_eq!(trip.data("a"), trip.data("b"));
}
