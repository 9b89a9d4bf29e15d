//! Warm migration on the real pair: syncs while the application works, cutovers under load, and the way
//! back from every phase.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::migrate::Running;
use crate::support::{Done, Namespace, apply, kubectl, run};
use crate::trip::Trip;

mod hosts;

/// A command of the trip between `a` and `b`, agreed to.
fn warm(trip: &Trip, command: &str) -> std::process::Command {
    let recipe = trip.path("recipe.yaml").display().to_string();
    let mut ferry = trip.ferry(&[command, "--from", "a", "--to", "b", "--yes"]);
    ferry.args(["-n", &trip.from, "-r", &recipe, "-o", "json"]);
    ferry
}

/// `kubectl` in a namespace, its words separated by blanks.
fn inside(context: &str, namespace: &str, words: &str) -> String {
    let mut args = vec!["-n", namespace];
    args.extend(words.split_whitespace());
    kubectl(context, &args)
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

/// PostgreSQL, as the shop has it, and what a cutover meets beside it.
const DATABASE: &str = "
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: NAMESPACE}
stringData: {password: trip-secret-value-41}
---
apiVersion: v1
kind: Service
metadata: {name: postgres, namespace: NAMESPACE}
spec: {selector: {app: postgres}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: postgres, namespace: NAMESPACE}
spec:
  serviceName: postgres
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: OnRootMismatch}
      containers:
      - name: postgres
        image: registry-a.testbed:5000/shop/postgres:15
        command: [/entrypoint.sh]
        env:
        - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
        - {name: POSTGRES_PASSWORD_FILE, value: /etc/login/password}
        - {name: SHOP_USER, value: shop}
        - {name: SHOP_DATABASE, value: shop}
        - {name: SHOP_PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
        readinessProbe: {exec: {command: [pg_isready, -q, -h, 127.0.0.1]}, periodSeconds: 1, timeoutSeconds: 5}
        # SIGTERM alone would wait for clients to leave.
        lifecycle: {preStop: {exec: {command: [kill, -INT, '1']}}}
        volumeMounts:
        - {name: data, mountPath: /var/lib/postgresql/data}
        - {name: login, mountPath: /etc/login}
      volumes: [{name: login, secret: {secretName: login}}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {storageClassName: cow, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// A client elsewhere on A: one small transaction after the other through the Service, each noted when
/// it was committed and not before.
const WRITER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: WRITERS}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: writer
    image: registry-a.testbed:5000/shop/postgres:15
    env:
    - {name: PGHOST, value: postgres.NAMESPACE.svc}
    - {name: PGUSER, value: shop}
    - {name: PGDATABASE, value: shop}
    - {name: PGPASSWORD, value: trip-secret-value-41}
    - {name: PGCONNECT_TIMEOUT, value: '1'}
    command: [sh, -c, 'while :; do psql -qtAc \"INSERT INTO log DEFAULT VALUES RETURNING n\" 2>/dev/null || sleep 0.2; done']
";

/// Numbers, one a line.
fn numbers(text: &str) -> BTreeSet<u64> {
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

fn psql(context: &str, namespace: &str, sql: &str) -> String {
    let place = ["-n", namespace, "exec", "postgres-0", "--"];
    let login = "PGPASSWORD=trip-secret-value-41 psql -h 127.0.0.1 -U shop -qtAc";
    kubectl(
        context,
        &[&place[..], &["sh", "-ec", &format!("{login} '{sql}'")]].concat(),
    )
}

#[test]
fn a_database_under_load_moves_without_losing_a_committed_transaction() {
    let trip = Trip::of("cutover", DATABASE);
    inside(
        "a",
        &trip.from,
        "rollout status statefulset/postgres --timeout=120s",
    );
    psql(
        "a",
        &trip.from,
        "CREATE TABLE log (n bigserial PRIMARY KEY, at timestamptz DEFAULT now())",
    );
    let writers = Namespace::new("a", "writers");
    let writer = WRITER.replace("WRITERS", &writers.name);
    apply("a", &writer.replace("NAMESPACE", &trip.from));
    inside(
        "a",
        &writers.name,
        "wait pod/writer --for=condition=Ready --timeout=60s",
    );

    run(&mut warm(&trip, "sync")).exits(0);
    run(&mut warm(&trip, "sync")).exits(0);
    let over = run(&mut warm(&trip, "cutover")).exits(0).json();
    assert_eq!(over["complete"], true, "{over}");
    let seconds = |value: &Value| value.as_f64().expect("seconds");
    eprintln!(
        "stood still for {:.1} s, {:.1} s were expected",
        seconds(&over["downtime"]),
        seconds(&over["expected"]["seconds"])
    );

    let committed = numbers(&inside("a", &writers.name, "logs writer"));
    assert!(committed.len() > 20, "the writer wrote {}", committed.len());
    inside(
        "b",
        &trip.to.name,
        "rollout status statefulset/postgres --timeout=60s",
    );
    let arrived = numbers(&psql("b", &trip.to.name, "SELECT n FROM log"));
    let lost: Vec<&u64> = committed.difference(&arrived).collect();
    assert_eq!(lost, [&0; 0], "committed on A and not on B");
    let replicas = "get statefulset/postgres -o jsonpath={.spec.replicas}";
    assert_eq!(inside("a", &trip.from, replicas), "0");
}

/// What runs on A, as its owners set it, and whose the fields are.
fn workloads(trip: &Trip) -> BTreeMap<String, Value> {
    let get = "get deploy,cronjob -o json --show-managed-fields";
    let found = inside("a", &trip.from, get);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let item = |item: &Value| {
        let entries = item["metadata"]["managedFields"]
            .as_array()
            .expect("managers");
        let users = entries
            .iter()
            .filter(|entry| entry["subresource"] != "status");
        let name = format!("{} {}", item["kind"], item["metadata"]["name"]);
        (
            name,
            serde_json::json!([item["spec"], users.collect::<Vec<_>>()]),
        )
    };
    found["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(item)
        .collect()
}

/// One CronJob that runs and one that was suspended by its owners.
const CRON: &str = "
apiVersion: batch/v1
kind: CronJob
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  schedule: '0 0 1 1 *'
  suspend: SUSPEND
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: c, image: 'registry-a.testbed:5000/library/busybox:1', command: ['true']}]
";

/// Uses the claim when nothing should.
const INTRUDER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: intruder, namespace: NAMESPACE}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
  containers:
  - name: c
    image: registry-a.testbed:5000/library/busybox:1
    command: [sleep, '3600']
    volumeMounts: [{name: data, mountPath: /data}]
";

/// Whether a JSON line says that a step of an action has come so far.
fn step(line: &str, event: &str, action: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|said| said["event"] == event && said["action"] == action)
}

