//! Reading maps and scalars of a recipe, each mistake recorded where it stands.

use std::ops::Range;

use serde_json::Value;

use crate::transform::fault::Faults;
use crate::transform::grammar::{Need, Shape};
use crate::transform::recipe::Placed;
use crate::yaml::located::{Key, Located, Node};

/// How alike a misspelt key must be to be suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// The keys of one map, checked against the known ones.
pub(in crate::transform) struct Fields<'a> {
    entries: &'a [(Key, Located)],
    span: Range<usize>,
    shape: &'static Shape,
    unknown: bool,
}

impl<'a> Fields<'a> {
    /// Reads a map; unknown and missing keys are recorded. `owner` is where to point when there is
    /// nothing to see.
    pub(in crate::transform) fn read(
        node: &'a Located,
        owner: &Range<usize>,
        shape: &'static Shape,
        faults: &mut Faults,
    ) -> Option<Self> {
        let (what, known) = (shape.what, &shape.names());
        let Some(entries) = entries_of(node, owner, what, faults) else {
            faults.help(format!("its keys are {}", in_words(known)));
            return None;
        };
        let mut unknown = false;
        for (key, _) in entries {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            unknown = true;
            faults
                .add(
                    format!("unknown key `{}` in {what}", key.text),
                    &key.span,
                    "not a key here",
                )
                .help(
                    suggest(&key.text, known)
                        .unwrap_or_else(|| format!("the keys here are {}", in_words(known))),
                );
        }
        let span = match entries.is_empty() {
            true => owner.clone(),
            false => visible(&node.span, owner).clone(),
        };
        let fields = Self {
            entries,
            span,
            shape,
            unknown,
        };
        for key in shape.of_need(Need::Must) {
            if fields.get(key).is_none() {
                fields.lacks(key, faults);
            }
        }
        Some(fields)
    }

    /// The value of a key, if it is there.
    pub(in crate::transform) fn get(&self, key: &str) -> Option<&'a Located> {
        let mut entries = self.entries.iter();
        entries.find_map(|(name, node)| (name.text == key).then_some(node))
    }

    /// The value of a key that must be there, because of its shape or because of another key.
    pub(in crate::transform) fn required(
        &self,
        key: &str,
        faults: &mut Faults,
    ) -> Option<&'a Located> {
        let found = self.get(key);
        // One that the shape wants was told when the map was read.
        if found.is_none() && !self.shape.of_need(Need::Must).contains(&key) {
            self.lacks(key, faults);
        }
        found
    }

    fn lacks(&self, key: &str, faults: &mut Faults) {
        let message = format!("{} lacks `{key}`", self.shape.what);
        faults
            .add(message, &self.span, format!("`{key}` is missing"))
            .help(format!("add `{key}:`"));
    }

    /// All keys with their values.
    pub(in crate::transform) fn entries(&self) -> impl Iterator<Item = &'a (Key, Located)> {
        self.entries.iter()
    }

    /// Whether a key was not known.
    pub(in crate::transform) fn had_unknown(&self) -> bool {
        self.unknown
    }

    /// Where to point for the map as a whole.
    pub(in crate::transform) fn span(&self) -> &Range<usize> {
        &self.span
    }
}

/// A place a reader can see: an empty value has none, so its key is shown.
fn visible<'a>(span: &'a Range<usize>, owner: &'a Range<usize>) -> &'a Range<usize> {
    if span.is_empty() { owner } else { span }
}

/// The entries of a map, the one place where a map is expected.
pub(in crate::transform) fn entries_of<'a>(
    node: &'a Located,
    owner: &Range<usize>,
    what: &str,
    faults: &mut Faults,
) -> Option<&'a [(Key, Located)]> {
    if let Node::Map(entries) = &node.node {
        return Some(entries);
    }
    let message = format!("{what} must be a map, found {}", node.describe());
    faults.add(message, visible(&node.span, owner), "expected a map");
    None
}

/// `did you mean …?` when a known name is much like this one.
pub(in crate::transform) fn suggest(key: &str, known: &[&str]) -> Option<String> {
    let lower = key.to_ascii_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&lower, &known.to_ascii_lowercase());
    let best = known
        .iter()
        .map(|known| (likeness(known), known))
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let (score, known) = best?;
    (score >= ALIKE).then(|| format!("did you mean `{known}`?"))
}

/// `a`, `b` and `c`.
pub(in crate::transform) fn in_words(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A string.
pub(in crate::transform) fn text(node: &Located, faults: &mut Faults) -> Option<String> {
    if let Node::Scalar(Value::String(text)) = &node.node {
        return Some(text.clone());
    }
    let message = format!("expected a string, found {}", node.describe());
    faults.add(message, &node.span, "expected a string");
    if matches!(&node.node, Node::Scalar(Value::Number(_) | Value::Bool(_))) {
        faults.help("put it in quotes");
    }
    None
}

/// `true` or `false`.
pub(in crate::transform) fn flag(node: &Located, faults: &mut Faults) -> Option<bool> {
    if let Node::Scalar(Value::Bool(flag)) = &node.node {
        return Some(*flag);
    }
    let message = format!("expected true or false, found {}", node.describe());
    faults.add(message, &node.span, "expected true or false");
    None
}

/// A whole number of 0 or more.
pub(in crate::transform) fn number(node: &Located, key: &str, faults: &mut Faults) -> Option<u32> {
    let count = match &node.node {
        Node::Scalar(value) => value.as_u64().and_then(|count| u32::try_from(count).ok()),
        _ => None,
    };
    if count.is_none() {
        faults.add(
            format!(
                "`{key}` must be a whole number of 0 or more, found {}",
                node.describe()
            ),
            &node.span,
            "expected a number",
        );
    }
    count
}

/// A string, or a list of strings.
pub(in crate::transform) fn texts(node: &Located, faults: &mut Faults) -> Vec<String> {
    let placed = match &node.node {
        Node::List(_) => placed_texts(node, faults),
        _ => return text(node, faults).into_iter().collect(),
    };
    placed.into_iter().map(|placed| placed.value).collect()
}

/// A list of strings, each with its place.
pub(in crate::transform) fn placed_texts(
    node: &Located,
    faults: &mut Faults,
) -> Vec<Placed<String>> {
    let Node::List(items) = &node.node else {
        let message = format!("expected a list of strings, found {}", node.describe());
        faults.add(message, &node.span, "expected a list");
        return Vec::new();
    };
    let read = |item: &Located| {
        Some(Placed {
            value: text(item, faults)?,
            span: item.span.clone(),
        })
    };
    items.iter().filter_map(read).collect()
}

/// A map of strings, keys and values with their places.
pub(in crate::transform) fn text_map(
    node: &Located,
    owner: &Range<usize>,
    what: &str,
    faults: &mut Faults,
) -> Vec<(Placed<String>, Placed<String>)> {
    let Some(entries) = entries_of(node, owner, what, faults) else {
        return Vec::new();
    };
    if entries.is_empty() {
        faults.add(format!("{what} is empty"), owner, "nothing to do here");
    }
    let read = |(key, node): &(Key, Located)| {
        let value = text(node, faults)?;
        let span = visible(&node.span, &key.span).clone();
        let from = Placed {
            value: key.text.clone(),
            span: key.span.clone(),
        };
        Some((from, Placed { value, span }))
    };
    entries.iter().filter_map(read).collect()
}
