//! The maps of all recipes joined: every lookup sees what A calls things, once.
//!
//! All entries of one transform act together and at once, so `{a: b, b: c}` makes `a` into `b` and
//! never into `c`, whatever the order of entries. Of several prefixes that fit, the longest counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::class::Class;
use super::convert::INTERNAL;
use super::endpoint::Endpoint;
use super::fault::{Fault, Faults};
use super::host::HostPattern;
use super::image::{ImageRef, Prefix};
use super::recipe::{Mapping, Recipe, Transform};
use super::rename::Renames;
use super::work::Part;
use crate::knowledge::targets::{Form, Rewrites};
use crate::object::GroupKind;

/// Names that are matched whole: classes, namespaces, digests.
#[derive(Default)]
pub(super) struct Names {
    map: BTreeMap<String, (String, Part)>,
    /// Every name asked for, to tell the user what there is.
    pub(super) seen: BTreeSet<String>,
}

impl Names {
    /// What a name becomes, and which part of a recipe says so.
    pub(super) fn find(&mut self, name: &str) -> Option<(String, Part)> {
        if !self.seen.contains(name) {
            self.seen.insert(name.to_owned());
        }
        self.map.get(name).cloned()
    }

    /// As [`Names::find`], for a name that only may be one: it is not told to the user.
    pub(super) fn peek(&self, name: &str) -> Option<(String, Part)> {
        self.map.get(name).cloned()
    }

