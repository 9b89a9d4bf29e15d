//! Image streams → the images they mean.

use std::collections::BTreeMap;

use serde_json::Value;

use super::lost;
use crate::finding::{Finding, Verdict};
use crate::graph::references::References;
use crate::object::pointer;
use crate::transform::image::ImageRef;
use crate::transform::work::{Part, Work};

/// Names under which OpenShift's own registry is reached from inside.
pub(in crate::transform) const INTERNAL: [&str; 3] = [
    "image-registry.openshift-image-registry.svc:5000",
    "image-registry.openshift-image-registry.svc.cluster.local:5000",
    "docker-registry.default.svc:5000",
];

/// Which image a workload follows, as an annotation of plain workloads.
const TRIGGERS: &str = "image.openshift.io/triggers";

/// How many streams may lead to the next.
const LONGEST: usize = 8;

/// Replaces an object's references to image streams; a stream itself stays on A.
pub(super) fn convert(work: &mut Work<'_>, references: &References<'_>, index: usize, part: Part) {
    let before = &work.before[index];
    if before.is("image.openshift.io", "ImageStream") {
        work.used(part);
        let message = "the image stream stays on A; what referred to it has plain images";
        let finding = Finding::new(Verdict::Info, "convert", message);
        work.find(finding.on(work.id(index).clone()));
        work.leave(index, "convert", part);
        return;
    }
    annotation(work, index, part);
    if before.is("apps.openshift.io", "DeploymentConfig") {
        triggers(work, index, part);
    }
    for container in references.roots().containers(&work.before[index]) {
        let path = format!("{container}/image");
        if let Some(image) = work.objects()[index].text(&path)
            && let Some(plain) = of_registry(work, image)
        {
            work.set(index, &path, plain.into(), "convert", part);
        }
    }
}

/// The plain image behind one in OpenShift's own registry.
fn of_registry(work: &Work<'_>, image: &str) -> Option<String> {
    let image = ImageRef::parse(image)?;
    if !INTERNAL.contains(&image.registry.as_str()) {
        return None;
    }
    let (namespace, stream) = image.repository.split_once('/')?;
    let plain = match image.suffix.split_once('@') {
        Some((_, digest)) => by_digest(work, namespace, stream, digest),
        None => {
            let tag = image.suffix.strip_prefix(':').unwrap_or("latest");
            by_tag(work, namespace, stream, tag, LONGEST)
        }
    }?;
    let inside =
        ImageRef::parse(&plain).is_some_and(|one| INTERNAL.contains(&one.registry.as_str()));
    (!inside).then_some(plain)
}

/// A stream as A's API server gave it, by its names on A or by what its namespace is called by now.
fn stream<'w>(work: &'w Work<'_>, namespace: &str, name: &str) -> Option<&'w Value> {
    let found = (0..work.before.len()).find(|index| {
        let id = work.id(*index);
        let now = work.objects()[*index].namespace();
        id.is("image.openshift.io", "ImageStream")
            && id.name == name
            && (id.namespace.as_deref() == Some(namespace) || now == Some(namespace))
    })?;
    Some(work.source.raw(found)?.value())
}

