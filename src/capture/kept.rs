//! Objects that travel although another object owns them: which and why (S-12, S-13).
//!
//! Derived from the capture, not stored: the owners are in it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::Capture;
use crate::object::ObjectId;

/// In what way an owned object travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeptClass {
    /// Before its owner, as that would not make it again with the same content, and is linked to it later.
    Preserved,
    /// Without its owner, which stays.
    Orphan,
}

impl fmt::Display for KeptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Preserved => "preserved",
            Self::Orphan => "orphan",
        })
    }
}

/// One owned object that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Which object.
    pub id: ObjectId,
    /// In what way.
    pub class: KeptClass,
    /// Rule id.
    pub rule: &'static str,
    /// Why.
    pub reason: String,
}

impl Capture {
    /// The objects that travel although another object owns them, sorted by id.
    pub fn kept(&self) -> Vec<Kept> {
        let travels: BTreeSet<ObjectId> = self.objects.iter().map(|one| one.object.id()).collect();
        let kept = |captured: &super::Captured| {
            let owners = &captured.owners;
            let (class, rule, reason) =
                match owners.iter().find(|owner| travels.contains(&owner.id)) {
                    Some(owner) => {
                        let reason =
                            format!("{} would not make it again with this content", owner.id);
                        (KeptClass::Preserved, "S-12", reason)
                    }
                    None => {
                        let reason = format!("its owner {} does not travel", owners.first()?.id);
                        (KeptClass::Orphan, "S-13", reason)
                    }
                };
            Some(Kept {
                id: captured.object.id(),
                class,
                rule,
                reason,
            })
        };
        self.objects.iter().filter_map(kept).collect()
    }
}
