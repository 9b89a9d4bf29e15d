//! A compressed tar archive from a stranger, read entry by entry and never unpacked.
//!
//! Only plain files and folders with plain relative paths are accepted. Every length is bounded before
//! anything is allocated for it, long names included, so the archive is walked in its raw form.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::ArchiveError;

/// Most bytes of one entry; an API server takes no body above 3 MiB.
const ENTRY_MAX: u64 = 4 << 20;
/// Most bytes of an extension that gives the next entry its name.
const NAME_MAX: u64 = 64 << 10;
/// Most entries.
const ENTRIES_MAX: u64 = 1_000_000;
/// Most bytes in all, unpacked.
const TOTAL_MAX: u64 = 4 << 30;
/// Objects shrink to a tenth or twentieth; what shrinks a hundred times more is made to burst.
const RATIO_MAX: u64 = 200;
/// Below this many bytes no ratio is looked at.
const SMALL: u64 = 64 << 20;

/// Calls `visit` with the path and the content of every file.
pub(super) fn each(
    path: &Path,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let broken = |source: io::Error| match source.kind() {
        ErrorKind::FileTooLarge => ArchiveError::TooLarge {
            place: path.display().to_string(),
            limit: source.to_string(),
        },
        _ => ArchiveError::Read {
            path: path.into(),
            source,
        },
    };
    let file = File::open(path).map_err(broken)?;
    let packed = file.metadata().map_err(broken)?.len();
    let mut archive = tar::Archive::new(Meter {
        inner: MultiGzDecoder::new(BufReader::new(file)),
        left: (packed.saturating_mul(RATIO_MAX)).clamp(SMALL, TOTAL_MAX),
    });
    let mut long_name = None;
    for (count, entry) in (0..).zip(archive.entries().map_err(broken)?.raw(true)) {
        let mut entry = entry.map_err(broken)?;
        if count == ENTRIES_MAX {
            return Err(ArchiveError::TooLarge {
                place: path.display().to_string(),
                limit: format!("an archive may have {ENTRIES_MAX} entries"),
            });
        }
        let (kind, size) = (
            entry.header().entry_type(),
            entry.header().entry_size().map_err(broken)?,
        );
        if matches!(kind, EntryType::XHeader | EntryType::GNULongName) {
            let content = content(&mut entry, size, NAME_MAX, "an extension").map_err(broken)?;
            long_name = name_of(kind, &content)?.or(long_name);
            continue;
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => text(&entry.path_bytes())?,
        };
        let name = trusted(name)?;
        match kind {
            EntryType::Regular => {
                let content = content(&mut entry, size, ENTRY_MAX, &name).map_err(broken)?;
                visit(&name, &content)?;
            }
            EntryType::Directory => {}
            other => return Err(hostile(&name, format!("is {}", word(other)))),
        }
    }
    // The sum at the end of the compressed stream says whether all of it arrived.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(())
}

/// Counts what comes out of the decompressor, and stops a flood.
struct Meter<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let text = format!(
                "it may unpack to {RATIO_MAX} times its size and {} GiB",
                TOTAL_MAX >> 30
            );
            io::Error::new(ErrorKind::FileTooLarge, text)
        })?;
        Ok(read)
    }
}

fn content(entry: &mut impl Read, size: u64, most: u64, name: &str) -> io::Result<Vec<u8>> {
    if size > most {
        let text = format!("{name} has {size} bytes and may have {most}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    let mut content = Vec::new();
    entry.take(most).read_to_end(&mut content)?;
    match content.len() as u64 == size {
        true => Ok(content),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The name an extension gives to the entry behind it.
fn name_of(kind: EntryType, content: &[u8]) -> Result<Option<String>, ArchiveError> {
    if kind == EntryType::GNULongName {
        let name = content.split(|byte| *byte == 0).next().unwrap_or_default();
        return text(name).map(Some);
    }
    let mut name = None;
    for record in tar::PaxExtensions::new(content) {
        let record = record.map_err(|error| hostile("an extension", error.to_string()))?;
        match record.key_bytes() {
            b"path" => name = Some(text(record.value_bytes())?),
            key if key == b"size" || key == b"linkpath" || key.starts_with(b"GNU.sparse") => {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(hostile("an extension", format!("sets {key}")));
            }
            _ => {}
        }
    }
    Ok(name)
}

fn text(bytes: &[u8]) -> Result<String, ArchiveError> {
    let name = std::str::from_utf8(bytes);
    let lossy = || String::from_utf8_lossy(bytes).into_owned();
    name.map(str::to_owned)
        .map_err(|_| hostile(&lossy(), "has a name that is no text".into()))
}

/// A path that names a place inside the archive and nothing else.
fn trusted(name: String) -> Result<String, ArchiveError> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    let path = name.strip_suffix('/').unwrap_or(&name);
    match path.split('/').all(plain) {
        true => Ok(name),
        false => Err(hostile(&name, "is no plain path inside the archive".into())),
    }
}

fn word(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link | EntryType::Symlink => "a link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "neither a file nor a folder",
    }
}

pub(super) fn hostile(place: &str, reason: String) -> ArchiveError {
    ArchiveError::Hostile {
        place: place.chars().take(200).collect(),
        reason,
    }
}
