//! Where hooks stand in a plan.

use super::*;
use crate::hook::{Hook, Moment, OnError, Pods, WaitFor};
use crate::transform::hooks::Chosen;

fn hook(name: &str, moment: Moment, workload: (&str, &str)) -> Chosen {
    Chosen {
        hook: Hook {
            name: name.into(),
            origin: "recipe t".into(),
            moment,
            pods: Pods::All,
            container: None,
            command: vec!["true".into()],
            timeout: 30,
            on_error: OnError::Fail,
            wait_for: WaitFor::Ready,
            wait: 600,
        },
        object: id(workload.0, workload.1),
    }
}

fn needs(plan: &Plan, from: &str, to: &str) -> bool {
    let words = words(plan);
    let at = |word: &str| words.iter().position(|one| one == word).unwrap();
    let needs = &plan.steps[at(from)].needs;
    needs.iter().any(|need| need.step as usize == at(to))
}

fn said(plan: &Plan) -> Vec<String> {
    let hooks = plan.findings.iter().filter(|one| one.rule == "hooks");
    hooks
        .map(|one| format!("{} {}", one.verdict, one.message))
        .collect()
}

#[test]
fn hooks_on_a_come_before_the_first_hold_and_those_on_b_before_who_needs_the_workload() {
    let mut fixture = shop();
    fixture.purpose = Purpose::Cutover;
    fixture.transformed.hooks = vec![
        hook("flush", Moment::BeforeHold, ("StatefulSet", "db")),
        hook("index", Moment::AfterRelease, ("StatefulSet", "db")),
        // A suspended CronJob and what runs nowhere have no pods.
        hook("none", Moment::BeforeHold, ("CronJob", "report")),
    ];
    let plan = fixture.plan();
    let hooked: Vec<u32> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Hook(_)))
        .map(|step| step.number)
        .collect();
    let [before, after] = hooked[..] else {
        panic!("{:#?}", words(&plan))
    };
    let all_after = |step: u32, what: &str| {
        let all = plan.steps.iter().filter(|one| one.action.word() == what);
        all.into_iter()
            .all(|one| one.needs.iter().any(|need| need.step == step))
    };
    assert!(all_after(before, "quiesce"));
    assert!(plan.steps[before as usize].action.is_on_source());
    assert!(!plan.steps[after as usize].action.is_on_source());
    let waits = |step: &str| {
        let words = words(&plan);
        let at = words.iter().position(|one| one == step).unwrap();
        plan.steps[at].needs.iter().any(|need| need.step == after)
    };
    assert!(waits("release Deployment.apps shop/web"));
    assert!(waits("create Ingress.networking.k8s.io shop/web"));
    assert!(!waits("release StatefulSet.apps shop/db"));
    assert_eq!(
        said(&plan),
        ["warn hook none is not run: the workload has no pods"]
    );

    // Without a hold there is nothing to be before of.
    fixture.purpose = Purpose::Move;
    let plan = fixture.plan();
    let db = "StatefulSet.apps shop/db";
    assert!(needs(
        &plan,
        &format!("hook {db}"),
        &format!("release {db}")
    ));
    assert_eq!(
        said(&plan)[0],
        "info hook flush is not run: only a cutover holds the source"
    );
    fixture.purpose = Purpose::Sync;
    assert!(
        !words(&fixture.plan())
            .iter()
            .any(|word| word.starts_with("hook"))
    );
}

#[test]
fn a_container_that_the_pods_do_not_have_blocks_and_the_default_is_written_down() {
    let mut fixture = shop();
    let pods = json!({"metadata": {"annotations": {
            "kubectl.kubernetes.io/default-container": "db",
            "post.hook.restore.velero.io/command": "/restore",
            "post.hook.restore.velero.io/container": "nobody"}},
        "spec": {"containers": [{"name": "side"}, {"name": "db"}]}});
    for object in &mut fixture.transformed.objects {
        if object.kind() == "StatefulSet" {
            object.value_mut()["spec"]["template"] = pods.clone();
        }
    }
    let chosen = |plan: &Plan| match plan.steps.iter().find_map(|step| match &step.action {
        Action::Hook(hook) => Some(hook.clone()),
        _ => None,
    }) {
        Some(hook) => (hook.name, hook.container),
        None => panic!("no hook"),
    };
    // Velero's restore goes on after a failure, so it only warns.
    let plan = fixture.plan();
    assert!(!plan.blocked());
    assert_eq!(chosen(&plan).1.as_deref(), Some("nobody"));
    assert_eq!(said(&plan).len(), 1);

    let mut own = hook("own", Moment::AfterRelease, ("StatefulSet", "db"));
    fixture.transformed.hooks = vec![own.clone()];
    let plan = fixture.plan();
    assert_eq!(chosen(&plan), ("own".into(), Some("db".into())));
    assert!(said(&plan)[0].contains("takes the place of"));
    own.hook.container = Some("nobody".into());
    fixture.transformed.hooks = vec![own];
    assert!(fixture.plan().blocked());
}
