//! The engine of the typed transforms: rows of `targets.yaml` say where names stand, a map says what
//! they become.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;

use super::follow::Done;
use super::form::{inside, rekey, rewrite};
use super::image::ImageRef;
use super::names::Maps;
use super::work::{Part, Work};
use crate::knowledge::Knowledge;
use crate::knowledge::targets::{Form, Rewrites, Target};
use crate::object::{Object, pointer};

/// What follows the class's name in a quota's key.
const CLASS_KEY: &str = ".storageclass.storage.k8s.io/";

/// The transforms with maps whose names stand in single places, in the order of rule book §3.
pub(super) const NAMES: [Rewrites; 6] = [
    Rewrites::Image,
    Rewrites::StorageClass,
    Rewrites::VolumeSnapshotClass,
    Rewrites::VolumeAttributesClass,
    Rewrites::IngressClass,
    Rewrites::Host,
];

/// A function from an object, what is rewritten in it, and a name in some form to the new name and the part
/// that says so.
type Finder<'a> = dyn FnMut(&Object, Rewrites, Form, &str) -> Option<(String, Part)> + 'a;

/// As [`Finder`], for what becomes of a text.
type Rewriter<'a> = dyn FnMut(&Object, &str) -> Option<(String, Part)> + 'a;

/// Rewrites the names of some transforms everywhere, except where references were written already.
pub(super) fn names(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    maps: &mut Maps,
    transforms: &[Rewrites],
    written: &Done,
) {
    // Without a map there is nothing to look for; walking 100,000 objects for nothing takes a second.
    let transforms = transforms.iter().copied();
    let transforms: Vec<Rewrites> = transforms.filter(|one| maps.change(*one)).collect();
    let mut find = |_: &Object, rewrites, form, name: &str| maps.find(rewrites, form, name);
    rewrite_all(work, knowledge, &transforms, written, &mut find);
}

/// Rewrites texts, each with the object it stands in.
pub(super) fn texts(work: &mut Work<'_>, knowledge: &Knowledge, change: &mut Rewriter<'_>) {
    let mut find = |object: &Object, _, _, text: &str| change(object, text);
    rewrite_all(work, knowledge, &[Rewrites::Text], &Done::new(), &mut find);
}

/// Rewrites every place the rows of some transforms describe: one object after the other, each by one
/// transform after the other. What an object holds is far away for the processor only once.
fn rewrite_all(
    work: &mut Work<'_>,
    knowledge: &Knowledge,
    transforms: &[Rewrites],
    written: &Done,
    find: &mut Finder<'_>,
) {
    let before = work.before;
    let mut by_kind: HashMap<(&str, &str), Vec<Vec<&Target>>> = HashMap::new();
    let mut changes: Vec<_> = transforms.iter().map(|_| Vec::new()).collect();
    for (index, object) in before.iter().enumerate() {
        let now = &work.objects()[index];
        let other;
        let fitting = if now.is(object.group(), object.kind()) {
            let fitting = by_kind.entry((object.group(), object.kind()));
            &*fitting.or_insert_with(|| applying(knowledge, transforms, object, object))
        } else {
            other = applying(knowledge, transforms, object, now);
            &other
        };
        if fitting.iter().all(Vec::is_empty) {
            continue;
        }
        let mut keys = work.keys(index, &knowledge.targets.vocabulary);
        for ((rewrites, rows), changes) in transforms.iter().zip(fitting).zip(&mut changes) {
            // A place is rewritten once, by the first row that changes it: `{a: b, b: c}` must not chain.
            let mut done = match rewrites {
                Rewrites::Image | Rewrites::Host | Rewrites::Text => BTreeSet::new(),
                _ => written.get(index).cloned().unwrap_or_default(),
            };
            let recorded = work.recorded();
            for row in rows.iter().filter(|row| row.wanted.within(keys)) {
                let mut find = |name: &str| find(object, row.rewrites, row.form, name);
                rewrite_row(work, index, row, &mut find, &mut done);
            }
            if work.recorded() > recorded {
                changes.extend(work.take_changes(recorded));
                keys = work.keys(index, &knowledge.targets.vocabulary);
            }
        }
    }
    changes.into_iter().for_each(|one| work.put_changes(one));
}

