//! The typed transforms on whole objects, each test named after its rule.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::object::ObjectId;
use crate::yaml;

mod chosen;
mod converted;
mod entries;
mod support;
mod texts;

const SHOP: [&str; 12] = [
    include_str!("../../../examples/shop/manifests/00-namespace.yaml"),
    include_str!("../../../examples/shop/manifests/10-config.yaml"),
    include_str!("../../../examples/shop/manifests/20-secrets.yaml"),
    include_str!("../../../examples/shop/manifests/30-access.yaml"),
    include_str!("../../../examples/shop/manifests/40-limits.yaml"),
    include_str!("../../../examples/shop/manifests/50-postgres.yaml"),
    include_str!("../../../examples/shop/manifests/60-files.yaml"),
    include_str!("../../../examples/shop/manifests/70-web.yaml"),
    include_str!("../../../examples/shop/manifests/75-network.yaml"),
    include_str!("../../../examples/shop/manifests/80-jobs.yaml"),
    include_str!("../../../examples/shop/manifests/85-cronjobs.yaml"),
    include_str!("../../../examples/shop/manifests/90-campaigns.yaml"),
];

fn shop() -> Vec<Object> {
    let documents = SHOP.iter().flat_map(|text| yaml::parse_all(text).unwrap());
    documents.map(|value| Object::new(value).unwrap()).collect()
}

fn recipe(transforms: &str) -> Recipe {
    let text = format!(
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
    );
    match Recipe::parse("t.yaml", &text) {
        Ok(recipe) => recipe,
        Err(error) => panic!("{:?}", error.faults),
    }
}

fn run(objects: &[Object], transforms: &str) -> Transformed {
    match apply(objects, &[recipe(transforms)], Knowledge::builtin()) {
        Ok(done) => done,
        Err(error) => panic!("{:#?}", error.faults),
    }
}

fn refused(objects: &[Object], transforms: &str) -> Vec<String> {
    let error = apply(objects, &[recipe(transforms)], Knowledge::builtin()).unwrap_err();
    error.faults.iter().map(ToString::to_string).collect()
}

fn one(value: Value) -> Vec<Object> {
    vec![Object::new(value).unwrap()]
}

/// `Kind/name path: before -> after` of every change by a rule.
fn changes(done: &Transformed, rule: &str) -> Vec<String> {
    let mut list: Vec<String> = done
        .changes
        .iter()
        .filter(|change| change.rule == rule)
        .map(|change| {
            let (kind, name) = (&change.object.kind, &change.object.name);
            format!(
                "{kind}/{name} {}: {} -> {}",
                change.path, change.before, change.after
            )
        })
        .collect();
    list.sort();
    list
}

#[test]
fn no_recipe_changes_nothing() {
    let done = apply(&shop(), &[], Knowledge::builtin()).unwrap();
    assert_eq!(done.objects, shop());
    assert!(done.changes.is_empty() && done.renamed.is_empty() && done.lookalikes.is_empty());
    assert_eq!(
        done.namespaces,
        [("shop".to_owned(), "shop".to_owned())].into()
    );
}

#[test]
fn the_shop_moves_whole() {
    let text = include_str!("../../../examples/shop/recipe.yaml");
    let recipe = Recipe::parse("recipe.yaml", text).unwrap();
    let done = apply(&shop(), &[recipe], Knowledge::builtin()).unwrap();
    let mut shown: Vec<String> = done
        .changes
        .iter()
        .filter(|change| change.path != "/metadata/namespace")
        .map(|change| {
            let (kind, name) = (&change.object.kind, &change.object.name);
            format!("{:4} {kind}/{name} {}", change.rule, change.path)
        })
        .collect();
    shown.sort();
    insta::assert_snapshot!("shop_changes", shown.join("\n"));
    let mut alike: Vec<String> = done
        .lookalikes
        .iter()
        .map(|look| {
            format!(
                "{} {} {}: {}",
                look.rule, look.object, look.path, look.excerpt
            )
        })
        .collect();
    alike.sort();
    insta::assert_snapshot!("shop_lookalikes", alike.join("\n"));
    let everything: Vec<String> = done.objects.iter().map(|o| o.value().to_string()).collect();
    let everything = everything.join("\n");
    for gone in [
        "registry-a.testbed",
        "\"cow\"",
        "cow-ext4",
        "shop.a.example.test",
        ".shop.svc",
    ] {
        // Secrets written as stringData are text here; captured ones are base64.
        let left: Vec<&str> = everything
            .lines()
            .filter(|line| line.contains(gone) && !line.contains("dockerconfigjson"))
            .collect();
        assert!(left.is_empty(), "{gone} is left in {left:?}");
    }
}

