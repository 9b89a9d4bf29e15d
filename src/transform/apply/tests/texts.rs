//! T-9 to T-11 and T-13: text, secrets, addresses, and a copy that does no harm.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::{all, at, config, deployment, messages, secret};
use super::*;
use crate::transform::Source;

#[test]
fn t_9_text_is_replaced_at_once_and_only_where_asked() {
    let encoded = STANDARD.encode("level=debug");
    let objects = all(vec![
        config(json!({"app.conf": "level=debug\npool=20\n"})),
        secret("Opaque", json!({"x": encoded})),
        deployment(
            json!({"containers": [{"name": "c", "args": ["--level=debug"], "env": [{"name": "L", "value": "level=debug"}]}]}),
        ),
    ]);
    let recipe = "- text:
    replace: [{find: level=debug, with: level=info}, {regex: 'pool=(\\d)\\d\\b', with: 'pool=$1', max: 1}]
  optional: true
";
    let done = run(&objects, recipe);
    assert_eq!(at(&done, 0, "/data/app.conf"), "level=info\npool=2\n");
    assert_eq!(at(&done, 1, "/data/x"), &json!(encoded));
    let container = at(&done, 2, "/spec/template/spec/containers/0");
    assert_eq!(container["args"][0], "--level=info");
    assert_eq!(container["env"][0]["value"], "level=info");
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let done = run(
        &objects,
        "- text: {in: [secrets], replace: [{find: debug, with: info}]}\n",
    );
    assert_eq!(
        at(&done, 1, "/data/x"),
        &json!(STANDARD.encode("level=info"))
    );
}

#[test]
fn t_9_what_finds_nothing_too_much_or_itself_is_refused() {
    let objects = all(vec![config(json!({"a": "one one", "b": "two"}))]);
    let found = refused(
        &objects,
        "- text: {replace: [{find: three, with: x}]}
- text: {replace: [{find: one, with: x, max: 1}]}
- text: {replace: [{find: two, with: two two}]}
",
    );
    assert_eq!(
        found,
        [
            "`one` is found 2 times, and at most 1 were expected",
            "the replacement would change its own result in ConfigMap n/c",
            "the text rule for `three` matches nothing",
        ]
    );
    assert_eq!(
        refused(
            &objects,
            "- text: {replace: [{find: one, with: x}, {regex: 'ne o', with: z}]}\n"
        )[0],
        "two replacements want the same characters of ConfigMap n/c"
    );
}

#[test]
fn t_9_an_immutable_object_whose_data_changes_is_told() {
    let mut value = config(json!({"a": "one"}));
    value["immutable"] = json!(true);
    let done = run(
        &all(vec![value]),
        "- text: {replace: [{find: one, with: x}]}\n",
    );
    assert_eq!(
        messages(&done),
        ["the object is immutable and its data changes"]
    );
}

