//! What the repository engine is asked to do, and when its answer counts as success.
//!
//! The engine reports; here is decided. A volume that could not be read whole is not saved, and one that
//! did not take everything is not loaded: each says what and where, so that the user can act. Movers beside
//! volumes and `ferry data` on a folder call the same functions.

use std::collections::BTreeSet;
use std::path::Path;

use super::trouble::Trouble;
use crate::capture::{Consistency, Held, Proof, SavedVolume, VolumeMode};
use crate::exit::Exit;
use crate::repository::{
    BackupOptions, BackupResult, CheckpointOptions, Difference, ExpectedLoss, INCOMPLETE, Loss,
    LossClass, Problem, Progress, Repository, RestoreOptions, Snapshot, SnapshotInfo, TreeDigest,
    VerifyOptions, fingerprint_device, fingerprint_directory,
};

/// The node of a snapshot that stands for the volume's root.
pub(crate) const ROOT: &str = "data";
/// Entries named in a failure; the rest is counted.
const NAMED: usize = 5;

/// What is saved.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) mode: VolumeMode,
    pub(crate) consistency: Consistency,
    /// Where the data is from, as the snapshot's host.
    pub(crate) host: &'a str,
    /// The snapshot's tags. The last one names the source: any earlier state of it makes this one quick.
    pub(crate) tags: &'a [String],
    /// Whether files that change while they are read are saved as they were found.
    pub(crate) accept_torn: bool,
    /// Driver and handle of the snapshot that it is a copy of.
    pub(crate) frozen: Option<&'a str>,
}

/// A volume in the store.
pub(crate) struct Saved {
    pub(crate) volume: SavedVolume,
    pub(crate) result: BackupResult,
}

/// Saves a volume as one snapshot.
pub(crate) fn save(
    repository: &Repository,
    source: &Source<'_>,
    progress: &Progress,
) -> Result<Saved, Trouble> {
    let info = SnapshotInfo {
        hostname: source.host.into(),
        tags: source.tags.to_vec(),
    };
    let mut options = BackupOptions::new(ROOT, info);
    options.accept_torn = source.accept_torn;
    let claim = source
        .tags
        .last()
        .map(std::slice::from_ref)
        .unwrap_or_default();
    // Of a device that may have changed nothing can be told without reading it.
    let resumable = source.mode == VolumeMode::Filesystem || source.frozen.is_some();
    options.checkpoint = claim
        .first()
        .filter(|_| resumable)
        .map(|name| CheckpointOptions {
            frozen: source.frozen.map(Into::into),
            ..CheckpointOptions::new(source.host, name)
        });
    options.parent = repository
        .snapshots(claim)?
        .into_iter()
        .rev()
        .find(|snapshot| snapshot.hostname == source.host && !snapshot.has_tags(&[INCOMPLETE]));
    let result = match source.mode {
        VolumeMode::Filesystem => repository.backup_directory(source.path, &options, progress)?,
        VolumeMode::Block => repository.backup_device(source.path, &options, progress)?,
    };
    let missing: Vec<&Problem> = result
        .problems
        .iter()
        .filter(|problem| !options.accepts(problem))
        .collect();
    if !missing.is_empty() {
        let lines = missing
            .iter()
            .map(|problem| (problem.path.as_str(), problem.cause.as_str()));
        let listed = list(lines, missing.len());
        return Err(Trouble::new(
            Exit::Incomplete,
            format!("it could not be read whole: {listed}"),
        ));
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
    let volume = SavedVolume {
        snapshot: id,
        held: None,
        consistency: source.consistency,
        proof,
        added: result.bytes_added,
    };
    Ok(Saved { volume, result })
}

/// Reads a volume that was made of what the storage itself holds: nothing goes to the store.
pub(super) fn hold(
    source: &Source<'_>,
    held: Held,
    progress: &Progress,
) -> Result<SavedVolume, Trouble> {
    Ok(SavedVolume {
        snapshot: held.handle.clone(),
        held: Some(held),
        consistency: source.consistency,
        proof: fingerprint(source.path, source.mode, None, progress)?,
        added: 0,
    })
}

/// What is in a volume that the storage made of what it holds.
pub(super) fn found(
    path: &Path,
    saved: &SavedVolume,
    mode: VolumeMode,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    // B's device may be larger than A's.
    fingerprint(path, mode, Some(saved.proof.bytes), progress)
}

fn fingerprint(
    path: &Path,
    mode: VolumeMode,
    length: Option<u64>,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    let found = match mode {
        VolumeMode::Filesystem => fingerprint_directory(path, progress)?,
        VolumeMode::Block => fingerprint_device(path, length, progress)?,
    };
    Ok(proof(mode, found, found.totals.bytes))
}

/// Removes what earlier attempts at the same left behind: other snapshots with the very same tags.
pub(super) fn forget_earlier(
    repository: &Repository,
    tags: &[String],
    saved: &Saved,
) -> Result<(), Trouble> {
    for old in repository.snapshots(tags)? {
        let Some(id) = old.id.filter(|id| Some(*id) != saved.result.snapshot.id) else {
            continue;
        };
        match repository.forget(&id) {
            // Keys that may only add leave it to retention, which no manifest keeps it from.
            Err(error) if error.is_refusal() => {}
            forgotten => forgotten?,
        }
    }
    Ok(())
}

/// Where a snapshot goes, or what it is compared with.
pub(crate) struct Target<'a> {
    pub(crate) path: &'a Path,
    /// What may be lost on the way.
    pub(crate) accept: &'a [LossClass],
    /// Whether entries that the snapshot does not have are deleted.
    pub(crate) delete_extra: bool,
    /// Whether the root directory is the storage's and not ours, so that its time stays as it is.
    pub(crate) foreign_root: bool,
}

