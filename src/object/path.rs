//! The path grammar of the rule book (§7): one parser for edges, transforms, gates and diffs.
//!
//! | written | means |
//! | --- | --- |
//! | `/a/b` | key `b` of key `a` |
//! | `/a[]` | every element of list `a` |
//! | `/a[name=x]` | the elements of `a` whose `name` is `x` |
//! | `/{a,b}` | either key |
//! | `/*` | every key of a map |
//! | `/**` | any depth, itself included, at most 32 down and never into the object's `status` |
//! | `["k/1"]` | a key that holds one of the signs above |
//! | (empty) | the whole value |
//!
//! A pattern finds places that exist, as RFC 6901 pointers in document order. It never makes one.

mod vocabulary;

pub use vocabulary::{Keys, Vocabulary, Wanted};

use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pointer::escape;

/// How deep `**` descends.
const DEPTH: usize = 32;
/// How many `**` a pattern may have: each more multiplies the ways to reach one place.
const ANY_DEPTHS: usize = 3;

/// A pattern of places in a JSON value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Key(String),
    Either(Vec<String>),
    AnyKey,
    Elements,
    Where(String, String),
    AnyDepth,
}

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {at} of path {text:?}")]
pub struct PathError {
    /// The text.
    pub text: String,
    /// Where in it, in bytes from 0.
    pub at: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When the text does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let steps = Parser { text, at: 0 }.steps()?;
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// Every existing place the pattern describes, as RFC 6901 pointers, each once, in document order.
    pub fn find(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.visit(value, &mut |pointer, _| found.push(pointer.to_owned()));
        found
    }

    /// Calls `visit` with the pointer and value of every existing place, in document order.
    pub fn visit<'v>(&self, value: &'v Value, visit: &mut dyn FnMut(&str, &'v Value)) {
        self.visit_from(value, "", visit);
    }

    /// As [`PathPattern::visit`] for a value that itself stands at `base`.
    pub fn visit_from<'v>(
        &self,
        value: &'v Value,
        base: &str,
        visit: &mut dyn FnMut(&str, &'v Value),
    ) {
        let mut trail = Trail::new(base);
        let any = |step: &&Step| **step == Step::AnyDepth;
        if self.steps.iter().filter(any).count() < 2 {
            return walk(&self.steps, value, &mut trail, visit);
        }
        // Two `**` can reach one place in two ways.
        let mut seen = std::collections::BTreeSet::new();
        walk(&self.steps, value, &mut trail, &mut |pointer, value| {
            if seen.insert(pointer.to_owned()) {
                visit(pointer, value);
            }
        });
    }

    /// The pointer, when the pattern can only mean one place.
    pub fn exact(&self) -> Option<String> {
        self.steps
            .iter()
            .try_fold(String::new(), |mut pointer, step| {
                let Step::Key(key) = step else { return None };
                pointer.push('/');
                pointer.push_str(&escape(key));
                Some(pointer)
            })
    }

    /// This pattern below another: `base` first, then `self`.
    #[must_use]
    pub fn under(&self, base: &Self) -> Self {
        Self {
            text: format!("{}{}", base.text, self.text),
            steps: base.steps.iter().chain(&self.steps).cloned().collect(),
        }
    }

    /// The pattern without its last step. `None` for the whole value.
    pub fn parent(&self) -> Option<Self> {
        let (_, steps) = self.steps.split_last()?;
        Some(Self {
            text: steps.iter().map(ToString::to_string).collect(),
            steps: steps.to_vec(),
        })
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The way to a place. Most ways lead nowhere: the pointer is only written where one ends.
struct Trail<'v> {
    segments: Vec<Segment<'v>>,
    /// The pointer as it was last written.
    pointer: String,
    /// How much of it is where the walk began.
    base: usize,
}

#[derive(Clone, Copy)]
enum Segment<'v> {
    Key(&'v str),
    Index(usize),
}

impl<'v> Trail<'v> {
    fn new(base: &str) -> Self {
        Self {
            segments: Vec::new(),
            pointer: base.to_owned(),
            base: base.len(),
        }
    }

    fn pointer(&mut self) -> &str {
        self.pointer.truncate(self.base);
        for segment in &self.segments {
            self.pointer.push('/');
            match segment {
                Segment::Key(key) => self.pointer.push_str(&escape(key)),
                // Writing to a string cannot fail.
                Segment::Index(index) => drop(write!(self.pointer, "{index}")),
            }
        }
        &self.pointer
    }

    /// Goes one segment further, and comes back.
    fn through(&mut self, segment: Segment<'v>, walk: impl FnOnce(&mut Self)) {
        self.segments.push(segment);
        walk(self);
        self.segments.pop();
    }

