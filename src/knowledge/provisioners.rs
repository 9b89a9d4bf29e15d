//! `transforms/builtin/provisioners.yaml`: what storage drivers can do (C-40, C-41).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Knowledge;
use crate::object::Object;
use crate::repository::LossClass;
use crate::transform::select::Glob;

/// What one driver can do. A driver without a row is not judged.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioner {
    /// Names of the driver, with `*` for any characters.
    pub drivers: Vec<String>,
    /// Access modes with a file system on the volume.
    pub filesystem: Vec<String>,
    /// Access modes as a raw device; empty when it has none.
    pub block: Vec<String>,
    /// What its file systems lose of every entry, whatever is written.
    #[serde(default)]
    pub loses: Vec<LossClass>,
    /// Parameters of a class with which they lose none of it.
    #[serde(default)]
    pub loses_nothing_with: BTreeMap<String, String>,
    /// Whether a volume can be made of another that is in use, as that is at one moment.
    #[serde(default)]
    pub clones: bool,
    /// Why we believe so.
    pub why: String,
}

impl Knowledge {
    /// What a driver can do; `None` when no row names it.
    pub fn provisioner(&self, driver: &str) -> Option<&Provisioner> {
        self.provisioners.iter().find(|row| row.is_for(driver))
    }
}

impl Provisioner {
    /// Whether the row is about a driver.
    fn is_for(&self, driver: &str) -> bool {
        self.drivers
            .iter()
            .any(|glob| Glob::new(glob).is_some_and(|glob| glob.matches(driver)))
    }

    /// What a file system of a class loses of every entry.
    pub fn losses_of(&self, class: &Object) -> &[LossClass] {
        let set = |(name, value): (&String, &String)| {
            class.text(&format!("/parameters/{name}")) == Some(value.as_str())
        };
        match self.loses_nothing_with.iter().any(set) {
            true => &[],
            false => &self.loses,
        }
    }
}
