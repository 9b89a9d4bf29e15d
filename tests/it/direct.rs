//! Migration without a store: the data goes from movers to movers by a depot on the target, which is gone when all has
//! arrived and stays for as long as it has not.

use crate::migrate::{Running, moves};
use crate::support::{kubectl, run};
use crate::trip::Trip;

/// A class of cluster B whose volumes are given to their pod's group, as those of most storage are.
const CLASS: [&str; 3] = ["--direct", "--direct-storage-class", "fast"];

fn direct<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CLASS[..], more].concat()
}

/// The depot's namespaces of a trip, on one cluster.
fn depots(trip: &Trip, context: &str) -> Vec<String> {
    let all = kubectl(
        context,
        &["get", "namespaces", "-l", "ferry.dev/depot", "-o", "name"],
    );
    let ours = format!("namespace/ferry-depot-{}-", trip.from);
    let names = all
        .lines()
        .filter_map(|line| Some(line.strip_prefix(&ours)?.to_owned()));
    names.map(|rest| format!("{}-{rest}", trip.from)).collect()
}

#[track_caller]
fn assert_no_depot(trip: &Trip) {
    for context in ["a", "b"] {
        assert_eq!(
            depots(trip, context),
            [""; 0],
            "a depot is left on {context}"
        );
    }
}

#[test]
fn a_migration_without_a_store_finds_no_room_is_killed_and_is_finished_by_the_same_command() {
    let trip = Trip::application("direct", 60);
    let saved = trip.data("a");
    let full = run(&mut trip.migrate(&direct(&["--direct-size", "32Mi"])));
    assert_ne!(full.code, 0);
    // The mover's words are the run's result, unless there is no room for the journal either.
    let told = full.stdout.clone() + &full.stderr;
    assert!(told.contains("is full"), "{told}");
    full.says("a larger --direct-size");

    let depot = depots(&trip, "b").pop().expect("the depot stays");
    let store = format!("cluster://b/{depot}");
    let listed = run(trip
        .ferry(&["runs", "list", "-o", "json"])
        .env("FERRY_STORE", &store));
    assert_ne!(listed.exits(0).json()[0]["state"], "complete");

    let larger = direct(&["--direct-size", "1Gi", "-o", "json"]);
    let mut running = Running::start(trip.migrate(&larger));
    running.until("volume being loaded", |line| moves(line, "load"));
    running.signal("-KILL");
    running.end().exits(-1);
    // All is in the depot now, and proven by the same commands as in any store.
    run(trip
        .ferry(&["store", "check", "--read-data"])
        .env("FERRY_STORE", &store))
    .exits(0);

    let done = run(&mut trip.migrate(&direct(&["-o", "json"])))
        .exits(0)
        .json();
    assert_eq!(done["complete"], true, "{done}");
    kubectl(
        "b",
        &[
            "-n",
            &trip.to.name,
            "rollout",
            "status",
            "deploy/app",
            "--timeout=90s",
        ],
    );
    assert_eq!(trip.data("b"), saved);
    assert_no_depot(&trip);
    trip.assert_clean(done["run"].as_str().expect("a run"));

    // Where nothing is to be done, nothing is made.
    run(&mut trip.migrate(&direct(&["--dry-run"])))
        .exits(0)
        .shows("no changes");
    run(&mut trip.migrate(&CLASS)).exits(0).shows("no changes");
    assert_no_depot(&trip);
}

#[test]
fn a_depot_that_cannot_be_reached_or_made_is_told_before_anything_is_changed() {
    let trip = Trip::objects("direct-not");
    // Nothing listens there, and where it leads is the pod itself.
    run(&mut trip.migrate(&direct(&["--direct-address", "127.0.0.1:9"])))
        .exits(3)
        .says("pods of cluster a cannot reach the depot on cluster b: 127.0.0.1:9")
        .says("--direct-address HOST:PORT");
    run(&mut trip.migrate(&["--direct", "--direct-storage-class", "no-such-class"]))
        .exits(3)
        .says("has no storage class \"no-such-class\"");
    run(&mut trip.migrate(&direct(&["--unprivileged"])))
        .exits(3)
        .says("--unprivileged");
    run(&mut trip.migrate(&direct(&["--relay"])))
        .exits(5)
        .says("--relay");
    run(&mut trip.migrate(&direct(&["--store", "/tmp"])))
        .exits(5)
        .says("leave out --store");
    let none = ["runs", "list", "--store", "cluster://b/no-such-depot"];
    run(&mut trip.ferry(&none))
        .exits(5)
        .says("there is no depot");
    trip.assert_nothing_written();
    assert_no_depot(&trip);
}
