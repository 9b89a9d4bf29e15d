//! Golden cases: each folder of `tests/cases` holds `objects.yaml`, and `graph.txt` drawn from it;
//! where there is a `recipe.yaml`, also `changes.txt`, what the recipe changes.
//!
//! `BLESS=1 cargo test --test it cases` writes the drawings anew; the diff is then for review.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ferry::graph::{self, Graph, GraphInput};
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::transform::{self, Recipe, Transformed};
use ferry::yaml;

use crate::support::root;

#[test]
fn every_case_is_drawn_as_before() {
    let mut folders: Vec<PathBuf> = fs::read_dir(root().join("tests/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(!folders.is_empty());
    for folder in folders {
        let text = fs::read_to_string(folder.join("objects.yaml")).unwrap();
        check(&folder.join("graph.txt"), &drawing(&objects(&text)));
    }
}

#[test]
fn every_cases_recipe_changes_what_it_did_before() {
    for entry in fs::read_dir(root().join("tests/cases")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(folder.join("recipe.yaml")) else {
            continue;
        };
        let recipe = Recipe::parse("recipe.yaml", &text).unwrap();
        let text = fs::read_to_string(folder.join("objects.yaml")).unwrap();
        let before = objects(&text);
        let done = match transform::apply(&before, &[recipe], Knowledge::builtin()) {
            Ok(done) => done,
            Err(error) => panic!("{}: {:#?}", folder.display(), error.faults),
        };
        check(&folder.join("changes.txt"), &changes(&done));
    }
}

fn changes(done: &Transformed) -> String {
    let mut text = String::new();
    for change in &done.changes {
        writeln!(text, "{:5} {} {}", change.rule, change.object, change.path).unwrap();
        writeln!(text, "      {} -> {}", change.before, change.after).unwrap();
    }
    let alike = done.lookalikes.iter();
    section(
        &mut text,
        "left alone",
        alike.map(|look| {
            format!(
                "{} {} {}: {}",
                look.rule, look.object, look.path, look.excerpt
            )
        }),
    );
    text
}

#[test]
fn the_example_is_drawn_as_before() {
    let shop = root().join("examples/shop");
    let mut files: Vec<PathBuf> = ["crds", "cluster", "manifests"]
        .iter()
        .flat_map(|folder| fs::read_dir(shop.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let text: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let drawing = drawing(&objects(&text.join("\n---\n")));
    check(&root().join("tests/it/shop-graph.txt"), &drawing);
}

fn objects(text: &str) -> Vec<Object> {
    let values = yaml::parse_all(text).unwrap();
    values
        .into_iter()
        .map(|value| Object::new(value).unwrap())
        .collect()
}

fn drawing(objects: &[Object]) -> String {
    let graph = graph::build(&GraphInput {
        objects,
        crds: &[],
        produced: &[],
        owners: &BTreeMap::new(),
        on_b: &BTreeSet::new(),
        knowledge: Knowledge::builtin(),
    });
    let graph = graph.unwrap();
    let mut text = String::new();
    for node in graph.order() {
        let phase = format!("{:?}", node.phase).to_lowercase();
        writeln!(text, "{:>3} {phase:9} {}", node.wave, node.id).unwrap();
        for line in needs(&graph, &node.id) {
            writeln!(text, "                {line}").unwrap();
        }
    }
    section(
        &mut text,
        "missing",
        graph.missing().keys().map(ToString::to_string),
    );
    let dropped = graph.dropped.iter().map(|dropped| {
        let edge = &dropped.edge;
        let because: Vec<String> = dropped.because.iter().map(ToString::to_string).collect();
        let because = match because.as_slice() {
            [] => "their phases say the opposite".to_owned(),
            path => path.join(" -> "),
        };
        format!("{} {} -> {}: {because}", edge.rule, edge.from, edge.to)
    });
    section(&mut text, "left out of the order", dropped);
    text
}

/// What an object refers to, but for its namespace, which everything does.
fn needs(graph: &Graph, id: &ObjectId) -> Vec<String> {
    let edges = graph.edges.iter();
    edges
        .filter(|edge| edge.from == *id && edge.rule != "E-1")
        .map(|edge| format!("{} {:6} {}", edge.strength, edge.rule, edge.to))
        .collect()
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        writeln!(text, "\n{title}:\n  {}", lines.join("\n  ")).unwrap();
    }
}

/// Compares with a file, or writes it when asked to.
#[track_caller]
fn check(file: &Path, drawing: &str) {
    if std::env::var_os("BLESS").is_some() {
        return fs::write(file, drawing).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == drawing,
        "{} differs; BLESS=1 writes it anew:\n{}",
        file.display(),
        similar::TextDiff::from_lines(expected.as_str(), drawing).unified_diff()
    );
}
