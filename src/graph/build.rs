//! From objects to a graph: every edge, then the order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::alike::Alike;
use super::known::{Known, products};
use super::order::{Arc, Arcs, Order, order};
use super::policies::{Need, Policies};
use super::references::{Reference, References};
use super::wishes::wishes;
use super::{DroppedEdge, Edge, Graph, Node, Presence, Strength, selectors};
use crate::capture::{Dropped, Owner};
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object, ObjectId};

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
    let (mut edges, known) = Drawing::new(input).edges();
    edges.sort();
    edges.dedup();
    let ids: BTreeSet<ObjectId> = input.objects.iter().map(Object::id).collect();
    let mut ids: Vec<ObjectId> = ids.into_iter().collect();
    let others: BTreeSet<&ObjectId> = edges
        .iter()
        .flat_map(|edge| [&edge.from, &edge.to])
        .filter(|id| known.presence(id) != Presence::Captured)
        .collect();
    ids.extend(others.into_iter().cloned());
    ids.sort();
    let presences: Vec<Presence> = ids.iter().map(|id| known.presence(id)).collect();
    let arcs = arcs(&ids, &presences, &edges);
    let phases = ids
        .iter()
        .map(|id| input.knowledge.kinds.phase(&id.group_kind()))
        .collect();
    let written: Vec<bool> = presences
        .iter()
        .map(|presence| *presence == Presence::Captured)
        .collect();
    let order = order(phases, &written, &arcs);
    assemble(ids, presences, edges, order)
}

