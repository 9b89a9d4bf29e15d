//! What is known of an object that something refers to: where it is, and who makes it (E-P).

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};
use smol_str::SmolStr;

use super::roots::crd_kind;
use super::{Presence, Strength};
use crate::capture::{DropClass, Dropped};
use crate::knowledge::Knowledge;
use crate::knowledge::produces::ProducesRow;
use crate::object::path::PathPattern;
use crate::object::{GroupKind, Object, ObjectId};

/// How many makers are followed to the first one that travels: an owner's owner's owner …
const CHAIN: usize = 16;

/// Who makes an object.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) id: ObjectId,
    pub(super) rule: SmolStr,
    /// Order when the product travels as well.
    pub(super) preseed: Option<Strength>,
}

/// Looks objects up. Hash maps, as they are only asked for single ids, never walked.
pub(super) struct Known<'a> {
    captured: HashMap<ObjectId, usize>,
    on_b: &'a BTreeSet<ObjectId>,
    makers: HashMap<ObjectId, Maker>,
    /// Made by a server or controller without an object that says so.
    generated: BTreeSet<&'a ObjectId>,
    definitions: BTreeMap<GroupKind, ObjectId>,
}

impl<'a> Known<'a> {
    pub(super) fn new(
        objects: &[Object],
        crds: &[Object],
        dropped: &'a [Dropped],
        on_b: &'a BTreeSet<ObjectId>,
        knowledge: &Knowledge,
    ) -> Self {
        let mut makers = HashMap::new();
        let mut generated = BTreeSet::new();
        for dropped in dropped {
            match (&dropped.produced_by, dropped.class) {
                (Some(owner), _) => {
                    let maker = Maker {
                        id: owner.clone(),
                        rule: dropped.rule.as_str().into(),
                        preseed: None,
                    };
                    makers.insert(dropped.id.clone(), maker);
                }
                (None, DropClass::Generated | DropClass::Produced) => {
                    generated.insert(&dropped.id);
                }
                (None, DropClass::Mapped | DropClass::Excluded) => {}
            }
        }
        makers.extend(made(objects, knowledge));
        let definitions = crds.iter().chain(objects).filter_map(|crd| {
            let kind = crd_kind(crd)?;
            Some((kind, crd.id()))
        });
        Self {
            captured: (0..)
                .zip(objects)
                .map(|(position, object)| (object.id(), position))
                .collect(),
            on_b,
            makers,
            generated,
            definitions: definitions.collect(),
        }
    }

    /// Where an object is.
    pub(super) fn presence(&self, id: &ObjectId) -> Presence {
        if self.captured.contains_key(id) {
            Presence::Captured
        } else if self.on_b.contains(id) {
            Presence::OnB
        } else if self.makers.contains_key(id) || self.generated.contains(id) {
            Presence::Produced
        } else {
            Presence::Missing
        }
    }

    /// Who makes an object.
    pub(super) fn maker(&self, id: &ObjectId) -> Option<&Maker> {
        self.makers.get(id)
    }

    /// The first object up the chain of makers that is not itself made.
    pub(super) fn origin(&self, id: &ObjectId) -> Option<&ObjectId> {
        let mut at = &self.makers.get(id)?.id;
        for _ in 0..CHAIN {
            match self.presence(at) {
                Presence::Produced => at = &self.makers.get(at)?.id,
                _ => return Some(at),
            }
        }
        None
    }

    /// The CRD of a kind.
    pub(super) fn definition(&self, kind: &GroupKind) -> Option<&ObjectId> {
        self.definitions.get(kind)
    }
}

/// What the objects' controllers make. Of two makers of one product (an Ingress and the Certificate
/// made for it) the one that knows when it need not is asked, then the first by id.
fn made(objects: &[Object], knowledge: &Knowledge) -> HashMap<ObjectId, Maker> {
    let mut makers: HashMap<ObjectId, Maker> = HashMap::new();
    for (product, maker) in objects.iter().flat_map(|one| products(one, knowledge)) {
        let rank = |maker: &Maker| (maker.preseed.is_none(), maker.id.clone());
        match makers.get(&product) {
            Some(known) if rank(known) <= rank(&maker) => {}
            _ => {
                makers.insert(product, maker);
            }
        }
    }
    makers
}

/// What the controller of one object makes.
pub(super) fn products(object: &Object, knowledge: &Knowledge) -> Vec<(ObjectId, Maker)> {
    let (group, kind) = (object.group(), object.kind());
    let mut found = Vec::new();
    for row in &knowledge.produces {
        let applies = row.kinds.iter().any(|pattern| pattern.matches(group, kind))
            && row.when.iter().all(|when| when.holds(object.value()));
        let Some(makes) = applies.then(|| row.makes.exact()).flatten() else {
            continue;
        };
        // A Namespace's products live in it, all others beside their maker.
        let namespace = match object.namespace() {
            _ if knowledge.kinds.is_cluster_wide(&makes) => None,
            Some(namespace) => Some(namespace),
            None if object.is("", "Namespace") => Some(object.name()),
            None => continue,
        };
        for name in names(row, object) {
            let id = ObjectId::new(makes.group.clone(), makes.kind.clone(), namespace, &name);
            let maker = Maker {
                id: object.id(),
                rule: row.id.clone(),
                preseed: row.preseed,
            };
            found.push((id, maker));
        }
    }
    found
}

/// What a producer calls its products, after the texts at the first path that has any.
fn names(row: &ProducesRow, object: &Object) -> Vec<String> {
    let texts = |path: &PathPattern| -> Vec<String> {
        let mut texts = Vec::new();
        path.visit(object.value(), &mut |_, value| {
            texts.extend(value.as_str().map(str::to_owned));
        });
        texts.retain(|text| !text.is_empty());
        texts
    };
    let mut all = row.path.iter().map(texts);
    let found = all.find(|texts| !texts.is_empty()).unwrap_or_default();
    let called = |text: &String| {
        let names = row.names.iter();
        let filled = |name: &String| name.replace("{name}", object.name()).replace("{}", text);
        names.map(filled).collect::<Vec<_>>()
    };
    found.iter().flat_map(called).collect()
}