impl Target<'_> {
    /// Whether the root's time is all that it is about, and not ours to set.
    fn is_root_time(&self, path: &str, class: LossClass) -> bool {
        self.foreign_root && path == "/" && class == LossClass::Times
    }

    fn accepts(&self, path: &str, class: LossClass) -> bool {
        self.accept.contains(&class) || self.is_root_time(path, class)
    }
}

/// A volume that holds what was saved.
pub(crate) struct Loaded {
    pub(crate) proof: Proof,
    /// What it did not take, all of it accepted.
    pub(crate) losses: Vec<Loss>,
    /// Classes of what it did not take or shows otherwise.
    pub(crate) lost: Vec<LossClass>,
    /// Bytes that were there already.
    pub(crate) reused: u64,
    pub(crate) written: u64,
}

/// Loads a volume, then reads it back and compares. A target that does not take what the snapshot has is refused
/// before the first write, unless that loss is accepted.
pub(crate) fn load(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Target<'_>,
    progress: &Progress,
) -> Result<Loaded, Trouble> {
    let mut options = RestoreOptions::new(ROOT);
    options.delete_extra = target.delete_extra;
    if repository.device_size(snapshot, ROOT)?.is_some() {
        let result = repository.restore_device(snapshot, target.path, &options, progress)?;
        let proof = compare_device(repository, snapshot, target.path, &Progress::default())?;
        return Ok(Loaded {
            proof,
            losses: Vec::new(),
            lost: Vec::new(),
            reused: result.bytes_reused,
            written: result.bytes_written,
        });
    }
    let expected = unaccepted(
        expected_losses(repository, snapshot, target)?,
        target.accept,
    );
    if !expected.is_empty() {
        return Err(refusal(&expected));
    }
    // A sync's claim holds, as far as one can tell, what the save before this one found. What can be told is only
    // believed until all of it has been compared below.
    let before = snapshot.parent.filter(|_| target.delete_extra);
    options.base = before.and_then(|parent| repository.snapshot(&parent.to_string()).ok());
    let mut result = repository.restore_directory(snapshot, target.path, &options, progress)?;
    let mut compared = compare(repository, snapshot, target, &Progress::default())?;
    if options.base.take().is_some() && !compared.differences.is_empty() {
        tracing::info!("the target does not hold what was believed; everything is looked at");
        result =
            repository.restore_directory(snapshot, target.path, &options, &Progress::default())?;
        compared = compare(repository, snapshot, target, &Progress::default())?;
    }
    let lost: Vec<&Loss> = result
        .losses
        .iter()
        .filter(|loss| !target.accepts(&loss.path, loss.class))
        .collect();
    if !lost.is_empty() {
        let lines = lost
            .iter()
            .map(|loss| (loss.path.as_str(), loss.cause.as_str()));
        let reason = format!(
            "the volume did not take everything: {}",
            list(lines, lost.len())
        );
        return Err(Trouble::new(Exit::Incomplete, reason));
    }
    // What counts is not what was written but what is there.
    if let Some(reason) = compared.reason() {
        return Err(Trouble::new(Exit::Incomplete, reason));
    }
    let lost = result.losses.iter();
    let lost = lost.filter(|loss| !target.is_root_time(&loss.path, loss.class));
    let lost: BTreeSet<LossClass> = lost.map(|loss| loss.class).collect();
    let lost = lost.union(&compared.accepted).copied().collect();
    Ok(Loaded {
        lost,
        proof: compared.proof,
        losses: result.losses,
        reused: result.bytes_reused,
        written: result.bytes_written,
    })
}

