//! Metadata, in the only order that works: owner, mode (a change of owner clears setuid), ACLs and attributes,
//! capabilities (cleared by a change of owner too), times. Each refusal of the target is a loss by class.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::local;
use super::super::node::{Node, NodeKind, Time, Xattr};
use super::{Dir, Link, LossClass, Shared};

const CAPABILITY: &[u8] = b"security.capability";
const SELINUX: &[u8] = b"security.selinux";

impl LossClass {
    /// The class of a lost attribute.
    pub(in super::super) fn of_xattr(name: &[u8]) -> Self {
        match name {
            CAPABILITY => LossClass::Capability,
            SELINUX => LossClass::Selinux,
            name if name.starts_with(b"system.posix_acl_") => LossClass::Acl,
            _ => LossClass::Xattr,
        }
    }
}

pub(super) fn timestamps(atime: Time, mtime: Time) -> Timestamps {
    let timespec = |time: Time| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: timespec(atime),
        last_modification: timespec(mtime),
    }
}

/// Everything of a file or directory that is open. `existed` means that it may carry attributes of its own.
pub(super) fn to_fd(
    shared: &Shared<'_>,
    fd: BorrowedFd<'_>,
    node: &Node,
    existed: bool,
    path: &dyn Fn() -> String,
) {
    if existed {
        remove_foreign(shared, fd, node, path);
    }
    let set = |xattr: &Xattr| {
        let set =
            rustix::fs::fsetxattr(fd, xattr.name.as_slice(), &xattr.value, XattrFlags::empty());
        if let Err(error) = set {
            attribute_loss(shared, xattr, error, path);
        }
    };
    let (user, rest): (Vec<_>, Vec<_>) =
        in_order(shared, node).partition(|x| x.name.starts_with(b"user."));
    // These need the write permission that the mode may take away from all but root; nothing later clears them.
    user.into_iter().for_each(set);
    let owned = own(fd, node);
    if let Err(error) = &owned {
        shared.loss(path(), LossClass::Owner, error);
    }
    let mode = match owned {
        Ok(()) => node.mode,
        Err(_) => without_rights_of_others(shared, fd, node, path),
    };
    if let Err(error) = rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
        && !rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_mode & 0o7777 == mode)
    {
        shared.loss(path(), LossClass::Mode, io::Error::from(error));
    }
    rest.into_iter().for_each(set);
    if let Err(error) = rustix::fs::futimens(fd, &timestamps(node.atime, node.mtime)) {
        shared.loss(path(), LossClass::Times, io::Error::from(error));
    }
}

/// Gives an open entry its owner and group. Where that is refused, the group alone if it can be: an owner may choose
/// among the groups it is in. What has them already is no failure, as the root of a volume that is the storage's.
fn own(fd: BorrowedFd<'_>, node: &Node) -> io::Result<()> {
    let (owner, group) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
    let Err(error) = rustix::fs::fchown(fd, owner, group) else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(fd)?;
    if (stat.st_uid, stat.st_gid) == (node.uid, node.gid) {
        return Ok(());
    }
    if stat.st_gid != node.gid {
        // Refused as well, it is the same loss.
        rustix::fs::fchown(fd, None, group).ok();
    }
    Err(error.into())
}

/// The mode of an entry that did not get its owner: a bit that lends its owner's rights would lend another's.
fn without_rights_of_others(
    shared: &Shared<'_>,
    fd: BorrowedFd<'_>,
    node: &Node,
    path: &dyn Fn() -> String,
) -> u32 {
    let mut mode = node.mode;
    if node.kind == NodeKind::Directory {
        return mode;
    }
    let stat = rustix::fs::fstat(fd).ok();
    if stat.as_ref().is_none_or(|stat| stat.st_uid != node.uid) {
        mode &= !0o4000;
    }
    if stat.as_ref().is_none_or(|stat| stat.st_gid != node.gid) {
        mode &= !0o2000;
    }
    if mode != node.mode {
        let cause = "its setuid or setgid bit would lend the rights of another owner";
        shared.loss(path(), LossClass::Mode, cause);
    }
    mode
}

