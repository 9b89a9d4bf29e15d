//! Real file systems in files, for what one cannot ask of the machine's own.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::support::run;

/// A file system in a file, mounted while it lives.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Made by `mkfs`, its program and options.
    pub fn new(mkfs: &str) -> Self {
        let disk = Disk {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(disk.path()).unwrap();
        let image = fs::File::create(disk.image()).unwrap();
        image.set_len(256 << 20).unwrap();
        let mut words = mkfs.split(' ');
        let program = words.next().unwrap();
        run(Command::new(program).args(words).arg(disk.image())).exits(0);
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    pub fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([self.image(), self.path()]))
        .exits(0);
    }

    pub fn unmount(&self) {
        run(Command::new("umount").arg(self.path())).exits(0);
    }

    /// Zeroes the block that holds `content`, behind the file system's back.
    pub fn lose(&self, content: &[u8]) {
        self.unmount();
        let image = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.image())
            .unwrap();
        let mut block = vec![0; content.len()];
        let mut offset = 0;
        while block != content {
            image.read_exact_at(&mut block, offset).unwrap();
            offset += block.len() as u64;
        }
        image
            .write_all_at(&vec![0; content.len()], offset - block.len() as u64)
            .unwrap();
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.path()).status());
    }
}
