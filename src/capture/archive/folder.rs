//! Manifests as people keep them: a folder of YAML and JSON, or a stream from `kustomize build` or
//! `helm template`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::super::error::CaptureError;
use super::{Archive, ArchiveError};
use crate::object::{Object, ObjectError};
use crate::yaml;

/// Most bytes of one file or stream.
const FILE_MAX: u64 = 256 << 20;
/// Most files of a folder.
const FILES_MAX: usize = 100_000;

impl Archive {
    /// Reads every `.yaml`, `.yml` and `.json` file of a folder and the folders in it. Hidden ones are
    /// left out, and links to folders are not followed.
    ///
    /// # Errors
    /// [`CaptureError::Archive`]: with every file that cannot be read or is no manifest.
    pub fn folder(path: &Path) -> Result<Self, CaptureError> {
        let (mut files, mut wrong) = (Vec::new(), Vec::new());
        walk(path, &mut files, &mut wrong);
        if files.len() > FILES_MAX {
            wrong.push(ArchiveError::TooLarge {
                place: path.display().to_string(),
                limit: format!("a folder may hold {FILES_MAX} manifests"),
            });
            files.clear();
        }
        let (mut objects, mut text) = (Vec::new(), String::new());
        for file in files {
            let place = file
                .strip_prefix(path)
                .unwrap_or(&file)
                .display()
                .to_string();
            text.clear();
            match read(&file, &mut text).and_then(|()| documents(&place, &text)) {
                Ok(found) => objects.extend(found),
                Err(error) => wrong.push(error),
            }
        }
        ArchiveError::none(wrong)?;
        let name = path.canonicalize().ok();
        let name = name.as_deref().unwrap_or(path).file_name();
        Ok(Self {
            name: name.map_or_else(
                || "folder".into(),
                |name| name.to_string_lossy().into_owned(),
            ),
            objects,
            ..Self::default()
        })
    }

    /// Reads one file of documents, or stdin as `-`.
    ///
    /// # Errors
    /// [`CaptureError::Archive`] when it cannot be read or holds what is no manifest.
    pub fn file(path: &Path) -> Result<Self, CaptureError> {
        let stdin = path == Path::new("-");
        let name = match path.file_name() {
            _ if stdin => "stdin".into(),
            Some(name) => name.to_string_lossy().into_owned(),
            None => path.display().to_string(),
        };
        let mut text = String::new();
        let read = match stdin {
            true => limited(std::io::stdin().lock(), path, &mut text),
            false => read(path, &mut text),
        };
        let objects = read
            .and_then(|()| documents(&name, &text))
            .map_err(|error| CaptureError::Archive(vec![error]))?;
        Ok(Self {
            name,
            objects,
            ..Self::default()
        })
    }
}

/// Finds manifests, in the order of their names.
fn walk(folder: &Path, files: &mut Vec<PathBuf>, wrong: &mut Vec<ArchiveError>) {
    let failed = |path: &Path, source| ArchiveError::Read {
        path: path.into(),
        source,
    };
    let mut entries = match fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => return wrong.push(failed(folder, error)),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        match (entry.file_type(), renderer(&name, folder)) {
            (Err(error), _) => wrong.push(failed(&path, error)),
            (Ok(kind), _) if kind.is_dir() => walk(&path, files, wrong),
            (Ok(_), Some(command)) => wrong.push(ArchiveError::Unrendered { path, command }),
            (Ok(kind), None) if is_manifest(&path) && (kind.is_file() || path.is_file()) => {
                files.push(path);
            }
            (Ok(_), None) => {}
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    })
}

/// How to render a folder that holds such a file.
fn renderer(name: &str, folder: &Path) -> Option<String> {
    let folder = folder.display();
    match name {
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => Some(format!(
            "kustomize build {folder} | ferry capture --from-file - …"
        )),
        "Chart.yaml" => Some(format!(
            "helm template RELEASE {folder} | ferry capture --from-file - …"
        )),
        _ => None,
    }
}

fn read(path: &Path, text: &mut String) -> Result<(), ArchiveError> {
    let file = fs::File::open(path).map_err(|source| ArchiveError::Read {
        path: path.into(),
        source,
    })?;
    limited(file, path, text)
}

fn limited(reader: impl Read, path: &Path, text: &mut String) -> Result<(), ArchiveError> {
    let read = reader.take(FILE_MAX + 1).read_to_string(text);
    read.map_err(|source| ArchiveError::Read {
        path: path.into(),
        source,
    })?;
    match text.len() as u64 > FILE_MAX {
        true => Err(ArchiveError::TooLarge {
            place: path.display().to_string(),
            limit: format!("a file may have {} MiB", FILE_MAX >> 20),
        }),
        false => Ok(()),
    }
}

/// The objects of a text, each with its place.
fn documents(name: &str, text: &str) -> Result<Vec<(Object, Arc<str>)>, ArchiveError> {
    let mut objects = Vec::new();
    if text.trim_start().starts_with('{') {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        for (position, value) in values.enumerate() {
            let place = place(name, position);
            let value = value.map_err(|source| ArchiveError::Json {
                place: place.to_string(),
                source,
            })?;
            expand(value, &place, &mut objects)?;
        }
        return Ok(objects);
    }
    // One by one, so that the reader's limits are for a document and not for a whole cluster.
    for (position, document) in split(text).enumerate() {
        let place = place(name, position);
        let values = yaml::parse_all(document).map_err(|source| ArchiveError::Yaml {
            place: place.to_string(),
            source,
        })?;
        for value in values {
            expand(value, &place, &mut objects)?;
        }
    }
    Ok(objects)
}

fn place(name: &str, position: usize) -> Arc<str> {
    format!("{name}, document {}", position + 1).into()
}

/// The documents of a stream. A line that begins with `---` separates wherever it stands.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if at > 0
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(text.len());
    let pairs: Vec<(usize, usize)> = starts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let documents = pairs.into_iter().map(|(start, end)| &text[start..end]);
    documents.filter(|document| {
        let mut lines = document.lines();
        // What holds only comments is no document, and is not counted as one.
        lines.any(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("---"))
            || document.starts_with("--- ")
    })
}

/// An object, or those of a list of them.
fn expand(
    value: Value,
    place: &Arc<str>,
    objects: &mut Vec<(Object, Arc<str>)>,
) -> Result<(), ArchiveError> {
    let is_list = value["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            let kind = map.get("kind").and_then(Value::as_str).unwrap_or_default();
            let kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
            let version = map.get("apiVersion").cloned().unwrap_or_default();
            let items = map.get_mut("items").map(Value::take);
            let Some(Value::Array(items)) = items else {
                return Ok(());
            };
            for mut item in items {
                // `kubectl get -o json` writes a plain List, API servers lists of one kind.
                if let (Value::Object(item), false) = (&mut item, kind.is_empty()) {
                    item.entry("kind").or_insert_with(|| kind.clone().into());
                    item.entry("apiVersion").or_insert_with(|| version.clone());
                }
                expand(item, place, objects)?;
            }
            Ok(())
        }
        value => {
            let wrong = |source| ArchiveError::NoObject {
                place: place.to_string(),
                source,
            };
            let object = Object::new(value).map_err(wrong)?;
            let names = [Some(object.name()), object.namespace()];
            if let Some(name) = names.into_iter().flatten().find(|name| !is_segment(name)) {
                return Err(wrong(ObjectError::Name(name.to_owned())));
            }
            objects.push((object, Arc::clone(place)));
            Ok(())
        }
    }
}

/// Whether a text can stand between two slashes of an API server's path.
fn is_segment(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests;