/// The rows of each transform about what an object was, or is by now.
fn applying<'k>(
    knowledge: &'k Knowledge,
    transforms: &[Rewrites],
    was: &Object,
    is: &Object,
) -> Vec<Vec<&'k Target>> {
    let fits = |row: &&Target| row.applies(was) || row.applies(is);
    let of = |rewrites: &Rewrites| {
        let rows = knowledge.targets.iter();
        let rows = rows.filter(|row| row.rewrites == *rewrites);
        rows.filter(fits).collect()
    };
    transforms.iter().map(of).collect()
}

fn rewrite_row(
    work: &mut Work<'_>,
    index: usize,
    row: &Target,
    find: &mut dyn FnMut(&str) -> Option<(String, Part)>,
    done: &mut BTreeSet<String>,
) {
    let mut edits = Vec::new();
    let object = &work.objects()[index];
    row.path.visit(object.value(), &mut |path, value| {
        if done.contains(path) {
            return;
        }
        let mut hit = None;
        let mut rename = |name: &str| {
            let (new, part) = find(name)?;
            hit = Some(part);
            Some(new)
        };
        let after = match (row.form, value) {
            (Form::KeyPrefix, _) => pointer::split(path)
                .and_then(|(_, key)| rekey(&key, CLASS_KEY, &mut rename))
                .map(Edit::Key),
            (Form::Repository, Value::String(text)) => repository(object, path, text, &mut rename),
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
            Edit::Repository(text, registry) => {
                work.set(index, &path, Value::String(text), &row.id, part);
                if let Some((at, registry)) = registry {
                    work.set(index, &at, Value::String(registry), &row.id, part);
                }
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
    /// A repository, and where the registry stands that it has from now on.
    Repository(String, Option<(String, String)>),
    Key(String),
}

/// T-2: an image whose registry and repository are written apart, as many charts' resources have them.
fn repository(
    object: &Object,
    path: &str,
    repository: &str,
    rename: &mut dyn FnMut(&str) -> Option<String>,
) -> Option<Edit> {
    let (image, _) = pointer::split(path)?;
    let beside = object.pointer(image)?;
    // A Git repository is called so too; an image has a tag, a digest or a registry beside it.
    let parts = ["tag", "digest", "registry"];
    if !parts.iter().any(|key| beside.get(key).is_some()) {
        return None;
    }
    let registry = beside["registry"].as_str().filter(|text| !text.is_empty());
    let Some(registry) = registry else {
        // A short name without a registry is too much like other words.
        let explicit = ImageRef::parse(repository)?.explicit;
        let new = explicit.then(|| rename(repository)).flatten()?;
        return Some(Edit::Repository(new, None));
    };
    if has_global(object, image) {
        return None;
    }
    let whole = format!("{registry}/{repository}");
    ImageRef::parse(&whole)?;
    let new = rename(&whole)?;
    let (registry, repository) = new.split_once('/')?;
    let at = pointer::join(image, "registry");
    Some(Edit::Repository(
        repository.to_owned(),
        Some((at, registry.to_owned())),
    ))
}

/// Whether a chart's values, on the way to a place, name one registry for all images: then what stands
/// beside an image is not its registry.
fn has_global(object: &Object, path: &str) -> bool {
    path.match_indices('/').any(|(end, _)| {
        let global = object.text(&format!("{}/global/imageRegistry", &path[..end]));
        global.is_some_and(|registry| !registry.is_empty())
    })
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
            && let Some(value) = work.objects()[index].pointer(&path).cloned()
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