/// The edges that order: those between objects that travel, in the order they are to be added.
fn arcs(ids: &[ObjectId], presences: &[Presence], edges: &[Edge]) -> Arcs {
    let numbers: HashMap<&ObjectId, u32> = ids.iter().zip(0u32..).collect();
    let mut arcs = Arcs::default();
    for (position, edge) in edges.iter().enumerate() {
        let list = match edge.strength {
            Strength::H => &mut arcs.hard,
            Strength::R => &mut arcs.run,
            Strength::S => &mut arcs.soft,
            Strength::N | Strength::P => continue,
        };
        let (from, to) = (numbers[&edge.from], numbers[&edge.to]);
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
            edges[a.edge]
                .rule
                .cmp(&edges[b.edge].rule)
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
    known: Known<'a>,
    references: References<'a>,
    edges: Vec<Edge>,
}

impl<'a> Drawing<'a> {
    fn new(input: &'a GraphInput<'a>) -> Self {
        let crds = || input.crds.iter().chain(input.objects);
        Self {
            known: Known::new(
                input.objects,
                input.crds,
                input.produced,
                input.on_b,
                input.knowledge,
            ),
            references: References::new(input.knowledge, crds().collect::<Vec<_>>()),
            input,
            edges: Vec::new(),
        }
    }

    fn edges(mut self) -> (Vec<Edge>, Known<'a>) {
        let choices =
            selectors::choices(self.input.objects, self.input.knowledge, &self.references);
        let mut behind: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
        for choice in choices {
            let (from, to) = (
                self.input.objects[choice.from].id(),
                self.input.objects[choice.to].id(),
            );
            behind.entry(from.clone()).or_default().push(to.clone());
            self.add(&from, &to, Strength::N, choice.rule, &choice.pointer);
        }
        let mut accounts: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
        let mut bound: BTreeMap<ObjectId, BTreeSet<ObjectId>> = BTreeMap::new();
        let versions = aggregated(self.input.objects);
        let claims = captured_claims(self.input.objects);
        let policies = Policies::new(self.input.objects);
        let alike = Alike::new(self.input.objects);
        for object in self.input.objects {
            let id = object.id();
            self.belongings(object, &id, &versions);
            self.made(object, &id);
            self.claims(object, &id, &claims);
            self.policies(object, &id, &policies);
            let references = self.references.find(object);
            if self.references.is_unknown(&object.group_kind()) {
                self.alike(object, &id, &alike, &references);
            }
            for reference in references {
                match reference.rule.as_str() {
                    "E-PT1" => accounts
                        .entry(reference.target.clone())
                        .or_default()
                        .push(id.clone()),
                    "E-23" => {
                        bound
                            .entry(reference.target.clone())
                            .or_default()
                            .insert(id.clone());
                    }
                    _ => {}
                }
                self.refer(&id, &reference, &behind);
            }
        }
        // E-18: a workload comes after what gives its account rights, or it crashes at first.
        for (account, users) in &accounts {
            for binding in bound.get(account).into_iter().flatten() {
                for user in users {
                    self.add(user, binding, Strength::S, "E-18", "");
                }
            }
        }
        for wish in wishes(self.input.objects) {
            let (from, to) = (
                self.input.objects[wish.from].id(),
                self.input.objects[wish.to].id(),
            );
            self.add(&from, &to, Strength::S, "E-U1", &wish.pointer);
        }
        self.owned();
        (self.edges, self.known)
    }

    fn add(&mut self, from: &ObjectId, to: &ObjectId, strength: Strength, rule: &str, path: &str) {
        if from != to {
            self.edges.push(Edge {
                from: from.clone(),
                to: to.clone(),
                strength,
                rule: rule.to_owned(),
                path: path.to_owned(),
            });
        }
    }

    /// E-1 to E-3: the namespace an object is in, the CRD or aggregated API that serves it.
    fn belongings(
        &mut self,
        object: &Object,
        id: &ObjectId,
        aggregated: &BTreeMap<(&str, &str), ObjectId>,
    ) {
        if let Some(namespace) = object.namespace() {
            let namespace = ObjectId::cluster("", "Namespace", namespace);
            self.add(id, &namespace, Strength::H, "E-1", "/metadata/namespace");
        }
        let kind = GroupKind::new(&id.group, &id.kind);
        if let Some(definition) = self.known.definition(&kind).cloned() {
            self.add(id, &definition, Strength::H, "E-2", "/kind");
        }
        if let Some(service) = aggregated.get(&(object.group(), object.version())) {
            self.add(id, service, Strength::H, "E-3", "/apiVersion");
        }
    }

    /// E-P: what the object's controller makes, when that travels too.
    fn made(&mut self, object: &Object, id: &ObjectId) {
        for (product, maker) in products(object, self.input.knowledge) {
            if self.known.presence(&product) != Presence::Captured {
                continue;
            }
            self.add(id, &product, Strength::P, &maker.rule, "");
            if let Some(strength) = maker.preseed {
                self.add(id, &product, strength, &maker.rule, "");
            }
        }
    }

    /// E-15: claims that travel and carry an ordinal beyond the replicas, left by a scale-down.
    fn claims(&mut self, object: &Object, id: &ObjectId, claims: &BTreeSet<(&str, &str)>) {
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
                let path = format!("/spec/volumeClaimTemplates/{index}");
                self.add(id, &claim, Strength::H, "E-15", &path);
            }
        }
    }

    /// E-43: what a policy or its binding needs.
    fn policies(&mut self, object: &Object, id: &ObjectId, policies: &Policies<'_>) {
        let Some((need, strength, path)) = policies.need(object) else {
            return;
        };
        let target = match need {
            Need::Definition(kind) => self.known.definition(&kind).cloned(),
            Need::Object(target) => Some(target),
        };
        if let Some(target) = target {
            self.add(id, &target, strength, "E-43", path);
        }
    }

    /// E-G8: names found by nothing better.
    fn alike(
        &mut self,
        object: &Object,
        id: &ObjectId,
        alike: &Alike<'_>,
        references: &[Reference],
    ) {
        for (target, pointer) in alike.find(object) {
            let known = references
                .iter()
                .any(|reference| reference.target == target);
            if !known {
                self.add(id, &target, Strength::N, "E-G8", &pointer);
            }
        }
    }

    /// One reference: to its target, or to whoever makes that.
    fn refer(
        &mut self,
        id: &ObjectId,
        reference: &Reference,
        behind: &BTreeMap<ObjectId, Vec<ObjectId>>,
    ) {
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
        } = reference;
        let strength = if *confidence < 50 {
            Strength::N
        } else {
            *strength
        };
        match self.known.presence(target) {
            Presence::Missing if *if_known => return,
            Presence::Produced => {
                self.add(id, target, Strength::N, rule, pointer);
                if let Some(maker) = self.known.maker(target).cloned() {
                    self.add(&maker.id, target, Strength::P, &maker.rule, "");
                }
                if let Some(origin) = self.known.origin(target).cloned() {
                    self.add(id, &origin, strength, rule, pointer);
                }
            }
            _ => self.add(id, target, strength, rule, pointer),
        }
        if *backing {
            for workload in behind.get(target).into_iter().flatten() {
                self.add(id, workload, strength, rule, pointer);
            }
        }
    }

    /// E-4: owners on A. Data an owner would make anew comes before it (S-12), all else after it.
    fn owned(&mut self) {
        for (dependent, owners) in self.input.owners {
            for owner in owners {
                let travel = [dependent, &owner.id]
                    .iter()
                    .all(|id| self.known.presence(id) == Presence::Captured);
                let data = dependent.group.is_empty()
                    && matches!(
                        dependent.kind.as_str(),
                        "PersistentVolumeClaim" | "Secret" | "ConfigMap"
                    );
                match (travel, data) {
                    (false, _) => {}
                    (true, true) => self.add(&owner.id, dependent, Strength::H, "E-4", ""),
                    (true, false) => self.add(dependent, &owner.id, Strength::S, "E-4", ""),
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
