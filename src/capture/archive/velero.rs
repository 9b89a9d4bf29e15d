//! The tarball of a Velero backup, `backups/<name>/<name>.tar.gz`.
//!
//! ```text
//! metadata/version                                             1.1.0
//! resources/<resource>[.<group>]/{cluster,namespaces/<ns>}/<name>.json
//! resources/<resource>[.<group>]/<version>[-preferredversion]/{cluster,namespaces/<ns>}/<name>.json
//! ```
//!
//! Objects are in there as A's server gave them, those of the preferred version twice. The version
//! folders are all that is known of A's API. Volumes are elsewhere, in Velero's own repositories; see
//! [`crate::store::velero`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::error::CaptureError;
use super::tarball::{each, hostile};
use super::{Archive, ArchiveError};
use crate::object::Object;
use crate::surface::ApiResource;

impl Archive {
    /// Reads the tarball of a Velero backup.
    ///
    /// # Errors
    /// [`CaptureError::Archive`]: a file that is no backup, or one that no Velero wrote.
    pub fn velero(path: &Path) -> Result<Self, CaptureError> {
        let mut reader = Reader::default();
        each(path, |name, content| reader.entry(name, content))
            .and_then(|()| reader.finish(path))
            .map_err(|error| CaptureError::Archive(vec![error]))
    }
}

/// Resource, namespace and name: one object at all its versions.
type Key = (String, Option<String>, String);

#[derive(Default)]
struct Reader {
    format: Option<String>,
    seen: BTreeSet<String>,
    objects: BTreeMap<Key, Found>,
    /// Versions found of a resource, and whether one is preferred.
    versions: BTreeMap<(String, String), bool>,
}

struct Found {
    rank: Rank,
    object: Object,
    place: String,
}

/// Which copy of an object is taken, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Plain,
    Preferred,
    Other,
}

/// What the path of an entry says.
struct Location<'a> {
    resource: &'a str,
    version: Option<&'a str>,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Location<'a> {
    fn read(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let (resource, version, namespace, file) = match parts.as_slice() {
            [resource, "cluster", file] => (*resource, None, None, *file),
            [resource, "namespaces", namespace, file] => (*resource, None, Some(*namespace), *file),
            [resource, version, "cluster", file] => (*resource, Some(*version), None, *file),
            [resource, version, "namespaces", namespace, file] => {
                (*resource, Some(*version), Some(*namespace), *file)
            }
            _ => return None,
        };
        Some(Self {
            resource,
            version,
            namespace,
            name: file.strip_suffix(".json")?,
        })
    }

    fn rank(&self) -> Rank {
        match self.version {
            None => Rank::Plain,
            Some(version) if version.ends_with(PREFERRED) => Rank::Preferred,
            Some(_) => Rank::Other,
        }
    }

    fn group(&self) -> &'a str {
        self.resource.split_once('.').map_or("", |(_, group)| group)
    }

    /// The version, without the mark of the preferred one.
    fn bare_version(&self) -> Option<&'a str> {
        let version = self.version?;
        Some(version.strip_suffix(PREFERRED).unwrap_or(version))
    }

    /// Whether an object is the one its path says.
    fn fits(&self, object: &Object) -> bool {
        object.name() == self.name
            && object.namespace() == self.namespace
            && object.group() == self.group()
            && self
                .bare_version()
                .is_none_or(|version| object.version() == version)
    }
}

/// Ends the folder of a group's preferred version.
const PREFERRED: &str = "-preferredversion";

impl Reader {
    fn entry(&mut self, path: &str, content: &[u8]) -> Result<(), ArchiveError> {
        if !self.seen.insert(path.to_owned()) {
            return Err(hostile(path, "is there twice".into()));
        }
        if path == "metadata/version" {
            self.format = Some(String::from_utf8_lossy(content).trim().to_owned());
        }
        let Some(rest) = path.strip_prefix("resources/") else {
            // Later versions of Velero may add files beside the objects.
            return Ok(());
        };
        let location = Location::read(rest)
            .ok_or_else(|| hostile(path, "is not where Velero puts anything".into()))?;
        if let Some(version) = location.bare_version() {
            let versions = (location.resource.to_owned(), version.to_owned());
            *self.versions.entry(versions).or_default() |= location.rank() == Rank::Preferred;
        }
        let key: Key = (
            location.resource.into(),
            location.namespace.map(Into::into),
            location.name.into(),
        );
        if self
            .objects
            .get(&key)
            .is_some_and(|found| found.rank <= location.rank())
        {
            return Ok(());
        }
        let value = serde_json::from_slice(content).map_err(|source| ArchiveError::Json {
            place: path.into(),
            source,
        })?;
        let object = Object::new(value).map_err(|source| ArchiveError::NoObject {
            place: path.into(),
            source,
        })?;
        if !location.fits(&object) {
            let reason = format!("holds {} of {}", object.id(), object.api_version());
            return Err(hostile(path, reason));
        }
        let found = Found {
            rank: location.rank(),
            object,
            place: path.into(),
        };
        self.objects.insert(key, found);
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<Archive, ArchiveError> {
        let no_backup = |reason: String| ArchiveError::NoBackup {
            path: path.into(),
            reason,
        };
        let format = self
            .format
            .ok_or_else(|| no_backup("it has no metadata/version".into()))?;
        if format.split('.').next() != Some("1") {
            return Err(no_backup(format!("its format is {format}")));
        }
        let mut kinds: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
        for ((resource, namespace, _), found) in &self.objects {
            kinds.insert(resource, (found.object.kind(), namespace.is_some()));
        }
        let served = |((resource, version), preferred): (&(String, String), &bool)| {
            let (kind, namespaced) = kinds.get(resource.as_str())?;
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            Some(ApiResource {
                group: group.into(),
                version: version.clone(),
                kind: (*kind).into(),
                plural: plural.into(),
                namespaced: *namespaced,
                verbs: BTreeSet::new(),
                preferred: *preferred,
                subresources: BTreeSet::new(),
            })
        };
        let resources = self.versions.iter().filter_map(served).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Archive {
            name: name.strip_suffix(".tar.gz").unwrap_or(&name).to_owned(),
            objects: self
                .objects
                .into_values()
                .map(|found| (found.object, found.place.into()))
                .collect(),
            resources,
            ..Archive::default()
        })
    }
}

#[cfg(test)]
mod tests;