    /// What a name becomes.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.map.get(name).map(|(to, _)| to.as_str())
    }

    /// Names on A that become another name.
    pub(super) fn moved(&self) -> impl Iterator<Item = &str> {
        let moved = self.map.iter().filter(|(from, (to, _))| *from != to);
        moved.map(|(from, _)| from.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// Image prefixes, heaviest first.
#[derive(Default)]
pub(super) struct Images {
    rules: Vec<(Prefix, Prefix, Part)>,
    digests: Names,
    pub(super) seen: BTreeSet<String>,
}

impl Images {
    /// Where an image is on B.
    ///
    /// A digest stays, unless the recipe says that the copy has another, or the image comes from
    /// OpenShift's own `openshift` namespace, whose images are rebuilt by each cluster.
    pub(super) fn find(&mut self, text: &str) -> Option<(String, Part)> {
        let mut image = ImageRef::parse(text)?;
        self.seen.insert(image.registry.clone());
        let copied = image
            .suffix
            .split_once('@')
            .and_then(|(tag, digest)| Some((tag.to_owned(), self.digests.find(digest)?)));
        let mut cause = None;
        if let Some((tag, (digest, part))) = copied {
            image.suffix = format!("{tag}@{digest}");
            cause = Some(part);
        }
        let fits = |rule: &&(Prefix, Prefix, Part)| rule.0.rest(&image).is_some();
        let Some((from, to, part)) = self.rules.iter().find(fits) else {
            let (base, _) = text.split_once('@')?;
            let digest = image.suffix.split_once('@').map(|(_, digest)| digest)?;
            return Some((format!("{base}@{digest}"), cause?));
        };
        // `r/a: r/a/b` would nest deeper each time: what is there already stays.
        let there = to != from && inside(to, from) && to.rest(&image).is_some();
        if there && cause.is_none() {
            return Some((text.to_owned(), *part));
        }
        let own = INTERNAL.contains(&image.registry.as_str())
            && image.repository.starts_with("openshift/");
        if own && let Some((tag, _)) = image.suffix.split_once('@') {
            image.suffix = tag.to_owned();
        }
        Some((image.moved(from, to)?, *part))
    }

    /// What a registry becomes that is named alone, as credentials are kept under and charts set for
    /// all images.
    pub(super) fn prefix(&self, key: &str) -> Option<(String, Part)> {
        let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
        let bare = bare.trim_end_matches('/').trim_end_matches("/v1");
        let prefix = Prefix::parse(bare).ok()?;
        let (_, to, part) = self.rules.iter().find(|(from, ..)| *from == prefix)?;
        Some((to.to_string(), *part))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.digests.is_empty()
    }

    /// Registries and prefixes on A that are somewhere else on B.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Prefix> {
        let moved = self.rules.iter().filter(|(from, to, _)| !inside(to, from));
        moved.map(|(from, ..)| from)
    }
}

/// Whether everything under `inner` is under `outer`.
fn inside(inner: &Prefix, outer: &Prefix) -> bool {
    let path = |prefix: &Prefix| format!("{}/", prefix.path);
    inner.registry == outer.registry
        && (outer.path.is_empty() || path(inner).starts_with(&path(outer)))
}

/// Hosts: exact names first, then wildcards, longest first.
#[derive(Default)]
pub(super) struct Hosts {
    rules: Vec<(HostPattern, HostPattern, Part)>,
    /// Hosts that stay as they are.
    pub(super) keeps: Vec<HostPattern>,
    pub(super) seen: BTreeSet<String>,
}

impl Hosts {
    /// What a host is called on B.
    pub(super) fn find(&mut self, host: &str) -> Option<(String, Part)> {
        let hit = self.peek(host);
        if hit.is_some() || host.contains('.') {
            self.seen.insert(host.to_owned());
        }
        hit
    }

    /// As [`Hosts::find`], for a word that only may be a host: it is not told to the user.
    pub(super) fn peek(&self, host: &str) -> Option<(String, Part)> {
        let (from, to, part, moved) = self
            .rules
            .iter()
            .find_map(|(from, to, part)| Some((from, to, *part, from.moved(to, host)?)))?;
        // `*.a: *.b.a` would nest deeper each time: what is there already stays.
        let nested = to != from && below(&to.name, &from.name);
        let there = nested && below(&host.to_ascii_lowercase(), &to.name);
        let stays = there
            || self
                .keeps
                .iter()
                .any(|kept| kept.moved(kept, host).is_some());
        Some((if stays { host.to_owned() } else { moved }, part))
    }

    /// Hosts and domains on A that are called something else on B.
    pub(super) fn moved(&self) -> impl Iterator<Item = &HostPattern> {
        let moved = |(from, to, _): &&(HostPattern, HostPattern, Part)| {
            from != to && !below(&to.name, &from.name) && !self.keeps.contains(from)
        };
        self.rules.iter().filter(moved).map(|(from, ..)| from)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

fn below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
}

/// Endpoints outside: every line stands for one of them.
#[derive(Default)]
pub(super) struct Endpoints {
    map: BTreeMap<Endpoint, (Endpoint, Part)>,
}

impl Endpoints {
    /// What an endpoint is called on B.
    pub(super) fn find(&self, endpoint: &Endpoint) -> Option<(Endpoint, Part)> {
        self.map.get(endpoint).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// The joined maps of every recipe.
#[derive(Default)]
pub(super) struct Maps {
    classes: BTreeMap<Class, Names>,
    pub(super) namespaces: Names,
    pub(super) images: Images,
    pub(super) hosts: Hosts,
    pub(super) endpoints: Endpoints,
    pub(super) domains: Names,
    pub(super) renames: Renames,
    /// Whether the names that objects have are wanted, whatever they become.
    asking: bool,
}

impl Maps {
    /// Maps that change nothing and see every name.
    pub(super) fn asking() -> Self {
        Self {
            asking: true,
            ..Self::default()
        }
    }

    /// The names of one sort of class.
    pub(super) fn class(&mut self, class: Class) -> &mut Names {
        self.classes.entry(class).or_default()
    }

    /// Names of classes the objects have.
    pub(super) fn seen_classes(&self, class: Class) -> BTreeSet<String> {
        let names = self.classes.get(&class);
        names.map(|names| names.seen.clone()).unwrap_or_default()
    }

    /// Names of storage classes on A that become another name.
    pub(super) fn moved_classes(&self) -> impl Iterator<Item = &str> {
        self.classes.values().flat_map(Names::moved)
    }

    /// What a name becomes at a place of a transform's rows, and the part that says so.
    pub(super) fn find(
        &mut self,
        rewrites: Rewrites,
        form: Form,
        name: &str,
    ) -> Option<(String, Part)> {
        match (rewrites, form) {
            (Rewrites::Namespace, _) => self.namespaces.find(name),
            (Rewrites::Image, Form::DockerConfig) => self.images.prefix(name),
            (Rewrites::Image, Form::Registry) if !self.asking => self.images.prefix(name),
            (Rewrites::Image, _) => self.images.find(name),
            (Rewrites::Host, _) => self.hosts.find(name),
            (class, _) => self.class(Class::rewritten(class)?).find(name),
        }
    }

    /// Whether names of a transform can change by these maps.
    pub(super) fn change(&self, rewrites: Rewrites) -> bool {
        let class = || self.classes.get(&Class::rewritten(rewrites)?);
        self.asking
            || match rewrites {
                Rewrites::Namespace => !self.namespaces.is_empty(),
                Rewrites::Image => !self.images.is_empty(),
                Rewrites::Host => !self.hosts.is_empty(),
                _ => class().is_some_and(|names| !names.is_empty()),
            }
    }

    /// Whether no reference can change by these maps.
    pub(super) fn leave_references(&self) -> bool {
        !self.asking
            && self.namespaces.is_empty()
            && self.renames.is_empty()
            && self.classes.values().all(Names::is_empty)
    }

    /// Whether a reference to an object of this kind can change by these maps.
    pub(super) fn concern(&self, kind: &GroupKind) -> bool {
        let class = || self.classes.get(&Class::of(&kind.group, &kind.kind)?);
        self.asking
            || !self.namespaces.is_empty()
            || !self.renames.is_empty()
            || class().is_some_and(|names| !names.is_empty())
    }
}

impl Maps {
    /// Joins the recipes' maps. Two recipes that map one source differently are a mistake.
    pub(super) fn join(recipes: &[Recipe]) -> Result<Self, Vec<Fault>> {
        let mut maps = Self::default();
        let mut faults = Vec::new();
        let mut images = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        for (recipe, document) in recipes.iter().enumerate() {
            let mut clash = Faults::new(document.source.clone());
            for entry in &document.entries {
                let part = |part| Part {
                    recipe,
                    entry: entry.number,
                    part,
                };
                match &entry.transform {
                    Transform::Class(class, map) => {
                        add(&mut maps.class(*class).map, map, part, &mut clash);
                    }
                    Transform::Namespace(map) => {
                        add(&mut maps.namespaces.map, map, part, &mut clash)
                    }
                    Transform::Registry(registry) => {
                        add(&mut images, &registry.map, part, &mut clash);
                        let first = registry.map.len();
                        let later = |number| part(first + number);
                        let digests = &mut maps.images.digests.map;
                        add(digests, &registry.digests, later, &mut clash);
                    }
                    Transform::Host(map) => add(&mut hosts, map, part, &mut clash),
                    Transform::Endpoint(map) => {
                        add(&mut maps.endpoints.map, map, part, &mut clash);
                    }
                    Transform::ClusterDomain(map) => {
                        add(&mut maps.domains.map, map, part, &mut clash);
                    }
                    // These select objects; they have no map that all share.
                    _ => {}
                }
            }
            faults.extend(clash.into_list());
        }
        maps.images.rules = rules(images, Prefix::weight);
        maps.hosts.rules = rules(hosts, |host: &HostPattern| match host.wildcard {
            true => host.name.len(),
            false => usize::MAX,
        });
        if faults.is_empty() {
            Ok(maps)
        } else {
            Err(faults)
        }
    }
}

fn add<T: Ord + Clone + Display>(
    all: &mut BTreeMap<T, (T, Part)>,
    map: &[Mapping<T>],
    part: impl Fn(usize) -> Part,
    clash: &mut Faults,
) {
    for (number, Mapping { from, to }) in map.iter().enumerate() {
        let rule = (to.value.clone(), part(number));
        let Some((other, _)) = all.insert(from.value.clone(), rule) else {
            continue;
        };
        if other != to.value {
            let (from_name, to_name) = (&from.value, &to.value);
            clash
                .add(
                    format!("`{from_name}` is mapped twice, to `{other}` and to `{to_name}`"),
                    &from.span,
                    format!("another recipe maps it to `{other}`"),
                )
                .help("keep one of the two; a base recipe leaves its target open with a variable");
        }
    }
}

fn rules<T: Ord>(map: BTreeMap<T, (T, Part)>, weight: impl Fn(&T) -> usize) -> Vec<(T, T, Part)> {
    let mut list: Vec<_> = map
        .into_iter()
        .map(|(from, (to, part))| (from, to, part))
        .collect();
    list.sort_by_key(|(from, ..)| std::cmp::Reverse(weight(from)));
    list
}
