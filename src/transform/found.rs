//! What a capture calls things: the names a recipe can change, by the places where it would.
//!
//! The transforms' own search is run with nothing to change and tells the names it asked for, so that
//! what is listed here is exactly what a rule would find.

use std::collections::{BTreeMap, BTreeSet};

use super::class::Class;
use super::follow;
use super::names::Maps;
use super::places;
use super::source::Source;
use super::work::Work;
use crate::graph::references::References;
use crate::knowledge::Knowledge;
use crate::object::Object;

/// Names and how many objects have them.
pub(super) type Counts = BTreeMap<String, usize>;

/// The names of a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Names of classes, by what they are classes of.
    pub(super) classes: BTreeMap<Class, Counts>,
    /// Registries that images name; `docker.io` also where an image names none.
    pub(super) registries: Counts,
    /// Hosts, but for names inside the cluster.
    pub(super) hosts: Counts,
    /// Namespaces of the objects.
    pub(super) namespaces: Counts,
}

/// Lists the names of objects. `definitions` are those of custom resources among them.
pub(super) fn found(objects: &[Object], definitions: &[&Object], knowledge: &Knowledge) -> Found {
    let references = References::new(knowledge, definitions.to_vec());
    let mut all = Found::default();
    for object in objects {
        let source = Source::new(std::slice::from_ref(object));
        let mut work = Work::new(&source, &[]);
        let mut maps = Maps::asking();
        ask(&mut work, &references, knowledge, &mut maps);
        for class in Class::ALL {
            let names = maps.seen_classes(class);
            if !names.is_empty() {
                count(all.classes.entry(class).or_default(), names);
            }
        }
        count(&mut all.registries, maps.images.seen);
        let hosts = maps.hosts.seen.into_iter();
        count(&mut all.hosts, hosts.filter(|host| !inside(host)).collect());
        let home = match object.is("", "Namespace") {
            true => Some(object.name()),
            false => object.namespace(),
        };
        count(
            &mut all.namespaces,
            home.into_iter().map(str::to_owned).collect(),
        );
    }
    all
}

/// Lets the transforms that have maps ask for every name.
fn ask(work: &mut Work<'_>, references: &References<'_>, knowledge: &Knowledge, maps: &mut Maps) {
    let written = follow::references(work, references, maps);
    places::names(work, knowledge, maps, &places::NAMES, &written);
}

fn count(counts: &mut Counts, names: BTreeSet<String>) {
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
}

/// Names of Services, which follow their namespace.
fn inside(host: &str) -> bool {
    host.ends_with(".svc") || host.contains(".svc.") || host.ends_with(".local")
}
