//! What a target takes, asked before the first byte moves: each attribute is set on a file of our own and read back,
//! because some file systems accept what they do not keep.
//!
//! What is refused matters only if the snapshot has it: so the answer is held against the snapshot's entries, and
//! only then is it a loss to be expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};

use super::super::Repository;
use super::super::error::{Error, Result};
use super::super::local;
use super::super::node::{Node, NodeKind, Time};
use super::super::snapshot::Snapshot;
use super::super::tree::TreeReader;
use super::{LossClass, apply, open_target};

/// Nobody's number: what a target that keeps owners must be able to show.
const STRANGER: u32 = 60_123;
/// Read and write for the owner, read for one more user: an ACL as `setfacl -m u:60123:r` writes it.
const ACL: [u8; 44] = {
    let mut acl = [0xff; 44];
    let words: [(usize, [u8; 4]); 6] = [
        (0, [2, 0, 0, 0]),
        (4, [1, 0, 6, 0]),
        (12, [2, 0, 4, 0]),
        (20, [4, 0, 4, 0]),
        (28, [16, 0, 4, 0]),
        (36, [32, 0, 4, 0]),
    ];
    let mut word = 0;
    while word < words.len() {
        let (at, bytes) = words[word];
        let mut byte = 0;
        while byte < 4 {
            acl[at + byte] = bytes[byte];
            byte += 1;
        }
        word += 1;
    }
    let id = STRANGER.to_le_bytes();
    let mut byte = 0;
    while byte < 4 {
        acl[16 + byte] = id[byte];
        byte += 1;
    }
    acl
};
/// `cap_net_bind_service+ep` in the kernel's second version.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Something a target may not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Feature {
    Owner,
    SetId,
    Mode,
    Times,
    UserXattr,
    TrustedXattr,
    Acl,
    Capability,
    Device,
    Pipe,
    HardLink,
}

impl Feature {
    const ALL: [Feature; 11] = [
        Feature::Owner,
        Feature::SetId,
        Feature::Mode,
        Feature::Times,
        Feature::UserXattr,
        Feature::TrustedXattr,
        Feature::Acl,
        Feature::Capability,
        Feature::Device,
        Feature::Pipe,
        Feature::HardLink,
    ];

    fn class(self) -> LossClass {
        match self {
            Feature::Owner => LossClass::Owner,
            Feature::SetId | Feature::Mode => LossClass::Mode,
            Feature::Times => LossClass::Times,
            Feature::UserXattr | Feature::TrustedXattr => LossClass::Xattr,
            Feature::Acl => LossClass::Acl,
            Feature::Capability => LossClass::Capability,
            Feature::Device | Feature::Pipe => LossClass::Special,
            Feature::HardLink => LossClass::HardLink,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Feature::Owner => "owners other than this user",
            Feature::SetId => "setuid and setgid bits of other owners' files",
            Feature::Mode => "permission bits",
            Feature::Times => "modification times",
            Feature::UserXattr => "extended attributes (user.*)",
            Feature::TrustedXattr => "extended attributes (trusted.*)",
            Feature::Acl => "POSIX ACLs",
            Feature::Capability => "file capabilities",
            Feature::Device => "device nodes",
            Feature::Pipe => "pipes and sockets",
            Feature::HardLink => "hard links",
        }
    }

    /// Whether an entry has it. What is our own, and of a group we are in, keeps both wherever it is.
    fn is_needed_by(self, node: &Node, us: &Us) -> bool {
        let has = |prefix: &[u8]| node.xattrs.iter().any(|x| x.name.starts_with(prefix));
        let theirs = (node.uid != us.user, !us.groups.contains(&node.gid));
        match self {
            Feature::Owner => theirs.0 || theirs.1,
            Feature::SetId => {
                node.kind != NodeKind::Directory
                    && (theirs.0 && node.mode & 0o4000 != 0 || theirs.1 && node.mode & 0o2000 != 0)
            }
            Feature::Mode => node.kind != NodeKind::Symlink,
            Feature::Times => true,
            Feature::UserXattr => has(b"user."),
            Feature::TrustedXattr => has(b"trusted."),
            Feature::Acl => has(b"system.posix_acl_"),
            Feature::Capability => has(b"security.capability"),
            Feature::Device => matches!(node.kind, NodeKind::BlockDevice | NodeKind::CharDevice),
            Feature::Pipe => matches!(node.kind, NodeKind::Fifo | NodeKind::Socket),
            Feature::HardLink => node.kind == NodeKind::File && node.links > 1,
        }
    }
}

