//! One application on its way from A to B by the command line: its namespaces, its store, its recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{
    Done, Namespace, apply, ferry, kubectl, mover_image, own_namespace_goes, root, run, testbed,
};

/// What opens every store of these tests.
const PASSWORD: &str = "trip-password";
/// What must never be seen outside of a Secret.
pub const SECRET: &str = "trip-secret-value-41";

/// What travels, and whereto. Everything is removed when it is dropped, runs that failed included.
#[derive(Debug)]
pub struct Trip {
    /// The namespace on A.
    pub from: String,
    /// The namespace on B; the migration makes it.
    pub to: Namespace,
    /// The store's address.
    pub store: String,
    /// For recipes, reports and whatever the test writes.
    pub folder: tempfile::TempDir,
    _home: Option<Namespace>,
}

impl Trip {
    /// The shop, which `examples/shop/deploy.sh a` has opened.
    pub fn shop(topic: &str) -> Self {
        let trip = Self::new("shop", topic, None);
        let recipe = std::fs::read_to_string(root().join("examples/shop/recipe.yaml"))
            .expect("the example's recipe")
            .replace("shop-prod", &trip.to.name)
            .replace(
                "shop.b.example.test",
                &format!("{}.b.example.test", trip.to.name),
            );
        trip.write("recipe.yaml", &recipe);
        trip
    }

    /// An application with settings, a login and a claim, and nothing that runs.
    pub fn objects(topic: &str) -> Self {
        let home = Namespace::new("a", topic);
        let trip = Self::new(&home.name.clone(), topic, Some(home));
        apply("a", &OBJECTS.replace("NAMESPACE", &trip.from));
        let bound = [
            "wait",
            "pvc/data",
            "--for=jsonpath={.status.phase}=Bound",
            "--timeout=60s",
        ];
        kubectl("a", &[&["-n", &trip.from][..], &bound].concat());
        trip.recipe("");
        trip
    }

    /// The same, with a Deployment on the claim and so many megabytes of noise in it.
    pub fn application(topic: &str, megabytes: u32) -> Self {
        let trip = Self::objects(topic);
        apply("a", &DEPLOYMENT.replace("NAMESPACE", &trip.from));
        let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
        kubectl("a", &[&["-n", &trip.from][..], &ready].concat());
        let fill = format!(
            "cd /data; mkdir -p deep/er; for i in 1 2 3 4; do head -c {}000000 /dev/urandom >part$i; done; \
             echo x >deep/er/file; ln -s ../part1 deep/link; chmod 640 part2; chown 7:8 part3; sync",
            megabytes / 4
        );
        kubectl(
            "a",
            &[
                "-n",
                &trip.from,
                "exec",
                "deploy/app",
                "--",
                "sh",
                "-ec",
                &fill,
            ],
        );
        trip
    }

    /// An application of the test's own, from its manifest.
    pub fn of(topic: &str, manifest: &str) -> Self {
        let home = Namespace::new("a", topic);
        let trip = Self::new(&home.name.clone(), topic, Some(home));
        apply("a", &manifest.replace("NAMESPACE", &trip.from));
        trip.recipe("");
        trip
    }

    fn new(from: &str, topic: &str, home: Option<Namespace>) -> Self {
        let to = Namespace::reserve("b", topic);
        let store = format!("s3://{}/{}", testbed("FERRY_TESTBED_S3_BUCKET"), to.name);
        let trip = Self {
            from: from.into(),
            to,
            store,
            folder: tempfile::tempdir().expect("a folder"),
            _home: home,
        };
        run(&mut trip.ferry(&["store", "init"])).exits(0);
        trip
    }

