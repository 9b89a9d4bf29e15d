//! Volumes of users who may have no privileged pods: movers keep to Pod Security's `restricted` level, beside the
//! application and as its user, and what that loses is declared.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::migrate::Running;
use crate::support::{apply, kubectl, run, testbed, unique};
use crate::trip::Trip;

/// A claim, and pods that use it as user 1000 at the restricted level.
const APPLICATION: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: CLASS, resources: {requests: {storage: 128Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext:
        {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000,
         fsGroupChangePolicy: OnRootMismatch, seccompProfile: {type: RuntimeDefault}}
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
      containers:
      - name: app
        image: registry-a.testbed:5000/library/busybox:1
        command: [sleep, '86400']
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: data, mountPath: /data}]
";

/// An application before it is deployed.
const NOTHING: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: NAMESPACE}}";

/// What the application's user may make.
const FILL: &str = "cd /data; mkdir -p deep/er closed; head -c 3000000 /dev/urandom >big; echo x >deep/er/file; \
     ln -s ../big deep/link; ln big deep/hard; mkfifo pipe; chmod 640 big; echo own >own; chmod 4750 own; \
     echo y >closed/file; chmod 400 closed/file; chmod 555 closed; touch -d '2001-02-03 04:05:06' deep/er; sync";

/// A pod that is root, for what only root can make.
const ROOT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: root, namespace: NAMESPACE}
spec:
  restartPolicy: Never
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
  containers:
  - name: c
    image: registry-a.testbed:5000/library/busybox:1
    command: [sh, -ec, 'cd /data; echo theirs >theirs; chown 7:2000 theirs; chmod 6754 theirs; chown 0:2000 .; chmod 2775 .']
    volumeMounts: [{name: data, mountPath: /data}]
";

/// Everything about every entry but the time of the root, which is the storage's.
const LIST: &str = "cd /data; stat -c '%n %f %u %g' .; \
     find . -path ./lost+found -prune -o ! -path . -exec stat -c '%n %f %u %g %Y %N' {} + | sort; \
     find . ! -type d -exec stat -c '%n %h' {} + | sort; \
     find . -path ./lost+found -prune -o -type f -exec sha256sum {} + | sort";

fn restrict(namespace: &str) {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    kubectl("a", &["label", "namespace", namespace, label]);
}

fn deploy(trip: &Trip, class: &str) {
    let application = APPLICATION.replace("NAMESPACE", &trip.from);
    apply("a", &application.replace("CLASS", class));
    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl("a", &[&["-n", &trip.from][..], &ready].concat());
}

fn inside(trip: &Trip, script: &str) -> String {
    at("a", &trip.from, script)
}

fn at(context: &str, namespace: &str, script: &str) -> String {
    let exec = ["exec", "deploy/app", "--", "sh", "-ec", script];
    kubectl(context, &[&["-n", namespace][..], &exec].concat())
}

/// Neither a namespace of Ferry's nor anything its movers work with is on either cluster.
#[track_caller]
fn assert_clean(trip: &Trip, run: &str) {
    trip.assert_clean(run);
    let label = format!("ferry.dev/mover={run}");
    let kinds = "pods,secrets,persistentvolumeclaims,volumesnapshots";
    for context in ["a", "b"] {
        let left = kubectl(context, &["get", kinds, "-A", "-l", &label, "-o", "name"]);
        assert_eq!(left, "", "left on {context}");
    }
}

/// A rule of cluster B's that one user may not make privileged namespaces; taken away at the end.
struct Policy {
    name: String,
    user: String,
}

impl Policy {
    fn new() -> Self {
        let name = format!("it-{}", unique());
        let policy = Self {
            user: format!("{name}-user"),
            name,
        };
        let text = POLICY.replace("NAME", &policy.name);
        apply("b", &text.replace("USER", &policy.user));
        policy
    }

