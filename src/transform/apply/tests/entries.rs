//! What holds between entries: selections, contradictions, patches, objects left out. And T-2 where
//! digests and parts of an image are named.

use super::support::{all, at, config, deployment};
use super::*;

#[test]
fn two_entries_may_not_disagree_unless_one_says_that_it_wins() {
    let objects = all(vec![deployment(json!({}))]);
    let two = |more: &str| {
        format!("- scale: {{replicas: 1}}\n- scale: {{select: {{name: web}}, replicas: 2}}\n{more}")
    };
    assert_eq!(
        refused(&objects, &two("")),
        ["two entries disagree about /spec/replicas of Deployment.apps n/web"]
    );
    let done = run(&objects, &two("  override: true\n"));
    assert_eq!(at(&done, 0, "/spec/replicas"), 2);
    assert_eq!(
        refused(
            &objects,
            "- scale: {replicas: 1}\n- patch: {select: {name: web}, merge: {spec: {replicas: 4}}}\n"
        ),
        ["two entries disagree about /spec/replicas of Deployment.apps n/web"]
    );
}

#[test]
fn an_expression_that_fails_on_an_object_fails_the_recipe() {
    let objects = all(vec![deployment(json!({})), config(json!({}))]);
    let done = run(
        &objects,
        "- scale: {select: {cel: 'has(object.spec) && object.spec.replicas > 2'}, replicas: 1}\n",
    );
    assert_eq!(at(&done, 0, "/spec/replicas"), 1);
    assert_eq!(
        refused(
            &objects,
            "- scale: {select: {cel: object.spec.replicas > 2}, replicas: 1}\n"
        ),
        ["the expression fails on ConfigMap n/c"]
    );
}

#[test]
fn objects_are_selected_by_their_fields() {
    let service = |name: &str, kind: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"type": kind}});
    let objects = all(vec![
        service("a", "LoadBalancer"),
        service("b", "ClusterIP"),
        config(json!({})),
    ]);
    let labelled = |select: &str| {
        let done = run(
            &objects,
            &format!("- labels: {{select: {{{select}}}, set: {{l: v}}}}\n"),
        );
        let labelled = done
            .objects
            .iter()
            .filter(|object| object.label("l").is_some());
        labelled
            .map(|object| object.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(labelled("fields: {/spec/type: LoadBalancer}"), ["a"]);
    assert_eq!(
        labelled("fields: {/spec/type: [LoadBalancer, ClusterIP]}"),
        ["a", "b"]
    );
    assert_eq!(
        labelled("fields: {/spec/type: {notIn: [LoadBalancer]}}"),
        ["b", "c"]
    );
    assert_eq!(labelled("fields: {/spec: {exists: false}}"), ["c"]);
}

#[test]
fn a_json_patch_acts_at_every_place_of_a_pattern() {
    let objects = all(vec![deployment(json!({"containers": [
        {"name": "a", "image": "x", "ports": [1, 2]}, {"name": "b", "image": "y"}]}))]);
    let done = run(
        &objects,
        "- patch:
    select: {kind: Deployment}
    jsonPatch:
    - {op: add, path: '/spec/template/spec/containers[]/imagePullPolicy', value: Always}
    - {op: replace, path: '/spec/template/spec/containers[name=b]/image', value: z}
    - {op: remove, path: '/spec/template/spec/containers[name=a]/ports[]'}
",
    );
    assert_eq!(
        at(&done, 0, "/spec/template/spec/containers"),
        &json!([
            {"name": "a", "image": "x", "ports": [], "imagePullPolicy": "Always"},
            {"name": "b", "image": "z", "imagePullPolicy": "Always"},
        ])
    );
    assert_eq!(
        refused(
            &objects,
            "- patch: {select: {kind: Deployment}, jsonPatch: [{op: remove, path: '/spec/template/spec/containers[name=c]'}]}\n"
        ),
        ["the patch fails on Deployment.apps n/web"]
    );
}

#[test]
fn a_strategic_merge_needs_a_known_kind() {
    let objects = all(vec![
        deployment(json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]})),
        json!({"apiVersion": "x.y/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {}}),
    ]);
    let patch = |kind: &str| {
        format!(
            "- patch: {{select: {{kind: {kind}}}, strategic: {{spec: {{template: {{spec: {{containers: [{{name: a, image: z}}]}}}}}}}}}}\n"
        )
    };
    let done = run(&objects, &patch("Deployment"));
    assert_eq!(
        at(&done, 0, "/spec/template/spec/containers"),
        &json!([{"name": "a", "image": "z"}, {"name": "b"}])
    );
    assert_eq!(
        refused(&objects, &patch("W")),
        ["no strategic merge for W.x.y w"]
    );
}

#[test]
fn t_2_digests_and_images_written_apart_follow() {
    let (old, new) = (
        "sha256:".to_owned() + &"a".repeat(64),
        "sha256:".to_owned() + &"b".repeat(64),
    );
    let objects = all(vec![
        deployment(
            json!({"containers": [{"name": "a", "image": format!("r.a/x:1@{old}")}, {"name": "b", "image": format!("q.a/y@{old}")}]}),
        ),
        json!({"apiVersion": "x.y/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {
            "image": {"registry": "r.a", "repository": "team/x", "tag": "1"},
            "other": {"repository": "r.a/team/y", "tag": "2"}, "git": {"repository": "r.a/code"}}}),
    ]);
    let done = run(
        &objects,
        &format!("- registry: {{map: {{r.a: r.b/m}}, digests: {{'{old}': '{new}'}}}}\n"),
    );
    let containers = at(&done, 0, "/spec/template/spec/containers");
    assert_eq!(containers[0]["image"], json!(format!("r.b/m/x:1@{new}")));
    assert_eq!(containers[1]["image"], json!(format!("q.a/y@{new}")));
    assert_eq!(
        at(&done, 1, "/spec"),
        &json!({
            "image": {"registry": "r.b", "repository": "m/team/x", "tag": "1"},
            "other": {"repository": "r.b/m/team/y", "tag": "2"}, "git": {"repository": "r.a/code"}})
    );
}

#[test]
fn what_is_left_out_stays_on_a() {
    let objects = all(vec![deployment(json!({})), config(json!({}))]);
    let done = run(&objects, "- leaveOut: {select: {kind: Deployment}}\n");
    assert_eq!(done.objects.len(), 1);
    assert_eq!(done.origins, [Some(1)]);
    let pairs: Vec<_> = done
        .from(&objects)
        .map(|(old, new)| (old.name(), new.name()))
        .collect();
    assert_eq!(pairs, [("c", "c")]);
}
