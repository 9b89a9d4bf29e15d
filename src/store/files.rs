//! A capture as files of one restic snapshot, and back.
//!
//! ```text
//! capture.yaml                                      what it is, volumes, owners, what stayed and why
//! surface/cluster.yaml                              what A serves
//! surface/objects/<group>/<kind>/<name>.yaml        A's classes, definitions, nodes …; the few that
//!                                                   live in namespaces have these before the group
//! objects/<namespace>/<group>/<kind>/<name>.yaml    what travels, sanitised: `kubectl apply` takes it
//! raw/<namespace>/<group>/<kind>/<name>.yaml        the same as A's server gave it
//! ```
//!
//! `<namespace>` is `_cluster` for cluster-wide objects, `<group>` is `core` for the core group.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::StoreError;
use super::location::Location;
use crate::capture::{Capture, Captured, Dropped, Owner, Volume};
use crate::finding::Finding;
use crate::object::{GroupKind, Object, ObjectId};
use crate::repository::FileEntry;
use crate::spread::spread;
use crate::surface::{ApiResource, ClusterIdentity, Surface};
use crate::yaml;

/// Version of the form of these files.
const FORMAT: u32 = 1;

/// Longest file name nearly everywhere, in bytes, less `.yaml`.
const NAME_MAX: usize = 250;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    id: String,
    created: jiff::Timestamp,
    cluster: ClusterIdentity,
    namespaces: Vec<String>,
    volumes: Vec<Volume>,
    owners: Vec<Owned>,
    dropped: Vec<Dropped>,
    #[serde(default)]
    findings: Vec<Finding>,
}

#[derive(Serialize, Deserialize)]
struct Owned {
    object: ObjectId,
    owners: Vec<Owner>,
}

#[derive(Serialize, Deserialize)]
struct Served {
    unseen: Vec<GroupKind>,
    #[serde(default)]
    silent: BTreeSet<String>,
    resources: Vec<ApiResource>,
}

/// The capture as files. Those of the objects that travel are written when they are asked for: all at
/// once they would be the capture a second time.
pub(super) fn write(
    capture: &Capture,
) -> Result<impl Iterator<Item = Result<FileEntry, StoreError>> + Send + use<>, StoreError> {
    let Capture {
        id,
        created,
        namespaces,
        objects,
        dropped,
        volumes,
        surface,
        findings,
    } = capture;
    let Surface {
        cluster,
        resources,
        objects: classes,
        unseen,
        silent,
    } = surface;
    let head = Head {
        format: FORMAT,
        id: id.clone(),
        created: *created,
        cluster: cluster.clone(),
        namespaces: namespaces.clone(),
        volumes: volumes.clone(),
        owners: owned(objects),
        dropped: dropped.clone(),
        findings: findings.clone(),
    };
    let served = Served {
        unseen: unseen.iter().cloned().collect(),
        silent: silent.clone(),
        resources: resources.clone(),
    };
    let mut files = vec![
        file("capture.yaml", &head)?,
        file("surface/cluster.yaml", &served)?,
    ];
    for class in classes {
        let id = class.id();
        let home = id.namespace.as_ref().map(|name| format!("{name}/"));
        let home = home.unwrap_or_default();
        files.push(file(
            &format!("surface/objects/{home}{}", place(&id)),
            class,
        )?);
    }
    let pairs = objects
        .iter()
        .map(|one| (one.object.clone(), one.raw.clone()));
    let mut pairs = pairs.collect::<Vec<_>>().into_iter();
    let some = move || {
        let some: Vec<(Object, Object)> = pairs.by_ref().take(AT_ONCE).collect();
        (!some.is_empty())
            .then(|| spread(&some, |share| share.iter().flat_map(two_files).collect()))
    };
    let travelling = std::iter::from_fn(some).flatten();
    Ok(files.into_iter().map(Ok).chain(travelling))
}

/// Objects that are made files of at once: enough for several processors, too few to count in memory.
const AT_ONCE: usize = 2000;

/// An object as it travels and as it was.
fn two_files((object, raw): &(Object, Object)) -> [Result<FileEntry, StoreError>; 2] {
    let id = object.id();
    let home = id.namespace.as_deref().unwrap_or("_cluster");
    let place = place(&id);
    [
        text(format!("objects/{home}/{place}"), object.value()),
        text(format!("raw/{home}/{place}"), raw.value()),
    ]
}

