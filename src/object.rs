//! A Kubernetes object as the API server speaks it: raw JSON, never a typed struct.
//!
//! Typed structs drop the fields they do not know; Ferry must carry what it has never seen. So an
//! [`Object`] is a JSON value with accessors for the few fields every object has, and an
//! [`ObjectId`] names it. Versions are not part of the name (rule book §0): the same object can be
//! read at several.

mod kind;
pub mod path;
pub mod pointer;
pub mod quantity;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use smol_str::SmolStr;

use self::kind::Kind;

/// A group and a kind; what an API type is called whatever its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// Kind, as in `Deployment`.
    pub kind: SmolStr,
}

impl GroupKind {
    /// Names a type by its group (empty for core) and kind.
    pub fn new(group: impl Into<SmolStr>, kind: impl Into<SmolStr>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.as_str() {
            "" => f.write_str(&self.kind),
            group => write!(f, "{}.{group}", self.kind),
        }
    }
}

/// The name of one object in one cluster: group, kind, namespace and name, read as fields.
///
/// Every edge, change, finding and step names objects, so a large plan holds each name dozens of
/// times: clones share it, and comparing a name with itself looks at no letter.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "ObjectName")]
pub struct ObjectId(Arc<ObjectName>);

/// The parts of an [`ObjectId`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// Kind, as in `Deployment`.
    pub kind: SmolStr,
    /// Namespace; `None` for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<SmolStr>,
    /// Name.
    pub name: SmolStr,
}

impl ObjectId {
    /// Names an object, in a namespace or in none.
    pub fn new(
        group: impl Into<SmolStr>,
        kind: impl Into<SmolStr>,
        namespace: Option<&str>,
        name: impl Into<SmolStr>,
    ) -> Self {
        Self::from(ObjectName {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        })
    }

    /// Names a namespaced object.
    pub fn namespaced(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self::new(group, kind, Some(namespace), name)
    }

    /// Names a cluster-scoped object.
    pub fn cluster(group: &str, kind: &str, name: &str) -> Self {
        Self::new(group, kind, None, name)
    }

