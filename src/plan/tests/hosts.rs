//! Hosts that change sides in a cutover.

use super::*;

/// The shop, reached by hosts on A.
fn reached_by_hosts() -> Fixture {
    let mut fixture = shop();
    let spec = json!({"rules": [{"host": "shop.example.com", "http": {}}, {"host": "*.shop.example.com"}, {"http": {}}],
        "tls": [{"hosts": ["shop.example.com"], "secretName": "tls"}]});
    let annotations =
        json!({"external-dns.alpha.kubernetes.io/hostname": "www.example.com, shop.example.com"});
    let expose = |object: &mut Object| {
        if object.kind() == "Ingress" {
            object.value_mut()["spec"] = spec.clone();
            object.value_mut()["metadata"]["annotations"] = annotations.clone();
        }
    };
    for captured in &mut fixture.capture.objects {
        expose(&mut captured.raw);
        expose(&mut captured.object);
    }
    fixture.transformed.objects.iter_mut().for_each(expose);
    fixture
}

#[test]
fn t_5_a_gives_its_hosts_up_when_b_runs_and_b_takes_them_after_that() {
    let mut fixture = reached_by_hosts();
    fixture.purpose = Purpose::Cutover;
    let plan = fixture.plan();
    let step = |word: &str| {
        let at = words(&plan).iter().position(|one| one == word);
        &plan.steps[at.unwrap_or_else(|| panic!("{word} in {:#?}", words(&plan)))]
    };
    let given = step("give-up Ingress.networking.k8s.io shop/web");
    let needs = |from: &Step, to: &Step| from.needs.iter().any(|need| need.step == to.number);
    assert!(needs(
        step("create Ingress.networking.k8s.io shop/web"),
        given
    ));
    assert!(needs(given, step("release Deployment.apps shop/web")));
    assert!(needs(given, step("release StatefulSet.apps shop/db")));
    let Action::GiveUp { hosts, holds } = &given.action else {
        panic!()
    };
    assert_eq!(
        hosts,
        &["*.shop.example.com", "shop.example.com", "www.example.com"]
    );
    // Merged into the object they park its names, and merged back they are what was.
    let before = fixture.capture.objects.iter().map(|one| &one.raw);
    let before = before
        .into_iter()
        .find(|raw| raw.kind() == "Ingress")
        .unwrap();
    let mut object = before.clone();
    for hold in holds {
        assert!(!hold.is_set(&object));
        json_patch::merge(object.value_mut(), &hold.set_to(hold.held.clone()));
        assert!(hold.is_set(&object));
    }
    assert_eq!(
        object.text("/spec/rules/0/host"),
        Some("shop.example.com.invalid")
    );
    assert_eq!(
        object.text("/spec/rules/1/host"),
        Some("*.shop.example.com.invalid")
    );
    assert_eq!(object.pointer("/spec/rules/2"), Some(&json!({"http": {}})));
    assert_eq!(object.pointer("/spec/tls"), None);
    assert_eq!(object.pointer("/metadata/annotations"), Some(&json!({})));
    for hold in holds {
        let former = before.pointer(&hold.path).cloned();
        json_patch::merge(object.value_mut(), &hold.set_to(former.unwrap_or_default()));
    }
    assert_eq!(&object, before);

    fixture.purpose = Purpose::Move;
    let given = |step: &Step| matches!(step.action, Action::GiveUp { .. });
    assert!(!fixture.plan().steps.iter().any(given));
}
