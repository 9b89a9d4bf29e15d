//! Numbers for names: what a graph is drawn with until it is done.
//!
//! A graph of 100,000 objects has about a million edges. Sorting and comparing them by number is an
//! order of magnitude cheaper than by name.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use smol_str::SmolStr;

use super::known::Known;
use super::{Edge, Presence, Strength};
use crate::object::{Object, ObjectId};

/// An edge between numbered nodes: while there are only edges to be collected and sorted, numbers do
/// for names. Sorts as the edge does once the numbers follow the names.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) strength: Strength,
    pub(super) rule: SmolStr,
    pub(super) path: SmolStr,
}

impl Line {
    /// The edge between the nodes of these names.
    pub(super) fn edge(self, ids: &[ObjectId]) -> Edge {
        let Self {
            from,
            to,
            strength,
            rule,
            path,
        } = self;
        Edge {
            from: ids[from as usize].clone(),
            to: ids[to as usize].clone(),
            strength,
            rule,
            path,
        }
    }
}

/// How many makers are followed to the first one that travels: an owner's owner's owner …
const CHAIN: usize = 16;

/// Every object met, numbered as they come, those that travel first. The hash map is asked for single ids,
/// never walked.
pub(super) struct Nodes<'a> {
    pub(super) known: Known<'a>,
    ids: Vec<ObjectId>,
    presences: Vec<Presence>,
    numbers: HashMap<ObjectId, u32>,
    /// Paths of edges. Objects of one kind refer from the same places: each stands once.
    paths: HashSet<SmolStr>,
}

impl<'a> Nodes<'a> {
    /// Begins with the objects that travel. Their numbers are told beside.
    pub(super) fn new(known: Known<'a>, objects: &[Object]) -> (Self, Vec<u32>) {
        let mut nodes = Self {
            known,
            ids: Vec::with_capacity(objects.len()),
            presences: Vec::with_capacity(objects.len()),
            numbers: HashMap::with_capacity(objects.len()),
            paths: HashSet::new(),
        };
        let mut enter = |object: &Object| nodes.enter(object.id(), |_| Presence::Captured);
        let numbers = objects.iter().map(&mut enter).collect();
        (nodes, numbers)
    }

    fn enter(&mut self, id: ObjectId, presence: impl Fn(&Known<'_>) -> Presence) -> u32 {
        let next = self.ids.len() as u32;
        let number = *self.numbers.entry(id.clone()).or_insert(next);
        if number == next {
            self.presences.push(presence(&self.known));
            self.ids.push(id);
        }
        number
    }

    /// The number of an object, from now on if not before.
    pub(super) fn number(&mut self, id: &ObjectId) -> u32 {
        match self.numbers.get(id) {
            Some(number) => *number,
            None => self.enter(id.clone(), |known| known.presence(id)),
        }
    }

    /// A path, shared with all edges that have the same.
    pub(super) fn path(&mut self, path: &str) -> SmolStr {
        if let Some(known) = self.paths.get(path) {
            return known.clone();
        }
        let path = SmolStr::new(path);
        self.paths.insert(path.clone());
        path
    }

    /// Where an object is, whether it was met or not.
    pub(super) fn presence(&self, id: &ObjectId) -> Presence {
        match self.numbers.get(id) {
            Some(number) => self.presences[*number as usize],
            None => self.known.presence(id),
        }
    }

    /// Where the object of a number is.
    pub(super) fn presence_of(&self, number: u32) -> Presence {
        self.presences[number as usize]
    }

    /// The first object up the chain of makers that is not itself made.
    pub(super) fn origin(&self, id: &ObjectId) -> Option<&ObjectId> {
        let mut at = &self.known.maker(id)?.id;
        for _ in 0..CHAIN {
            match self.presence(at) {
                Presence::Produced => at = &self.known.maker(at)?.id,
                _ => return Some(at),
            }
        }
        None
    }

    /// The nodes in order of their ids; the lines are made to follow.
    pub(super) fn sorted(self, lines: &mut [Line]) -> (Vec<ObjectId>, Vec<Presence>) {
        let mut order: Vec<u32> = (0..self.ids.len() as u32).collect();
        order.sort_by(|a, b| self.ids[*a as usize].cmp(&self.ids[*b as usize]));
        let mut places = vec![0; order.len()];
        for (place, number) in (0u32..).zip(&order) {
            places[*number as usize] = place;
        }
        for line in lines {
            line.from = places[line.from as usize];
            line.to = places[line.to as usize];
        }
        order
            .into_iter()
            .map(|number| {
                let number = number as usize;
                (self.ids[number].clone(), self.presences[number])
            })
            .unzip()
    }
}
