//! What the tests stand on: the clusters, the binary, namespaces of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A finished command.
#[derive(Debug)]
pub struct Done {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Done {
    /// Asserts the exit code and hands the command on.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Asserts that stderr says something.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "{text:?} is not in stderr:\n{}",
            self.stderr
        );
        self
    }

    /// Asserts that stdout shows something.
    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "{text:?} is not in stdout:\n{}",
            self.stdout
        );
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in stdout:\n{}", self.stdout))
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Done {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary under test: the one whose image is in the registry, else the one just compiled.
pub fn binary() -> PathBuf {
    std::env::var_os("FERRY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ferry").into(), PathBuf::from)
}

/// `ferry ARGS`, to be run.
pub fn ferry(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .env("NO_COLOR", "1")
        .env_remove("FERRY_STORE")
        .env_remove("FERRY_OUTPUT");
    if let Ok(endpoint) = std::env::var("FERRY_TESTBED_S3_ENDPOINT") {
        command.env("AWS_ENDPOINT_URL", endpoint);
    }
    command
}

/// The image the clusters pull: the one `tests/run.sh` pushed, else this build's.
pub fn mover_image() -> String {
    std::env::var("FERRY_MOVER_IMAGE").unwrap_or_else(|_| {
        let reference = format!("{}/it/mover:data", testbed("FERRY_TESTBED_REGISTRY"));
        run(&mut ferry(&[
            "mover",
            "push",
            &reference,
            "--plain-http",
            "--output",
            "json",
        ]))
        .exits(0)
        .json()["image"]
            .as_str()
            .expect("an image")
            .into()
    })
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A value the testbed exports.
///
/// # Panics
/// When the testbed is not up: these tests have nothing to stand in for it.
#[track_caller]
pub fn testbed(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: run tests/run.sh, or `tests/testbed/testbed up` and \
             `eval \"$(tests/testbed/testbed env)\"`"
        )
    })
}

/// Host and port at which a server of a test's own can be reached by pods too; nobody listens there now.
pub fn free_address() -> (String, u16) {
    let shared = url::Url::parse(&testbed("FERRY_TESTBED_S3_ENDPOINT")).unwrap();
    let host = shared.host_str().unwrap().to_owned();
    let listener = std::net::TcpListener::bind((host.as_str(), 0)).unwrap();
    (host, listener.local_addr().unwrap().port())
}

/// `kubectl --context CONTEXT ARGS`, run; must succeed.
#[track_caller]
pub fn kubectl(context: &str, args: &[&str]) -> String {
    testbed("KUBECONFIG");
    run(Command::new(testbed("FERRY_TESTBED_KUBECTL"))
        .args(["--context", context])
        .args(args))
    .exits(0)
    .stdout
}

/// Waits for the end of a run's own namespace, which Ferry asks for and does not wait for.
#[track_caller]
pub fn own_namespace_goes(context: &str, run: &str) {
    let name = format!("namespace/ferry-{run}");
    kubectl(context, &["wait", "--for=delete", &name, "--timeout=60s"]);
}

/// `kubectl apply -f -`; must succeed.
#[track_caller]
pub fn apply(context: &str, manifest: &str) {
    use std::io::Write as _;
    let mut child = Command::new(testbed("FERRY_TESTBED_KUBECTL"))
        .args(["--context", context, "apply", "--server-side", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("kubectl starts");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(manifest.as_bytes())
        .expect("kubectl reads");
    assert!(
        child.wait().expect("kubectl ends").success(),
        "kubectl apply failed for:\n{manifest}"
    );
}

/// A namespace of the test's own, deleted when the test ends.
#[derive(Debug)]
pub struct Namespace {
    context: &'static str,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes `it-<topic>-<random>` on a cluster.
    #[track_caller]
    pub fn new(context: &'static str, topic: &str) -> Self {
        let space = Self::reserve(context, topic);
        kubectl(context, &["create", "namespace", &space.name]);
        space
    }

    /// A name for a namespace that the test's subject will make; deleted all the same.
    pub fn reserve(context: &'static str, topic: &str) -> Self {
        Self {
            context,
            name: format!("it-{topic}-{}", unique()),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
        delete.args(["--context", self.context, "delete", "namespace", &self.name]);
        drop(delete.args(["--wait=false", "--ignore-not-found"]).output());
    }
}

/// A custom kind of the test's own, deleted when the test ends.
#[derive(Debug)]
pub struct Definition {
    context: &'static str,
    name: String,
}

impl Definition {
    /// Installs a CustomResourceDefinition.
    #[track_caller]
    pub fn new(context: &'static str, definition: &Value) -> Self {
        apply(context, &definition.to_string());
        Self {
            context,
            name: definition["metadata"]["name"].as_str().unwrap().to_owned(),
        }
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        let mut delete = Command::new(testbed("FERRY_TESTBED_KUBECTL"));
        delete.args(["--context", self.context, "delete", "crd", &self.name]);
        drop(delete.args(["--wait=false", "--ignore-not-found"]).output());
    }
}

/// Six letters and digits that no other test has.
pub fn unique() -> String {
    let path = tempfile::Builder::new()
        .prefix("")
        .rand_bytes(6)
        .tempdir()
        .expect("a folder");
    let name = path
        .path()
        .file_name()
        .expect("it has a name")
        .to_string_lossy()
        .to_lowercase();
    format!("{name}{:x}", std::process::id())
}