#[test]
fn t_1_every_place_of_a_class_follows() {
    let claim = json!({"spec": {"storageClassName": "fast"}});
    let set = one(json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a", "namespace": "n"},
        "spec": {
            "volumeClaimTemplates": [claim, {"spec": {"storageClassName": ""}}, {"spec": {}}],
            "template": {"spec": {"volumes": [{"ephemeral": {"volumeClaimTemplate": claim}}]}},
        },
    }));
    let done = run(&set, "- storageClass: {map: {fast: ssd}}\n");
    assert_eq!(
        changes(&done, "T-1"),
        [
            r#"StatefulSet/a /spec/template/spec/volumes/0/ephemeral/volumeClaimTemplate/spec/storageClassName: "fast" -> "ssd""#,
            r#"StatefulSet/a /spec/volumeClaimTemplates/0/spec/storageClassName: "fast" -> "ssd""#,
        ]
    );
}

#[test]
fn t_1_no_class_is_not_the_same_as_an_unset_one() {
    let claims = |class: Value| {
        one(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "a", "namespace": "n"}, "spec": class,
        }))
    };
    let recipe = "- {storageClass: {map: {'': ssd}}, optional: true}\n";
    let empty = run(&claims(json!({"storageClassName": ""})), recipe);
    assert_eq!(empty.objects[0].text("/spec/storageClassName"), Some("ssd"));
    assert!(run(&claims(json!({})), recipe).changes.is_empty());
}

#[test]
fn t_1_maps_act_at_once_and_never_chain() {
    let quota = one(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "n"},
        "spec": {"hard": {
            "a.storageclass.storage.k8s.io/requests.storage": "1",
            "b.storageclass.storage.k8s.io/requests.storage": "2",
        }},
    }));
    let done = run(&quota, "- storageClass: {map: {a: b, b: a}}\n");
    assert_eq!(
        done.objects[0].pointer("/spec/hard"),
        Some(&json!({
            "a.storageclass.storage.k8s.io/requests.storage": "2",
            "b.storageclass.storage.k8s.io/requests.storage": "1",
        }))
    );
}

fn pod(image: &str) -> Vec<Object> {
    one(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"containers": [{"image": image}]},
    }))
}

#[test]
fn t_2_the_longest_prefix_counts() {
    let done = run(
        &pod("r.a/team/web:1"),
        "- registry: {map: {r.a/team: r.b/x, r.a/team/web: r.c/w}}\n  optional: true\n",
    );
    assert_eq!(
        done.objects[0].text("/spec/containers/0/image"),
        Some("r.c/w:1")
    );
}

#[test]
fn t_2_a_prefix_that_nests_in_itself_is_applied_once() {
    let recipe = "- registry: {map: {r.a: r.a/mirror}}\n";
    let once = run(&pod("r.a/web"), recipe);
    let twice = run(&once.objects, recipe);
    assert_eq!(
        twice.objects[0].text("/spec/containers/0/image"),
        Some("r.a/mirror/web")
    );
}

#[test]
fn t_2_short_names_in_the_environment_are_left_alone() {
    let mut objects = pod("nginx");
    *objects[0]
        .value_mut()
        .pointer_mut("/spec/containers/0")
        .unwrap() = json!({
        "image": "nginx",
        "env": [{"name": "SERVER", "value": "nginx"}, {"name": "RELATED_IMAGE", "value": "docker.io/a/b:1"}],
    });
    let done = run(&objects, "- registry: {map: {docker.io: r.b/hub}}\n");
    assert_eq!(
        done.objects[0].pointer("/spec/containers/0"),
        Some(&json!({
            "image": "r.b/hub/library/nginx",
            "env": [{"name": "SERVER", "value": "nginx"}, {"name": "RELATED_IMAGE", "value": "r.b/hub/a/b:1"}],
        }))
    );
}

