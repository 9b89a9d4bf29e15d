//! What the repository engine is asked to do, and when its answer counts as success.
//!
//! The engine reports; here is decided. A volume that could not be read whole is not saved, and one that
//! did not take everything is not loaded: each says what and where, so that the user can act.

use std::path::Path;

use super::work::Trouble;
use crate::capture::{Consistency, Proof, SavedVolume, VolumeMode};
use crate::exit::Exit;
use crate::repository::{
    BackupOptions, Progress, Repository, RestoreOptions, Snapshot, SnapshotInfo, TreeDigest,
    VerifyOptions,
};

/// The node of a snapshot that stands for the volume's root.
const ROOT: &str = "data";
/// Entries named in a failure; the rest is counted.
const NAMED: usize = 5;

/// What is saved.
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) mode: VolumeMode,
    pub(super) consistency: Consistency,
}

/// Saves a volume as one snapshot that carries the tags, and removes what earlier attempts at the same
/// left behind.
pub(super) fn save(
    repository: &Repository,
    source: &Source<'_>,
    host: &str,
    tags: &[String],
    progress: &Progress,
) -> Result<SavedVolume, Trouble> {
    let info = SnapshotInfo {
        hostname: host.into(),
        tags: tags.to_vec(),
    };
    let mut options = BackupOptions::new(ROOT, info);
    // The tag of the claim comes last; any earlier state of it makes this one quick.
    let claim = tags.last().map(std::slice::from_ref).unwrap_or_default();
    options.parent = repository
        .snapshots(claim)?
        .into_iter()
        .rev()
        .find(|snapshot| snapshot.hostname == host && !snapshot.has_tags(&["incomplete"]));
    let result = match source.mode {
        VolumeMode::Filesystem => repository.backup_directory(source.path, &options, progress)?,
        VolumeMode::Block => repository.backup_device(source.path, &options, progress)?,
    };
    if !result.problems.is_empty() {
        let lines = result
            .problems
            .iter()
            .map(|problem| (problem.path.as_str(), problem.cause.as_str()));
        let listed = list(lines, result.problems.len());
        return Err(Trouble::new(
            Exit::Incomplete,
            format!("it could not be read whole: {listed}"),
        ));
    }
    for old in repository.snapshots(tags)? {
        if let Some(id) = old.id.filter(|id| Some(*id) != result.snapshot.id) {
            repository.forget(&id)?;
        }
    }
    let id = result
        .snapshot
        .id
        .map(|id| id.to_string())
        .unwrap_or_default();
    let proof = proof(
        source.mode,
        repository.digest(&result.snapshot, ROOT)?,
        result.totals.bytes,
    );
    Ok(SavedVolume {
        snapshot: id,
        consistency: source.consistency,
        proof,
    })
}

/// Loads a volume, then reads it back and compares.
pub(super) fn load(
    repository: &Repository,
    target: &Path,
    mode: VolumeMode,
    saved: &SavedVolume,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    let snapshot = repository.snapshot(&saved.snapshot)?;
    match mode {
        VolumeMode::Filesystem => load_directory(repository, &snapshot, target, progress),
        VolumeMode::Block => load_device(repository, &snapshot, target, progress),
    }
}

/// What is counted and digested: a device is one thing, whatever its extents are.
fn proof(mode: VolumeMode, tree: TreeDigest, bytes: u64) -> Proof {
    let TreeDigest { totals, digest } = tree;
    let files = match mode {
        VolumeMode::Filesystem => totals.files + totals.directories + totals.others,
        VolumeMode::Block => 1,
    };
    Proof {
        files,
        bytes,
        digest: digest.to_string(),
    }
}

fn load_directory(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Path,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    let result =
        repository.restore_directory(snapshot, target, &RestoreOptions::new(ROOT), progress)?;
    if !result.losses.is_empty() {
        let lines = result
            .losses
            .iter()
            .map(|loss| (loss.path.as_str(), loss.cause.as_str()));
        let reason = format!(
            "the volume did not take everything: {}",
            list(lines, result.losses.len())
        );
        return Err(Trouble::new(Exit::Incomplete, reason));
    }
    // What counts is not what was written but what is there.
    let options = VerifyOptions::new(ROOT);
    let found = repository.verify_directory(snapshot, target, &options, &Progress::default())?;
    let differences = &found.differences;
    if !differences.is_empty() {
        let lines = differences
            .iter()
            .map(|found| (found.path.as_str(), found.detail.as_str()));
        let reason = format!(
            "the volume differs from what was saved: {}",
            list(lines, differences.len())
        );
        return Err(Trouble::new(Exit::Incomplete, reason));
    }
    Ok(proof(
        VolumeMode::Filesystem,
        found.found,
        found.found.totals.bytes,
    ))
}

fn load_device(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Path,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    let result =
        repository.restore_device(snapshot, target, &RestoreOptions::new(ROOT), progress)?;
    let found = repository.verify_device(snapshot, target, ROOT, &Progress::default())?;
    if found.found != found.expected {
        let offsets: Vec<String> = found
            .different
            .iter()
            .map(|at| format!("byte {at}"))
            .collect();
        let lines = offsets.iter().map(|at| (at.as_str(), "differs"));
        let reason = format!(
            "the device differs from what was saved: {}",
            list(lines, offsets.len())
        );
        return Err(Trouble::new(Exit::Incomplete, reason));
    }
    // Every block was found to be the snapshot's, so the snapshot's digest is the device's.
    let digest = repository.digest(snapshot, ROOT)?;
    Ok(proof(VolumeMode::Block, digest, result.totals.bytes))
}

/// The first few of a list, and how many there are.
fn list<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>, count: usize) -> String {
    let mut text = String::new();
    for (path, cause) in lines.take(NAMED) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!("`/{path}` {cause}"));
    }
    if count > NAMED {
        text.push_str(&format!("; and {} more", count - NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_counted() {
        let lines = || (0..7).map(|_| ("a", "b"));
        assert_eq!(list(lines().take(1), 1), "`/a` b");
        assert!(list(lines(), 7).ends_with("`/a` b; and 2 more"));
    }
}
