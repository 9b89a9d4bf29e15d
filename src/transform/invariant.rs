//! What must hold after all transforms, whatever the recipes said.

use foldhash::{HashMap, HashMapExt};

use super::fault::{Fault, Faults};
use super::work::{Part, Work};
use crate::object::Object;

/// T-12: a workload's selector selects its own pods. Else the API refuses it, or worse, it adopts
/// pods of another.
pub(super) fn selectors(work: &Work<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, object) in work.objects().iter().enumerate() {
        if object.shares(&work.before[index]) {
            continue;
        }
        let Some((key, value)) = unselected(object) else {
            continue;
        };
        if unselected(&work.before[index]).is_some() {
            // It was so on A; the checks and B's dry run say what B thinks of it.
            continue;
        }
        let touches =
            |path: &str| path.starts_with("/spec/template") || path.starts_with("/spec/selector");
        let Some(part) = last_change(work, index, touches) else {
            continue;
        };
        faults.extend(fault(
            work,
            part,
            format!("the selector of {} would lose its pods", work.id(index)),
            format!("the pods no longer have `{key}: {value}`"),
            "leave labels that selectors use as they are; selectors are immutable",
        ));
    }
    faults
}

/// A label the selector asks for and the pod template lacks.
fn unselected(object: &Object) -> Option<(String, String)> {
    let selector = object.pointer("/spec/selector")?.as_object()?;
    let labels = object.pointer("/spec/template/metadata")?.get("labels");
    // ReplicationControllers and DeploymentConfigs have the labels at the selector itself.
    let wanted = match selector.get("matchLabels") {
        Some(labels) => labels.as_object()?,
        None if selector.contains_key("matchExpressions") => return None,
        None => selector,
    };
    wanted
        .iter()
        .find(|(key, value)| labels.and_then(|labels| labels.get(*key)) != Some(value))
        .map(|(key, value)| {
            let text = value.as_str().map(str::to_owned);
            (key.clone(), text.unwrap_or_else(|| value.to_string()))
        })
}

/// Two objects must not become one.
pub(super) fn names(work: &Work<'_>) -> Vec<Fault> {
    let named = |path: &str| path == "/metadata/name" || path == "/metadata/namespace";
    let mut faults = Vec::new();
    if !work.changes.iter().any(|change| named(&change.path)) {
        return faults;
    }
    let mut seen = HashMap::with_capacity(work.objects().len());
    for (index, object) in work.objects().iter().enumerate() {
        let Some(other) = seen.insert(object.id(), index) else {
            continue;
        };
        let change = last_change(work, index, named).or_else(|| last_change(work, other, named));
        let Some(part) = change else { continue };
        faults.extend(fault(
            work,
            part,
            format!(
                "{} and {} would both become {}",
                work.id(other),
                work.id(index),
                object.id()
            ),
            "renames one onto the other".into(),
            "choose a name that nothing captured has",
        ));
    }
    faults
}

fn last_change(work: &Work<'_>, index: usize, touches: impl Fn(&str) -> bool) -> Option<Part> {
    let id = work.id(index);
    let mut changes = work.changes.iter().zip(&work.origins).rev();
    changes
        .find(|(change, _)| change.object == *id && touches(&change.path))
        .map(|(_, part)| *part)
}

fn fault(work: &Work<'_>, part: Part, message: String, label: String, help: &str) -> Vec<Fault> {
    let recipe = &work.recipes[part.recipe];
    let mut faults = Faults::new(recipe.source.clone());
    faults
        .add(message, &recipe.entries[part.entry].span, label)
        .help(help);
    faults.into_list()
}
