//! Claims that one pod mounts: one mover carries them, to where one node reaches both, and one's failure is its own.

use std::time::Duration;

use ferry::capture::{self, SavedVolume, Selection};
use ferry::data::{ClusterMovers, Movers};
use ferry::event::{Direction, Events};
use ferry::knowledge::Knowledge;
use ferry::object::ObjectId;
use ferry::plan::{Grouping, Unprivileged, VolumeMove};
use serde_json::Value;

use crate::data::{Pair, bucket, empty};
use crate::support::{Namespace, apply, kubectl, testbed};

/// A claim of a class that waits for the first pod.
fn claim(context: &str, space: &Namespace, class: &str, name: &str) {
    apply(
        context,
        &format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}, namespace: {}}}, \
             spec: {{accessModes: [ReadWriteOnce], storageClassName: {class}, \
             resources: {{requests: {{storage: 64Mi}}}}}}}}",
            space.name,
        ),
    );
}

/// A pod on some claims that stays up.
fn start(context: &str, space: &Namespace, pod: &str, claims: &[&str]) {
    let volumes: Vec<String> = claims
        .iter()
        .map(|claim| format!("{{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}"))
        .collect();
    let mounts: Vec<String> = claims
        .iter()
        .map(|claim| format!("{{name: {claim}, mountPath: /{claim}}}"))
        .collect();
    apply(
        context,
        &format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, namespace: {}}}, spec: \
             {{terminationGracePeriodSeconds: 0, volumes: [{}], containers: [{{name: app, \
             image: \"{}/library/busybox:1\", command: [sleep, \"3600\"], volumeMounts: [{}]}}]}}}}",
            space.name,
            volumes.join(", "),
            testbed("FERRY_TESTBED_REGISTRY"),
            mounts.join(", "),
        ),
    );
    let ready = format!("pod/{pod}");
    let wait = ["wait", "--for=condition=Ready", &ready, "--timeout=120s"];
    kubectl(context, &[&["-n", &space.name], &wait[..]].concat());
}

fn sh(context: &str, space: &Namespace, pod: &str, script: &str) -> String {
    kubectl(
        context,
        &["-n", &space.name, "exec", pod, "--", "sh", "-ec", script],
    )
}

/// The run's movers on B.
fn movers_on_b(pair: &Pair) -> Vec<Value> {
    let label = format!("ferry.dev/mover={}", pair.run);
    let list = kubectl("b", &["get", "pods", "-A", "-l", &label, "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn containers(pod: &Value) -> usize {
    pod["spec"]["containers"].as_array().unwrap().len()
}

/// Begins a load and drops it, as a killed process would, when its mover is there. Hands out that mover.
async fn killed(
    movers: &ClusterMovers,
    pair: &Pair,
    loads: &[(&VolumeMove, &SavedVolume)],
) -> Value {
    let seen = async {
        loop {
            if let Some(pod) = movers_on_b(pair).pop() {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        biased;
        pod = seen => pod,
        done = movers.load(loads) => panic!("nobody saw its mover: {done:?}"),
    }
}

/// What the capture of A says is to be moved, and to where.
async fn moves(pair: &Pair) -> Vec<VolumeMove> {
    let selection = Selection {
        namespaces: vec![pair.on_a.name.clone()],
        ..Selection::default()
    };
    let (knowledge, events) = (Knowledge::builtin(), Events::silent());
    let capture = capture::take(&pair.a, &selection, knowledge, &events)
        .await
        .unwrap();
    let on_b = |claim: &ObjectId| {
        ObjectId::namespaced("", "PersistentVolumeClaim", &pair.on_b.name, &claim.name)
    };
    let (privileges, knowledge) = (Unprivileged::default(), Knowledge::builtin());
    let mut moves = VolumeMove::saving(&capture, privileges, Grouping::Off, knowledge);
    for volume in &mut moves {
        volume.target = on_b(&volume.source);
        volume.with = volume.with.iter().map(on_b).collect();
    }
    moves
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_mounts_together_has_one_mover_and_fails_and_resumes_alone() {
    let pair = Pair::new().await;
    for name in ["data", "free", "log"] {
        claim("a", &pair.on_a, "cow-late", name);
    }
    start("a", &pair.on_a, "app", &["data", "log"]);
    start("a", &pair.on_a, "other", &["free"]);
    sh(
        "a",
        &pair.on_a,
        "app",
        "head -c 3000000 /dev/urandom >/data/big; echo log >/log/file; sync",
    );
    sh("a", &pair.on_a, "other", "echo free >/free/file; sync");
    let moves = moves(&pair).await;
    let [data, free, log] = &moves[..] else {
        panic!("{moves:?}");
    };
    assert_eq!(
        (&data.with, &log.with),
        (&vec![log.target.clone()], &vec![data.target.clone()])
    );
    assert!(free.with.is_empty() && !free.travels_with(data) && log.travels_with(data));

    let store = bucket().await;
    let movers = || pair.movers(&store, Events::silent());
    let first = movers();
    for volume in &moves {
        first.snapshot(volume).await.unwrap();
    }
    let saved: Vec<SavedVolume> = first
        .save(&[data, log])
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    let alone = first.save(&[free]).await.pop().unwrap().unwrap();

    for name in ["data", "free", "log"] {
        claim("b", &pair.on_b, "fast-late", name);
    }
    let both = [(data, &saved[0]), (log, &saved[1])];
    assert_eq!(
        containers(&killed(&first, &pair, &both).await),
        2,
        "one mover for both"
    );
    assert_eq!(movers_on_b(&pair).len(), 1);

    let nothing = empty();
    let mut results = movers()
        .load(&[(data, &saved[0]), (log, &nothing)])
        .await
        .into_iter();
    assert_eq!(results.next().unwrap().unwrap().proof, saved[0].proof);
    let error = results.next().unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("{}/log", pair.on_b.name)),
        "{error}"
    );

    // Its sibling has a volume by now, and it is bound to follow that.
    let late = killed(&movers(), &pair, &[(log, &saved[1])]).await;
    let volume = kubectl(
        "b",
        &[
            "-n",
            &pair.on_b.name,
            "get",
            "pvc",
            "data",
            "-o",
            "jsonpath={.spec.volumeName}",
        ],
    );
    let volume: Value =
        serde_json::from_str(&kubectl("b", &["get", "pv", &volume, "-o", "json"])).unwrap();
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    let demanded = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    assert!(terms.is_array(), "{volume}");
    assert_eq!(late.pointer(demanded), Some(terms));
    let resumed = movers();
    for (volume, saved) in [(log, &saved[1]), (free, &alone)] {
        let loaded = resumed.load(&[(volume, saved)]).await.pop().unwrap();
        assert_eq!(loaded.unwrap().proof, saved.proof);
    }

    let standing = movers();
    standing
        .stand_by(&[data, log], Direction::Load)
        .await
        .unwrap();
    let stands = movers_on_b(&pair);
    assert_eq!(
        stands.iter().map(containers).collect::<Vec<_>>(),
        [2],
        "one stands by for both"
    );
    for (loaded, saved) in standing.load(&both).await.into_iter().zip(&saved) {
        assert_eq!(loaded.unwrap().proof, saved.proof);
    }
    assert!(standing.took(log, Direction::Load).is_some());

    start("b", &pair.on_b, "app", &["data", "log"]);
    let sums = "sha256sum </data/big; cat /log/file";
    assert_eq!(
        sh("b", &pair.on_b, "app", sums),
        sh("a", &pair.on_a, "app", sums)
    );
    movers().clean().await.unwrap();
    pair.assert_clean();
}
