//! The binary, killed for good at one request after another to a real S3 server, and run again.
//!
//! Between the two stands a relay that counts requests. At every second one it kills the process before the server hears
//! of it, at the others when it is done and before the process hears of that.

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::support::{self, Done, testbed};
use crate::torture;

const PASSWORD: &str = "correct horse battery staple";
const SIGKILL: i32 = 9;

/// Stands between one process and the server.
struct Gate {
    server: String,
    requests: AtomicU64,
    kills_at: u64,
    /// The process, while it runs: afterwards its number may be somebody else's.
    victim: Mutex<Option<Pid>>,
}

impl Gate {
    /// The address to reach the server by.
    fn open(server: String, kills_at: u64) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate = Arc::new(Self {
            server,
            requests: AtomicU64::new(0),
            kills_at,
            victim: Mutex::default(),
        });
        let theirs = Arc::clone(&gate);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let gate = Arc::clone(&theirs);
                std::thread::spawn(move || gate.serve(client));
            }
        });
        (gate, address)
    }

    fn serve(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else {
            return;
        };
        let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        // A request begins with the first bytes after an answer; nobody sends two at once on one connection.
        let answered = Arc::new(AtomicBool::new(true));
        let number = Arc::new(AtomicU64::new(u64::MAX));
        let (theirs, asked, last) = (
            Arc::clone(&self),
            Arc::clone(&answered),
            Arc::clone(&number),
        );
        std::thread::spawn(move || {
            carry(from, to, || {
                asked.store(true, Ordering::SeqCst);
                let number = last.load(Ordering::SeqCst);
                !theirs.dies(number) || number.is_multiple_of(2) || theirs.kill()
            });
        });
        carry(client, server, || {
            if answered.swap(false, Ordering::SeqCst) {
                number.store(
                    self.requests.fetch_add(1, Ordering::SeqCst),
                    Ordering::SeqCst,
                );
            }
            let number = number.load(Ordering::SeqCst);
            !self.dies(number) || !number.is_multiple_of(2) || self.kill()
        });
    }

    fn dies(&self, number: u64) -> bool {
        number == self.kills_at
    }

    /// Ends the process. False: nothing is to be carried any more.
    fn kill(&self) -> bool {
        if let Some(pid) = *self.victim.lock().unwrap() {
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
        false
    }

    /// Runs the process to its end, whoever brings that about.
    fn run(&self, command: &mut Command) -> ExitStatus {
        let mut child = {
            // Its first request waits here until its number is known.
            let mut victim = self.victim.lock().unwrap();
            let child = command.spawn().unwrap();
            *victim = Pid::from_raw(child.id().cast_signed());
            child
        };
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::waitid(WaitId::Pid(pid), ended).unwrap();
        *self.victim.lock().unwrap() = None;
        child.wait().unwrap()
    }
}

/// Carries bytes as long as `may` allows it.
fn carry(mut from: TcpStream, mut to: TcpStream, may: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !may() || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
    from.shutdown(Shutdown::Read).ok();
}

fn settings(suffix: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings-{suffix}, namespace: shop}}\ndata: {{a: b}}\n"
    )
}

