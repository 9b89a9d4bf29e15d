//! Which objects choose which by labels (E-16): the engine over `selectors.yaml`, and the selectors in
//! custom resources that nobody described (E-G7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::Strength;
use super::references::References;
use crate::knowledge::Knowledge;
use crate::knowledge::edges::{Base, text_at};
use crate::knowledge::kinds::KindPattern;
use crate::knowledge::selectors::{SelectorForm, SelectorRow};
use crate::object::path::PathPattern;
use crate::object::{Object, pointer};

type Labels<'o> = BTreeMap<&'o str, &'o str>;

/// Labels of one kind of thing in one namespace, with the position of the object each belongs to.
#[derive(Default)]
struct Pool<'o> {
    candidates: Vec<(usize, Labels<'o>)>,
    by_label: BTreeMap<(&'o str, &'o str), Vec<usize>>,
}

impl<'o> Pool<'o> {
    fn add(&mut self, object: usize, labels: Labels<'o>) {
        for (key, value) in &labels {
            let positions = self.by_label.entry((key, value)).or_default();
            positions.push(self.candidates.len());
        }
        self.candidates.push((object, labels));
    }

    /// Every object, in the order they were added.
    fn all(&self) -> Vec<usize> {
        self.candidates.iter().map(|(object, _)| *object).collect()
    }

    /// Objects whose labels satisfy a selector, in the order they were added. A selector that asks
    /// for nothing chooses everything, which says nothing: it gives none.
    fn chosen(&self, selector: &Selector<'_>) -> Vec<usize> {
        if selector.is_empty() {
            return Vec::new();
        }
        let fewest = selector
            .labels
            .iter()
            .map(|pair| self.by_label.get(pair).map_or(&[][..], Vec::as_slice))
            .min_by_key(|positions| positions.len());
        let accepted =
            |(object, labels): &(usize, Labels<'_>)| selector.accepts(labels).then_some(*object);
        match fewest {
            Some(positions) => positions
                .iter()
                .filter_map(|position| accepted(&self.candidates[*position]))
                .collect(),
            None => self.candidates.iter().filter_map(accepted).collect(),
        }
    }
}

/// A label selector.
struct Selector<'s> {
    labels: Vec<(&'s str, &'s str)>,
    expressions: Vec<(&'s str, &'s str, Vec<&'s str>)>,
}

impl<'s> Selector<'s> {
    fn read(form: SelectorForm, value: &'s Value) -> Self {
        let (labels, expressions) = match form {
            SelectorForm::All => (None, None),
            SelectorForm::Labels => (Some(value), None),
            SelectorForm::Selector => (value.get("matchLabels"), value.get("matchExpressions")),
        };
        let expressions = expressions.and_then(Value::as_array).into_iter().flatten();
        Self {
            labels: strings(labels).collect(),
            expressions: expressions
                .filter_map(|expression| {
                    let text = |key| expression.get(key).and_then(Value::as_str);
                    let values = expression.get("values").and_then(Value::as_array);
                    let values = values.into_iter().flatten().filter_map(Value::as_str);
                    Some((text("key")?, text("operator")?, values.collect()))
                })
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }

    fn accepts(&self, labels: &Labels<'_>) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|(key, operator, values)| {
                let found = labels.get(key);
                match *operator {
                    "In" => found.is_some_and(|found| values.contains(found)),
                    "NotIn" => found.is_none_or(|found| !values.contains(found)),
                    "Exists" => found.is_some(),
                    "DoesNotExist" => found.is_none(),
                    _ => false,
                }
            })
    }
}

fn strings(map: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// One choice; objects are named by their positions in the list.
pub(super) struct Choice<'k> {
    pub(super) rule: &'k str,
    pub(super) strength: Strength,
    pub(super) from: usize,
    pub(super) pointer: String,
    pub(super) to: usize,
}

/// Every choice among the given objects, in the order of those that choose.
pub(super) fn choices<'k>(
    objects: &[Object],
    knowledge: &'k Knowledge,
    references: &References<'_>,
) -> Vec<Choice<'k>> {
    let pools = Pools::new(objects, knowledge, references);
    let rows = pools.rows(knowledge);
    let mut choices = Vec::new();
    for (from, object) in objects.iter().enumerate() {
        let (group, kind) = (object.group(), object.kind());
        for row in &rows {
            let mut kinds = row.kinds.iter();
            if !(row.kinds.is_empty() || kinds.any(|pattern| pattern.matches(group, kind))) {
                continue;
            }
            let Some(pool) = pools.get(row.selects.as_ref(), object.namespace()) else {
                continue;
            };
            for base in bases(row, object, references) {
                let below = object.pointer(&base);
                let mut choose = |pointer: &str, place: &Value| {
                    let chosen = chosen(row, place, pool, objects);
                    choices.extend(chosen.into_iter().map(|to| Choice {
                        rule: &row.id,
                        strength: row.strength,
                        from,
                        pointer: pointer.to_owned(),
                        to,
                    }));
                };
                if let Some(below) = below {
                    row.path.visit_from(below, &base, &mut choose);
                }
            }
        }
        if references.is_unknown(&object.group_kind())
            && let Some(pool) = pools.get(None, object.namespace())
        {
            guessed(object, &mut |pointer, value| {
                let chosen = pool.chosen(&Selector::read(SelectorForm::Selector, value));
                choices.extend(chosen.into_iter().map(|to| Choice {
                    rule: "E-G7",
                    strength: Strength::N,
                    from,
                    pointer: pointer.to_owned(),
                    to,
                }));
            });
        }
    }
    choices
}

/// Where a row's path starts in an object.
fn bases(row: &SelectorRow, object: &Object, references: &References<'_>) -> Vec<String> {
    match row.base {
        Base::Pod => references.roots().pods(object),
        Base::Object | Base::Container | Base::Template => vec![String::new()],
    }
}

