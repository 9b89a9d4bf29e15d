//! A tree with everything that movers lose, and a description of a tree that shows every difference.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Whether this process may make devices and give files away.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_xattr(path: &Path, name: &[u8], value: &[u8]) {
    let name = CString::new(name).unwrap();
    rustix::fs::lsetxattr(path, name.as_c_str(), value, XattrFlags::empty()).unwrap();
}

/// Bytes that neither compress nor repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Makes the tree in `root`, which exists and is empty. As root it has owners, devices and capabilities too.
pub fn create(root: &Path) {
    let file = |name: &[u8], content: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(&path, content).unwrap();
        path
    };
    fs::create_dir_all(root.join("empty/deeper/still")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..300u32 {
        fs::write(
            root.join(format!("many/{number:04}")),
            number.to_string().repeat(50),
        )
        .unwrap();
    }
    file(b"zero", b"");
    file(b"big", &noise(1, 20 << 20));
    file(b"medium", &noise(2, 3 << 20));
    file(b"latin-\xe9-\xff", b"not utf-8");
    file(b"utf8-gr\xc3\xbcn-\xe6\x96\x87", b"utf-8");
    file(b"quote\"back\\slash\nnewline\ttab", b"escapes");
    file(&[b'n'; 255], b"longest name");
    sparse(root);
    links(root);
    attributes(root);
    times_and_modes(root);
    if is_root() {
        privileged(root);
    }
    // Directories last: making entries moves their times.
    set_times(&root.join("empty/deeper"), 1_000_000_000, 7);
    set_times(root, 1_234_567_890, 987_654_321);
}

fn sparse(root: &Path) {
    let path = root.join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(&noise(3, 100_000), 40 << 20).unwrap();
    let small = fs::File::create(root.join("sparse-small")).unwrap();
    small.set_len(300_000).unwrap();
    small.write_all_at(b"middle", 150_000).unwrap();
    fs::File::create(root.join("all-hole"))
        .unwrap()
        .set_len(10 << 20)
        .unwrap();
}

fn links(root: &Path) {
    fs::write(root.join("hard-1"), b"linked").unwrap();
    fs::hard_link(root.join("hard-1"), root.join("hard-2")).unwrap();
    fs::hard_link(root.join("hard-1"), root.join("empty/hard-3")).unwrap();
    symlink("hard-1", root.join("symlink")).unwrap();
    symlink("/nowhere/at/all", root.join("symlink-dangling")).unwrap();
    symlink(OsStr::from_bytes(b"bytes-\xfe"), root.join("symlink-bytes")).unwrap();
    set_times(&root.join("symlink"), 1_111_111_111, 5);
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, mode, 0).unwrap();
    rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, mode, 0).unwrap();
}

fn attributes(root: &Path) {
    let path = root.join("attributes");
    fs::write(&path, b"x").unwrap();
    set_xattr(&path, b"user.text", b"value");
    set_xattr(&path, b"user.empty", b"");
    set_xattr(&path, b"user.bytes", b"\0\xff\n");
    set_xattr(&path, b"user.large", &noise(4, 3000));
    set_xattr(&path, b"user.name-\xff", b"name is not utf-8");
    set_xattr(root, b"user.root", b"on the root itself");
    set_xattr(&root.join("empty"), b"user.dir", b"on a directory");
    // An ACL in the kernel's form: owner rw, user 1234 r, group r, mask r, other none.
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 4, 1234),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    set_xattr(&path, b"system.posix_acl_access", &acl);
    set_xattr(&root.join("empty"), b"system.posix_acl_default", &acl);
}

fn times_and_modes(root: &Path) {
    for (name, seconds) in [
        ("year-2300", 10_413_792_000),
        ("year-1969", -1),
        ("year-2001", 1_000_000_000),
    ] {
        fs::write(root.join(name), name).unwrap();
        set_times(&root.join(name), seconds, 123_456_789);
    }
    for mode in [0o4755, 0o2755, 0o1777, 0o0000, 0o0400, 0o6711] {
        let path = root.join(format!("mode-{mode:04o}"));
        fs::write(&path, b"m").unwrap();
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).unwrap();
    }
    fs::create_dir(root.join("sticky")).unwrap();
    rustix::fs::chmod(root.join("sticky"), Mode::from_raw_mode(0o3777)).unwrap();
    fs::create_dir(root.join("closed")).unwrap();
    fs::write(root.join("closed/inside"), b"i").unwrap();
    rustix::fs::chmod(root.join("closed"), Mode::from_raw_mode(0o500)).unwrap();
}

