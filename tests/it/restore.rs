//! The restore engine on a real API server: order, kill and resume, undo, conflicts, stale plans,
//! holds. Data is carried by a stand-in that only notes what it was asked; the real movers have tests
//! of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferry::capture::{
    Capture, Captured, Consistency, Owner, Proof, SavedVolume, Volume, VolumeMode,
};
use ferry::cluster::{Cluster, ConnectOptions, probe, survey};
use ferry::data::{DataError, Movers};
use ferry::event::{Event, Events};
use ferry::graph::{self, Edge, GraphInput, Strength};
use ferry::journal::RunFiles;
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::plan::{self, Action, Plan, PlanInput, VolumeMove, stamp};
use ferry::restore::{self, RunContext, RunOptions, RunReport, UndoOptions};
use ferry::store::{Password, Store};
use ferry::surface::Surface;
use ferry::target::RUN_LABEL;
use ferry::transform::Transformed;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Namespace, kubectl, unique};

/// What one test works with: a namespace on B that the plan makes, a store, a stand-in for movers.
struct Bench {
    space: Namespace,
    cluster: Cluster,
    surface: Surface,
    store: Store,
    _folder: tempfile::TempDir,
    movers: Noting,
    objects: Vec<Object>,
    edges: Vec<Edge>,
    volumes: Vec<Volume>,
    owners: BTreeMap<ObjectId, Vec<Owner>>,
    options: RunOptions,
}

/// Movers that carry nothing and note what they were asked, with B's replicas of `db` at that time.
#[derive(Default)]
struct Noting {
    asked: Mutex<Vec<String>>,
    fail_load: std::sync::atomic::AtomicBool,
}

fn proof() -> Proof {
    Proof {
        files: 3,
        bytes: 42,
        digest: "d1".into(),
    }
}