#[test]
fn t_4_all_three_forms_of_a_subject_follow() {
    let done = run(&shop(), "- namespace: {map: {shop: new}}\n");
    let binding = done
        .objects
        .iter()
        .find(|o| o.kind() == "RoleBinding")
        .unwrap();
    assert_eq!(binding.text("/subjects/0/namespace"), Some("new"));
    assert_eq!(
        binding.text("/subjects/1/name"),
        Some("system:serviceaccounts:new")
    );
    assert_eq!(
        binding.text("/subjects/2/name"),
        Some("system:serviceaccount:new:web")
    );
    assert_eq!(
        done.namespaces,
        [("shop".to_owned(), "new".to_owned())].into()
    );
    assert_eq!(
        done.on_b(&ObjectId::namespaced("", "Service", "shop", "web")),
        &ObjectId::namespaced("", "Service", "new", "web")
    );
}

#[test]
fn t_4_there_and_back_is_the_identity() {
    let there = run(&shop(), "- namespace: {map: {shop: elsewhere}}\n");
    let back = run(&there.objects, "- namespace: {map: {elsewhere: shop}}\n");
    assert_eq!(back.objects, shop());
}

#[test]
fn t_4_two_namespaces_may_swap_names() {
    let object = |namespace: &str| {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "namespace": namespace}, "data": {"was": namespace},
        }))
        .unwrap()
    };
    let done = run(
        &[object("a"), object("b")],
        "- namespace: {map: {a: b, b: a}}\n",
    );
    assert_eq!(done.objects[0].namespace(), Some("b"));
    assert_eq!(done.objects[1].namespace(), Some("a"));
}

#[test]
fn objects_that_would_collide_are_refused() {
    let object = |namespace: &str| {
        Object::new(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace},
        }))
        .unwrap()
    };
    assert_eq!(
        refused(&[object("a"), object("b")], "- namespace: {map: {a: b}}\n"),
        ["ConfigMap a/c and ConfigMap b/c would both become ConfigMap b/c"]
    );
}

#[test]
fn t_5_wildcards_move_hosts_and_wildcard_hosts() {
    let ingress = one(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "i", "namespace": "n", "annotations": {
            "nginx.ingress.kubernetes.io/auth-url": "https://auth.apps.a/x?rd=auth.apps.a"}},
        "spec": {"rules": [{"host": "x.apps.a"}, {"host": "*.apps.a"}, {"host": "y.other"}]},
    }));
    let done = run(&ingress, "- host: {map: {'*.apps.a': '*.apps.b'}}\n");
    assert_eq!(
        done.objects[0].pointer("/spec/rules"),
        Some(&json!([{"host": "x.apps.b"}, {"host": "*.apps.b"}, {"host": "y.other"}]))
    );
    assert_eq!(
        done.objects[0].annotation("nginx.ingress.kubernetes.io/auth-url"),
        Some("https://auth.apps.b/x?rd=auth.apps.a")
    );
}

#[test]
fn t_7_scale_sets_replicas_of_workloads_only() {
    let done = run(&shop(), "- scale: {select: {name: 'web'}, replicas: 0}\n");
    assert_eq!(
        changes(&done, "T-7"),
        ["Deployment/web /spec/replicas: 2 -> 0"]
    );
}

