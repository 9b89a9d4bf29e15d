//! `transforms/builtin/targets.yaml`: the places a transform must rewrite (rule book §3).

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::Object;
use crate::object::path::PathPattern;

/// Which transform a place belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewrites {
    /// T-4: the name of a namespace.
    Namespace,
    /// T-2: an image.
    Image,
    /// T-1: the name of a storage class.
    StorageClass,
    /// T-5: a host name.
    Host,
    /// T-7: a number of replicas.
    Replicas,
    /// T-11: free text in which host names and Services' names may stand.
    Text,
    /// T-12: the metadata of a pod template.
    PodMetadata,
}

/// How the name is written there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// The whole text is the name.
    #[default]
    Plain,
    /// Names joined by commas, blanks allowed.
    List,
    /// `name/…`: the part before the only slash; without a slash the text has no name.
    Slash,
    /// Several `name/…` joined by commas.
    SlashList,
    /// The last key of the path is `name.…`.
    KeyPrefix,
    /// `system:serviceaccount:name:…` or `system:serviceaccounts:name`.
    Subject,
    /// `…/ns/name/sa/…`, a SPIFFE principal.
    Principal,
    /// A URL, `scheme://name…`.
    Url,
    /// An image that names its registry; short names are too much like other words.
    ExplicitImage,
    /// `docker://image`.
    DockerUrl,
    /// Base64 of a `.dockerconfigjson`.
    DockerConfig,
    /// ``Host(`name`)`` in a Traefik rule.
    HostRule,
    /// JSON whose fields `namespace` are names.
    JsonNamespace,
}

/// One place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Rule id, as in `T-1`.
    pub id: String,
    /// Which transform rewrites it.
    pub rewrites: Rewrites,
    /// Kinds it applies to; empty: every kind.
    #[serde(default)]
    pub kinds: Vec<KindPattern>,
    /// Where in the object.
    pub path: PathPattern,
    /// How the name is written there.
    #[serde(default)]
    pub form: Form,
    /// Why the place means such a name.
    pub why: String,
}

impl Target {
    /// Whether the row is about objects of this type.
    pub fn applies(&self, object: &Object) -> bool {
        let (group, kind) = (object.group(), object.kind());
        self.kinds.is_empty() || self.kinds.iter().any(|row| row.matches(group, kind))
    }
}