/// Kills a cutover as soon as a step of an action has come so far.
fn killed(trip: &Trip, event: &str, action: &str) {
    let mut running = Running::start(warm(trip, "cutover"));
    running.until(action, |line| step(line, event, action));
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);
}

fn abort(trip: &Trip) -> Done {
    run(&mut trip.ferry(&["cutover", "--abort", "latest", "--yes", "-o", "json"]))
}

#[test]
fn a_cutover_is_taken_back_at_every_phase_and_finished_after_a_kill() {
    let trip = Trip::application("abort", 8);
    for (name, suspend) in [("nightly", "false"), ("paused", "true")] {
        let cron = CRON.replace("NAMESPACE", &trip.from).replace("NAME", name);
        apply("a", &cron.replace("SUSPEND", suspend));
    }
    run(&mut warm(&trip, "sync")).exits(0);
    let before = workloads(&trip);
    let taken_back = |phase: &str| {
        abort(&trip).exits(0);
        assert_eq!(workloads(&trip), before, "A is as it was, {phase}");
        let kinds = "deploy,cronjob,pod,secret,pvc";
        let left = kubectl("b", &["-n", &trip.to.name, "get", kinds, "-o", "name"]);
        assert_eq!(left.trim(), "persistentvolumeclaim/data", "{phase}");
        let (data, sync) = marks(&trip);
        assert_eq!(data, "pending", "{phase}");
        assert!(sync.is_string(), "{phase}");
        assert_eq!(trip.newest_run().1, "undone");
    };

    killed(&trip, "step-finished", "create");
    taken_back("before anything was held");
    // From another terminal, while the first one is about to hold: what it announces next is refused.
    let mut running = Running::start(warm(&trip, "cutover"));
    running.until("quiesce", |line| step(line, "step-started", "quiesce"));
    running.signal("-STOP");
    abort(&trip).exits(0);
    running.signal("-CONT");
    assert_ne!(running.end().code, 0);
    taken_back("beside a process that goes on");
    killed(&trip, "step-started", "load");
    // A new cutover would bring what is at rest now to rest on B.
    run(&mut warm(&trip, "cutover"))
        .exits(5)
        .says("holds 2 workloads");
    taken_back("held, and the last delta is on its way");

    // Something begins to use the claim after its data was taken: B is not started.
    let mut running = Running::start(warm(&trip, "cutover"));
    running.until("quiet", |line| step(line, "step-finished", "quiet"));
    running.signal("-STOP");
    apply("a", &INTRUDER.replace("NAMESPACE", &trip.from));
    running.signal("-CONT");
    let stopped = running.end().exits(4).json();
    assert_eq!(stopped["standing"]["held"]["holds"], 2, "{stopped}");
    assert!(
        stopped["failed"][0]["reason"]
            .as_str()
            .expect("a reason")
            .contains("intruder")
    );
    inside("a", &trip.from, "delete pod intruder --wait=true");
    // Even when it is gone, B is not started without what it may have written.
    run(&mut trip.ferry(&["runs", "resume", "latest"]))
        .exits(4)
        .shows("take the cutover back");
    taken_back("everything has arrived and nothing was started");
    inside("a", &trip.from, "rollout status deploy/app --timeout=60s");

    on_a(&trip, "echo last >/data/last; sync");
    let saved = trip.data("a");
    killed(&trip, "step-finished", "quiet");
    run(&mut trip.ferry(&["runs", "resume", "latest"]))
        .exits(0)
        .shows("stood still");
    assert_eq!(trip.data("b"), saved);
    let (name, state) = trip.newest_run();
    assert_eq!(state, "complete");
    trip.assert_clean(&name);
    abort(&trip).exits(5).says("may have new data");
    let undo = ["runs", "undo", &name, "--yes"];
    run(&mut trip.ferry(&undo))
        .exits(0)
        .shows("2 objects of A as before");
    assert_eq!(workloads(&trip), before);
}
