//! Folders and streams, good and bad.

use std::path::PathBuf;

use super::*;

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

fn wrong(files: &[(&str, &str)]) -> String {
    let (_folder, path) = folder(files);
    Archive::folder(&path).unwrap_err().to_string()
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[test]
fn yaml_json_lists_and_folders_are_read_and_all_else_is_left_out() {
    let json = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}]}"#;
    let typed = "apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: listed}}]\n";
    let (_folder, path) = folder(&[
        ("b/web.yaml", MAP),
        ("a.json", json),
        ("c.yml", typed),
        ("README.md", "# not: yaml: at all"),
        (".hidden/x.yaml", "}{"),
    ]);
    let archive = Archive::folder(&path).unwrap();
    let read: Vec<String> = archive
        .objects
        .iter()
        .map(|(object, place)| format!("{} in {place}", object.id()))
        .collect();
    assert_eq!(
        read,
        [
            "Secret s in a.json, document 1",
            "ConfigMap a in b/web.yaml, document 1",
            "ConfigMap listed in c.yml, document 1",
        ]
    );
}

#[test]
fn a_stream_is_split_where_kubectl_splits_it() {
    let text = format!(
        "# rendered\n---\n{MAP}---   \n# nothing\n---\n{}--- # last\n{}data:\n  text: |\n    ---\n    inside\n",
        MAP.replace("a}", "b}"),
        MAP.replace("a}", "c}")
    );
    let objects = documents("stdin", &text).unwrap();
    let names: Vec<&str> = objects.iter().map(|(object, _)| object.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(objects[2].0.text("/data/text"), Some("---\ninside\n"));
    assert!(documents("stdin", "").unwrap().is_empty());
}

#[test]
fn every_bad_document_is_named_with_its_place() {
    let said = wrong(&[
        ("a.yaml", "a: [1\n"),
        ("b.yaml", &format!("{MAP}---\nreplicas: 3\n")),
        ("c.json", "{\"a\": }"),
        (
            "d.yaml",
            "kind: ConfigMap\napiVersion: v1\nmetadata: {generateName: x-}\n",
        ),
    ]);
    for part in [
        "a.yaml, document 1 is no YAML",
        "b.yaml, document 2 is no Kubernetes object: the object has no apiVersion",
        "c.json, document 1 is no JSON",
        "d.yaml, document 1 is no Kubernetes object: the object has no metadata.name",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn sources_that_must_be_rendered_are_refused() {
    assert!(
        wrong(&[
            ("kustomization.yaml", "resources: [web.yaml]"),
            ("web.yaml", MAP)
        ])
        .contains("kustomization.yaml is not an object but a source of some")
    );
    assert!(
        wrong(&[
            ("chart/Chart.yaml", "name: x"),
            ("chart/templates/a.yaml", "{{ x }}")
        ])
        .contains("Chart.yaml")
    );
}

#[test]
fn deep_and_swelling_yaml_is_refused() {
    let deep = "[".repeat(100_000);
    assert!(documents("x", &deep).is_err());
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(documents("x", &deep).is_err());
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![before; 10].join(",")
        ));
    }
    assert!(documents("x", &bomb).is_err());
}

#[test]
fn links_to_folders_are_not_followed() {
    let (_folder, path) = folder(&[("web.yaml", MAP)]);
    std::os::unix::fs::symlink(&path, path.join("loop")).unwrap();
    assert_eq!(Archive::folder(&path).unwrap().objects.len(), 1);
}

#[test]
fn a_name_that_would_lead_out_of_its_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for metadata in [
        "{name: ../../x}",
        "{name: x, namespace: ../y}",
        "{name: ..}",
        "{name: a%2fb}",
    ] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n");
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        let error = Archive::folder(folder.path()).unwrap_err();
        let CaptureError::Archive(errors) = &error else {
            panic!("{error}");
        };
        let reason = crate::causes::in_one_line(&errors[0]);
        assert!(reason.contains("is no name an object can have"), "{reason}");
    }
}
