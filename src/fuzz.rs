//! What the fuzz targets call, one function per target (docs/fuzzing.md).
//!
//! Each takes bytes a stranger may have written and panics when Ferry does not keep a promise about
//! them: nothing panics, and what is read, written and read again is the same. The corpus kept under
//! `fuzz/corpus` goes through the same functions in a unit test, so that a finding stays mended.

use std::io::Write as _;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::capture::{Archive, Selection};
use crate::event::Events;
use crate::knowledge::Knowledge;
use crate::object::Object;
use crate::object::path::PathPattern;
use crate::transform::{Recipe, apply};
use crate::yaml;

pub use crate::repository::fuzz_stored as stored;

/// A recipe: every mistake can be shown at its place, and a sound recipe can be applied.
pub fn recipe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Recipe::parse("fuzz.yaml", text) {
        Ok(recipe) => drop(apply(&shop(), &[recipe], Knowledge::builtin())),
        Err(error) => {
            assert!(!error.faults.is_empty(), "refused without a reason");
            // Drawing looks every place up in the source.
            let mut drawn = String::new();
            miette::NarratableReportHandler::new()
                .render_report(&mut drawn, &error)
                .expect("a mistake that can be drawn");
        }
    }
}

/// A path pattern: it reads back as itself, and finds only places that are there, each once.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(pattern) = PathPattern::parse(text) else {
        return;
    };
    assert_eq!(
        PathPattern::parse(pattern.as_str()).as_ref(),
        Ok(&pattern),
        "a pattern reads back"
    );
    for object in shop() {
        let mut found = pattern.find(object.value());
        for pointer in &found {
            assert!(object.pointer(pointer).is_some(), "{pointer} is not there");
        }
        if let Some(exact) = pattern.exact() {
            assert!(found.iter().all(|pointer| *pointer == exact));
        }
        let count = found.len();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), count, "found twice");
    }
}

/// A Helm release: as the bytes under the two base64 layers, and as the JSON under gzip.
pub fn helm(data: &[u8]) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    for blob in [data, &packed(data)] {
        let secret = Object::new(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {"name": "sh.helm.release.v1.web.v1", "namespace": "shop"},
            "data": {"release": STANDARD.encode(STANDARD.encode(blob))},
        }))
        .expect("an object");
        drop(apply(
            &[secret],
            std::slice::from_ref(&*MOVE),
            Knowledge::builtin(),
        ));
    }
}

/// A Velero backup: as a file, and as the tar under gzip.
pub fn velero(data: &[u8]) {
    for bytes in [data, &packed(data)] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        let archive = Archive::velero(file.path());
        drop(archive.and_then(|archive| {
            archive.capture(
                &Selection::default(),
                Knowledge::builtin(),
                &Events::silent(),
            )
        }));
    }
}

fn packed(data: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(data).expect("a vector takes it");
    packer.finish().expect("a vector takes it")
}

/// A recipe that moves everything a release can name.
static MOVE: LazyLock<Recipe> = LazyLock::new(|| {
    let text = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n\
        - {namespace: {map: {shop: new}}}\n\
        - {registry: {map: {r.a: r.b}}, optional: true}\n\
        - {host: {map: {a.example.com: b.example.com}}, optional: true}\n\
        - {storageClass: {map: {fast: ssd}}, optional: true}\n";
    Recipe::parse("fuzz.yaml", text).expect("a recipe")
});

/// YAML documents: both readers agree, and what is read can be written and read again.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let located = yaml::located::parse_located(text).map(|tree| tree.value());
    if let (Ok(located), Ok(plain)) = (located, yaml::parse(text)) {
        assert_eq!(located, plain, "the two readers differ");
    }
    for value in yaml::parse_all(text).unwrap_or_default() {
        let written = yaml::emit(&value).expect("a value that was read can be written");
        let again = yaml::parse_stored(&written).expect("what was written can be read");
        assert_eq!(again, [value], "{written}");
    }
}

/// A few objects of the shapes recipes reach for.
fn shop() -> Vec<Object> {
    let values: [Value; 5] = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "shop", "labels": {"app": "db", "x/y": "1"},
                "annotations": {"a.io/b~c": "shop/db,shop/web"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": {
                    "initContainers": [{"name": "i", "image": "r.a/shop/init:1"}],
                    "containers": [{"name": "db", "image": "r.a:5000/shop/db@sha256:0",
                        "env": [{"name": "URL", "value": "http://web.shop.svc:80/?h=shop.a.example.com"},
                                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "login", "key": "p"}}}]}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"},
                    "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "name": "http"}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"rules": [{"host": "shop.a.example.com", "http": {"paths": [
                {"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": "shop"},
            "type": "Opaque", "data": {"p": "cA==", "u": "aHR0cHM6Ly91OnBAc2hvcC5hLmV4YW1wbGUuY29tLw=="}}),
    ];
    values
        .into_iter()
        .map(|value| Object::new(value).expect("an object"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn replay(target: &str, call: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        let entries =
            std::fs::read_dir(&folder).expect("the corpus of every target is in the tree");
        let mut count = 0;
        for entry in entries {
            call(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    #[test]
    fn the_corpus_of_recipes_is_sound() {
        replay("recipe", recipe);
    }

    #[test]
    fn the_corpus_of_paths_is_sound() {
        replay("path", path);
    }

    #[test]
    fn the_corpus_of_helm_releases_is_sound() {
        replay("helm", helm);
    }

    #[test]
    fn the_corpus_of_velero_backups_is_sound() {
        replay("velero", velero);
    }

    #[test]
    fn the_corpus_of_yaml_is_sound() {
        replay("yaml", yaml);
    }

    #[test]
    fn the_corpus_of_stored_bytes_is_sound() {
        replay("stored", stored);
    }
}
