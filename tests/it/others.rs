//! The restore engine among others: what somebody else made, changed, owns or works on is neither
//! overwritten nor deleted, by a run or by its undo.

use std::collections::BTreeMap;
use std::time::Duration;

use ferry::event::Events;
use ferry::restore::{self, UndoOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::kubectl;

use crate::bench::{Bench, run_name};

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
        .map(|left| left.object.kind.to_string())
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
        reasons["appeared"].contains("made on the target after this plan; make a new plan"),
        "{reasons:?}"
    );
    assert!(
        reasons["changed"].contains("changed on the target after this plan"),
        "{reasons:?}"
    );
    assert_eq!(bench.live("configmap", "touched")["data"]["key"], "value");
    assert_eq!(bench.live("configmap", "appeared")["data"]["key"], "theirs");
}

#[tokio::test]
async fn w_15_what_somebody_edited_after_the_run_made_it_stays_unless_told() {
    let mut bench = Bench::new("edited").await;
    bench.config("mine");
    bench.config("edited");
    bench.deployment("scaled", 0);
    let run = run_name();
    assert!(bench.execute(&run).await.complete());
    let patch = "{\"data\":{\"more\":\"1\"}}";
    bench.kubectl(&["patch", "configmap", "edited", "-p", patch]);
    let undone = bench.undo(&run, true).await;
    let left: Vec<&str> = undone
        .left
        .iter()
        .map(|left| left.object.name.as_str())
        .collect();
    assert_eq!(left, ["edited", &bench.space.name], "{undone:?}");
    assert!(
        undone.left[0].reason.contains("kubectl-patch"),
        "{undone:?}"
    );
    assert!(undone.left.iter().all(|left| !left.failed), "{undone:?}");
    assert_eq!(bench.live("configmap", "edited")["data"]["more"], "1");
    let options = UndoOptions {
        delete_edited: true,
        ..UndoOptions::default()
    };
    assert_eq!(bench.undo_with(&run, options).await.left, []);
}

#[tokio::test]
async fn a_namespace_another_run_works_on_is_left_alone_until_that_run_is_gone() {
    let mut bench = Bench::new("lease").await;
    kubectl("b", &["create", "namespace", &bench.space.name]);
    bench.config("settings");
    let plan = bench.plan().await;
    let lease = |renewed: &str| {
        format!(
            "{{\"spec\":{{\"holderIdentity\":\"run-other\",\"leaseDurationSeconds\":30,\"renewTime\":\"{renewed}\"}}}}"
        )
    };
    let manifest = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "ferry", "namespace": bench.space.name},
        "spec": {"holderIdentity": "run-other", "leaseDurationSeconds": 30,
            "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let file = bench.store_file("lease.json", &manifest.to_string());
    kubectl("b", &["create", "-f", &file]);
    let run = run_name();
    let (events, cancel) = (Events::silent(), CancellationToken::new());
    let context = bench.context(&run, &events, &cancel);
    let mut second = 0;
    let error = tokio::select! {
        ended = restore::execute(&plan, &context) => ended.unwrap_err(),
        () = async {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                second += 1;
                let renewed = format!("2026-01-01T00:{:02}:{:02}.000000Z", second / 60, second % 60);
                bench.kubectl(&["patch", "lease", "ferry", "--type=merge", "-p", &lease(&renewed)]);
            }
        } => unreachable!(),
    };
    let told = ferry::restore::RestoreError::to_string(&error);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(told.contains("did not begin"), "{told}");
    assert!(cause.contains("run-other works on namespace"), "{cause}");
    let found = bench.kubectl(&["get", "configmaps", "-o", "name"]);
    assert!(!found.contains("settings"), "{found}");
    // The other run ends in good order; ours goes on, and leaves no lease behind.
    bench.kubectl(&["delete", "lease", "ferry"]);
    assert!(bench.resume(&run).await.complete());
    assert_eq!(bench.kubectl(&["get", "leases", "-o", "name"]).trim(), "");
}