#[test]
fn t_12_labels_go_to_pods_only_on_request() {
    let objects = shop();
    let select = "select: {kind: Deployment, name: web}";
    let done = run(
        &objects,
        &format!("- labels: {{{select}, set: {{team: b}}}}\n"),
    );
    assert_eq!(
        changes(&done, "T-12"),
        [r#"Deployment/web /metadata/labels/team: null -> "b""#]
    );
    let done = run(
        &objects,
        &format!("- labels: {{{select}, set: {{team: b}}, pods: true}}\n"),
    );
    assert_eq!(changes(&done, "T-12").len(), 2);
}

#[test]
fn t_12_a_selector_never_loses_its_pods() {
    let recipe =
        "- labels: {select: {kind: Deployment, name: web}, set: {app: other}, pods: true}\n";
    assert_eq!(
        refused(&shop(), recipe),
        ["the selector of Deployment.apps shop/web would lose its pods"]
    );
}

#[test]
fn rules_that_match_nothing_are_refused_with_what_there_is() {
    let recipe = recipe(
        "- storageClass: {map: {cow: fast, cw-ext4: x}}
- host: {map: {shop.b: c.d}}
- {namespace: {map: {ship: b}}, optional: true}
- {patch: {select: {kind: Widget}, merge: {spec: {a: 1}}}, name: widgets}
",
    );
    let error = apply(&shop(), &[recipe], Knowledge::builtin()).unwrap_err();
    let shown: Vec<String> = error
        .faults
        .iter()
        .map(|fault| format!("{fault}: {}", miette::Diagnostic::help(fault).unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            "the storageClass rule for `cw-ext4` matches nothing: the capture has storage classes cow, cow-ext4; correct the rule or add `optional: true`",
            "the host rule for `shop.b` matches nothing: the capture has hosts shop.a.example.test; correct the rule or add `optional: true`",
            "the patch of entry 3 (widgets) matches nothing: correct `select`, which looks at objects as they are on A, or add `optional: true`",
        ]
    );
}

#[test]
fn two_recipes_may_not_map_one_source_differently() {
    let recipes = [
        recipe("- storageClass: {map: {cow: a}}\n"),
        recipe("- storageClass: {map: {cow: b}}\n"),
    ];
    let error = apply(&shop(), &recipes, Knowledge::builtin()).unwrap_err();
    assert_eq!(
        error.faults[0].to_string(),
        "`cow` is mapped twice, to `a` and to `b`"
    );
}

#[test]
fn a_patch_that_fails_on_one_object_fails_whole() {
    let found = refused(
        &shop(),
        "- patch: {select: {kind: Deployment}, jsonPatch: [{op: replace, path: /spec/strategy/type, value: X}]}\n",
    );
    assert_eq!(found, ["the patch fails on Deployment.apps shop/web"]);
}

#[test]
fn a_patch_may_not_rename() {
    let found = refused(
        &shop(),
        "- patch: {select: {kind: Deployment, name: web}, merge: {metadata: {name: x}}}\n",
    );
    assert_eq!(
        found,
        ["the patch makes another object of Deployment.apps shop/web"]
    );
}

#[test]
fn patches_see_what_the_typed_transforms_made_and_select_what_was() {
    let done = run(
        &shop(),
        "- name: pull
  patch:
    select: {kind: Deployment, name: web, namespace: shop}
    jsonPatch:
    - {op: test, path: /metadata/namespace, value: new}
    - {op: add, path: /spec/minReadySeconds, value: 3}
- namespace: {map: {shop: new}}
",
    );
    assert_eq!(
        changes(&done, "pull"),
        ["Deployment/web /spec/minReadySeconds: null -> 3"]
    );
}

/// A small cluster whose names are drawn from few letters, so that they meet often.
fn objects() -> impl Strategy<Value = Vec<Object>> {
    let name = || "[abc]{1,2}";
    let object = (0..5_u8, name(), name(), name(), name()).prop_map(|(kind, a, b, c, d)| {
        let value = match kind {
            0 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": a, "namespace": b},
                "spec": {"externalName": format!("{c}.{d}.svc")}}),
            1 => json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": a, "namespace": b}, "spec": {"storageClassName": c}}),
            2 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": a, "namespace": b},
                "data": {"x": format!("http://{c}.{d}.svc:80/{a}.{b} {c}.x"), "y": format!("{c}.x")}}),
            3 => json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": a, "namespace": b},
                "spec": {"template": {"spec": {"containers": [{"image": format!("{c}.x/{d}/{a}:1")}]}}}}),
            _ => json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": a, "namespace": b}, "spec": {"rules": [{"host": format!("{c}.x")}]}}),
        };
        Object::new(value).unwrap()
    });
    prop::collection::vec(object, 1..8).prop_map(|list| {
        let unique: BTreeMap<_, _> = list
            .into_iter()
            .map(|object| (object.id(), object))
            .collect();
        unique.into_values().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With new names that A does not use, as a migration has them.
    #[test]
    fn typed_transforms_are_idempotent(objects in objects(), a in "[abc]{1,2}", b in "[abc]{1,2}") {
        let text = format!(
            "- {{namespace: {{map: {{{a}: new-a}}}}, optional: true}}
- {{storageClass: {{map: {{{a}: new-c}}}}, optional: true}}
- {{registry: {{map: {{{a}.x: {a}.x/mirror, {b}.x/{a}: r.y}}}}, optional: true}}
- {{host: {{map: {{{a}.x: h.y, '*.x': '*.z.x'}}}}, optional: true}}
- {{labels: {{set: {{l: v}}}}, optional: true}}
- {{scale: {{replicas: 1}}, optional: true}}
- {{names: {{select: {{kind: [Service, ConfigMap]}}, map: {{{a}: new-n}}}}, optional: true}}
- {{endpoint: {{map: {{{b}.x: e.y}}}}, optional: true}}
- {{text: {{replace: [{{find: ':80', with: ':81'}}]}}, optional: true}}
- {{volumes: {{accessModes: {{ReadWriteMany: ReadWriteOnce}}, size: {{max: 1Gi}}}}, optional: true}}
- {{secrets: {{scrub: redact}}, optional: true}}
- {{cloneGuard: {{}}, optional: true}}
");
        let once = run(&objects, &text);
        let twice = run(&once.objects, &text);
        prop_assert_eq!(&twice.objects, &once.objects);
        prop_assert!(twice.changes.is_empty(), "{:?}", twice.changes);
    }

    #[test]
    fn a_namespace_there_and_back_is_the_identity(objects in objects(), a in "[abc]{1,2}") {
        let there = run(&objects, &format!("- {{namespace: {{map: {{{a}: new-a}}}}, optional: true}}\n"));
        let back = run(&there.objects, &format!("- {{namespace: {{map: {{new-a: {a}}}}}, optional: true}}\n"));
        prop_assert_eq!(back.objects, objects);
    }

    #[test]
    fn names_there_and_back_are_the_identity(objects in objects(), a in "[abc]{1,2}") {
        let names = |from: &str, to: &str| {
            format!("- {{names: {{select: {{kind: [Service, PersistentVolumeClaim]}}, map: {{{from}: {to}}}}}, optional: true}}\n")
        };
        let there = run(&objects, &names(&a, "new-a"));
        let back = run(&there.objects, &names("new-a", &a));
        prop_assert_eq!(back.objects, objects);
    }

    /// Undoing every record from last to first gives the captured objects back.
    #[test]
    fn changes_tell_the_whole_story(objects in objects(), a in "[abc]{1,2}") {
        let text = format!(
            "- {{namespace: {{map: {{{a}: new-a}}}}, optional: true}}
- {{registry: {{map: {{{a}.x: r.y}}}}, optional: true}}
- {{labels: {{set: {{l: v}}}}, optional: true}}
");
        let done = run(&objects, &text);
        let ids: Vec<_> = objects.iter().map(Object::id).collect();
        let mut undone = done.objects;
        for change in done.changes.iter().rev() {
            let index = ids.iter().position(|id| *id == change.object).unwrap();
            let value = undone[index].value_mut();
            match &change.before {
                Value::Null => drop(crate::object::pointer::remove(value, &change.path)),
                before => drop(crate::object::pointer::set(value, &change.path, before.clone())),
            }
        }
        // Maps made to hold a label stay as empty maps; they mean nothing.
        for object in &mut undone {
            let metadata = object.value_mut().pointer_mut("/metadata").unwrap();
            if metadata.get("labels") == Some(&json!({})) {
                metadata.as_object_mut().unwrap().remove("labels");
            }
        }
        prop_assert_eq!(undone, objects);
    }
}