fn owned(objects: &[Captured]) -> Vec<Owned> {
    let with = objects
        .iter()
        .filter(|captured| !captured.owners.is_empty());
    with.map(|captured| Owned {
        object: captured.object.id(),
        owners: captured.owners.clone(),
    })
    .collect()
}

fn file(name: &str, content: &impl Serialize) -> Result<FileEntry, StoreError> {
    let value = serde_json::to_value(content).unwrap_or(Value::Null);
    text(name.into(), &value)
}

fn text(name: String, value: &Value) -> Result<FileEntry, StoreError> {
    match yaml::emit(value) {
        Ok(text) => Ok((name, text.into_bytes())),
        Err(source) => Err(StoreError::Emit { name, source }),
    }
}

fn place(id: &ObjectId) -> String {
    let group = if id.group.is_empty() {
        "core"
    } else {
        &id.group
    };
    let kind = id.kind.to_lowercase();
    let name = match id.name.len() {
        0..=NAME_MAX => id.name.to_string(),
        _ => {
            let digest = blake3::hash(id.name.as_bytes()).to_hex();
            let cut = id
                .name
                .char_indices()
                .take_while(|(at, _)| *at < 200)
                .count();
            let start: String = id.name.chars().take(cut).collect();
            format!("{start}~{}", &digest[..16])
        }
    };
    format!("{group}/{kind}/{name}.yaml")
}

/// The capture from its files, in any order.
pub(super) fn read(
    location: &Location,
    files: impl Iterator<Item = Result<FileEntry, StoreError>>,
) -> Result<Capture, StoreError> {
    let (mut head, mut served): (Option<Head>, Option<Served>) = (None, None);
    let (mut objects, mut raws) = (BTreeMap::new(), BTreeMap::new());
    let mut classes = Vec::new();
    for entry in files {
        let (name, content) = entry?;
        match name.trim_start_matches('/').split_once('/') {
            None if name.ends_with("capture.yaml") => {
                head = Some(parse(location, &name, content)?);
            }
            Some(("surface", "cluster.yaml")) => served = Some(parse(location, &name, content)?),
            Some(("surface", _)) => classes.push(parse::<Object>(location, &name, content)?),
            Some(("objects", _)) => insert(&mut objects, parse(location, &name, content)?),
            Some(("raw", _)) => insert(&mut raws, parse(location, &name, content)?),
            _ => {}
        }
    }
    let missing = |name: &str| StoreError::damaged(location, name, "it is missing");
    let head = head.ok_or_else(|| missing("capture.yaml"))?;
    let served = served.ok_or_else(|| missing("surface/cluster.yaml"))?;
    if head.format != FORMAT {
        let reason = format!("its format is {}, this version reads {FORMAT}", head.format);
        return Err(StoreError::damaged(location, "capture.yaml", reason));
    }
    let mut owners: BTreeMap<ObjectId, Vec<Owner>> = head
        .owners
        .into_iter()
        .map(|owned| (owned.object, owned.owners))
        .collect();
    let captured = |(id, object): (ObjectId, Object)| {
        let raw = raws
            .remove(&id)
            .ok_or_else(|| missing(&format!("the raw {id}")))?;
        Ok(Captured {
            owners: owners.remove(&id).unwrap_or_default(),
            object,
            raw,
        })
    };
    let objects = objects
        .into_iter()
        .map(captured)
        .collect::<Result<_, StoreError>>()?;
    classes.sort_by_cached_key(Object::id);
    Ok(Capture {
        id: head.id,
        created: head.created,
        namespaces: head.namespaces,
        objects,
        dropped: head.dropped,
        volumes: head.volumes,
        findings: head.findings,
        surface: Surface {
            cluster: head.cluster,
            resources: served.resources,
            objects: classes,
            unseen: served.unseen.into_iter().collect(),
            silent: served.silent,
        },
    })
}

fn insert(objects: &mut BTreeMap<ObjectId, Object>, object: Object) {
    objects.insert(object.id(), object);
}

fn parse<T: DeserializeOwned>(
    location: &Location,
    name: &str,
    content: Vec<u8>,
) -> Result<T, StoreError> {
    let text =
        String::from_utf8(content).map_err(|source| StoreError::damaged(location, name, source))?;
    yaml::read(&text).map_err(|source| StoreError::damaged(location, name, source))
}