impl Noting {
    fn note(&self, verb: &str, volume: &VolumeMove) {
        let line = format!("{verb} {}", volume.target.name);
        self.asked.lock().unwrap().push(line);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Movers for Noting {
    async fn snapshot(&self, volume: &VolumeMove) -> Result<(), DataError> {
        self.note("snapshot", volume);
        Ok(())
    }

    async fn save(&self, volume: &VolumeMove) -> Result<SavedVolume, DataError> {
        self.note("save", volume);
        Ok(SavedVolume {
            snapshot: "00".into(),
            consistency: volume.consistency,
            proof: proof(),
        })
    }

    async fn load(&self, volume: &VolumeMove, saved: &SavedVolume) -> Result<Proof, DataError> {
        self.note("load", volume);
        if self.fail_load.load(Ordering::Relaxed) {
            return Err(DataError::Claim {
                claim: volume.target.name.clone(),
                reason: "told to fail".into(),
            });
        }
        Ok(saved.proof.clone())
    }

    async fn clean(&self) -> Result<(), DataError> {
        self.asked.lock().unwrap().push("clean".into());
        Ok(())
    }
}

impl Bench {
    async fn new(topic: &str) -> Self {
        ferry::install_crypto();
        let cluster = Cluster::connect(&ConnectOptions::context("b"))
            .await
            .unwrap();
        let surface = survey(&cluster, &Events::silent()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        Self {
            space: Namespace::reserve("b", topic),
            cluster,
            surface,
            store,
            _folder: folder,
            movers: Noting::default(),
            objects: Vec::new(),
            edges: Vec::new(),
            volumes: Vec::new(),
            owners: BTreeMap::new(),
            options: RunOptions {
                patience: Some(Duration::from_secs(60)),
                ..RunOptions::default()
            },
        }
    }

    /// Adds an object to what travels.
    fn add(&mut self, api_version: &str, kind: &str, name: &str, rest: Value) -> ObjectId {
        let mut value = json!({"apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": self.space.name}});
        json_patch::merge(&mut value, &rest);
        let object = Object::new(value).unwrap();
        let id = object.id();
        self.objects.push(object);
        id
    }

    fn deployment(&mut self, name: &str, replicas: i64) -> ObjectId {
        let spec = workload(name, replicas);
        self.add("apps/v1", "Deployment", name, json!({"spec": spec}))
    }

    fn config(&mut self, name: &str) -> ObjectId {
        self.add("v1", "ConfigMap", name, json!({"data": {"key": "value"}}))
    }

    /// A claim whose data travels.
    fn claim(&mut self, name: &str) -> ObjectId {
        let id = self.add(
            "v1",
            "PersistentVolumeClaim",
            name,
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast-late",
                "resources": {"requests": {"storage": "16Mi"}}}}),
        );
        self.volumes.push(Volume {
            claim: id.clone(),
            mode: VolumeMode::Filesystem,
            capacity: 16 << 20,
            storage_class: None,
            driver: None,
            access_modes: Vec::new(),
            node: None,
            mounted_by: Vec::new(),
            saved: None,
        });
        id
    }

    fn edge(&mut self, from: &ObjectId, to: &ObjectId, strength: Strength) {
        self.edges.push(Edge {
            from: from.clone(),
            to: to.clone(),
            strength,
            rule: "E-test".into(),
            path: String::new(),
        });
    }

    async fn plan(&self) -> Plan {
        let capture = Capture {
            id: "20260101-000000-abcd".into(),
            created: "2026-01-01T00:00:00Z".parse().unwrap(),
            namespaces: vec![self.space.name.clone()],
            objects: self
                .objects
                .iter()
                .map(|object| Captured {
                    object: object.clone(),
                    raw: object.clone(),
                    owners: self.owners.get(&object.id()).cloned().unwrap_or_default(),
                })
                .collect(),
            dropped: Vec::new(),
            volumes: self.volumes.clone(),
            surface: self.surface.clone(),
        };
        let transformed = Transformed {
            objects: self.objects.clone(),
            ..Transformed::default()
        };
        let events = Events::silent();
        let target = probe(&self.cluster, &self.surface, &self.objects, &events)
            .await
            .unwrap();
        let mut graph = graph::build(&GraphInput {
            objects: &self.objects,
            crds: &[],
            produced: &[],
            owners: &self.owners,
            on_b: &BTreeSet::new(),
            knowledge: Knowledge::builtin(),
        })
        .unwrap();
        graph.edges.extend(self.edges.clone());
        plan::build(&PlanInput {
            capture: &capture,
            transformed: &transformed,
            recipes: &[],
            graph: &graph,
            surface: &self.surface,
            target: &target,
            findings: &[],
            knowledge: Knowledge::builtin(),
        })
    }

    fn context<'a>(
        &'a self,
        run: &'a str,
        events: &'a Events,
        cancel: &CancellationToken,
    ) -> RunContext<'a, Noting> {
        RunContext {
            run,
            target: &self.cluster,
            files: self.files(),
            movers: &self.movers,
            knowledge: Knowledge::builtin(),
            events,
            cancel: cancel.clone(),
            options: self.options,
        }
    }

    fn files(&self) -> Arc<dyn RunFiles> {
        Arc::new(self.store.clone())
    }

    async fn execute(&self, run: &str) -> RunReport {
        let plan = self.plan().await;
        self.execute_plan(run, &plan).await
    }

    async fn execute_plan(&self, run: &str, plan: &Plan) -> RunReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        restore::execute(plan, &self.context(run, &events, &cancel))
            .await
            .unwrap()
    }

    async fn resume(&self, run: &str) -> RunReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        restore::resume(&self.context(run, &events, &cancel))
            .await
            .unwrap()
    }

    async fn undo(&self, run: &str, delete_data: bool) -> restore::UndoReport {
        let (events, cancel) = (Events::silent(), CancellationToken::new());
        let options = UndoOptions { delete_data };
        restore::undo(&self.context(run, &events, &cancel), options)
            .await
            .unwrap()
    }

    fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.space.name.as_str()];
        all.extend(args);
        kubectl("b", &all)
    }

    fn live(&self, kind: &str, name: &str) -> Value {
        let text = self.kubectl(&["get", kind, name, "-o", "json", "--show-managed-fields"]);
        serde_json::from_str(&text).unwrap()
    }

    /// Name and resource version of everything the tests make.
    fn versions(&self) -> String {
        self.kubectl(&[
            "get",
            "configmaps,deployments,persistentvolumeclaims,cronjobs",
            "-o",
            "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}",
        ])
    }
}

