//! What a killed command left is found without its store, and removed.

use serde_json::Value;

use crate::migrate::{Running, moves};
use crate::support::{Done, ferry, run};
use crate::trip::Trip;

fn gc(args: &[&str]) -> Done {
    let all = ["gc", "--context", "a", "--output", "json"];
    run(&mut ferry(&[&all[..], args].concat()))
}

/// What the command says of leftovers in a namespace of a test's own.
fn left_in(namespace: &str, done: &Done) -> Option<Value> {
    let all = done.json();
    let mut all = all.as_array().expect("leftovers").iter();
    all.find(|left| left["objects"].to_string().contains(namespace))
        .cloned()
}

#[test]
fn what_a_killed_capture_left_is_removed_by_name_while_its_mover_works() {
    let trip = Trip::application("gc", 160);
    let mut running =
        Running::start(trip.ferry(&["capture", "--from", "a", "-n", &trip.from, "-o", "json"]));
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);

    // Something of the last hour may be at work, so it has to be named.
    let looked = gc(&["--dry-run"]);
    let left = left_in(&trip.from, &looked).expect("the snapshot of its claim");
    assert_eq!(
        (&left["kind"], &left["removed"]),
        (&"run".into(), &false.into())
    );
    let id = left["id"].as_str().expect("an id");
    assert!(left["objects"].to_string().contains(&format!("ferry-{id}")));
    gc(&["--run", "20200101-000000-none", "--yes"])
        .exits(5)
        .says("20200101-000000-none left nothing on cluster a");

    let removed = gc(&["--run", id, "--yes"]).exits(0);
    assert_eq!(left_in(&trip.from, &removed).expect("it")["removed"], true);
    trip.assert_clean(id);
    assert_eq!(left_in(&trip.from, &gc(&["--dry-run"])), None);
}
