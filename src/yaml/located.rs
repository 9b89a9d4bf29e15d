//! YAML with the place of every key and value, for files a person wrote.
//!
//! A typed reader stops at the first surprise. Reading into a tree first lets the caller look at the
//! whole file and report every mistake at once, each with the bytes it is about.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value and where it stands in the source, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// Bytes of the source; for a map or list, those of its first part.
    pub span: Range<usize>,
    /// What stands there.
    pub node: Node,
}

/// One node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A sequence.
    List(Vec<Located>),
    /// A mapping, in source order.
    Map(Vec<(Key, Located)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key as text.
    pub text: String,
    /// Its bytes in the source.
    pub span: Range<usize>,
}

/// Why the text is not one YAML document.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LocatedError {
    /// What the parser found, without the place.
    pub message: String,
    /// Where, in bytes; empty at the start when the parser does not know.
    pub span: Range<usize>,
    #[source]
    cause: Box<serde_saphyr::Error>,
}

impl Located {
    /// A plain value of which every part stands at one place.
    pub fn from_value(value: &Value, span: &Range<usize>) -> Self {
        let node = match value {
            Value::Array(items) => Node::List(
                items
                    .iter()
                    .map(|item| Self::from_value(item, span))
                    .collect(),
            ),
            Value::Object(map) => Node::Map(
                map.iter()
                    .map(|(key, value)| {
                        let key = Key {
                            text: key.clone(),
                            span: span.clone(),
                        };
                        (key, Self::from_value(value, span))
                    })
                    .collect(),
            ),
            scalar => Node::Scalar(scalar.clone()),
        };
        Self {
            span: span.clone(),
            node,
        }
    }

    /// The plain value, without places.
    pub fn value(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => items.iter().map(Self::value).collect(),
            Node::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.text.clone(), value.value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// What this is, in the words of an error message: `a string`, `a list` …
    pub fn describe(&self) -> &'static str {
        match &self.node {
            Node::Scalar(Value::Null) => "nothing",
            Node::Scalar(Value::Bool(_)) => "a boolean",
            Node::Scalar(Value::Number(_)) => "a number",
            Node::Scalar(_) => "a string",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }
}

/// Reads one document.
///
/// # Errors
/// When the text is not well-formed YAML, holds a key twice in one map, or holds several documents.
pub fn parse_located(text: &str) -> Result<Located, LocatedError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| LocatedError {
        span: error
            .location()
            .map(|place| error_span(text, &place))
            .unwrap_or_default(),
        message: message(&error),
        cause: Box::new(error),
    })
}

/// The parser's words without its own `at line …` in front, as the span says that better.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = text.split(" at line ").next().unwrap_or(text);
    let text = text.trim_start_matches("error: ");
    // These two speak to programmers.
    match text {
        _ if text.contains("multiple YAML documents") => {
            "a second document begins, and the file is to hold one".to_owned()
        }
        _ if text.contains("budget breached") => {
            "the file holds more values than anybody writes by hand".to_owned()
        }
        text => text.to_owned(),
    }
}

/// Errors of the scanner know line and column only.
fn error_span(text: &str, location: &serde_saphyr::Location) -> Range<usize> {
    let span = bytes(location);
    if !span.is_empty() {
        return span;
    }
    let number = |value: u64| usize::try_from(value.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines = text.split_inclusive('\n');
    let line_start: usize = lines.take(number(location.line())).map(str::len).sum();
    let line = text[line_start..].lines().next().unwrap_or_default();
    let column: usize = line
        .chars()
        .take(number(location.column()))
        .map(char::len_utf8)
        .sum();
    let start = line_start + column;
    start..start + text[start..].chars().next().map_or(0, char::len_utf8)
}

fn bytes(location: &serde_saphyr::Location) -> Range<usize> {
    let span = location.span();
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    match (span.byte_offset(), span.byte_len()) {
        (Some(offset), Some(length)) => number(offset)..number(offset.saturating_add(length)),
        _ => 0..0,
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = serde_saphyr::Spanned::<Node>::deserialize(deserializer)?;
        let mut span = bytes(&found.referenced);
        // The start of a block map or list is a place between characters; its first part is visible.
        let first = match &found.value {
            Node::Map(entries) => entries.first().map(|(key, _)| &key.span),
            Node::List(items) => items.first().map(|item| &item.span),
            Node::Scalar(_) => None,
        };
        if let Some(first) = first {
            span = first.clone();
        }
        Ok(Self {
            span,
            node: found.value,
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value)
            .map(|number| Node::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let span = bytes(&key.referenced);
            let text = key.value;
            entries.push((Key { text, span }, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_bytes() {
        let text = "a:\n  - b: héé\n    c: 12\n";
        let tree = parse_located(text).unwrap();
        let Node::Map(entries) = &tree.node else {
            panic!("a map")
        };
        assert_eq!(&text[entries[0].0.span.clone()], "a");
        let Node::List(items) = &entries[0].1.node else {
            panic!("a list")
        };
        let Node::Map(entries) = &items[0].node else {
            panic!("a map")
        };
        assert_eq!(&text[entries[0].1.span.clone()], "héé");
        assert_eq!(&text[entries[1].0.span.clone()], "c");
        assert_eq!(&text[entries[1].1.span.clone()], "12");
        assert_eq!(
            tree.value(),
            serde_json::json!({"a": [{"b": "héé", "c": 12}]})
        );
    }

    #[test]
    fn a_key_given_twice_is_refused_where_it_stands() {
        let text = "a: 1\nb: 2\na: 3\n";
        let error = parse_located(text).unwrap_err();
        assert!(error.message.contains("duplicate"), "{}", error.message);
        assert_eq!(error.span.start, 10);
    }

    #[test]
    fn what_a_file_may_not_hold_is_said_for_people() {
        let message = |text: &str| parse_located(text).unwrap_err().message;
        assert!(message("a: 1\n---\na: 2\n").contains("second document"));
        assert!(message(&"- 1\n".repeat(300_000)).contains("more values"));
    }

    #[test]
    fn broken_yaml_is_refused_with_its_place() {
        let error = parse_located("a: [1, 2\nb: 3\n").unwrap_err();
        assert!(!error.message.is_empty());
        assert_eq!(error.span, 10..11);
    }
}
