//! From objects to a graph: every edge, then the order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use smol_str::SmolStr;

use super::alike::Alike;
use super::grants::Grants;
use super::known::Known;
use super::nodes::{Line, Nodes};
use super::order::{Arc, Arcs, Order, order};
use super::policies::{Need, Policies};
use super::references::{Reference, References};
use super::wishes::wishes;
use super::{DroppedEdge, Edge, Graph, Node, Presence, Strength, selectors};
use crate::capture::{Dropped, Owner};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};

/// What a graph is drawn from. All ids are names on the same cluster: after transforms, B's.
#[derive(Clone, Copy, Debug)]
pub struct GraphInput<'a> {
    /// The objects that travel.
    pub objects: &'a [Object],
    /// CRDs of A, for what they say about kinds nobody described; others among them are passed over.
    pub crds: &'a [Object],
    /// The objects that stay, for who makes them on B (E-P).
    pub produced: &'a [Dropped],
    /// The owners the objects that travel had on A (E-4).
    pub owners: &'a BTreeMap<ObjectId, Vec<Owner>>,
    /// Objects outside the set that can be relied on: what B holds, or A when there is no B yet.
    pub on_b: &'a BTreeSet<ObjectId>,
    /// The rules.
    pub knowledge: &'a Knowledge,
}

/// Objects that can only be created before themselves.
#[derive(Debug)]
pub struct GraphError {
    /// Each circle, edge by edge.
    pub cycles: Vec<Vec<Edge>>,
    /// The graph all the same, ordered as if the edges that close the circles were not there.
    pub graph: Box<Graph>,
}

impl std::error::Error for GraphError {}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects must each be created before the other:")?;
        for (number, cycle) in self.cycles.iter().enumerate() {
            f.write_str(if number == 0 { " " } else { "; " })?;
            for edge in cycle {
                write!(f, "{} needs ", edge.from)?;
                match edge.path.as_str() {
                    "" => write!(f, "({}) ", edge.rule)?,
                    path => write!(f, "({} at {path}) ", edge.rule)?,
                }
            }
            if let Some(first) = cycle.first() {
                write!(f, "{}", first.from)?;
            }
        }
        Ok(())
    }
}

/// Draws the graph.
///
/// # Errors
/// When objects need each other in a circle to be created; the graph comes with the error.
pub fn build(input: &GraphInput<'_>) -> Result<Graph, GraphError> {
    let (nodes, mut lines) = Drawing::new(input).lines();
    let (ids, presences) = nodes.sorted(&mut lines);
    lines.sort_unstable();
    lines.dedup();
    let arcs = arcs(&presences, &lines);
    let same_kind = |a: &ObjectId, b: &ObjectId| a.is(&b.group, &b.kind);
    let phases = ids
        .chunk_by(same_kind)
        .flat_map(|run| {
            let phase = input.knowledge.kinds.phase(&run[0].group_kind());
            std::iter::repeat_n(phase, run.len())
        })
        .collect();
    let written: Vec<bool> = presences
        .iter()
        .map(|presence| *presence == Presence::Captured)
        .collect();
    let order = order(phases, &written, &arcs);
    let edges = lines.into_iter().map(|line| line.edge(&ids)).collect();
    assemble(ids, presences, edges, order)
}

/// The edges that order: those between objects that travel, in the order they are to be added.
fn arcs(presences: &[Presence], lines: &[Line]) -> Arcs {
    let mut arcs = Arcs::default();
    for (position, line) in lines.iter().enumerate() {
        let list = match line.strength {
            Strength::H => &mut arcs.hard,
            Strength::R => &mut arcs.run,
            Strength::S => &mut arcs.soft,
            Strength::N | Strength::P => continue,
        };
        let (from, to) = (line.from, line.to);
        let travels = |node: u32| presences[node as usize] == Presence::Captured;
        if travels(from) && travels(to) && from != to {
            list.push(Arc {
                from,
                to,
                edge: position,
            });
        }
    }
    for list in [&mut arcs.run, &mut arcs.soft] {
        list.sort_by(|a, b| {
            let key = |arc: &Arc| (arc.from, arc.to, arc.edge);
            lines[a.edge]
                .rule
                .cmp(&lines[b.edge].rule)
                .then(key(a).cmp(&key(b)))
        });
    }
    arcs
}

