//! The local side: entries of a file system as nodes, by file descriptors and single names, never by path strings.
//!
//! A path string can be swapped under us and ends at 4096 bytes; a directory descriptor and one name cannot and do
//! not. Attributes have no call that takes both, so `/proc/self/fd/<dir>/<name>` stands in for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::node::{Node, NodeKind, Time, Xattr};

/// Largest list of attribute names and largest value the kernel gives.
const XATTR_LIMIT: usize = 64 << 10;
/// The device of every file with several links: a walk never leaves its file system, whose number is another at the next mount.
const DEVICE: u64 = 1;
/// Holes remembered per file. More would cost more tree than they save disk; the small ones are then written as zeros.
const HOLE_LIMIT: usize = 64 << 10;
const HOLE_MIN_WHEN_MANY: u64 = 64 << 10;

/// What `stat` calls the entry; `None` for kinds no file system of ours has.
pub(super) fn kind_of(stat: &Stat) -> Option<NodeKind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::BlockDevice => NodeKind::BlockDevice,
        FileType::CharacterDevice => NodeKind::CharDevice,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        _ => return None,
    })
}

// The width of these fields differs between architectures.
#[allow(clippy::unnecessary_cast)]
pub(super) fn mtime_of(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_mtime as i64,
        nanoseconds: stat.st_mtime_nsec as u32,
    }
}

#[allow(clippy::unnecessary_cast)]
pub(super) fn ctime_of(stat: &Stat) -> Time {
    Time {
        seconds: stat.st_ctime as i64,
        nanoseconds: stat.st_ctime_nsec as u32,
    }
}

/// Whether a file has fewer blocks than its length needs.
#[allow(clippy::unnecessary_cast)]
pub(super) fn is_sparse(stat: &Stat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64
}

/// The metadata `stat` knows.
#[allow(clippy::unnecessary_cast)]
pub(super) fn node_of(name: &[u8], kind: NodeKind, stat: &Stat) -> Node {
    let mut node = Node::new(name, kind, stat.st_mode as u32 & 0o7777);
    node.mtime = mtime_of(stat);
    node.ctime = ctime_of(stat);
    node.atime = Time {
        seconds: stat.st_atime as i64,
        nanoseconds: stat.st_atime_nsec as u32,
    };
    node.uid = stat.st_uid;
    node.gid = stat.st_gid;
    node.inode = stat.st_ino as u64;
    if kind == NodeKind::Directory {
        // Walking it changes its access time; kept, it would make every directory new in every backup.
        node.atime = node.mtime;
    }
    if kind == NodeKind::File {
        node.size = stat.st_size as u64;
    }
    if kind != NodeKind::Directory && stat.st_nlink as u64 > 1 {
        node.links = stat.st_nlink as u64;
        node.device_id = DEVICE;
    }
    if matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
        node.device = stat.st_rdev as u64;
    }
    node
}

/// As [`node_of`], for an entry that is read from now on: one that was changed just before is not trusted, because
/// another change right after it may leave its times as they are.
pub(super) fn node_to_read(name: &[u8], kind: NodeKind, stat: &Stat) -> Node {
    let mut node = node_of(name, kind, stat);
    if is_recent(node.ctime, clock()) {
        node.distrust();
    }
    node
}

/// What the clock shows.
fn clock() -> Time {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    Time {
        seconds: now.tv_sec,
        nanoseconds: now.tv_nsec as u32,
    }
}

/// Whether a change at `now` could be given the time `ctime`. File systems count in ticks of the kernel, of 10 ms or less,
/// and some in whole seconds or two. A time in the far future is of another clock.
fn is_recent(ctime: Time, now: Time) -> bool {
    let nanoseconds =
        |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let step = match ctime.nanoseconds {
        0 => 2_000_000_000,
        _ => 20_000_000,
    };
    (nanoseconds(now) - nanoseconds(ctime)).abs() <= step
}

/// `lstat` of one name in a directory.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens one name for reading, never through a symbolic link, without touching its access time where we may.
pub(super) fn open_at(dir: BorrowedFd<'_>, name: &[u8], extra: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | extra;
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may leave the access time alone.
        Err(Errno::PERM) => Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// A name in a directory as a path for calls that only take paths. The final name is never followed by `l…` calls.
pub(super) fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// The extended attributes of an open file or directory, sorted.
pub(super) fn xattrs_of_fd(fd: impl AsFd) -> io::Result<Vec<Xattr>> {
    let fd = fd.as_fd();
    collect_xattrs(
        |list| rustix::fs::flistxattr(fd, list),
        |name, value| rustix::fs::fgetxattr(fd, name, value),
    )
}

/// The extended attributes of a name in a directory, which is not followed.
pub(super) fn xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<Xattr>> {
    let path = proc_path(dir, name);
    let path = path.as_slice();
    collect_xattrs(
        |list| rustix::fs::llistxattr(path, list),
        |name, value| rustix::fs::lgetxattr(path, name, value),
    )
}

fn collect_xattrs(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Xattr>> {
    let mut small = [0u8; 512];
    let mut large = Vec::new();
    let names: &[u8] = match list(&mut small) {
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large.resize(XATTR_LIMIT, 0);
            let length = list(&mut large)?;
            &large[..length]
        }
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0u8; 256];
        let length = match get(name, &mut value) {
            Err(Errno::RANGE) => {
                value.resize(XATTR_LIMIT, 0);
                get(name, &mut value)
            }
            other => other,
        };
        match length {
            Ok(length) => value.truncate(length),
            // Removed since the names were listed.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        xattrs.push(Xattr {
            name: name.to_vec(),
            value,
        });
    }
    xattrs.sort();
    Ok(xattrs)
}

/// The holes of an open file: offset and length, ascending. Empty where the file system does not tell.
pub(super) fn holes_of(fd: impl AsFd, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let fd = fd.as_fd();
    let mut holes = Vec::new();
    let mut position = 0;
    while position < size {
        let hole = match rustix::fs::seek(fd, SeekFrom::Hole(position)) {
            Ok(hole) => hole.min(size),
            Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(error) => return Err(error.into()),
        };
        if hole >= size {
            break;
        }
        let end = match rustix::fs::seek(fd, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(error) => return Err(error.into()),
        };
        if end <= hole {
            break;
        }
        holes.push((hole, end - hole));
        position = end;
    }
    if holes.len() > HOLE_LIMIT {
        holes.retain(|(_, length)| *length >= HOLE_MIN_WHEN_MANY);
        holes.truncate(HOLE_LIMIT);
    }
    Ok(holes)
}

/// A path for people: bytes that are not UTF-8 and control characters are escaped.
pub(super) fn display(path: &[u8]) -> String {
    super::text::quote(path)
}

/// Lets a deep tree and many workers hold their directories open at once.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_recent_as_long_as_another_could_get_the_same_time() {
        let at = |seconds, nanoseconds| Time {
            seconds,
            nanoseconds,
        };
        assert!(is_recent(at(100, 5_000_000), at(100, 9_000_000)));
        assert!(is_recent(at(99, 999_000_000), at(100, 9_000_000)));
        assert!(!is_recent(at(100, 5_000_000), at(100, 30_000_000)));
        // A file system that counts in seconds.
        assert!(is_recent(at(99, 0), at(100, 900_000_000)));
        assert!(!is_recent(at(98, 0), at(100, 900_000_000)));
        // The clock was wrong once.
        assert!(!is_recent(at(900, 1), at(100, 0)));
    }
}
