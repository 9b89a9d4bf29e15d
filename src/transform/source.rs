//! What recipes are applied to: the captured objects, and what else is known about them.

use std::collections::BTreeSet;

use crate::capture::{Capture, DropClass, Dropped, Volume};
use crate::graph;
use crate::knowledge::Knowledge;
use crate::object::Object;
use crate::transform::host::HostPattern;

/// The objects of A and what the capture knows beside them.
#[derive(Clone, Debug, Default)]
pub struct Source<'a> {
    /// As they travel.
    pub objects: &'a [Object],
    /// As A's API server gave them, in the same order; empty when nobody knows.
    pub raw: Vec<&'a Object>,
    /// Definitions of custom resources that do not travel themselves: they say where pod templates
    /// and replica counts are.
    pub definitions: Vec<&'a Object>,
    /// Claims whose data travels.
    pub volumes: &'a [Volume],
    /// What stays on A.
    pub stays: &'a [Dropped],
    /// Hosts that stay as they are, whatever recipes say: in a cutover that moves them to B.
    pub keeps: Vec<HostPattern>,
}

impl<'a> Source<'a> {
    /// Objects alone.
    pub fn new(objects: &'a [Object]) -> Self {
        Self {
            objects,
            ..Self::default()
        }
    }

    /// A capture; `objects` are those of its captured objects, in their order.
    pub fn of(capture: &'a Capture, objects: &'a [Object]) -> Self {
        let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
        Self {
            objects,
            raw: capture.objects.iter().map(|one| &one.raw).collect(),
            definitions: capture.surface.of_kind(group, kind).collect(),
            volumes: &capture.volumes,
            stays: &capture.dropped,
            keeps: Vec::new(),
        }
    }

    /// An object as A's API server gave it, with its status where the capture has it.
    pub(super) fn raw(&self, index: usize) -> Option<&'a Object> {
        let raw = self.raw.get(index).copied();
        raw.or_else(|| self.objects.get(index))
    }

    /// Services that are there on B, by name and namespace: those that travel, and those that
    /// controllers make again of what travels (E-72).
    pub(super) fn services(&self, knowledge: &Knowledge) -> BTreeSet<(String, String)> {
        let travelling = self.objects.iter().map(Object::id);
        let made = graph::products(self.objects, knowledge);
        let again = |one: &&Dropped| one.class == DropClass::Produced;
        let stays = self.stays.iter().filter(again).map(|one| one.id.clone());
        travelling
            .chain(made)
            .chain(stays)
            .filter(|id| id.is("", "Service"))
            .filter_map(|id| Some((id.name.to_string(), id.namespace.as_deref()?.to_owned())))
            .collect()
    }

    /// Every definition there is, travelling or not.
    pub(super) fn all_definitions(&self) -> Vec<&'a Object> {
        let travelling = self
            .objects
            .iter()
            .filter(|object| object.is("apiextensions.k8s.io", "CustomResourceDefinition"));
        travelling.chain(self.definitions.iter().copied()).collect()
    }
}
