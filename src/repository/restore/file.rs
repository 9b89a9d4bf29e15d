//! One file on its way to the target.
//!
//! A small file is written under a temporary name and renamed, so that it is there whole or not at all. A large one is
//! written in place, so that a second attempt finds what the first one wrote.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::backup::is_zero;
use super::super::error::{Error, Result};
use super::super::id::Id;
use super::super::local;
use super::super::node::{Node, NodeKind};
use super::base::Believed;
use super::window::Target;
use super::{Dir, Shared, apply, release};

/// Bytes of digest in a temporary name.
const TEMPORARY_DIGEST: usize = 16;

/// A file all of whose parts share this.
pub(super) struct FileState {
    dir: Arc<Dir>,
    node: Node,
    /// What is in the file that is there, if the caller's word counts.
    believed: Option<Believed>,
    /// In more than one window: written in place.
    split: AtomicBool,
    open: OnceLock<Open>,
    opening: Mutex<()>,
}

struct Open {
    file: File,
    /// There before we came: its content is compared, its attributes are replaced.
    existed: bool,
    temporary: Option<Vec<u8>>,
}

impl FileState {
    pub(super) fn new(dir: Arc<Dir>, node: Node, believed: Option<Believed>) -> Self {
        FileState {
            dir,
            node,
            believed,
            split: AtomicBool::new(false),
            open: OnceLock::new(),
            opening: Mutex::new(()),
        }
    }

    /// Must be called before the first part is handed out.
    pub(super) fn mark_split(&self) {
        self.split.store(true, Ordering::Release);
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn path(&self) -> String {
        self.dir.path(&self.node.name)
    }

    /// The name a small file has until it is whole: its own length says nothing about ours.
    fn temporary(&self) -> Vec<u8> {
        // Long enough that no two of the files a restore has open at one time share it.
        let digest = hex::encode(&Id::of(&self.node.name).0[..TEMPORARY_DIGEST]);
        format!(".ferry-{digest}.tmp").into_bytes()
    }

    /// Whether a killed restore left this behind.
    pub(super) fn is_temporary(name: &[u8]) -> bool {
        name.len() == ".ferry-.tmp".len() + 2 * TEMPORARY_DIGEST
            && name.starts_with(b".ferry-")
            && name.ends_with(b".tmp")
    }

    pub(super) fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path();
        move |source| Error::Local {
            operation,
            path,
            source,
        }
    }

    fn open(&self) -> Result<&Open> {
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        // Two parts of one file may get here at once, and what is in the way must be removed once only.
        let _only_one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = self.open.get() {
            return Ok(open);
        }
        let opened = self.open_new().map_err(self.failed("create"))?;
        Ok(self.open.get_or_init(|| opened))
    }

