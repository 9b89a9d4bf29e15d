//! T-6: how Services and what stands before them are reached from outside. Clouds read settings of
//! their own from annotations; a type of Service that B cannot offer becomes another.

use std::ops::Range;

use serde_json::Value;

use super::apply::whole;
use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, in_words, mappings, select_of, suggest, text};
use super::recipe::{Entry, Mapping, Placed};
use super::select::Select;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::knowledge::Knowledge;
use crate::knowledge::clouds::Cloud;
use crate::object::pointer;
use crate::yaml::located::Located;

/// What becomes of the ways in from outside.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// Which objects.
    pub select: Select,
    /// Types of Services.
    pub types: Vec<Mapping<String>>,
    /// Whose annotations go, and who reads those that take their place.
    pub cloud: Option<CloudChange>,
}

/// From one cloud's annotations to another's.
#[derive(Clone, Debug)]
pub struct CloudChange {
    /// Whose annotations go.
    pub from: Placed<String>,
    /// Who reads what takes their place; `None` for nobody.
    pub to: Option<Placed<String>>,
}

/// Types a Service may have.
const TYPES: [&str; 3] = ["ClusterIP", "NodePort", "LoadBalancer"];

/// Fields the API refuses on a Service of a lesser type, from the last type that has them.
const FIELDS: [(&str, &[&str]); 2] = [
    (
        "LoadBalancer",
        &[
            "/spec/loadBalancerIP",
            "/spec/loadBalancerClass",
            "/spec/loadBalancerSourceRanges",
            "/spec/allocateLoadBalancerNodePorts",
            "/spec/healthCheckNodePort",
        ],
    ),
    ("NodePort", &["/spec/externalTrafficPolicy"]),
];

/// Reads `exposure:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Exposure> {
    let fields = Fields::read(body, span, &grammar::EXPOSURE, faults)?;
    let types = mappings(
        &fields,
        "type",
        "a type of Service",
        faults,
        |name| match TYPES.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(format!("the types are {}", in_words(&TYPES))),
        },
    );
    let cloud = fields.get("cloud").and_then(|node| cloud(node, faults));
    if types.is_empty() && cloud.is_none() {
        faults
            .add("`exposure` changes nothing", span, "nothing to do")
            .help("add `type: {LoadBalancer: NodePort}` or `cloud: {from: aws, to: gcp}`");
    }
    Some(Exposure {
        select: select_of(&fields, faults),
        types,
        cloud,
    })
}

fn cloud(node: &Located, faults: &mut Faults) -> Option<CloudChange> {
    let fields = Fields::read(node, &node.span, &grammar::CLOUD, faults)?;
    let names: Vec<&str> = clouds().iter().map(|one| one.cloud.as_str()).collect();
    let mut name = |node: &Located| {
        let value = text(node, faults)?;
        if !names.contains(&value.as_str()) {
            faults
                .add(format!("unknown cloud `{value}`"), &node.span, "not known")
                .help(
                    suggest(&value, &names)
                        .unwrap_or_else(|| format!("the clouds are {}", in_words(&names))),
                );
        }
        let span = node.span.clone();
        Some(Placed { value, span })
    };
    let to = fields.get("to").and_then(&mut name);
    let from = fields.get("from").and_then(name);
    if from.is_none() {
        fields.required("from", faults);
    }
    Some(CloudChange { from: from?, to })
}

/// Recipes name clouds, so that a misspelt one is told when the recipe is read.
fn clouds() -> &'static [Cloud] {
    &Knowledge::builtin().clouds
}

impl Exposure {
    /// Every part that must match something, with its place: the lines of `type`, then the cloud.
    pub(super) fn rules(&self) -> Vec<(Option<String>, Range<usize>)> {
        let lines = self.types.iter();
        let lines = lines.map(|line| (Some(line.from.value.clone()), line.from.span.clone()));
        let cloud = self.cloud.iter();
        let cloud = cloud.map(|one| (Some(one.from.value.clone()), one.from.span.clone()));
        lines.chain(cloud).collect()
    }
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    recipe: usize,
    entry: &Entry,
    exposure: &Exposure,
) {
    let base = whole(recipe, entry);
    let find = |name: &Placed<String>| {
        let mut clouds = knowledge.clouds.iter();
        clouds.find(|cloud| cloud.cloud == name.value)
    };
    let clouds = exposure
        .cloud
        .as_ref()
        .and_then(|change| Some((find(&change.from)?, change.to.as_ref().and_then(find))));
    for index in work.selected(recipe, entry) {
        if work.before[index].is("", "Service") {
            service_type(work, index, &exposure.types, base);
        }
        if let Some((from, to)) = clouds {
            let part = Part {
                part: exposure.types.len(),
                ..base
            };
            annotations(work, index, from, to, part);
        }
    }
}

