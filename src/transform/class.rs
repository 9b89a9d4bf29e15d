//! Names of classes that B calls something else: storage (T-1), how things run and are reached (T-6), and
//! the stores of secrets all namespaces share (T-10). Each class has a map of its own; its places are references (`edges.yaml`) and the rows of
//! `targets.yaml`.

use super::grammar::{self, Shape};
use crate::knowledge::targets::Rewrites;

/// A kind of class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Where claims get their volumes.
    Storage,
    /// How snapshots are made.
    VolumeSnapshot,
    /// How volumes perform.
    VolumeAttributes,
    /// Who serves an Ingress.
    Ingress,
    /// Who serves a Gateway.
    Gateway,
    /// Which pods give way.
    Priority,
    /// What runs containers.
    Runtime,
    /// Where secrets are read from.
    SecretStore,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Storage,
        Self::VolumeSnapshot,
        Self::VolumeAttributes,
        Self::Ingress,
        Self::Gateway,
        Self::Priority,
        Self::Runtime,
        Self::SecretStore,
    ];

    /// The key that names the map in a recipe.
    pub fn key(self) -> &'static str {
        self.shape().id
    }

    pub(super) fn shape(self) -> &'static Shape {
        match self {
            Self::Storage => &grammar::STORAGE_CLASS,
            Self::VolumeSnapshot => &grammar::SNAPSHOT_CLASS,
            Self::VolumeAttributes => &grammar::ATTRIBUTES_CLASS,
            Self::Ingress => &grammar::INGRESS_CLASS,
            Self::Gateway => &grammar::GATEWAY_CLASS,
            Self::Priority => &grammar::PRIORITY_CLASS,
            Self::Runtime => &grammar::RUNTIME_CLASS,
            Self::SecretStore => &grammar::SECRET_STORE,
        }
    }

    /// As a person says it, in the plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Storage => "storage classes",
            Self::VolumeSnapshot => "volume snapshot classes",
            Self::VolumeAttributes => "volume attributes classes",
            Self::Ingress => "ingress classes",
            Self::Gateway => "gateway classes",
            Self::Priority => "priority classes",
            Self::Runtime => "runtime classes",
            Self::SecretStore => "cluster secret stores",
        }
    }

    /// Its rule in the rule book.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Storage | Self::VolumeSnapshot | Self::VolumeAttributes => "T-1",
            Self::Ingress | Self::Gateway | Self::Priority | Self::Runtime => "T-6",
            Self::SecretStore => "T-10",
        }
    }

    /// The class whose definitions are of this kind.
    pub(super) fn of(group: &str, kind: &str) -> Option<Self> {
        let all = Self::ALL.into_iter();
        all.into_iter().find(|class| {
            let defined = match class {
                Self::Storage => ("storage.k8s.io", "StorageClass"),
                Self::VolumeSnapshot => ("snapshot.storage.k8s.io", "VolumeSnapshotClass"),
                Self::VolumeAttributes => ("storage.k8s.io", "VolumeAttributesClass"),
                Self::Ingress => ("networking.k8s.io", "IngressClass"),
                Self::Gateway => ("gateway.networking.k8s.io", "GatewayClass"),
                Self::Priority => ("scheduling.k8s.io", "PriorityClass"),
                Self::Runtime => ("node.k8s.io", "RuntimeClass"),
                Self::SecretStore => ("external-secrets.io", "ClusterSecretStore"),
            };
            defined == (group, kind)
        })
    }

    /// The class whose names rows of `targets.yaml` hold without being references.
    pub(super) fn rewritten(rewrites: Rewrites) -> Option<Self> {
        match rewrites {
            Rewrites::StorageClass => Some(Self::Storage),
            Rewrites::VolumeSnapshotClass => Some(Self::VolumeSnapshot),
            Rewrites::VolumeAttributesClass => Some(Self::VolumeAttributes),
            Rewrites::IngressClass => Some(Self::Ingress),
            _ => None,
        }
    }
}