    /// The type of the object.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.clone(), self.kind.clone())
    }

    /// Whether this is an object of the given group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl From<ObjectName> for ObjectId {
    fn from(name: ObjectName) -> Self {
        Self(Arc::new(name))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Deref for ObjectId {
    type Target = ObjectName;

    fn deref(&self) -> &ObjectName {
        &self.0
    }
}

/// A part is changed in this name only; its clones keep theirs.
impl DerefMut for ObjectId {
    fn deref_mut(&mut self) -> &mut ObjectName {
        Arc::make_mut(&mut self.0)
    }
}

impl PartialOrd for ObjectId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ObjectId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        self.0.cmp(&other.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `Deployment.apps shop/web`, `Namespace shop`: kind first, as `kubectl` users read it.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.group_kind())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Why a JSON value is not an object Ferry can handle.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The value is not a JSON object.
    #[error("expected a Kubernetes object, found {0}")]
    NotAMap(&'static str),
    /// A field every object must have is absent or not a string.
    #[error("the object has no {0}")]
    Missing(&'static str),
    /// A field that must be a text is something else.
    #[error("{0} is {1}, not a text; put it in quotes")]
    NotText(&'static str, &'static str),
    /// A name that no API server serves: it would be part of a path.
    #[error("{0:?} is no name an object can have")]
    Name(String),
}

/// One Kubernetes object as raw JSON. `apiVersion`, `kind` and `metadata.name` are always there.
///
/// Clones share the JSON until one of them is changed: an object stands in a capture, after the
/// recipes and in a plan, and most of a large set is the same in all of them. What it is and is called
/// stands beside the JSON and not in it: every stage asks all objects for that, and few for more.
#[derive(Clone, Debug)]
pub struct Object {
    value: Arc<Value>,
    /// Read anew when first asked for after a change.
    name: OnceLock<Name>,
}

/// What every stage asks an object.
#[derive(Clone, Debug)]
struct Name {
    kind: Kind,
    id: ObjectId,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.shares(other) || self.value == other.value
    }
}

impl Object {
    /// Takes a JSON value as an object.
    ///
    /// # Errors
    /// When the value is not a map, or lacks `apiVersion`, `kind` or `metadata.name`.
    pub fn new(value: Value) -> Result<Self, ObjectError> {
        if !value.is_object() {
            return Err(ObjectError::NotAMap(called(&value)));
        }
        for (place, label) in [
            (value.get("apiVersion"), "apiVersion"),
            (value.get("kind"), "kind"),
            (pointer::get(&value, "/metadata/name"), "metadata.name"),
        ] {
            match place {
                Some(Value::String(text)) if !text.is_empty() => {}
                None | Some(Value::Null | Value::String(_)) => {
                    return Err(ObjectError::Missing(label));
                }
                Some(other) => return Err(ObjectError::NotText(label, called(other))),
            }
        }
        match pointer::get(&value, "/metadata/namespace") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => return Err(ObjectError::NotText("metadata.namespace", called(other))),
        }
        let object = Self {
            value: Arc::new(value),
            name: OnceLock::new(),
        };
        object.named();
        Ok(object)
    }

    /// The `apiVersion`, as in `apps/v1`.
    pub fn api_version(&self) -> &str {
        self.top("apiVersion").unwrap_or_default()
    }

    /// The API group; empty for core.
    pub fn group(&self) -> &str {
        &self.named().kind.group
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        self.api_version()
            .rsplit_once('/')
            .map_or(self.api_version(), |(_, version)| version)
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        &self.named().kind.kind
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.named().id.name
    }

    /// `metadata.namespace`, if the object has one.
    pub fn namespace(&self) -> Option<&str> {
        self.named().id.namespace.as_deref()
    }

    /// `metadata.uid`, if the object came from a server.
    pub fn uid(&self) -> Option<&str> {
        self.metadata("uid")
    }

    /// `metadata.resourceVersion`, if the object came from a server.
    pub fn resource_version(&self) -> Option<&str> {
        self.metadata("resourceVersion")
    }

    /// The group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::clone(&self.named().kind)
    }

    /// The object's name within its cluster.
    pub fn id(&self) -> ObjectId {
        self.id_ref().clone()
    }

    /// As [`Object::id`], to be looked at.
    pub fn id_ref(&self) -> &ObjectId {
        &self.named().id
    }

    fn named(&self) -> &Name {
        self.name.get_or_init(|| {
            let version = self.api_version().rsplit_once('/');
            let group = version.map_or("", |(group, _)| group);
            let kind = self.top("kind").unwrap_or_default();
            let namespace = self.metadata("namespace");
            let namespace = namespace.filter(|namespace| !namespace.is_empty());
            let name = self.metadata("name").unwrap_or_default();
            let kind = Kind::of(group, kind);
            let (group, called) = (kind.group.clone(), kind.kind.clone());
            Name {
                kind,
                id: ObjectId::new(group, called, namespace, name),
            }
        })
    }

    /// Whether the object is of the given group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group() == group && self.kind() == kind
    }

    /// One label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.value()
            .get("metadata")?
            .get("labels")?
            .get(key)?
            .as_str()
    }

    /// One annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.value()
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// All labels whose values are strings.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        strings(
            self.value()
                .pointer("/metadata/labels")
                .and_then(Value::as_object),
        )
    }

    /// All annotations whose values are strings.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        strings(
            self.value()
                .pointer("/metadata/annotations")
                .and_then(Value::as_object),
        )
    }

    fn top(&self, key: &str) -> Option<&str> {
        self.value().get(key)?.as_str()
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.value().get("metadata")?.get(key)?.as_str()
    }

    /// The value at an RFC 6901 pointer.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        pointer::get(self.value(), pointer)
    }

    /// The string at an RFC 6901 pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.pointer(pointer)?.as_str()
    }

    /// Whether its deletion was asked for, and something still holds it.
    pub fn is_going(&self) -> bool {
        self.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// Whether it is a Pod whose containers have ended for good.
    pub fn has_ended(&self) -> bool {
        matches!(self.text("/status/phase"), Some("Succeeded" | "Failed"))
    }

    /// The spec of the pods that it makes or is, for the kinds that Kubernetes knows.
    pub fn pod_spec(&self) -> Option<&Value> {
        let pointer = match self.kind() {
            "Pod" => "/spec",
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            _ => "/spec/template/spec",
        };
        self.pointer(pointer).filter(|spec| spec.is_object())
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The whole object, to be changed. `apiVersion`, `kind` and `metadata.name` must stay.
    ///
    /// Parts from its clones here, at the price of a copy: ask only when there is something to change.
    pub fn value_mut(&mut self) -> &mut Value {
        self.name.take();
        Arc::make_mut(&mut self.value)
    }

    /// Whether this is a clone of the other that was not changed since.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
    }

    /// Gives the JSON value back.
    pub fn into_value(self) -> Value {
        Arc::unwrap_or_clone(self.value)
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn strings(map: Option<&Map<String, Value>>) -> BTreeMap<&str, &str> {
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// A value's kind in words.
fn called(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_named_by_group_kind_namespace_and_name() {
        let object = Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
        }))
        .unwrap();
        assert_eq!(object.id().to_string(), "Deployment.apps shop/web");
        assert_eq!(object.version(), "v1");
    }

    #[test]
    fn a_value_without_a_name_is_refused() {
        let error = Object::new(json!({"apiVersion": "v1", "kind": "Pod"})).unwrap_err();
        assert_eq!(error.to_string(), "the object has no metadata.name");
    }

    #[test]
    fn a_name_that_yaml_reads_as_something_else_is_told_as_such() {
        for (metadata, told) in [
            (
                json!({"name": 5}),
                "metadata.name is a number, not a text; put it in quotes",
            ),
            (
                json!({"name": "a", "namespace": false}),
                "metadata.namespace is a boolean, not a text; put it in quotes",
            ),
        ] {
            let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
            assert_eq!(Object::new(value).unwrap_err().to_string(), told);
        }
    }
}