    /// Whether it has not begun yet.
    fn is_top(&self) -> bool {
        self.base == 0 && self.segments.is_empty()
    }
}

/// Walks one pattern.
fn walk<'v>(
    steps: &[Step],
    value: &'v Value,
    trail: &mut Trail<'v>,
    visit: &mut dyn FnMut(&str, &'v Value),
) {
    let Some((step, rest)) = steps.split_first() else {
        return visit(trail.pointer(), value);
    };
    let mut below = |segment, child| {
        trail.through(segment, |trail| walk(rest, child, trail, visit));
    };
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some((key, child)) = map.get_key_value(key) {
                below(Segment::Key(key), child);
            }
        }
        (Step::Either(keys), Value::Object(map)) => {
            for (key, child) in keys.iter().filter_map(|key| map.get_key_value(key)) {
                below(Segment::Key(key), child);
            }
        }
        (Step::AnyKey, Value::Object(map)) => {
            for (key, child) in map {
                below(Segment::Key(key), child);
            }
        }
        (Step::Elements | Step::Where(..), Value::Array(items)) => {
            for (index, child) in items.iter().enumerate().filter(|(_, it)| step.means(it)) {
                below(Segment::Index(index), child);
            }
        }
        (Step::AnyDepth, _) => any_depth(rest, value, DEPTH, trail, visit),
        _ => {}
    }
}

fn any_depth<'v>(
    rest: &[Step],
    value: &'v Value,
    depth: usize,
    trail: &mut Trail<'v>,
    visit: &mut dyn FnMut(&str, &'v Value),
) {
    walk(rest, value, trail, visit);
    if depth == 0 {
        return;
    }
    let top = trail.is_top();
    let mut below = |segment, child| {
        trail.through(segment, |trail| {
            any_depth(rest, child, depth - 1, trail, visit)
        });
    };
    match value {
        Value::Object(map) => {
            // What the server writes is looked at by those only who name it.
            for (key, child) in map.iter().filter(|(key, _)| !top || *key != "status") {
                below(Segment::Key(key), child);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                below(Segment::Index(index), child);
            }
        }
        _ => {}
    }
}

impl Step {
    /// Whether an element of a list is one the step is about.
    fn means(&self, element: &Value) -> bool {
        match self {
            Self::Where(key, wanted) => element
                .get(key)
                .is_some_and(|found| reads_as(found, wanted)),
            _ => true,
        }
    }
}

fn reads_as(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(flag) => flag.to_string() == wanted,
        _ => false,
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn steps(mut self) -> Result<Vec<Step>, PathError> {
        let mut steps = Vec::new();
        while let Some(sign) = self.rest().chars().next() {
            match sign {
                '/' => steps.push(self.key()?),
                '[' => steps.push(self.bracket()?),
                _ => return Err(self.error("expected `/` or `[`")),
            }
            let deep = steps.iter().filter(|step| **step == Step::AnyDepth);
            if deep.count() > ANY_DEPTHS {
                return Err(self.error("more than three `**`"));
            }
        }
        Ok(steps)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, reason: &'static str) -> PathError {
        PathError {
            text: self.text.to_owned(),
            at: self.at,
            reason,
        }
    }

    /// After a `/`.
    fn key(&mut self) -> Result<Step, PathError> {
        self.at += 1;
        if self.rest().starts_with('{') {
            let end = self
                .rest()
                .find('}')
                .ok_or_else(|| self.error("`{` is never closed"))?;
            let keys: Vec<String> = self.rest()[1..end].split(',').map(str::to_owned).collect();
            if keys.iter().any(String::is_empty) {
                return Err(self.error("an alternative is empty"));
            }
            // A place would be found once for each.
            if (1..keys.len()).any(|at| keys[..at].contains(&keys[at])) {
                return Err(self.error("an alternative is given twice"));
            }
            self.at += end + 1;
            return Ok(Step::Either(keys));
        }
        let end = self.rest().find(['/', '[']).unwrap_or(self.rest().len());
        let key = self.rest()[..end].to_owned();
        if key.is_empty() {
            return Err(self.error("a key is empty; write an empty key as [\"\"]"));
        }
        if key.contains(['{', '}', ']', '"']) {
            return Err(self.error("a key with `{`, `}`, `]` or `\"` must be written as [\"key\"]"));
        }
        self.at += end;
        Ok(match key.as_str() {
            "*" => Step::AnyKey,
            "**" => Step::AnyDepth,
            _ => Step::Key(key),
        })
    }

    /// At a `[`.
    fn bracket(&mut self) -> Result<Step, PathError> {
        if self.rest().starts_with("[\"") {
            return self.quoted();
        }
        let end = self
            .rest()
            .find(']')
            .ok_or_else(|| self.error("`[` is never closed"))?;
        let inside = self.rest()[1..end].to_owned();
        let step = match inside.split_once('=') {
            None if inside.is_empty() => Step::Elements,
            Some((key, value)) if !key.is_empty() => Step::Where(key.to_owned(), value.to_owned()),
            _ => return Err(self.error("expected `[]`, `[key=value]` or `[\"key\"]`")),
        };
        self.at += end + 1;
        Ok(step)
    }

    /// At `["`: a JSON string, then `]`.
    fn quoted(&mut self) -> Result<Step, PathError> {
        let mut stream =
            serde_json::Deserializer::from_str(&self.text[self.at + 1..]).into_iter::<String>();
        let Some(Ok(key)) = stream.next() else {
            return Err(self.error("expected a JSON string in `[\"…\"]`"));
        };
        let end = self.at + 1 + stream.byte_offset();
        if !self.text[end..].starts_with(']') {
            return Err(self.error("expected `]` after the quoted key"));
        }
        self.at = end + 1;
        Ok(Step::Key(key))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if is_plain(key) => write!(f, "/{key}"),
            Self::Key(key) => write!(f, "[{}]", Value::from(key.as_str())),
            Self::Either(keys) => write!(f, "/{{{}}}", keys.join(",")),
            Self::AnyKey => f.write_str("/*"),
            Self::Elements => f.write_str("[]"),
            Self::Where(key, value) => write!(f, "[{key}={value}]"),
            Self::AnyDepth => f.write_str("/**"),
        }
    }
}

