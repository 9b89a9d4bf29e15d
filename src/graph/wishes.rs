//! The order users wrote down for other tools (E-U1): Argo CD's sync waves and kapp's change rules.
//!
//! They become soft edges: whatever must be, wins. `config.kubernetes.io/depends-on` names its targets
//! and is a row of `edges.yaml`; these name none, so the whole set has to be looked at.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object::{Object, pointer};

const WAVE: &str = "argocd.argoproj.io/sync-wave";
const GROUP: &str = "kapp.k14s.io/change-group";
const RULE: &str = "kapp.k14s.io/change-rule";

/// Waves of more pairs than this order nothing: edges from thousands to thousands hide all others.
const PAIRS: usize = 10_000;

/// One wish; objects are named by their positions in the list.
pub(super) struct Wish {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) pointer: String,
}

/// Every wish among the objects that have annotations, each with its position.
pub(super) fn wishes(annotated: &[(usize, &Object)]) -> Vec<Wish> {
    let mut found = waves(annotated);
    found.extend(rules(annotated));
    found
}

/// Each object of a wave after each of the wave before, in one namespace. Objects without the
/// annotation are in no wave: Argo CD's 0 for them says only that nobody thought of an order.
fn waves(annotated: &[(usize, &Object)]) -> Vec<Wish> {
    let mut spaces: BTreeMap<Option<&str>, BTreeMap<i64, Vec<usize>>> = BTreeMap::new();
    for &(position, object) in annotated {
        let wave = object
            .annotation(WAVE)
            .and_then(|wave| wave.trim().parse().ok());
        if let Some(wave) = wave {
            let waves = spaces.entry(object.namespace()).or_default();
            waves.entry(wave).or_default().push(position);
        }
    }
    let mut found = Vec::new();
    let at = annotation(WAVE);
    for waves in spaces.values() {
        for (early, late) in waves.values().zip(waves.values().skip(1)) {
            if early.len() * late.len() > PAIRS {
                continue;
            }
            for &from in late {
                found.extend(early.iter().map(|&to| Wish {
                    from,
                    to,
                    pointer: at.clone(),
                }));
            }
        }
    }
    found
}

/// kapp: objects are in groups, and say that they come before or after a group.
fn rules(annotated: &[(usize, &Object)]) -> Vec<Wish> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &(position, object) in annotated {
        for (_, group) in marked(object, GROUP) {
            groups
                .entry(filled(group, object))
                .or_default()
                .push(position);
        }
    }
    let mut found = Vec::new();
    for &(position, object) in annotated {
        for (key, rule) in marked(object, RULE) {
            let words: Vec<&str> = rule.split_whitespace().collect();
            let ["upsert", when @ ("after" | "before"), "upserting", group] = words[..] else {
                continue;
            };
            for &other in groups.get(&filled(group, object)).into_iter().flatten() {
                let (from, to) = match when {
                    "after" => (position, other),
                    _ => (other, position),
                };
                let pointer = if from == position {
                    annotation(key)
                } else {
                    String::new()
                };
                found.push(Wish { from, to, pointer });
            }
        }
    }
    found
}

/// Annotations of a name, and of that name with a suffix: `change-rule.wait`.
fn marked<'o>(object: &'o Object, name: &str) -> Vec<(&'o str, &'o str)> {
    let named = |key: &str| {
        let rest = key.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let all = object.pointer("/metadata/annotations");
    let all = all.and_then(Value::as_object).into_iter().flatten();
    let texts = all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    texts.filter(|(key, _)| named(key)).collect()
}

/// kapp's placeholders for what an object is.
fn filled(group: &str, object: &Object) -> String {
    group
        .replace("{api-group}", object.group())
        .replace("{kind}", object.kind())
        .replace("{namespace}", object.namespace().unwrap_or_default())
        .replace("{name}", object.name())
}

fn annotation(key: &str) -> String {
    pointer::join("/metadata/annotations", key)
}
