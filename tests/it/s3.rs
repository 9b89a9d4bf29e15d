//! Buckets as people have them in their own halls: a server whose certificate an authority of their own signed, proxies,
//! profiles, temporary keys, and the ways in which such a server refuses. The server is a MinIO of each test's own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{self, Done, root, run, testbed};
use crate::torture;
use crate::trip::Trip;

const KEY: &str = "own-key-of-this-test";
const SECRET: &str = "own-secret-of-this-test";
pub const STORE: &str = "s3://backups/ferry";
/// What a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// May read, and nothing else.
const READER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::*"]}]}"#;
/// May read, and add.
const ADDER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:GetObject","s3:ListBucket","s3:PutObject"],"Resource":["arn:aws:s3:::*"]}]}"#;
/// Nobody deletes for a day, not even the bucket's owner.
const KEPT: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
    <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";

/// A MinIO that speaks TLS, with a certificate of an authority that nobody knows, and a bucket.
pub struct Server {
    folder: tempfile::TempDir,
    address: String,
    endpoint: String,
    process: Child,
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (host, port) = support::free_address();
        certify(&folder.path().display().to_string(), &host);
        let address = format!("{host}:{port}");
        let server = Self {
            process: serve(folder.path(), &address),
            folder,
            endpoint: format!("https://{address}"),
            address,
        };
        let started = Instant::now();
        // A server that calls itself ready may still say that it is not initialized.
        while server.signed("backups", &["-X", "PUT"]).code != 0 {
            assert!(started.elapsed() < PATIENCE, "the server does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        self.process = serve(self.folder.path(), &self.address);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn curl(&self, path: &str, args: &[&str]) -> Done {
        let mut command = Command::new("curl");
        command
            .args([
                "-sS",
                "--fail-with-body",
                "--max-time",
                "20",
                "--http1.1",
                "--cacert",
            ])
            .arg(self.path("ca.crt"))
            .args(args)
            .arg(format!("{}/{path}", self.endpoint));
        run(&mut command)
    }

    /// A request with the server's own keys.
    fn signed(&self, path: &str, args: &[&str]) -> Done {
        let user = format!("{KEY}:{SECRET}");
        let signed = ["--aws-sigv4", "aws:amz:us-east-1:s3", "-u", &user];
        self.curl(path, &[&signed, args].concat())
    }

    /// Temporary keys that may do what a policy allows.
    fn session(&self, policy: &str) -> [(&'static str, String); 3] {
        let policy = format!("Policy={policy}");
        let user = format!("{KEY}:{SECRET}");
        let args = [
            "--aws-sigv4",
            "aws:amz:us-east-1:sts",
            "-u",
            &user,
            "-d",
            "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900",
            "--data-urlencode",
            &policy,
        ];
        let answer = self.curl("", &args).exits(0).stdout;
        let part = |tag: &str| {
            let (_, rest) = answer.split_once(&format!("<{tag}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        };
        [
            ("AWS_ACCESS_KEY_ID", part("AccessKeyId")),
            ("AWS_SECRET_ACCESS_KEY", part("SecretAccessKey")),
            ("AWS_SESSION_TOKEN", part("SessionToken")),
        ]
    }

    /// `ferry ARGS` on a machine that knows nothing of the server.
    fn stranger(&self, args: &[&str]) -> Command {
        let mut command = Command::new(support::binary());
        command
            .args(args)
            .env_clear()
            .env("FERRY_STORE", STORE)
            .envs([("NO_COLOR", "1"), ("FERRY_PASSWORD", "secret")])
            .env("HOME", self.folder.path());
        command
    }

    /// The same, with all that is needed.
    pub fn ferry(&self, args: &[&str]) -> Command {
        self.told(self.stranger(args))
    }

    /// A command that knows all it needs of the server.
    pub fn told(&self, mut command: Command) -> Command {
        command
            .envs([
                ("AWS_ACCESS_KEY_ID", KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
            ])
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_CA_BUNDLE", self.path("ca.crt"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The server's process.
fn serve(folder: &Path, address: &str) -> Child {
    Command::new(testbed("FERRY_TESTBED_MINIO"))
        .args(["server", "--quiet", "--address", address, "--certs-dir"])
        .args([folder.join("certs"), folder.join("data")])
        .env_clear()
        .envs([("MINIO_ROOT_USER", KEY), ("MINIO_ROOT_PASSWORD", SECRET)])
        .envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")])
        .env("HOME", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// An authority, and a server's certificate by it.
fn certify(folder: &str, host: &str) {
    let openssl = |args: &str| {
        let config = root().join("tests/testbed/lib/openssl.cnf");
        let mut command = Command::new("openssl");
        command
            .args(["req", "-config"])
            .arg(config)
            .args(args.split_whitespace());
        run(command.current_dir(folder)).exits(0);
    };
    let made = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!(
        "{made} -subj /CN=hall -keyout ca.key -out ca.crt -addext basicConstraints=critical,CA:TRUE \
         -addext keyUsage=critical,keyCertSign"
    ));
    fs::create_dir(format!("{folder}/certs")).unwrap();
    openssl(&format!(
        "{made} -subj /CN=s3 -CA ca.crt -CAkey ca.key -keyout certs/private.key -out certs/public.crt \
         -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth \
         -addext subjectAltName=IP:{host}"
    ));
}

/// A proxy for TLS, and how many connections went through it.
fn proxy() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let used = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&used);
    // It ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || tunnel(client));
        }
    });
    (address, used)
}

fn tunnel(mut client: TcpStream) {
    let mut head = BufReader::new(client.try_clone().unwrap());
    let mut wanted = String::new();
    head.read_line(&mut wanted).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        head.read_line(&mut line).unwrap();
    }
    let target = wanted.strip_prefix("CONNECT ").unwrap();
    let mut server = TcpStream::connect(target.split(' ').next().unwrap()).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        std::io::copy(&mut back, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut head, &mut server).ok();
    server.shutdown(Shutdown::Write).ok();
}

/// Answers every request with the same words.
fn parrot(words: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = BufReader::new(client.try_clone().unwrap()).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            client.write_all(words.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn a_server_of_an_own_authority_is_trusted_when_that_is_named_and_never_before() {
    let server = Server::start();
    let init = ["store", "init"];
    run(server.ferry(&init).env_remove("AWS_CA_BUNDLE"))
        .exits(6)
        .says("UnknownIssuer")
        .says("hint: the server's certificate was signed by an authority that is not trusted here")
        .says("AWS_CA_BUNDLE");
    let insecure = [("AWS_ALLOW_INVALID_CERTIFICATES", "true")];
    run(server
        .ferry(&init)
        .env_remove("AWS_CA_BUNDLE")
        .envs(insecure))
    .exits(6);
    run(server
        .ferry(&init)
        .env("AWS_CA_BUNDLE", server.path("ca.key")))
    .exits(5)
    .says("holds no certificate");
    run(server
        .ferry(&init)
        .env("AWS_CA_BUNDLE", server.path("none")))
    .exits(5)
    .says("cannot be read")
    .says("hint: name a PEM file");
    run(&mut server.ferry(&init)).exits(0);
    let system = server.path("ca.crt");
    run(server
        .ferry(&["store", "check"])
        .env_remove("AWS_CA_BUNDLE")
        .env("SSL_CERT_FILE", system))
    .exits(0);

    // The same by the AWS tools' own files, and nothing in the environment but the profile's name.
    fs::create_dir(server.path(".aws")).unwrap();
    let config = format!(
        "[profile hall]\nregion = us-east-1\nservices = hall\nca_bundle = {}\n\
         [services hall]\ns3 =\n  endpoint_url = {}\n",
        server.text("ca.crt"),
        server.endpoint
    );
    fs::write(server.path(".aws/config"), config).unwrap();
    let keys = format!("[hall]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    fs::write(server.path(".aws/credentials"), keys).unwrap();
    run(server
        .stranger(&["store", "check"])
        .env("AWS_PROFILE", "hall"))
    .exits(0);
    run(server
        .stranger(&["store", "check"])
        .env("AWS_PROFILE", "office"))
    .exits(5)
    .says("there is no such profile")
    .says("hint: there are: hall");
}

#[test]
fn a_proxy_is_used_and_spared_as_the_variables_say() {
    let server = Server::start();
    let (address, used) = proxy();
    run(server
        .ferry(&["store", "init"])
        .env("HTTPS_PROXY", &address))
    .exits(0);
    let through = used.load(Ordering::SeqCst);
    assert!(through > 0);
    let host = url::Url::parse(&server.endpoint).unwrap();
    let spared = [
        ("HTTPS_PROXY", address.as_str()),
        ("NO_PROXY", host.host_str().unwrap()),
    ];
    run(server.ferry(&["store", "check"]).envs(spared)).exits(0);
    assert_eq!(used.load(Ordering::SeqCst), through);
    run(server
        .ferry(&["store", "check"])
        .env("HTTPS_PROXY", "http://127.0.0.1:1"))
    .exits(6)
    .says("hint: the proxy of HTTPS_PROXY does not let us through");
}

#[test]
fn what_a_server_refuses_is_told_with_its_words_and_the_next_step() {
    let server = Server::start();
    let check = ["store", "check"];
    run(&mut server.ferry(&["store", "init"])).exits(0);
    for (name, value, says, hint) in [
        (
            "AWS_ACCESS_KEY_ID",
            "nobody",
            "InvalidAccessKeyId",
            "the server does not know the key",
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            "wrong",
            "SignatureDoesNotMatch",
            "the secret is not that of the key",
        ),
        (
            "AWS_SESSION_TOKEN",
            "wrong",
            "InvalidToken",
            "AWS_SESSION_TOKEN is not that of these keys",
        ),
    ] {
        run(server.ferry(&check).env(name, value))
            .exits(6)
            .says("the store at s3://backups/ferry refuses access")
            .says(&format!("the server says {says}"))
            .says(&format!("hint: {hint}"));
    }
    run(server.ferry(&check).env("FERRY_STORE", "s3://none/ferry"))
        .exits(5)
        .says("there is no bucket for s3://none/ferry")
        .says("hint: make the bucket first");

    let source = server.text("source");
    fs::create_dir(&source).unwrap();
    fs::write(server.path("source/f"), torture::noise(1, 50_000)).unwrap();
    run(&mut server.ferry(&["data", "save", &source])).exits(0);
    // Temporary keys that may only read: enough to restore, and told as such when more is wanted.
    let reader = server.session(READER);
    let with = |args: &[&str]| run(server.ferry(args).envs(reader.clone()));
    with(&["data", "restore", "latest", &server.text("target")]).exits(0);
    torture::assert_same(&server.path("source"), &server.path("target"));
    with(&["data", "save", &source])
        .exits(6)
        .says("the server says AccessDenied")
        .says("the keys are good and may not do this");

    // A quota of a tenth of what is to be saved.
    let quota = [
        "-X",
        "PUT",
        "-H",
        "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD",
        "-d",
    ];
    let hard = r#"{"quota":100000,"quotatype":"hard"}"#;
    let admin = "minio/admin/v3/set-bucket-quota?bucket=backups";
    server
        .signed(admin, &[&quota[..], &[hard]].concat())
        .exits(0);
    fs::write(server.path("source/g"), torture::noise(2, 1_000_000)).unwrap();
    run(&mut server.ferry(&["data", "save", &source]))
        .exits(6)
        .says("the store is full")
        .says("free space or raise the quota, then run again");

    // What the server says to a request of another year.
    let old = server.signed("backups", &["-i", "-H", "X-Amz-Date: 20200101T000000Z"]);
    let answer = old
        .stdout
        .replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    run(server.ferry(&check).env("AWS_ENDPOINT_URL", parrot(answer)))
        .exits(6)
        .says("the server says RequestTimeTooSkewed")
        .says("hint: the clock of this machine and that of the server differ");
}

#[test]
fn keys_that_may_only_add_save_and_are_told_before_they_lock_anybody_out() {
    let server = Server::start();
    run(&mut server.ferry(&["store", "init"])).exits(0);
    let adder = server.session(ADDER);
    let with = |args: &[&str]| run(server.ferry(args).envs(adder.clone()));
    let source = server.text("source");
    fs::create_dir(&source).unwrap();
    let locks = || {
        let listed = server.signed("backups?list-type=2", &[]).exits(0).stdout;
        listed.matches("<Key>ferry/repo/locks/").count()
    };
    for round in 0..2 {
        fs::write(server.path("source/f"), torture::noise(round, 50_000)).unwrap();
        with(&["data", "save", &source]).exits(0);
    }
    with(&["data", "restore", "latest", &server.text("target")]).exits(0);
    torture::assert_same(&server.path("source"), &server.path("target"));
    let manifest = server.text("objects.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {a: b}\n";
    fs::write(&manifest, text).unwrap();
    with(&["capture", "--from-file", &manifest]).exits(0);
    let left = locks();
    for refused in [
        &["store", "prune"][..],
        &["store", "forget", "--keep-last", "1"],
        &["store", "unlock"],
    ] {
        with(refused)
            .exits(6)
            .says("the store failed to delete")
            .says("to forget, prune and unlock, and to undo, Ferry also deletes");
    }
    assert!(left > 0);
    // Whose locks they were is over: nobody waits for them on this machine, and nothing else has to be done.
    run(&mut server.ferry(&["store", "prune", "--grace", "0"])).exits(0);
    run(&mut server.ferry(&["store", "unlock"])).exits(0);
    assert_eq!(locks(), 0);
    run(&mut server.ferry(&["store", "check", "--read-data"])).exits(0);
}

#[test]
fn in_a_bucket_that_keeps_all_for_a_time_what_is_removed_can_be_brought_back() {
    let server = Server::start();
    let locked = ["-X", "PUT", "-H", "x-amz-bucket-object-lock-enabled: true"];
    server.signed("kept", &locked).exits(0);
    let md5 = "Content-MD5: bAtV4GhRHjlhyrqo+OfhYg==";
    let unsigned = "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD";
    let rule = ["-X", "PUT", "-H", md5, "-H", unsigned, "-d", KEPT];
    server.signed("kept?object-lock=", &rule).exits(0);
    let ferry = |args: &[&str]| {
        let mut command = server.ferry(args);
        let command = command.env("FERRY_STORE", "s3://kept/ferry");
        run(command.env("AWS_CHECKSUM_ALGORITHM", "sha256"))
    };
    ferry(&["store", "init"]).exits(0);
    let (source, target) = (server.text("source"), server.text("target"));
    fs::create_dir(&source).unwrap();
    for round in 0..2 {
        fs::write(server.path("source/f"), torture::noise(round, 3_000_000)).unwrap();
        ferry(&["data", "save", &source]).exits(0);
    }
    ferry(&["store", "forget", "--keep-last", "1"]).exits(0);
    ferry(&["store", "prune", "--max-unused", "0", "--grace", "0"])
        .exits(0)
        .shows("freed");
    ferry(&["store", "check", "--read-data"]).exits(0);
    ferry(&["data", "restore", "latest", &target]).exits(0);
    torture::assert_same(&server.path("source"), &server.path("target"));
    // What was removed is hidden and not gone.
    let versions = server.signed("kept?versions=", &[]).exits(0).stdout;
    let packs = |tag: &str| {
        let (start, end) = (format!("<{tag}>"), format!("</{tag}>"));
        let parts = versions.split(&start).skip(1);
        let of_packs = parts.filter_map(|part| part.split(&end).next());
        of_packs.filter(|part| part.contains("/repo/data/")).count()
    };
    assert!(packs("DeleteMarker") > 0, "{versions}");
    assert!(packs("Version") > packs("DeleteMarker"), "{versions}");
}

#[test]
fn movers_trust_the_authority_that_the_command_line_was_given() {
    let server = Server::start();
    let mut trip = Trip::application("own-ca", 4);
    trip.store = STORE.into();
    let here = |command: Command| run(&mut server.told(command));
    here(trip.ferry(&["store", "init"])).exits(0);
    here(trip.migrate(&[])).exits(0);
    assert_eq!(trip.data("a"), trip.data("b"));
    here(trip.ferry(&["store", "check", "--read-data"])).exits(0);
}
