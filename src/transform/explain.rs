//! `ferry recipe explain`: which rule touched what.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Change, Lookalike, Recipe, Transformed};
use crate::diff::replace_passwords;
use crate::object::ObjectId;

/// What stands for a value of a Secret.
const MASKED: &str = "(hidden)";

/// One rule of one entry, and everything it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleUse {
    /// The recipe's name.
    pub recipe: String,
    /// Position in its `transforms` list.
    pub entry: usize,
    /// The transform, as written in the recipe.
    pub transform: &'static str,
    /// The entry's own name, if it has one.
    pub name: Option<String>,
    /// The rule, as in `T-4`; `patch` for a patch.
    pub rule: String,
    /// What it changed, in order.
    pub changes: Vec<ShownChange>,
}

/// A change as it may be shown: values of Secrets are hidden.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShownChange {
    /// The object, by its name on A.
    pub object: ObjectId,
    /// RFC 6901 pointer.
    pub path: String,
    /// Before; null when it was absent.
    pub before: Value,
    /// After; null when it was removed.
    pub after: Value,
}

/// An optional rule that found nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Idle {
    /// The recipe's name.
    pub recipe: String,
    /// What the rule is called, as in "the registry rule for `quay.io`".
    pub rule: String,
}

/// What recipes did, rule by rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// By recipe, entry and rule.
    pub rules: Vec<RuleUse>,
    /// Optional rules that found nothing.
    pub idle: Vec<Idle>,
    /// What looks like something that moved and was left alone.
    pub lookalikes: Vec<Lookalike>,
}

/// Sorts the changes by the rule that made them.
pub fn explain(transformed: &Transformed, recipes: &[Recipe]) -> Explanation {
    let mut rules: BTreeMap<(&str, usize, &str), Vec<ShownChange>> = BTreeMap::new();
    for change in transformed.changes.iter() {
        rules
            .entry((&change.recipe, change.entry, &change.rule))
            .or_default()
            .push(shown(change));
    }
    let rules = rules.into_iter().map(|((name, entry, rule), changes)| {
        let recipe = recipes.iter().find(|recipe| recipe.name == name);
        let written = recipe.and_then(|recipe| recipe.entries.get(entry));
        RuleUse {
            recipe: name.to_owned(),
            entry,
            transform: written.map_or("", |entry| entry.transform.key()),
            name: written.and_then(|entry| entry.name.clone()),
            rule: rule.to_owned(),
            changes,
        }
    });
    let idle = transformed.rules.iter().filter(|rule| !rule.matched);
    Explanation {
        rules: rules.collect(),
        idle: idle
            .map(|rule| Idle {
                recipe: recipes[rule.recipe].name.clone(),
                rule: rule.name.clone(),
            })
            .collect(),
        lookalikes: transformed.lookalikes.clone(),
    }
}

impl Explanation {
    /// Only what is about one object, by its name on A.
    #[must_use]
    pub fn of(mut self, object: &ObjectId) -> Self {
        for rule in &mut self.rules {
            rule.changes.retain(|change| change.object == *object);
        }
        self.rules.retain(|rule| !rule.changes.is_empty());
        self.lookalikes.retain(|look| look.object == *object);
        self.idle.clear();
        self
    }
}

fn shown(change: &Change) -> ShownChange {
    let data = ["/data", "/stringData"]
        .iter()
        .any(|field| change.path.starts_with(field));
    let secret = change.rule == "T-10" || (change.object.is("", "Secret") && data);
    let hide = |value: &Value| match value {
        Value::Null => Value::Null,
        _ if secret => Value::from(MASKED),
        // A whole object that comes, goes or becomes another: what is in it is not for a table.
        _ if change.path.is_empty() => {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Value::from(format!("{} {}", text("apiVersion"), text("kind")))
        }
        Value::String(text) => replace_passwords(text, |_| MASKED.to_owned()).into(),
        other => other.clone(),
    };
    ShownChange {
        object: change.object.clone(),
        path: change.path.to_string(),
        before: hide(&change.before),
        after: hide(&change.after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_hidden() {
        let change = |kind: &str| Change {
            rule: "T-2".into(),
            recipe: "r".into(),
            entry: 0,
            object: ObjectId::namespaced("", kind, "n", "x"),
            path: "/data/key".into(),
            before: "old".into(),
            after: Value::Null,
        };
        let whole = shown(&Change {
            path: "".into(),
            before: serde_json::json!({"apiVersion": "v1", "kind": "X", "spec": {"key": "secret"}}),
            ..change("X")
        });
        assert_eq!(whole.before, "v1 X");
        let scrubbed = shown(&Change {
            rule: "T-10".into(),
            ..change("Deployment")
        });
        assert_eq!(scrubbed.before, MASKED);
        let done = Transformed {
            changes: vec![change("Secret"), change("ConfigMap")].into(),
            ..Transformed::default()
        };
        let explained = explain(&done, &[]);
        let values: Vec<_> = explained.rules[0]
            .changes
            .iter()
            .map(|c| (&c.before, &c.after))
            .collect();
        assert_eq!(
            values,
            [
                (&Value::from(MASKED), &Value::Null),
                (&Value::from("old"), &Value::Null),
            ]
        );
    }
}
