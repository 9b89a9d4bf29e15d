//! Which objects an entry is about.
//!
//! Objects are selected as they are on A: by the names, namespaces and labels that were captured,
//! whatever other entries change. So the order of entries never changes what is selected.

use std::collections::BTreeMap;

use regex::Regex;

use super::cel::{Expression, ExpressionError};
use crate::knowledge::sanitize::Test;
use crate::object::Object;

/// A selection; empty parts select everything.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// API groups; empty for any. The core group is the empty string.
    pub groups: Vec<String>,
    /// Kinds; empty for any.
    pub kinds: Vec<String>,
    /// Name globs; empty for any.
    pub names: Vec<Glob>,
    /// Namespace globs; empty for any, cluster-scoped objects included.
    pub namespaces: Vec<Glob>,
    /// Labels that must be there with these values.
    pub labels: BTreeMap<String, String>,
    /// What must be in fields.
    pub fields: Vec<Test>,
    /// An expression that must be true; asked last, about what the other parts select.
    pub cel: Option<Expression>,
}

impl Select {
    /// Whether the object, as it is on A, is selected.
    ///
    /// # Errors
    /// When the expression gives no answer about this object.
    pub fn matches(&self, object: &Object) -> Result<bool, ExpressionError> {
        let Self {
            groups,
            kinds,
            names,
            namespaces,
            labels,
            fields,
            cel,
        } = self;
        let fits = one_of(groups, |group| group == object.group())
            && one_of(kinds, |kind| kind == object.kind())
            && one_of(names, |glob| glob.matches(object.name()))
            && one_of(namespaces, |glob| {
                object.namespace().is_some_and(|name| glob.matches(name))
            })
            && labels
                .iter()
                .all(|(key, value)| object.label(key) == Some(value))
            && fields.iter().all(|test| test.passes(object));
        match cel {
            Some(expression) if fits => expression.matches(object),
            _ => Ok(fits),
        }
    }
}

fn one_of<T>(choices: &[T], test: impl Fn(&T) -> bool) -> bool {
    choices.is_empty() || choices.iter().any(test)
}

/// A name with `*` for any characters and `?` for one.
#[derive(Clone, Debug)]
pub struct Glob(Regex);

/// Equal as text.
impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Glob {
    /// Reads a glob; every text is one.
    pub fn new(text: &str) -> Option<Self> {
        let pattern: String = text
            .chars()
            .map(|letter| match letter {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                other => regex::escape(&other.to_string()),
            })
            .collect();
        // Only a text beyond the regex size limit (10 MB compiled) can fail.
        Regex::new(&format!("^{pattern}$")).ok().map(Self)
    }

    /// Whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn web() -> Object {
        Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"tier": "front"}},
        }))
        .unwrap()
    }

    #[test]
    fn an_empty_selection_takes_everything() {
        assert!(Select::default().matches(&web()).unwrap());
    }

    #[test]
    fn every_part_must_fit() {
        let select = Select {
            groups: vec!["apps".into()],
            kinds: vec!["StatefulSet".into(), "Deployment".into()],
            names: vec![Glob::new("web-?").unwrap()],
            namespaces: vec![Glob::new("sh*").unwrap()],
            labels: [("tier".into(), "front".into())].into(),
            ..Select::default()
        };
        assert!(select.matches(&web()).unwrap());
        let other = Select {
            labels: [("tier".into(), "back".into())].into(),
            ..select
        };
        assert!(!other.matches(&web()).unwrap());
    }

    #[test]
    fn a_dot_in_a_glob_is_a_dot() {
        assert!(!Glob::new("a.b").unwrap().matches("axb"));
    }
}