#[test]
fn t_10_scrubbed_secrets_leave_nothing_of_a_behind() {
    let mut pod = deployment(json!({"containers": [{"name": "c", "env": [
        {"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "MODE", "value": "prod"}]}]}));
    pod["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"p\":\"hunter2\"}"});
    let docker = STANDARD.encode("{\"auths\":{}}");
    let mut pull = secret(
        "kubernetes.io/dockerconfigjson",
        json!({".dockerconfigjson": docker}),
    );
    pull["metadata"]["name"] = json!("pull");
    let objects = all(vec![
        secret(
            "Opaque",
            json!({"password": STANDARD.encode("hunter2"), "user": STANDARD.encode("me"), "bin": "/////w=="}),
        ),
        pod,
        pull,
    ]);
    let recipe = "- secrets: {keys: [user], scrub: keep}
- secrets: {scrub: redact, set: {token: {value: new}}, select: {kind: [Secret, Deployment], name: [s, web, pull]}}
";
    // The second entry's `set` is for one Secret only.
    let recipe = recipe.replace(", set: {token: {value: new}}", "");
    let set = "- secrets: {select: {kind: Secret, name: s}, set: {token: {value: new}}}\n";
    let text = format!("{recipe}{set}");
    let done = run(&objects, &text);
    let decoded = |key: &str| {
        let text = at(&done, 0, &format!("/data/{key}")).as_str().unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(
        ["password", "user", "bin", "token"].map(decoded),
        ["REDACTED", "me", "REDACTED", "new"]
    );
    assert!(!done.objects[1].value().to_string().contains("hunter2"));
    assert_eq!(
        at(&done, 1, "/spec/template/spec/containers/0/env/1/value"),
        "prod"
    );
    assert_eq!(at(&done, 2, "/data/.dockerconfigjson"), &json!(docker));
    assert_eq!(
        messages(&done),
        ["credentials for pulling images are not scrubbed"]
    );
    assert_eq!(run(&done.objects, &text).objects, done.objects);
}

#[test]
fn t_10_random_values_need_a_seed_and_are_stable() {
    let objects = all(vec![secret(
        "Opaque",
        json!({"a": STANDARD.encode("abc123"), "b": STANDARD.encode("abc123")}),
    )]);
    let recipe = "- secrets: {scrub: random, seed: {value: sixteen-letters-}}\n";
    let done = run(&objects, recipe);
    let (a, b) = (at(&done, 0, "/data/a"), at(&done, 0, "/data/b"));
    assert_ne!(a, b);
    assert_ne!(a, &json!(STANDARD.encode("abc123")));
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let text = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n- secrets: {scrub: random}\n";
    let error = Recipe::parse("t.yaml", text).unwrap_err();
    assert_eq!(
        error.faults[0].to_string(),
        "`scrub: random` needs a `seed`"
    );
    for short in ["a", "'1234567'"] {
        let text = text.replace("random}", &format!("hash, seed: {{value: {short}}}}}"));
        let error = Recipe::parse("t.yaml", &text).unwrap_err();
        assert_eq!(
            error.faults[0].to_string(),
            "the `seed` of `scrub: hash` is too short"
        );
    }
}

#[test]
fn t_11_endpoints_and_cluster_domains_follow_in_text() {
    let objects = all(vec![
        config(json!({"url": "jdbc:x://db.prod.example:5432/a?h=web.n.svc.cluster.local"})),
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e", "namespace": "n"},
            "subsets": [{"addresses": [{"ip": "10.0.0.7"}]}]}),
    ]);
    let done = run(
        &objects,
        "- endpoint: {map: {db.prod.example:5432: db.staging.example:6432, 10.0.0.7: 10.1.0.7}}
- clusterDomain: {map: {cluster.local: b.internal}}
",
    );
    assert_eq!(
        at(&done, 0, "/data/url"),
        "jdbc:x://db.staging.example:6432/a?h=web.n.svc.b.internal"
    );
    assert_eq!(at(&done, 1, "/subsets/0/addresses/0/ip"), "10.1.0.7");
}

#[test]
fn t_11_an_address_of_a_service_in_text_is_told() {
    let objects = all(vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "n"}}),
        config(json!({"h": "host=10.96.0.12;"})),
    ]);
    let mut raw = objects.clone();
    raw[0].value_mut()["spec"] = json!({"clusterIP": "10.96.0.12"});
    let source = Source {
        raw: raw.iter().collect(),
        ..Source::new(&objects)
    };
    let done = apply_to(&source, &[], Knowledge::builtin()).unwrap();
    assert_eq!(
        messages(&done),
        ["the address of Service n/db on A is written here"]
    );
}

#[test]
fn t_13_the_clone_guard_keeps_a_copy_quiet() {
    let objects = all(vec![
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "mail", "namespace": "n"}, "spec": {"suspend": false}}),
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": {"name": "le", "namespace": "n"},
            "spec": {"acme": {"server": "https://acme-v02.api.letsencrypt.org/directory"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n",
            "annotations": {"external-dns.alpha.kubernetes.io/hostname": "shop.example", "k": "v"}}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "q", "namespace": "n"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "open", "namespace": "n"},
            "spec": {"podSelector": {}, "egress": [{}]}}),
    ]);
    let recipe = "- cloneGuard: {allow: [10.0.0.0/8]}\n- namespace: {map: {n: staging}, }\n  optional: true\n";
    let done = run(&objects, recipe);
    assert_eq!(at(&done, 0, "/spec/suspend"), true);
    assert_eq!(
        at(&done, 1, "/spec/acme/server"),
        "https://acme-staging-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(at(&done, 2, "/metadata/annotations"), &json!({"k": "v"}));
    assert_eq!(
        done.objects[3].annotation("autoscaling.keda.sh/paused"),
        Some("true")
    );
    let policy = &done.objects[5];
    assert_eq!(
        (policy.kind(), policy.namespace()),
        ("NetworkPolicy", Some("staging"))
    );
    assert_eq!(done.origins[5], None);
    assert_eq!(
        at(&done, 5, "/spec/egress/2/to/0/ipBlock/cidr"),
        "10.0.0.0/8"
    );
    assert!(messages(&done).contains(&"this policy allows more than the clone guard does"));
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let done = run(&objects, "- cloneGuard: {except: [egress, suspend]}\n");
    assert_eq!(at(&done, 0, "/spec/suspend"), false);
    assert_eq!(done.objects.len(), 5);
}

#[test]
fn t_13_alerts_configured_in_a_secret_reach_nobody_and_are_not_scrubbed_to_nothing() {
    let config = "global: {smtp_auth_password: hunter2}\nroute: {receiver: team}\nreceivers:\n- name: team\n  email_configs: [{to: a@b.c}]\n";
    let muted = "receivers:\n- name: team\nroute:\n  receiver: team\n";
    let mut charts = self::config(json!({"alertmanager.yml": config}));
    charts["metadata"]["name"] = json!("charts");
    let objects = all(vec![
        secret(
            "Opaque",
            json!({"alertmanager.yaml": STANDARD.encode(config), "p": STANDARD.encode("hunter2")}),
        ),
        charts,
    ]);
    let recipe = "- secrets: {scrub: redact}\n- cloneGuard: {except: [egress]}\n";
    let done = run(&objects, recipe);
    let text = STANDARD.decode(at(&done, 0, "/data/alertmanager.yaml").as_str().unwrap());
    assert_eq!(String::from_utf8(text.unwrap()).unwrap(), muted);
    assert_eq!(at(&done, 0, "/data/p"), &json!(STANDARD.encode("REDACTED")));
    assert_eq!(at(&done, 1, "/data/alertmanager.yml"), muted);
    assert_eq!(run(&done.objects, recipe).objects, done.objects);
    let done = run(
        &objects,
        "- secrets: {scrub: redact}\n- cloneGuard: {except: [egress, alerts]}\n  optional: true\n",
    );
    assert_eq!(
        at(&done, 0, "/data/alertmanager.yaml"),
        &json!(STANDARD.encode("REDACTED"))
    );
}
