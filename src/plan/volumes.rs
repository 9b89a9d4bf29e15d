//! Which claims' data travels, and how.

use std::collections::BTreeMap;

use foldhash::HashMap;
use serde_json::{Map, Value};

use super::items::Items;
use super::{Purpose, VolumeMove, stamp};
use crate::capture::{Capture, Consistency, Volume};
use crate::object::{Object, ObjectId};
use crate::surface::Surface;

/// What is needed to describe a move.
pub(super) struct Moves<'a> {
    pub(super) capture: &'a Capture,
    /// Who refers to each claim of B.
    pub(super) users: HashMap<&'a ObjectId, Vec<&'a ObjectId>>,
    pub(super) items: &'a Items<'a>,
    /// What is on B.
    pub(super) live: &'a BTreeMap<ObjectId, Object>,
    pub(super) purpose: Purpose,
}

impl Moves<'_> {
    /// The move of one captured volume into its claim on B.
    pub(super) fn of(&self, volume: &Volume, target: &ObjectId) -> VolumeMove {
        VolumeMove {
            source: volume.claim.clone(),
            mode: volume.mode,
            capacity: volume.capacity,
            consistency: consistency(volume, &self.capture.surface),
            saved: volume.saved.clone(),
            placement: self.placement(volume, target),
            synced: self.synced(target),
            target: target.clone(),
        }
    }

    /// A claim a sync made, or one this very plan makes for syncs.
    fn synced(&self, target: &ObjectId) -> bool {
        match self.live.get(target) {
            Some(live) => live.annotation(stamp::SYNC_ANNOTATION).is_some(),
            None => self.purpose != Purpose::Move,
        }
    }

    /// Where the workload that uses the claim may run (W-5): the first one in order of name decides.
    fn placement(&self, volume: &Volume, target: &ObjectId) -> Value {
        let users = self.users.get(target).into_iter().flatten();
        let by_graph = users.filter_map(|id| self.items.number(id));
        let by_mount = volume.mounted_by.iter();
        let by_mount = by_mount.filter_map(|id| self.items.by_source(id));
        by_graph
            .chain(by_mount)
            .filter_map(|number| pod_spec(self.items.object(number)?))
            .map(constraints)
            .next()
            .unwrap_or_default()
    }
}

impl VolumeMove {
    /// The move of a volume into the store alone, without a cluster to go to.
    pub fn saving(volume: &Volume, surface: &Surface) -> Self {
        Self {
            source: volume.claim.clone(),
            target: volume.claim.clone(),
            mode: volume.mode,
            capacity: volume.capacity,
            consistency: consistency(volume, surface),
            saved: None,
            placement: Value::Null,
            synced: false,
        }
    }
}

/// A class of snapshots for the volume's driver means that one instant can be shown.
fn consistency(volume: &Volume, surface: &Surface) -> Consistency {
    if let Some(saved) = &volume.saved {
        return saved.consistency;
    }
    let snapshots = volume.driver.as_deref().is_some_and(|driver| {
        surface
            .of_kind("snapshot.storage.k8s.io", "VolumeSnapshotClass")
            .any(|class| class.text("/driver") == Some(driver))
    });
    if snapshots {
        Consistency::Snapshot
    } else {
        Consistency::Live
    }
}

fn pod_spec(object: &Object) -> Option<&Map<String, Value>> {
    let pointer = match object.kind() {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer(pointer)?.as_object()
}

fn constraints(spec: &Map<String, Value>) -> Value {
    ["nodeSelector", "tolerations", "affinity"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), spec.get(key)?.clone())))
        .collect::<Map<_, _>>()
        .into()
}
