//! `ferry recipe explain`: which rule touched what.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Change, Lookalike, Transformed};
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
    /// The rule, as in `T-4`, or the name of a patch.
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

/// What recipes did, rule by rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// By recipe, entry and rule.
    pub rules: Vec<RuleUse>,
    /// What looks like something that moved and was left alone.
    pub lookalikes: Vec<Lookalike>,
}

/// Sorts the changes by the rule that made them.
pub fn explain(transformed: &Transformed) -> Explanation {
    let mut rules: BTreeMap<(&str, usize, &str), Vec<ShownChange>> = BTreeMap::new();
    for change in &transformed.changes {
        rules
            .entry((&change.recipe, change.entry, &change.rule))
            .or_default()
            .push(shown(change));
    }
    let rules = rules
        .into_iter()
        .map(|((recipe, entry, rule), changes)| RuleUse {
            recipe: recipe.to_owned(),
            entry,
            rule: rule.to_owned(),
            changes,
        });
    Explanation {
        rules: rules.collect(),
        lookalikes: transformed.lookalikes.clone(),
    }
}

fn shown(change: &Change) -> ShownChange {
    let data = ["/data", "/stringData"]
        .iter()
        .any(|field| change.path.starts_with(field));
    let secret = change.object.is("", "Secret") && (data || change.path.is_empty());
    let hide = |value: &Value| match value {
        Value::Null => Value::Null,
        _ if secret => Value::from(MASKED),
        Value::String(text) => replace_passwords(text, |_| MASKED.to_owned()).into(),
        other => other.clone(),
    };
    ShownChange {
        object: change.object.clone(),
        path: change.path.clone(),
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
        let done = Transformed {
            changes: vec![change("Secret"), change("ConfigMap")],
            ..Transformed::default()
        };
        let explained = explain(&done);
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
