//! The engine of the typed transforms: rows of `targets.yaml` say where names stand, a map says what
//! they become.

use std::collections::BTreeSet;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use serde_json::Value;

use super::follow::Done;
use super::form::{self, inside, rekey};
use super::names::Images;
use super::work::{Part, Work};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::{Form, Rewrites, Target};
use crate::object::path::PathSet;
use crate::object::{GroupKind, Object, pointer};

/// What follows the class's name in a quota's key.
const CLASS_KEY: &str = ".storageclass.storage.k8s.io/";

/// A function from a name, and the form it stood in, to its new name and the part that says so.
pub(super) type Finder<'a> = dyn FnMut(&str, Form) -> Option<(String, Part)> + 'a;

/// As [`Finder`], for a name that means something else in every object.
pub(super) type ObjectFinder<'a> = dyn FnMut(&Object, &str) -> Option<(String, Part)> + 'a;

/// Both: a function from a name, its form and the object it stands in.
type PlaceFinder<'a> = dyn FnMut(&Object, &str, Form) -> Option<(String, Part)> + 'a;

/// The rows of one transform, joined for each kind of object they are about.
struct Table<'k> {
    rows: Vec<&'k Target>,
    /// By what an object was and is.
    joined: HashMap<(GroupKind, GroupKind), Rc<Joined<'k>>>,
}

/// Rows that are about the same objects.
struct Joined<'k> {
    rows: Vec<&'k Target>,
    paths: PathSet,
}

impl<'k> Table<'k> {
    fn new(knowledge: &'k Knowledge, rewrites: Rewrites) -> Self {
        let rows = knowledge.targets.iter();
        Self {
            rows: rows.filter(|row| row.rewrites == rewrites).collect(),
            joined: HashMap::new(),
        }
    }

    /// The rows about what an object was, or is by now.
    fn about(&mut self, was: &Object, is: &Object) -> Rc<Joined<'k>> {
        let join = || {
            let fits = |row: &&&Target| row.applies(was) || row.applies(is);
            let rows: Vec<&Target> = self.rows.iter().filter(fits).copied().collect();
            let paths = PathSet::new(rows.iter().map(|row| &row.path));
            Rc::new(Joined { rows, paths })
        };
        let kinds = (was.group_kind(), is.group_kind());
        Rc::clone(self.joined.entry(kinds).or_insert_with(join))
    }
}

/// Rewrites every place the rows of one transform describe, except those written already.
pub(super) fn rewrite_all(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    rewrites: Rewrites,
    written: &Done,
    find: &mut Finder<'_>,
) {
    let find = &mut |_: &Object, name: &str, form| find(name, form);
    rewrite_places(work, knowledge, rewrites, written, find);
}

/// As [`rewrite_all`], for a map that depends on the object a text stands in.
pub(super) fn rewrite_each(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    rewrites: Rewrites,
    find: &mut ObjectFinder<'_>,
) {
    let find = &mut |object: &Object, text: &str, _| find(object, text);
    rewrite_places(work, knowledge, rewrites, &Done::new(), find);
}

fn rewrite_places(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    rewrites: Rewrites,
    written: &Done,
    find: &mut PlaceFinder<'_>,
) {
    let mut table = Table::new(knowledge, rewrites);
    let before = work.before;
    for (index, object) in before.iter().enumerate() {
        let joined = table.about(object, &work.objects[index]);
        if joined.rows.is_empty() {
            continue;
        }
        let keys = work.keys(index, &knowledge.targets.vocabulary);
        if joined.rows.iter().any(|row| row.wanted.within(keys)) {
            let done = written.get(index).cloned().unwrap_or_default();
            rewrite(work, index, &joined, done, &mut |name, form| {
                find(object, name, form)
            });
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

/// Rewrites one object. A place is rewritten once, by the first row that changes it: `{a: b, b: c}`
/// must not chain.
fn rewrite(
    work: &mut Work<'_>,
    index: usize,
    joined: &Joined<'_>,
    mut done: BTreeSet<String>,
    find: &mut Finder<'_>,
) {
    let mut places = Vec::new();
    let object = work.objects[index].value();
    joined.paths.visit(object, &mut |number, path, value| {
        places.push((number, path.to_owned(), value));
    });
    places.sort_by_key(|(number, ..)| *number);
    let mut edits = Vec::new();
    for (number, path, value) in places {
        if done.contains(&path) {
            continue;
        }
        let row = joined.rows[number];
        if let Some((edit, part)) = edit(row.form, &path, value, find) {
            let place = match &edit {
                Edit::Inside(key, _) => pointer::join(&path, key),
                Edit::Text(_) | Edit::Key(_) => path,
            };
            done.insert(place.clone());
            edits.push((row, place, edit, part));
        }
    }
    let mut keys = Vec::new();
    for (row, place, edit, part) in edits {
        match edit {
            Edit::Text(text) | Edit::Inside(_, text) => {
                work.set(index, &place, Value::String(text), &row.id, part);
            }
            Edit::Key(key) => keys.push((row, place, key, part)),
        }
    }
    rename_keys(work, index, keys);
}

/// What becomes of one place, and the part that says so.
fn edit(form: Form, path: &str, value: &Value, find: &mut Finder<'_>) -> Option<(Edit, Part)> {
    let mut hit = None;
    let mut rename = |name: &str| {
        let (new, part) = find(name, form)?;
        hit = Some(part);
        Some(new)
    };
    let after = match (form, value) {
        (Form::KeyPrefix, _) => pointer::split(path)
            .and_then(|(_, key)| rekey(&key, CLASS_KEY, &mut rename))
            .map(Edit::Key),
        (form, Value::String(text)) => form::rewrite(form, text, &mut rename).map(Edit::Text),
        (form, Value::Object(map)) => {
            inside(form, map, &mut rename).map(|(key, text)| Edit::Inside(key, text))
        }
        _ => None,
    };
    after.zip(hit)
}

enum Edit {
    Text(String),
    /// What stands under a key of the map there.
    Inside(&'static str, String),
    Key(String),
}

/// Moves values to other keys of the same map: all are taken out before any is put back, so that two
/// keys may swap.
fn rename_keys(work: &mut Work<'_>, index: usize, keys: Vec<(&Target, String, String, Part)>) {
    let mut moved = Vec::new();
    for (row, path, key, part) in keys {
        let parent = pointer::split(&path).map_or("", |(parent, _)| parent);
        let new = pointer::join(parent, &key);
        work.used(part);
        if new != path
            && let Some(value) = work.objects[index].pointer(&path).cloned()
        {
            work.remove(index, &path, &row.id, part);
            moved.push((row, new, value, part));
        }
    }
    for (row, path, value, part) in moved {
        work.set(index, &path, value, &row.id, part);
    }
}