    fn open_new(&self) -> io::Result<Open> {
        let (dir, name) = (self.dir.fd.as_fd(), self.node.name.as_slice());
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::from_raw_mode(0o600);
        let present = if self.dir.fresh {
            None
        } else {
            self.present()?
        };
        if let Some(fd) = present {
            let file = File::from(fd);
            return Ok(Open {
                file,
                existed: true,
                temporary: None,
            });
        }
        if self.split.load(Ordering::Acquire) {
            let fd = rustix::fs::openat(dir, name, flags | OFlags::CREATE, mode)?;
            rustix::fs::ftruncate(&fd, self.node.size)?;
            return Ok(Open {
                file: fd.into(),
                existed: false,
                temporary: None,
            });
        }
        if self.dir.fresh {
            // Nobody looks into a new directory before the restore is done.
            let fd = rustix::fs::openat(dir, name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            if !self.node.holes.is_empty() {
                rustix::fs::ftruncate(&fd, self.node.size)?;
            }
            return Ok(Open {
                file: fd.into(),
                existed: false,
                temporary: None,
            });
        }
        let temporary = self.temporary();
        let create = flags | OFlags::CREATE | OFlags::TRUNC;
        let fd = rustix::fs::openat(dir, temporary.as_slice(), create, mode)?;
        rustix::fs::ftruncate(&fd, self.node.size)?;
        Ok(Open {
            file: fd.into(),
            existed: false,
            temporary: Some(temporary),
        })
    }

    /// The file that is there, if it can become ours: regular, of the right size, and linked nowhere else unless we
    /// will link it. A large one may have any size: it is cut or extended.
    fn present(&self) -> io::Result<Option<OwnedFd>> {
        let (dir, name) = (self.dir.fd.as_fd(), self.node.name.as_slice());
        let stat = match local::stat_at(dir, name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let split = self.split.load(Ordering::Acquire);
        #[allow(clippy::unnecessary_cast)] // Their width differs between architectures.
        let (size, links) = (stat.st_size as u64, stat.st_nlink as u64);
        let regular = local::kind_of(&stat) == Some(NodeKind::File);
        let ours = regular && links <= self.node.links.max(1) && (split || size == self.node.size);
        if !ours {
            if !regular || links > 1 || split {
                apply::remove(dir, name)?;
            }
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            // Our own file with a mode that keeps even us out.
            Err(Errno::ACCESS) => {
                apply::remove(dir, name)?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        rustix::fs::ftruncate(&fd, self.node.size)?;
        Ok(Some(fd))
    }

    fn write_plain(&self, open: &Open, offset: u64, data: &[u8], from: usize) -> Result<()> {
        if from >= data.len() {
            return Ok(());
        }
        let written = open.file.write_all_at(&data[from..], offset + from as u64);
        written.map_err(self.failed("write"))
    }

    /// Gives up one hold on a file. Whoever gives up the last one finishes it.
    pub(super) fn release(shared: &Shared<'_>, state: Arc<FileState>) -> Result<()> {
        let Some(state) = Arc::into_inner(state) else {
            return Ok(());
        };
        let open = state.open()?;
        let existed = open.existed;
        apply::to_fd(shared, open.file.as_fd(), &state.node, existed, &|| {
            state.path()
        });
        if let Some(temporary) = &open.temporary {
            let dir = state.dir.fd.as_fd();
            let rename =
                rustix::fs::renameat(dir, temporary.as_slice(), dir, state.node.name.as_slice());
            if let Err(error) = rename {
                rustix::fs::unlinkat(dir, temporary.as_slice(), AtFlags::empty()).ok();
                return Err(state.failed("rename")(error.into()));
            }
        }
        shared.count(&state.node);
        release(shared, state.dir);
        Ok(())
    }
}

impl Target for FileState {
    fn has(&self, offset: u64, length: usize, id: &Id, scratch: &mut Vec<u8>) -> Result<bool> {
        let open = self.open()?;
        if !open.existed {
            return Ok(false);
        }
        if (self.believed.as_ref()).is_some_and(|believed| believed.has(offset, id)) {
            return Ok(true);
        }
        scratch.resize(length, 0);
        match open.file.read_exact_at(scratch, offset) {
            Ok(()) => Ok(Id::of(scratch) == *id),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    fn in_hole(&self, offset: u64, length: u64) -> bool {
        let after = self
            .node
            .holes
            .partition_point(|(start, _)| *start <= offset);
        after.checked_sub(1).is_some_and(|index| {
            let (start, size) = self.node.holes[index];
            start.saturating_add(size) >= offset + length
        })
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let open = self.open()?;
        if !open.existed {
            // New files are made of holes.
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&open.file, flags, offset, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => {
                let zeros = vec![0; length as usize];
                open.file
                    .write_all_at(&zeros, offset)
                    .map_err(self.failed("write"))
            }
            Err(error) => Err(self.failed("write")(error.into())),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let open = self.open()?;
        let mut position = 0;
        let end = offset + data.len() as u64;
        let first = self
            .node
            .holes
            .partition_point(|(start, length)| start + length <= offset);
        for &(start, length) in self.node.holes[first..]
            .iter()
            .take_while(|(start, _)| *start < end)
        {
            let from = (start.max(offset) - offset) as usize;
            let to = ((start + length).min(end) - offset) as usize;
            if open.existed || !is_zero(&data[from..to]) {
                continue;
            }
            self.write_plain(open, offset, &data[..from], position)?;
            position = to;
        }
        self.write_plain(open, offset, data, position)
    }
}
