//! The main job from end to end, as a user meets it: the shop moves, what was killed goes on, what was
//! done is taken back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::{Done, Namespace, kubectl, root, run, testbed};
use crate::trip::{SECRET, Trip};

/// A script of `examples/shop`, run; must succeed.
#[track_caller]
fn shop(script: &str, args: &[&str]) -> String {
    run(Command::new(root().join("examples/shop").join(script))
        .args(args)
        .env("KUBECTL", testbed("FERRY_TESTBED_KUBECTL")))
    .exits(0)
    .stdout
}

#[test]
fn the_shop_moves_with_all_it_has_and_a_second_look_finds_nothing_to_do() {
    let trip = Trip::shop("shop");
    let (on_b, report) = (
        trip.to.name.clone(),
        trip.path("report").display().to_string(),
    );
    let mut heard = Vec::new();
    let moved = run(&mut trip.migrate(&["--install-crds", "--diff", "--save-report", &report]))
        .exits(0)
        .shows("digest");
    heard.push(moved);

    assert_eq!(
        shop("query.sh", &["a", "shop"]),
        shop("query.sh", &["b", &on_b])
    );
    for what in ["files", "raw"] {
        let manifest = shop("query.sh", &["a", "shop", what]);
        assert_eq!(manifest, shop("query.sh", &["b", &on_b, what]), "{what}");
    }
    assert!(
        shop("page.sh", &["b", &on_b]).contains("500000"),
        "the page shows the orders"
    );

    let recipe = trip.path("recipe.yaml").display().to_string();
    let plan = [
        "plan",
        "latest",
        "--to",
        "b",
        "-r",
        &recipe,
        "--install-crds",
        "--diff",
    ];
    heard.push(run(&mut trip.ferry(&plan)).exits(0).shows("no changes"));
    let before = versions(&on_b);
    heard.push(
        run(&mut trip.migrate(&["--install-crds"]))
            .exits(0)
            .shows("no changes"),
    );
    assert_eq!(
        versions(&on_b),
        before,
        "a second migration wrote something"
    );

    heard.push(run(&mut trip.migrate(&["--install-crds", "-o", "json"])).exits(0));
    for args in [
        &["runs", "logs", "latest"][..],
        &["captures", "show", "latest"],
        &["runs", "show", "latest"],
    ] {
        heard.push(run(&mut trip.ferry(args)).exits(0));
        heard.push(run(trip.ferry(args).args(["-o", "json"])).exits(0));
    }
    let (name, state) = trip.newest_run();
    assert_eq!(state, "complete");
    trip.assert_clean(&name);
    for file in ["plan.txt", "diff.patch", "graph.svg"] {
        let stdout = std::fs::read_to_string(trip.path("report").join(file)).expect("a report");
        heard.push(Done {
            code: 0,
            stdout,
            stderr: String::new(),
        });
    }
    assert_no_secret(&heard, &[("a", "shop"), ("b", &on_b)]);
    assert_restic_agrees(&trip);
}

/// What Ferry wrote, by version. Objects whose status a controller touches at any time count by their
/// generation, which only a change of what is wanted moves.
fn versions(namespace: &str) -> BTreeMap<String, String> {
    let kinds = kubectl(
        "b",
        &[
            "api-resources",
            "--namespaced",
            "--verbs=list",
            "-o",
            "name",
        ],
    );
    let others = ["events", "pods", "endpoints", "leases", "replicasets"];
    let wanted: Vec<&str> = kinds
        .lines()
        .filter(|kind| !others.iter().any(|other| kind.starts_with(other)))
        .collect();
    let found = kubectl(
        "b",
        &["-n", namespace, "get", &wanted.join(","), "-o", "json"],
    );
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let version = |item: &Value| {
        let meta = &item["metadata"];
        let moving = item["status"].is_object();
        let version = if moving {
            &meta["generation"]
        } else {
            &meta["resourceVersion"]
        };
        (
            format!("{} {}", item["kind"], meta["name"]),
            format!("{} {version}", meta["uid"]),
        )
    };
    found["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(version)
        .collect()
}

/// Nothing that was said or written holds a value of a Secret, plain or in base64.
fn assert_no_secret(heard: &[Done], places: &[(&str, &str)]) {
    let mut secrets = vec!["not-a-secret".to_owned()];
    for (context, namespace) in places {
        let found = kubectl(context, &["-n", namespace, "get", "secrets", "-o", "json"]);
        let found: Value = serde_json::from_str(&found).expect("JSON");
        for secret in found["items"].as_array().expect("a list") {
            for value in secret["data"].as_object().into_iter().flatten() {
                let encoded = value.1.as_str().expect("base64").to_owned();
                let plain = STANDARD.decode(&encoded).expect("base64");
                // Shorter ones are words that stand elsewhere too: a user's name.
                if plain.len() > 8 {
                    secrets.push(encoded);
                    secrets.extend(String::from_utf8(plain));
                }
            }
        }
    }
    assert!(secrets.len() > 8, "the shop has more secrets than that");
    for done in heard {
        for secret in &secrets {
            assert!(
                !done.stdout.contains(secret),
                "a secret is shown:\n{}",
                done.stdout
            );
            assert!(
                !done.stderr.contains(secret),
                "a secret is told:\n{}",
                done.stderr
            );
        }
    }
}

/// The real `restic` lists the volumes, finds the repository sound, and restores the awkward files.
fn assert_restic_agrees(trip: &Trip) {
    trip.restic(&["check"]);
    let snapshots = trip
        .restic(&["--json", "snapshots", "--tag", "pvc=shop/files"])
        .json();
    let newest = snapshots
        .as_array()
        .and_then(|all| all.last())
        .expect("a snapshot");
    let id = newest["id"].as_str().expect("an id");
    let here = trip.path("restic").display().to_string();
    trip.restic(&["restore", id, "--target", &here]);
    let tool = trip.path("shop");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&tool)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(root().join("examples/shop/images/web")))
    .exits(0);
    let restored = run(Command::new(tool)
        .arg("manifest")
        .arg(trip.path("restic/data")))
    .exits(0);
    // Debian's restic is older than its `--sparse`: it writes the zeros out.
    let dense = |text: &str| text.replace(" sparse ", " ");
    assert_eq!(
        dense(&restored.stdout),
        dense(&shop("query.sh", &["a", "shop", "files"]))
    );
}