/// Whether a key can be written after a `/` as it is.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key != "*" && key != "**" && !key.contains(['/', '[', ']', '{', '}', '"'])
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for PathPattern {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn find(pattern: &str, value: &Value) -> Vec<String> {
        PathPattern::parse(pattern).unwrap().find(value)
    }

    #[test]
    fn each_sign_finds_its_places() {
        let value = json!({
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}],
                     "initContainers": [{"name": "c"}], "replicas": 1},
            "status": {"name": "z"},
        });
        assert_eq!(find("", &value), [""]);
        assert_eq!(find("/spec/replicas", &value), ["/spec/replicas"]);
        assert_eq!(
            find("/spec/{initContainers,containers}[]/name", &value),
            [
                "/spec/initContainers/0/name",
                "/spec/containers/0/name",
                "/spec/containers/1/name"
            ]
        );
        assert_eq!(
            find("/spec/containers[name=b]", &value),
            ["/spec/containers/1"]
        );
        assert_eq!(find("/*", &value), ["/spec", "/status"]);
        assert_eq!(
            find("/**/name", &value),
            [
                "/spec/containers/0/name",
                "/spec/containers/1/name",
                "/spec/initContainers/0/name"
            ]
        );
        assert_eq!(find("/**/**/image", &value), ["/spec/containers/0/image"]);
        assert_eq!(find("/spec/absent/x", &value), Vec::<String>::new());
    }

    #[test]
    fn a_quoted_key_round_trips_through_the_pointer() {
        let value = json!({"metadata": {"annotations": {"a.io/b~c": "x", "": "y"}}});
        let found = find("/metadata/annotations[\"a.io/b~c\"]", &value);
        assert_eq!(found, ["/metadata/annotations/a.io~1b~0c"]);
        assert_eq!(value.pointer(&found[0]), Some(&json!("x")));
        assert_eq!(
            find("/metadata/annotations[\"\"]", &value),
            ["/metadata/annotations/"]
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, at) in [
            ("a", 0),
            ("/a//b", 3),
            ("/a[", 2),
            ("/{a,}", 1),
            ("/{a,b,a}", 1),
            ("/a[x]", 2),
            ("/a[\"b", 2),
            ("/**/**/a/**/**", 14),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap_err().at, at, "{text}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), "[a-c/~\"]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~\\[\\]{}\"*]{0,3}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_pointer_found_exists_and_is_found_once(value in values()) {
            let found = find("/**", &value);
            for pointer in &found {
                prop_assert!(value.pointer(pointer).is_some());
            }
            let mut unique = found.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), found.len());
        }

        #[test]
        fn any_key_can_be_written_quoted(key in "\\PC{0,8}") {
            let pattern = PathPattern::parse(&format!("[{}]", json!(key))).unwrap();
            let value = json!({key: 1});
            let found = pattern.find(&value);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(value.pointer(&found[0]), Some(&json!(1)));
            prop_assert_eq!(pattern.exact(), found.first().cloned());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[/\\[\\]{}\"*=,a-c\\\\é]{0,12}") {
            if let Ok(pattern) = PathPattern::parse(&text) {
                prop_assert_eq!(PathPattern::parse(pattern.as_str()).unwrap(), pattern);
            }
        }
    }
}
