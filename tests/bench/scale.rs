//! How the pure core grows: processor time of each stage and peak memory, on one core.
//!
//! ```text
//! cargo bench --bench scale                     10,000 and 100,000 objects
//! cargo bench --bench scale -- 1000000 json     as many as said, from JSON files
//! ```
//!
//! Every size runs in a process of its own that begins with the folder and does nothing else, so that
//! the time and the memory shown are all it took. Beside the stages stands what the machine itself needs
//! to turn the same bytes into values: nothing that reads them is faster.
//!
//! A harness of its own and not one that repeats and compares: what is to be shown, memory and growth
//! included, belongs to one pass over a large set, which takes seconds and is the same set every time.

#![expect(clippy::print_stdout, reason = "its report")]

mod chain;
mod generate;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Objects in one file: about what an application's folder holds.
const PER_FILE: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.as_slice() {
        [flag, folder, count] if flag == "--one" => {
            one(Path::new(folder), count.parse().expect("a number"));
        }
        [count, format] => header_and([(count.as_str(), format.as_str())]),
        _ => header_and([("10000", "json"), ("100000", "json"), ("10000", "yaml")]),
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
        "capture",
        "transform",
        "graph",
        "check",
        "plan",
        "chain",
        "peak MiB"
    );
    for (count, format) in runs {
        let folder = tempfile::tempdir().expect("a folder");
        let (bytes, machine) = write(folder.path(), count.parse().expect("a number"), format);
        print!(
            "{count:>9} {format:5} {:>6} {:>8.2}",
            bytes >> 20,
            machine.as_secs_f64()
        );
        std::io::stdout().flush().expect("a terminal");
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        let child = child.arg("--one").arg(folder.path()).arg(count);
        assert!(child.status().expect("a child").success());
    }
}

/// Takes one folder through every stage.
fn one(folder: &Path, count: usize) {
    let mut laps = Vec::new();
    let mut lap = Lap(busy());
    let archive = chain::read(folder);
    laps.push(lap.take());
    let capture = chain::capture(archive);
    laps.push(lap.take());
    let transformed = chain::transform(&capture);
    laps.push(lap.take());
    let graph = Arc::new(chain::graph(&capture, &transformed));
    laps.push(lap.take());
    let surface = chain::surface("b");
    let findings = chain::check(&capture, &transformed, &graph, &surface);
    laps.push(lap.take());
    let plan = chain::plan(&capture, &transformed, &graph, &surface, &findings);
    laps.push(lap.take());
    assert!(plan.pending() >= count, "every object is a step");
    let total: Duration = laps.iter().sum();
    for (lap, width) in laps.iter().zip([8, 8, 9, 7, 7, 7]) {
        print!(" {:>width$.2}", lap.as_secs_f64());
    }
    println!(" {:>8.2} {:>8}", total.as_secs_f64(), peak() >> 10);
    // Taking a million objects apart again is nobody's wait.
    std::process::exit(0);
}

/// Writes the files of a folder. How many bytes, and how long serde_json takes to turn the same objects,
/// as JSON text, into the same values.
fn write(folder: &Path, count: usize, format: &str) -> (usize, Duration) {
    let (mut bytes, mut machine, mut number) = (0, Duration::ZERO, 0);
    for namespace in generate::namespaces(count) {
        for file in namespace.chunks(PER_FILE) {
            let json = json(file);
            let start = busy();
            let value: Value = serde_json::from_str(&json).expect("JSON");
            machine += busy() - start;
            drop(std::hint::black_box(value));
            let text = match format {
                "json" => json,
                _ => ferry::yaml::emit_all(file).expect("YAML"),
            };
            bytes += text.len();
            let path = folder.join(format!("{number:06}.{format}"));
            std::fs::write(path, text).expect("a file");
            number += 1;
        }
    }
    (bytes, machine)
}

fn json(file: &[Value]) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": file}).to_string()
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

/// The most memory this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("the key").parse().expect("a number")
}
