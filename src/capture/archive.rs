//! Captures of what was written down elsewhere: a folder of YAML, a rendered stream, a Velero backup.
//!
//! ```text
//! files ──read──▶ Archive: objects, each with its place ──▶ scope, namespaces, closure ──▶ Capture
//! ```
//!
//! Who cannot reach cluster A can still graph, transform, check and plan. Nothing is made up for what
//! files cannot tell: classes, nodes and served versions of A are *unseen*, and claims have no data.
//! Files come from anywhere, so each reader has limits, and one bad document refuses the whole.

mod error;
mod folder;
mod tarball;
mod velero;

pub use error::ArchiveError;
pub(super) use error::list;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;

use super::assemble::{Assembled, assemble};
use super::closure::{CRD, named_roles, share};
use super::error::CaptureError;
use super::selection::{Chooser, Selection};
use super::{Capture, DropClass, Dropped, listing, volumes};
use crate::cluster::SURFACE_KINDS;
use crate::event::{Events, Stage};
use crate::finding::{Finding, Verdict};
use crate::knowledge::Knowledge;
use crate::knowledge::kinds::Kinds;
use crate::moment;
use crate::object::{GroupKind, Object, ObjectId};
use crate::report::units::plural;
use crate::surface::{ApiResource, ClusterIdentity, Surface};

/// Objects that were read from files.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// By what name the user knows it.
    name: String,
    /// Every object with the place it was read from, as in `web.yaml, document 2`.
    objects: Vec<(Object, Arc<str>)>,
    /// What the archive itself says about A's API.
    resources: Vec<ApiResource>,
    /// When its objects were as they are, if that is known.
    taken: Option<jiff::Timestamp>,
    data: Data,
}

/// The data of an archive's claims, which is never in the archive itself.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Claims whose data is at hand.
    pub at_hand: BTreeSet<ObjectId>,
    /// Claims whose data is where it cannot be reached, and why.
    pub elsewhere: BTreeMap<ObjectId, String>,
}

impl Archive {
    /// Says where the claims' data is, so that the capture describes the volumes of what is at hand. Saving it is the
    /// caller's.
    #[must_use]
    pub fn with_data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// Says when the objects were as they are.
    #[must_use]
    pub fn taken(mut self, at: Option<jiff::Timestamp>) -> Self {
        self.taken = at;
        self
    }

    /// Turns the archive into a capture. Nothing is read from anywhere any more.
    ///
    /// # Errors
    /// [`CaptureError::Archive`] with everything that is wrong with the objects.
    pub fn capture(
        self,
        selection: &Selection,
        knowledge: &Knowledge,
        events: &Events,
    ) -> Result<Capture, CaptureError> {
        let created = self.taken.unwrap_or_else(jiff::Timestamp::now);
        events.started(Stage::Capture);
        let (name, data) = (self.name.clone(), self.data.clone());
        let sorted = Sorting::of(self, selection, knowledge)?;
        let Sorting {
            namespaces,
            surface,
            listed,
            stay,
            mut findings,
        } = sorted;
        findings.extend(unfitting(selection, &listed));
        let mounts = volumes::mounts(&listed);
        let Assembled {
            captured,
            mut dropped,
            findings: needs,
        } = assemble(listed, &BTreeSet::new(), &surface, selection, knowledge);
        findings.extend(needs);
        let (with_data, others): (Vec<&Object>, Vec<&Object>) = captured
            .iter()
            .map(|one| &one.raw)
            .partition(|raw| data.at_hand.contains(&raw.id()));
        let volumes = with_data
            .into_iter()
            .map(|claim| volumes::describe(claim, None, &mounts, &surface))
            .collect();
        findings.extend(unknown(&others, &data.elsewhere));
        dropped.extend(stay);
        dropped.sort_by(|a, b| a.id.cmp(&b.id));
        events.finished(
            Stage::Capture,
            format!(
                "{} of {} in {name} travel, {} stay",
                plural(captured.len(), "object"),
                namespaces.join(", "),
                dropped.len()
            ),
        );
        Ok(Capture {
            id: moment::name(created),
            created,
            namespaces,
            objects: captured,
            dropped,
            volumes,
            surface,
            findings,
        })
    }
}

/// The objects of an archive as a cluster would have listed them.
struct Sorting {
    namespaces: Vec<String>,
    surface: Surface,
    listed: Vec<Object>,
    stay: Vec<Dropped>,
    findings: Vec<Finding>,
}

