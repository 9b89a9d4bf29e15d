//! Claims whose data the storage carries by itself, because both clusters are on it.
//!
//! B's volume is made of A's snapshot, by its handle (Y-2). That two clusters name a driver alike does not tell that its
//! storage is one: the user says so, the storage on B is asked when the time comes, and what it makes is compared with A's
//! snapshot. Whatever does not fit is carried through the store as ever.

use super::VolumeMove;
use crate::capture::{Consistency, Volume};
use crate::finding::{Finding, Verdict};
use crate::object::{GroupKind, Object};
use crate::surface::Surface;

/// What is known of B when the question is whether its storage can take a volume over.
pub(super) struct Taker<'a> {
    pub(super) surface: &'a Surface,
    /// The class of the claim on B.
    pub(super) class: Option<&'a Object>,
    /// The claim, if it is there already.
    pub(super) live: Option<&'a Object>,
}

/// Whether a cluster can be told of snapshots that others took.
pub fn takes_snapshots(surface: &Surface) -> bool {
    let contents = GroupKind::new("snapshot.storage.k8s.io", "VolumeSnapshotContent");
    surface.resource(&contents, None).is_some()
}

/// Why the storage cannot carry a volume by itself; `None` when it is to be tried.
pub(super) fn obstacle(volume: &Volume, planned: &VolumeMove, taker: &Taker<'_>) -> Option<String> {
    if planned.reads_as.is_some() || planned.writes_as.is_some() {
        return Some("movers without privileges may make no VolumeSnapshotContent".into());
    }
    let Some(driver) = volume.driver.as_deref() else {
        return Some("its volume on A is not one of a CSI driver".into());
    };
    if planned.consistency == Consistency::Clone {
        return Some("it is read from a clone, of which only A knows".into());
    }
    if !planned.consistency.is_snapshot() {
        return Some(format!("driver {driver} has no VolumeSnapshotClass on A"));
    }
    if !takes_snapshots(taker.surface) {
        return Some("B does not serve VolumeSnapshotContents".into());
    }
    let Some(class) = taker.class else {
        return Some("its StorageClass is not on B".into());
    };
    let (name, provisioner) = (class.name(), class.text("/provisioner").unwrap_or_default());
    if provisioner != driver {
        return Some(format!(
            "StorageClass {name} of B is of {provisioner}, its volume on A of {driver}"
        ));
    }
    if class.text("/volumeBindingMode") != Some("WaitForFirstConsumer") {
        return Some(format!(
            "StorageClass {name} of B makes an empty volume at once; map it to one with volumeBindingMode \
             WaitForFirstConsumer"
        ));
    }
    let bound = taker.live.and_then(|live| live.text("/spec/volumeName"));
    bound.map(|bound| format!("the claim is on B already, with volume {bound}"))
}

/// What the reader of a plan has to know of a volume that the user wants to go by the storage, and that cannot.
pub(super) fn finding(volume: &VolumeMove, obstacle: &str) -> Finding {
    Finding::new(
        Verdict::Info,
        "C-40",
        "its bytes travel through the store, although the storage is said to be shared",
    )
    .on(volume.target.clone())
    .because(obstacle)
}
