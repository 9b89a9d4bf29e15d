//! T-9: configuration text, found by literal or regular expression. Values of ConfigMaps, variables
//! and arguments of containers; Secrets only on request; binary data never.
//!
//! All replacements of one entry act at once on the text as it was. What would not stay the same when
//! applied again is refused, and so are two that want the same characters.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;

use super::apply::whole;
use super::fault::Faults;
use super::grammar;
use super::parse::{Fields, in_words, number, path, placed_texts, select_of, text};
use super::recipe::Entry;
use super::select::Select;
use super::work::{Part, Work};
use crate::graph::roots::Roots;
use crate::object::Object;
use crate::object::path::PathPattern;
use crate::yaml::located::{Located, Node};

/// Replacements in the text of selected objects.
#[derive(Clone, Debug)]
pub struct Text {
    /// Which objects.
    pub select: Select,
    /// Where in them: `config`, `env`, `args`, `secrets`.
    pub places: Vec<String>,
    /// More places, by path.
    pub paths: Vec<PathPattern>,
    /// What becomes what.
    pub replace: Vec<Replacement>,
}

/// One replacement.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// What it looks for, as written.
    pub shown: String,
    /// Its place in the recipe.
    pub span: Range<usize>,
    /// What it looks for; a literal is escaped.
    pub find: Regex,
    /// What takes its place; `$1` stands for a group of a regular expression.
    pub with: String,
    /// Whether `$` in `with` stands for a group.
    pub groups: bool,
    /// How often it may be found in all; more is a mistake.
    pub max: Option<u32>,
}

const PLACES: [&str; 4] = ["config", "env", "args", "secrets"];
/// Without `in` and `paths`: Secrets are only looked into on request.
const USUAL: [&str; 3] = ["config", "env", "args"];

/// Reads `text:`.
pub(super) fn parse(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Text> {
    let fields = Fields::read(body, span, &grammar::TEXT, faults)?;
    let given = fields.get("in").map(|node| placed_texts(node, faults));
    for place in given.iter().flatten() {
        if !PLACES.contains(&place.value.as_str()) {
            faults
                .add(
                    format!("unknown place `{}`", place.value),
                    &place.span,
                    "unknown",
                )
                .help(format!(
                    "the places are {}; `paths` names others",
                    in_words(&PLACES)
                ));
        }
    }
    let paths = fields.get("paths").map(|node| placed_texts(node, faults));
    let paths = paths.unwrap_or_default();
    let paths: Vec<PathPattern> = paths
        .iter()
        .filter_map(|one| path(&one.value, &one.span, faults))
        .collect();
    let places = match (given, paths.is_empty()) {
        (Some(given), _) => given.into_iter().map(|place| place.value).collect(),
        (None, true) => USUAL.map(str::to_owned).to_vec(),
        (None, false) => Vec::new(),
    };
    let node = fields.required("replace", faults)?;
    let Node::List(items) = &node.node else {
        faults
            .add(
                format!("`replace` must be a list, found {}", node.describe()),
                &node.span,
                "expected a list",
            )
            .help("write `replace: [{find: old, with: new}]`");
        return None;
    };
    let replace = items.iter().filter_map(|item| replacement(item, faults));
    Some(Text {
        replace: replace.collect(),
        select: select_of(&fields, faults),
        places,
        paths,
    })
}

fn replacement(node: &Located, faults: &mut Faults) -> Option<Replacement> {
    let fields = Fields::read(node, &node.span, &grammar::REPLACEMENT, faults)?;
    let with = fields
        .required("with", faults)
        .and_then(|node| text(node, faults));
    let max = fields
        .get("max")
        .and_then(|node| number(node, "max", faults));
    let (wanted, literal) = match (fields.get("find"), fields.get("regex")) {
        (Some(node), None) => (node, true),
        (None, Some(node)) => (node, false),
        _ => {
            faults
                .add("say either `find` or `regex`", fields.span(), "one of them")
                .help("`find` is taken as it is, `regex` is a regular expression");
            return None;
        }
    };
    let shown = text(wanted, faults)?;
    let pattern = if literal {
        regex::escape(&shown)
    } else {
        shown.clone()
    };
    let find = match Regex::new(&pattern) {
        Ok(find) if !find.is_match("") => find,
        Ok(_) => {
            let message = match shown.is_empty() {
                true => "there is nothing to find".to_owned(),
                false => format!("`{shown}` finds the empty text too"),
            };
            faults
                .add(message, &wanted.span, "refused")
                .help("look for at least one character");
            return None;
        }
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().to_owned();
            faults.add(
                format!("`{shown}` is no regular expression"),
                &wanted.span,
                reason,
            );
            return None;
        }
    };
    Some(Replacement {
        shown,
        span: wanted.span.clone(),
        find,
        with: with?,
        groups: !literal,
        max,
    })
}

