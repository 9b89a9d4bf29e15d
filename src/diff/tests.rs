//! What people see.

use serde_json::{Value, json};

use super::*;
use crate::graph::{Graph, Node, Phase, Presence};
use crate::plan::{Action, Class, Drift, Expect, Hold, Plan, Step};
use crate::surface::ClusterIdentity;
use crate::transform::Change;

fn key() -> MaskKey {
    MaskKey::new(&[7; 32])
}

fn object(value: Value) -> Object {
    Object::new(value).unwrap()
}

fn shown(before: &Object, after: &Object) -> String {
    render_plain(&[objects(
        Some(before),
        Some(after),
        Knowledge::builtin(),
        &key(),
    )])
}

fn config(text: &str) -> Object {
    object(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c",
        "namespace": "n"}, "data": {"app.conf": text, "other": "1"}}),
    )
}

#[test]
fn d_13_a_file_in_a_config_map_is_compared_line_by_line() {
    let text = shown(
        &config("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6 \n\tg = 7\n"),
        &config("a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 8 \n\tg = 7\n"),
    );
    insta::assert_snapshot!(text);
}

#[test]
fn d_2_no_secret_is_shown_and_equal_ones_look_equal() {
    let secret = |changed: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "stringData": {"password": changed, "same": "hunter2"}}),
        )
    };
    let text = shown(&secret("hunter2"), &secret("correct horse"));
    assert!(!text.contains("hunter2") && !text.contains("aHVudGVy") && !text.contains("horse"));
    let mask = key().mask(b"hunter2");
    assert!(text.contains(&format!("-  password: {mask}")), "{text}");
    assert!(text.contains(&format!("   same: {mask}")), "{text}");
    assert!(text.contains("len=13"), "{text}");
    assert_ne!(mask, MaskKey::new(&[8; 32]).mask(b"hunter2"));
}

#[test]
fn t_10_passwords_in_variables_urls_and_routes_are_masked() {
    let pod = |value: &str| {
        object(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec":
            {"containers": [{"name": "c", "env": [
                {"name": "DB_PASSWORD", "value": value}, {"name": "PLAIN", "value": value},
                {"name": "URL", "value": format!("postgres://u:{value}@db/x")}]}]}}),
        )
    };
    let text = shown(&pod("one"), &pod("two"));
    assert_eq!(text.matches("two").count(), 1, "{text}");
    assert!(text.contains("postgres://u:<sha256-"), "{text}");
    let route = |tls: &str| {
        object(
            json!({"apiVersion": "route.openshift.io/v1", "kind": "Route",
            "metadata": {"name": "r"}, "spec": {"host": tls, "tls": {"key": tls}}}),
        )
    };
    let text = shown(&route("one"), &route("two"));
    assert_eq!(text.matches("two").count(), 1, "{text}");
}

#[test]
fn an_object_that_is_equal_has_no_lines() {
    let diff = drift(&config("a\n"), &config("a\n"), Knowledge::builtin(), &key());
    assert_eq!(diff.lines, []);
    assert_eq!(diff.title(), "ConfigMap n/c");
}

fn deployment(namespace: &str, image: &str, replicas: i64) -> Object {
    object(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web",
        "namespace": namespace}, "spec": {"replicas": replicas, "template": {"spec": {"containers":
        [{"name": "web", "image": image, "env": [{"name": "A", "value": "1"}]}]}}}}),
    )
}

fn change(rule: &str, path: &str, before: &str, after: &str) -> Change {
    Change {
        rule: rule.into(),
        recipe: "shop".into(),
        entry: 0,
        object: deployment("shop", "a", 1).id(),
        path: path.into(),
        before: before.into(),
        after: after.into(),
    }
}

fn identity(name: &str) -> ClusterIdentity {
    ClusterIdentity {
        name: name.into(),
        uid: name.into(),
        version: "v1.34.0".into(),
    }
}

