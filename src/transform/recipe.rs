//! A recipe as a value: what the file says, checked, each part with its place in the source.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use serde_json::Value;

use super::fault::{Faults, RecipeErrors};
use super::host::HostPattern;
use super::image::Prefix;
use super::parse;
use super::select::Select;
use super::values::Values;
use super::variables::Variable;

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
    /// Bytes of its transform's key.
    pub span: Range<usize>,
    /// What it does.
    pub transform: Transform,
}

/// What an entry does.
#[derive(Clone, Debug)]
pub enum Transform {
    /// T-1: storage classes by name.
    StorageClass(Vec<Mapping<String>>),
    /// T-2: image registries and repository prefixes.
    Registry(Vec<Mapping<Prefix>>),
    /// T-4: namespaces.
    Namespace(Vec<Mapping<String>>),
    /// T-5: host names.
    Host(Vec<Mapping<HostPattern>>),
    /// T-7: replica counts.
    Scale(Scale),
    /// T-12: labels of objects.
    Labels(Marks),
    /// T-12: annotations of objects.
    Annotations(Marks),
    /// Anything else, by hand.
    Patch(Patch),
}

/// T-7: replica counts of selected workloads.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Which workloads.
    pub select: Select,
    /// Replicas they get.
    pub replicas: u32,
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
    Json(Vec<Placed<json_patch::PatchOperation>>),
    /// RFC 7386.
    Merge(Value),
}

impl Transform {
    /// The key that names the transform in a recipe.
    pub fn key(&self) -> &'static str {
        match self {
            Self::StorageClass(_) => "storageClass",
            Self::Registry(_) => "registry",
            Self::Namespace(_) => "namespace",
            Self::Host(_) => "host",
            Self::Scale(_) => "scale",
            Self::Labels(_) => "labels",
            Self::Annotations(_) => "annotations",
            Self::Patch(_) => "patch",
        }
    }

    /// Which objects it is about, for those transforms that select.
    pub fn select(&self) -> Option<&Select> {
        match self {
            Self::Scale(scale) => Some(&scale.select),
            Self::Labels(marks) | Self::Annotations(marks) => Some(&marks.select),
            Self::Patch(patch) => Some(&patch.select),
            Self::StorageClass(_) | Self::Registry(_) | Self::Namespace(_) | Self::Host(_) => None,
        }
    }

    pub(super) fn select_mut(&mut self) -> Option<&mut Select> {
        match self {
            Self::Scale(scale) => Some(&mut scale.select),
            Self::Labels(marks) | Self::Annotations(marks) => Some(&mut marks.select),
            Self::Patch(patch) => Some(&mut patch.select),
            Self::StorageClass(_) | Self::Registry(_) | Self::Namespace(_) | Self::Host(_) => None,
        }
    }

    /// Its rule in the rule book; patches have none.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::StorageClass(_) => "T-1",
            Self::Registry(_) => "T-2",
            Self::Namespace(_) => "T-4",
            Self::Host(_) => "T-5",
            Self::Scale(_) => "T-7",
            Self::Labels(_) | Self::Annotations(_) => "T-12",
            Self::Patch(_) => "patch",
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