/// Who we are.
struct Us {
    user: u32,
    groups: BTreeSet<u32>,
}

impl Us {
    fn now() -> Self {
        let more = rustix::process::getgroups().unwrap_or_default();
        let groups = more.into_iter().chain([rustix::process::getegid()]);
        Self {
            user: rustix::process::geteuid().as_raw(),
            groups: groups.map(Gid::as_raw).collect(),
        }
    }
}

/// A loss that a restore would end with: the target does not take it and the snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedLoss {
    /// What would be lost.
    pub class: LossClass,
    /// It in words.
    pub what: &'static str,
    /// The target's answer.
    pub cause: String,
    /// Entries of the snapshot that have it.
    pub entries: u64,
    /// One of them, as a path below the target.
    pub example: String,
}

impl Repository {
    /// What would be lost if the directory `path` of `snapshot` were restored into `target`. A folder is made in the
    /// target and removed again; nothing else is touched.
    ///
    /// # Errors
    /// [`Error::Local`] when nothing at all can be written there.
    pub fn expected_losses(
        &self,
        snapshot: &Snapshot,
        path: &str,
        target: &Path,
    ) -> Result<Vec<ExpectedLoss>> {
        let refused = probe(target)?;
        if refused.is_empty() {
            return Ok(Vec::new());
        }
        self.index_to_read()?;
        let mut losses = Losses {
            refused,
            us: Us::now(),
            found: BTreeMap::new(),
        };
        let root = self.find_node(snapshot, path)?;
        let open = |node: &Node| -> Result<TreeReader> {
            let tree = node
                .subtree
                .ok_or_else(|| Error::damaged(path, "it is not a directory"))?;
            TreeReader::open(self, &tree)
        };
        losses.note_root(&root, target)?;
        let mut readers = vec![(String::new(), open(&root)?)];
        while let Some((prefix, reader)) = readers.last_mut() {
            let Some(node) = reader.next_node()? else {
                readers.pop();
                continue;
            };
            let path = format!("{prefix}{}", local::display(&node.name));
            losses.note(&node, &path);
            if node.kind == NodeKind::Directory {
                let reader = open(&node)?;
                readers.push((format!("{path}/"), reader));
            }
        }
        Ok(losses.found.into_values().collect())
    }
}

/// What was found of losses to come.
struct Losses {
    refused: BTreeMap<Feature, String>,
    us: Us,
    found: BTreeMap<Feature, ExpectedLoss>,
}

impl Losses {
    fn note(&mut self, node: &Node, path: &str) {
        for (feature, cause) in &self.refused {
            if feature.is_needed_by(node, &self.us) {
                add(&mut self.found, *feature, cause, path);
            }
        }
    }

    /// The root is the target's own directory, which may be somebody else's and as it is to be already.
    fn note_root(&mut self, node: &Node, target: &Path) -> Result<()> {
        let top = open_target(target)?;
        let there = rustix::fs::fstat(&top).map_err(|errno| Error::Local {
            operation: "look at",
            path: target.display().to_string(),
            source: errno.into(),
        })?;
        let owned = (there.st_uid, there.st_gid) == (node.uid, node.gid);
        for (feature, cause) in &self.refused {
            if feature.is_needed_by(node, &self.us) && !(owned && *feature == Feature::Owner) {
                add(&mut self.found, *feature, cause, "");
            }
        }
        let mode = there.st_mode & 0o7777;
        if mode != node.mode
            && let Err(error) = rustix::fs::fchmod(&top, Mode::from_raw_mode(mode))
        {
            add(&mut self.found, Feature::Mode, &error.to_string(), "");
        }
        if !owned
            && there.st_uid != self.us.user
            && !self.found.contains_key(&Feature::Owner)
            && self.refused.contains_key(&Feature::Owner)
        {
            let cause = "the directory is another user's";
            add(&mut self.found, Feature::Owner, cause, "");
        }
        Ok(())
    }
}

fn add(losses: &mut BTreeMap<Feature, ExpectedLoss>, feature: Feature, cause: &str, path: &str) {
    let loss = losses.entry(feature).or_insert_with(|| ExpectedLoss {
        class: feature.class(),
        what: feature.words(),
        cause: cause.to_owned(),
        entries: 0,
        example: path.to_owned(),
    });
    loss.entries += 1;
}

