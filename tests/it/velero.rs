//! Backups that a real Velero made, with its own server and kopia, become captures.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::{Done, ferry, kubectl, run, testbed};
use crate::trip::Trip;

/// Velero on A, removed with what it made whatever happens.
struct Velero {
    prefix: String,
}

impl Velero {
    fn install(prefix: &str) -> Self {
        let velero = Self {
            prefix: prefix.into(),
        };
        velero.testbed(&["velero", "a", prefix]).exits(0);
        velero
    }

    fn testbed(&self, args: &[&str]) -> Done {
        run(Command::new(testbed("FERRY_TESTBED")).args(args))
    }

    fn backup(&self, name: &str, namespace: &str) {
        let program = Path::new(&testbed("FERRY_TESTBED_VELERO")).join("velero");
        let mut command = Command::new(program);
        command.args(["--kubecontext", "a", "backup", "create", name, "--wait"]);
        command.args(["--include-namespaces", namespace]);
        command.arg("--default-volumes-to-fs-backup");
        run(&mut command).exits(0);
    }

    fn url(&self) -> String {
        format!(
            "s3://{}/{}",
            testbed("FERRY_TESTBED_S3_BUCKET"),
            self.prefix
        )
    }
}

impl Drop for Velero {
    fn drop(&mut self) {
        self.testbed(&["velero-remove", "a"]);
    }
}

fn captures(trip: &Trip) -> usize {
    let listed = run(&mut trip.ferry(&["captures", "list", "--output", "json"])).exits(0);
    listed.json().as_array().unwrap().len()
}

#[test]
fn a_backup_of_velero_s_becomes_a_capture_with_its_data_and_goes_to_b() {
    let trip = Trip::application("velero", 8);
    let before = trip.data("a");
    let velero = Velero::install(&format!("velero-{}", trip.from));
    let (name, url) = (trip.from.clone(), velero.url());
    velero.backup(&name, &trip.from);

    let listed = run(&mut ferry(&["store", "import-velero", &url])).exits(0);
    listed.shows(&name).shows("Completed");
    let import = ["store", "import-velero", &url, &name];
    let refused = run(&mut trip.ferry(&import)).exits(5);
    refused.says("the data of 1 volume is in Velero's kopia repositories");
    assert_eq!(captures(&trip), 0);

    let kopia = format!("{}/kopia", testbed("FERRY_TESTBED_VELERO"));
    let with_kopia = [&import[..], &["--kopia", &kopia]].concat();
    let wrong = trip.write("wrong", "not this one\n");
    let wrong = wrong.to_str().unwrap();
    let refused = [&with_kopia[..], &["--kopia-password-file", wrong]].concat();
    let refused = run(&mut trip.ferry(&refused)).exits(4);
    refused
        .says("kopia could not open the repository")
        .says("--kopia-password-file");
    assert_eq!(captures(&trip), 0);
    run(&mut trip.ferry(&with_kopia)).exits(0);

    let recipe = trip.path("recipe.yaml");
    let plan = trip.path("plan");
    let (recipe, plan) = (recipe.to_str().unwrap(), plan.to_str().unwrap());
    let planned = ["plan", "latest", "--to", "b", "-r", recipe, "--out", plan];
    run(&mut trip.ferry(&planned)).exits(2);
    run(&mut trip.ferry(&["apply", plan, "--yes"])).exits(0);
    let ready = ["rollout", "status", "deployment/app", "--timeout=90s"];
    kubectl("b", &[&["-n", &trip.to.name][..], &ready].concat());
    assert_eq!(trip.data("b"), before);
}

/// A copy of a bucket, as far as a test wrote it.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new(phase: &str) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        let description =
            json!({"spec": {"includedNamespaces": ["shop"]}, "status": {"phase": phase}});
        copy.write("velero-backup.json", description.to_string().as_bytes());
        copy
    }

    fn write(&self, name: &str, content: &[u8]) {
        let folder = self.0.path().join("backups/nightly");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }

    fn import(&self, args: &[&str]) -> Done {
        let store = self.0.path().join("store").display().to_string();
        let from = self.0.path().display().to_string();
        let import = [
            "store",
            "import-velero",
            &from,
            "nightly",
            "--store",
            &store,
        ];
        run(ferry(&[&import[..], args].concat()).env("FERRY_PASSWORD", "x"))
    }
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

#[test]
fn what_is_no_whole_backup_of_velero_s_is_refused_with_what_is_wrong() {
    let empty = tempfile::tempdir().unwrap();
    let none = ["store", "import-velero", empty.path().to_str().unwrap()];
    run(&mut ferry(&none))
        .exits(5)
        .says("no backups of Velero")
        .says("BackupStorageLocation");
    run(&mut ferry(&["store", "import-velero", "/not/there"]))
        .exits(6)
        .says("/not/there");

    let copy = Copy::new("InProgress");
    copy.import(&[])
        .exits(5)
        .says("nightly is InProgress, not Completed");
    let copy = Copy::new("Completed");
    copy.import(&[])
        .exits(5)
        .says("does not say where its volumes' data is")
        .says("--objects-only");
    copy.import(&["--objects-only"])
        .exits(6)
        .says("backups/nightly/nightly.tar.gz");
    copy.write("nightly-volumeinfo.json.gz", &gz(b"[{"));
    copy.import(&[]).exits(6).says("is not what Velero writes");
    copy.write("nightly-volumeinfo.json.gz", &gz(&vec![b' '; 65 << 20]));
    copy.import(&[]).exits(6).says("it has more than");
    let there = [
        "store",
        "import-velero",
        copy.0.path().to_str().unwrap(),
        "weekly",
    ];
    run(ferry(&there).args(["--store", "x"]))
        .exits(5)
        .says("there are: nightly");
}
