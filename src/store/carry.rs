//! A capture goes from one store into another, objects and volumes' data: what export and import are made of.

use std::sync::Arc;

use super::captures::CaptureSummary;
use super::{Store, StoreError, blocking};
use crate::repository::Progress;

/// The node of a snapshot that stands for a volume's root.
const ROOT: &str = crate::mover::engine::ROOT;

impl Store {
    /// Copies a capture, named as for [`Store::load_capture`], into `to`. Every blob is proven on the way, and each volume's
    /// digest there is held against the one it was saved with; only then does the capture exist there.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when `to` has it already; [`StoreError::Damaged`] when it is not what was saved.
    pub async fn carry_capture(
        &self,
        wanted: &str,
        to: &Store,
        progress: Arc<Progress>,
    ) -> Result<CaptureSummary, StoreError> {
        let mut capture = self.load_capture(wanted).await?;
        if to.capture_names().await?.contains(&capture.id) {
            let name = format!("capture {}", capture.id);
            return Err(StoreError::Taken { name });
        }
        for volume in &mut capture.volumes {
            // What the storage carried is in no store; a plan of the capture says so.
            let stored = volume.saved.as_mut().filter(|saved| saved.held.is_none());
            let Some(saved) = stored else {
                continue;
            };
            let (from, target) = (self.repository.clone(), to.repository.clone());
            let (name, progress) = (saved.snapshot.clone(), Arc::clone(&progress));
            let copied = blocking(move || {
                let snapshot = from.snapshot(&name)?;
                let copied = from.copy_snapshot(&snapshot, &target, &progress)?;
                let digest = target.digest(&copied, ROOT)?.digest;
                Ok((copied, digest))
            });
            let copied = copied.await;
            let (copied, digest) =
                copied.map_err(|error| StoreError::from_repository(&self.location, error))?;
            if digest.to_string() != saved.proof.digest {
                let reason = "its digest is not the one it was saved with";
                let name = format!("the data of {}", volume.claim);
                return Err(StoreError::damaged(&self.location, name, reason));
            }
            saved.snapshot = copied.id.unwrap_or(copied.tree).to_string();
        }
        to.save_capture(&capture).await
    }
}
