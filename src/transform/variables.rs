//! Variables of a recipe: declared with a type, given by the user, put in where `${name}` stands.
//!
//! There is no expansion beyond that: no defaults inside `${…}`, no nesting, no environment. A name
//! nobody declared is a mistake at its place, so that a shell's `${HOME}` in a configuration text is
//! never emptied silently; `$${HOME}` stands for the text `${HOME}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, entries_of, in_words, suggest, text};
use super::values::Values;
use crate::yaml::located::{Key, Located, Node};

/// What a variable may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of texts.
    List,
    /// A map from texts to texts.
    Map,
}

impl Kind {
    /// As written in a recipe's `type:`.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("map", Self::Map),
    ];

    fn parse(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.into_iter();
        names.find_map(|(known, kind)| (known == name).then_some(kind))
    }

    /// Whether a value is of this type.
    pub(super) fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::String, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => true,
            (Self::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
            (Self::List, Value::Array(items)) => items.iter().all(Value::is_string),
            (Self::Map, Value::Object(map)) => map.values().all(Value::is_string),
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "a string",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::List => "a list of strings",
            Self::Map => "a map of strings",
        })
    }
}

/// One declared variable and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name: a letter, then letters, digits and `_`.
    pub name: String,
    /// Bytes of its name in the recipe.
    pub span: Range<usize>,
    /// What it may hold.
    pub kind: Kind,
    /// For people.
    pub description: Option<String>,
    /// What it holds when nobody says otherwise; `None` when somebody must.
    pub default: Option<Value>,
    /// What it holds now; `None` when it should have a value and has none, which is a mistake.
    pub value: Option<Value>,
    /// Whether the recipe uses it anywhere.
    pub used: bool,
}

/// Reads `variables:` and gives each its value: the user's, else the including recipe's, else the
/// default.
pub(super) fn declare(
    node: &Located,
    user: &Values,
    includer: &Values,
    faults: &mut Faults,
) -> Vec<Variable> {
    let Some(entries) = entries_of(node, &node.span, "`variables`", faults) else {
        faults.help("write `variables: {name: {type: string, default: …}}`");
        return Vec::new();
    };
    let declared = entries
        .iter()
        .filter_map(|(key, body)| one(key, body, faults));
    let mut declared: Vec<Variable> = declared.collect();
    for variable in &mut declared {
        let given = user
            .get(&variable.name)
            .or_else(|| includer.get(&variable.name));
        variable.value = match given {
            Some(given) => given.as_kind(variable.kind, &variable.name, faults),
            // A wrong default is null here, and no value.
            None => variable.default.clone().filter(|value| !value.is_null()),
        };
        if given.is_none() && variable.default.is_none() {
            let name = &variable.name;
            faults
                .add(
                    format!("the variable `{name}` has no value"),
                    &variable.span,
                    "has no default",
                )
                .help(format!(
                    "give it one with `--set {name}=…` or in a file of `--values`"
                ));
        }
    }
    declared
}

fn one(key: &Key, body: &Located, faults: &mut Faults) -> Option<Variable> {
    if !is_name(&key.text) {
        faults
            .add(
                format!("`{}` is no name for a variable", key.text),
                &key.span,
                "refused",
            )
            .help("begin with a letter and go on with letters, digits and `_`");
    }
    let fields = Fields::read(body, &key.span, &grammar::VARIABLE, faults)?;
    let description = fields
        .get("description")
        .and_then(|node| text(node, faults));
    let kind_node = fields.required("type", faults)?;
    let named = text(kind_node, faults)?;
    let Some(kind) = Kind::parse(&named) else {
        let names: Vec<&str> = Kind::NAMES.iter().map(|(name, _)| *name).collect();
        faults
            .add(
                format!("unknown type `{named}`"),
                &kind_node.span,
                "not a type",
            )
            .help(format!("the types are {}", in_words(&names)));
        return None;
    };
    let default = fields.get("default").and_then(|node| {
        let value = node.value();
        if kind.holds(&value) {
            return Some(value);
        }
        let message = format!("the default of `{}` must be {kind}", key.text);
        let found = match (kind, &node.node) {
            (Kind::List, Node::List(_)) => "has something else in it".to_owned(),
            (Kind::Map, Node::Map(_)) => "has something else in it".to_owned(),
            _ => format!("found {}", node.describe()),
        };
        faults.add(message, &node.span, found);
        None
    });
    // A wrong default is told once, not also as a missing value.
    let default = default.or_else(|| fields.get("default").map(|_| Value::Null));
    Some(Variable {
        name: key.text.clone(),
        span: key.span.clone(),
        kind,
        description,
        default,
        value: None,
        used: false,
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Puts variables in where a tree says `${name}`, and notes which were used.
///
/// A text that is nothing but `${name}` becomes the variable's value, of whatever type; inside a
/// longer text, and in keys, only strings, numbers and booleans can stand. Comes back with the places
/// where nothing could be put in: what follows from that there is no mistake of its own.
pub(super) fn put_in(
    tree: &mut Located,
    variables: &mut [Variable],
    faults: &mut Faults,
) -> Vec<Range<usize>> {
    let mut used = BTreeSet::new();
    let mut open = Vec::new();
    let known: BTreeMap<&str, &Variable> = variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable))
        .collect();
    walk(
        tree,
        &mut Put {
            known: &known,
            used: &mut used,
            open: &mut open,
            faults,
        },
    );
    for variable in variables {
        variable.used |= used.contains(&variable.name);
    }
    open
}

/// Notes variables that an expression uses by name.
pub(super) fn mark_used<'a>(
    variables: &mut [Variable],
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut unknown = Vec::new();
    for name in names {
        match variables.iter_mut().find(|known| known.name == name) {
            Some(variable) => variable.used = true,
            None => unknown.push(name),
        }
    }
    unknown
}

