//! How the pure core grows: processor time of each stage and peak memory, on one core.
//!
//! ```text
//! cargo bench --bench scale                       10,000 and 100,000 objects
//! cargo bench --bench scale -- 1000000 json       as many as said, from JSON files
//! ```
//!
//! Every size runs in a process of its own, so that its peak memory is its own. Beside the stages stands
//! what the machine itself needs to turn the same bytes into values: nothing that reads them is faster.

#![expect(clippy::print_stdout, reason = "its report")]

mod chain;
mod generate;

use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Objects in one file: about what an application's folder holds.
const PER_FILE: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.as_slice() {
        [flag, count, format] if flag == "--one" => one(count.parse().expect("a number"), format),
        [count, format] => header_and([(count.as_str(), format.as_str())]),
        _ => header_and([
            ("10000", "json"),
            ("100000", "json"),
            ("10000", "yaml"),
            ("100000", "yaml"),
        ]),
    }
}

fn header_and<const N: usize>(runs: [(&str, &str); N]) {
    println!(
        "{:>9} {:5} {:>6} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7} {:>7} {:>8} {:>8}",
        "objects",
        "files",
        "MiB",
        "serde",
        "read",
        "sanitise",
        "transform",
        "graph",
        "check",
        "plan",
        "chain",
        "peak MiB"
    );
    for (count, format) in runs {
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program)
            .args(["--one", count, format])
            .status();
        assert!(status.expect("a child").success());
    }
}

fn one(count: usize, format: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = texts(count, format);
    for (number, text) in texts.iter().enumerate() {
        let file = folder.path().join(format!("{number:06}.{format}"));
        std::fs::write(file, text).expect("a file");
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let limit = machine(count, texts, format);
    reset_peak();
    let base = status("VmRSS");
    let mut laps = Vec::new();
    let mut lap = Lap(busy());
    let archive = chain::read(folder.path());
    laps.push(lap.take());
    let capture = chain::capture(archive);
    laps.push(lap.take());
    let transformed = chain::transform(&capture);
    laps.push(lap.take());
    let graph = chain::graph(&capture, &transformed);
    laps.push(lap.take());
    let surface = chain::surface("b");
    let findings = chain::check(&capture, &transformed, &graph, &surface);
    laps.push(lap.take());
    let plan = chain::plan(&capture, &transformed, &graph, &surface, &findings);
    laps.push(lap.take());
    assert!(plan.pending() >= count, "every object is a step");
    let total: Duration = laps.iter().sum();
    print!(
        "{count:>9} {format:5} {:>6} {:>8.2}",
        bytes >> 20,
        limit.as_secs_f64()
    );
    for (lap, width) in laps.iter().zip([8, 8, 9, 7, 7, 7]) {
        print!(" {:>width$.2}", lap.as_secs_f64());
    }
    println!(
        " {:>8.2} {:>8}",
        total.as_secs_f64(),
        (status("VmHWM") - base) >> 10
    );
}

/// The files of a folder, as text.
fn texts(count: usize, format: &str) -> Vec<String> {
    let objects = generate::objects(count);
    let files = objects.chunks(PER_FILE);
    match format {
        "json" => files.map(json).collect(),
        _ => files
            .map(|file| ferry::yaml::emit_all(file).expect("YAML"))
            .collect(),
    }
}

fn json(file: &[Value]) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": file}).to_string()
}

/// What serde_json needs for the same objects as JSON text, into the same values.
fn machine(count: usize, texts: Vec<String>, format: &str) -> Duration {
    let texts = match format {
        "json" => texts,
        _ => self::texts(count, "json"),
    };
    let start = busy();
    for text in texts {
        std::hint::black_box(serde_json::from_str::<Value>(&text).expect("JSON"));
    }
    busy() - start
}

struct Lap(Duration);

impl Lap {
    fn take(&mut self) -> Duration {
        let now = busy();
        now - std::mem::replace(&mut self.0, now)
    }
}

/// Processor time of this process so far: what others do on the machine is not in it.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Begins the peak anew (proc(5), clear_refs).
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

/// A figure of /proc/self/status, in KiB.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with(key))
        .expect("the key");
    let number = line.split_whitespace().nth(1).expect("a number");
    number.parse().expect("a number")
}