fn assemble(
    ids: Vec<ObjectId>,
    presences: Vec<Presence>,
    edges: Vec<Edge>,
    order: Order,
) -> Result<Graph, GraphError> {
    let dropped = order
        .dropped
        .iter()
        .map(|(arc, path)| DroppedEdge {
            edge: edges[arc.edge].clone(),
            because: path
                .iter()
                .map(|node| ids[*node as usize].clone())
                .collect(),
        })
        .collect();
    let cycles: Vec<Vec<Edge>> = order
        .cycles
        .iter()
        .map(|cycle| cycle.iter().map(|arc| edges[arc.edge].clone()).collect())
        .collect();
    let nodes = ids
        .into_iter()
        .zip(presences)
        .zip(order.phases.into_iter().zip(order.waves))
        .map(|((id, presence), (phase, wave))| Node {
            id,
            presence,
            phase,
            // Only what is written has a wave.
            wave: if presence == Presence::Captured {
                wave
            } else {
                0
            },
        })
        .collect();
    let graph = Graph {
        nodes,
        edges,
        dropped,
    };
    if cycles.is_empty() {
        return Ok(graph);
    }
    Err(GraphError {
        cycles,
        graph: Box::new(graph),
    })
}

/// Collects edges.
struct Drawing<'a> {
    input: &'a GraphInput<'a>,
    nodes: Nodes<'a>,
    /// The number of each object, in the order given.
    numbers: Vec<u32>,
    references: References<'a>,
    lines: Vec<Line>,
}

impl<'a> Drawing<'a> {
    fn new(input: &'a GraphInput<'a>) -> Self {
        let crds = || input.crds.iter().chain(input.objects);
        let known = Known::new(
            input.objects,
            input.crds,
            input.produced,
            input.on_b,
            input.knowledge,
        );
        let (nodes, numbers) = Nodes::new(known, input.objects);
        Self {
            nodes,
            numbers,
            references: References::new(input.knowledge, crds().collect::<Vec<_>>()),
            input,
            lines: Vec::new(),
        }
    }

    fn lines(mut self) -> (Nodes<'a>, Vec<Line>) {
        let choices =
            selectors::choices(self.input.objects, self.input.knowledge, &self.references);
        let mut behind: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for choice in choices {
            let (from, to) = (self.numbers[choice.from], self.numbers[choice.to]);
            behind.entry(from).or_default().push(to);
            self.add(from, to, choice.strength, choice.rule, &choice.pointer);
        }
        let mut accounts: BTreeMap<ObjectId, Vec<u32>> = BTreeMap::new();
        let mut bound: BTreeMap<ObjectId, BTreeSet<u32>> = BTreeMap::new();
        let versions = aggregated(self.input.objects);
        let claims = captured_claims(self.input.objects);
        let policies = Policies::new(self.input.objects);
        let alike = Alike::new(self.input.objects);
        let grants = Grants::new(self.input.objects);
        let mut annotated = Vec::new();
        for (position, object) in self.input.objects.iter().enumerate() {
            let from = self.numbers[position];
            if object.pointer("/metadata/annotations").is_some() {
                annotated.push((position, object));
            }
            self.belongings(object, from, &versions);
            self.claims(object, from, &claims);
            self.policies(object, from, &policies);
            let references = self.references.find(object);
            if self.references.is_unknown(&object.group_kind()) {
                self.alike(object, from, &alike, &references);
            }
            for reference in references {
                let target = || reference.target.clone();
                match reference.rule.as_str() {
                    "E-PT1" => accounts.entry(target()).or_default().push(from),
                    "E-23" => {
                        bound.entry(target()).or_default().insert(from);
                    }
                    _ => {}
                }
                self.refer(from, &reference, &behind);
                if reference.granted {
                    self.granted(object, from, &reference, &grants);
                }
            }
        }
        // E-18: a workload comes after what gives its account rights, or it crashes at first.
        for (account, users) in &accounts {
            for binding in bound.get(account).into_iter().flatten() {
                for user in users {
                    self.add(*user, *binding, Strength::S, "E-18", "");
                }
            }
        }
        self.made();
        for wish in wishes(&annotated) {
            let (from, to) = (self.numbers[wish.from], self.numbers[wish.to]);
            self.add(from, to, Strength::S, "E-U1", &wish.pointer);
        }
        self.owned();
        (self.nodes, self.lines)
    }

