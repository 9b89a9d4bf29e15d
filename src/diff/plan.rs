//! The plan's diff: each object as captured on A against what will be on B once it is released; and for
//! each update what it changes of what is on B now.

use std::collections::BTreeMap;

use super::lines::unified;
use super::mask::shown;
use super::{MaskKey, ObjectDiff, drift};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId, pointer};
use crate::plan::{Action, Class, Drift, Hold, Plan, Step};
use crate::transform::Change;

/// What the plan changes in every object it applies, in the order of its steps. Lines that a recipe
/// changed carry the rule's id. Objects that are the same or kept, and that no recipe changed, are
/// left out.
pub fn plan(plan: &Plan, key: &MaskKey) -> Vec<ObjectDiff> {
    let knowledge = Knowledge::builtin();
    let before = plan.before.iter();
    let before: BTreeMap<&ObjectId, &Object> = before.map(|(id, object)| (id, object)).collect();
    let mut changes: BTreeMap<&ObjectId, Vec<&Change>> = BTreeMap::new();
    for change in plan.changes.iter() {
        changes.entry(&change.object).or_default().push(change);
    }
    let applied = |step: &Step| match &step.action {
        Action::Apply {
            body, class, holds, ..
        } => {
            let before = before.get(&step.object).copied();
            let changes = before
                .and_then(|before| changes.get(&before.id()))
                .map(Vec::as_slice)
                .unwrap_or_default();
            let after = released(body, holds);
            let text = |object| shown(object, knowledge, key);
            let diff = ObjectDiff {
                before: before.map(Object::id),
                after: Some(step.object.clone()),
                class: step.action.word().into(),
                notes: holds.iter().map(note).collect(),
                lines: unified(
                    &before.map(text).unwrap_or_default(),
                    &text(&after),
                    changes,
                ),
            };
            let quiet = matches!(class, Class::Same | Class::Keep) && diff.lines.is_empty();
            (!quiet).then_some(diff)
        }
        _ => None,
    };
    let on_b: BTreeMap<ObjectId, ObjectDiff> = plan
        .drift
        .iter()
        .map(|found| (found.live.id(), on_b(found, key)))
        .collect();
    plan.steps
        .iter()
        .flat_map(|step| {
            let updated = on_b.get(&step.object).filter(|_| is_update(step));
            applied(step).into_iter().chain(updated.cloned())
        })
        .collect()
}

fn is_update(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Apply {
            class: Class::Update,
            ..
        }
    )
}

/// What an update changes of what is on B now.
fn on_b(found: &Drift, key: &MaskKey) -> ObjectDiff {
    let mut diff = drift(&found.live, &found.applied, Knowledge::builtin(), key);
    diff.class = "update of what is on B now".into();
    if diff.lines.is_empty() {
        diff.notes
            .push("only what Ferry marks or the server keeps for itself changes".into());
    }
    diff
}

/// The object as it will be when its holds are off.
fn released(body: &Object, holds: &[Hold]) -> Object {
    let mut object = body.clone();
    for hold in holds {
        match &hold.release {
            Some(value) => drop(pointer::set(object.value_mut(), &hold.path, value.clone())),
            None => drop(pointer::remove(object.value_mut(), &hold.path)),
        }
    }
    object
}

fn note(hold: &Hold) -> String {
    format!(
        "held until its data is proven: {} = {} ({})",
        hold.path, hold.held, hold.rule
    )
}
