//! The folder in which volumes are unpacked on their way.
//!
//! What is in it is somebody's data, unsealed: nobody else may look into it, it goes when its process ends, and what a
//! killed one left goes when the next begins.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation::NonBlockingLockExclusive;

use super::VeleroError;

const PREFIX: &str = "ferry-velero-";
/// Locked as long as its folder is in use.
const LOCK: &str = "lock";

/// A folder of this process's own.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes one below a folder, and removes those whose processes are gone.
    ///
    /// # Errors
    /// [`VeleroError::Scratch`] when nothing can be made there.
    pub fn below(parent: &Path) -> Result<Self, VeleroError> {
        let unusable = |source| VeleroError::Scratch {
            path: parent.into(),
            source,
        };
        remove_abandoned(parent).map_err(unusable)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(unusable)?;
        let lock = File::create(folder.path().join(LOCK)).map_err(unusable)?;
        rustix::fs::flock(&lock, NonBlockingLockExclusive).map_err(|no| unusable(no.into()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Sees that something of so many bytes can be unpacked here.
    ///
    /// # Errors
    /// [`VeleroError::NoSpace`] when it cannot.
    pub fn takes(&self, needed: u64) -> Result<(), VeleroError> {
        let path = self.path().parent().unwrap_or(self.path()).to_owned();
        let stats = match rustix::fs::statvfs(&path) {
            Ok(stats) => stats,
            Err(error) => {
                let source = error.into();
                return Err(VeleroError::Scratch { path, source });
            }
        };
        let free = stats.f_bavail.saturating_mul(stats.f_frsize);
        match free < needed {
            true => Err(VeleroError::NoSpace { path, free, needed }),
            false => Ok(()),
        }
    }
}

/// Removes this user's folders that no process holds any more.
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&entry.path()) {
            // What cannot be removed is another's to see to, and no reason not to work.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

fn is_abandoned(folder: &PathBuf) -> bool {
    let ours = fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw());
    let lock = File::open(folder.join(LOCK));
    ours && lock.is_ok_and(|lock| rustix::fs::flock(&lock, NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_uses_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Scratch::below(parent.path()).unwrap();
        let dead = parent.path().join("ferry-velero-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("volume"), "of a killed import").unwrap();
        let other = parent.path().join("somebody-else");
        fs::create_dir(&other).unwrap();
        let next = Scratch::below(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(alive.path().exists() && next.path().exists() && other.exists());
        let mode = fs::metadata(next.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        next.takes(1).unwrap();
        assert!(matches!(
            next.takes(u64::MAX),
            Err(VeleroError::NoSpace { .. })
        ));
    }
}
