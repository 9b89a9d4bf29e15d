//! Label selectors in kubectl's words: `app=web,tier!=db,env in (a,b),!legacy`.
//!
//! Ferry chooses by itself and not by asking the server: an object can only be told from what its owner
//! makes again, and a reference to what was left out can only be shown, when both were seen.

use std::fmt;
use std::str::FromStr;

use crate::object::Object;

/// Requirements on labels, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// Why a text is not a label selector.
#[derive(Debug, thiserror::Error)]
#[error(
    "{part:?} is no requirement on a label; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
)]
pub struct LabelSelectorError {
    part: String,
}

impl LabelSelector {
    /// Whether an object's labels fit. As with kubectl, a key that is absent fits `!=` and `notin`.
    pub fn fits(&self, object: &Object) -> bool {
        self.requirements.iter().all(|Requirement { key, test }| {
            let is_one = |values: &[String], label: &str| values.iter().any(|value| value == label);
            match (test, object.label(key)) {
                (Test::Exists, label) => label.is_some(),
                (Test::Absent, label) => label.is_none(),
                (Test::In(values), label) => label.is_some_and(|label| is_one(values, label)),
                (Test::NotIn(values), label) => !label.is_some_and(|label| is_one(values, label)),
            }
        })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LabelSelector {
    type Err = LabelSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let requirement = |part: String| match read(&part) {
            Some(requirement) => Ok(requirement),
            None => Err(LabelSelectorError { part }),
        };
        Ok(Self {
            text: text.to_owned(),
            requirements: parts(text).map(requirement).collect::<Result<_, _>>()?,
        })
    }
}

/// The requirements' texts: commas inside parentheses do not separate.
fn parts(text: &str) -> impl Iterator<Item = String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (character, depth, parts.last_mut()) {
            (',', 0, _) => parts.push(String::new()),
            (other, _, Some(part)) => part.push(other),
            (_, _, None) => {}
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned())
}

fn read(part: &str) -> Option<Requirement> {
    let requirement = |key: &str, test| {
        is_key(key.trim()).then(|| Requirement {
            key: key.trim().to_owned(),
            test,
        })
    };
    if let Some(key) = part.strip_prefix('!') {
        return requirement(key, Test::Absent);
    }
    if let Some((head, list)) = part.split_once('(') {
        let values = list.strip_suffix(')')?.split(',');
        let values: Vec<String> = values.map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => requirement(key, Test::In(values)),
            "notin" => requirement(key, Test::NotIn(values)),
            _ => None,
        };
    }
    let value = |text: &str| {
        let text = text.trim();
        is_key(text)
            .then(|| vec![text.to_owned()])
            .or_else(|| text.is_empty().then(|| vec![String::new()]))
    };
    if let Some((key, text)) = part.split_once("!=") {
        return requirement(key, Test::NotIn(value(text)?));
    }
    if let Some((key, text)) = part.split_once('=') {
        return requirement(
            key,
            Test::In(value(text.strip_prefix('=').unwrap_or(text))?),
        );
    }
    requirement(part, Test::Exists)
}

/// Whether a text may be a label's key, or a value that is not empty.
fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(selector: &str) -> bool {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a",
            "labels": {"app": "web", "tier": "front", "empty": ""}}});
        let selector: LabelSelector = selector.parse().unwrap();
        selector.fits(&Object::new(object).unwrap())
    }

    #[test]
    fn every_form_of_kubectl_is_understood() {
        for yes in [
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "app",
            "!legacy",
            "legacy!=x",
            "empty=",
            "app in (web, db)",
            "tier notin (back),app",
            "legacy notin (x)",
            "app=web,tier=front",
        ] {
            assert!(fits(yes), "{yes}");
        }
        for no in [
            "app=db",
            "!app",
            "legacy",
            "app in (db)",
            "app notin (web)",
            "app=web,tier=back",
            "legacy=",
        ] {
            assert!(!fits(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for wrong in [
            "",
            "app=web,",
            "app in web",
            "app in (a",
            "a b",
            "=x",
            "app like (x)",
            "app>3",
        ] {
            assert!(wrong.parse::<LabelSelector>().is_err(), "{wrong}");
        }
    }
}
