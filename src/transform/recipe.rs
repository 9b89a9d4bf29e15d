//! A recipe as a value: what the file says, checked, each part with its place in the source.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use serde_json::Value;

use super::class::Class;
use super::config_text::Text;
use super::convert::Convert;
use super::endpoint::Endpoint;
use super::exposure::Exposure;
use super::fault::{Faults, RecipeErrors};
use super::guard::CloneGuard;
use super::hooks::HookEntry;
use super::host::HostPattern;
use super::image::Prefix;
use super::parse;
use super::rename::Names;
use super::resources::Resources;
use super::scheduling::Scheduling;
use super::secrets::Secrets;
use super::select::Select;
use super::values::Values;
use super::variables::Variable;
use super::volumes::Volumes;
use crate::object::path::PathPattern;

/// A value and the bytes of the recipe where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the source.
    pub span: Range<usize>,
}

/// One line of a `map:`; what is on A, and what it becomes on B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<T> {
    /// On A.
    pub from: Placed<T>,
    /// On B.
    pub to: Placed<T>,
}

/// A checked recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// `metadata.name`.
    pub name: String,
    /// SHA-256 of the text and the values of its variables as hex: what a plan was computed from.
    pub digest: String,
    /// The entries of `transforms`, in order.
    pub entries: Vec<Entry>,
    /// The entries of `hooks`, in order.
    pub hooks: Vec<HookEntry>,
    /// Its variables and what they hold, in order.
    pub variables: Vec<Variable>,
    pub(crate) source: Arc<NamedSource<String>>,
}

/// One entry of `transforms`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position in the list, from 0.
    pub number: usize,
    /// The entry's own name, if it has one.
    pub name: Option<String>,
    /// Whether it may match nothing.
    pub optional: bool,
    /// Whether it may set again what another entry set.
    pub r#override: bool,
    /// Bytes of its transform's key.
    pub span: Range<usize>,
    /// What it does.
    pub transform: Transform,
}

/// What an entry does.
#[derive(Clone, Debug)]
pub enum Transform {
    /// T-1, T-6: names of classes.
    Class(Class, Vec<Mapping<String>>),
    /// T-2: image registries, repository prefixes and digests.
    Registry(Registry),
    /// T-3: names of objects.
    Names(Names),
    /// T-4: namespaces.
    Namespace(Vec<Mapping<String>>),
    /// T-5: host names.
    Host(Vec<Mapping<HostPattern>>),
    /// T-6: where pods may run.
    Scheduling(Scheduling),
    /// T-6: how Services are reached from outside.
    Exposure(Exposure),
    /// T-7: replica counts.
    Scale(Scale),
    /// T-7: what containers ask for.
    Resources(Resources),
    /// T-8: sizes and modes of claims.
    Volumes(Volumes),
    /// T-9: configuration text.
    Text(Text),
    /// T-10: secrets.
    Secrets(Secrets),
    /// T-11: addresses outside the clusters.
    Endpoint(Vec<Mapping<Endpoint>>),
    /// T-11: the clusters' own DNS domains.
    ClusterDomain(Vec<Mapping<String>>),
    /// T-12: labels of objects.
    Labels(Marks),
    /// T-12: annotations of objects.
    Annotations(Marks),
    /// T-13: a copy that can do no harm.
    CloneGuard(CloneGuard),
    /// OpenShift's kinds as those of plain Kubernetes.
    Convert(Convert),
    /// Objects that stay on A.
    LeaveOut(Select),
    /// Anything else, by hand.
    Patch(Patch),
}

/// T-2: where images are on B.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Registries and repository prefixes.
    pub map: Vec<Mapping<Prefix>>,
    /// Digests of images that are another one after they were copied.
    pub digests: Vec<Mapping<String>>,
}

/// T-7: replica counts of selected workloads.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Which workloads.
    pub select: Select,
    /// Replicas they get.
    pub replicas: Option<u32>,
    /// The fewest replicas an autoscaler of theirs keeps.
    pub min: Option<u32>,
    /// The most replicas an autoscaler of theirs makes.
    pub max: Option<u32>,
}

