//! T-4h: Helm's own record of a release follows the transforms.
//!
//! Helm keeps what it installed in a Secret, `data.release` = base64(gzip(JSON)), and refuses to
//! upgrade when the record's namespace is not the object's. So the record's namespace and the objects in
//! its manifest pass through the same transforms; documents that do not change keep their bytes. So do
//! the values it was installed with ([`values`]), which the next upgrade makes the manifest of.

mod values;

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::apply::{Lens, stages};
use super::names::Maps;
use super::secrets;
use super::source::Source;
use super::work::{Part, Work};
use crate::finding::{Finding, Verdict};
use crate::object::Object;
use crate::yaml;

/// The type of Helm's Secrets.
const RELEASE: &str = "helm.sh/release.v1";
const PLACE: &str = "/data/release";

/// A release larger than this unpacked (32 MiB) is no release: a Secret holds 1 MiB, which is 576 KiB
/// under two layers of base64, and gzip makes charts ten times smaller. JSON made to burst, all lists and
/// zeros, takes sixteen times its length in memory.
const LARGEST: u64 = 32 << 20;

/// Rewrites every release record.
pub(super) fn releases(work: &mut Work<'_>, lens: Lens<'_>, maps: &mut Maps) {
    for index in 0..work.before.len() {
        let secret = &work.before[index];
        if !secret.is("", "Secret") || secret.text("/type") != Some(RELEASE) {
            continue;
        }
        let record = secret.text(PLACE).and_then(unpack);
        let moved = record.and_then(|record| rewrite(record, index, work, lens, maps));
        if let Some(moved) = moved
            && let Some(packed) = pack(&moved.record)
        {
            work.set(index, PLACE, Value::String(packed), "T-4h", moved.part);
            tell_added(work, index, &moved.added);
        }
    }
}

/// Values that only the chart had are the release's own now, and the user has to know.
fn tell_added(work: &mut Work<'_>, index: usize, added: &[String]) {
    if added.is_empty() {
        return;
    }
    let message = "the release gets values of its own where the chart's are about A";
    work.find(
        Finding::new(Verdict::Info, "T-4h", message)
            .on(work.objects()[index].id())
            .at(PLACE)
            .because(format!("`helm upgrade` keeps them: {}", added.join(", ")))
            .remedy("nothing; name them in a values file where one is used for upgrades"),
    );
}

/// A record as B shall see it.
struct Moved {
    record: Value,
    part: Part,
    /// Paths of values that the user never gave and that stand in the record now.
    added: Vec<String>,
}

/// The record with its names on B; `None` when nothing changes.
fn rewrite(
    mut record: Value,
    index: usize,
    work: &Work<'_>,
    lens: Lens<'_>,
    maps: &mut Maps,
) -> Option<Moved> {
    let home = record["namespace"].as_str().map(str::to_owned);
    let mut cause = None;
    if let Some((new, part)) = home.as_deref().and_then(|home| maps.namespaces.find(home)) {
        record["namespace"] = Value::String(new);
        cause = Some(part);
    }
    if let Some(text) = record["manifest"].as_str()
        && let Some((text, part)) = manifest(text, home.as_deref(), work, lens, maps)
    {
        record["manifest"] = Value::String(text);
        cause.get_or_insert(part);
    }
    let mut added = Vec::new();
    if let Some(followed) = values::follow(&record, home.as_deref(), work, lens, maps) {
        record["config"] = followed.config;
        added = followed.added;
        cause.get_or_insert(followed.part);
    }
    // What the release was installed with: `config` is what the user gave.
    if let Some(part) = secrets::record_values(work, index, &mut record["config"]) {
        cause.get_or_insert(part);
    }
    cause.map(|part| Moved {
        record,
        part,
        added,
    })
}

/// One document of a manifest: its text, and its object when it is one.
struct Document<'t> {
    text: &'t str,
    /// Index among the objects, and whether it had a namespace of its own.
    object: Option<(usize, bool)>,
}