async fn store(folder: &Path) -> Store {
    let url = folder.join("store").to_string_lossy().into_owned();
    Store::init(&url, &Password::new("test")).await.unwrap()
}

fn workload(name: &str, replicas: i64) -> Value {
    json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "ferry.test/pause:1"}]}}})
}

fn run_name() -> String {
    format!("run-{}", unique())
}

fn of(plan: &Plan, kind: &str, word: &str) -> usize {
    plan.steps
        .iter()
        .filter(|step| step.object.kind == kind && step.action.word() == word)
        .count()
}

#[tokio::test]
async fn a_plan_is_executed_in_order_and_a_second_one_changes_nothing() {
    let mut bench = Bench::new("order").await;
    let config = bench.config("settings");
    let web = bench.deployment("web", 2);
    bench.edge(&web, &config, Strength::R);
    let (run, plan) = (run_name(), bench.plan().await);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let events = Events::new(move |event| {
        if let Event::StepFinished { object, .. } = event {
            sink.lock().unwrap().push(object.kind);
        }
    });
    let context = bench.context(&run, &events, &CancellationToken::new());
    let report = restore::execute(&plan, &context).await.unwrap();
    assert!(report.complete(), "{report:?}");
    assert_eq!(report.counts["create"], 3);
    assert_eq!(
        *seen.lock().unwrap(),
        ["Namespace", "ConfigMap", "Deployment"]
    );
    assert_eq!(
        bench.live("deployment", "web")["status"]["availableReplicas"],
        2
    );
    assert_eq!(
        bench.live("configmap", "settings")["metadata"]["labels"][RUN_LABEL],
        run
    );
    let before = bench.versions();
    let again = bench.plan().await;
    assert_eq!(again.pending(), 0, "{:#?}", again.steps);
    let report = bench.execute_plan(&run_name(), &again).await;
    assert!(report.complete());
    assert_eq!(bench.versions(), before);
}

#[tokio::test]
async fn a_run_killed_at_any_step_is_resumed_and_ends_as_if_it_had_not_been() {
    let mut bench = Bench::new("kill").await;
    for number in 0..40 {
        bench.config(&format!("settings-{number:02}"));
    }
    bench.claim("data");
    bench.deployment("web", 1);
    let (run, plan) = (run_name(), bench.plan().await);
    // Killed again and again, a few writes further each time, until it gets through.
    let mut kills = 0;
    loop {
        let count = Arc::new(AtomicUsize::new(0));
        let (reached, mut wait) = tokio::sync::mpsc::unbounded_channel();
        let events = Events::new(move |event| {
            if matches!(event, Event::StepFinished { .. })
                && count.fetch_add(1, Ordering::Relaxed) == 7
            {
                reached.send(()).ok();
            }
        });
        let context = bench.context(&run, &events, &CancellationToken::new());
        let report = tokio::select! {
            biased;
            Some(()) = wait.recv() => None,
            report = async {
                if kills == 0 {
                    restore::execute(&plan, &context).await
                } else {
                    restore::resume(&context).await
                }
            } => Some(report.unwrap()),
        };
        match report {
            None => kills += 1,
            Some(report) => {
                assert!(report.complete(), "{report:?}");
                assert_eq!(report.proofs.len(), 1);
                break;
            }
        }
        assert!(kills < 60, "the run does not get on");
        if kills % 5 == 4 {
            // Sometimes it is left to get on in peace.
            let report = bench.resume(&run).await;
            assert!(report.complete(), "{report:?}");
            break;
        }
    }
    assert!(kills > 0);
    assert_eq!(bench.plan().await.pending(), 0);
    assert_eq!(bench.live("deployment", "web")["spec"]["replicas"], 1);
    let undone = bench.undo(&run, true).await;
    assert_eq!(undone.left, []);
}