/// The attributes to set, capabilities last.
fn in_order<'n>(shared: &Shared<'_>, node: &'n Node) -> impl Iterator<Item = &'n Xattr> {
    let selinux = shared.options.selinux;
    let wanted = move |xattr: &&Xattr| selinux || xattr.name != SELINUX;
    let (last, first): (Vec<_>, Vec<_>) = node
        .xattrs
        .iter()
        .filter(wanted)
        .partition(|xattr| xattr.name == CAPABILITY);
    first.into_iter().chain(last)
}

fn attribute_loss(shared: &Shared<'_>, xattr: &Xattr, error: Errno, path: &dyn Fn() -> String) {
    let cause = format!(
        "{}: {}",
        local::display(&xattr.name),
        io::Error::from(error)
    );
    shared.loss(path(), LossClass::of_xattr(&xattr.name), cause);
}

/// Attributes of an entry that was there before and that the snapshot does not have.
fn remove_foreign(shared: &Shared<'_>, fd: BorrowedFd<'_>, node: &Node, path: &dyn Fn() -> String) {
    for xattr in local::xattrs_of_fd(fd).unwrap_or_default() {
        let wanted = node.xattrs.iter().any(|own| own.name == xattr.name);
        if wanted || xattr.name == SELINUX {
            continue;
        }
        if let Err(error) = rustix::fs::fremovexattr(fd, xattr.name.as_slice()) {
            attribute_loss(shared, &xattr, error, path);
        }
    }
}

/// A directory whose entries are all done.
pub(super) fn directory(shared: &Shared<'_>, dir: &Dir) {
    if dir.node.name.is_empty() {
        // The root of a whole snapshot: its metadata was never captured.
        return;
    }
    let path = || match &dir.above {
        Some(above) => above.path(&dir.node.name),
        None => "/".to_owned(),
    };
    to_fd(shared, dir.fd.as_fd(), &dir.node, !dir.fresh, &path);
}

/// Makes a symbolic link, device, pipe or socket with all its metadata.
pub(super) fn special(shared: &Shared<'_>, dir: &Dir, node: &Node) {
    let path = || dir.path(&node.name);
    if let Err(error) = create_special(dir, node) {
        let class = match node.kind {
            NodeKind::Symlink => LossClass::Name,
            _ => LossClass::Special,
        };
        shared.loss(path(), class, error);
        return;
    }
    let (fd, name) = (dir.fd.as_fd(), node.name.as_slice());
    let (owner, group) = (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)));
    if let Err(error) = rustix::fs::chownat(fd, name, owner, group, AtFlags::SYMLINK_NOFOLLOW) {
        shared.loss(path(), LossClass::Owner, io::Error::from(error));
    }
    // A symbolic link has no mode of its own. The others are reached through a handle that follows nothing.
    if node.kind != NodeKind::Symlink
        && let Err(error) = change_mode(fd, name, node.mode)
    {
        shared.loss(path(), LossClass::Mode, error);
    }
    for xattr in in_order(shared, node) {
        let target = local::proc_path(fd, name);
        let (key, value) = (xattr.name.as_slice(), xattr.value.as_slice());
        let set = rustix::fs::lsetxattr(target.as_slice(), key, value, XattrFlags::empty());
        if let Err(error) = set {
            attribute_loss(shared, xattr, error, &path);
        }
    }
    let times = timestamps(node.atime, node.mtime);
    if let Err(error) = rustix::fs::utimensat(fd, name, &times, AtFlags::SYMLINK_NOFOLLOW) {
        shared.loss(path(), LossClass::Times, io::Error::from(error));
    }
}

pub(super) fn change_mode(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    Ok(rustix::fs::chmod(path.as_str(), Mode::from_raw_mode(mode))?)
}

