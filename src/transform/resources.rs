//! T-7: what containers ask for and may use.
//!
//! Quantities are set or capped. A factor is no choice: applied twice it would count twice.

use std::ops::Range;

use serde_json::Value;

use super::apply::whole;
use super::fault::Faults;
use super::parse::{Fields, entries_of, flag, select_of, texts};
use super::recipe::Entry;
use super::select::{Glob, Select};
use super::work::{Part, Work};
use super::{grammar, quotas};
use crate::graph::roots::Roots;
use crate::object::pointer;
use crate::object::quantity::Quantity;
use crate::yaml::located::{Located, Node};

/// What becomes of the resources of selected workloads' containers.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Which objects.
    pub select: Select,
    /// Which of their containers; empty for all.
    pub containers: Vec<Glob>,
    /// Requests to set; `None` removes one.
    pub requests: Vec<(String, Option<String>)>,
    /// Limits to set; `None` removes one.
    pub limits: Vec<(String, Option<String>)>,
    /// What neither a request nor a limit may exceed.
    pub max: Vec<(String, String)>,
    /// Whether quotas follow what their namespaces ask for.
    pub quotas: bool,
}

/// Reads `resources:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Resources> {
    let fields = Fields::read(body, span, &grammar::RESOURCES, faults)?;
    let mut amounts = |key: &str| {
        let node = fields.get(key);
        node.map(|node| quantities(node, key, faults))
            .unwrap_or_default()
    };
    let (requests, limits, max) = (amounts("requests"), amounts("limits"), amounts("max"));
    let quotas = fields.get("quotas").and_then(|node| flag(node, faults));
    let quotas = quotas.unwrap_or(false);
    let given = |key: &&str| fields.get(key).is_some_and(|node| !is_empty(node));
    if !quotas && !["requests", "limits", "max"].iter().any(given) {
        faults
            .add("`resources` changes nothing", span, "nothing to set")
            .help("add `requests`, `limits` or `max`, as in `max: {cpu: 500m, memory: 1Gi}`");
    }
    let containers = fields.get("containers").map(|node| texts(node, faults));
    Some(Resources {
        select: select_of(&fields, faults),
        containers: containers
            .unwrap_or_default()
            .iter()
            .filter_map(|text| Glob::new(text))
            .collect(),
        requests,
        limits,
        max: max
            .into_iter()
            .filter_map(|(name, amount)| Some((name, amount?)))
            .collect(),
        quotas,
    })
}

fn is_empty(node: &Located) -> bool {
    matches!(&node.node, Node::Map(entries) if entries.is_empty())
}

/// A map of resources to quantities; null removes where that means something.
fn quantities(node: &Located, key: &str, faults: &mut Faults) -> Vec<(String, Option<String>)> {
    let what = format!("`{key}`");
    let entries = entries_of(node, &node.span, &what, faults).unwrap_or_default();
    let mut list = Vec::new();
    for (name, node) in entries {
        let amount = match &node.node {
            Node::Scalar(Value::Null) if key != "max" => None,
            Node::Scalar(Value::String(text)) => Some(text.clone()),
            Node::Scalar(Value::Number(number)) => Some(number.to_string()),
            _ => Some(String::new()),
        };
        if let Some(text) = &amount
            && Quantity::parse(text).is_none()
        {
            let span = if node.span.is_empty() {
                &name.span
            } else {
                &node.span
            };
            faults
                .add(
                    format!(
                        "`{}` must be a quantity, found {}",
                        name.text,
                        node.describe()
                    ),
                    span,
                    "not a quantity",
                )
                .help("write it as `500m`, `2` or `1Gi`");
            continue;
        }
        list.push((name.text.clone(), amount));
    }
    list
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    roots: &Roots<'_>,
    recipe: usize,
    entry: &Entry,
    resources: &Resources,
    faults: &mut Faults,
) {
    let part = whole(recipe, entry);
    for index in work.selected(recipe, entry) {
        if work.before[index].is("", "LimitRange") && resources.containers.is_empty() {
            quotas::cap_range(work, index, &resources.max, part);
        }
        let mut places: Vec<String> = roots
            .containers(&work.before[index])
            .into_iter()
            .filter(|place| wanted(work, index, place, &resources.containers))
            .map(|place| format!("{place}/resources"))
            .collect();
        if resources.containers.is_empty() {
            // Of a pod as a whole: only what is there is capped.
            let pods = roots.pods(&work.before[index]);
            for place in pods.iter().map(|pod| format!("{pod}/resources")) {
                if work.objects()[index].pointer(&place).is_some() {
                    cap(work, index, &place, &resources.max, part);
                }
            }
        }
        places.sort();
        for place in places {
            change(work, index, &place, resources, part);
            if let Some(name) = above(work, index, &place) {
                faults
                    .add(
                        format!(
                            "{} would ask for more {name} than its limit",
                            work.id(index)
                        ),
                        &entry.span,
                        format!("at {place}"),
                    )
                    .help("set the limit too, or cap both with `max`");
            }
        }
    }
}

fn wanted(work: &Work<'_>, index: usize, place: &str, names: &[Glob]) -> bool {
    let name = work.objects()[index].text(&format!("{place}/name"));
    names.is_empty() || name.is_some_and(|name| names.iter().any(|glob| glob.matches(name)))
}

fn change(work: &mut Work<'_>, index: usize, place: &str, resources: &Resources, part: Part) {
    for (kind, amounts) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        for (name, amount) in amounts {
            let path = pointer::join(&format!("{place}/{kind}"), name);
            match amount {
                Some(amount) => {
                    work.assign(index, &path, Value::from(amount.as_str()), "T-7", part);
                }
                None => work.unassign(index, &path, "T-7", part),
            }
        }
    }
    cap(work, index, place, &resources.max, part);
}

fn cap(work: &mut Work<'_>, index: usize, place: &str, max: &[(String, String)], part: Part) {
    for kind in ["requests", "limits"] {
        lower(work, index, &format!("{place}/{kind}"), max, part);
    }
}

/// Lowers the amounts at one place that are more than they may be.
pub(super) fn lower(
    work: &mut Work<'_>,
    index: usize,
    place: &str,
    max: &[(String, String)],
    part: Part,
) {
    for (name, most) in max {
        let path = pointer::join(place, name);
        let now = work.objects()[index].pointer(&path).and_then(quantity);
        if now.is_some() {
            work.used(part);
        }
        if now > Quantity::parse(most) {
            work.assign(index, &path, Value::from(most.as_str()), "T-7", part);
        }
    }
}

/// A resource whose request is above its limit.
fn above(work: &Work<'_>, index: usize, place: &str) -> Option<String> {
    let limits = work.objects()[index].pointer(&format!("{place}/limits"))?;
    let requests = work.objects()[index].pointer(&format!("{place}/requests"))?;
    let mut names = limits.as_object()?.iter();
    names.find_map(|(name, limit)| {
        let (limit, request) = (quantity(limit)?, quantity(requests.get(name)?)?);
        (request > limit).then(|| name.clone())
    })
}

/// A quantity as a text or a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}
