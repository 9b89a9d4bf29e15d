//! What is known of an object that something refers to and that does not travel: where it is, and who makes
//! it (E-P).

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use super::Presence;
use super::makers::{Maker, made};
use super::roots::crd_kind;
use crate::capture::{DropClass, Dropped};
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object, ObjectId};

/// Looks up objects that do not travel. Hash maps, as they are only asked for single ids, never walked.
pub(super) struct Known<'a> {
    on_b: &'a BTreeSet<ObjectId>,
    makers: HashMap<ObjectId, Maker>,
    /// Made by a server or controller without an object that says so, or by the plan, as objects go there.
    generated: BTreeSet<ObjectId>,
    definitions: BTreeMap<GroupKind, ObjectId>,
    /// What the objects make, whether it travels or not.
    pub(super) products: Vec<(ObjectId, Maker)>,
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
                    generated.insert(dropped.id.clone());
                }
                (None, DropClass::Mapped | DropClass::Excluded) => {}
            }
        }
        let assumed = assumed_namespaces(objects);
        let mut products = made(objects, knowledge);
        products.extend(made(&assumed, knowledge));
        makers.extend(first(&products));
        generated.extend(assumed.iter().map(Object::id));
        let definitions = crds.iter().chain(objects).filter_map(|crd| {
            let kind = crd_kind(crd)?;
            Some((kind, crd.id()))
        });
        Self {
            on_b,
            makers,
            generated,
            definitions: definitions.collect(),
            products,
        }
    }

    /// Where an object is that does not travel.
    pub(super) fn presence(&self, id: &ObjectId) -> Presence {
        if self.on_b.contains(id) {
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

    /// The CRD of a kind.
    pub(super) fn definition(&self, kind: &GroupKind) -> Option<&ObjectId> {
        self.definitions.get(kind)
    }
}

/// The namespaces that objects are in and that are not among them: files seldom hold them.
fn assumed_namespaces(objects: &[Object]) -> Vec<Object> {
    let is_one = |object: &&Object| object.is("", "Namespace");
    let there: BTreeSet<&str> = objects.iter().filter(is_one).map(Object::name).collect();
    let used: BTreeSet<&str> = objects.iter().filter_map(Object::namespace).collect();
    let plain = |name: &&str| {
        let metadata = serde_json::json!({"name": name});
        let value =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        Object::new(value).ok()
    };
    used.difference(&there).filter_map(plain).collect()
}

/// Who makes each product. Of two makers of one (an Ingress and the Certificate made for it) the one that
/// knows when it need not is asked, then the first by id.
fn first(products: &[(ObjectId, Maker)]) -> HashMap<ObjectId, Maker> {
    let mut makers: HashMap<ObjectId, Maker> = HashMap::new();
    for (product, maker) in products {
        let rank = |maker: &Maker| (maker.preseed.is_none(), maker.id.clone());
        match makers.get(product) {
            Some(known) if rank(known) <= rank(maker) => {}
            _ => {
                makers.insert(product.clone(), maker.clone());
            }
        }
    }
    makers
}
