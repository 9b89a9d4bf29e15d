//! Which claims' data travels, and how.

use std::collections::BTreeMap;

use foldhash::HashMap;
use serde_json::{Map, Value};

use super::clones::Clones;
use super::items::Items;
use super::shared::{self, Taker};
use super::{Grouping, Purpose, Unprivileged, VolumeMove, stamp};
use crate::capture::{Capture, Consistency, Together, User, Volume, VolumeMode};
use crate::finding::Finding;
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::repository::LossClass;
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
    pub(super) unprivileged: Unprivileged,
    pub(super) grouping: Grouping,
    pub(super) shared_storage: bool,
    /// What B offers.
    pub(super) surface: &'a Surface,
    pub(super) knowledge: &'a Knowledge,
    /// Claims of A that must be on one node with others.
    pub(super) mounted: BTreeMap<&'a ObjectId, Vec<&'a ObjectId>>,
}

/// Claims that one mover carries at most: it works at all of them at one time.
const PARTY: usize = 4;

impl Moves<'_> {
    /// The move of one captured volume into its claim on B, and what the user has to know of it.
    pub(super) fn of(&self, volume: &Volume, target: &ObjectId) -> (VolumeMove, Option<Finding>) {
        let reads_as = match volume.saved {
            Some(_) => None,
            None => self.unprivileged.reader(volume, &self.capture.surface),
        };
        let (consistency, together) = match (self.purpose, &reads_as) {
            // Nothing runs when it is read, and a snapshot would only cost time then.
            (Purpose::Cutover, None) if volume.saved.is_none() => (Consistency::Quiet, None),
            _ => consistency(volume, &self.capture.surface, self.grouping, self.knowledge),
        };
        let mut planned = VolumeMove {
            source: volume.claim.clone(),
            mode: volume.mode,
            capacity: volume.capacity,
            consistency,
            together,
            saved: volume.saved.clone(),
            shares: false,
            placement: self.placement(volume, target),
            with: self.with(volume),
            synced: self.synced(target),
            loses: self.losses(volume, target),
            reads_as,
            writes_as: self.writer(volume, target),
            target: target.clone(),
        };
        if !self.shared_storage || volume.saved.is_some() {
            return (planned, None);
        }
        let taker = Taker {
            surface: self.surface,
            class: self.class(volume, target),
            live: self.live.get(target),
        };
        let obstacle = shared::obstacle(volume, &planned, &taker);
        planned.shares = obstacle.is_none();
        let finding = obstacle.map(|why| shared::finding(&planned, &why));
        (planned, finding)
    }

    /// The class of the claim on B.
    fn class(&self, volume: &Volume, target: &ObjectId) -> Option<&Object> {
        let planned = || self.items.object(self.items.by_source(&volume.claim)?);
        let claim = self.live.get(target).or_else(planned)?;
        storage_class(claim, self.surface)
    }

    /// The claims on B that must be where this one is.
    fn with(&self, volume: &Volume) -> Vec<ObjectId> {
        let others = self.mounted.get(&volume.claim).into_iter().flatten();
        let on_b = others.filter_map(|other| self.items.by_source(other));
        let mut with: Vec<ObjectId> = on_b.map(|number| self.items.id(number).clone()).collect();
        with.sort();
        with
    }

    /// A claim a sync made, or one this very plan makes for syncs.
    fn synced(&self, target: &ObjectId) -> bool {
        match self.live.get(target) {
            Some(live) => live.annotation(stamp::SYNC_ANNOTATION).is_some(),
            None => self.purpose != Purpose::Move,
        }
    }

    /// What the class of the claim on B is known to lose.
    fn losses(&self, volume: &Volume, target: &ObjectId) -> Vec<LossClass> {
        let class = self.class(volume, target);
        let driver = class.and_then(|class| class.text("/provisioner"));
        match (class, driver, volume.mode) {
            (Some(class), Some(driver), VolumeMode::Filesystem) => {
                let row = self.knowledge.provisioner(driver);
                row.map_or_else(Vec::new, |row| row.losses_of(class).to_vec())
            }
            _ => Vec::new(),
        }
    }

    /// Where the workload that uses the claim may run (W-5): the first one in order of name decides.
    fn placement(&self, volume: &Volume, target: &ObjectId) -> Value {
        let mut pods = self.pods(volume, target);
        pods.next()
            .and_then(Value::as_object)
            .map(constraints)
            .unwrap_or_default()
    }

    /// Whom the workload runs as; the same one decides.
    fn writer(&self, volume: &Volume, target: &ObjectId) -> Option<User> {
        let pod = self.pods(volume, target).next();
        let user = pod.map(|spec| User::of_spec(spec, &target.name));
        self.unprivileged
            .writer(user.unwrap_or_default(), volume, self.surface)
    }

    /// The pods of B that will use the claim, as they are described.
    fn pods(&self, volume: &Volume, target: &ObjectId) -> impl Iterator<Item = &Value> {
        let users = self.users.get(target).into_iter().flatten();
        let by_graph = users.filter_map(|id| self.items.number(id));
        let by_mount = volume.mounted_by.iter();
        let by_mount = by_mount.filter_map(|id| self.items.by_source(id));
        by_graph
            .chain(by_mount)
            .filter_map(|number| self.items.object(number)?.pod_spec())
    }
}

