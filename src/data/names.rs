//! What a run's objects are called. Names are made of the run and the claim and of nothing else, so
//! that a resumed run finds what the killed one left.

use serde_json::{Value, json};

use crate::object::ObjectId;

/// The label that all of a run's objects carry; [`super::Movers::clean`] goes by it.
pub(super) const RUN: &str = "ferry.dev/run";
/// The label of everything movers work with, with the run as its value. What a run restores has [`RUN`] too: where the
/// application lives, only this one says that an object is Ferry's.
pub const MOVER: &str = "ferry.dev/mover";
/// The label that is on claims of the application while their group is frozen, with the run as its value; only where
/// the user said so.
pub(super) const FREEZE: &str = "ferry.dev/freeze";
/// Annotation: `namespace/claim` an object was made for.
pub(super) const CLAIM: &str = "ferry.dev/claim";
/// Annotation on a PersistentVolume: what Ferry does with it, [`TWIN`] or [`STAGE`].
pub(super) const ROLE: &str = "ferry.dev/role";
/// A second PersistentVolume over the same storage: deleting it deletes no data.
pub(super) const TWIN: &str = "twin";
/// A volume filled in Ferry's namespace, on its way to the claim it is for.
pub(super) const STAGE: &str = "stage";
/// Annotation on a staged PersistentVolume: the reclaim policy it gets back.
pub(super) const RECLAIM: &str = "ferry.dev/reclaim-policy";
/// Annotation on a staged PersistentVolume: the repository's snapshot it was proven to hold.
pub(super) const HOLDS: &str = "ferry.dev/snapshot";
/// Annotation on one of Ferry's own claims: how often it was looked at before it bound.
pub(super) const LOOKS: &str = "ferry.dev/looks";
/// Annotation of a claim or a VolumeSnapshotClass: the class to take snapshots with.
pub(super) const SNAPSHOT_CLASS: &str = "ferry.dev/snapshot-class";

/// Annotation on a claim that waits for its first consumer: the node to make its volume for, as the scheduler says it.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Annotation on a snapshot that was left to the user: the run that took it.
const KEPT: &str = "ferry.dev/kept-by";

/// The label of everything of a depot, with its name as the value.
pub(super) const DEPOT: &str = "ferry.dev/depot";
/// Annotation on a depot's Service: the address at which the other cluster was seen to reach it.
pub(super) const REACHED: &str = "ferry.dev/reached-at";

/// The patch that leaves an object of a run's to the user.
pub(super) fn given_up(run: &str) -> Value {
    json!({"metadata": {"labels": {RUN: null}, "annotations": {KEPT: run}}})
}

/// Ferry's own namespace for a run.
pub(super) fn namespace(run: &str) -> String {
    format!("ferry-{run}")
}

/// The selector of a run's objects.
pub(super) fn selector(run: &str) -> String {
    format!("{RUN}={run}")
}

/// The selector of what its movers work with.
pub(super) fn movers(run: &str) -> String {
    format!("{MOVER}={run}")
}

/// `namespace/name` of a claim.
pub(super) fn claim(id: &ObjectId) -> String {
    format!(
        "{}/{}",
        id.namespace.as_deref().unwrap_or_default(),
        id.name
    )
}

/// A short word that stands for some text.
pub(super) fn short(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hex::encode(&hasher.finalize().as_bytes()[..5])
}

/// Name of everything that is made to save, or to load, one claim: at most 63 bytes for runs of up
/// to 40.
pub(super) fn object(run: &str, way: &str, claim: &str) -> String {
    format!("ferry-{run}-{way}-{}", short(&[claim]))
}

/// Name of a new Secret for a mover's pod. The only name that is not to be found again: whoever deletes
/// the pod deletes it, and what is left goes by its label.
pub(super) fn secret(pod: &str) -> String {
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{pod}-{}", short(&[&now.to_string()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_stable_and_differ_by_claim_and_direction() {
        let run = "20261121-093000-abcd";
        let name = object(run, "save", "shop/data-0");
        assert_eq!(name, object(run, "save", "shop/data-0"));
        assert_ne!(name, object(run, "load", "shop/data-0"));
        assert_ne!(name, object(run, "save", "shop/data-1"));
        assert!(name.len() <= 63, "{name}");
        assert_ne!(short(&["a", "bc"]), short(&["ab", "c"]));
    }
}