/// T-12: labels or annotations to set and to remove.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Which objects.
    pub select: Select,
    /// Keys and values to set.
    pub set: Vec<(Placed<String>, String)>,
    /// Keys to remove.
    pub remove: Vec<Placed<String>>,
    /// Whether pod templates get them too.
    pub pods: bool,
}

/// A patch on selected objects.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Which objects.
    pub select: Select,
    /// How they are changed.
    pub change: PatchChange,
}

/// How a patch is written.
#[derive(Clone, Debug)]
pub enum PatchChange {
    /// RFC 6902; each operation with its place.
    Json(Vec<Operation>),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own: lists are merged by the keys of their elements.
    Strategic(Placed<Value>),
}

/// One operation of a JSON Patch.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where its name stands.
    pub span: Range<usize>,
    /// Where in the object: a JSON pointer, or every place of a pattern.
    pub path: OperationPath,
    /// What to do; its path is empty where `path` is a pattern.
    pub operation: json_patch::PatchOperation,
}

/// Where an operation acts.
#[derive(Clone, Debug)]
pub enum OperationPath {
    /// At the operation's own RFC 6901 pointer.
    Pointer,
    /// At every place of a pattern (rule book §7).
    Pattern(PathPattern),
    /// At this key below every place of a pattern: what `add` needs, as nothing is there yet.
    Below(PathPattern, String),
}