    /// Uses a store in a folder of this machine instead, which no pod can reach.
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.store = folder.display().to_string();
        run(&mut self.ferry(&["store", "init"])).exits(0);
        self
    }

    /// Writes the recipe: what every trip needs, and more transforms.
    pub fn recipe(&self, more: &str) {
        let text = format!(
            "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: trip}}\ntransforms:\n\
             - {{registry: {{map: {{registry-a.testbed:5000: registry-b.testbed:5000}}}}, optional: true}}\n\
             - namespace: {{map: {{{}: {}}}}}\n{}",
            self.from,
            self.to.name,
            if more.is_empty() {
                "- storageClass: {map: {cow: fast}}\n"
            } else {
                more
            },
        );
        self.write("recipe.yaml", &text);
    }

    /// Writes a file into the trip's folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(&path, text).expect("it can be written");
        path
    }

    /// A file of the trip's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `ferry ARGS` with the trip's store.
    pub fn ferry(&self, args: &[&str]) -> Command {
        let mut command = ferry(args);
        command
            .env("FERRY_STORE", &self.store)
            .env("FERRY_PASSWORD", PASSWORD)
            .env_remove("FERRY_PASSWORD_FILE")
            .env("FERRY_MOVER_IMAGE", mover_image());
        command
    }

    /// `ferry migrate --yes` of the trip, between `a` and `b`.
    pub fn migrate(&self, more: &[&str]) -> Command {
        self.migrate_between("a", "b", more)
    }

    /// `ferry migrate --yes` of the trip, between two contexts.
    pub fn migrate_between(&self, from: &str, to: &str, more: &[&str]) -> Command {
        let recipe = self.path("recipe.yaml").display().to_string();
        let mut command = self.ferry(&["migrate", "--from", from, "--to", to, "--yes"]);
        command.args(["-n", &self.from, "-r", &recipe]).args(more);
        command
    }

    /// Debian's `restic` on the trip's repository.
    pub fn restic(&self, args: &[&str]) -> Done {
        let path = self.store.replacen("s3://", "", 1);
        let repository = format!("s3:{}/{path}/repo", testbed("FERRY_TESTBED_S3_ENDPOINT"));
        run(Command::new("restic")
            .args(["--no-cache", "-r", &repository])
            .args(args)
            .env("RESTIC_PASSWORD", PASSWORD))
        .exits(0)
    }

    /// Names, modes, owners and digests of what is in the application's claim.
    pub fn data(&self, context: &str) -> String {
        let namespace = if context == "a" {
            &self.from
        } else {
            &self.to.name
        };
        let list = "cd /data && find . -exec stat -c '%n %f %u %g %N' {} + | sort \
                    && find . -type f -exec sha256sum {} + | sort";
        kubectl(
            context,
            &[
                "-n",
                namespace,
                "exec",
                "deploy/app",
                "--",
                "sh",
                "-ec",
                list,
            ],
        )
    }

    /// The newest run's name and state.
    pub fn newest_run(&self) -> (String, String) {
        let list = run(&mut self.ferry(&["runs", "list", "-o", "json"]))
            .exits(0)
            .json();
        let text = |key: &str| list[0][key].as_str().expect("a run").to_owned();
        (text("run"), text("state"))
    }

    /// Asserts that the namespace on B was not made and that no run has begun.
    #[track_caller]
    pub fn assert_nothing_written(&self) {
        let found = kubectl(
            "b",
            &[
                "get",
                "namespace",
                &self.to.name,
                "--ignore-not-found",
                "-o",
                "name",
            ],
        );
        assert_eq!(found, "", "the namespace was made");
        let runs = run(&mut self.ferry(&["runs", "list", "-o", "json"])).exits(0);
        assert_eq!(runs.json(), Value::Array(Vec::new()), "a run has begun");
    }

    /// Asserts that no namespace, pod, snapshot or volume of Ferry's own work is left of a run.
    #[track_caller]
    pub fn assert_clean(&self, run: &str) {
        let label = format!("ferry.dev/run={run}");
        let kinds = "namespaces,pods,secrets,persistentvolumeclaims,persistentvolumes,\
                     volumesnapshots,volumesnapshotcontents,volumegroupsnapshots";
        for context in ["a", "b"] {
            own_namespace_goes(context, run);
            let found = kubectl(context, &["get", kinds, "-A", "-l", &label, "-o", "json"]);
            let found: Value = serde_json::from_str(&found).expect("JSON");
            // On B, what migrated carries the label too.
            let left: Vec<String> = found["items"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|item| item["metadata"]["namespace"] != self.to.name.as_str())
                .filter(|item| item["metadata"]["name"] != self.to.name.as_str())
                .map(|item| format!("{} {}", item["kind"], item["metadata"]["name"]))
                .collect();
            assert_eq!(left, [""; 0], "left on {context}");
            let contents = kubectl(context, &["get", "volumesnapshotcontents", "-o", "yaml"]);
            assert!(!contents.contains(run), "a snapshot is left on {context}");
        }
    }
}

/// A test that fails leaves nothing of its runs either.
impl Drop for Trip {
    fn drop(&mut self) {
        let listed = run(&mut self.ferry(&["runs", "list", "-o", "json"]));
        let Ok(Value::Array(runs)) = serde_json::from_str(&listed.stdout) else {
            return;
        };
        for name in runs.iter().filter_map(|one| one["run"].as_str()) {
            for context in ["a", "b"] {
                let own = format!("ferry-{name}");
                let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
                delete.args(["--context", context, "delete", "namespace", &own]);
                drop(delete.args(["--wait=false", "--ignore-not-found"]).output());
            }
        }
    }
}

const OBJECTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NAMESPACE}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: NAMESPACE}
stringData: {password: trip-secret-value-41}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: NAMESPACE}
spec: {accessModes: [ReadWriteOnce], storageClassName: cow, resources: {requests: {storage: 512Mi}}}
";

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
      containers:
      - name: app
        image: registry-a.testbed:5000/library/busybox:1
        command: [sleep, '86400']
        envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: login}}]
        volumeMounts: [{name: data, mountPath: /data}]
";
