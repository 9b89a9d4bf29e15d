//! `transforms/builtin/provisioners.yaml`: what storage drivers can do (C-40, C-41).

use serde::Deserialize;

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
    /// Why we believe so.
    pub why: String,
}

impl Provisioner {
    /// Whether the row is about a driver.
    pub fn is_for(&self, driver: &str) -> bool {
        self.drivers
            .iter()
            .any(|glob| Glob::new(glob).is_some_and(|glob| glob.matches(driver)))
    }
}
