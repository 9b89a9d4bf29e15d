//! Is a store whole? The repository, and that every capture has the snapshots it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Store, StoreError};
use crate::causes::in_one_line;
use crate::repository::{CheckReport, Fault, Progress};

impl Store {
    /// Checks the repository, with `read_data` also every byte of it, and every capture. Writes nothing but a lock.
    /// Returns how many captures there are beside the repository's report, in which their faults are too.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub async fn check(
        &self,
        read_data: bool,
        progress: Arc<Progress>,
    ) -> Result<(u64, CheckReport), StoreError> {
        let mut report = self
            .with(move |repository| repository.check(read_data, &progress))
            .await?;
        let snapshots: BTreeSet<String> = self
            .with(|repository| repository.snapshot_ids())
            .await?
            .iter()
            .map(ToString::to_string)
            .collect();
        let names = self.capture_names().await?;
        for name in &names {
            let fault = match self.load_capture(name).await {
                Ok(capture) => {
                    let saved = capture.volumes.iter().filter_map(|volume| {
                        let saved = volume.saved.as_ref().filter(|saved| saved.held.is_none())?;
                        (!snapshots.contains(&saved.snapshot)).then_some(&volume.claim)
                    });
                    let lost: Vec<String> = saved.map(ToString::to_string).collect();
                    if lost.is_empty() {
                        continue;
                    }
                    format!("the snapshots of its volumes are gone: {}", lost.join(", "))
                }
                // Removed since it was listed.
                Err(StoreError::NoCapture { .. }) => continue,
                Err(error @ (StoreError::Damaged { .. } | StoreError::Repository { .. })) => {
                    in_one_line(&error)
                }
                Err(error) => return Err(error),
            };
            let place = format!("capture {name}");
            report.faults.push(Fault { place, what: fault });
        }
        report.faults.sort();
        Ok((names.len() as u64, report))
    }
}
