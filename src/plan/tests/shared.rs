//! Claims whose data the storage carries by itself.

use super::*;
use crate::surface::ApiResource;

const GROUP: &str = "snapshot.storage.k8s.io";

fn class(kind: &str, body: Value) -> Object {
    let group = match kind {
        "StorageClass" => "storage.k8s.io",
        _ => GROUP,
    };
    let mut class =
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "c"}});
    json_patch::merge(&mut class, &body);
    Object::new(class).unwrap()
}

/// The shop on a driver whose storage both clusters are said to be on.
fn on_one_storage() -> Fixture {
    let mut fixture = shop();
    fixture.shared_storage = true;
    fixture.capture.volumes[0].driver = Some("rbd".into());
    let snapshots = class("VolumeSnapshotClass", json!({"driver": "rbd"}));
    fixture.capture.surface.objects.push(snapshots);
    let late = json!({"provisioner": "rbd", "volumeBindingMode": "WaitForFirstConsumer",
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    fixture.offers.objects.push(class("StorageClass", late));
    fixture.offers.resources.push(ApiResource {
        group: GROUP.into(),
        version: "v1".into(),
        kind: "VolumeSnapshotContent".into(),
        plural: "volumesnapshotcontents".into(),
        namespaced: false,
        verbs: BTreeSet::new(),
        preferred: true,
        subresources: BTreeSet::new(),
    });
    fixture
}

/// Whether the storage carries the data, and what the user is told when it does not.
fn way(fixture: &Fixture) -> (bool, Vec<String>) {
    let plan = fixture.plan();
    let shares = |word| {
        let step = find(&plan, "PersistentVolumeClaim", "data", word);
        step.action.volume().unwrap().shares
    };
    assert_eq!(shares("save"), shares("load"));
    let told = plan.findings.iter().filter(|one| one.rule == "C-40");
    let told = told.map(|one| one.evidence.clone().unwrap_or_default());
    (shares("load"), told.collect())
}

#[test]
fn the_storage_carries_what_its_driver_can_make_of_a_snapshot_on_b_and_else_the_user_hears_why_not()
{
    assert_eq!(way(&on_one_storage()), (true, Vec::new()));
    let refused = |change: &dyn Fn(&mut Fixture), why: &str| {
        let mut fixture = on_one_storage();
        change(&mut fixture);
        let (shares, told) = way(&fixture);
        assert!(!shares, "{why}");
        assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
    };
    refused(
        &|fixture| fixture.capture.volumes[0].driver = None,
        "not one of a CSI driver",
    );
    refused(
        &|fixture| fixture.capture.surface.objects.clear(),
        "no VolumeSnapshotClass on A",
    );
    refused(
        &|fixture| fixture.offers.resources.clear(),
        "does not serve VolumeSnapshotContents",
    );
    refused(
        &|fixture| fixture.offers.objects.clear(),
        "its StorageClass is not on B",
    );
    refused(
        &|fixture| {
            let other = json!({"provisioner": "ebs"});
            json_patch::merge(fixture.offers.objects[0].value_mut(), &other);
        },
        "of B is of ebs",
    );
    refused(
        &|fixture| {
            let soon = json!({"volumeBindingMode": "Immediate"});
            json_patch::merge(fixture.offers.objects[0].value_mut(), &soon);
        },
        "WaitForFirstConsumer",
    );
}

#[test]
fn nothing_is_shared_unasked() {
    let mut fixture = on_one_storage();
    fixture.shared_storage = false;
    assert_eq!(way(&fixture), (false, Vec::new()));
}