fn plan_of(before: Object, body: Object, class: Class, holds: Vec<Hold>) -> Plan {
    let node = |id, presence| Node {
        id,
        presence,
        phase: Phase::Workload,
        wave: 0,
    };
    Plan {
        purpose: crate::plan::Purpose::Move,
        capture: "c".into(),
        source: identity("a"),
        target: identity("b"),
        namespaces: Vec::new(),
        recipes: Vec::new(),
        late_binding: Default::default(),
        steps: vec![Step {
            number: 0,
            wave: 0,
            phase: Phase::Workload,
            object: body.id(),
            needs: Vec::new(),
            action: Action::Apply {
                class,
                expect: Expect::Absent,
                holds,
                owners: Vec::new(),
                body: body.clone().into(),
            },
        }],
        findings: Vec::new(),
        changes: vec![
            change("T-4", "/metadata/namespace", "shop", "shop-b"),
            change(
                "T-2",
                "/spec/template/spec/containers/0/image",
                "a.io/web:1",
                "b.io/web:1",
            ),
        ]
        .into(),
        graph: Graph {
            nodes: vec![
                node(ObjectId::cluster("", "Node", "x"), Presence::OnB),
                node(body.id(), Presence::Captured),
            ],
            ..Graph::default()
        }
        .into(),
        before: vec![(body.id(), before)],
        drift: Vec::new(),
    }
}

#[test]
fn a_planned_change_names_its_rule_and_its_hold() {
    let mut held = deployment("shop-b", "b.io/web:1", 0);
    held.value_mut()["metadata"]["annotations"] = json!({"ferry.dev/original-replicas": "3"});
    let hold = Hold {
        rule: "W-9".into(),
        path: "/spec/replicas".into(),
        held: json!(0),
        release: Some(json!(3)),
        scale: true,
    };
    let plan_ = plan_of(
        deployment("shop", "a.io/web:1", 3),
        held,
        Class::Create,
        vec![hold],
    );
    insta::assert_snapshot!(render_plain(&plan(&plan_, &key())));
}

#[test]
fn what_nobody_changed_and_nobody_writes_is_not_in_the_plan_s_diff() {
    let object = deployment("shop", "a.io/web:1", 3);
    let plan_ = plan_of(object.clone(), object, Class::Same, Vec::new());
    assert_eq!(plan(&plan_, &key()), []);
}

#[test]
fn what_a_recipe_adds_is_new_and_shifts_nothing() {
    let mut plan_ = plan_of(
        deployment("shop", "a.io/web:1", 3),
        deployment("shop-b", "b.io/web:1", 3),
        Class::Create,
        Vec::new(),
    );
    // Its name comes first, as its step and its node do.
    let added = object(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "shop-b"}, "data": {"k": "v"}}));
    let mut step = plan_.steps[0].clone();
    step.object = added.id();
    if let Action::Apply { body, .. } = &mut step.action {
        *body = added.clone().into();
    }
    plan_.steps.insert(0, step);
    let mut graph = (*plan_.graph).clone();
    let mut node = graph.nodes[1].clone();
    node.id = added.id();
    graph.nodes.insert(1, node);
    plan_.graph = graph.into();
    let diffs = plan(&plan_, &key());
    let ids = |diff: &ObjectDiff| (diff.before.clone(), diff.after.clone());
    assert_eq!(ids(&diffs[0]), (None, Some(added.id())));
    let web = ObjectId::new("apps", "Deployment", Some("shop"), "web");
    assert_eq!(diffs[1].before, Some(web));
}

#[test]
fn an_update_also_shows_what_it_changes_of_what_is_on_b() {
    let wanted = deployment("shop-b", "b.io/web:2", 3);
    let live = deployment("shop-b", "b.io/web:1", 3);
    let mut plan_ = plan_of(
        deployment("shop", "a.io/web:2", 3),
        wanted.clone(),
        Class::Update,
        Vec::new(),
    );
    plan_.drift = vec![Drift {
        live,
        applied: wanted,
    }];
    let diffs = plan(&plan_, &key());
    assert_eq!(diffs.len(), 2);
    let text = render_plain(&diffs[1..]);
    assert!(text.contains("[update of what is on B now]"), "{text}");
    assert!(text.contains("-        image: b.io/web:1"), "{text}");
    assert!(!text.contains("a.io"), "{text}");
}
