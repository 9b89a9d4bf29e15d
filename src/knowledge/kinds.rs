//! `kinds.yaml`: which kinds are cluster-wide, and in which phase a kind is written (W-1).
//!
//! Phases are data, not order: references win over them. A kind no row names belongs to the phase of
//! what it is: a cluster-wide one to `cluster`, any other (a custom resource) to `workload`.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::graph::Phase;
use crate::object::GroupKind;

/// Matches kinds: `Secret`, `Deployment.apps`, `*.cert-manager.io`, `Kustomization.*.fluxcd.io`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct KindPattern {
    kind: SmolStr,
    group: SmolStr,
}

impl KindPattern {
    /// Whether a kind is meant.
    pub fn matches(&self, group: &str, kind: &str) -> bool {
        (self.kind == "*" || self.kind == kind)
            && match self.group.strip_prefix("*.") {
                Some(rest) => {
                    group == rest || group.strip_suffix(rest).is_some_and(|g| g.ends_with('.'))
                }
                None => self.group == group || self.group == "*",
            }
    }

    /// The one kind meant, when there is no wildcard in it.
    pub fn exact(&self) -> Option<GroupKind> {
        (self.kind != "*" && !self.group.starts_with('*'))
            .then(|| GroupKind::new(self.group.clone(), self.kind.clone()))
    }
}

impl From<String> for KindPattern {
    fn from(text: String) -> Self {
        let (kind, group) = text.split_once('.').unwrap_or((&text, ""));
        Self {
            kind: kind.into(),
            group: group.into(),
        }
    }
}

impl From<KindPattern> for String {
    fn from(pattern: KindPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for KindPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}",
            GroupKind::new(self.group.clone(), self.kind.clone())
        )
    }
}

/// The table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kinds {
    /// Kinds whose objects live in no namespace.
    pub cluster: Vec<KindPattern>,
    /// Which phase a kind is written in; the first row that matches wins.
    pub phases: Vec<PhaseRow>,
}

/// One row of `phases`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRow {
    /// Kinds.
    pub kinds: Vec<KindPattern>,
    /// Their phase.
    pub phase: Phase,
    /// Why they belong there.
    pub why: String,
}

impl Kinds {
    /// Whether objects of a kind are known to live in no namespace.
    pub fn is_cluster_wide(&self, kind: &GroupKind) -> bool {
        self.cluster
            .iter()
            .any(|pattern| pattern.matches(&kind.group, &kind.kind))
    }

    /// The phase a kind is written in.
    pub fn phase(&self, kind: &GroupKind) -> Phase {
        let row = self.phases.iter().find(|row| {
            row.kinds
                .iter()
                .any(|pattern| pattern.matches(&kind.group, &kind.kind))
        });
        match row {
            Some(row) => row.phase,
            None if self.is_cluster_wide(kind) => Phase::Cluster,
            None => Phase::Workload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Knowledge;

    #[test]
    fn patterns_match_groups_and_their_subgroups() {
        let pattern = KindPattern::from("*.*.fluxcd.io".to_owned());
        assert!(pattern.matches("source.toolkit.fluxcd.io", "GitRepository"));
        assert!(!pattern.matches("notfluxcd.io", "GitRepository"));
        assert!(KindPattern::from("Secret".to_owned()).matches("", "Secret"));
        assert!(!KindPattern::from("Service".to_owned()).matches("serving.knative.dev", "Service"));
    }

    #[test]
    fn w_1_phases_follow_what_an_object_is() {
        let kinds = &Knowledge::builtin().kinds;
        let phase = |group: &str, kind: &str| kinds.phase(&GroupKind::new(group, kind));
        assert_eq!(phase("", "Namespace"), Phase::Skeleton);
        assert_eq!(
            phase("apiextensions.k8s.io", "CustomResourceDefinition"),
            Phase::Cluster
        );
        assert_eq!(phase("", "PersistentVolumeClaim"), Phase::Storage);
        assert_eq!(phase("apps", "Deployment"), Phase::Workload);
        assert_eq!(phase("example.com", "Widget"), Phase::Workload);
        assert_eq!(phase("networking.k8s.io", "Ingress"), Phase::Exposure);
    }
}
