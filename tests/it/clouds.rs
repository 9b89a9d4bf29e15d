//! Stores in Azure's blob storage and in Google Cloud Storage, from the command line and from movers' pods. What
//! answers are the servers people test such programs with, Azurite and fake-gcs-server, each of a test's own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{self, Done, run, testbed};
use crate::torture;
use crate::trip::Trip;

/// The account that every Azurite has, and its key, which its documentation tells everybody.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// What a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with one bucket called `backups`.
struct Server {
    folder: tempfile::TempDir,
    address: String,
    process: Child,
    /// What a user sets to reach it.
    variables: Vec<(&'static str, String)>,
    store: &'static str,
}

impl Server {
    fn azure() -> Self {
        let (folder, host, port) = place();
        let mut command = Command::new(testbed("FERRY_TESTBED_AZURITE"));
        command
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"])
            .args(["--blobHost", &host, "--blobPort", &port.to_string()])
            .arg("--location")
            .arg(folder.path());
        let address = format!("{host}:{port}");
        let said = format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};\
             BlobEndpoint=http://{address}/{ACCOUNT};"
        );
        let server = Self {
            process: start(&mut command),
            variables: vec![("AZURE_STORAGE_CONNECTION_STRING", said)],
            store: "az://backups/ferry",
            folder,
            address,
        };
        let date = run(Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"])).exits(0);
        let (date, version) = (date.stdout.trim(), "2021-08-06");
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/backups\nrestype:container",
            "\n".repeat(12)
        );
        let key = STANDARD.decode(KEY).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
        let tag = STANDARD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
        let url = format!("{ACCOUNT}/backups?restype=container");
        let headers = [
            format!("x-ms-date: {date}"),
            format!("x-ms-version: {version}"),
            format!("Authorization: SharedKey {ACCOUNT}:{tag}"),
            "Content-Length: 0".to_owned(),
        ];
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let args: Vec<&str> = ["-X", "PUT"].into_iter().chain(headers).collect();
        server.ask(&url, &args);
        server
    }

    fn gcs() -> Self {
        let (folder, host, port) = place();
        let address = format!("{host}:{port}");
        let mut command = Command::new(testbed("FERRY_TESTBED_GCS"));
        command.args([&address, "backups"]);
        let server = Self {
            process: start(&mut command),
            variables: vec![("STORAGE_EMULATOR_HOST", address.clone())],
            store: "gs://backups/ferry",
            folder,
            address,
        };
        server.ask("storage/v1/b/backups", &[]);
        server
    }

    /// Asks until the server is up.
    fn ask(&self, path: &str, args: &[&str]) {
        let url = format!("http://{}/{path}", self.address);
        let started = Instant::now();
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--max-time", "20"]);
        command.args(args).arg(url);
        loop {
            let answer = run(&mut command);
            if answer.code == 0 {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{}{}",
                answer.stdout,
                answer.stderr
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `ferry ARGS` of a user who set these variables and no others.
    fn with(&self, variables: &[(&str, &str)], args: &[&str]) -> Done {
        let mut command = Command::new(support::binary());
        command
            .args(args)
            .env_clear()
            .envs([("NO_COLOR", "1"), ("FERRY_PASSWORD", "secret")])
            .env("FERRY_STORE", self.store)
            .envs(variables.iter().copied());
        run(&mut command)
    }

    fn ferry(&self, args: &[&str]) -> Done {
        let own = self.variables.iter();
        let own: Vec<(&str, &str)> = own.map(|(name, value)| (*name, value.as_str())).collect();
        self.with(&own, args)
    }

    /// A folder's way into the store and out of it, twice.
    fn keeps_a_store(&self) {
        let source = self.path("source");
        fs::create_dir(&source).unwrap();
        fs::write(format!("{source}/a"), torture::noise(1, 20_000_000)).unwrap();
        self.ferry(&["store", "init"]).exits(0);
        self.ferry(&["store", "init"])
            .exits(5)
            .says("there is a store at");
        self.ferry(&["data", "save", &source]).exits(0);
        self.ferry(&["data", "save", &source])
            .exits(0)
            .shows("0 B sent");
        self.ferry(&["data", "restore", "latest", &self.path("target")])
            .exits(0);
        torture::assert_same(source.as_ref(), self.path("target").as_ref());
        self.ferry(&["store", "check", "--read-data"]).exits(0);
        fs::remove_file(format!("{source}/a")).unwrap();
        fs::write(format!("{source}/b"), b"little").unwrap();
        self.ferry(&["data", "save", &source]).exits(0);
        self.ferry(&["store", "forget", "--keep-last", "1", "--prune"])
            .exits(0);
        let stats = self
            .ferry(&["store", "stats", "-o", "json"])
            .exits(0)
            .json();
        assert_eq!(stats["snapshots"], 1);
        assert!(
            stats["stored_bytes"]
                .as_u64()
                .is_some_and(|bytes| bytes < 1_000_000),
            "what nobody needs is deleted: {stats}"
        );
        self.ferry(&["store", "check", "--read-data"]).exits(0);
    }

    /// A volume's way through the store, by pods that were handed what the command line had.
    fn serves_movers(&self, topic: &str) {
        let mut trip = Trip::application(topic, 4);
        trip.store = self.store.into();
        let here = |mut command: Command| {
            let own = self.variables.iter();
            run(command.envs(own.map(|(name, value)| (*name, value.as_str()))))
        };
        here(trip.ferry(&["store", "init"])).exits(0);
        here(trip.migrate(&[])).exits(0);
        assert_eq!(trip.data("a"), trip.data("b"));
        here(trip.ferry(&["store", "check", "--read-data"])).exits(0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A folder, and where pods can reach a server of this machine.
fn place() -> (tempfile::TempDir, String, u16) {
    let (host, port) = support::free_address();
    (tempfile::tempdir().unwrap(), host, port)
}

fn start(command: &mut Command) -> Child {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap()
}

#[test]
fn a_container_of_azure_keeps_a_store_and_what_it_refuses_is_told_with_the_next_step() {
    let server = Server::azure();
    server.keeps_a_store();
    let check = ["store", "check"];
    let endpoint = format!("http://{}/{ACCOUNT}", server.address);
    let of_account = [
        ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
    ];
    let with = |more: &[(&'static str, &'static str)]| {
        server.with(&[&of_account[..], more].concat(), &check)
    };
    with(&[("AZURE_STORAGE_KEY", KEY)]).exits(0);
    with(&[("AZURE_STORAGE_KEY", "d3Jvbmc=")])
        .exits(6)
        .says("the store at az://backups/ferry refuses access")
        .says("hint: the account does not know the key or token");
    with(&[])
        .exits(6)
        .says("no credentials were given for it")
        .says("hint: set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY");
    server
        .with(&[], &check)
        .exits(6)
        .says("no storage account was named");
    with(&[
        ("AZURE_STORAGE_KEY", KEY),
        ("FERRY_STORE", "az://none/ferry"),
    ])
    .exits(5)
    .says("there is no bucket for az://none/ferry")
    .says("hint: make the bucket first");
    server
        .with(&[("AZURE_STORAGE_CONNECTION_STRING", "AccountKey")], &check)
        .exits(5)
        .says("no Name=value")
        .says("hint: copy it whole");
}

#[test]
fn a_bucket_of_google_keeps_a_store_and_what_it_refuses_is_told_with_the_next_step() {
    let server = Server::gcs();
    server.keeps_a_store();
    let check = ["store", "check"];
    let base = format!("http://{}", server.address);
    server
        .with(&[("GOOGLE_BASE_URL", &base)], &check)
        .exits(6)
        .says("no credentials were given for it")
        .says("hint: set GOOGLE_APPLICATION_CREDENTIALS to the key file");
    let key = server.path("key.json");
    fs::write(&key, "not a key").unwrap();
    server
        .with(&[("GOOGLE_APPLICATION_CREDENTIALS", &key)], &check)
        .exits(5)
        .says("is no JSON")
        .says("hint: name the JSON key of a service account");
    let made = r#"{"type": "service_account", "private_key": "", "private_key_id": "", "client_email": "",
        "disable_oauth": true}"#;
    fs::write(&key, made).unwrap();
    let by_file = [
        ("GOOGLE_APPLICATION_CREDENTIALS", key.as_str()),
        ("GOOGLE_BASE_URL", &base),
    ];
    server.with(&by_file, &check).exits(0);
}

#[test]
fn movers_reach_a_container_of_azure_with_what_the_command_line_was_given() {
    Server::azure().serves_movers("azure");
}

#[test]
fn movers_reach_a_bucket_of_google_with_what_the_command_line_was_given() {
    Server::gcs().serves_movers("gcs");
}
