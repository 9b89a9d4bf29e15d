//! T-8: sizes and modes of claims, in claims and in everything that makes them. A claim never gets
//! smaller than the data that goes into it.

use std::ops::Range;

use serde_json::Value;

use super::apply::whole;
use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, in_words, mappings, select_of, text};
use super::recipe::{Entry, Mapping};
use super::select::Select;
use super::work::{Part, Work};
use crate::capture::Volume;
use crate::finding::{Finding, Verdict};
use crate::graph::references::References;
use crate::knowledge::Knowledge;
use crate::knowledge::targets::Rewrites;
use crate::object::quantity::Quantity;
use crate::object::{Object, ObjectId};
use crate::yaml::located::{Located, Node};

/// What becomes of selected claims and templates of claims.
#[derive(Clone, Debug)]
pub struct Volumes {
    /// Which objects.
    pub select: Select,
    /// Their size.
    pub size: Option<Size>,
    /// How they may be mounted.
    pub access_modes: Vec<Mapping<String>>,
    /// `Filesystem` or `Block`.
    pub volume_mode: Option<String>,
}

/// A size, or bounds of one.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// This very size.
    pub exactly: Option<String>,
    /// No smaller than this.
    pub min: Option<String>,
    /// No larger than this.
    pub max: Option<String>,
}

const MODES: [&str; 4] = [
    "ReadWriteOnce",
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOncePod",
];
const VOLUME_MODES: [&str; 2] = ["Filesystem", "Block"];

/// Modes in which several nodes mount a claim.
const SHARED: [&str; 2] = ["ReadOnlyMany", "ReadWriteMany"];

/// Reads `volumes:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Volumes> {
    let fields = Fields::read(body, span, &grammar::VOLUMES, faults)?;
    let access_modes = mappings(
        &fields,
        "accessModes",
        "an access mode",
        faults,
        |mode| match MODES.contains(&mode) {
            true => Ok(mode.to_owned()),
            false => Err(format!("the modes are {}", in_words(&MODES))),
        },
    );
    let volume_mode = fields.get("volumeMode").and_then(|node| {
        let mode = text(node, faults)?;
        if !VOLUME_MODES.contains(&mode.as_str()) {
            faults
                .add(
                    format!("unknown volume mode `{mode}`"),
                    &node.span,
                    "refused",
                )
                .help(format!("the modes are {}", in_words(&VOLUME_MODES)));
        }
        Some(mode)
    });
    let size = fields.get("size").and_then(|node| size(node, faults));
    if fields.get("size").is_none() && access_modes.is_empty() && volume_mode.is_none() {
        faults
            .add("`volumes` changes nothing", span, "nothing to do")
            .help("add `size`, `accessModes` or `volumeMode`, as in `size: {max: 10Gi}`");
    }
    Some(Volumes {
        select: select_of(&fields, faults),
        size,
        access_modes,
        volume_mode,
    })
}

fn size(node: &Located, faults: &mut Faults) -> Option<Size> {
    if let Node::Scalar(_) = &node.node {
        return Some(Size {
            exactly: quantity(node, faults),
            ..Size::default()
        });
    }
    let fields = Fields::read(node, &node.span, &grammar::SIZE, faults)?;
    let mut bound = |key| fields.get(key).and_then(|node| quantity(node, faults));
    let (min, max) = (bound("min"), bound("max"));
    let parsed = |text: &Option<String>| text.as_deref().and_then(Quantity::parse);
    if let (Some(least), Some(most)) = (parsed(&min), parsed(&max))
        && least > most
    {
        faults
            .add("`min` is more than `max`", fields.span(), "no size fits")
            .help("exchange the two");
    }
    Some(Size {
        exactly: None,
        min,
        max,
    })
}

fn quantity(node: &Located, faults: &mut Faults) -> Option<String> {
    let text = text(node, faults)?;
    if Quantity::parse(&text).is_none_or(|size| size <= Quantity::NONE) {
        faults
            .add(format!("`{text}` is not a size"), &node.span, "refused")
            .help("write it as `10Gi`");
    }
    Some(text)
}

impl Size {
    /// What a size becomes.
    fn of(&self, now: &str) -> Option<&str> {
        if let Some(exactly) = &self.exactly {
            return Some(exactly);
        }
        let size = Quantity::parse(now)?;
        let beyond =
            |bound: &&String, order| Quantity::parse(bound).map(|b| size.cmp(&b)) == Some(order);
        let max = self
            .max
            .as_ref()
            .filter(|max| beyond(max, std::cmp::Ordering::Greater));
        let min = self
            .min
            .as_ref()
            .filter(|min| beyond(min, std::cmp::Ordering::Less));
        max.or(min).map(String::as_str)
    }
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    references: &References<'_>,
    recipe: usize,
    entry: &Entry,
    volumes: &Volumes,
    faults: &mut Faults,
) {
    let part = whole(recipe, entry);
    for index in work.selected(recipe, entry) {
        for (path, now) in places(work, knowledge, index, Rewrites::ClaimSize) {
            let Some(size) = &volumes.size else { break };
            work.used(part);
            let Some(new) = now.as_str().and_then(|now| size.of(now)) else {
                continue;
            };
            if fits(work, index, &path, new, entry, faults) {
                work.assign(index, &path, new.into(), "T-8", part);
            }
        }
        for (path, now) in places(work, knowledge, index, Rewrites::ClaimModes) {
            modes(
                work,
                references,
                index,
                &path,
                &now,
                &volumes.access_modes,
                part,
            );
        }
        if let Some(mode) = &volumes.volume_mode {
            for (path, _) in places(work, knowledge, index, Rewrites::ClaimSpec) {
                let path = format!("{path}/volumeMode");
                work.assign(index, &path, mode.as_str().into(), "T-8", part);
            }
        }
    }
}