impl Transform {
    /// The key that names the transform in a recipe.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Class(class, _) => class.key(),
            Self::Registry(_) => "registry",
            Self::Names(_) => "names",
            Self::Namespace(_) => "namespace",
            Self::Host(_) => "host",
            Self::Scheduling(_) => "scheduling",
            Self::Exposure(_) => "exposure",
            Self::Scale(_) => "scale",
            Self::Resources(_) => "resources",
            Self::Volumes(_) => "volumes",
            Self::Text(_) => "text",
            Self::Secrets(_) => "secrets",
            Self::Endpoint(_) => "endpoint",
            Self::ClusterDomain(_) => "clusterDomain",
            Self::Labels(_) => "labels",
            Self::Annotations(_) => "annotations",
            Self::CloneGuard(_) => "cloneGuard",
            Self::Convert(_) => "convert",
            Self::LeaveOut(_) => "leaveOut",
            Self::Patch(_) => "patch",
        }
    }

    /// Its rule in the rule book; what has none there is called as in a recipe.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Class(class, _) => class.rule(),
            Self::Registry(_) => "T-2",
            Self::Names(_) => "T-3",
            Self::Namespace(_) => "T-4",
            Self::Host(_) => "T-5",
            Self::Scheduling(_) | Self::Exposure(_) => "T-6",
            Self::Scale(_) | Self::Resources(_) => "T-7",
            Self::Volumes(_) => "T-8",
            Self::Text(_) => "T-9",
            Self::Secrets(_) => "T-10",
            Self::Endpoint(_) | Self::ClusterDomain(_) => "T-11",
            Self::Labels(_) | Self::Annotations(_) => "T-12",
            Self::CloneGuard(_) => "T-13",
            Self::Convert(_) => "convert",
            Self::LeaveOut(_) => "leaveOut",
            Self::Patch(_) => "patch",
        }
    }

    /// Which objects it is about, for those transforms that select.
    pub fn select(&self) -> Option<&Select> {
        match self {
            Self::Names(names) => Some(&names.select),
            Self::Scheduling(scheduling) => Some(&scheduling.select),
            Self::Exposure(exposure) => Some(&exposure.select),
            Self::Scale(scale) => Some(&scale.select),
            Self::Resources(resources) => Some(&resources.select),
            Self::Volumes(volumes) => Some(&volumes.select),
            Self::Text(text) => Some(&text.select),
            Self::Secrets(secrets) => Some(&secrets.select),
            Self::Labels(marks) | Self::Annotations(marks) => Some(&marks.select),
            Self::CloneGuard(guard) => Some(&guard.select),
            Self::Convert(convert) => Some(&convert.select),
            Self::LeaveOut(select) => Some(select),
            Self::Patch(patch) => Some(&patch.select),
            Self::Class(..)
            | Self::Registry(_)
            | Self::Namespace(_)
            | Self::Host(_)
            | Self::Endpoint(_)
            | Self::ClusterDomain(_) => None,
        }
    }

    pub(super) fn select_mut(&mut self) -> Option<&mut Select> {
        match self {
            Self::Names(names) => Some(&mut names.select),
            Self::Scheduling(scheduling) => Some(&mut scheduling.select),
            Self::Exposure(exposure) => Some(&mut exposure.select),
            Self::Scale(scale) => Some(&mut scale.select),
            Self::Resources(resources) => Some(&mut resources.select),
            Self::Volumes(volumes) => Some(&mut volumes.select),
            Self::Text(text) => Some(&mut text.select),
            Self::Secrets(secrets) => Some(&mut secrets.select),
            Self::Labels(marks) | Self::Annotations(marks) => Some(&mut marks.select),
            Self::CloneGuard(guard) => Some(&mut guard.select),
            Self::Convert(convert) => Some(&mut convert.select),
            Self::LeaveOut(select) => Some(select),
            Self::Patch(patch) => Some(&mut patch.select),
            Self::Class(..)
            | Self::Registry(_)
            | Self::Namespace(_)
            | Self::Host(_)
            | Self::Endpoint(_)
            | Self::ClusterDomain(_) => None,
        }
    }

    /// What must each match something, with its place: every line of a map, or the entry as a whole.
    pub fn rules(&self, entry: &Range<usize>) -> Vec<(Option<String>, Range<usize>)> {
        fn lines<T: std::fmt::Display>(
            map: &[Mapping<T>],
        ) -> impl Iterator<Item = (Option<String>, Range<usize>)> {
            map.iter()
                .map(|line| (Some(line.from.value.to_string()), line.from.span.clone()))
        }
        match self {
            Self::Class(_, map) | Self::Namespace(map) | Self::ClusterDomain(map) => {
                lines(map).collect()
            }
            Self::Registry(registry) => lines(&registry.map)
                .chain(lines(&registry.digests))
                .collect(),
            Self::Names(names) => lines(&names.map).collect(),
            Self::Host(map) => lines(map).collect(),
            Self::Endpoint(map) => lines(map).collect(),
            Self::Text(text) => text
                .replace
                .iter()
                .map(|rule| (Some(rule.shown.clone()), rule.span.clone()))
                .collect(),
            Self::Scheduling(scheduling) => scheduling.rules().collect(),
            Self::Exposure(exposure) => exposure.rules(),
            Self::Scale(_)
            | Self::Resources(_)
            | Self::Volumes(_)
            | Self::Secrets(_)
            | Self::Labels(_)
            | Self::Annotations(_)
            | Self::CloneGuard(_)
            | Self::Convert(_)
            | Self::LeaveOut(_)
            | Self::Patch(_) => vec![(None, entry.clone())],
        }
    }
}

impl Recipe {
    /// Reads a recipe that stands alone: nothing is included, and variables have their defaults.
    /// `file` is what the user calls it and is shown in errors.
    ///
    /// # Errors
    /// Every mistake in the file at once: not YAML, unknown or missing keys, wrong types, names no
    /// cluster would accept, one source mapped to two targets.
    pub fn parse(file: &str, text: &str) -> Result<Self, RecipeErrors> {
        let source = NamedSource::new(file, text.to_owned()).with_language("yaml");
        let source = Arc::new(source);
        let read = parse::read(&source, &Values::default(), &Values::default());
        let mut faults = Faults::new(source);
        for include in &read.includes {
            faults
                .add(
                    "a recipe that stands alone includes no other",
                    &include.target.span,
                    "included here",
                )
                .help("read it from its file");
        }
        let mut list = read.faults;
        list.extend(faults.into_list());
        match read.recipe {
            Some(recipe) if list.is_empty() => Ok(recipe),
            _ => Err(RecipeErrors {
                name: file.to_owned(),
                faults: list,
            }),
        }
    }
}
