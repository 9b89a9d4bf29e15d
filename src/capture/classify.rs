//! Sorts listed objects into those that travel and those that stay, each of these with its reason
//! (rule book §2.1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::matching::{Scene, fits, owner_references};
use super::sanitise::sanitise_by;
use super::{Captured, DropClass, Dropped, Owner};
use crate::knowledge::sanitize::{KindRows, Sanitize};
use crate::object::{GroupKind, Object, ObjectId};
use crate::spread::spread;
use crate::surface::Surface;

/// What travels and what stays, both sorted by id.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// What travels.
    pub captured: Vec<Captured>,
    /// What stays.
    pub dropped: Vec<Dropped>,
}

/// Sorts objects that were listed together. Owners of the kinds that were not read are taken to be there.
pub fn classify(
    listed: Vec<Object>,
    unread: &BTreeSet<GroupKind>,
    table: &Sanitize,
    surface: &Surface,
) -> Sorted {
    let assumed = assumed_owners(&listed, unread);
    let scene = Scene::new(listed.iter().chain(&assumed));
    let verdicts = spread(&listed, |share| judge_share(share, table, &scene, surface));
    let mut sorted = Sorted {
        captured: Vec::new(),
        dropped: Vec::new(),
    };
    for (raw, verdict) in listed.into_iter().zip(verdicts) {
        match verdict {
            Ok((object, owners)) => sorted.captured.push(Captured {
                object,
                raw,
                owners,
            }),
            Err(dropped) => sorted.dropped.push(*dropped),
        }
    }
    // An owner that stays cannot produce anything.
    let travels: BTreeSet<ObjectId> = sorted
        .captured
        .iter()
        .map(|captured| captured.object.id())
        .collect();
    let assumed: BTreeSet<ObjectId> = assumed.iter().map(Object::id).collect();
    for dropped in &mut sorted.dropped {
        let owner = dropped.produced_by.take();
        if let Some(owner) = owner.as_ref().filter(|owner| assumed.contains(owner)) {
            dropped.class = DropClass::Excluded;
            dropped.reason = format!("{owner}, which makes it, was not read");
        }
        dropped.produced_by = owner.filter(|owner| travels.contains(owner));
    }
    let by_name = |a: &Captured, b: &Captured| a.object.id_ref().cmp(b.object.id_ref());
    sorted.captured.sort_by(by_name);
    sorted.dropped.sort_by(|a, b| a.id.cmp(&b.id));
    sorted
}

/// The owners that objects name, of kinds that were not read: all that is known of them.
fn assumed_owners(listed: &[Object], unread: &BTreeSet<GroupKind>) -> Vec<Object> {
    let mut owners: BTreeMap<&str, Object> = BTreeMap::new();
    if unread.is_empty() {
        return Vec::new();
    }
    for object in listed {
        for reference in owner_references(object) {
            let (Some(uid), Some(api_version)) =
                (reference["uid"].as_str(), reference["apiVersion"].as_str())
            else {
                continue;
            };
            let metadata = serde_json::json!({"name": reference["name"], "uid": uid,
                "namespace": object.namespace()});
            let value = serde_json::json!({"apiVersion": api_version, "kind": reference["kind"],
                "metadata": metadata});
            let owner = Object::new(value).ok();
            if let Some(owner) = owner.filter(|owner| unread.contains(&owner.group_kind())) {
                owners.insert(uid, owner);
            }
        }
    }
    owners.into_values().collect()
}

/// One object as it travels and its owners, or why it stays.
type Verdict = Result<(Object, Vec<Owner>), Box<Dropped>>;

/// The verdicts on some of the objects of a scene.
fn judge_share(
    share: &[Object],
    table: &Sanitize,
    scene: &Scene<'_>,
    surface: &Surface,
) -> Vec<Verdict> {
    let mut by_kind: BTreeMap<(&str, &str), KindRows<'_>> = BTreeMap::new();
    let objects = share.iter().map(|object| {
        let rows = by_kind.entry((object.group(), object.kind()));
        let rows = rows.or_insert_with(|| table.of_kind(&object.group_kind()));
        let cleaned = judge(object, rows, scene)?;
        Ok((cleaned, owners(object, surface)))
    });
    objects.collect()
}

fn judge(object: &Object, table: &KindRows<'_>, scene: &Scene<'_>) -> Result<Object, Box<Dropped>> {
    let stays = |rule: &str, reason: &str, class, produced_by| {
        Err(Box::new(Dropped {
            id: object.id(),
            rule: rule.to_owned(),
            reason: reason.to_owned(),
            class,
            produced_by,
        }))
    };
    // Never listed on a cluster; in a folder of files there may be some.
    if let Some(row) = table.skip {
        return stays(&row.id, &row.why, DropClass::Generated, None);
    }
    if object.is_going() {
        return stays(
            "S-40",
            "it is being deleted on A",
            DropClass::Generated,
            None,
        );
    }
    let cleaned = sanitise_by(object, &table.fields);
    let mut rows = table.drop.iter();
    match rows.find(|row| fits(&row.when, object, Some(&cleaned), scene)) {
        Some(row) => {
            let produced = row.class == DropClass::Produced;
            let owner = scene.root(object).filter(|_| produced).map(Object::id);
            stays(&row.id, &row.why, row.class, owner)
        }
        None => Ok(cleaned),
    }
}

/// The owners of an object by name (S-43, W-12).
fn owners(object: &Object, surface: &Surface) -> Vec<Owner> {
    let owner = |reference: &Value| {
        let api_version = reference["apiVersion"].as_str()?;
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kind = GroupKind::new(group, reference["kind"].as_str()?);
        // An owner is in the same namespace or in none.
        let namespaced = surface
            .resource(&kind, None)
            .is_none_or(|resource| resource.namespaced);
        Some(Owner {
            id: ObjectId::new(
                kind.group,
                kind.kind,
                object.namespace().filter(|_| namespaced),
                reference["name"].as_str()?,
            ),
            controller: reference["controller"].as_bool().unwrap_or(false),
            block_deletion: reference["blockOwnerDeletion"].as_bool().unwrap_or(false),
        })
    };
    owner_references(object).filter_map(owner).collect()
}
