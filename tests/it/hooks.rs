//! Hooks in real pods: on A before anything is held, on B after it was started; those that fail, take too long, are
//! killed in the middle, or came with annotations of Velero.

use serde_json::Value;

use crate::migrate::Running;
use crate::support::{kubectl, run};
use crate::trip::Trip;

/// A command of the trip between `a` and `b`, agreed to.
fn warm(trip: &Trip, command: &str) -> std::process::Command {
    let recipe = trip.path("recipe.yaml").display().to_string();
    let mut ferry = trip.ferry(&[command, "--from", "a", "--to", "b", "--yes"]);
    ferry.args(["-n", &trip.from, "-r", &recipe, "-o", "json"]);
    ferry
}

/// What a script in the application says.
fn inside(context: &str, namespace: &str, script: &str) -> String {
    let place = ["-n", namespace, "exec", "deploy/app", "--"];
    kubectl(context, &[&place[..], &["sh", "-ec", script]].concat())
}

fn replicas(trip: &Trip) -> String {
    let path = "jsonpath={.spec.replicas}";
    kubectl("a", &["-n", &trip.from, "get", "deploy/app", "-o", path])
}

/// The trip's recipe with these hooks, each `name when script` and more keys.
fn hooks(trip: &Trip, hooks: &[(&str, &str, &str, &str)]) {
    let mut text = "- storageClass: {map: {cow: fast}}\nhooks:\n".to_owned();
    for (name, when, script, more) in hooks {
        text.push_str(&format!(
            "- name: {name}\n  when: {when}\n  select: {{kind: Deployment, name: app}}\n  \
             command: [sh, -ec, '{script}']\n{more}"
        ));
    }
    trip.recipe(&text);
}

/// The records of hooks in the newest run's journal.
fn ran(trip: &Trip) -> Vec<Value> {
    let logs = run(&mut trip.ferry(&["runs", "logs", "latest", "-o", "json"]))
        .exits(0)
        .json();
    let all = logs.as_array().expect("records").iter();
    all.filter(|record| record["entry"] == "ran")
        .cloned()
        .collect()
}

#[test]
fn hooks_run_on_both_sides_and_a_resume_runs_only_what_did_not_end_well() {
    let trip = Trip::application("hooks", 4);
    hooks(
        &trip,
        &[
            (
                "flush",
                "before-hold",
                "echo f >>/data/flushed; echo from $HOSTNAME",
                "",
            ),
            (
                "index",
                "after-release",
                "echo i >>/data/indexed; test -e /tmp/ok",
                "  timeout: 1m\n",
            ),
        ],
    );
    let over = run(&mut warm(&trip, "cutover")).exits(4).json();
    let reason = over["failed"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("hook index failed"), "{reason}");
    assert!(reason.contains("it ended with 1"), "{reason}");
    assert_eq!(replicas(&trip), "0", "A stays held");
    let shown = run(&mut trip.ferry(&["runs", "show", "latest"])).exits(0);
    assert!(
        shown.stdout.contains("echo f >>/data/flushed"),
        "{}",
        shown.stdout
    );

    let resume = ["runs", "resume", "latest", "--skip-hook", "nobody"];
    run(&mut trip.ferry(&resume))
        .exits(5)
        .says("it has flush, index");
    inside("b", &trip.to.name, "touch /tmp/ok");
    run(&mut trip.ferry(&["runs", "resume", "latest"])).exits(0);
    // The flush came with the data, so it ran before the delta was read.
    let counts = inside("b", &trip.to.name, "cat /data/flushed /data/indexed");
    assert_eq!(counts.split_whitespace().collect::<String>(), "fii");
    let ran = ran(&trip);
    let exits: Vec<&Value> = ran.iter().map(|record| &record["exit"]).collect();
    assert_eq!(exits, [0, 1, 0]);
    let output = ran[0]["output"].as_str().expect("output");
    assert!(output.starts_with("from app-"), "{output}");
    assert_eq!(ran[0]["container"], "app");
}

#[test]
fn a_hook_that_fails_or_is_killed_leaves_a_as_it_was() {
    let trip = Trip::application("hookless", 4);
    // As Velero's users have them: the first takes too long and may, the second runs on B.
    let annotations = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {
        "pre.hook.backup.velero.io/command": r#"["sleep", "600"]"#,
        "pre.hook.backup.velero.io/timeout": "1s",
        "pre.hook.backup.velero.io/on-error": "Continue",
        "post.hook.restore.velero.io/command": r#"["sh", "-c", "echo v >>/data/velero"]"#,
    }}}}});
    let patch = ["patch", "deploy/app", "-p", &annotations.to_string()];
    kubectl("a", &[&["-n", &trip.from][..], &patch].concat());
    let rolled = ["rollout", "status", "deploy/app", "--timeout=90s"];
    kubectl("a", &[&["-n", &trip.from][..], &rolled].concat());
    run(&mut warm(&trip, "sync")).exits(0);
    let over = run(&mut warm(&trip, "cutover")).exits(0).json();
    assert_eq!(over["complete"], true);
    assert_eq!(inside("b", &trip.to.name, "cat /data/velero").trim(), "v");
    let ran = ran(&trip);
    let late = ran[0]["problem"].as_str().expect("a problem");
    assert!(late.contains("within 1 s"), "{late}");
    assert_eq!(ran[1]["exit"], 0);
    run(&mut trip.ferry(&["runs", "undo", "latest", "--delete-data", "--yes"])).exits(0);
    kubectl("a", &[&["-n", &trip.from][..], &rolled].concat());

    // A recipe's hook takes the place of the annotation's. A program that is not there ends the cutover.
    let wrong = "- storageClass: {map: {cow: fast}}\nhooks:\n- {name: wrong, when: before-hold, \
                 select: {kind: Deployment}, command: [/no/such], container: CONTAINER}\n";
    trip.recipe(&wrong.replace("CONTAINER", "web"));
    run(&mut warm(&trip, "cutover"))
        .exits(3)
        .shows("names no container");
    trip.recipe(&wrong.replace("CONTAINER", "app"));
    let failed = run(&mut warm(&trip, "cutover")).exits(4).json();
    assert_eq!(failed["standing"], "untouched", "{failed}");
    let reason = failed["failed"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("/no/such"), "{reason}");
    assert_eq!(replicas(&trip), "1");
    let abort = ["cutover", "--abort", "latest", "--yes"];
    run(&mut trip.ferry(&abort)).exits(0);

    // Nobody knows how far a command came when Ferry was killed beside it: it runs again.
    let script = "echo k >>/data/killed; sleep 3";
    hooks(&trip, &[("slow", "before-hold", script, "  timeout: 1m\n")]);
    let mut running = Running::start(warm(&trip, "cutover"));
    running.until("hook", |line| {
        serde_json::from_str::<Value>(line)
            .is_ok_and(|said| said["event"] == "step-started" && said["action"] == "hook")
    });
    inside(
        "a",
        &trip.from,
        "for i in $(seq 100); do test -e /data/killed && exit; sleep 0.2; done; exit 1",
    );
    running.signal("-KILL");
    running.end();
    assert_eq!(replicas(&trip), "1");
    run(&mut trip.ferry(&["runs", "resume", "latest"])).exits(0);
    let killed = inside("b", &trip.to.name, "cat /data/killed");
    assert_eq!(killed.split_whitespace().collect::<String>(), "kk");
}
