//! OpenShift's kinds as those of plain Kubernetes: routes, deployment configs, image streams.
//!
//! What has no counterpart is never left out silently: each loss is a finding on the object, with what
//! to do about it. Selections still see the object as it is on A.

mod deployment;
mod images;
mod route;

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::apply::{entries, whole};
use super::fault::Faults;
use super::grammar::{self, Need};
use super::parse::{Fields, in_words, select_of, suggest, text};
use super::recipe::Transform;
use super::select::Select;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::graph::references::References;
use crate::object::{Object, ObjectId};
use crate::yaml::located::Located;

pub(super) use images::{INTERNAL, left_behind};

/// Which kinds become which.
#[derive(Clone, Debug)]
pub struct Convert {
    /// Which objects; without it all of these kinds.
    pub select: Select,
    /// What routes become.
    pub routes: Option<Routes>,
    /// Whether deployment configs become Deployments.
    pub deployment_configs: bool,
    /// Whether references to image streams become plain images, and the streams stay on A.
    pub image_streams: bool,
}

/// What a Route becomes.
#[derive(Clone, Debug)]
pub enum Routes {
    /// An Ingress, of this class if one is named.
    Ingress(Option<String>),
    /// An HTTPRoute of a Gateway.
    HttpRoute(Gateway),
}

/// A Gateway that serves HTTPRoutes.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its namespace; that of the route when absent.
    pub namespace: Option<String>,
    /// One listener of it.
    pub listener: Option<String>,
}

/// Reads `convert:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Convert> {
    let fields = Fields::read(body, span, &grammar::CONVERT, faults)?;
    let mut only = |key: &'static str, words: &str, target: &str| {
        let Some(node) = fields.get(key) else {
            return false;
        };
        let to = Fields::read(node, &node.span, &grammar::CONVERTED, faults)
            .and_then(|fields| fields.required("to", faults))
            .and_then(|node| choice(words, node, &[target], faults));
        to.is_some()
    };
    let deployment_configs = only("deploymentConfigs", "deployment configs", "Deployment");
    let image_streams = only("imageStreams", "image streams", "image");
    let routes = fields.get("routes").and_then(|node| routes(node, faults));
    let some = grammar::CONVERT.of_need(Need::Some);
    if some.iter().all(|key| fields.get(key).is_none()) {
        faults
            .add("`convert` changes nothing", span, "nothing to do")
            .help("add `routes: {to: Ingress}`, `deploymentConfigs: {to: Deployment}` or `imageStreams: {to: image}`");
    }
    Some(Convert {
        select: select_of(&fields, faults),
        routes,
        deployment_configs,
        image_streams,
    })
}

fn choice(what: &str, node: &Located, choices: &[&str], faults: &mut Faults) -> Option<String> {
    let given = text(node, faults)?;
    if choices.contains(&given.as_str()) {
        return Some(given);
    }
    faults
        .add(
            format!("{what} cannot become `{given}`"),
            &node.span,
            "unknown",
        )
        .help(
            suggest(&given, choices)
                .unwrap_or_else(|| format!("they become {}", in_words(choices))),
        );
    None
}

fn routes(node: &Located, faults: &mut Faults) -> Option<Routes> {
    let fields = Fields::read(node, &node.span, &grammar::ROUTES, faults)?;
    let to = fields.required("to", faults)?;
    match choice("routes", to, &["Ingress", "HTTPRoute"], faults)?.as_str() {
        "Ingress" => {
            if let Some(node) = fields.get("gateway") {
                faults.add(
                    "an Ingress has no gateway",
                    &node.span,
                    "means nothing here",
                );
            }
            let class = fields.get("ingressClass");
            Some(Routes::Ingress(class.and_then(|node| text(node, faults))))
        }
        _ => {
            if let Some(node) = fields.get("ingressClass") {
                faults.add(
                    "an HTTPRoute has no ingress class",
                    &node.span,
                    "means nothing here",
                );
            }
            let node = fields.required("gateway", faults)?;
            let fields = Fields::read(node, &node.span, &grammar::GATEWAY, faults)?;
            let mut one = |key| fields.get(key).and_then(|node| text(node, faults));
            let (namespace, listener) = (one("namespace"), one("listener"));
            let name = text(fields.required("name", faults)?, faults)?;
            Some(Routes::HttpRoute(Gateway {
                name,
                namespace,
                listener,
            }))
        }
    }
}

/// Image streams: before images are mapped, so that what they meant is mapped too.
pub(super) fn image_streams(work: &mut Work<'_>, references: &References<'_>) {
    each(work, |work, index, convert, part| {
        if convert.image_streams {
            images::convert(work, references, index, part);
        }
    });
}

/// Routes and deployment configs: after secrets are scrubbed, so that a scrubbed key stays scrubbed.
pub(super) fn kinds(work: &mut Work<'_>, references: &References<'_>) {
    let mut converted: BTreeMap<ObjectId, Part> = BTreeMap::new();
    each(work, |work, index, convert, part| {
        let id = work.id(index).clone();
        if let (Some(routes), true) = (&convert.routes, id.is("route.openshift.io", "Route")) {
            work.used(part);
            route::convert(work, index, routes, part);
        }
        if convert.deployment_configs && id.is("apps.openshift.io", "DeploymentConfig") {
            work.used(part);
            deployment::convert(work, index, part);
            converted.insert(id, part);
        }
    });
    if !converted.is_empty() {
        follow(work, references, &converted);
    }
}

fn each(work: &mut Work<'_>, mut visit: impl FnMut(&mut Work<'_>, usize, &Convert, Part)) {
    let recipes = work.recipes;
    for (recipe, entry) in entries(recipes) {
        if let Transform::Convert(convert) = &entry.transform {
            for index in work.selected(recipe, entry) {
                visit(work, index, convert, whole(recipe, entry));
            }
        }
    }
}

/// What scales or watches a deployment config names its kind.
fn follow(work: &mut Work<'_>, references: &References<'_>, converted: &BTreeMap<ObjectId, Part>) {
    for index in 0..work.before.len() {
        for reference in references.find(&work.before[index]) {
            let Some(part) = converted.get(&reference.target).copied() else {
                continue;
            };
            for (key, value) in [("kind", "Deployment"), ("apiVersion", "apps/v1")] {
                let path = format!("{}/{key}", reference.pointer);
                if work.objects()[index].text(&path).is_some() {
                    work.set(index, &path, value.into(), "convert", part);
                }
            }
        }
    }
}

/// Puts another object in the place of one, and records it.
fn put(work: &mut Work<'_>, index: usize, value: Value, part: Part) {
    if let Ok(object) = Object::new(value) {
        work.replace(index, object, "convert", part);
    }
}

/// Tells what is lost.
fn lost(work: &mut Work<'_>, index: usize, path: &str, message: impl Into<String>, remedy: &str) {
    let finding = Finding::new(Verdict::Warn, "convert", message)
        .on(work.objects()[index].id())
        .at(path)
        .remedy(remedy);
    work.find(finding);
}

/// The object's metadata as it goes on: labels and annotations, without those under OpenShift's names.
/// Comes back with the keys of annotations that stay behind.
fn metadata(object: &Object, stays: &[&str]) -> (Value, Vec<String>) {
    let mut metadata = object.pointer("/metadata").cloned().unwrap_or_default();
    let mut gone = Vec::new();
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| {
            let stay = stays.iter().any(|prefix| key.starts_with(prefix));
            if stay {
                gone.push(key.clone());
            }
            !stay
        });
        if annotations.is_empty()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    (metadata, gone)
}