/// What the target would not take of what the snapshot has, asked of the target itself. Nothing for a device.
pub(crate) fn expected_losses(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Target<'_>,
) -> Result<Vec<ExpectedLoss>, Trouble> {
    if repository.device_size(snapshot, ROOT)?.is_some() {
        return Ok(Vec::new());
    }
    Ok(repository.expected_losses(snapshot, ROOT, target.path)?)
}

fn unaccepted(losses: Vec<ExpectedLoss>, accept: &[LossClass]) -> Vec<ExpectedLoss> {
    let not = |loss: &ExpectedLoss| !accept.contains(&loss.class);
    losses.into_iter().filter(not).collect()
}

fn refusal(losses: &[ExpectedLoss]) -> Trouble {
    let lines: Vec<String> = losses.iter().map(in_words).collect();
    let mut classes: Vec<String> = losses.iter().map(|loss| loss.class.to_string()).collect();
    classes.dedup();
    let reason = format!(
        "the target does not take {}; nothing was written; give another target, more rights, or accept it with \
         --accept-loss {}",
        lines.join("; "),
        classes.join(" --accept-loss "),
    );
    Trouble::new(Exit::Blocked, reason)
}

/// `POSIX ACLs (3 entries, such as `/a`: not supported)`.
pub(crate) fn in_words(loss: &ExpectedLoss) -> String {
    let entries = crate::report::units::plural(loss.entries as usize, "entry");
    format!(
        "{} ({entries}, such as `/{}`: {})",
        loss.what, loss.example, loss.cause
    )
}

/// A folder held against a snapshot.
pub(crate) struct Compared {
    pub(crate) proof: Proof,
    /// What differs, without what was accepted.
    pub(crate) differences: Vec<Difference>,
    /// Classes of what differs and was accepted.
    pub(crate) accepted: BTreeSet<LossClass>,
}

impl Compared {
    /// What differs, in one line; `None` when nothing does.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.differences.is_empty() {
            return None;
        }
        let lines = self
            .differences
            .iter()
            .map(|found| (found.path.as_str(), found.detail.as_str()));
        Some(format!(
            "the volume differs from what was saved: {}",
            list(lines, self.differences.len())
        ))
    }
}

