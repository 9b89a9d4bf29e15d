//! The engine of the typed transforms: rows of `targets.yaml` say where names stand, a map says what
//! they become.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::follow::Done;
use super::form::{inside, rekey, rewrite};
use super::names::Images;
use super::work::{Part, Work};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::{Form, Rewrites, Target};
use crate::object::{Object, pointer};

/// What follows the class's name in a quota's key.
const CLASS_KEY: &str = ".storageclass.storage.k8s.io/";

/// A function from a name, and the form it stood in, to its new name and the part that says so.
pub(super) type Finder<'a> = dyn FnMut(&str, Form) -> Option<(String, Part)> + 'a;

/// As [`Finder`], for a name that means something else in every object.
pub(super) type ObjectFinder<'a> = dyn FnMut(&Object, &str) -> Option<(String, Part)> + 'a;

/// Rewrites every place the rows of one transform describe, except those written already.
pub(super) fn rewrite_all(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    rewrites: Rewrites,
    written: &Done,
    find: &mut Finder<'_>,
) {
    let rows = knowledge.targets.iter();
    let rows: Vec<&Target> = rows.filter(|row| row.rewrites == rewrites).collect();
    let before = work.before;
    let mut by_kind: BTreeMap<(&str, &str), Vec<&Target>> = BTreeMap::new();
    for (index, object) in before.iter().enumerate() {
        let now = &work.objects[index];
        let other;
        let fitting: &[&Target] = if now.is(object.group(), object.kind()) {
            let fitting = by_kind.entry((object.group(), object.kind()));
            fitting.or_insert_with(|| applying(&rows, object, object))
        } else {
            other = applying(&rows, object, now);
            &other
        };
        if fitting.is_empty() {
            continue;
        }
        let keys = work.keys(index, &knowledge.targets.vocabulary);
        // A place is rewritten once, by the first row that changes it: `{a: b, b: c}` must not chain.
        let mut done = written.get(index).cloned().unwrap_or_default();
        for row in fitting.iter().filter(|row| row.wanted.within(keys)) {
            rewrite_row(work, index, row, find, &mut done);
        }
    }
}

/// As [`rewrite_all`], for a map that depends on the object a text stands in.
pub(super) fn rewrite_each(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    rewrites: Rewrites,
    find: &mut ObjectFinder<'_>,
) {
    let rows = knowledge.targets.iter();
    let rows: Vec<&Target> = rows.filter(|row| row.rewrites == rewrites).collect();
    for index in 0..work.objects.len() {
        let before = &work.before[index];
        let keys = work.keys(index, &knowledge.targets.vocabulary);
        let within = rows.iter().filter(|row| row.wanted.within(keys));
        let mut done = BTreeSet::new();
        for row in within.filter(|row| row.applies(before)) {
            rewrite_row(
                work,
                index,
                row,
                &mut |text, _| find(before, text),
                &mut done,
            );
        }
    }
}

/// T-2: images whose registry and repository are written apart, as many charts' resources have them.
pub(super) fn image_parts(work: &mut Work<'_>, knowledge: &Knowledge, images: &mut Images) {
    let rows = knowledge.targets.iter();
    let rows = rows.filter(|row| row.rewrites == Rewrites::Image && row.form == Form::Repository);
    let rows: Vec<&Target> = rows.collect();
    for index in 0..work.objects.len() {
        let keys = work.keys(index, &knowledge.targets.vocabulary);
        let within = rows.iter().filter(|row| row.wanted.within(keys));
        for row in within.filter(|row| row.applies(&work.before[index])) {
            let mut edits = Vec::new();
            row.path
                .visit(work.objects[index].value(), &mut |path, node| {
                    let Some(repository) = node["repository"].as_str() else {
                        return;
                    };
                    // A Git repository is called so too; an image has a tag, a digest or a registry beside it.
                    if !["tag", "digest", "registry"]
                        .iter()
                        .any(|key| node.get(key).is_some())
                    {
                        return;
                    }
                    let registry = node["registry"].as_str().filter(|text| !text.is_empty());
                    if registry.is_some() && has_global(&work.objects[index], path) {
                        return;
                    }
                    if let Some((registry, repository, part)) = images.parts(registry, repository) {
                        edits.push((path.to_owned(), registry, repository, part));
                    }
                });
            for (path, registry, repository, part) in edits {
                let at = |key: &str| format!("{path}/{key}");
                work.set(index, &at("repository"), repository.into(), &row.id, part);
                if let Some(registry) = registry {
                    work.set(index, &at("registry"), registry.into(), &row.id, part);
                }
            }
        }
    }
}

