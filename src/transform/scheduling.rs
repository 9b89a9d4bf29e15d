//! T-6: where pods may run. B's nodes have other labels and other taints.

use std::fmt;
use std::ops::Range;

use serde_json::{Map, Value};

use super::apply::whole;
use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, in_words, mappings, placed_texts, select_of};
use super::recipe::{Entry, Mapping, Placed};
use super::select::Select;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::graph::roots::Roots;
use crate::object::path::PathPattern;
use crate::object::pointer;
use crate::yaml::located::Located;

/// Where pods of selected workloads may run on B.
#[derive(Clone, Debug)]
pub struct Scheduling {
    /// Which objects.
    pub select: Select,
    /// Labels of nodes: a key, or a key with a value.
    pub node_labels: Vec<Mapping<NodeLabel>>,
    /// Keys of taints.
    pub taints: Vec<Mapping<String>>,
    /// Names of schedulers.
    pub schedulers: Vec<Mapping<String>>,
    /// Fields of the pod that are taken out, as in `nodeSelector`.
    pub remove: Vec<Placed<String>>,
}

/// A label of nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeLabel {
    /// Its key.
    pub key: String,
    /// Its value; `None` for any.
    pub value: Option<String>,
}

impl fmt::Display for NodeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// What `remove` may name, and where that is in a pod spec.
const REMOVABLE: [(&str, &str); 8] = [
    ("nodeSelector", "/nodeSelector"),
    ("nodeAffinity", "/affinity/nodeAffinity"),
    ("podAffinity", "/affinity/podAffinity"),
    ("podAntiAffinity", "/affinity/podAntiAffinity"),
    ("tolerations", "/tolerations"),
    ("topologySpreadConstraints", "/topologySpreadConstraints"),
    ("schedulerName", "/schedulerName"),
    ("nodeName", "/nodeName"),
];

/// Expressions over labels of nodes, in a pod spec.
const TERMS: &str = "/affinity/nodeAffinity/**/matchExpressions[]";

/// Keys that divide nodes, in a pod spec.
const TOPOLOGY: &str = "/{affinity,topologySpreadConstraints}/**/topologyKey";

/// Annotations of a namespace that hold a node selector as `key=value,…`.
const NAMESPACE: [&str; 2] = [
    "openshift.io/node-selector",
    "scheduler.alpha.kubernetes.io/node-selector",
];

