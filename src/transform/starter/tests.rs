use serde_json::json;

use super::*;
use crate::capture::Captured;
use crate::object::Object;
use crate::surface::ClusterIdentity;
use crate::transform::{self, Recipe};

fn surface(name: &str, objects: &[serde_json::Value]) -> Surface {
    Surface {
        cluster: ClusterIdentity {
            name: name.into(),
            uid: name.into(),
            version: "v1.34.4".into(),
        },
        resources: Vec::new(),
        objects: objects.iter().map(object).collect(),
        unseen: Default::default(),
        silent: Default::default(),
    }
}

fn object(value: &serde_json::Value) -> Object {
    Object::new(value.clone()).unwrap()
}

fn class(name: &str, provisioner: &str, default: &str) -> serde_json::Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": provisioner,
        "metadata": {"name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default}}})
}

fn claim(name: &str, class: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"storageClassName": class}})
}

fn capture(objects: &[serde_json::Value]) -> Capture {
    let captured = |value| {
        let object = object(value);
        Captured {
            raw: object.clone(),
            object,
            owners: Vec::new(),
        }
    };
    let classes = [
        class("fast", "csi.a", "true"),
        class("odd", "csi.x", "false"),
    ];
    Capture {
        objects: objects.iter().map(captured).collect(),
        surface: surface("a", &classes),
        id: "20260101-000000-abcd".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        namespaces: vec!["shop".into()],
        dropped: Vec::new(),
        volumes: Vec::new(),
        findings: Vec::new(),
    }
}

fn shop() -> Capture {
    capture(&[
        claim("data", "fast"),
        claim("logs", "odd"),
        claim("tmp", "both"),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"containers": [{"name": "c", "image": "quay.io:443/team/web:1"}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"rules": [{"host": "shop.old.example.com"}]}}),
    ])
}

fn sound(capture: &Capture, text: &str) -> Recipe {
    let recipe = Recipe::parse("new.yaml", text).unwrap_or_else(|errors| {
        panic!("{:?}\n{text}", errors.faults);
    });
    assert!(
        transform::lint(
            std::slice::from_ref(&recipe),
            transform::Against::default(),
            Knowledge::builtin()
        )
        .is_empty()
    );
    let objects: Vec<Object> = capture
        .objects
        .iter()
        .map(|one| one.object.clone())
        .collect();
    let recipes = std::slice::from_ref(&recipe);
    transform::apply(&objects, recipes, Knowledge::builtin()).unwrap();
    recipe
}

#[test]
fn what_b_answers_is_active_and_what_only_the_user_knows_waits() {
    let capture = shop();
    let target = surface(
        "b",
        &[
            class("gp3", "csi.a", "false"),
            class("std", "csi.b", "true"),
            class("both", "csi.c", "false"),
        ],
    );
    let text = starter("shop", &capture, Some(&target), Knowledge::builtin());
    let recipe = sound(&capture, &text);
    assert_eq!(recipe.entries.len(), 1, "{text}");
    for line in [
        "fast: gp3  # in 1 object; the only one there with the same provisioner",
        "odd: std  # in 1 object; the default there; none has the same provisioner",
        "  # both is there too and keeps its name.",
        "  #       quay.io:443: REGISTRY/quay  # in 1 object",
        "  #       shop.old.example.com: NEW.shop.old.example.com  # in 1 object",
        "the name is free on the target",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn where_several_of_b_share_the_provisioner_the_user_chooses() {
    let capture = shop();
    let target = surface(
        "b",
        &[
            class("gp3", "csi.a", "true"),
            class("gp3-keep", "csi.a", "false"),
            class("nfs", "csi.x", "false"),
            class("nfs-keep", "csi.x", "false"),
        ],
    );
    let text = starter("shop", &capture, Some(&target), Knowledge::builtin());
    assert_eq!(sound(&capture, &text).entries.len(), 1, "{text}");
    for line in [
        "  #       fast: gp3  # in 1 object; choose: gp3 and gp3-keep have the same provisioner",
        "  #       odd: NAME  # in 1 object; choose: nfs and nfs-keep have the same provisioner",
        "        both: gp3  # in 1 object; the default there",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn without_b_nothing_is_chosen_and_the_recipe_is_sound_all_the_same() {
    let capture = shop();
    let text = starter("shop", &capture, None, Knowledge::builtin());
    assert!(sound(&capture, &text).entries.is_empty());
    assert!(
        text.contains("  #       fast: NAME  # in 1 object; choose one"),
        "{text}"
    );
}

#[test]
fn a_commented_entry_taken_out_of_its_comment_is_sound_too() {
    let capture = shop();
    let text = starter("shop", &capture, None, Knowledge::builtin());
    let text = text
        .replace("transforms: []", "transforms:")
        .replace("NEW.", "new.");
    let taken: String = text
        .lines()
        .skip_while(|line| !line.starts_with("transforms"))
        .map(|line| match line.strip_prefix("  # ") {
            Some(rest) if rest.starts_with(['-', ' ']) => format!("  {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let head = text.split("transforms").next().unwrap();
    let text = format!(
        "{head}{}",
        taken
            .replace("NAME", "some")
            .replace("REGISTRY", "r.example")
    );
    assert_eq!(sound(&capture, &text).entries.len(), 4, "{text}");
}
