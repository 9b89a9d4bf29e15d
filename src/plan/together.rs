//! Which claims are frozen at one moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::VolumeMove;
use crate::capture::{Consistency, Together, Volume};
use crate::finding::{Finding, Verdict};
use crate::object::ObjectId;

/// Whether claims that a driver can freeze at one moment are, by a VolumeGroupSnapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grouping {
    /// Where labels they have choose them, or they are all claims of their namespace: nothing of A is changed.
    #[default]
    Auto,
    /// Where none does, by a label of Ferry's for that moment.
    Label,
    /// Never: one snapshot after another.
    Off,
}

impl Grouping {
    /// How a volume of which a snapshot is taken is frozen with others; `None` by itself.
    pub(super) fn of(self, volume: &Volume) -> Option<Together> {
        let together = volume.together.as_ref()?;
        let wanted = match self {
            Self::Auto => together.labels.is_some(),
            Self::Label => true,
            Self::Off => false,
        };
        wanted.then(|| together.clone())
    }
}

/// What the reader of a plan, or of a capture, has to know of the groups (C-40): which claims are labelled for it, and which could
/// show one moment and do not.
pub fn findings<'a>(
    moves: impl Iterator<Item = (&'a VolumeMove, &'a Volume)>,
    grouping: Grouping,
) -> Vec<Finding> {
    let mut groups: BTreeMap<Vec<&str>, &ObjectId> = BTreeMap::new();
    for (volume, captured) in moves {
        let taken = volume.saved.is_none() && volume.consistency.is_frozen();
        let unchosen = captured
            .together
            .as_ref()
            .filter(|one| one.labels.is_none());
        if let (true, Some(together)) = (taken, unchosen) {
            let namespace = volume.source.namespace.as_deref().unwrap_or_default();
            let names = together.claims.iter().map(String::as_str);
            groups
                .entry([namespace].into_iter().chain(names).collect())
                .or_insert(&volume.source);
        }
    }
    let finding = |(names, first): (Vec<&str>, &ObjectId)| {
        let [namespace, claims @ ..] = names.as_slice() else {
            return None;
        };
        let claims = claims.join(", ");
        let finding = match grouping {
            Grouping::Off => return None,
            Grouping::Label => Finding::new(
                Verdict::Info,
                "C-40",
                format!("claims {claims} of namespace {namespace} on A are labelled while they are frozen together"),
            )
            .because("no label they have tells them from the namespace's other claims"),
            Grouping::Auto => Finding::new(
                Verdict::Info,
                "C-40",
                format!(
                    "claims {claims} of namespace {namespace} are frozen one after another, though their driver can \
                     freeze them at one moment"
                ),
            )
            .because("no label they have tells them from the namespace's other claims, and Ferry puts none on them unasked")
            .remedy("--group-snapshots label, or a label of your own on these claims and no others"),
        };
        Some(finding.on(first.clone()))
    };
    groups.into_iter().filter_map(finding).collect()
}

/// The other claims that show the same moment, as a reader of the plan wants to know them.
pub fn with_others(volume: &VolumeMove) -> Option<String> {
    let together = volume.together.as_ref()?;
    if volume.consistency != Consistency::Together {
        return None;
    }
    let others = together
        .claims
        .iter()
        .filter(|name| **name != volume.source.name);
    Some(others.map(String::as_str).collect::<Vec<_>>().join(", "))
}