fn service_type(work: &mut Work<'_>, index: usize, types: &[Mapping<String>], base: Part) {
    let object = &work.objects()[index];
    let now = object.text("/spec/type").unwrap_or("ClusterIP").to_owned();
    let Some(number) = types.iter().position(|line| line.from.value == now) else {
        return;
    };
    let part = Part {
        part: number,
        ..base
    };
    let to = &types[number].to.value;
    work.assign(index, "/spec/type", to.as_str().into(), "T-6", part);
    let rank = |name: &str| TYPES.iter().position(|known| *known == name);
    for (last, fields) in FIELDS {
        if rank(to) < rank(last) {
            for field in fields {
                work.unassign(index, field, "T-6", part);
            }
        }
    }
    let ports = work.objects()[index].pointer("/spec/ports");
    let ports = ports.and_then(Value::as_array).map_or(0, Vec::len);
    for port in 0..ports {
        // A port chosen on A is likely taken on B; B chooses its own.
        work.unassign(index, &format!("/spec/ports/{port}/nodePort"), "T-6", part);
    }
}

fn annotations(work: &mut Work<'_>, index: usize, from: &Cloud, to: Option<&Cloud>, part: Part) {
    let object = &work.objects()[index];
    let covers = |key: &str| {
        from.drop
            .iter()
            .find(|row| row.covers(&work.before[index], key))
    };
    let found: Vec<(String, String, bool, String)> = object
        .annotations()
        .into_iter()
        .filter_map(|(key, value)| {
            let row = covers(key)?;
            Some((
                key.to_owned(),
                value.to_owned(),
                row.identity,
                row.why.clone(),
            ))
        })
        .collect();
    for (key, value, identity, why) in found {
        work.unassign(
            index,
            &pointer::join("/metadata/annotations", &key),
            "T-6",
            part,
        );
        let means = from.means.iter();
        let means = means.filter(|(_, said)| said.key == key && said.value == value);
        let translated = means
            .filter_map(|(name, _)| to?.means.get(name))
            .next()
            .cloned();
        if let Some(said) = translated {
            let path = pointer::join("/metadata/annotations", &said.key);
            work.assign(index, &path, said.value.into(), "T-6", part);
            continue;
        }
        let verdict = if identity {
            Verdict::Warn
        } else {
            Verdict::Info
        };
        let remedy = match identity {
            true => "give the account the rights it needs on B",
            false => "say it again in the words of B, with `annotations`, if it is still needed",
        };
        let finding = Finding::new(
            verdict,
            "T-6",
            format!("the annotation `{key}` stays behind"),
        )
        .on(work.objects()[index].id())
        .because(format!("{why}; it said `{value}`"))
        .remedy(remedy);
        work.find(finding);
    }
}

/// S-58: an identity in A's cloud that travels as it is. B may be in the same cloud, so it stays.
pub(super) fn identities(work: &mut Work<'_>, knowledge: &Knowledge) {
    for index in 0..work.objects().len() {
        let object = &work.objects()[index];
        if !object.is("", "ServiceAccount") || work.is_left(index) {
            continue;
        }
        let clouds = knowledge.clouds.iter();
        let mut rows = clouds.flat_map(|cloud| cloud.drop.iter().map(move |row| (cloud, row)));
        let found = rows.find_map(|(cloud, row)| {
            let annotations = object.annotations().into_iter();
            let mut keys = annotations.filter(|(key, value)| {
                row.identity
                    && row.covers(object, key)
                    && work.before[index].annotation(key) == Some(*value)
            });
            let (key, value) = keys.next()?;
            Some((key.to_owned(), value.to_owned(), &cloud.cloud, &row.why))
        });
        let Some((key, value, cloud, why)) = found else {
            continue;
        };
        let remedy = format!(
            "name B's with `annotations`, or take it away with `exposure: {{cloud: {{from: {cloud}}}}}`"
        );
        let finding = Finding::new(
            Verdict::Warn,
            "S-58",
            "the account acts as an identity of A's",
        )
        .on(object.id())
        .at(pointer::join("/metadata/annotations", &key))
        .because(format!("{why}: `{value}`"))
        .remedy(remedy);
        work.find(finding);
    }
}
