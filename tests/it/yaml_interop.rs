//! What Ferry writes as YAML, `kubectl` reads back as the same values (docs/design/0001).

use std::io::Write as _;
use std::process::{Command, Stdio};

use ferry::yaml;
use serde_json::{Map, Value, json};

/// Strings that some reader takes for something else, or some writer breaks.
const AWKWARD: &[&str] = &[
    "",
    " ",
    "  two",
    "two  ",
    "\t",
    "a\tb",
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "No",
    "on",
    "Off",
    "true",
    "TRUE",
    "False",
    "null",
    "Null",
    "~",
    "0",
    "00",
    "0644",
    "0o644",
    "0x1F",
    "0x_1",
    "0b11",
    "1_000",
    "1e3",
    "1E+3",
    ".5",
    "5.",
    "-.inf",
    ".nan",
    "+1",
    "-0",
    "12:30:45",
    "1:60",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "=",
    "<<",
    "!",
    "!!str",
    "&a",
    "*a",
    "?",
    "-",
    "- a",
    ":",
    "a: b",
    "a:",
    ": a",
    "#",
    "a #b",
    "#a",
    "%",
    "@",
    "`",
    "|",
    ">",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "it's",
    "say \"x\"",
    "\\",
    "\\n",
    "a\nb",
    "a\n",
    "\na",
    "a\n\n",
    "\n",
    "a\r\nb",
    "\u{feff}a",
    "\u{85}",
    "\u{2028}",
    "\u{7f}",
    "é",
    "日本",
    "😀",
    "---",
    "--- a",
    "...",
    "key: |\n  text\n",
    "  indented\nless\n",
    "trailing \nspace",
    "{{ .Values.x }}",
    "${VAR}",
];

/// A kind that no schema checks, so that any string may be a key.
#[test]
fn kubectl_reads_back_the_values_and_keys_that_were_written() {
    let numbered = |(n, text): (usize, &&str)| (format!("k{n}"), json!(text));
    let data: Map<String, Value> = AWKWARD.iter().enumerate().map(numbered).collect();
    let keys: Map<String, Value> = AWKWARD
        .iter()
        .map(|text| ((*text).to_owned(), json!(text)))
        .collect();
    let object = json!({
        "apiVersion": "example.com/v1", "kind": "Awkward", "metadata": {"name": "awkward"},
        "data": data, "keys": keys,
        "numbers": [0, -1, 1.5, 1e21, 9_007_199_254_740_993_i64, true, null, [], {}],
    });
    assert_eq!(through_kubectl(&yaml::emit(&object).unwrap()), object);
}

/// An empty patch of a local file: `kubectl` reads and writes it, and talks to no server.
fn through_kubectl(text: &str) -> Value {
    let mut kubectl = Command::new("kubectl")
        .args([
            "patch", "--local", "--type", "merge", "-p", "{}", "-o", "json", "-f", "-",
        ])
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubectl
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = kubectl.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