    fn add(&mut self, from: u32, to: u32, strength: Strength, rule: &str, path: &str) {
        if from != to {
            self.lines.push(Line {
                from,
                to,
                strength,
                rule: SmolStr::new(rule),
                path: self.nodes.path(path),
            });
        }
    }

    /// E-1 to E-3: the namespace an object is in, the CRD or aggregated API that serves it.
    fn belongings(
        &mut self,
        object: &Object,
        from: u32,
        aggregated: &BTreeMap<(&str, &str), ObjectId>,
    ) {
        if let Some(namespace) = object.namespace() {
            let namespace = ObjectId::cluster("", "Namespace", namespace);
            let namespace = self.nodes.number(&namespace);
            self.add(from, namespace, Strength::H, "E-1", "/metadata/namespace");
        }
        if let Some(definition) = self.nodes.known.definition(&object.group_kind()).cloned() {
            self.point(from, &definition, Strength::H, "E-2", "/kind");
        }
        if let Some(service) = aggregated.get(&(object.group(), object.version())) {
            let service = self.nodes.number(service);
            self.add(from, service, Strength::H, "E-3", "/apiVersion");
        }
    }

    /// E-P: what the objects' controllers make, when that travels too.
    fn made(&mut self) {
        for (product, maker) in std::mem::take(&mut self.nodes.known.products) {
            if self.nodes.presence(&product) != Presence::Captured {
                continue;
            }
            let (from, product) = (self.nodes.number(&maker.id), self.nodes.number(&product));
            self.add(from, product, Strength::P, &maker.rule, "");
            if let Some(strength) = maker.preseed {
                self.add(from, product, strength, &maker.rule, "");
            }
        }
    }

    /// E-15: claims that travel and carry an ordinal beyond the replicas, left by a scale-down.
    fn claims(&mut self, object: &Object, from: u32, claims: &BTreeSet<(&str, &str)>) {
        let (Some(namespace), "StatefulSet") = (object.namespace(), object.kind()) else {
            return;
        };
        let templates = object.pointer("/spec/volumeClaimTemplates");
        let templates = templates
            .and_then(|list| list.as_array())
            .into_iter()
            .flatten();
        for (index, template) in templates.enumerate() {
            let Some(name) = template
                .pointer("/metadata/name")
                .and_then(|name| name.as_str())
            else {
                continue;
            };
            let prefix = format!("{name}-{}-", object.name());
            let named = claims
                .range((namespace, prefix.as_str())..)
                .take_while(|(home, claim)| *home == namespace && claim.starts_with(&prefix))
                .filter(|(_, claim)| claim[prefix.len()..].parse::<u32>().is_ok());
            for (_, claim) in named {
                let claim = ObjectId::namespaced("", "PersistentVolumeClaim", namespace, claim);
                let claim = self.nodes.number(&claim);
                let path = format!("/spec/volumeClaimTemplates/{index}");
                self.add(from, claim, Strength::H, "E-15", &path);
            }
        }
    }

    /// E-43: what a policy or its binding needs.
    fn policies(&mut self, object: &Object, from: u32, policies: &Policies<'_>) {
        let Some((need, strength, path)) = policies.need(object) else {
            return;
        };
        let target = match need {
            Need::Definition(kind) => self.nodes.known.definition(&kind).cloned(),
            Need::Object(target) => Some(target),
        };
        if let Some(target) = target {
            let target = self.nodes.number(&target);
            self.add(from, target, strength, "E-43", path);
        }
    }

