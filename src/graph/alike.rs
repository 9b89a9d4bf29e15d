//! The last resort among guesses (E-G8): a text in a custom resource nobody described that is the name
//! of exactly one captured object of its namespace, under a key that speaks of that object's kind.
//!
//! Too weak to order anything or to be renamed; it is drawn, so that a reviewer sees it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::{Object, ObjectId, pointer};

/// How deep an object is searched.
const DEPTH: usize = 32;

/// Captured objects by namespace and name; gathered when the first custom resource asks.
pub(super) struct Alike<'o> {
    objects: &'o [Object],
    by_name: OnceCell<ByName<'o>>,
}

type ByName<'o> = BTreeMap<(Option<&'o str>, &'o str), Vec<&'o Object>>;

impl<'o> Alike<'o> {
    pub(super) fn new(objects: &'o [Object]) -> Self {
        Self {
            objects,
            by_name: OnceCell::new(),
        }
    }

    fn named<'s>(&'s self, namespace: Option<&'s str>, name: &'s str) -> &'s [&'s Object] {
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name = ByName::new();
            for object in self.objects {
                let named = by_name.entry((object.namespace(), object.name()));
                named.or_default().push(object);
            }
            by_name
        });
        let by_name: &ByName<'s> = by_name;
        by_name.get(&(namespace, name)).map_or(&[], Vec::as_slice)
    }

    /// The objects that texts of one object seem to name, each with the text's pointer.
    pub(super) fn find(&self, object: &Object) -> Vec<(ObjectId, String)> {
        let mut found = Vec::new();
        let own = object.namespace();
        let top = object.value().as_object().into_iter().flatten();
        for (key, value) in top {
            if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status") {
                self.walk(own, key, value, &pointer::join("", key), DEPTH, &mut found);
            }
        }
        found
    }

    fn walk(
        &self,
        own: Option<&str>,
        key: &str,
        value: &Value,
        at: &str,
        depth: usize,
        found: &mut Vec<(ObjectId, String)>,
    ) {
        match value {
            _ if depth == 0 => {}
            Value::String(text) => {
                let [only] = self.named(own, text) else {
                    return;
                };
                if key.to_lowercase().contains(&only.kind().to_lowercase()) {
                    found.push((only.id(), at.to_owned()));
                }
            }
            Value::Object(map) => {
                for (inner, value) in map {
                    // `queue: {name: x}` speaks of a queue as `queue: x` does.
                    let spoken = if inner == "name" { key } else { inner };
                    let at = pointer::join(at, inner);
                    self.walk(own, spoken, value, &at, depth - 1, found);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.walk(own, key, value, &format!("{at}/{index}"), depth - 1, found);
                }
            }
            _ => {}
        }
    }
}
