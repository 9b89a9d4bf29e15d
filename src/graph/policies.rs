//! What admission policies and their bindings need (E-43): the kind of the parameters, and these.
//!
//! No row can say it: what a binding's `paramRef` names is of the kind that the policy it binds says.

use std::collections::BTreeMap;

use super::Strength;
use crate::object::{GroupKind, Object, ObjectId};

const GROUP: &str = "admissionregistration.k8s.io";

/// The kinds of parameters of the policies among the objects.
pub(super) struct Policies<'o> {
    parameters: BTreeMap<(&'o str, &'o str), GroupKind>,
}

/// One thing that a policy or a binding needs.
pub(super) enum Need {
    /// The definition of a kind.
    Definition(GroupKind),
    /// An object.
    Object(ObjectId),
}

impl<'o> Policies<'o> {
    pub(super) fn new(objects: &'o [Object]) -> Self {
        let policies = objects.iter().filter(|object| object.group() == GROUP);
        let parameters = policies.filter_map(|policy| {
            let kind = parameters_of(policy)?;
            Some(((policy.kind(), policy.name()), kind))
        });
        Self {
            parameters: parameters.collect(),
        }
    }

    /// What one object needs, how much, and where it says so. A policy whose parameters are of a kind
    /// that is not served denies everything it matches.
    pub(super) fn need(&self, object: &Object) -> Option<(Need, Strength, &'static str)> {
        if object.group() != GROUP {
            return None;
        }
        if let Some(kind) = parameters_of(object) {
            return Some((Need::Definition(kind), Strength::H, "/spec/paramKind"));
        }
        let policy = object.kind().strip_suffix("Binding")?;
        let kind = self
            .parameters
            .get(&(policy, object.text("/spec/policyName")?))?;
        let id = ObjectId::new(
            kind.group.clone(),
            kind.kind.clone(),
            object.text("/spec/paramRef/namespace"),
            object.text("/spec/paramRef/name")?,
        );
        Some((Need::Object(id), Strength::S, "/spec/paramRef"))
    }
}

fn parameters_of(policy: &Object) -> Option<GroupKind> {
    let version = policy.text("/spec/paramKind/apiVersion")?;
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    Some(GroupKind::new(group, policy.text("/spec/paramKind/kind")?))
}
