//! When a volume is read from a clone that its driver makes of it.
//!
//! No API tells whether a driver can: its table of knowledge does, of drivers that are documented to, and the user, who
//! goes before the table.

use crate::capture::Volume;
use crate::knowledge::Knowledge;
use crate::surface::Surface;

/// Annotation on a StorageClass: `true` where its volumes are to be read from clones, before snapshots of their own;
/// `false` where they never are.
pub const CLONE_ANNOTATION: &str = "ferry.dev/clone";

/// When a volume is read from a clone of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clones {
    /// Rather than from a snapshot of its own, as the user says.
    First,
    /// Where no snapshot can be taken.
    Else,
    /// It cannot be made, for all that is known, or the user says so.
    Never,
}

impl Clones {
    /// For a claim as it was captured. Only volumes that the class's own provisioner made are cloned by it.
    pub(super) fn of(volume: &Volume, surface: &Surface, knowledge: &Knowledge) -> Self {
        let class = volume
            .storage_class
            .as_deref()
            .and_then(|class| surface.find("storage.k8s.io", "StorageClass", class));
        let (Some(class), Some(driver)) = (class, volume.driver.as_deref()) else {
            return Self::Never;
        };
        if class.text("/provisioner") != Some(driver) {
            return Self::Never;
        }
        let known = knowledge.provisioner(driver).is_some_and(|row| row.clones);
        match class.annotation(CLONE_ANNOTATION) {
            Some("true") => Self::First,
            Some("false") => Self::Never,
            _ if known => Self::Else,
            _ => Self::Never,
        }
    }
}
