//! What Ferry writes as YAML, `kubectl` reads back as the same values (docs/design/0001).

use std::io::Write as _;
use std::process::{Command, Stdio};

use ferry::yaml;
use serde_json::{Map, Value, json};

use crate::support::root;

/// Strings that some reader takes for something else, or some writer breaks; but for NUL, which no
/// reader of YAML takes.
fn awkward() -> Vec<String> {
    let all = include_str!("../fixtures/awkward-strings.json");
    let all: Vec<String> = serde_json::from_str(all).unwrap();
    all.into_iter()
        .filter(|text| !text.contains('\0'))
        .collect()
}

/// A kind that no schema checks, so that any string may be a key.
#[test]
fn kubectl_reads_back_the_values_and_keys_that_were_written() {
    let numbered = |(n, text): (usize, String)| (format!("k{n}"), json!(text));
    let data: Map<String, Value> = awkward().into_iter().enumerate().map(numbered).collect();
    let keys: Map<String, Value> = awkward()
        .into_iter()
        .map(|text| (text.clone(), json!(text)))
        .collect();
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Awkward", "metadata": {"name": "awkward"},
        "data": data, "keys": keys,
        "numbers": [0, -1, 1.5, 1e21, 9_007_199_254_740_993_i64, true, null, [], {}],
    });
    assert_eq!(through_kubectl(&yaml::emit(&object).unwrap()), [object]);
}

/// Every object of the golden cases.
#[test]
fn kubectl_reads_back_every_golden_object() {
    let mut values = Vec::new();
    for entry in ["tests/golden", "tests/golden/crds"].map(|folder| root().join(folder)) {
        for entry in std::fs::read_dir(entry).unwrap() {
            let path = entry.unwrap().path();
            let file = if path.is_dir() {
                path.join("objects.yaml")
            } else {
                path
            };
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if file.extension().is_some_and(|ext| ext == "yaml") {
                values.extend(yaml::parse_all(&text).unwrap());
            }
        }
    }
    assert!(values.len() > 400);
    let texts: Vec<String> = values
        .iter()
        .map(|value| yaml::emit(value).unwrap())
        .collect();
    let read = through_kubectl(&texts.join("---\n"));
    for (read, written) in read.iter().zip(&values) {
        assert_eq!(read, written);
    }
    assert_eq!(read.len(), values.len());
}

/// An empty patch of a local file: `kubectl` reads and writes it, and talks to no server.
fn through_kubectl(text: &str) -> Vec<Value> {
    let mut kubectl = Command::new(crate::support::testbed("FERRY_TESTBED_KUBECTL"))
        .args([
            "patch",
            "--local",
            "--type",
            "merge",
            "-p",
            "{}",
            "-o",
            "json",
            "-f",
            "-",
            "--show-managed-fields",
        ])
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = kubectl.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = kubectl.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    values.map(|value| value.unwrap()).collect()
}
