//! Ferry's own marks on objects of B: who made them, from where, and what is still to be done.
//!
//! They are hidden in every comparison (D-1): a mark alone is never a difference.

use serde_json::{Map, Value};

use crate::object::Object;
use crate::target::{RUN_LABEL, SOURCE_ANNOTATION};

/// Annotation on a claim Ferry made: [`DATA_PENDING`], or the digest of the data that arrived. A
/// claim without it, or with a digest, is never loaded again: existing data is not overwritten.
pub const DATA_ANNOTATION: &str = "ferry.dev/data";

/// Value of [`DATA_ANNOTATION`] while the claim's data has not arrived in full.
pub const DATA_PENDING: &str = "pending";

/// Annotation on a claim that `ferry sync` fills: the digest of what it holds, empty before the first
/// sync ended. It stays [`DATA_PENDING`] meanwhile, so that whatever moves for good loads it once more;
/// then this mark goes.
pub const SYNC_ANNOTATION: &str = "ferry.dev/sync";

/// Annotation on a held workload: the replica count to give back (W-8).
pub const REPLICAS_ANNOTATION: &str = "ferry.dev/original-replicas";

/// What all of Ferry's labels and annotations begin with.
pub const PREFIX: &str = "ferry.dev/";

/// Sets a label.
pub fn label(object: &mut Object, key: &str, value: &str) {
    set(object, "labels", key, value);
}

/// Sets an annotation.
pub fn annotate(object: &mut Object, key: &str, value: &str) {
    set(object, "annotations", key, value);
}

/// Copies the marks of the live object, so that a server-side apply does not take them off.
pub fn keep(object: &mut Object, live: &Object) {
    if let Some(run) = live.label(RUN_LABEL) {
        label(object, RUN_LABEL, run);
    }
    for key in [SOURCE_ANNOTATION, DATA_ANNOTATION] {
        if let Some(value) = live.annotation(key) {
            annotate(object, key, value);
        }
    }
}

/// Removes every mark.
pub fn strip(object: &mut Object) {
    for map in ["labels", "annotations"] {
        let Some(metadata) = metadata(object) else {
            return;
        };
        if let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) {
            entries.retain(|key, _| !key.starts_with(PREFIX));
            if entries.is_empty() {
                metadata.remove(map);
            }
        }
    }
}

/// Removes one annotation, and the map when nothing else is in it.
pub fn unannotate(object: &mut Object, key: &str) {
    if let Some(metadata) = metadata(object)
        && let Some(entries) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
    {
        entries.remove(key);
        if entries.is_empty() {
            metadata.remove("annotations");
        }
    }
}

fn metadata(object: &mut Object) -> Option<&mut Map<String, Value>> {
    object.value_mut().get_mut("metadata")?.as_object_mut()
}

fn set(object: &mut Object, map: &str, key: &str, value: &str) {
    if let Some(metadata) = metadata(object) {
        let entries = metadata
            .entry(map)
            .or_insert_with(|| Value::Object(Map::new()));
        if !entries.is_object() {
            *entries = Value::Object(Map::new());
        }
        if let Some(entries) = entries.as_object_mut() {
            entries.insert(key.into(), value.into());
        }
    }
}