/// Compares every entry, attribute and byte of a folder with a snapshot.
pub(crate) fn compare(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Target<'_>,
    progress: &Progress,
) -> Result<Compared, Trouble> {
    let options = VerifyOptions::new(ROOT);
    let found = repository.verify_directory(snapshot, target.path, &options, progress)?;
    let accepted = |difference: &Difference| {
        let loss = difference.loss();
        loss.is_some_and(|class| target.accepts(&difference.path, class))
    };
    let equal = found.is_equal_but(accepted);
    let proof = proof(
        VolumeMode::Filesystem,
        found.found,
        found.found.totals.bytes,
    );
    let (accepted, differences): (Vec<Difference>, Vec<Difference>) =
        found.differences.into_iter().partition(accepted);
    let accepted = accepted
        .iter()
        .filter_map(|one| Some((one.path.as_str(), one.loss()?)))
        .filter(|(path, class)| !target.is_root_time(path, *class))
        .map(|(_, class)| class)
        .collect();
    if !equal && differences.is_empty() {
        let reason = "the digest of the volume differs, and no entry does: a defect of Ferry's";
        return Err(Trouble::new(Exit::Internal, reason));
    }
    Ok(Compared {
        proof,
        differences,
        accepted,
    })
}

/// Compares every block of a device with a snapshot.
pub(crate) fn compare_device(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &Path,
    progress: &Progress,
) -> Result<Proof, Trouble> {
    let found = repository.verify_device(snapshot, target, ROOT, progress)?;
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
    Ok(proof(VolumeMode::Block, digest, found.bytes))
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

/// The first few of a list, and how many there are.
fn list<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>, count: usize) -> String {
    let mut text = String::new();
    for (path, cause) in lines.take(NAMED) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!("`/{}` {cause}", path.trim_start_matches('/')));
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
    fn what_a_target_is_believed_to_hold_is_proven_all_the_same() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _entered = runtime.enter();
        let store = std::sync::Arc::new(object_store::memory::InMemory::new());
        let repository = Repository::init(store, "p").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        for made in [&source.join("deep"), &target] {
            std::fs::create_dir_all(made).unwrap();
        }
        let (large, small) = (source.join("deep/large"), source.join("small"));
        let mut noise: Vec<u8> = Vec::new();
        for number in 0..400_000_u64 {
            noise.extend_from_slice(blake3::hash(&number.to_le_bytes()).as_bytes());
        }
        std::fs::write(&large, &noise).unwrap();
        std::fs::write(&small, "before").unwrap();
        let tags = ["pvc=shop/data".to_owned()];
        let carry = || {
            let saved = save(
                &repository,
                &Source {
                    path: &source,
                    mode: VolumeMode::Filesystem,
                    consistency: Consistency::Quiet,
                    host: "a",
                    tags: &tags,
                    accept_torn: false,
                    frozen: None,
                },
                &Progress::default(),
            )
            .unwrap();
            let into = Target {
                path: &target,
                accept: &[],
                delete_extra: true,
                foreign_root: false,
            };
            let snapshot = &saved.result.snapshot;
            let loaded = load(&repository, snapshot, &into, &Progress::default()).unwrap();
            assert_eq!(loaded.proof, saved.volume.proof);
            assert!(
                std::fs::read(target.join("deep/large")).unwrap() == std::fs::read(&large).unwrap()
            );
            loaded
        };
        carry();
        noise[5_000_000] ^= 1;
        std::fs::write(&large, &noise).unwrap();
        std::fs::write(&small, "after").unwrap();
        let loaded = carry();
        assert!(loaded.written < 6 << 20, "{} written", loaded.written);
        // Something wrote to the target where nothing has changed: belief is wrong, and found to be.
        let file = std::fs::File::options()
            .write(true)
            .open(target.join("deep/large"))
            .unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"else", 12_000_000).unwrap();
        std::fs::write(&small, "at last").unwrap();
        carry();
    }

    #[test]
    fn a_long_list_is_counted() {
        let lines = || (0..7).map(|_| ("a", "b"));
        assert_eq!(list(lines().take(1), 1), "`/a` b");
        assert!(list(lines(), 7).ends_with("`/a` b; and 2 more"));
    }
}
