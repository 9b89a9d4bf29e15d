//! ReferenceGrants: what lets a reference leave its namespace (E-37).
//!
//! A route that sends requests into another namespace works when a grant there names the route's kind and
//! namespace, and the target. No row can say it: the reference does not name the grant.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::{Object, ObjectId};

/// The grants among the objects, by the namespace they open.
pub(super) struct Grants<'o>(BTreeMap<&'o str, Vec<&'o Object>>);

impl<'o> Grants<'o> {
    pub(super) fn new(objects: &'o [Object]) -> Self {
        let mut grants: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for object in objects {
            if object.is("gateway.networking.k8s.io", "ReferenceGrant")
                && let Some(namespace) = object.namespace()
            {
                grants.entry(namespace).or_default().push(object);
            }
        }
        Self(grants)
    }

    /// The grants that let one object refer to another; none when both are in one namespace.
    pub(super) fn of(&self, from: &Object, to: &ObjectId) -> Vec<ObjectId> {
        let space = to.namespace.as_deref();
        let grants = space.filter(|space| from.namespace() != Some(*space));
        let grants = grants.and_then(|space| self.0.get(space));
        let lets = |grant: &&&Object| {
            let who = |part: &Value| {
                text(part, "group") == from.group()
                    && text(part, "kind") == from.kind()
                    && Some(text(part, "namespace")) == from.namespace()
            };
            let what = |part: &Value| {
                text(part, "group") == to.group
                    && text(part, "kind") == to.kind
                    && ["", &to.name].contains(&text(part, "name"))
            };
            list(grant, "/spec/from").any(who) && list(grant, "/spec/to").any(what)
        };
        let grants = grants.into_iter().flatten().filter(lets);
        grants.map(|grant| grant.id()).collect()
    }
}

fn list<'o>(grant: &'o Object, at: &str) -> impl Iterator<Item = &'o Value> {
    let parts = grant.pointer(at).and_then(Value::as_array);
    parts.into_iter().flatten()
}

fn text<'v>(part: &'v Value, key: &str) -> &'v str {
    part[key].as_str().unwrap_or_default()
}