/// Reads `scheduling:`.
pub(super) fn parse(
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Scheduling> {
    let fields = Fields::read(body, span, &grammar::SCHEDULING, faults)?;
    let label = |text: &str| {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        match key.is_empty() {
            false => Ok(NodeLabel {
                key: key.to_owned(),
                value,
            }),
            true => Err("write `key` or `key=value`".to_owned()),
        }
    };
    let plain = |text: &str| Ok(text.to_owned());
    let node_labels = mappings(&fields, "nodeLabels", "a label of nodes", faults, label);
    for line in &node_labels {
        if line.from.value.value.is_some() != line.to.value.value.is_some() {
            faults
                .add(
                    "a key becomes a key, and `key=value` becomes `key=value`",
                    &line.to.span,
                    "of another form",
                )
                .also(&line.from.span, "this one");
        }
    }
    let remove = fields.get("remove").map(|node| placed_texts(node, faults));
    let remove = remove.unwrap_or_default();
    for name in &remove {
        if !REMOVABLE.iter().any(|(known, _)| *known == name.value) {
            let names = REMOVABLE.map(|(name, _)| name);
            faults
                .add(
                    format!("`{}` cannot be removed here", name.value),
                    &name.span,
                    "unknown",
                )
                .help(format!("the choices are {}", in_words(&names)));
        }
    }
    let scheduling = Scheduling {
        select: select_of(&fields, faults),
        node_labels,
        taints: mappings(&fields, "taints", "a taint's key", faults, plain),
        schedulers: mappings(&fields, "schedulerName", "a scheduler", faults, plain),
        remove,
    };
    if scheduling.rules().next().is_none() {
        faults
            .add("`scheduling` changes nothing", span, "nothing to do")
            .help("add `nodeLabels`, `taints`, `schedulerName` or `remove`");
    }
    Some(scheduling)
}

impl Scheduling {
    /// Every part that must match something, with its place: the lines of its maps, then `remove`.
    pub(super) fn rules(&self) -> impl Iterator<Item = (Option<String>, Range<usize>)> {
        let lines = |map: &[Mapping<String>]| -> Vec<_> {
            map.iter()
                .map(|line| (Some(line.from.value.clone()), line.from.span.clone()))
                .collect()
        };
        let labels = self.node_labels.iter();
        let labels = labels.map(|line| (Some(line.from.value.to_string()), line.from.span.clone()));
        let remove = self.remove.iter();
        labels
            .collect::<Vec<_>>()
            .into_iter()
            .chain(lines(&self.taints))
            .chain(lines(&self.schedulers))
            .chain(remove.map(|name| (Some(name.value.clone()), name.span.clone())))
    }

    /// What a label becomes, and which line of the map says so.
    fn label(&self, key: &str, value: Option<&str>) -> Option<(usize, NodeLabel)> {
        let exact = |line: &Mapping<NodeLabel>| {
            line.from.value.key == key
                && value.is_some()
                && line.from.value.value.as_deref() == value
        };
        let any = |line: &Mapping<NodeLabel>| {
            line.from.value.key == key && line.from.value.value.is_none()
        };
        let lines = &self.node_labels;
        let number = lines.iter().position(exact);
        let number = number.or_else(|| lines.iter().position(any))?;
        let to = &lines[number].to.value;
        Some((
            number,
            NodeLabel {
                key: to.key.clone(),
                value: to.value.clone().or_else(|| value.map(str::to_owned)),
            },
        ))
    }
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    roots: &Roots<'_>,
    recipe: usize,
    entry: &Entry,
    scheduling: &Scheduling,
) {
    let base = whole(recipe, entry);
    for index in work.selected(recipe, entry) {
        let mut editor = Editor {
            work,
            index,
            base,
            scheduling,
        };
        if editor.work.before[index].is("", "Namespace") {
            editor.namespace();
        }
        for pod in roots.pods(&editor.work.before[index]) {
            editor.pod(&pod);
        }
    }
}

/// One object at work.
struct Editor<'e, 'w> {
    work: &'e mut Work<'w>,
    index: usize,
    base: Part,
    scheduling: &'e Scheduling,
}

impl Editor<'_, '_> {
    fn part(&self, number: usize) -> Part {
        Part {
            part: number,
            ..self.base
        }
    }

    fn value(&self, path: &str) -> Option<Value> {
        self.work.objects()[self.index].pointer(path).cloned()
    }

    fn set(&mut self, path: &str, value: Value, number: usize) {
        let part = self.part(number);
        self.work.assign(self.index, path, value, "T-6", part);
    }

    fn pod(&mut self, pod: &str) {
        let first = self.scheduling.rules().count() - self.scheduling.remove.len();
        for (number, name) in self.scheduling.remove.iter().enumerate() {
            let mut places = REMOVABLE.iter();
            if let Some((_, below)) = places.find(|(known, _)| *known == name.value) {
                let part = self.part(first + number);
                let path = format!("{pod}{below}");
                self.work.unassign(self.index, &path, "T-6", part);
            }
        }
        self.node_selector(&format!("{pod}/nodeSelector"));
        self.each(pod, TERMS, Self::term);
        self.each(pod, TOPOLOGY, Self::topology);
        self.each(pod, "/tolerations[]/key", |editor, path| {
            let scheduling = editor.scheduling;
            editor.name(&path, &scheduling.taints, scheduling.node_labels.len());
        });
        let scheduling = self.scheduling;
        let first = scheduling.node_labels.len() + scheduling.taints.len();
        let path = format!("{pod}/schedulerName");
        self.name(&path, &scheduling.schedulers, first);
    }

    /// Visits the places of a pattern below a pod spec.
    fn each(&mut self, pod: &str, pattern: &str, mut visit: impl FnMut(&mut Self, String)) {
        let Ok(pattern) = PathPattern::parse(pattern) else {
            return;
        };
        let mut places = Vec::new();
        if let Some(spec) = self.work.objects()[self.index].pointer(pod) {
            pattern.visit_from(spec, pod, &mut |path, _| places.push(path.to_owned()));
        }
        for place in places {
            visit(self, place);
        }
    }

    fn name(&mut self, path: &str, map: &[Mapping<String>], first: usize) {
        let Some(Value::String(name)) = self.value(path) else {
            return;
        };
        if let Some(number) = map.iter().position(|line| line.from.value == name) {
            let to = Value::from(map[number].to.value.as_str());
            self.set(path, to, first + number);
        }
    }

    fn node_selector(&mut self, path: &str) {
        let Some(Value::Object(before)) = self.value(path) else {
            return;
        };
        let mut after = Map::new();
        let mut moved = None;
        for (key, value) in before {
            match self.scheduling.label(&key, value.as_str()) {
                Some((number, to)) => {
                    let part = self.part(number);
                    self.work.used(part);
                    moved = Some(number);
                    after.insert(to.key, to.value.map_or(value, Value::from));
                }
                None => {
                    after.insert(key, value);
                }
            }
        }
        if let Some(number) = moved {
            self.set(path, Value::Object(after), number);
        }
    }

    /// `{key, operator, values}`: all values move together, or none does.
    fn term(&mut self, path: String) {
        let Some(term) = self.value(&path) else {
            return;
        };
        let Some(key) = term["key"].as_str() else {
            return;
        };
        let values: Vec<&str> = term["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if values.is_empty() {
            if let Some((number, to)) = self.scheduling.label(key, None) {
                self.set(&format!("{path}/key"), to.key.into(), number);
            }
            return;
        }
        let moved: Vec<Option<(usize, NodeLabel)>> = values
            .iter()
            .map(|value| self.scheduling.label(key, Some(value)))
            .collect();
        let mut keys: Vec<&str> = moved
            .iter()
            .flatten()
            .map(|(_, to)| to.key.as_str())
            .collect();
        keys.dedup();
        let (Some(Some((number, first))), true) = (
            moved.first().cloned(),
            keys.len() == 1 && moved.iter().all(Option::is_some),
        ) else {
            if moved.iter().any(Option::is_some) {
                let remedy = "write the whole expression with a patch";
                let message = format!("only some values of the node label `{key}` have a new name");
                let finding = Finding::new(Verdict::Warn, "T-6", message);
                let id = self.work.objects()[self.index].id();
                self.work.find(finding.on(id).at(path).remedy(remedy));
            }
            return;
        };
        for (number, _) in moved.iter().flatten() {
            let part = self.part(*number);
            self.work.used(part);
        }
        let values = moved.into_iter().flatten().filter_map(|(_, to)| to.value);
        let values: Value = values.collect::<Vec<_>>().into();
        self.set(&format!("{path}/key"), first.key.into(), number);
        self.set(&format!("{path}/values"), values, number);
    }

    fn topology(&mut self, path: String) {
        let Some(Value::String(key)) = self.value(&path) else {
            return;
        };
        if let Some((number, to)) = self.scheduling.label(&key, None) {
            self.set(&path, to.key.into(), number);
        }
    }

    fn namespace(&mut self) {
        for key in NAMESPACE {
            let path = pointer::join("/metadata/annotations", key);
            let Some(Value::String(text)) = self.value(&path) else {
                continue;
            };
            let mut moved = None;
            let pairs: Vec<String> = text
                .split(',')
                .map(|pair| {
                    let (key, value) = pair.trim().split_once('=').unwrap_or((pair, ""));
                    match self.scheduling.label(key, Some(value)) {
                        Some((number, to)) => {
                            moved = Some(number);
                            to.to_string()
                        }
                        None => pair.to_owned(),
                    }
                })
                .collect();
            if let Some(number) = moved {
                self.set(&path, pairs.join(",").into(), number);
            }
        }
    }
}