/// A command that runs, with its stderr as it comes.
pub struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    said: String,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ferry starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                drop(send.send(line));
            }
        });
        Self {
            child,
            lines,
            said: String::new(),
        }
    }

    /// Waits for a line that fits.
    #[track_caller]
    pub fn until(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {what} in:\n{}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
            if fits(&line) {
                return line;
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").args([name, &self.child.id().to_string()])).exits(0);
    }

    /// Waits for its end.
    pub fn end(mut self) -> Done {
        let mut stdout = String::new();
        let out = self.child.stdout.as_mut().expect("stdout is piped");
        out.read_to_string(&mut stdout).expect("text");
        let status = self.child.wait().expect("it ends");
        self.said.extend(self.lines.iter().map(|line| line + "\n"));
        Done {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr: self.said,
        }
    }
}

/// Whether a JSON line says that a volume is on its way.
pub fn moves(line: &str, direction: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|event| event["event"] == "volume" && event["direction"] == direction)
}

#[test]
fn a_run_killed_while_it_saves_and_again_while_it_loads_is_finished_by_resume() {
    let trip = Trip::application("kill", 160);
    let saved = trip.data("a");
    let mut running = Running::start(trip.migrate(&["-o", "json"]));
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);
    assert_ne!(trip.newest_run().1, "complete");

    let mut running = Running::start(trip.ferry(&["runs", "resume", "latest", "-o", "json"]));
    running.until("volume being loaded", |line| moves(line, "load"));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);

    run(&mut trip.ferry(&["runs", "resume", "latest"]))
        .exits(0)
        .shows("digest");
    assert_eq!(trip.data("b"), saved);
    let (name, state) = trip.newest_run();
    assert_eq!(state, "complete");
    trip.assert_clean(&name);
    run(&mut trip.ferry(&["runs", "verify", "latest"])).exits(0);
}

#[test]
fn a_run_stopped_by_ctrl_c_says_how_to_go_on_and_is_taken_back_without_a_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let trip = Trip::application("stop", 160).in_folder(&folder.path().join("store"));
    let saved = trip.data("a");
    let mut running = Running::start(trip.migrate(&["-o", "json"]));
    running.until("volume being saved", |line| moves(line, "save"));
    running.signal("-INT");
    let stopped = running
        .end()
        .exits(4)
        .says("stopping where the run can be resumed");
    assert_eq!(stopped.json()["complete"], false);

    let (name, _) = trip.newest_run();
    let mut running = Running::start(trip.ferry(&["runs", "resume", &name]));
    running.until("wait or a volume saved", |line| line.contains("data"));
    running.signal("-INT");
    let stopped = running.end();
    if stopped.code != 0 {
        stopped.exits(4).shows(&format!("ferry runs resume {name}"));
        run(&mut trip.ferry(&["runs", "resume", &name])).exits(0);
    }
    assert_eq!(trip.data("b"), saved);
    trip.assert_clean(&name);
    assert_sealed(folder.path());

    let undo = ["runs", "undo", &name, "--yes", "--delete-data"];
    run(&mut trip.ferry(&undo)).exits(0).shows("0 left");
    gone(&trip.to);
    assert_eq!(trip.newest_run().1, "undone");
    run(&mut trip.ferry(&["runs", "resume", &name]))
        .exits(5)
        .says("was undone");
    assert_eq!(trip.data("a"), saved, "A is only read");
}

/// Waits until a namespace on B is gone.
#[track_caller]
pub fn gone(namespace: &Namespace) {
    kubectl(
        "b",
        &[
            "wait",
            "--for=delete",
            &format!("namespace/{}", namespace.name),
            "--timeout=60s",
        ],
    );
}

/// No file of a store in a folder shows a Secret's value.
fn assert_sealed(folder: &std::path::Path) {
    let found = run(Command::new("grep").args(["-rlF", SECRET]).arg(folder));
    assert_eq!(found.stdout, "", "a secret is in the store in plain");
}