/// Whether a chart's values, on the way to a place, name one registry for all images: then what stands
/// beside an image is not its registry.
fn has_global(object: &Object, path: &str) -> bool {
    path.match_indices('/').any(|(end, _)| {
        let global = object.text(&format!("{}/global/imageRegistry", &path[..end]));
        global.is_some_and(|registry| !registry.is_empty())
    })
}

/// The rows about what an object was, or is by now.
fn applying<'r>(rows: &[&'r Target], was: &Object, is: &Object) -> Vec<&'r Target> {
    let fits = |row: &&&Target| row.applies(was) || row.applies(is);
    rows.iter().filter(fits).copied().collect()
}

fn rewrite_row(
    work: &mut Work<'_>,
    index: usize,
    row: &Target,
    find: &mut Finder<'_>,
    done: &mut BTreeSet<String>,
) {
    let mut edits = Vec::new();
    row.path
        .visit(work.objects[index].value(), &mut |path, value| {
            if done.contains(path) {
                return;
            }
            let mut hit = None;
            let mut rename = |name: &str| {
                let (new, part) = find(name, row.form)?;
                hit = Some(part);
                Some(new)
            };
            let after = match (row.form, value) {
                (Form::KeyPrefix, _) => pointer::split(path)
                    .and_then(|(_, key)| rekey(&key, CLASS_KEY, &mut rename))
                    .map(Edit::Key),
                (form, Value::String(text)) => rewrite(form, text, &mut rename).map(Edit::Text),
                (form, Value::Object(map)) => {
                    inside(form, map, &mut rename).map(|(key, text)| Edit::Inside(key, text))
                }
                _ => None,
            };
            if let Some((after, part)) = after.zip(hit) {
                edits.push((path.to_owned(), after, part));
            }
        });
    let mut keys = Vec::new();
    for (path, edit, part) in edits {
        match edit {
            Edit::Text(text) => {
                work.set(index, &path, Value::String(text), &row.id, part);
                done.insert(path);
            }
            Edit::Inside(key, text) => {
                let at = pointer::join(&path, key);
                work.set(index, &at, Value::String(text), &row.id, part);
                done.insert(at);
            }
            Edit::Key(key) => keys.push((path, key, part)),
        }
    }
    rename_keys(work, index, &row.id, keys, done);
}

enum Edit {
    Text(String),
    /// What stands under a key of the map there.
    Inside(&'static str, String),
    Key(String),
}

/// Moves values to other keys of the same map: all are taken out before any is put back, so that two
/// keys may swap.
fn rename_keys(
    work: &mut Work<'_>,
    index: usize,
    rule: &str,
    keys: Vec<(String, String, Part)>,
    done: &mut BTreeSet<String>,
) {
    let mut moved = Vec::new();
    for (path, key, part) in keys {
        let parent = pointer::split(&path).map_or("", |(parent, _)| parent);
        let new = pointer::join(parent, &key);
        work.used(part);
        if new != path
            && let Some(value) = work.objects[index].pointer(&path).cloned()
        {
            work.remove(index, &path, rule, part);
            moved.push((new.clone(), value, part));
        }
        done.insert(new);
    }
    for (path, value, part) in moved {
        work.set(index, &path, value, rule, part);
    }
}
