//! What work does while something it stands on is gone for a while: the store's server, or a node's kubelet.

use std::fs;
use std::io::{Read as _, copy};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::migrate::{Running, moves};
use crate::s3::{STORE, Server};
use crate::support::{root, run};
use crate::torture;
use crate::trip::Trip;

/// Bytes that a line of progress tells to have been carried; none if it is no such line.
fn carried(line: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["progress"]["bytes_done"].as_u64()
}

/// Runs the command to its end, with the server killed twice: for a moment, and until that is told.
fn through_kills(server: &mut Server, args: &[&str]) {
    let mut running = Running::start(server.ferry(args));
    let line = running.until("progress", |line| carried(line) > Some(0));
    server.kill();
    sleep(Duration::from_secs(3));
    server.start_again();
    running.until("progress", |next| carried(next) > carried(&line));
    server.kill();
    running.until("word of it", |line| {
        line.contains("the store is waited for")
    });
    server.start_again();
    running.end().exits(0).says("the store answers again");
}

#[test]
fn a_save_and_a_restore_go_on_when_a_killed_server_is_back() {
    let mut server = Server::start();
    run(&mut server.ferry(&["store", "init"])).exits(0);
    let (source, target) = (server.text("source"), server.text("target"));
    fs::create_dir(&source).unwrap();
    for number in 0..20 {
        let noise = fs::File::open("/dev/urandom").unwrap();
        let mut file = fs::File::create(format!("{source}/{number}")).unwrap();
        copy(&mut noise.take(40 << 20), &mut file).unwrap();
    }
    through_kills(&mut server, &["data", "save", &source, "-o", "json"]);
    run(&mut server.ferry(&["data", "verify", "latest", &source])).exits(0);
    let figures = run(&mut server.ferry(&["store", "stats", "-o", "json"]));
    let figures = figures.exits(0).json();
    assert_eq!(
        figures["unused_bytes"], 0,
        "nothing was sent twice: {figures}"
    );
    assert_eq!(figures["unindexed_packs"], 0, "{figures}");
    run(&mut server.ferry(&["store", "check", "--read-data"])).exits(0);

    let restore = ["data", "restore", "latest", &target, "-o", "json"];
    through_kills(&mut server, &restore);
    torture::assert_same(&server.path("source"), &server.path("target"));
}

#[test]
fn a_run_waits_for_its_store_and_says_so() {
    let mut server = Server::start();
    let mut trip = Trip::application("store-away", 160);
    trip.store = STORE.into();
    run(&mut server.told(trip.ferry(&["store", "init"]))).exits(0);
    let mut running = Running::start(server.told(trip.migrate(&["-o", "json"])));
    running.until("volume being saved", |line| moves(line, "save"));
    server.kill();
    running.until("word of it", |line| {
        line.contains("its store is waited for")
    });
    server.start_again();
    running.until("volume being loaded", |line| moves(line, "load"));
    server.kill();
    sleep(Duration::from_secs(3));
    server.start_again();
    running.end().exits(0);
    assert_eq!(trip.data("a"), trip.data("b"));
    run(&mut server.told(trip.ferry(&["store", "check", "--read-data"]))).exits(0);
}

/// A cluster's kubelet, killed; started again when dropped.
struct Killed(&'static str);

impl Killed {
    fn kubelet(cluster: &'static str) -> Self {
        testbed_does("kill", cluster);
        Self(cluster)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        testbed_does("start", self.0);
    }
}

fn testbed_does(what: &str, cluster: &str) {
    let program = root().join("tests/testbed/testbed");
    run(Command::new(program).args([what, cluster, "kubelet"])).exits(0);
}

// Alone: nothing else could start a pod meanwhile.
#[test]
fn a_run_outlives_the_kubelets_of_its_movers_alone() {
    let trip = Trip::application("kubelet", 400);
    let saved = trip.data("a");
    let mut running = Running::start(trip.migrate(&["-o", "json"]));
    for (cluster, direction) in [("a", "save"), ("b", "load")] {
        running.until("volume on its way", |line| moves(line, direction));
        let killed = Killed::kubelet(cluster);
        running.until("word of it", |line| line.contains("its log cannot be read"));
        drop(killed);
    }
    running.end().exits(0);
    assert_eq!(trip.data("b"), saved);
    trip.assert_clean(&trip.newest_run().0);
}
