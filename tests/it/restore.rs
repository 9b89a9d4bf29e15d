//! The restore engine on a real API server: order, kill and resume, holds, readiness, owners.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferry::capture::{Consistency, Owner, SavedVolume};
use ferry::event::{Event, Events};
use ferry::graph::Strength;
use ferry::object::GroupKind;
use ferry::plan::{Action, stamp};
use ferry::restore::{self};
use ferry::target::RUN_LABEL;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, of, proof, run_name, workload};
use crate::support::{Definition, unique};

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
            sink.lock().unwrap().push(object.kind.clone());
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
async fn s_70_identity_in_a_status_is_written_back() {
    // A kind of the test's own: others install definitions of their own at the same time.
    let group = format!("{}.example.com", unique());
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": format!("brokers.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": "Broker", "plural": "brokers", "singular": "broker"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]}});
    let _definition = Definition::new("b", &definition);
    let mut bench = Bench::new("status").await;
    bench.until_served(&GroupKind::new(&group, "Broker")).await;
    bench.add(
        &format!("{group}/v1"),
        "Broker",
        "events",
        json!({"spec": {}, "status": {"clusterId": "8Jk"}}),
    );
    let report = bench.execute(&run_name()).await;
    assert!(report.complete(), "{report:?}");
    let live = bench.live(&format!("brokers.{group}"), "events");
    assert_eq!(live["status"]["clusterId"], "8Jk");
    assert_eq!(bench.plan().await.pending(), 0);
}

#[tokio::test]
async fn saved_data_is_only_loaded() {
    let mut bench = Bench::new("saved").await;
    bench.claim("data");
    bench.volumes[0].saved = Some(SavedVolume {
        held: None,
        snapshot: "00".into(),
        consistency: Consistency::Live,
        proof: proof(),
        added: 0,
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
async fn what_a_pod_mounts_is_carried_together_and_the_rest_alone() {
    let mut bench = Bench::new("together").await;
    for (name, pods) in [("data", &["db-0"][..]), ("free", &[]), ("log", &["db-0"])] {
        bench.claim(name);
        let volume = bench.volumes.last_mut().unwrap();
        volume.pods = pods.iter().map(ToString::to_string).collect();
    }
    let report = bench.execute(&run_name()).await;
    assert!(report.complete(), "{report:?}");
    let mut asked = bench.movers.asked();
    asked.sort();
    assert_eq!(
        asked,
        [
            "clean",
            "load data log",
            "load free",
            "save data log",
            "save free"
        ]
    );
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