    /// E-G8: names found by nothing better.
    fn alike(&mut self, object: &Object, from: u32, alike: &Alike<'_>, references: &[Reference]) {
        for (target, pointer) in alike.find(object) {
            let known = references
                .iter()
                .any(|reference| reference.target == target);
            if !known {
                let target = self.nodes.number(&target);
                self.add(from, target, Strength::N, "E-G8", &pointer);
            }
        }
    }

    /// One reference: to its target, or to whoever makes that.
    fn refer(&mut self, from: u32, reference: &Reference, behind: &BTreeMap<u32, Vec<u32>>) {
        let Reference {
            rule,
            pointer,
            target,
            strength,
            if_known,
            backing,
            confidence,
            name: _,
            namespace: _,
            optional: _,
            granted: _,
        } = reference;
        let strength = if *confidence < 50 {
            Strength::N
        } else {
            *strength
        };
        if *if_known && self.nodes.presence(target) == Presence::Missing {
            return;
        }
        let to = self.point(from, target, strength, rule, pointer);
        if *backing {
            for workload in behind.get(&to).into_iter().flatten() {
                self.add(from, *workload, strength, rule, pointer);
            }
        }
    }

    /// An edge to an object, or to whoever makes it when a controller does (E-P); gives the object's
    /// number.
    fn point(
        &mut self,
        from: u32,
        target: &ObjectId,
        strength: Strength,
        rule: &str,
        pointer: &str,
    ) -> u32 {
        let to = self.nodes.number(target);
        // A Namespace that the plan makes is waited for as one that travels.
        if self.nodes.presence_of(to) != Presence::Produced || target.is("", "Namespace") {
            self.add(from, to, strength, rule, pointer);
            return to;
        }
        self.add(from, to, Strength::N, rule, pointer);
        if let Some(maker) = self.nodes.known.maker(target).cloned() {
            let by = self.nodes.number(&maker.id);
            self.add(by, to, Strength::P, &maker.rule, "");
        }
        if let Some(origin) = self.nodes.origin(target).cloned() {
            let origin = self.nodes.number(&origin);
            self.add(from, origin, strength, rule, pointer);
        }
        to
    }

    /// E-37: grants come before what they let leave its namespace.
    fn granted(&mut self, object: &Object, from: u32, reference: &Reference, grants: &Grants<'_>) {
        for grant in grants.of(object, &reference.target) {
            let grant = self.nodes.number(&grant);
            self.add(from, grant, Strength::S, "E-37", &reference.pointer);
        }
    }

    /// E-4: owners on A. Data an owner would make anew comes before it (S-12), all else after it.
    fn owned(&mut self) {
        for (dependent, owners) in self.input.owners {
            for owner in owners {
                let travel = [dependent, &owner.id]
                    .iter()
                    .all(|id| self.nodes.presence(id) == Presence::Captured);
                let data = dependent.group.is_empty()
                    && matches!(
                        dependent.kind.as_str(),
                        "PersistentVolumeClaim" | "Secret" | "ConfigMap"
                    );
                if !travel {
                    continue;
                }
                let (dependent, owner) =
                    (self.nodes.number(dependent), self.nodes.number(&owner.id));
                match data {
                    true => self.add(owner, dependent, Strength::H, "E-4", ""),
                    false => self.add(dependent, owner, Strength::S, "E-4", ""),
                }
            }
        }
    }
}

/// Namespace and name of every claim that travels.
fn captured_claims(objects: &[Object]) -> BTreeSet<(&str, &str)> {
    objects
        .iter()
        .filter(|object| object.is("", "PersistentVolumeClaim"))
        .filter_map(|object| Some((object.namespace()?, object.name())))
        .collect()
}

/// APIServices that travel, by the group and version they serve.
fn aggregated(objects: &[Object]) -> BTreeMap<(&str, &str), ObjectId> {
    objects
        .iter()
        .filter(|object| object.is("apiregistration.k8s.io", "APIService"))
        .filter_map(|object| {
            let served = (object.text("/spec/group")?, object.text("/spec/version")?);
            Some((served, object.id()))
        })
        .collect()
}