#[tokio::test]
async fn a_workload_is_held_until_its_data_arrived_and_released_through_scale() {
    let mut bench = Bench::new("hold").await;
    let claim = bench.claim("data");
    let web = bench.deployment("web", 2);
    bench.edge(&web, &claim, Strength::R);
    bench.add(
        "batch/v1",
        "CronJob",
        "mail",
        json!({"spec": {"schedule": "0 0 1 1 *",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": "ferry.test/pause:1"}]}}}}}}),
    );
    bench.movers.fail_load.store(true, Ordering::Relaxed);
    let run = run_name();
    let report = bench.execute(&run).await;
    assert!(!report.complete());
    assert_eq!(report.failed.len(), 1);
    assert!(
        report.failed[0].reason.contains("told to fail"),
        "{report:?}"
    );
    assert_eq!(report.skipped.len(), 2, "{report:?}");
    let held = bench.live("deployment", "web");
    assert_eq!(held["spec"]["replicas"], 0);
    assert_eq!(
        held["metadata"]["annotations"][stamp::REPLICAS_ANNOTATION],
        "2"
    );
    assert_eq!(bench.live("cronjob", "mail")["spec"]["suspend"], true);
    assert_eq!(
        bench.live("pvc", "data")["metadata"]["annotations"][stamp::DATA_ANNOTATION],
        "pending"
    );
    // A new plan loads the data too: a claim that exists is not a claim that is full.
    assert_eq!(of(&bench.plan().await, "PersistentVolumeClaim", "load"), 1);
    assert_eq!(bench.movers.asked(), ["save data", "load data"]);

    bench.movers.fail_load.store(false, Ordering::Relaxed);
    let report = bench.resume(&run).await;
    assert!(report.complete(), "{report:?}");
    assert_eq!(bench.movers.asked(), ["load data", "clean"]);
    let released = bench.live("deployment", "web");
    assert_eq!(released["spec"]["replicas"], 2);
    assert_eq!(
        released["metadata"]["annotations"].get(stamp::REPLICAS_ANNOTATION),
        None
    );
    let owners: Vec<&str> = released["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some())
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    assert_eq!(owners, [restore::SCALE_MANAGER]);
    assert_eq!(bench.live("cronjob", "mail")["spec"]["suspend"], false);
    assert_eq!(
        bench.live("pvc", "data")["metadata"]["annotations"][stamp::DATA_ANNOTATION],
        "d1"
    );
    assert_eq!(bench.plan().await.pending(), 0);
    // Whoever scales it afterwards is right.
    bench.kubectl(&["scale", "deployment", "web", "--replicas=1"]);
    assert_eq!(bench.plan().await.pending(), 0);
    let (events, cancel) = (Events::silent(), CancellationToken::new());
    let verified = restore::verify(&bench.context(&run, &events, &cancel))
        .await
        .unwrap();
    assert_eq!(verified.wrong, BTreeMap::new());
    assert_eq!(verified.proofs.len(), 1);
}

#[tokio::test]
async fn an_undone_run_leaves_nothing_but_data_unless_told() {
    let mut bench = Bench::new("undo").await;
    bench.config("settings");
    bench.claim("data");
    let run = run_name();
    assert!(bench.execute(&run).await.complete());
    let undone = bench.undo(&run, false).await;
    let left: Vec<String> = undone
        .left
        .iter()
        .map(|left| left.object.kind.clone())
        .collect();
    assert_eq!(left, ["PersistentVolumeClaim", "Namespace"], "{undone:?}");
    assert_eq!(undone.deleted.len(), 1);
    let undone = bench.undo(&run, true).await;
    assert_eq!(undone.left, []);
    let names = kubectl("b", &["get", "namespaces", "-o", "name"]);
    assert!(!names.contains(&bench.space.name), "{names}");
    let (events, cancel) = (Events::silent(), CancellationToken::new());
    let error = restore::resume(&bench.context(&run, &events, &cancel))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("was undone"), "{error}");
}

#[tokio::test]
async fn an_undo_gives_changed_objects_their_content_back_unless_somebody_changed_them_since() {
    let mut bench = Bench::new("back").await;
    kubectl("b", &["create", "namespace", &bench.space.name]);
    for name in ["mine", "theirs"] {
        bench.config(name);
        // Ferry's own from an earlier time, so that there is no conflict.
        bench.kubectl(&[
            "create",
            "configmap",
            name,
            "--from-literal=key=old",
            "--from-literal=extra=1",
        ]);
    }
    bench.options.force_conflicts = true;
    let run = run_name();
    let report = bench.execute(&run).await;
    assert!(report.complete(), "{report:?}");
    assert_eq!(report.counts["update"], 2);
    assert_eq!(bench.live("configmap", "mine")["data"]["key"], "value");
    bench.kubectl(&[
        "patch",
        "configmap",
        "theirs",
        "-p",
        "{\"data\":{\"key\":\"newer\"}}",
    ]);
    let undone = bench.undo(&run, false).await;
    assert_eq!(undone.restored.len(), 1);
    assert_eq!(undone.left.len(), 1);
    assert_eq!(undone.left[0].reason, "it was changed since");
    assert_eq!(
        bench.live("configmap", "mine")["data"],
        json!({"key": "old", "extra": "1"})
    );
    assert_eq!(bench.live("configmap", "theirs")["data"]["key"], "newer");
}

#[tokio::test]
async fn fields_of_another_manager_are_not_taken_unless_told() {
    let mut bench = Bench::new("conflict").await;
    kubectl("b", &["create", "namespace", &bench.space.name]);
    bench.kubectl(&[
        "create",
        "configmap",
        "settings",
        "--from-literal=key=theirs",
    ]);
    bench.config("settings");
    bench.config("other");
    let report = bench.execute(&run_name()).await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    let reason = &report.failed[0].reason;
    assert!(
        reason.contains("kubectl-create") && reason.contains(".data.key"),
        "{reason}"
    );
    assert!(reason.contains("--force-conflicts"), "{reason}");
    assert_eq!(report.counts["create"], 1);
    assert_eq!(bench.live("configmap", "settings")["data"]["key"], "theirs");
    bench.options.force_conflicts = true;
    assert!(bench.execute(&run_name()).await.complete());
    assert_eq!(bench.live("configmap", "settings")["data"]["key"], "value");
}

#[tokio::test]
async fn what_changed_after_the_plan_is_not_written() {
    let mut bench = Bench::new("stale").await;
    kubectl("b", &["create", "namespace", &bench.space.name]);
    for name in ["appeared", "changed", "touched"] {
        bench.config(name);
    }
    bench.options.force_conflicts = true;
    for name in ["changed", "touched"] {
        bench.kubectl(&["create", "configmap", name, "--from-literal=key=old"]);
    }
    let plan = bench.plan().await;
    bench.kubectl(&[
        "create",
        "configmap",
        "appeared",
        "--from-literal=key=theirs",
    ]);
    bench.kubectl(&[
        "patch",
        "configmap",
        "changed",
        "-p",
        "{\"data\":{\"more\":\"1\"}}",
    ]);
    // A new resource version alone is no change.
    bench.kubectl(&["annotate", "configmap", "touched", "ferry.dev/x=1"]);
    let report = bench.execute_plan(&run_name(), &plan).await;
    let reasons: BTreeMap<&str, &str> = report
        .failed
        .iter()
        .map(|failure| (failure.object.name.as_str(), failure.reason.as_str()))
        .collect();
    assert_eq!(reasons.len(), 2, "{report:?}");
    assert!(
        reasons["appeared"].contains("made after the plan"),
        "{reasons:?}"
    );
    assert!(
        reasons["changed"].contains("changed after the plan"),
        "{reasons:?}"
    );
    assert_eq!(bench.live("configmap", "touched")["data"]["key"], "value");
    assert_eq!(bench.live("configmap", "appeared")["data"]["key"], "theirs");
}

#[tokio::test]
async fn what_does_not_become_ready_says_why_and_stops_only_what_needs_it() {
    let mut bench = Bench::new("late").await;
    let mut spec = workload("stuck", 1);
    spec["template"]["spec"]["nodeSelector"] = json!({"no": "such-node"});
    let stuck = bench.add("apps/v1", "Deployment", "stuck", json!({"spec": spec}));
    let needy = bench.config("needy");
    bench.edge(&needy, &stuck, Strength::H);
    bench.config("free");
    bench.options.patience = Some(Duration::from_secs(4));
    let report = bench.execute(&run_name()).await;
    assert_eq!(report.failed.len(), 1, "{report:?}");
    let reason = &report.failed[0].reason;
    assert!(
        reason.contains("not ready after 4 s: 0 of 1 replicas available"),
        "{reason}"
    );
    assert!(reason.contains("FailedScheduling"), "{reason}");
    let skipped: Vec<&str> = report
        .skipped
        .iter()
        .map(|skipped| skipped.object.name.as_str())
        .collect();
    assert_eq!(skipped, ["needy"]);
    assert_eq!(report.counts["create"], 2);
    let next = report.next().unwrap();
    assert!(next.starts_with("ferry runs resume run-"), "{next}");
}

#[tokio::test]
async fn a_stopped_run_starts_nothing_more_and_can_be_resumed() {
    let mut bench = Bench::new("stop").await;
    bench.config("settings");
    bench.deployment("web", 1);
    let (run, plan) = (run_name(), bench.plan().await);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let events = Events::new(move |event| {
        if matches!(&event, Event::StepFinished { object, .. } if object.kind == "ConfigMap") {
            stop.cancel();
        }
    });
    let report = restore::execute(&plan, &bench.context(&run, &events, &cancel))
        .await
        .unwrap();
    assert_eq!(
        (report.failed.len(), report.unfinished),
        (0, 1),
        "{report:?}"
    );
    assert!(
        !bench
            .kubectl(&["get", "deployments", "-o", "name"])
            .contains("web")
    );
    let report = bench.resume(&run).await;
    assert!(report.complete(), "{report:?}");
}

#[tokio::test]
async fn a_variable_that_is_set_twice_travels_although_apply_refuses_it() {
    let mut bench = Bench::new("twice").await;
    let mut spec = workload("web", 1);
    spec["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    bench.add("apps/v1", "Deployment", "web", json!({"spec": spec}));
    let report = bench.execute(&run_name()).await;
    assert!(report.complete(), "{report:?}");
    let live = bench.live("deployment", "web");
    let env = live["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    assert_eq!(env.len(), 2);
    assert_eq!(bench.plan().await.pending(), 0);
}

#[tokio::test]
async fn saved_data_is_only_loaded() {
    let mut bench = Bench::new("saved").await;
    bench.claim("data");
    bench.volumes[0].saved = Some(SavedVolume {
        snapshot: "00".into(),
        consistency: Consistency::Live,
        proof: proof(),
    });
    let plan = bench.plan().await;
    assert!(
        !plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Save(_)))
    );
    let report = bench.execute_plan(&run_name(), &plan).await;
    assert!(report.complete(), "{report:?}");
    assert_eq!(bench.movers.asked(), ["load data", "clean"]);
}

#[tokio::test]
async fn owners_are_linked_again_by_the_uid_they_have_on_b() {
    let mut bench = Bench::new("owner").await;
    // Data comes before its owner and is linked afterwards; all else comes after it.
    let data = bench.config("data");
    let account = bench.add("v1", "ServiceAccount", "account", json!({}));
    let whole = bench.deployment("whole", 0);
    for part in [data, account] {
        let reference = Owner {
            id: whole.clone(),
            controller: false,
            block_deletion: true,
        };
        bench.owners.insert(part, vec![reference]);
    }
    assert!(bench.execute(&run_name()).await.complete());
    let whole = bench.live("deployment", "whole");
    for (kind, name) in [("configmap", "data"), ("serviceaccount", "account")] {
        let part = bench.live(kind, name);
        let owner = &part["metadata"]["ownerReferences"][0];
        assert_eq!(owner["uid"], whole["metadata"]["uid"], "{kind}");
        assert_eq!(owner["blockOwnerDeletion"], true);
    }
    assert_eq!(bench.plan().await.pending(), 0);
}
