//! What controllers make of the objects they are given (E-P): the engine over `produces.yaml`.

use foldhash::{HashMap, HashMapExt};
use smol_str::SmolStr;

use super::Strength;
use crate::knowledge::Knowledge;
use crate::knowledge::produces::ProducesRow;
use crate::object::path::PathPattern;
use crate::object::{Object, ObjectId};

/// Who makes an object.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) id: ObjectId,
    pub(super) rule: SmolStr,
    /// Order when the product travels as well.
    pub(super) preseed: Option<Strength>,
}

/// Everything that controllers make of some objects, with its maker, in order of the makers.
pub(super) fn made(objects: &[Object], knowledge: &Knowledge) -> Vec<(ObjectId, Maker)> {
    let mut by_kind: HashMap<(&str, &str), Vec<&ProducesRow>> = HashMap::new();
    let mut found = Vec::new();
    for object in objects {
        let (group, kind) = (object.group(), object.kind());
        let rows = by_kind.entry((group, kind)).or_insert_with(|| {
            let about = |row: &&ProducesRow| row.kinds.iter().any(|one| one.matches(group, kind));
            knowledge.produces.iter().filter(about).collect()
        });
        for row in rows {
            products(row, object, knowledge, &mut found);
        }
    }
    found
}

/// What one row says of an object of its kinds.
fn products(
    row: &ProducesRow,
    object: &Object,
    knowledge: &Knowledge,
    found: &mut Vec<(ObjectId, Maker)>,
) {
    let applies = row.when.iter().all(|when| when.holds(object.value()));
    let Some(makes) = applies.then(|| row.makes.exact()).flatten() else {
        return;
    };
    // A Namespace's products live in it, all others beside their maker.
    let namespace = match object.namespace() {
        _ if knowledge.kinds.is_cluster_wide(&makes) => None,
        Some(namespace) => Some(namespace),
        None if object.is("", "Namespace") => Some(object.name()),
        None => return,
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
