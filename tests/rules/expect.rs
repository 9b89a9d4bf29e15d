//! Runs a case through the pure stages and compares.

use std::collections::{BTreeMap, BTreeSet};

use ferry::capture::{self, Dropped, Owner, Sorted};
use ferry::graph::{self, Graph, GraphInput};
use ferry::knowledge::Knowledge;
use ferry::object::{Object, ObjectId};
use ferry::surface::{ApiResource, ClusterIdentity, Surface};
use ferry::transform::{self, Recipe, Transformed};
use ferry::yaml;
use serde_json::Value;

use crate::case::{Case, id};

/// What is wrong, for people.
type Outcome = Result<(), String>;

/// Runs one case.
pub fn run(case: &Case) -> Outcome {
    let graph = case.edges.is_some()
        || case.dropped.is_some()
        || !(case.before.is_empty() && case.presence.is_empty() && case.phases.is_empty());
    let mut tried = graph;
    if let Some(stays) = &case.stays {
        tried = true;
        compare_stays(case, stays)?;
    }
    match (&case.recipe, &case.becomes) {
        (Some(recipe), _) => {
            tried = true;
            transformed(case, recipe)?;
        }
        (None, Some(becomes)) => {
            tried = true;
            sanitised(case, becomes)?;
        }
        (None, None) => {}
    }
    if graph {
        compare_graph(case, &draw(case)?)?;
    }
    match tried {
        true => Ok(()),
        false => Err("the case expects nothing".into()),
    }
}

/// Says how two lists differ; order does not count.
fn same(what: &str, expected: &[String], found: Vec<String>) -> Outcome {
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let lines = |sign: &str, lines: Vec<&&str>| -> String {
        lines
            .iter()
            .map(|line| format!("\n  {sign} {line}"))
            .collect()
    };
    let missing = lines("-", expected.difference(&found).collect());
    let extra = lines("+", found.difference(&expected).collect());
    match missing.is_empty() && extra.is_empty() {
        true => Ok(()),
        false => Err(format!("{what} (- expected, + found):{missing}{extra}")),
    }
}

fn sort(case: &Case) -> Sorted {
    capture::classify(
        case.objects(),
        &Default::default(),
        &Knowledge::builtin().sanitize,
        &surface(&case.crds()),
    )
}

/// A surface that serves the kinds of some definitions.
fn surface(crds: &[Object]) -> Surface {
    let resource = |crd: &Object| {
        let text = |at: &str| crd.text(at).unwrap_or_default().to_owned();
        ApiResource {
            group: text("/spec/group"),
            version: "v1".into(),
            kind: text("/spec/names/kind"),
            plural: text("/spec/names/plural"),
            namespaced: crd.text("/spec/scope") != Some("Cluster"),
            verbs: BTreeSet::new(),
            preferred: true,
            subresources: BTreeSet::new(),
        }
    };
    Surface {
        cluster: ClusterIdentity {
            name: "a".into(),
            uid: String::new(),
            version: "v1.34.4".into(),
        },
        resources: crds.iter().map(resource).collect(),
        objects: crds.to_vec(),
        unseen: BTreeSet::new(),
        silent: BTreeSet::new(),
    }
}

fn compare_stays(case: &Case, expected: &BTreeMap<String, String>) -> Outcome {
    let line = |id: &dyn std::fmt::Display, why: &str| format!("{id}: {why}");
    let expected: Vec<String> = expected.iter().map(|(id, why)| line(id, why)).collect();
    let found = sort(case).dropped.into_iter().map(|dropped| {
        let why = match &dropped.produced_by {
            Some(maker) => format!("{} by {maker}", dropped.rule),
            None => dropped.rule,
        };
        line(&dropped.id, &why)
    });
    same("what stays on A", &expected, found.collect())
}

/// Sanitised once, and once more to the same.
fn sanitised(case: &Case, expected: &[Value]) -> Outcome {
    let table = &Knowledge::builtin().sanitize;
    let once: Vec<Object> = case
        .objects()
        .iter()
        .map(|object| capture::sanitise(object, table))
        .collect();
    for object in &once {
        if capture::sanitise(object, table) != *object {
            return Err(format!("{} changes when sanitised again", object.id()));
        }
    }
    compare_objects(expected, &once)
}

