//! `edges.yaml`: what refers to what (rule book §1). One table for graph edges and for renames.
//!
//! A row says where a reference stands (`path`), where in it the name and namespace are, and what
//! kind they name. `graph::references` is the engine.

use serde::Deserialize;
use serde_json::Value;
use smol_str::SmolStr;

use super::kinds::KindPattern;
use crate::graph::Strength;
use crate::object::GroupKind;
use crate::object::path::PathPattern;

/// What a row's path starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// The object.
    Object,
    /// Every pod spec in it (`roots.yaml` and those found in CRD schemas).
    Pod,
    /// Every container in it, those of pod specs included.
    Container,
    /// What holds a pod spec: `metadata` there is the pods' metadata.
    Template,
}

/// How names sit in the text found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The text is the name.
    #[default]
    Plain,
    /// `[namespace/]name`.
    Slash,
    /// A comma-separated list of `[namespace/]name[@interface]`.
    Networks,
    /// `<namespace>-<name>@kubernetescrd`, comma-separated (Traefik).
    Traefik,
    /// `name:tag` or `name@digest`: the name is before it.
    Tag,
    /// As [`Form::Tag`] inside an image stream: a text without a sign is a tag of the stream itself.
    OtherTag,
    /// `system:serviceaccount:<namespace>:<name>`.
    ServiceAccountUser,
    /// `system:serviceaccounts:<namespace>`: names a namespace.
    ServiceAccountGroup,
    /// A service's host: `name`, `name.namespace`, `name.namespace.svc…`.
    Host,
    /// `group/namespaces/namespace/Kind/name` or `group/Kind/name`, comma-separated.
    DependsOn,
    /// No text but a rule of a role: the objects its `resourceNames` name (E-25).
    RoleRule,
}

/// What the name found is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expand {
    /// A StatefulSet's claim template: one claim per ordinal (E-15).
    Ordinals,
}

/// Where the kind named is written in the reference itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TargetFrom {
    /// Place of the kind, below the reference.
    pub kind: Option<PathPattern>,
    /// Place of the API group.
    pub group: Option<PathPattern>,
    /// Place of the API version, which tells the group.
    pub api_version: Option<PathPattern>,
}

/// A condition on the reference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Place below the reference.
    #[serde(default)]
    pub path: PathPattern,
    /// The string there must be one of these; an absent one reads as the empty string.
    #[serde(default, rename = "in")]
    pub one_of: Vec<String>,
    /// The string there must be none of these.
    #[serde(default, rename = "not")]
    pub none_of: Vec<String>,
}

impl When {
    /// Whether the condition holds at a node.
    pub fn holds(&self, node: &Value) -> bool {
        let text = text_at(node, &self.path).unwrap_or_default();
        let among = |texts: &[String]| texts.iter().any(|one| *one == text);
        (self.one_of.is_empty() || among(&self.one_of)) && !among(&self.none_of)
    }
}

/// The text at the first place of a pattern below a node; a boolean or number reads as its text.
pub fn text_at(node: &Value, path: &PathPattern) -> Option<SmolStr> {
    let mut text = None;
    path.visit(node, &mut |_, value| {
        if text.is_none() {
            text = match value {
                Value::String(text) => Some(text.into()),
                Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
                _ => None,
            };
        }
    });
    text
}

/// One row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EdgeRow {
    /// Rule id, as in `E-PT3`. Several rows may share one.
    pub id: SmolStr,
    /// Kinds it applies to; empty: every kind.
    #[serde(default)]
    pub kinds: Vec<KindPattern>,
    /// What `path` starts from.
    #[serde(default = "object")]
    pub base: Base,
    /// Where references stand.
    #[serde(default)]
    pub path: PathPattern,
    /// The string at `path` is JSON: where references stand inside it.
    #[serde(default)]
    pub inside: Option<PathPattern>,
    /// Where the name stands below the reference: the first place that exists. Empty: the reference
    /// itself is the text.
    #[serde(default)]
    pub name: Vec<PathPattern>,
    /// The name is in the key under which the value stands, between these two texts.
    #[serde(default)]
    pub key: Option<(String, String)>,
    /// The name when there is none to be found.
    #[serde(default)]
    pub default: Option<String>,
    /// Where the namespace stands below the reference; without it, it is the object's own.
    #[serde(default)]
    pub namespace: Option<PathPattern>,
    /// Namespace of references from a cluster-wide object that name none.
    #[serde(default)]
    pub default_namespace: Option<String>,
    /// Where keys that the target must have stand below the reference (E-PT3).
    #[serde(default)]
    pub keys: Vec<PathPattern>,
    /// The kind named; with `targetFrom`, the kind when the reference does not say.
    #[serde(default)]
    pub target: Option<KindPattern>,
    /// Where the reference itself says the kind.
    #[serde(default)]
    pub target_from: Option<TargetFrom>,
    /// How strongly (rule book §0).
    pub strength: Strength,
    /// How strongly when the object is a bare Pod, whose admission is stricter.
    #[serde(default)]
    pub bare_pod: Option<Strength>,
    /// Where the reference says that it is optional; that makes `R` an `S`.
    #[serde(default)]
    pub optional: Option<PathPattern>,
    /// How names sit in the text.
    #[serde(default)]
    pub form: Form,
    /// What the name is turned into.
    #[serde(default)]
    pub expand: Option<Expand>,
    /// All must hold.
    #[serde(default)]
    pub when: Vec<When>,
    /// Names that mean something else.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Only an edge when the target is known; its absence is no finding.
    #[serde(default)]
    pub if_known: bool,
    /// The workloads behind the Service named must run as well.
    #[serde(default)]
    pub backing: bool,
    /// A ReferenceGrant must let the reference leave its namespace (E-37).
    #[serde(default)]
    pub granted: bool,
    /// The kind refers to more than its rows say: the rest is guessed by shape (E-G).
    #[serde(default)]
    pub partly: bool,
    /// Why.
    pub why: String,
}

fn object() -> Base {
    Base::Object
}

impl EdgeRow {
    /// Whether the row applies to a kind.
    pub fn applies(&self, group: &str, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|row| row.matches(group, kind))
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct Edges {
    /// All rows, in file order.
    pub rows: Vec<EdgeRow>,
}

impl Edges {
    /// Takes rows.
    pub fn new(rows: Vec<EdgeRow>) -> Self {
        Self { rows }
    }

    /// The rows that apply to a kind.
    pub fn for_kind(&self, kind: &GroupKind) -> Vec<&EdgeRow> {
        self.rows
            .iter()
            .filter(|row| row.applies(&kind.group, &kind.kind))
            .collect()
    }
}