/// What a tag means: an image elsewhere, another tag, or what was last pushed.
fn by_tag(work: &Work<'_>, namespace: &str, name: &str, tag: &str, left: usize) -> Option<String> {
    let stream = stream(work, namespace, name)?;
    let list = |path: &str| {
        stream
            .pointer(path)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let from = list("/spec/tags")
        .find(|one| one["name"] == tag)
        .map(|one| &one["from"]);
    if let Some(from) = from {
        let text = from["name"].as_str().unwrap_or_default();
        match from["kind"].as_str() {
            Some("DockerImage") => return Some(text.to_owned()),
            Some("ImageStreamTag") if left > 0 => {
                let (other, tag) = text.split_once(':').unwrap_or((name, text));
                let namespace = from["namespace"].as_str().unwrap_or(namespace);
                return by_tag(work, namespace, other, tag, left - 1);
            }
            _ => {}
        }
    }
    let pushed = list("/status/tags").find(|one| one["tag"] == tag)?;
    let image = pushed.pointer("/items/0/dockerImageReference")?;
    image.as_str().map(str::to_owned)
}

fn by_digest(work: &Work<'_>, namespace: &str, name: &str, digest: &str) -> Option<String> {
    let stream = stream(work, namespace, name)?;
    let tags = stream.pointer("/status/tags")?.as_array()?.iter();
    let mut items = tags.filter_map(|tag| tag["items"].as_array()).flatten();
    let item = items.find(|item| item["image"] == digest)?;
    item["dockerImageReference"].as_str().map(str::to_owned)
}

/// What `{kind: ImageStreamTag, name, namespace}` means.
fn of_reference(work: &Work<'_>, index: usize, from: &Value) -> Option<String> {
    if from["kind"] != "ImageStreamTag" {
        return None;
    }
    let own = work.objects()[index].namespace().unwrap_or_default();
    let namespace = from["namespace"].as_str().unwrap_or(own);
    let (name, tag) = from["name"].as_str()?.split_once(':')?;
    by_tag(work, namespace, name, tag, LONGEST)
}

/// The annotation of plain workloads: `[{from, fieldPath}]` as JSON.
fn annotation(work: &mut Work<'_>, index: usize, part: Part) {
    let Some(text) = work.objects()[index].annotation(TRIGGERS) else {
        return;
    };
    let Ok(Value::Array(triggers)) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let place = pointer::join("/metadata/annotations", TRIGGERS);
    for trigger in &triggers {
        let field = trigger["fieldPath"].as_str().unwrap_or_default();
        let path = field_path(work.objects()[index].value(), field);
        let image = of_reference(work, index, &trigger["from"]);
        write(work, index, path, image, &place, &trigger["from"], part);
    }
    let message = "a new image in the stream no longer rolls out by itself";
    lost(
        work,
        index,
        &place,
        message,
        "roll out by changing the image",
    );
    work.remove(index, &place, "convert", part);
}

/// A deployment config's image triggers.
fn triggers(work: &mut Work<'_>, index: usize, part: Part) {
    let found = work.objects()[index].pointer("/spec/triggers");
    let found = found.and_then(Value::as_array).cloned().unwrap_or_default();
    for (number, trigger) in found.iter().enumerate() {
        let params = &trigger["imageChangeParams"];
        let place = format!("/spec/triggers/{number}");
        let image = of_reference(work, index, &params["from"]);
        let image = image.or_else(|| params["lastTriggeredImage"].as_str().map(str::to_owned));
        for name in params["containerNames"].as_array().into_iter().flatten() {
            let path = container(work.objects()[index].value(), "/spec/template/spec", name);
            write(
                work,
                index,
                path,
                image.clone(),
                &place,
                &params["from"],
                part,
            );
        }
    }
}

fn write(
    work: &mut Work<'_>,
    index: usize,
    path: Option<String>,
    image: Option<String>,
    place: &str,
    from: &Value,
    part: Part,
) {
    match (path, image) {
        (Some(path), Some(image)) => {
            work.set(index, &path, image.into(), "convert", part);
        }
        _ => lost(
            work,
            index,
            place,
            format!("it is not known which image {} means", from["name"]),
            "capture the image stream's namespace too, or write the image with a patch",
        ),
    }
}

/// The image of a container by its name.
fn container(object: &Value, pod: &str, name: &Value) -> Option<String> {
    ["containers", "initContainers"].iter().find_map(|list| {
        let containers = object.pointer(&format!("{pod}/{list}"))?.as_array()?;
        let at = containers.iter().position(|one| one["name"] == *name)?;
        Some(format!("{pod}/{list}/{at}/image"))
    })
}

/// `spec.template.spec.containers[?(@.name=="web")].image`, or with a number between the brackets.
fn field_path(object: &Value, field: &str) -> Option<String> {
    let (before, rest) = field.split_once('[')?;
    let (inside, after) = rest.split_once(']')?;
    let list = format!("/{}", before.replace('.', "/"));
    let items = object.pointer(&list)?.as_array()?;
    let at = match inside.parse::<usize>() {
        Ok(number) => number,
        Err(_) => {
            let name = inside.split(['"', '\'']).nth(1)?;
            items.iter().position(|item| item["name"] == name)?
        }
    };
    (at < items.len() && after == ".image").then(|| format!("{list}/{at}/image"))
}

/// Images that are still in A's own registry when everything is done.
pub(in crate::transform) fn left_behind(work: &mut Work<'_>, references: &References<'_>) {
    let mut found: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    for index in 0..work.before.len() {
        for container in references.roots().containers(&work.before[index]) {
            let path = format!("{container}/image");
            let image = work.objects()[index].text(&path).unwrap_or_default();
            let inside = ImageRef::parse(image)
                .is_some_and(|image| INTERNAL.contains(&image.registry.as_str()));
            if inside {
                found
                    .entry(index)
                    .or_default()
                    .push((path, image.to_owned()));
            }
        }
    }
    for (index, images) in found {
        for (path, image) in images {
            let finding = Finding::new(
                Verdict::Warn,
                "T-2",
                "the image is in OpenShift's own registry",
            )
            .on(work.objects()[index].id())
            .at(path)
            .because(image)
            .remedy("copy it to a registry that B can pull from, and map it with `registry`");
            work.find(finding);
        }
    }
}