fn compare_objects(expected: &[Value], found: &[Object]) -> Outcome {
    let text = |value: &Value| yaml::emit(value).unwrap_or_default();
    let expected: String = expected.iter().map(text).collect();
    let found: String = found.iter().map(|object| text(object.value())).collect();
    match expected == found {
        true => Ok(()),
        false => Err(format!(
            "objects (- expected, + found):\n{}",
            similar::TextDiff::from_lines(&expected, &found).unified_diff()
        )),
    }
}

fn apply(objects: &[Object], recipe: &Value) -> Result<Transformed, String> {
    let text = yaml::emit(recipe).map_err(|error| error.to_string())?;
    let recipe = Recipe::parse("recipe.yaml", &text).map_err(|error| format!("{error:#?}"))?;
    transform::apply(objects, &[recipe], Knowledge::builtin())
        .map_err(|error| format!("{:#?}", error.faults))
}

fn transformed(case: &Case, recipe: &Value) -> Outcome {
    let done = match (apply(&case.objects(), recipe), case.fails.as_slice()) {
        (Ok(done), []) => done,
        (Ok(_), _) => return Err("the recipe was expected to fail".into()),
        (Err(error), []) => return Err(error),
        (Err(error), fails) => {
            let lacks = fails.iter().find(|text| !error.contains(*text));
            return lacks.map_or(Ok(()), |text| Err(format!("{text:?} is not in {error}")));
        }
    };
    if let Some(expected) = &case.becomes {
        compare_objects(expected, &done.objects)?;
    }
    if let Some(expected) = &case.changes {
        let of_rule = done
            .changes
            .iter()
            .filter(|change| change.rule == case.rule);
        let found = of_rule.map(|change| {
            let (before, after) = (&change.before, &change.after);
            format!("{} {}: {before} -> {after}", change.object, change.path)
        });
        same("changes", expected, found.collect())?;
    }
    Ok(())
}

fn draw(case: &Case) -> Result<Graph, String> {
    let mut objects = case.objects();
    let mut owners: BTreeMap<ObjectId, Vec<Owner>> = BTreeMap::new();
    let mut produced: Vec<Dropped> = Vec::new();
    if case.captured {
        let sorted = sort(case);
        produced = sorted.dropped;
        objects = Vec::new();
        for captured in sorted.captured {
            owners.insert(captured.object.id(), captured.owners);
            objects.push(captured.object);
        }
    }
    let on_b: BTreeSet<ObjectId> = case.on_b.iter().map(|text| id(text)).collect();
    let crds = case.crds();
    let input = GraphInput {
        objects: &objects,
        crds: &crds,
        produced: &produced,
        owners: &owners,
        on_b: &on_b,
        knowledge: Knowledge::builtin(),
    };
    graph::build(&input).map_err(|error| error.to_string())
}

fn compare_graph(case: &Case, graph: &Graph) -> Outcome {
    if let Some(edges) = &case.edges {
        let of_rule = graph.edges.iter().filter(|edge| edge.rule == case.rule);
        let found = of_rule.map(|edge| format!("{} -{}-> {}", edge.from, edge.strength, edge.to));
        same("edges", edges, found.collect())?;
    }
    if let Some(dropped) = &case.dropped {
        let found = graph.dropped.iter().map(|dropped| {
            let edge = &dropped.edge;
            format!("{}: {} -> {}", edge.rule, edge.from, edge.to)
        });
        same("edges left out of the order", dropped, found.collect())?;
    }
    let node = |name: &str| {
        graph
            .node(&id(name))
            .ok_or_else(|| format!("{name} is not in the graph"))
    };
    for pair in &case.before {
        let (first, second) = pair.split_once(" < ").ok_or("a pair is written A < B")?;
        let (early, late) = (node(first)?.wave, node(second)?.wave);
        if early >= late {
            return Err(format!(
                "{first} is in wave {early}, {second} in wave {late}"
            ));
        }
    }
    for (name, expected) in &case.presence {
        same_word(name, expected, &node(name)?.presence)?;
    }
    for (name, expected) in &case.phases {
        same_word(name, expected, &node(name)?.phase)?;
    }
    Ok(())
}

fn same_word(name: &str, expected: &str, found: &impl serde::Serialize) -> Outcome {
    let found = serde_json::to_value(found).map_err(|error| error.to_string())?;
    match found.as_str() == Some(expected) {
        true => Ok(()),
        false => Err(format!("{name} is {found}, not {expected}")),
    }
}