/// The features that a directory does not take, with its answers.
fn probe(target: &Path) -> Result<BTreeMap<Feature, String>> {
    let failed = |source: io::Error| Error::Local {
        operation: "write into",
        path: target.display().to_string(),
        source,
    };
    let top = open_target(target)?;
    let name = format!(".ferry-probe-{}", std::process::id()).into_bytes();
    let asked = Place::make(&top, &name).map(|place| {
        let ask = |feature: Feature| Some((feature, place.ask(feature).err()?.to_string()));
        Feature::ALL.into_iter().filter_map(ask).collect()
    });
    apply::remove(top.as_fd(), &name).map_err(failed)?;
    asked.map_err(failed)
}

/// A folder of our own in the target, with a file in it.
struct Place {
    dir: OwnedFd,
    file: File,
}

impl Place {
    fn make(top: &OwnedFd, name: &[u8]) -> io::Result<Self> {
        // What a killed process left would answer for us.
        apply::remove(top.as_fd(), name)?;
        rustix::fs::mkdirat(top, name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(top, name, flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, "file", flags, Mode::from_raw_mode(0o600))?;
        Ok(Place {
            dir,
            file: file.into(),
        })
    }

    fn ask(&self, feature: Feature) -> io::Result<()> {
        match feature {
            Feature::Owner | Feature::SetId => self.owner(),
            Feature::Mode => self.mode(),
            Feature::Times => self.times(),
            Feature::UserXattr => self.xattr("user.ferry.probe", b"1"),
            Feature::TrustedXattr => self.xattr("trusted.ferry.probe", b"1"),
            Feature::Acl => self.xattr("system.posix_acl_access", &ACL),
            Feature::Capability => self.xattr("security.capability", &CAPABILITY),
            Feature::Device => self.special("device", FileType::CharacterDevice),
            Feature::Pipe => self.special("pipe", FileType::Fifo),
            Feature::HardLink => {
                let dir = &self.dir;
                Ok(rustix::fs::linkat(
                    dir,
                    "file",
                    dir,
                    "link",
                    AtFlags::empty(),
                )?)
            }
        }
    }

    fn owner(&self) -> io::Result<()> {
        let file = &self.file;
        let before = rustix::fs::fstat(file)?;
        rustix::fs::fchown(
            file,
            Some(Uid::from_raw(STRANGER)),
            Some(Gid::from_raw(STRANGER)),
        )?;
        let there = rustix::fs::fstat(file)?;
        // Given back: what is asked next concerns a file of our own.
        rustix::fs::fchown(
            file,
            Some(Uid::from_raw(before.st_uid)),
            Some(Gid::from_raw(before.st_gid)),
        )?;
        kept(there.st_uid == STRANGER && there.st_gid == STRANGER)
    }

    fn mode(&self) -> io::Result<()> {
        for mode in [0o4751, 0o600] {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
            kept(rustix::fs::fstat(&self.file)?.st_mode & 0o7777 == mode)?;
        }
        Ok(())
    }

    fn times(&self) -> io::Result<()> {
        let time = Time {
            seconds: 1_000_000_000,
            nanoseconds: 123_456_789,
        };
        rustix::fs::futimens(&self.file, &apply::timestamps(time, time))?;
        kept(local::mtime_of(&rustix::fs::fstat(&self.file)?) == time)
    }

    fn xattr(&self, name: &str, value: &[u8]) -> io::Result<()> {
        rustix::fs::fsetxattr(&self.file, name, value, XattrFlags::empty())?;
        let mut there = [0; 64];
        let length = rustix::fs::fgetxattr(&self.file, name, &mut there[..])?;
        kept(length == value.len())
    }

    fn special(&self, name: &str, kind: FileType) -> io::Result<()> {
        let dir: BorrowedFd<'_> = self.dir.as_fd();
        // The null device, which does no harm wherever it is.
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)?;
        Ok(())
    }
}

fn kept(kept: bool) -> io::Result<()> {
    match kept {
        true => Ok(()),
        false => Err(io::Error::other("it was accepted and not kept")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_folder_takes_what_its_owner_may_set_and_nothing_is_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let refused = probe(folder.path()).unwrap();
        for feature in [
            Feature::Mode,
            Feature::Times,
            Feature::Pipe,
            Feature::HardLink,
        ] {
            assert_eq!(refused.get(&feature), None);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_takes_nothing_is_an_error() {
        let error = probe(Path::new("/proc")).unwrap_err();
        assert!(matches!(error, Error::Local { .. }), "{error:?}");
    }
}