fn manifest(
    text: &str,
    home: Option<&str>,
    work: &Work<'_>,
    lens: Lens<'_>,
    maps: &mut Maps,
) -> Option<(String, Part)> {
    let mut objects = Vec::new();
    let mut documents = Vec::new();
    for text in text.split("\n---\n") {
        let parsed = yaml::parse(text)
            .ok()
            .and_then(|value| Object::new(value).ok());
        let object = parsed.map(|mut object| {
            let own = object.namespace().is_some();
            let cluster = &lens.knowledge.kinds.cluster;
            let scoped = !cluster
                .iter()
                .any(|kind| kind.matches(object.group(), object.kind()));
            // Helm leaves the namespace out; selections and references need it.
            if let (false, true, Some(home)) = (own, scoped, home) {
                object.value_mut()["metadata"]["namespace"] = home.into();
            }
            objects.push(object);
            (objects.len() - 1, own)
        });
        documents.push(Document { text, object });
    }
    let source = Source {
        definitions: work.source.all_definitions(),
        ..Source::new(&objects)
    };
    let mut inner = Work::new(&source, work.recipes);
    // What fails here fails on the live object too, where it is reported.
    drop(inner.select());
    drop(stages(&mut inner, lens, maps));
    let part = *inner.origins.first()?;
    let texts: Vec<String> = documents
        .iter()
        .map(|document| shown(document, &inner).unwrap_or_else(|| document.text.to_owned()))
        .collect();
    let new = texts.join("\n---\n");
    (new != text).then_some((new, part))
}

/// A changed document, with the comments before its first key.
///
/// A document whose object stays on A is left as it is: Helm leaves alone what it does not find.
fn shown(document: &Document<'_>, inner: &Work<'_>) -> Option<String> {
    let (index, own) = document.object?;
    if inner.is_left(index) {
        return None;
    }
    let strip = |object: &Object| {
        let mut value = object.value().clone();
        if let (false, Some(metadata)) = (own, value["metadata"].as_object_mut()) {
            metadata.remove("namespace");
        }
        value
    };
    let (before, after) = (strip(&inner.before[index]), strip(&inner.objects()[index]));
    if before == after {
        return None;
    }
    let mut text: String = document
        .text
        .lines()
        .take_while(|line| line.starts_with('#') || line.starts_with("---") || line.is_empty())
        .flat_map(|line| [line, "\n"])
        .collect();
    text.push_str(&yaml::emit(&after).ok()?);
    if !document.text.ends_with('\n') {
        text.truncate(text.trim_end_matches('\n').len());
    }
    Some(text)
}

/// A Secret's base64 around Helm's own base64 around gzip.
fn unpack(text: &str) -> Option<Value> {
    let packed = STANDARD.decode(STANDARD.decode(text).ok()?).ok()?;
    let mut json = Vec::new();
    let mut plain = GzDecoder::new(packed.as_slice()).take(LARGEST);
    plain.read_to_end(&mut json).ok()?;
    let record: Value = serde_json::from_slice(&json).ok()?;
    record.is_object().then_some(record)
}

fn pack(record: &Value) -> Option<String> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(record.to_string().as_bytes()).ok()?;
    let packed = packer.finish().ok()?;
    Some(STANDARD.encode(STANDARD.encode(packed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Knowledge;
    use crate::transform::{Recipe, apply};
    use serde_json::json;

    #[test]
    fn t_4h_a_release_moves_with_its_namespace_and_manifest() {
        let manifest = "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: same\n\
            \n---\n# Source: web/templates/b.yaml\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - image: r.a/web:1\n    name: web\n";
        let record =
            json!({"name": "web", "namespace": "shop", "manifest": manifest, "version": 1});
        let secret = Object::new(json!({
            "apiVersion": "v1", "kind": "Secret", "type": RELEASE,
            "metadata": {"name": "sh.helm.release.v1.web.v1", "namespace": "shop"},
            "data": {"release": pack(&record).unwrap()},
        }))
        .unwrap();
        let recipe = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n\
            - {namespace: {map: {shop: new}}}\n- {registry: {map: {r.a: r.b}}, optional: true}\n";
        let recipe = Recipe::parse("t.yaml", recipe).unwrap();
        let once = apply(
            &[secret],
            std::slice::from_ref(&recipe),
            Knowledge::builtin(),
        )
        .unwrap();
        let moved = unpack(once.objects[0].text(PLACE).unwrap()).unwrap();
        assert_eq!(moved["namespace"], "new");
        assert_eq!(
            moved["manifest"].as_str().unwrap(),
            manifest.replace("r.a/", "r.b/")
        );
        assert_eq!(once.changes.last().unwrap().rule, "T-4h");
    }

    #[test]
    fn what_is_no_release_is_left_alone() {
        assert_eq!(unpack("not base64!"), None);
        assert_eq!(unpack(&STANDARD.encode(STANDARD.encode(b"no gzip"))), None);
    }
}