/// The places of one sort in an object, with what is there now.
fn places(
    work: &Work<'_>,
    knowledge: &Knowledge,
    index: usize,
    rewrites: Rewrites,
) -> Vec<(String, Value)> {
    let object = &work.objects()[index];
    let rows = knowledge.targets.iter();
    let rows = rows.filter(|row| row.rewrites == rewrites && row.applies(object));
    let mut found = Vec::new();
    for row in rows {
        row.path.visit(object.value(), &mut |path, value| {
            found.push((path.to_owned(), value.clone()));
        });
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found.dedup_by(|left, right| left.0 == right.0);
    found
}

/// Whether the data that goes into a claim fits the new size. Too little is a mistake; less than A
/// has is a finding.
fn fits(
    work: &mut Work<'_>,
    index: usize,
    path: &str,
    new: &str,
    entry: &Entry,
    faults: &mut Faults,
) -> bool {
    let Some(size) = Quantity::parse(new).map(Quantity::ceil) else {
        return false;
    };
    let claims: Vec<&Volume> = claims_of(work, index, path);
    for claim in &claims {
        let used = claim.saved.as_ref().map(|saved| saved.proof.bytes);
        if let Some(used) = used.filter(|used| *used > size) {
            faults
                .add(
                    format!("{new} is too small for the data of {}", claim.claim),
                    &entry.span,
                    format!("{used} bytes must fit"),
                )
                .help("choose a larger size, or leave this claim out of `select`");
            return false;
        }
    }
    let smaller: Vec<Finding> = claims
        .iter()
        .filter(|claim| size < claim.capacity)
        .map(|claim| {
            Finding::new(
                Verdict::Warn,
                "T-8",
                format!("the volume becomes smaller than on A: {new}"),
            )
            .on(claim.claim.clone())
            .at(path.to_owned())
            .because(match &claim.saved {
                Some(saved) => format!("its data takes {} bytes", saved.proof.bytes),
                None => format!(
                    "it has {} bytes on A; what is used is not known",
                    claim.capacity
                ),
            })
            .remedy("make sure that the data fits, with room for its file system")
        })
        .collect();
    smaller.into_iter().for_each(|finding| work.find(finding));
    true
}

/// The captured claims behind a place: the claim itself, or those made from a template.
fn claims_of<'w>(work: &Work<'w>, index: usize, path: &str) -> Vec<&'w Volume> {
    let object = &work.before[index];
    let volumes = work.source.volumes.iter();
    if object.is("", "PersistentVolumeClaim") {
        return volumes.filter(|one| one.claim == object.id()).collect();
    }
    let number = path.strip_prefix("/spec/volumeClaimTemplates/");
    let number = number.and_then(|rest| rest.split('/').next());
    let template = format!(
        "/spec/volumeClaimTemplates/{}/metadata/name",
        number.unwrap_or_default()
    );
    let Some(name) = object.text(&template) else {
        return Vec::new();
    };
    let prefix = format!("{name}-{}-", object.name());
    volumes
        .filter(|one| {
            one.claim.namespace.as_deref() == object.namespace()
                && one.claim.name.strip_prefix(&prefix).is_some_and(|rest| {
                    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
                })
        })
        .collect()
}

fn modes(
    work: &mut Work<'_>,
    references: &References<'_>,
    index: usize,
    path: &str,
    now: &Value,
    map: &[Mapping<String>],
    part: Part,
) {
    let list: Vec<&str> = now
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut new: Vec<&str> = Vec::new();
    for mode in &list {
        let line = map.iter().find(|line| line.from.value == *mode);
        if line.is_some() {
            work.used(part);
        }
        let mode = line.map_or(*mode, |line| &line.to.value);
        if !new.contains(&mode) {
            new.push(mode);
        }
    }
    if new == list {
        return;
    }
    work.assign(index, path, new.clone().into(), "T-8", part);
    let shared = |modes: &[&str]| modes.iter().any(|mode| SHARED.contains(mode));
    if shared(&list) && !shared(&new) {
        let claim = work.before[index].id();
        let users = mounted_by_several(work, references, &claim);
        for (user, replicas) in users {
            let finding = Finding::new(
                Verdict::Warn,
                "T-8",
                format!("{user} has {replicas} replicas, and only one node can mount the claim"),
            )
            .on(work.objects()[index].id())
            .at(path)
            .remedy("set its replicas to 1 with `scale`, or keep its pods on one node");
            work.find(finding);
        }
    }
}

/// Workloads of more than one replica that mount a claim.
fn mounted_by_several(
    work: &Work<'_>,
    references: &References<'_>,
    claim: &ObjectId,
) -> Vec<(ObjectId, u64)> {
    let pairs = work.before.iter().zip(work.objects());
    let several = |(before, after): (&Object, &Object)| {
        let replicas = after.pointer("/spec/replicas").and_then(Value::as_u64)?;
        let mounts = replicas > 1
            && (before.id() == *claim
                || references
                    .find(before)
                    .iter()
                    .any(|one| one.target == *claim));
        mounts.then(|| (after.id(), replicas))
    };
    pairs.filter_map(several).collect()
}
