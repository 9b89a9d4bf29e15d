//! A case: its files, and the way from them to a plan.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ferry::capture::{self, Capture, Selection};
use ferry::event::Events;
use ferry::knowledge::Knowledge;
use ferry::object::Object;
use ferry::pipeline::{self, Choices, Prepared};
use ferry::transform::Recipe;
use ferry::yaml;
use serde_json::{Value, json};

use super::{draw, server};
use crate::support::root;

const CRD: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

/// A namespace with this label is on A, and does not travel.
const STAYS: &str = "golden.ferry.dev/stays";

/// One folder, read.
pub struct Case {
    /// Namespaces that are captured.
    pub namespaces: Vec<String>,
    /// What is on A beside what every cluster of these cases has.
    pub objects: Vec<Object>,
    /// The definitions of the custom resources among them.
    pub crds: Vec<Object>,
    /// What is on B beside what every cluster of these cases has.
    pub on_b: Vec<Object>,
    /// Definitions B lacks, by name.
    pub absent: BTreeSet<String>,
    /// What happens on the way.
    pub recipe: Recipe,
}

/// The folder of a case; names of folders have dashes.
pub fn folder(name: &str) -> PathBuf {
    root().join("tests/golden").join(name.replace('_', "-"))
}

impl Case {
    /// Reads a folder.
    pub fn read(name: &str) -> Self {
        let folder = folder(name);
        let objects = objects(&folder.join("objects.yaml"));
        let text = fs::read_to_string(folder.join("recipe.yaml")).unwrap();
        let recipe = match Recipe::parse("recipe.yaml", &text) {
            Ok(recipe) => recipe,
            Err(error) => panic!("{name}: {error:#?}"),
        };
        let namespaces = objects
            .iter()
            .filter(|one| one.is("", "Namespace") && one.label(STAYS).is_none())
            .map(|one| one.name().to_owned());
        let absent = fs::read_to_string(folder.join("absent.txt")).unwrap_or_default();
        let on_b = folder.join("b.yaml");
        Self {
            namespaces: namespaces.collect(),
            crds: definitions(&objects),
            on_b: if on_b.exists() {
                self::objects(&on_b)
            } else {
                Vec::new()
            },
            absent: absent.lines().map(Into::into).collect(),
            recipe,
            objects,
        }
    }

    /// Captures it from a cluster A that is made of its files.
    pub async fn capture(&self) -> Capture {
        let mut all = objects(&root().join("tests/golden/a.yaml"));
        all.extend(self.crds.iter().chain(&self.objects).cloned());
        let cluster = server::serve("a", all.into_iter().map(served).collect()).await;
        let selection = Selection {
            namespaces: self.namespaces.clone(),
            ..Selection::default()
        };
        let (knowledge, events) = (Knowledge::builtin(), Events::silent());
        capture::take(&cluster, &selection, knowledge, &events)
            .await
            .unwrap()
    }

    /// Plans a capture for a cluster B that is made of its files.
    pub async fn prepare(&self, capture: Capture) -> Prepared {
        let mut all = objects(&root().join("tests/golden/b.yaml"));
        let there = |crd: &&Object| !self.absent.contains(crd.name());
        all.extend(self.crds.iter().filter(there).cloned());
        all.extend(self.on_b.iter().cloned());
        let cluster = server::serve("b", all.into_iter().map(served).collect()).await;
        let recipes = std::slice::from_ref(&self.recipe);
        let (choices, events) = (Choices::default(), Events::silent());
        match pipeline::prepare(capture, None, &cluster, recipes, choices, &events).await {
            Ok(prepared) => prepared,
            Err(error) => panic!("{error:#?}"),
        }
    }
}

/// Compares everything Ferry says about a case with what it said before.
pub async fn check(name: &str) {
    let case = Case::read(name);
    let capture = case.capture().await;
    let captured = draw::captured(&capture);
    let prepared = case.prepare(capture).await;
    let texts = [
        ("captured.txt", captured),
        ("graph.txt", draw::graph(&prepared.plan.graph)),
        ("findings.txt", draw::findings(&prepared.plan.findings)),
        ("plan.txt", draw::plan(&prepared.plan)),
        ("diff.txt", draw::diff(&prepared)),
    ];
    let mut wrong = Vec::new();
    for (file, text) in texts {
        wrong.extend(compare(&folder(name).join(file), &text));
    }
    assert!(
        wrong.is_empty(),
        "BLESS=1 writes it anew:\n{}",
        wrong.join("\n")
    );
}

/// What differs from a file; writes the file when asked to.
pub fn compare(file: &Path, text: &str) -> Option<String> {
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, text).unwrap();
        return None;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    (expected != text).then(|| {
        let diff = similar::TextDiff::from_lines(expected.as_str(), text);
        format!("{}\n{}", file.display(), diff.unified_diff())
    })
}

/// Every document of a file.
pub fn objects(file: &Path) -> Vec<Object> {
    let text = fs::read_to_string(file).unwrap();
    let values =
        yaml::parse_all(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    values
        .into_iter()
        .map(|value| Object::new(value).unwrap())
        .collect()
}

/// The definitions, of all in `tests/golden/crds`, of the kinds some objects have.
fn definitions(objects: &[Object]) -> Vec<Object> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("tests/golden/crds"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let used: BTreeSet<_> = objects.iter().map(Object::group_kind).collect();
    let is_used = |crd: &Object| {
        let text = |at: &str| crd.text(at).unwrap_or_default();
        crd.is(CRD.0, CRD.1)
            && used.iter().any(|kind| {
                (kind.group.as_str(), kind.kind.as_str())
                    == (text("/spec/group"), text("/spec/names/kind"))
            })
    };
    files
        .iter()
        .flat_map(|file| self::objects(file))
        .filter(is_used)
        .collect()
}

/// Adds what an API server adds to every object; UIDs follow from names, so that owners written
/// without one are found.
fn served(object: Object) -> Object {
    let uid = uid(&object.id().to_string());
    let namespace = object.namespace().map(str::to_owned);
    let mut value = object.into_value();
    let metadata = &mut value["metadata"];
    for owner in metadata["ownerReferences"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let api_version = owner["apiVersion"].as_str().unwrap().to_owned();
        let stub = json!({"apiVersion": api_version, "kind": owner["kind"],
            "metadata": {"name": owner["name"], "namespace": namespace}});
        owner["uid"] = self::uid(&Object::new(stub).unwrap().id().to_string()).into();
    }
    if metadata["ownerReferences"].is_null() {
        metadata.as_object_mut().unwrap().remove("ownerReferences");
    }
    let fields = [
        ("uid", Value::String(uid)),
        ("resourceVersion", "1000".into()),
        ("creationTimestamp", "2026-01-05T08:00:00Z".into()),
    ];
    for (key, field) in fields {
        if metadata[key].is_null() {
            metadata[key] = field;
        }
    }
    Object::new(value).unwrap()
}

fn uid(id: &str) -> String {
    let hex = blake3::hash(id.as_bytes()).to_hex();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32],
    ]
    .join("-")
}