    /// The testbed's kubeconfig, with the user's name on cluster B.
    fn kubeconfig(&self, trip: &Trip) -> String {
        let text = kubectl("b", &["config", "view", "--raw", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        let list = |key: &str| config[key].as_array().expect("a list").clone();
        let (contexts, mut users) = (list("contexts"), list("users"));
        let of_b = contexts.iter().find(|context| context["name"] == "b");
        let user = of_b.expect("the testbed has b")["context"]["user"].clone();
        let user = users.iter_mut().find(|one| one["name"] == user);
        let user = &mut user.expect("the testbed has its user")["user"];
        user["as"] = self.user.clone().into();
        user["as-groups"] = serde_json::json!(["system:masters"]);
        config["users"] = users.into();
        trip.write("kubeconfig", &config.to_string())
            .display()
            .to_string()
    }

    /// Waits until the cluster keeps it.
    fn holds(&self, kubeconfig: &str) {
        let manifest = "{apiVersion: v1, kind: Namespace, metadata: {name: ferry-x, labels: \
                        {pod-security.kubernetes.io/enforce: privileged}}}";
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let script = format!(
                "echo '{manifest}' | {} --kubeconfig {kubeconfig} --context b create --dry-run=server -f -",
                testbed("FERRY_TESTBED_KUBECTL")
            );
            if run(Command::new("sh").args(["-c", &script])).code != 0 {
                return;
            }
            assert!(Instant::now() < end, "the policy does not hold");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
        delete.args(["--context", "b", "delete", "--wait=false"]);
        let kinds = "validatingadmissionpolicies,validatingadmissionpolicybindings";
        drop(delete.args([kinds, &self.name]).output());
    }
}

const POLICY: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [namespaces]}]
  matchConditions: [{name: who, expression: \"request.userInfo.username == 'USER'\"}]
  validations:
  - expression: \"object.metadata.?labels['pod-security.kubernetes.io/enforce'].orValue('') != 'privileged'\"
    message: no privileged namespaces for you
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAME}
spec: {policyName: NAME, validationActions: [Deny]}
";

#[test]
fn who_may_have_no_privileged_namespace_is_told_and_moves_a_restricted_application_without() {
    let trip = Trip::of("restricted", NOTHING);
    restrict(&trip.from);
    deploy(&trip, "cow-ext4");
    trip.recipe("- storageClass: {map: {cow-ext4: fast-late}}\n");
    inside(&trip, FILL);
    let before = inside(&trip, LIST);
    let policy = Policy::new();
    let file = policy.kubeconfig(&trip);
    policy.holds(&file);
    run(&mut trip.migrate(&["--kubeconfig", &file]))
        .exits(3)
        .shows("C-70")
        .shows("no privileged namespaces for you")
        .shows("--unprivileged");
    trip.assert_nothing_written();

    let unprivileged = ["--kubeconfig", &file, "--unprivileged", "-o", "json"];
    let mut running = Running::start(trip.migrate(&unprivileged));
    running.until("load", |line| {
        serde_json::from_str::<Value>(line)
            .is_ok_and(|said| said["event"] == "volume" && said["direction"] == "load")
    });
    running.signal("-KILL");
    assert_eq!(running.end().code, -1);
    let (name, _) = trip.newest_run();
    run(&mut trip.ferry(&["runs", "resume", &name, "--kubeconfig", &file])).exits(0);
    assert_clean(&trip, &name);
    for context in ["a", "b"] {
        let own = format!("ferry-{name}");
        let found = kubectl(context, &["get", "events", "-n", &own, "-o", "name"]);
        assert_eq!(found, "", "something was done in {own} on {context}");
    }
    assert_eq!(before, inside(&trip, LIST), "the source was touched");
    assert_eq!(before, at("b", &trip.to.name, LIST));

    inside(
        &trip,
        "echo z >/data/unreadable; chmod 000 /data/unreadable",
    );
    let capture = ["capture", "--from", "a", "-n", &trip.from, "--unprivileged"];
    run(&mut trip.ferry(&capture))
        .exits(4)
        .says("`/unreadable`")
        .says("runs as user 1000, group 1000")
        .says("--mover-user");
    let left = [
        "get",
        "pods,secrets,pvc,volumesnapshots",
        "-l",
        "ferry.dev/mover",
        "-o",
        "name",
    ];
    let left = kubectl("a", &[&["-n", &trip.from][..], &left].concat());
    assert_eq!(left, "");
}

#[test]
fn files_of_two_owners_are_refused_without_privileges_until_that_loss_is_accepted() {
    let root = format!(
        "{ROOT}---{}",
        APPLICATION.split("---").next().expect("the claim")
    );
    let trip = Trip::of("owners", &root.replace("CLASS", "standard"));
    let done = [
        "wait",
        "pod/root",
        "--for=jsonpath={.status.phase}=Succeeded",
        "--timeout=90s",
    ];
    kubectl("a", &[&["-n", &trip.from][..], &done].concat());
    kubectl("a", &["-n", &trip.from, "delete", "pod", "root"]);
    restrict(&trip.from);
    deploy(&trip, "standard");
    trip.recipe("- storageClass: {map: {standard: fast-ext4}}\n");
    inside(&trip, "echo mine >/data/mine");
    let before = inside(&trip, LIST);
    run(&mut trip.migrate(&["--unprivileged"]))
        .exits(4)
        .says(
            "read as user 1000, group 1000 and written as user 1000, group 1000 without privileges",
        )
        .shows("nothing was written")
        .shows("--accept-loss owner --accept-loss mode");
    let (name, _) = trip.newest_run();
    let accept = ["--accept-loss", "owner", "--accept-loss", "mode"];
    run(trip.ferry(&["runs", "resume", &name]).args(accept))
        .exits(0)
        .says("as accepted, not every owner, mode");
    assert_clean(&trip, &name);
    assert_eq!(before, inside(&trip, LIST), "the source was touched");
    let after = at("b", &trip.to.name, LIST);
    let theirs = |data: &str, attributes: &str| {
        let mut lines = data.lines();
        lines.any(|line| line.starts_with(&format!("./theirs {attributes} ")))
    };
    assert!(theirs(&before, "8dec 7 2000"), "{before}");
    assert!(theirs(&after, "85ec 1000 2000"), "{after}");
    let rest = |data: &str| {
        let lines = data.lines().filter(|line| !line.starts_with("./theirs "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rest(&before), rest(&after));

    // Rights in the namespace alone are enough.
    let words = format!(
        "-n {} create rolebinding limited --clusterrole=admin --serviceaccount={}:default",
        trip.from, trip.from
    );
    kubectl("a", &words.split(' ').collect::<Vec<_>>());
    let token = kubectl("a", &["-n", &trip.from, "create", "token", "default"]);
    let text = kubectl("a", &["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for user in config["users"].as_array_mut().expect("a list") {
        *user = serde_json::json!({"name": user["name"], "user": {"token": token.trim()}});
    }
    let file = trip
        .write("kubeconfig", &config.to_string())
        .display()
        .to_string();
    let capture = [
        "capture",
        "--from",
        "a",
        "-n",
        &trip.from,
        "--allow-incomplete",
        "--kubeconfig",
        &file,
    ];
    run(&mut trip.ferry(&capture))
        .exits(6)
        .says("--unprivileged");
    run(trip.ferry(&capture).arg("--unprivileged")).exits(0);
}

#[test]
fn a_restricted_application_is_synced_twice_and_cut_over_without_privileges() {
    let trip = Trip::of("warm", NOTHING);
    restrict(&trip.from);
    deploy(&trip, "cow");
    inside(&trip, FILL);
    let recipe = trip.path("recipe.yaml").display().to_string();
    let warm = |command: &str| {
        let mut ferry = trip.ferry(&[command, "--from", "a", "--to", "b", "--yes"]);
        ferry.args(["-n", &trip.from, "-r", &recipe, "--unprivileged"]);
        run(&mut ferry).exits(0);
        assert_clean(&trip, &trip.newest_run().0);
    };
    warm("sync");
    let change = "cd /data; chmod 755 closed; echo more >closed/more; chmod 555 closed; rm deep/er/file; \
                  chmod 600 closed/file; echo yy >closed/file; chmod 400 closed/file; sync";
    inside(&trip, change);
    warm("sync");
    inside(&trip, "echo last >/data/last; rm /data/own; sync");
    let before = inside(&trip, LIST);
    warm("cutover");
    assert_eq!(before, at("b", &trip.to.name, LIST));
}
