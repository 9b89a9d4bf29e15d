//! What a cluster can accept: versions, served APIs, classes, nodes, quotas.
//!
//! A surface is a value. It is read once from a live cluster (`cluster::survey`) or from a file, and
//! the pure stages look things up in it; they never ask a server.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::object::{GroupKind, Object};

/// Which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterIdentity {
    /// The kubeconfig context, or the file's name, by which the user knows it.
    pub name: String,
    /// UID of the `kube-system` namespace: the one thing that tells two clusters apart. Empty where
    /// the user may not read it.
    pub uid: String,
    /// The server's version, as in `v1.34.4`.
    pub version: String,
}

impl ClusterIdentity {
    /// Whether both are one cluster: by UID, and by name where either user may not read that.
    pub fn is(&self, other: &Self) -> bool {
        match self.uid.is_empty() || other.uid.is_empty() {
            true => self.name == other.name,
            false => self.uid == other.uid,
        }
    }
}

/// One API resource the server serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ApiResource {
    /// API group; empty for core.
    pub group: String,
    /// Version without the group.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural name used in paths, as in `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs the server lists, as in `get`, `list`, `patch`.
    pub verbs: BTreeSet<String>,
    /// Whether this is the group's preferred version.
    pub preferred: bool,
    /// Sub-resources, as in `scale` and `status`.
    pub subresources: BTreeSet<String>,
}

impl ApiResource {
    /// The `apiVersion` objects of this resource carry.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The type.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&self.group, &self.kind)
    }

    /// How much the server prefers this version: its own word first, then stability and number, as
    /// a kind may be missing from its group's preferred version.
    fn rank(&self) -> (bool, u8, u32, u32) {
        let rest = self.version.strip_prefix('v').unwrap_or_default();
        let (stability, parts) = match (rest.split_once("beta"), rest.split_once("alpha")) {
            (Some(parts), _) => (1, parts),
            (_, Some(parts)) => (0, parts),
            (None, None) => (2, (rest, "0")),
        };
        let number = |text: &str| text.parse().unwrap_or(0);
        (self.preferred, stability, number(parts.0), number(parts.1))
    }
}

/// What a cluster can accept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Which cluster.
    pub cluster: ClusterIdentity,
    /// Every served resource at every served version, sorted.
    pub resources: Vec<ApiResource>,
    /// Cluster-scoped objects the checks read, raw: CustomResourceDefinitions, StorageClasses,
    /// VolumeSnapshotClasses, IngressClasses, PriorityClasses, RuntimeClasses, CSIDrivers, Nodes,
    /// Namespaces … as far as the user may list them, and the ClusterServiceVersions of operators,
    /// which live in namespaces. Sorted by id.
    pub objects: Vec<Object>,
    /// Kinds of `objects` the user may not list, so that a missing class can be told from an
    /// unseen one.
    pub unseen: BTreeSet<GroupKind>,
    /// APIs that are registered and whose server does not answer, as `group/version` (E-3).
    pub silent: BTreeSet<String>,
}

impl Surface {
    /// The resource for a type, at a given version or else the preferred one.
    pub fn resource(&self, kind: &GroupKind, version: Option<&str>) -> Option<&ApiResource> {
        let mut served = self
            .resources
            .iter()
            .filter(|resource| resource.group == kind.group && resource.kind == kind.kind);
        match version {
            Some(version) => served.find(|resource| resource.version == version),
            None => served.max_by_key(|resource| resource.rank()),
        }
    }

    /// The cluster-scoped objects of one type.
    pub fn of_kind<'a>(
        &'a self,
        group: &'a str,
        kind: &'a str,
    ) -> impl Iterator<Item = &'a Object> {
        self.objects
            .iter()
            .filter(move |object| object.is(group, kind))
    }

    /// One cluster-scoped object by type and name.
    pub fn find(&self, group: &str, kind: &str, name: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find(|object| object.is(group, kind) && object.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(version: &str, preferred: bool) -> ApiResource {
        ApiResource {
            group: "example.com".into(),
            version: version.into(),
            kind: "Thing".into(),
            plural: "things".into(),
            namespaced: true,
            verbs: BTreeSet::new(),
            preferred,
            subresources: BTreeSet::new(),
        }
    }

    #[test]
    fn the_preferred_version_wins_and_else_the_most_stable() {
        let mut surface = Surface {
            cluster: ClusterIdentity {
                name: "a".into(),
                uid: String::new(),
                version: "v1".into(),
            },
            resources: vec![
                served("v1", false),
                served("v1beta1", false),
                served("v2alpha1", false),
            ],
            objects: Vec::new(),
            unseen: BTreeSet::new(),
            silent: BTreeSet::new(),
        };
        let kind = GroupKind::new("example.com", "Thing");
        assert_eq!(surface.resource(&kind, None).unwrap().version, "v1");
        assert_eq!(
            surface.resource(&kind, Some("v1beta1")).unwrap().version,
            "v1beta1"
        );
        surface.resources.push(served("v3beta2", true));
        assert_eq!(surface.resource(&kind, None).unwrap().version, "v3beta2");
    }
}