impl Sorting {
    fn of(
        archive: Archive,
        selection: &Selection,
        knowledge: &Knowledge,
    ) -> Result<Self, CaptureError> {
        let Archive {
            name,
            objects,
            mut resources,
            taken: _,
            data: _,
        } = archive;
        for (definition, _) in objects.iter().filter(|(one, _)| one.is(CRD.0, CRD.1)) {
            resources.extend(defined(definition));
        }
        resources.sort();
        resources.dedup();
        let scopes = Scopes {
            kinds: &knowledge.kinds,
            resources: &resources,
        };
        let mut findings = Vec::new();
        let objects = scopes.place(objects, selection, &mut findings)?;
        let namespaces = namespaces(&objects, selection)?;
        let surface = surface(name, &objects, resources);
        let (listed, stay) = select(objects, &namespaces);
        Ok(Self {
            namespaces,
            surface,
            listed: listing::once(listed),
            stay,
            findings,
        })
    }
}

/// Which kinds live in namespaces, as far as the tables and the archive's definitions tell.
struct Scopes<'a> {
    kinds: &'a Kinds,
    resources: &'a [ApiResource],
}

impl Scopes<'_> {
    fn is_cluster_wide(&self, kind: &GroupKind) -> bool {
        let mut known = self.resources.iter();
        match known.find(|resource| resource.group_kind() == *kind) {
            Some(resource) => !resource.namespaced,
            None => self.kinds.is_cluster_wide(kind),
        }
    }

    /// Gives every namespaced object its namespace, takes away what cluster-wide ones do not have, and
    /// refuses two objects of one name.
    fn place(
        &self,
        objects: Vec<(Object, Arc<str>)>,
        selection: &Selection,
        findings: &mut Vec<Finding>,
    ) -> Result<Vec<Object>, CaptureError> {
        let default = match selection.namespaces.as_slice() {
            [one] => Some(one.as_str()),
            _ => None,
        };
        let (mut wrong, mut homeless) = (Vec::new(), BTreeSet::new());
        let mut places: HashMap<ObjectId, Arc<str>> = HashMap::with_capacity(objects.len());
        let mut placed = Vec::with_capacity(objects.len());
        for (mut object, place) in objects {
            let kind = object.group_kind();
            if self.is_cluster_wide(&kind) {
                remove_namespace(&mut object);
            } else if object.namespace().is_none() {
                match default {
                    Some(namespace) => {
                        object.value_mut()["metadata"]["namespace"] = namespace.into()
                    }
                    None => wrong.push(ArchiveError::NoNamespace {
                        object: object.id().to_string(),
                        place: place.to_string(),
                    }),
                }
                if !self.is_known(&kind) {
                    homeless.insert(kind);
                }
            }
            if let Some(first) = places.insert(object.id(), Arc::clone(&place)) {
                wrong.push(ArchiveError::Twice {
                    object: object.id().to_string(),
                    first: first.to_string(),
                    second: place.to_string(),
                });
            }
            placed.push(object);
        }
        findings.extend(homeless.iter().map(|kind| {
            Finding::new(
                Verdict::Info,
                "E-1",
                format!("{kind} is taken for a kind with namespaces"),
            )
            .because("its definition is not in the archive, and its objects name no namespace")
            .remedy("add its CustomResourceDefinition if it is cluster-wide")
        }));
        ArchiveError::none(wrong).map(|()| placed)
    }

    /// Whether the scope of a kind is known: it is Kubernetes' own, or its definition is here.
    fn is_known(&self, kind: &GroupKind) -> bool {
        !kind.group.contains('.')
            || kind.group.ends_with(".k8s.io")
            || self
                .resources
                .iter()
                .any(|resource| resource.group_kind() == *kind)
    }
}

fn remove_namespace(object: &mut Object) {
    // As API servers do with what is sent to them.
    if let Some(metadata) = object.value_mut()["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
}

/// The namespaces to capture: those asked for, all of which must be there, or all there are.
fn namespaces(objects: &[Object], selection: &Selection) -> Result<Vec<String>, CaptureError> {
    let there: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| match object.is("", "Namespace") {
            true => Some(object.name()),
            false => object.namespace(),
        })
        .collect();
    let asked: BTreeSet<&str> = selection.namespaces.iter().map(String::as_str).collect();
    let missing: Vec<String> = asked
        .difference(&there)
        .map(|name| (*name).to_owned())
        .collect();
    if !missing.is_empty() {
        return Err(CaptureError::Archive(vec![ArchiveError::Absent {
            namespaces: missing,
            there: there.into_iter().map(Into::into).collect(),
        }]));
    }
    let chosen = if asked.is_empty() { there } else { asked };
    if chosen.is_empty() {
        return Err(CaptureError::Archive(vec![ArchiveError::Empty]));
    }
    Ok(chosen.into_iter().map(Into::into).collect())
}

