//! One case: what goes in, and what is expected of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ferry::object::{Object, ObjectId};
use ferry::yaml;
use serde::Deserialize;
use serde_json::Value;

/// One case, as written in a file of `tests/rules`. Everything expected that is written must hold, and
/// something must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// The rule it is about, as in `E-24`.
    pub rule: String,
    /// What the rule does here, as a sentence.
    pub case: String,
    /// Objects as A's server gives them.
    pub objects: Vec<Value>,
    /// Definitions on A that do not travel.
    #[serde(default)]
    pub crds: Vec<Value>,
    /// Ids of objects that are on B.
    #[serde(default)]
    pub on_b: Vec<String>,
    /// Whether the objects pass through a capture before the graph is drawn.
    #[serde(default)]
    pub captured: bool,
    /// A recipe to apply.
    pub recipe: Option<Value>,
    /// All edges that carry the case's rule, as `FROM -R-> TO`, in any order.
    #[serde(default)]
    pub edges: Option<Vec<String>>,
    /// Pairs of objects of which the first is written in an earlier wave, as `A < B`.
    #[serde(default)]
    pub before: Vec<String>,
    /// All edges left out of the order, as `RULE: FROM -> TO`.
    #[serde(default)]
    pub dropped: Option<Vec<String>>,
    /// Where objects are: captured, on-b, produced or missing.
    #[serde(default)]
    pub presence: BTreeMap<String, String>,
    /// Phases in which objects are written.
    #[serde(default)]
    pub phases: BTreeMap<String, String>,
    /// All objects that a capture leaves on A, and why: `RULE` or `RULE by MAKER`.
    #[serde(default)]
    pub stays: Option<BTreeMap<String, String>>,
    /// The objects in their order as they travel, or as the recipe makes them.
    #[serde(default)]
    pub becomes: Option<Vec<Value>>,
    /// Every change of the recipe that carries the case's rule: `OBJECT PATH: BEFORE -> AFTER`.
    #[serde(default)]
    pub changes: Option<Vec<String>>,
    /// Texts that must be in what is wrong with the recipe.
    #[serde(default)]
    pub fails: Vec<String>,
    /// The file's name.
    #[serde(skip)]
    pub file: String,
}

impl Case {
    /// The name of its test.
    pub fn name(&self) -> String {
        format!("{}: {}", self.rule, self.case)
    }

    /// Its objects.
    pub fn objects(&self) -> Vec<Object> {
        self.objects.iter().cloned().map(object).collect()
    }

    /// Its definitions.
    pub fn crds(&self) -> Vec<Object> {
        self.crds.iter().cloned().map(object).collect()
    }
}

/// Reads every case, by file name and then in the order of the file.
pub fn read_all(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap();
    let mut cases: Vec<Case> = match yaml::read(&text) {
        Ok(cases) => cases,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{}: {error}: {}", file.display(), cause.unwrap_or_default());
        }
    };
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    for case in &mut cases {
        case.file.clone_from(&name);
    }
    cases
}

fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

/// `Kind[.group] [namespace/]name` as an id.
pub fn id(text: &str) -> ObjectId {
    let (kind, name) = text
        .split_once(' ')
        .unwrap_or_else(|| panic!("{text:?} is not KIND NAME"));
    let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
    match name.split_once('/') {
        Some((namespace, name)) => ObjectId::namespaced(group, kind, namespace, name),
        None => ObjectId::cluster(group, kind, name),
    }
}