fn privileged(root: &Path) {
    let owned = root.join("owned");
    fs::write(&owned, b"o").unwrap();
    let (user, group) = (Some(Uid::from_raw(12_345)), Some(Gid::from_raw(54_321)));
    rustix::fs::chown(&owned, user, group).unwrap();
    rustix::fs::chmod(&owned, Mode::from_raw_mode(0o6755)).unwrap();
    let link = root.join("symlink-owned");
    symlink("owned", &link).unwrap();
    rustix::fs::chownat(CWD, &link, user, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        CWD,
        root.join("chardev"),
        FileType::CharacterDevice,
        mode,
        null,
    )
    .unwrap();
    let disk = rustix::fs::makedev(259, 1_048_575);
    rustix::fs::mknodat(
        CWD,
        root.join("blockdev"),
        FileType::BlockDevice,
        mode,
        disk,
    )
    .unwrap();
    rustix::fs::mknodat(
        CWD,
        root.join("whiteout"),
        FileType::CharacterDevice,
        mode,
        0,
    )
    .unwrap();
    set_xattr(&owned, b"trusted.secret", b"t");
    // cap_net_bind_service=ep, version 2.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&owned, b"security.capability", &capability);
    rustix::fs::chown(root, Some(Uid::from_raw(999)), Some(Gid::from_raw(998))).unwrap();
    rustix::fs::chmod(root, Mode::from_raw_mode(0o2770)).unwrap();
}

/// Everything about every entry except what no copy keeps (inode, ctime, atime), one line per fact.
pub fn describe(root: &Path) -> BTreeMap<OsString, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    visit(root, OsString::from("."), &mut found, &mut inodes);
    found
}

fn visit(
    path: &Path,
    name: OsString,
    found: &mut BTreeMap<OsString, Vec<String>>,
    inodes: &mut BTreeMap<u64, OsString>,
) {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut facts = vec![
        format!("mode {:o}", meta.mode()),
        format!("owner {}:{}", meta.uid(), meta.gid()),
        format!("mtime {}.{:09}", meta.mtime(), meta.mtime_nsec()),
        format!("device {}", meta.rdev()),
    ];
    if !meta.is_dir() && meta.nlink() > 1 {
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
        facts.push(format!("link of {}", first.display()));
    }
    if meta.is_file() {
        let content = fs::read(path).unwrap();
        facts.push(format!(
            "size {} blake3 {}",
            content.len(),
            blake3::hash(&content)
        ));
        facts.push(format!("holes {:?}", holes(path, meta.len())));
    }
    if meta.is_symlink() {
        facts.push(format!("target {:?}", fs::read_link(path).unwrap()));
    }
    let mut list = vec![0u8; 65536];
    // A file system in user space may have none for some kinds.
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length.unwrap(),
    };
    let mut names: Vec<_> = list[..length]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .collect();
    names.sort_unstable();
    for name in names {
        let mut value = vec![0u8; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        facts.push(format!(
            "xattr {} = {}",
            name.escape_ascii(),
            value[..length].escape_ascii()
        ));
    }
    found.insert(name.clone(), facts);
    if meta.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        let entries: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        for entry in entries {
            let mut below = name.clone();
            below.push("/");
            below.push(&entry);
            visit(&path.join(&entry), below, found, inodes);
        }
    }
}

fn holes(path: &Path, size: u64) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).unwrap();
    let (mut holes, mut position) = (Vec::new(), 0);
    while let Ok(hole) = seek(file.as_fd(), SeekFrom::Hole(position)) {
        if hole >= size {
            break;
        }
        position = seek(file.as_fd(), SeekFrom::Data(hole)).unwrap_or(size);
        holes.push((hole, position));
    }
    holes
}

/// What differs between two trees, by name: what only the first has, and what only the second has.
pub fn differences(expected: &Path, found: &Path) -> BTreeMap<OsString, [Vec<String>; 2]> {
    let (mut expected, mut found) = (describe(expected), describe(found));
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).cloned().collect();
    let both = names.into_iter().map(|name| {
        let mut lost = expected.remove(&name).unwrap_or_default();
        let mut gained = found.remove(&name).unwrap_or_default();
        let same = lost.clone();
        lost.retain(|fact| !gained.contains(fact));
        gained.retain(|fact| !same.contains(fact));
        (name, [lost, gained])
    });
    both.filter(|(_, facts)| facts.iter().any(|only| !only.is_empty()))
        .collect()
}

/// Fails with every fact that differs.
#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{differences:#?}");
}