/// A store in the testbed's bucket, and folders around it.
struct Scene {
    folder: tempfile::TempDir,
    store: String,
    server: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unique = folder
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace('.', "");
        let endpoint = testbed("FERRY_TESTBED_S3_ENDPOINT");
        let scene = Self {
            folder,
            store: format!(
                "s3://{}/it-{name}-{unique}",
                testbed("FERRY_TESTBED_S3_BUCKET")
            ),
            server: endpoint.trim_start_matches("http://").to_owned(),
        };
        scene.ferry(&["store", "init"]).exits(0);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = support::ferry(args);
        command
            .args(["--store", &self.store])
            .env("FERRY_PASSWORD", PASSWORD);
        command
    }

    #[track_caller]
    fn ferry(&self, args: &[&str]) -> Done {
        support::run(&mut self.command(args))
    }

    /// Another state of what is saved.
    fn change(&self, round: u64) {
        fs::create_dir_all(self.path("source/deep")).unwrap();
        for file in 0..10u64 {
            let seed = if file % 3 == 0 { 100 * (round + 1) } else { 0 } + file + 1;
            let place = if file % 2 == 0 { "deep" } else { "." };
            let path = self.path("source").join(place).join(format!("f{file}"));
            fs::write(path, torture::noise(seed, 60_000)).unwrap();
        }
    }

    fn save(&self) {
        self.ferry(&["data", "save", &self.text("source")]).exits(0);
    }

    /// Leaves one snapshot and no locks of the dead: each of them is one more request to be killed at.
    fn clear(&self) {
        self.ferry(&["store", "forget", "--keep-last", "1"])
            .exits(0);
        let all = ["--max-unused", "0", "--grace", "0"];
        self.ferry(&[&["store", "prune"], &all[..]].concat())
            .exits(0);
    }

    /// Runs `args` killed at each of its requests in turn, and then again to its end. `before` makes something to do,
    /// `after` looks at what was made of it.
    fn sweep(&self, args: &[&str], before: impl Fn(u64), after: impl Fn()) {
        for kills_at in 0.. {
            before(kills_at);
            let (gate, address) = Gate::open(self.server.clone(), kills_at);
            let mut command = self.command(args);
            command
                .env("AWS_ENDPOINT_URL", format!("http://{address}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = gate.run(&mut command);
            let killed = status.signal() == Some(SIGKILL);
            assert!(
                killed || status.success(),
                "{args:?} at {kills_at}: {status}"
            );
            if killed {
                self.ferry(args).exits(0);
            }
            after();
            self.ferry(&["store", "check", "--read-data"]).exits(0);
            self.clear();
            if !killed {
                assert!(kills_at > 8, "{kills_at} requests are too few to mean much");
                return;
            }
        }
    }
}

#[test]
fn a_save_killed_at_any_request_is_finished_by_the_next() {
    let scene = Scene::new("killed-save");
    let source = scene.text("source");
    scene.sweep(
        &["data", "save", &source],
        |round| scene.change(round),
        || {
            scene.ferry(&["data", "verify", "latest", &source]).exits(0);
        },
    );
}

#[test]
fn a_restore_killed_at_any_request_is_finished_by_the_next() {
    let scene = Scene::new("killed-restore");
    scene.change(0);
    scene.save();
    let target = scene.text("target");
    scene.sweep(
        &["data", "restore", "latest", &target],
        |_| {
            fs::remove_dir_all(&target).ok();
        },
        || torture::assert_same(&scene.path("source"), &scene.path("target")),
    );
}

#[test]
fn a_prune_killed_at_any_request_is_finished_by_the_next() {
    let scene = Scene::new("killed-prune");
    let source = scene.text("source");
    scene.sweep(
        &["store", "prune", "--max-unused", "0", "--grace", "0"],
        |round| {
            scene.change(round);
            scene.save();
            scene
                .ferry(&["store", "forget", "--keep-last", "1"])
                .exits(0);
        },
        || {
            scene.ferry(&["data", "verify", "latest", &source]).exits(0);
            let figures = scene
                .ferry(&["store", "stats", "-o", "json"])
                .exits(0)
                .json();
            assert_eq!(figures["unused_bytes"], 0, "{figures}");
            assert_eq!(figures["unindexed_packs"], 0, "{figures}");
        },
    );
}

#[test]
fn a_capture_killed_at_any_request_is_finished_by_the_next() {
    let scene = Scene::new("killed-capture");
    let manifest = scene.text("objects.yaml");
    let current = Cell::new(0);
    scene.sweep(
        &["capture", "--from-file", &manifest],
        |round| {
            current.set(round);
            fs::write(&manifest, settings(&round.to_string())).unwrap();
        },
        || {
            scene
                .ferry(&["captures", "show", "latest"])
                .exits(0)
                .shows(&format!("settings-{}", current.get()));
        },
    );
}

#[test]
fn a_capture_leaves_one_bucket_as_a_file_and_enters_another() {
    let (from, to) = (Scene::new("export"), Scene::new("import"));
    let manifest = from.text("objects.yaml");
    fs::write(&manifest, settings("x")).unwrap();
    from.ferry(&["capture", "--from-file", &manifest]).exits(0);
    let file = from.text("carried.ferry");
    from.ferry(&["captures", "export", "latest", "--file", &file])
        .exits(0);
    to.ferry(&["captures", "import", &file]).exits(0);
    to.ferry(&["store", "check", "--read-data"]).exits(0);
    to.ferry(&["captures", "show", "latest"])
        .exits(0)
        .shows("settings-x");
}
