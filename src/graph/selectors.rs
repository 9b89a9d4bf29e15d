//! Which objects choose which by labels (E-16): the engine over `selectors.yaml`, and the selectors in
//! custom resources that nobody described (E-G7).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::references::References;
use crate::knowledge::Knowledge;
use crate::knowledge::selectors::SelectorForm;
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

    /// Objects whose labels satisfy a selector, in the order they were added. A selector that asks
    /// for nothing chooses everything, which says nothing: it gives none.
    fn chosen(&self, selector: &Selector<'_>) -> Vec<usize> {
        if selector.labels.is_empty() && selector.expressions.is_empty() {
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
    let mut choices = Vec::new();
    for (from, object) in objects.iter().enumerate() {
        let (group, kind) = (object.group(), object.kind());
        for row in &knowledge.selectors {
            if !row.kinds.iter().any(|pattern| pattern.matches(group, kind)) {
                continue;
            }
            let selects = row.selects.as_ref().map(ToString::to_string);
            let Some(pool) = pools.get(object.namespace(), selects) else {
                continue;
            };
            row.path.visit(object.value(), &mut |pointer, value| {
                let chosen = pool.chosen(&Selector::read(row.form, value));
                choices.extend(chosen.into_iter().map(|to| Choice {
                    rule: &row.id,
                    from,
                    pointer: pointer.to_owned(),
                    to,
                }));
            });
        }
        if references.is_unknown(&object.group_kind())
            && let Some(pool) = pools.get(object.namespace(), None)
        {
            guessed(object, &mut |pointer, value| {
                let chosen = pool.chosen(&Selector::read(SelectorForm::Selector, value));
                choices.extend(chosen.into_iter().map(|to| Choice {
                    rule: "E-G7",
                    from,
                    pointer: pointer.to_owned(),
                    to,
                }));
            });
        }
    }
    choices
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

/// Pods (under `None`) and the kinds that rows select, by namespace.
struct Pools<'o>(BTreeMap<(Option<&'o str>, Option<String>), Pool<'o>>);

impl<'o> Pools<'o> {
    fn new(objects: &'o [Object], knowledge: &Knowledge, references: &References<'_>) -> Self {
        let mut pools: BTreeMap<_, Pool<'o>> = BTreeMap::new();
        for (position, object) in objects.iter().enumerate() {
            for labels in pod_labels(object, references) {
                let pool = pools.entry((object.namespace(), None));
                pool.or_default().add(position, labels);
            }
            let mut selected = knowledge
                .selectors
                .iter()
                .filter_map(|row| row.selects.as_ref());
            if let Some(kind) = selected.find(|k| k.matches(object.group(), object.kind())) {
                let pool = pools.entry((object.namespace(), Some(kind.to_string())));
                pool.or_default().add(position, object.labels());
            }
        }
        Self(pools)
    }

    fn get(&self, namespace: Option<&'o str>, kind: Option<String>) -> Option<&Pool<'o>> {
        self.0.get(&(namespace, kind))
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
