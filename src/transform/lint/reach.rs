//! Selections that can never do anything: they select nothing, what they set is set again, or another
//! entry sets something else at the same place.

use std::collections::BTreeMap;
use std::ops::Range;

use json_patch::PatchOperation;
use serde_json::Value;

use crate::knowledge::Knowledge;
use crate::object::pointer;
use crate::transform::fault::Faults;
use crate::transform::recipe::{Entry, OperationPath, PatchChange, Recipe, Transform};
use crate::transform::select::Select;

/// Points out entries that can never match, or whose work is always undone.
pub(super) fn advise(recipe: &Recipe, knowledge: &Knowledge, advice: &mut Faults) {
    let entries = recipe.entries.iter();
    let entries = entries.filter_map(|entry| Some((&entry.span, entry.transform.select()?)));
    let hooks = recipe.hooks.iter().map(|hook| (&hook.span, &hook.select));
    for (span, select) in entries.chain(hooks) {
        on_the_target(recipe, span, select, advice);
        in_no_namespace(span, select, knowledge, advice);
    }
    for (index, later) in recipe.entries.iter().enumerate() {
        for earlier in &recipe.entries[..index] {
            match later.r#override {
                true => set_again(earlier, later, advice),
                false => disagree(earlier, later, advice),
            }
        }
    }
}

/// `select` names a namespace as it is called on B.
fn on_the_target(recipe: &Recipe, span: &Range<usize>, select: &Select, advice: &mut Faults) {
    for other in &recipe.entries {
        let Transform::Namespace(map) = &other.transform else {
            continue;
        };
        let selects = |name: &str| select.namespaces.iter().any(|glob| glob.matches(name));
        if map.iter().any(|line| selects(&line.from.value)) {
            continue;
        }
        for line in map.iter().filter(|line| selects(&line.to.value)) {
            let (from, to) = (&line.from.value, &line.to.value);
            advice
                .add(
                    format!("`select` asks for the namespace `{to}`, which `{from}` becomes"),
                    span,
                    "selects by names on the source",
                )
                .also(&line.to.span, "its name on the target")
                .help(format!("write `namespace: {from}`"));
        }
    }
}

/// Kinds that live in no namespace, selected by one.
fn in_no_namespace(
    span: &Range<usize>,
    select: &Select,
    knowledge: &Knowledge,
    advice: &mut Faults,
) {
    if select.namespaces.is_empty() || select.kinds.is_empty() {
        return;
    }
    let clusterwide = |kind: &String| {
        let mut exact = knowledge.kinds.cluster.iter().filter_map(|one| one.exact());
        exact.any(|one| {
            one.kind == *kind
                && (select.groups.is_empty()
                    || select.groups.iter().any(|group| *group == one.group))
        })
    };
    if select.kinds.iter().all(clusterwide) {
        let kinds = select.kinds.join(", ");
        advice
            .add(
                format!("{kinds} is in no namespace, and `select` asks for one"),
                span,
                "never matches",
            )
            .help("take `namespace` out of `select`");
    }
}

/// An entry that overrides everything an earlier one sets.
fn set_again(earlier: &Entry, later: &Entry, advice: &mut Faults) {
    let again = match (&earlier.transform, &later.transform) {
        (Transform::Scale(one), Transform::Scale(two)) => {
            (one.replicas.is_none() || two.replicas.is_some())
                && (one.min.is_none() || two.min.is_some())
                && (one.max.is_none() || two.max.is_some())
        }
        (Transform::Labels(one), Transform::Labels(two))
        | (Transform::Annotations(one), Transform::Annotations(two)) => {
            let set = |key: &str| two.set.iter().any(|(name, _)| name.value == key);
            (two.pods || !one.pods)
                && one.remove.is_empty()
                && one.set.iter().all(|(name, _)| set(&name.value))
        }
        _ => false,
    };
    let covered = earlier
        .transform
        .select()
        .zip(later.transform.select())
        .is_some_and(|(one, two)| covers(two, one));
    if again && covered {
        advice
            .add(
                format!(
                    "what this {} sets is always set again",
                    earlier.transform.key()
                ),
                &earlier.span,
                "has no effect",
            )
            .also(&later.span, "overrides it on all that it selects")
            .help("remove one of the two, or let the later one select less");
    }
}

/// Two entries that set one place of one object to different values, whatever is captured.
fn disagree(earlier: &Entry, later: &Entry, advice: &mut Faults) {
    let selects = earlier.transform.select().zip(later.transform.select());
    let meet = selects.is_some_and(|(one, two)| covers(one, two) || covers(two, one));
    if !meet {
        return;
    }
    let first = sets(&earlier.transform);
    for (place, value) in sets(&later.transform) {
        if first.get(&place).is_none_or(|other| *other == value) {
            continue;
        }
        advice
            .add(
                format!("two entries set {place} to different values"),
                &later.span,
                "sets it again",
            )
            .also(&earlier.span, "sets it first")
            .help("select other objects, or say `override: true` where the second is to win");
    }
}

/// What an entry sets on every object it selects, by place. Only what is sure without objects.
fn sets(transform: &Transform) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    match transform {
        Transform::Scale(scale) => {
            let replicas = scale
                .replicas
                .map(|count| ("replicas".into(), count.into()));
            all.extend(replicas);
        }
        Transform::Labels(marks) | Transform::Annotations(marks) => {
            let what = transform.key();
            let set = marks.set.iter();
            all.extend(
                set.map(|(key, value)| (format!("{what} `{}`", key.value), value.as_str().into())),
            );
        }
        Transform::Patch(patch) => match &patch.change {
            PatchChange::Merge(value) => leaves(value, "", &mut all),
            PatchChange::Json(operations) => {
                for operation in operations {
                    if let (OperationPath::Pointer, PatchOperation::Replace(replace)) =
                        (&operation.path, &operation.operation)
                    {
                        all.insert(replace.path.to_string(), replace.value.clone());
                    }
                }
            }
            // Lists merge by keys, which depend on the kind.
            PatchChange::Strategic(_) => {}
        },
        _ => {}
    }
    all
}

/// Every value of a merge patch that is no map, by pointer.
fn leaves(value: &Value, path: &str, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                leaves(child, &pointer::join(path, key), all);
            }
        }
        leaf => drop(all.insert(path.to_owned(), leaf.clone())),
    }
}

/// Whether one selection surely takes everything another does.
fn covers(wide: &Select, narrow: &Select) -> bool {
    fn within<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
        wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|one| wide.contains(one)))
    }
    wide.fields.is_empty()
        && wide.cel.is_none()
        && within(&wide.groups, &narrow.groups)
        && within(&wide.kinds, &narrow.kinds)
        && within(&wide.names, &narrow.names)
        && within(&wide.namespaces, &narrow.namespaces)
        && wide
            .labels
            .iter()
            .all(|(key, value)| narrow.labels.get(key) == Some(value))
}