/// The objects that a row chooses at one place.
fn chosen(row: &SelectorRow, place: &Value, pool: &Pool<'_>, objects: &[Object]) -> Vec<usize> {
    let mut selector = None;
    row.selector
        .visit(place, &mut |_, value| selector = Some(value));
    let Some(value) = selector.filter(|value| !value.is_null()) else {
        return Vec::new();
    };
    let selector = Selector::read(row.form, value);
    let Some(alike) = &row.alike else {
        return match row.form {
            SelectorForm::All => pool.all(),
            SelectorForm::Labels | SelectorForm::Selector => pool.chosen(&selector),
        };
    };
    let wanted = text_at(place, &alike.own);
    let mut found = if selector.is_empty() {
        pool.all()
    } else {
        pool.chosen(&selector)
    };
    found.retain(|position| {
        let theirs = objects[*position].text(&alike.theirs);
        theirs.is_some() && theirs == wanted.as_deref()
    });
    found
}

/// Calls `visit` for what looks like a label selector: under such a key, and of that shape.
fn guessed<'o>(object: &'o Object, visit: &mut dyn FnMut(&str, &'o Value)) {
    static ANYWHERE: LazyLock<PathPattern> = LazyLock::new(|| {
        PathPattern::parse("/spec/**").expect("a constant that a unit test reads")
    });
    ANYWHERE.visit(object.value(), &mut |at, value| {
        let key = pointer::split(at).map(|(_, key)| key.to_lowercase());
        let called_so = key.is_some_and(|key| key.ends_with("selector"));
        if called_so
            && (value.get("matchLabels").is_some() || value.get("matchExpressions").is_some())
        {
            visit(at, value);
        }
    });
}

/// Pods (of no kind) and the kinds that rows select, by namespace.
struct Pools<'o, 'k>(BTreeMap<(Option<&'k KindPattern>, Option<&'o str>), Pool<'o>>);

impl<'o, 'k> Pools<'o, 'k> {
    fn new(objects: &'o [Object], knowledge: &'k Knowledge, references: &References<'_>) -> Self {
        let mut pools: BTreeMap<_, Pool<'o>> = BTreeMap::new();
        for (position, object) in objects.iter().enumerate() {
            for labels in pod_labels(object, references) {
                let pool = pools.entry((None, object.namespace()));
                pool.or_default().add(position, labels);
            }
            let mut selected = knowledge
                .selectors
                .iter()
                .filter_map(|row| row.selects.as_ref());
            if let Some(kind) = selected.find(|k| k.matches(object.group(), object.kind())) {
                let pool = pools.entry((Some(kind), object.namespace()));
                pool.or_default().add(position, object.labels());
            }
        }
        Self(pools)
    }

    /// The rows for which there is anything to choose.
    fn rows(&self, knowledge: &'k Knowledge) -> Vec<&'k SelectorRow> {
        let kinds: BTreeSet<_> = self.0.keys().map(|(kind, _)| *kind).collect();
        let rows = knowledge.selectors.iter();
        rows.filter(|row| kinds.contains(&row.selects.as_ref()))
            .collect()
    }

    /// Pods, or objects of a kind, in a namespace; those of the kind that are in none otherwise.
    fn get(&self, kind: Option<&'k KindPattern>, namespace: Option<&'o str>) -> Option<&Pool<'o>> {
        let here = self.0.get(&(kind, namespace));
        here.or_else(|| self.0.get(&(kind, None)))
    }
}

/// The labels that each pod template of an object gives its pods.
fn pod_labels<'o>(object: &'o Object, references: &References<'_>) -> Vec<Labels<'o>> {
    let pods = references.roots().pods(object).into_iter();
    pods.map(|pod| {
        let template = pod.rsplit_once('/').map_or("", |(template, _)| template);
        strings(object.pointer(&format!("{template}/metadata/labels"))).collect()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn e_g7_a_selector_is_known_by_key_and_shape() {
        let object = Object::new(json!({"apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": "w"}, "spec": {
                "podSelector": {"matchLabels": {"app": "web"}},
                "selector": "app=web",
                "labels": {"matchLabels": {"app": "web"}}}}));
        let mut found = Vec::new();
        guessed(&object.unwrap(), &mut |at, _| found.push(at.to_owned()));
        assert_eq!(found, ["/spec/podSelector"]);
    }

    #[test]
    fn e_16_selectors_choose_as_the_api_server_does() {
        let mut pool = Pool::default();
        pool.add(0, BTreeMap::from([("app", "web"), ("tier", "front")]));
        pool.add(1, BTreeMap::from([("app", "db")]));
        pool.add(2, BTreeMap::new());
        let chosen = |form, value: Value| pool.chosen(&Selector::read(form, &value));
        assert_eq!(chosen(SelectorForm::Labels, json!({"app": "web"})), [0]);
        assert_eq!(chosen(SelectorForm::Labels, json!({"app": "x"})), [0; 0]);
        assert_eq!(chosen(SelectorForm::Selector, json!({})), [0; 0]);
        let expression = |key: &str, operator: &str, values: Value| {
            let expression = json!({"key": key, "operator": operator, "values": values});
            let selector = json!({"matchExpressions": [expression]});
            chosen(SelectorForm::Selector, selector)
        };
        assert_eq!(expression("app", "In", json!(["db", "x"])), [1]);
        assert_eq!(expression("app", "NotIn", json!(["db"])), [0, 2]);
        assert_eq!(expression("tier", "Exists", json!([])), [0]);
        assert_eq!(expression("tier", "DoesNotExist", json!([])), [1, 2]);
    }
}
