//! `transforms/builtin/targets.yaml`: the places a transform must rewrite (rule book §3).

use serde::Deserialize;

use super::kinds::KindPattern;
use crate::object::Object;
use crate::object::path::{PathPattern, Vocabulary, Wanted};

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
    /// T-1: the name of a volume snapshot class.
    VolumeSnapshotClass,
    /// T-1: the name of a volume attributes class.
    VolumeAttributesClass,
    /// T-6: the name of an ingress class.
    IngressClass,
    /// T-5: a host name.
    Host,
    /// T-7: a number of replicas.
    Replicas,
    /// T-7: the fewest replicas an autoscaler keeps.
    AutoscalerMin,
    /// T-7: the most replicas an autoscaler makes.
    AutoscalerMax,
    /// T-8: the size of a claim.
    ClaimSize,
    /// T-8: the access modes of a claim.
    ClaimModes,
    /// T-8: the spec of a claim.
    ClaimSpec,
    /// T-10: a secret value.
    Secret,
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
    /// An image in OpenShift's own registry, whose repository begins with a namespace.
    InternalImage,
    /// `app:group/Kind:name/…`: the name of a namespace after the last colon.
    TrackingId,
    /// URLs joined by commas, blanks allowed.
    UrlList,
    /// `namespace/name`, of which the name after the slash is meant, as Istio writes hosts.
    AfterSlash,
    /// A domain: the name is `*.` and the domain.
    Domain,
    /// A registry, perhaps with the beginning of a path, before which charts put no other.
    Registry,
    /// `{kind: DockerImage, name: image}`; other kinds name image streams.
    ImageSource,
    /// An image of a kustomization, `name[=image]`, or `{name, newName}`: what the name becomes.
    KustomizeImage,
    /// A repository that, perhaps with the `registry` beside it, names an image.
    Repository,
    /// Base64 of the value.
    Base64,
    /// An element with `name` and `value`.
    NamedValue,
    /// A certificate or key that must stay one.
    Pem,
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
    /// The keys without which nothing stands there.
    #[serde(skip)]
    pub wanted: Wanted,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Targets {
    rows: Vec<Target>,
    /// The keys of all rows' paths.
    pub vocabulary: Vocabulary,
}

impl Targets {
    /// Takes rows.
    pub fn new(mut rows: Vec<Target>) -> Self {
        let vocabulary = Vocabulary::new(rows.iter().map(|row| &row.path));
        for row in &mut rows {
            row.wanted = vocabulary.wanted(&row.path);
        }
        Self { rows, vocabulary }
    }

    /// All rows, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.rows.iter()
    }
}

impl Target {
    /// Whether the row is about objects of this type.
    pub fn applies(&self, object: &Object) -> bool {
        let (group, kind) = (object.group(), object.kind());
        self.kinds.is_empty() || self.kinds.iter().any(|row| row.matches(group, kind))
    }
}