/// What the archive tells of A: definitions and classes that are in it. All else is unseen.
fn surface(name: String, objects: &[Object], resources: Vec<ApiResource>) -> Surface {
    let kinds = SURFACE_KINDS.map(|(group, kind)| GroupKind::new(group, kind));
    let mut known: Vec<Object> = objects
        .iter()
        .filter(|object| object.namespace().is_none() && kinds.contains(&object.group_kind()))
        .cloned()
        .collect();
    known.sort_by_cached_key(Object::id);
    Surface {
        cluster: ClusterIdentity {
            name,
            uid: String::new(),
            version: String::new(),
        },
        resources,
        objects: known,
        // Even of a kind that is there, others may have been on A.
        unseen: kinds.into(),
        silent: BTreeSet::new(),
    }
}

/// The served versions that a CustomResourceDefinition names.
fn defined(definition: &Object) -> Vec<ApiResource> {
    let text = |pointer: &str| definition.text(pointer).unwrap_or_default().to_owned();
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let served = versions
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true);
    let resource = |version: &Value| {
        Some(ApiResource {
            group: text("/spec/group"),
            version: version["name"].as_str()?.to_owned(),
            kind: text("/spec/names/kind"),
            plural: text("/spec/names/plural"),
            namespaced: definition.text("/spec/scope") != Some("Cluster"),
            verbs: BTreeSet::new(),
            preferred: false,
            subresources: BTreeSet::new(),
        })
    };
    served.filter_map(resource).collect()
}

/// What a listing of the namespaces and their closure would have given, and what stays before any rule
/// looks at it.
fn select(objects: Vec<Object>, namespaces: &[String]) -> (Vec<Object>, Vec<Dropped>) {
    let names: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    let (mut listed, mut cluster, mut stay) = (Vec::new(), Vec::new(), Vec::new());
    for object in objects {
        let home = match object.is("", "Namespace") {
            true => Some(object.name()),
            false => object.namespace(),
        };
        match home.map(|home| names.contains(home)) {
            Some(true) => listed.push(object),
            Some(false) => {}
            None => cluster.push(object),
        }
    }
    const RBAC: &str = "rbac.authorization.k8s.io";
    let (bindings, others): (Vec<Object>, Vec<Object>) = cluster
        .into_iter()
        .partition(|object| object.is(RBAC, "ClusterRoleBinding"));
    for binding in bindings {
        let id = binding.id();
        match share(binding, &names) {
            Some(binding) => listed.push(binding),
            None => stay.push(outside(id)),
        }
    }
    let named = named_roles(listed.iter());
    let classes = SURFACE_KINDS.map(|(group, kind)| GroupKind::new(group, kind));
    for object in others {
        if object.is(RBAC, "ClusterRole") && named.contains(object.name()) {
            listed.push(object);
        } else if !classes.contains(&object.group_kind()) {
            stay.push(outside(object.id()));
        }
    }
    (listed, stay)
}

fn outside(id: ObjectId) -> Dropped {
    Dropped {
        id,
        rule: "closure".into(),
        reason: "it is cluster-wide and not among what the namespaces take along".into(),
        class: DropClass::Mapped,
        produced_by: None,
    }
}

/// Patterns that fit no kind in the archive. It may simply have none, so they are no error.
fn unfitting(selection: &Selection, listed: &[Object]) -> Vec<Finding> {
    let kinds: BTreeSet<GroupKind> = listed.iter().map(Object::group_kind).collect();
    let kinds: Vec<(GroupKind, Option<&str>)> =
        kinds.into_iter().map(|kind| (kind, None)).collect();
    let idle = Chooser::unknown(selection, &kinds);
    let finding = |pattern: String| {
        Finding::new(
            Verdict::Warn,
            "selection",
            format!("{pattern} fits nothing in the archive"),
        )
        .remedy("name kinds as they are written in the objects, as in Deployment or Secret/db")
    };
    idle.into_iter().map(finding).collect()
}

/// What the user must know of a capture that no cluster was asked for: of its objects whose data is not at hand, too.
fn unknown(objects: &[&Object], elsewhere: &BTreeMap<ObjectId, String>) -> Vec<Finding> {
    let mut findings = vec![
        Finding::new(
            Verdict::Info,
            "C-62",
            "the source cluster itself was not seen",
        )
        .because("its classes, nodes, quotas and served versions are not in the archive"),
    ];
    let without = |what: &str, why: &str| {
        Finding::new(Verdict::Warn, "W-7", what)
            .because(why)
            .remedy("capture from the cluster to bring data, or fill the volumes by other means")
    };
    let claims = objects
        .iter()
        .filter(|object| object.is("", "PersistentVolumeClaim"))
        .map(|claim| claim.id());
    let (told, others): (Vec<ObjectId>, Vec<ObjectId>) =
        claims.partition(|claim| elsewhere.contains_key(claim));
    for claim in told {
        let finding = without("the claim travels without its data", &elsewhere[&claim]);
        findings.push(finding.on(claim));
    }
    if !others.is_empty() {
        let why = "the archive holds objects only";
        findings.push(without("claims travel without their data", why));
    }
    findings
}

#[cfg(test)]
mod tests;
