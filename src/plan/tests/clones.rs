//! The choice between groups, snapshots, clones and the claim itself.

use super::*;

/// A snapshot class of the driver, or none; what its StorageClass says of clones; and what comes of it.
fn way(
    driver: &str,
    snapshots: bool,
    says: Option<&str>,
    change: impl Fn(&mut Fixture),
) -> Consistency {
    let mut fixture = shop();
    let volume = &mut fixture.capture.volumes[0];
    (volume.driver, volume.storage_class) = (Some(driver.into()), Some("fast".into()));
    let annotations = says.map(|says| json!({CLONE_ANNOTATION: says}));
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": driver,
        "metadata": {"name": "fast", "annotations": annotations}});
    let freezes = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": "s"}, "driver": driver});
    let offers = &mut fixture.capture.surface.objects;
    offers.push(Object::new(class).unwrap());
    offers.extend(snapshots.then(|| Object::new(freezes).unwrap()));
    change(&mut fixture);
    let plan = fixture.plan();
    let save = find(&plan, "PersistentVolumeClaim", "data", "save");
    save.action.volume().unwrap().consistency
}

const KNOWN: &str = "openshift-storage.rbd.csi.ceph.com";
const UNKNOWN: &str = "csi.example.com";

#[test]
fn a_driver_known_to_clone_is_asked_to_where_it_has_no_snapshot_class() {
    assert_eq!(way(KNOWN, false, None, |_| ()), Consistency::Clone);
    assert_eq!(way(KNOWN, true, None, |_| ()), Consistency::Snapshot);
    assert_eq!(way(UNKNOWN, false, None, |_| ()), Consistency::Live);
    // A copy that is made file by file shows no single moment.
    assert_eq!(
        way("nfs.csi.k8s.io", false, None, |_| ()),
        Consistency::Live
    );
    assert_eq!(
        way("hostpath.csi.k8s.io", false, None, |_| ()),
        Consistency::Live
    );
}

#[test]
fn what_the_class_says_of_clones_goes_before_what_is_known_and_before_snapshots() {
    let says = |driver, snapshots, says| way(driver, snapshots, Some(says), |_| ());
    assert_eq!(says(UNKNOWN, false, "true"), Consistency::Clone);
    assert_eq!(says(UNKNOWN, true, "true"), Consistency::Clone);
    assert_eq!(says(KNOWN, false, "false"), Consistency::Live);
    assert_eq!(says(KNOWN, true, "false"), Consistency::Snapshot);
}

#[test]
fn one_moment_for_several_claims_goes_before_clones_unless_it_is_given_up() {
    let together = |fixture: &mut Fixture| {
        let claims = ["data".to_owned(), "wal".to_owned()].into();
        let labels = Some(Default::default());
        fixture.capture.volumes[0].together = Some(Together { claims, labels });
    };
    let says = Some("true");
    assert_eq!(way(UNKNOWN, true, says, together), Consistency::Together);
    let off = |fixture: &mut Fixture| {
        together(fixture);
        fixture.grouping = Grouping::Off;
    };
    assert_eq!(way(UNKNOWN, true, says, off), Consistency::Clone);
}

#[test]
fn only_a_volume_of_the_class_and_its_provisioner_is_cloned() {
    let other = |fixture: &mut Fixture| fixture.capture.volumes[0].driver = Some(UNKNOWN.into());
    assert_eq!(way(KNOWN, false, Some("true"), other), Consistency::Live);
    let gone =
        |fixture: &mut Fixture| fixture.capture.volumes[0].storage_class = Some("gone".into());
    assert_eq!(way(KNOWN, false, Some("true"), gone), Consistency::Live);
    let none = |fixture: &mut Fixture| fixture.capture.volumes[0].driver = None;
    assert_eq!(way(KNOWN, false, Some("true"), none), Consistency::Live);
}

#[test]
fn a_clone_is_made_before_anything_is_read() {
    let mut fixture = shop();
    let volume = &mut fixture.capture.volumes[0];
    (volume.driver, volume.storage_class) = (Some(KNOWN.into()), Some("fast".into()));
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": KNOWN,
        "metadata": {"name": "fast"}});
    fixture
        .capture
        .surface
        .objects
        .push(Object::new(class).unwrap());
    let plan = fixture.plan();
    let clone = find(&plan, "PersistentVolumeClaim", "data", "clone");
    let save = find(&plan, "PersistentVolumeClaim", "data", "save");
    assert_eq!(needs(save, clone), Some(Gate::Done));
}
