//! Everything a plan may speak of, numbered in order of the names on B.
//!
//! A plan of 100,000 objects asks a million times for what is known of one: by number that is an index,
//! by name the comparison of four texts, many times over. Who has the greater name has the greater
//! number, so whatever is walked by number is walked in order of the names.

use foldhash::{HashMap, HashMapExt};

use super::{PlanInput, Purpose};
use crate::capture::Captured;
use crate::graph::{Graph, Phase, Strength};
use crate::object::{Object, ObjectId};
use crate::target::NamespaceState;

/// An object by its number.
pub(super) type Number = u32;

/// The objects and what is known of them, by number.
pub(super) struct Items<'a> {
    ids: Vec<ObjectId>,
    numbers: HashMap<ObjectId, Number>,
    /// Objects after transforms, missing namespaces added; none for what only is referred to.
    objects: Vec<Option<Object>>,
    captured: Vec<Option<&'a Captured>>,
    phases: Vec<Option<Phase>>,
    /// Names on A to numbers.
    by_source: HashMap<ObjectId, Number>,
}

/// An edge that orders.
#[derive(Clone, Copy)]
pub(super) struct Tie {
    pub(super) from: Number,
    pub(super) to: Number,
    pub(super) strength: Strength,
}

impl<'a> Items<'a> {
    pub(super) fn new(input: &PlanInput<'a>) -> Self {
        let absent = absent_namespaces(input);
        let nodes = input.graph.nodes.iter().map(|node| &node.id);
        let mut ids: Vec<ObjectId> = nodes.cloned().collect();
        let mut numbers: HashMap<ObjectId, Number> = ids.iter().cloned().zip(0..).collect();
        let objects = input.transformed.objects.iter().chain(&absent);
        let claims = input.capture.volumes.iter().map(|one| &one.claim);
        let drawn = ids.len();
        let others = objects.map(Object::id_ref).chain(claims);
        ids.extend(others.filter(|id| !numbers.contains_key(*id)).cloned());
        if input.purpose == Purpose::Cutover {
            ids.extend(standing_still(input).filter(|id| !numbers.contains_key(id)));
        }
        if ids.len() > drawn {
            ids.sort();
            ids.dedup();
            numbers = ids.iter().cloned().zip(0..).collect();
        }
        let mut items = Self {
            numbers,
            objects: vec![None; ids.len()],
            captured: vec![None; ids.len()],
            phases: vec![None; ids.len()],
            by_source: HashMap::with_capacity(input.transformed.objects.len()),
            ids,
        };
        for node in &input.graph.nodes {
            let at = items.at(&node.id);
            items.phases[at] = Some(node.phase);
        }
        for (captured, object) in input.transformed.from(&input.capture.objects) {
            let at = items.at(object.id_ref());
            items.captured[at] = Some(captured);
            items.by_source.insert(captured.object.id(), at as Number);
        }
        for object in &input.transformed.objects {
            let at = items.at(object.id_ref());
            items.objects[at] = Some(object.clone());
        }
        for namespace in absent {
            let at = items.at(&namespace.id());
            if items.objects[at].is_none() {
                items.phases[at] = Some(Phase::Skeleton);
                items.objects[at] = Some(namespace);
            }
        }
        items
    }

    /// Where an object of the plan's input stands.
    fn at(&self, id: &ObjectId) -> usize {
        self.numbers[id] as usize
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Every number.
    pub(super) fn numbers(&self) -> std::ops::Range<Number> {
        0..self.ids.len() as Number
    }

    /// The number of an object by its name on B.
    pub(super) fn number(&self, id: &ObjectId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    /// The number of an object by its name on A, if it travels.
    pub(super) fn by_source(&self, id: &ObjectId) -> Option<Number> {
        self.by_source.get(id).copied()
    }

    pub(super) fn id(&self, number: Number) -> &ObjectId {
        &self.ids[number as usize]
    }

    pub(super) fn into_ids(self) -> Vec<ObjectId> {
        self.ids
    }

    pub(super) fn object(&self, number: Number) -> Option<&Object> {
        self.objects[number as usize].as_ref()
    }

    pub(super) fn captured(&self, number: Number) -> Option<&'a Captured> {
        self.captured[number as usize]
    }

    pub(super) fn phase(&self, number: Number) -> Option<Phase> {
        self.phases[number as usize]
    }

    /// The edges that order: N and P edges and those left out to avoid circles do not.
    pub(super) fn ties(&self, graph: &Graph) -> Vec<Tie> {
        let dropped: std::collections::BTreeSet<_> =
            graph.dropped.iter().map(|dropped| &dropped.edge).collect();
        graph
            .edges
            .iter()
            .filter(|edge| matches!(edge.strength, Strength::H | Strength::R | Strength::S))
            .filter(|edge| !dropped.contains(edge))
            .filter_map(|edge| {
                Some(Tie {
                    from: self.number(&edge.from)?,
                    to: self.number(&edge.to)?,
                    strength: edge.strength,
                })
            })
            .collect()
    }
}

/// A namespace's name.
pub(super) fn namespace(name: &str) -> ObjectId {
    ObjectId::cluster("", "Namespace", name)
}

/// What of A a cutover may hold and watch, by the names on A.
fn standing_still<'a>(input: &PlanInput<'a>) -> impl Iterator<Item = ObjectId> + use<'a> {
    let capture = input.capture;
    let captured = capture.objects.iter().map(|captured| captured.raw.id());
    let made = capture.dropped.iter().map(|dropped| dropped.id.clone());
    let namespaces = capture.namespaces.iter().map(|name| namespace(name));
    captured.chain(made).chain(namespaces)
}

/// Namespaces that are not on B are made plain, unless they travel.
fn absent_namespaces(input: &PlanInput<'_>) -> Vec<Object> {
    let namespaces = input.target.namespaces.iter();
    let absent = namespaces.filter(|(_, state)| **state == NamespaceState::Absent);
    absent
        .filter_map(|(name, _)| {
            Object::new(serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name}}))
            .ok()
        })
        .collect()
}