struct Put<'p> {
    known: &'p BTreeMap<&'p str, &'p Variable>,
    used: &'p mut BTreeSet<String>,
    open: &'p mut Vec<Range<usize>>,
    faults: &'p mut Faults,
}

fn walk(tree: &mut Located, put: &mut Put<'_>) {
    match &mut tree.node {
        Node::Scalar(Value::String(text)) => {
            if let Some(value) = put.value(text, &tree.span) {
                *tree = Located::from_value(&value, &tree.span);
            }
        }
        Node::Scalar(_) => {}
        Node::List(items) => items.iter_mut().for_each(|item| walk(item, put)),
        Node::Map(entries) => {
            for (key, child) in entries.iter_mut() {
                if let Some(value) = put.value(&key.text, &key.span) {
                    key.text = put.in_text(&value, &key.span);
                }
                walk(child, put);
            }
            twice(entries, put.faults);
        }
    }
}

/// Keys that became equal: the YAML reader saw two different ones.
fn twice(entries: &[(Key, Located)], faults: &mut Faults) {
    let mut seen: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
    for (key, _) in entries {
        if let Some(first) = seen.insert(&key.text, &key.span) {
            faults
                .add(
                    format!("the key `{}` is given twice", key.text),
                    &key.span,
                    "again here",
                )
                .also(first, "first here");
        }
    }
}

impl Put<'_> {
    /// What a text becomes; `None` when it names no variable.
    fn value(&mut self, text: &str, span: &Range<usize>) -> Option<Value> {
        if !text.contains("${") {
            return None;
        }
        let value = self.whole(text, span);
        if value.is_none() {
            self.open.push(span.clone());
        }
        value
    }

    fn whole(&mut self, text: &str, span: &Range<usize>) -> Option<Value> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = &from[2..];
                continue;
            }
            out.push_str(before);
            let Some((name, after)) = from[2..].split_once('}').filter(|(name, _)| is_name(name))
            else {
                self.faults
                    .add("`${` does not begin a variable", span, "no name in `${…}`")
                    .help("write `${name}`, or `$${` for the text `${`");
                return None;
            };
            let value = self.look_up(name, span)?;
            if from.len() == text.len() && after.is_empty() {
                return Some(value);
            }
            out.push_str(&self.in_text(&value, span));
            rest = after;
        }
        out.push_str(rest);
        Some(Value::String(out))
    }

    fn look_up(&mut self, name: &str, span: &Range<usize>) -> Option<Value> {
        let Some(variable) = self.known.get(name) else {
            let names: Vec<&str> = self.known.keys().copied().collect();
            self.faults
                .add(format!("undefined variable `{name}`"), span, "used here")
                .help(format!(
                    "{}; write `$${{{name}}}` for the text itself",
                    suggest(name, &names).unwrap_or_else(|| {
                        format!("declare it under `variables:` as `{name}: {{type: string}}`")
                    })
                ));
            return None;
        };
        self.used.insert(name.to_owned());
        // One without a value was told at its declaration.
        variable.value.clone()
    }

    fn in_text(&mut self, value: &Value, span: &Range<usize>) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => {
                self.faults
                    .add(
                        "a list or map cannot stand inside a text",
                        span,
                        "must be the whole value",
                    )
                    .help("write `key: ${name}` with nothing around it");
                String::new()
            }
        }
    }
}