fn create_special(dir: &Dir, node: &Node) -> io::Result<()> {
    let (fd, name) = (dir.fd.as_fd(), node.name.as_slice());
    if !dir.fresh {
        match local::stat_at(fd, name) {
            Ok(stat) if is_same_special(fd, node, &stat) => return Ok(()),
            Ok(_) => rustix::fs::unlinkat(fd, name, AtFlags::empty())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let make = |kind| rustix::fs::mknodat(fd, name, kind, Mode::from_raw_mode(0o600), node.device);
    match node.kind {
        NodeKind::Symlink => rustix::fs::symlinkat(node.link_target.as_slice(), fd, name)?,
        NodeKind::BlockDevice => make(FileType::BlockDevice)?,
        NodeKind::CharDevice => make(FileType::CharacterDevice)?,
        NodeKind::Fifo => make(FileType::Fifo)?,
        NodeKind::Socket => make(FileType::Socket)?,
        NodeKind::File | NodeKind::Directory => {}
    }
    Ok(())
}

fn is_same_special(dir: BorrowedFd<'_>, node: &Node, stat: &rustix::fs::Stat) -> bool {
    #[allow(clippy::unnecessary_cast)] // Its width differs between architectures.
    let device = stat.st_rdev as u64;
    local::kind_of(stat) == Some(node.kind)
        && match node.kind {
            NodeKind::Symlink => rustix::fs::readlinkat(dir, node.name.as_slice(), Vec::new())
                .is_ok_and(|target| target.as_bytes() == node.link_target),
            NodeKind::BlockDevice | NodeKind::CharDevice => device == node.device,
            _ => true,
        }
}

/// Makes a hard link, and puts the times of its directory right again.
pub(super) fn link(shared: &Shared<'_>, root: &OwnedFd, link: &Link) {
    match try_link(root, link) {
        Ok(()) => shared.count(&link.node),
        Err(error) => {
            let path = || local::display(&link.parts.join(&b'/'));
            shared.loss(path(), LossClass::HardLink, error);
            // The link is lost, its content must not be.
            match copy(shared, root, link, &path) {
                Ok(()) => shared.count(&link.node),
                Err(error) => shared.loss(path(), LossClass::Name, error),
            }
        }
    }
}

/// Makes a file of its own where a hard link cannot be.
fn copy(
    shared: &Shared<'_>,
    root: &OwnedFd,
    link: &Link,
    path: &dyn Fn() -> String,
) -> io::Result<()> {
    let (dir, name) = open_parent(root, &link.parts)?;
    let (first_dir, first_name) = open_parent(root, &link.first)?;
    let mut from = File::from(local::open_at(
        first_dir.as_fd(),
        first_name,
        OFlags::empty(),
    )?);
    remove(dir.as_fd(), name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600))?;
    let mut to = File::from(fd);
    io::copy(&mut from, &mut to)?;
    to_fd(shared, to.as_fd(), &link.node, false, path);
    let (atime, mtime) = link.directory_times;
    Ok(rustix::fs::futimens(&dir, &timestamps(atime, mtime))?)
}

fn try_link(root: &OwnedFd, link: &Link) -> io::Result<()> {
    let (dir, name) = open_parent(root, &link.parts)?;
    let (first_dir, first_name) = open_parent(root, &link.first)?;
    let first = local::stat_at(first_dir.as_fd(), first_name)?;
    match local::stat_at(dir.as_fd(), name) {
        Ok(there) if (there.st_ino, there.st_dev) == (first.st_ino, first.st_dev) => return Ok(()),
        Ok(_) => rustix::fs::unlinkat(&dir, name, AtFlags::empty())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    rustix::fs::linkat(&first_dir, first_name, &dir, name, AtFlags::empty())?;
    let (atime, mtime) = link.directory_times;
    Ok(rustix::fs::futimens(&dir, &timestamps(atime, mtime))?)
}

/// Opens the directory of a path one part at a time, following nothing.
fn open_parent<'p>(root: &OwnedFd, parts: &'p [Vec<u8>]) -> io::Result<(OwnedFd, &'p [u8])> {
    let (name, above) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = rustix::io::fcntl_dupfd_cloexec(root, 0)?;
    for part in above {
        dir = rustix::fs::openat(&dir, part.as_slice(), flags, Mode::empty())?;
    }
    Ok((dir, name))
}

/// Removes an entry and everything in it, following nothing.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    for entry in super::plan::list(&inner)? {
        remove(inner.as_fd(), &entry)?;
    }
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}