impl VolumeMove {
    /// The moves of a capture's volumes into the store alone, without a cluster to go to.
    pub fn saving(
        capture: &Capture,
        unprivileged: Unprivileged,
        grouping: Grouping,
        knowledge: &Knowledge,
    ) -> Vec<Self> {
        let mounted = capture.mounted_together();
        let saving = |volume: &Volume| {
            let with = mounted.get(&volume.claim).into_iter().flatten();
            let (consistency, together) =
                consistency(volume, &capture.surface, grouping, knowledge);
            Self {
                source: volume.claim.clone(),
                target: volume.claim.clone(),
                mode: volume.mode,
                capacity: volume.capacity,
                consistency,
                together,
                saved: None,
                shares: false,
                placement: Value::Null,
                with: with.copied().cloned().collect(),
                synced: false,
                loses: Vec::new(),
                reads_as: unprivileged.reader(volume, &capture.surface),
                writes_as: None,
            }
        };
        capture.volumes.iter().map(saving).collect()
    }

    /// The first of the claims on B that one mover carries with this one: all that must be on one node, by fours.
    pub fn party(&self) -> &ObjectId {
        let place = self.with.partition_point(|other| *other < self.target);
        let first = place - place % PARTY;
        // Without this claim, those before it keep their places.
        if first == place {
            &self.target
        } else {
            &self.with[first]
        }
    }

    /// Whether one mover carries the other claim too.
    pub fn travels_with(&self, other: &Self) -> bool {
        self.party() == other.party()
    }
}

/// What shows one instant, if anything does: a class of snapshots for the volume's driver, or a driver that clones.
fn consistency(
    volume: &Volume,
    surface: &Surface,
    grouping: Grouping,
    knowledge: &Knowledge,
) -> (Consistency, Option<Together>) {
    if let Some(saved) = &volume.saved {
        return (saved.consistency, None);
    }
    let snapshots = volume.driver.as_deref().is_some_and(|driver| {
        surface
            .of_kind("snapshot.storage.k8s.io", "VolumeSnapshotClass")
            .any(|class| class.text("/driver") == Some(driver))
    });
    let clones = Clones::of(volume, surface, knowledge);
    match grouping.of(volume) {
        Some(together) if snapshots => (Consistency::Together, Some(together)),
        _ if clones == Clones::First => (Consistency::Clone, None),
        _ if snapshots => (Consistency::Snapshot, None),
        _ if clones == Clones::Else => (Consistency::Clone, None),
        _ => (Consistency::Live, None),
    }
}

/// The class that a claim names, or gets.
fn storage_class<'a>(claim: &Object, surface: &'a Surface) -> Option<&'a Object> {
    const GROUP: &str = "storage.k8s.io";
    match claim.text("/spec/storageClassName") {
        Some(name) => surface.find(GROUP, "StorageClass", name),
        None => surface.of_kind(GROUP, "StorageClass").find(|class| {
            class.annotation("storageclass.kubernetes.io/is-default-class") == Some("true")
        }),
    }
}

fn constraints(spec: &Map<String, Value>) -> Value {
    ["nodeSelector", "tolerations", "affinity"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), spec.get(key)?.clone())))
        .collect::<Map<_, _>>()
        .into()
}