/// Applies one entry.
pub(super) fn apply(
    work: &mut Work<'_>,
    roots: &Roots<'_>,
    recipe: usize,
    entry: &Entry,
    text: &Text,
    faults: &mut Faults,
) {
    let base = whole(recipe, entry);
    let mut hits: BTreeMap<usize, u32> = BTreeMap::new();
    for index in work.selected(recipe, entry) {
        for leaf in leaves(work, roots, index, text) {
            let mut count = |rule: usize| *hits.entry(rule).or_default() += 1;
            let id = work.id(index).clone();
            let new = match replaced(&leaf.text, &text.replace, &mut count) {
                Ok(Some(new)) => new,
                Ok(None) => continue,
                Err([one, two]) => {
                    faults
                        .add(
                            format!("two replacements want the same characters of {id}"),
                            &text.replace[two].span,
                            format!("at {}", leaf.path),
                        )
                        .also(&text.replace[one].span, "and this one")
                        .help("make one of them more precise");
                    continue;
                }
            };
            let again = replaced(&new.0, &text.replace, &mut |_| ());
            if again.is_ok_and(|again| again.is_some_and(|again| again.0 != new.0)) {
                faults
                    .add(
                        format!("the replacement would change its own result in {id}"),
                        &text.replace[new.1].span,
                        format!("at {}", leaf.path),
                    )
                    .help("make it find only what is old, so that applying it twice is safe");
                continue;
            }
            let value = match leaf.encoded {
                true => STANDARD.encode(&new.0),
                false => new.0,
            };
            let part = Part {
                part: new.1,
                ..base
            };
            work.set(index, &leaf.path, Value::String(value), "T-9", part);
        }
    }
    for (number, rule) in text.replace.iter().enumerate() {
        let found = hits.get(&number).copied().unwrap_or(0);
        if found > 0 {
            work.used(Part {
                part: number,
                ..base
            });
        }
        if let Some(max) = rule.max.filter(|max| found > *max) {
            faults
                .add(
                    format!(
                        "`{}` is found {found} times, and at most {max} were expected",
                        rule.shown
                    ),
                    &rule.span,
                    "too often",
                )
                .help("look at the places with `max` taken out, and make the text more precise");
        }
    }
}

/// A text in an object.
struct Leaf {
    path: String,
    text: String,
    /// Whether it stands there as base64.
    encoded: bool,
}

fn leaves(work: &Work<'_>, roots: &Roots<'_>, index: usize, wanted: &Text) -> Vec<Leaf> {
    let object = &work.objects()[index];
    let asked = |place: &str| wanted.places.iter().any(|one| one == place);
    let mut found = Vec::new();
    if asked("config") && object.is("", "ConfigMap") {
        values(object, "/data", false, &mut found);
    }
    if asked("secrets") && object.is("", "Secret") {
        values(object, "/data", true, &mut found);
        values(object, "/stringData", false, &mut found);
    }
    for container in roots.containers(&work.before[index]) {
        let patterns = [("env", "/env[]/value"), ("args", "/{command,args}[]")];
        let Some(node) = object.pointer(&container) else {
            continue;
        };
        for (_, pattern) in patterns.iter().filter(|(place, _)| asked(place)) {
            if let Ok(pattern) = PathPattern::parse(pattern) {
                pattern.visit_from(node, &container, &mut |path, value| {
                    plain(path, value, &mut found)
                });
            }
        }
    }
    for pattern in &wanted.paths {
        pattern.visit(object.value(), &mut |path, value| {
            plain(path, value, &mut found)
        });
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found.dedup_by(|left, right| left.path == right.path);
    found
}

fn plain(path: &str, value: &Value, found: &mut Vec<Leaf>) {
    if let Value::String(text) = value {
        found.push(Leaf {
            path: path.to_owned(),
            text: text.clone(),
            encoded: false,
        });
    }
}

fn values(object: &Object, at: &str, encoded: bool, found: &mut Vec<Leaf>) {
    let map = object.pointer(at).and_then(Value::as_object);
    for (key, value) in map.into_iter().flatten() {
        let Some(text) = value.as_str() else { continue };
        let text = match encoded {
            false => Some(text.to_owned()),
            true => STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok()),
        };
        if let Some(text) = text {
            found.push(Leaf {
                path: crate::object::pointer::join(at, key),
                text,
                encoded,
            });
        }
    }
}

/// The text with everything replaced at once, and the first rule that did something; `None` when no
/// rule finds anything. The error is two rules that overlap.
fn replaced(
    text: &str,
    rules: &[Replacement],
    count: &mut dyn FnMut(usize),
) -> Result<Option<(String, usize)>, [usize; 2]> {
    let mut hits: Vec<(Range<usize>, usize, String)> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        for found in rule.find.captures_iter(text) {
            let Some(all) = found.get(0) else { continue };
            count(number);
            let mut with = String::new();
            match rule.groups {
                true => found.expand(&rule.with, &mut with),
                false => with.push_str(&rule.with),
            }
            hits.push((all.range(), number, with));
        }
    }
    hits.sort_by_key(|(range, number, _)| (range.start, *number));
    let mut out = String::new();
    let mut copied = 0;
    let mut last = None;
    for (range, number, with) in &hits {
        if let Some(before) = last.filter(|_| range.start < copied) {
            return Err([before, *number]);
        }
        out.push_str(&text[copied..range.start]);
        out.push_str(with);
        copied = range.end;
        last = Some(*number);
    }
    out.push_str(&text[copied..]);
    Ok(hits.first().map(|(_, number, _)| (out, *number)))
}
