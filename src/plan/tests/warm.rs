//! Syncs, and the cutover that follows them.

use super::*;

#[test]
fn a_sync_brings_data_and_nothing_that_runs() {
    let mut fixture = shop();
    fixture.purpose = Purpose::Sync;
    fixture
        .target
        .namespaces
        .insert("shop".into(), NamespaceState::Absent);
    let plan = fixture.plan();
    assert_eq!(
        words(&plan),
        [
            "create Namespace shop",
            "save PersistentVolumeClaim shop/data",
            "create PersistentVolumeClaim shop/data",
            "load PersistentVolumeClaim shop/data",
        ]
    );
    for (number, step) in (0..).zip(&plan.steps) {
        assert_eq!(step.number, number);
        assert!(step.needs.iter().all(|need| need.step < number));
    }
    let Action::Apply { body, .. } = &plan.steps[2].action else {
        panic!("the claim is made");
    };
    assert_eq!(body.annotation(stamp::DATA_ANNOTATION), Some("pending"));
    assert_eq!(body.annotation(stamp::SYNC_ANNOTATION), Some(""));
}

#[test]
fn a_claim_a_sync_filled_is_brought_up_to_date_by_syncs_and_by_a_migration() {
    for (purpose, synced) in [(Purpose::Sync, true), (Purpose::Move, true)] {
        let mut fixture = shop().migrated();
        fixture.purpose = purpose;
        let claim = fixture
            .target
            .live
            .get_mut(&id("PersistentVolumeClaim", "data"))
            .unwrap();
        stamp::annotate(claim, stamp::DATA_ANNOTATION, stamp::DATA_PENDING);
        stamp::annotate(claim, stamp::SYNC_ANNOTATION, "digest");
        let loads: Vec<bool> = fixture
            .plan()
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Load(volume) => Some(volume.synced),
                _ => None,
            })
            .collect();
        assert_eq!(loads, [synced], "{purpose:?}");
    }
}

#[test]
fn a_stands_still_when_everything_is_prepared_and_until_the_data_has_arrived() {
    let mut fixture = shop();
    fixture.purpose = Purpose::Cutover;
    let plan = fixture.plan();
    let words = words(&plan);
    let at = |word: &str| {
        let found = words.iter().position(|one| one == word);
        found.unwrap_or_else(|| panic!("{word} in {words:#?}"))
    };
    let order = [
        "create StatefulSet.apps shop/db",
        "quiesce StatefulSet.apps shop/db",
        "quiet Namespace shop",
        "save PersistentVolumeClaim shop/data",
        "load PersistentVolumeClaim shop/data",
        "release StatefulSet.apps shop/db",
    ];
    assert!(order.map(at).is_sorted(), "{words:#?}");
    assert!(at("create Secret shop/password") < at(order[1]));
    assert!(at("create Ingress.networking.k8s.io shop/web") > at(order[5]));
    let needs = |from: usize, to: usize| {
        let needs = &plan.steps[from].needs;
        needs.iter().any(|need| need.step as usize == to)
    };
    assert!(needs(at(order[1]), at(order[0])));
    assert!(needs(at(order[2]), at(order[1])));
    assert!(needs(at(order[3]), at(order[2])));
    let still = words.iter().rposition(|one| one == order[2]).unwrap();
    assert!(needs(still, at(order[4])));
    assert!(needs(at(order[5]), still));
    let taken_back = |action: &str, step: usize| {
        let intent = crate::journal::Entry::Intent {
            before: None,
            payload: String::new(),
        };
        let record = crate::journal::Record::of_step(&plan.steps[step], intent);
        assert_eq!(record.action, action);
        !crate::restore::released(&plan, &[record])
    };
    assert!(taken_back("load", at(order[4])));
    assert!(!taken_back("release", at(order[5])));
}

#[test]
fn a_cutover_is_blocked_where_holding_would_not_stop_or_would_delete() {
    let mut fixture = shop();
    fixture.purpose = Purpose::Cutover;
    fixture.capture.volumes[0].mounted_by = vec![id("Pod", "alone")];
    for captured in &mut fixture.capture.objects {
        if captured.raw.kind() == "StatefulSet" {
            captured.raw.value_mut()["spec"]["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenScaled": "Delete"});
        }
    }
    let plan = fixture.plan();
    assert!(plan.blocked());
    let found: Vec<String> = plan
        .findings
        .iter()
        .filter_map(|finding| {
            let object = finding.object.as_ref()?;
            Some(format!("{} {} {object}", finding.verdict, finding.rule))
        })
        .collect();
    assert_eq!(
        found,
        [
            "block W-9 Pod shop/alone",
            "block W-9 StatefulSet.apps shop/db",
            "warn W-9 Pod shop/probe",
        ]
    );
    fixture.purpose = Purpose::Move;
    assert!(!fixture.plan().blocked());
}
