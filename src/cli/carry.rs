//! `ferry captures export` and `import`: a capture as one file, to be carried where no network goes.
//!
//! What is written is a store of its own that holds this capture and nothing else, sealed with the same password: as a
//! folder it can be used as it is, by Ferry and by restic; as an archive it is one file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::context::{Context, StoreArgs};
use super::watch::watched;
use super::{Failure, context};
use crate::event::Direction;
use crate::exit::Exit;
use crate::report::palette::{Role, paint};
use crate::report::units::{bytes, plural};
use crate::repository::Progress;
use crate::store::{CaptureSummary, Store};

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file.
    #[default]
    Tar,
    /// A folder, which is a store that can be used as it is.
    Dir,
}

/// Write a capture, objects and data, as one file or folder to carry on a disk
///
/// Example: `ferry captures export latest -f /media/disk/shop.ferry`
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The capture's id, or `latest`
    capture: String,
    /// The file or folder to write; it must not be there
    #[arg(long, short = 'f', value_name = "PATH")]
    file: PathBuf,
    /// One file, or a folder
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

/// Take what `ferry captures export` wrote into a store; every byte is proven on the way
///
/// Example: `ferry captures import /media/disk/shop.ferry --store s3://bucket/ferry`
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file or folder
    file: PathBuf,
    /// File whose first line is the password of what is imported; without it, the store's own
    #[arg(long, value_name = "FILE")]
    export_password_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

impl ExportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            capture,
            file,
            format,
            store,
        } = self;
        let shown = file.display().to_string();
        if file.exists() {
            return Err(Failure::input(
                format!("{shown} is there already"),
                "name a file or folder that is not, or remove it",
            ));
        }
        let unwritable = |error| local("write", &file, error);
        let password = store.password()?;
        let from = store.open(context).await?;
        // Beside the target, so that what is finished is renamed into its place and never half there.
        let beside = parent(&file)?;
        let work = tempfile::Builder::new()
            .prefix(".ferry-export-")
            .tempdir_in(&beside)
            .map_err(unwritable)?;
        let folder = work.path().join("store");
        let to = Store::init(&folder.display().to_string(), &password).await?;
        let summary = carry(context, &shown, &from, &capture, &to).await?;
        drop(to);
        let finished = match format {
            Format::Dir => folder,
            Format::Tar => {
                let archive = work.path().join("archive");
                let (from, to) = (folder, archive.clone());
                let packed = tokio::task::spawn_blocking(move || pack(&from, &to)).await;
                packed
                    .map_err(|error| Failure::plain(Exit::Internal, error))?
                    .map_err(unwritable)?;
                archive
            }
        };
        std::fs::rename(finished, &file).map_err(unwritable)?;
        context.report.data(&summary, || {
            let absent = match summary.volumes - summary.saved {
                0 => String::new(),
                count => format!(
                    "; the data of {} is not in the store",
                    plural(count as usize, "volume")
                ),
            };
            format!(
                "{} {} exported to {shown}, {} of data{absent}\n  the store's password opens it",
                paint(Role::Good, "✓"),
                paint(Role::Name, &summary.id),
                bytes(summary.bytes),
            )
        });
        Ok(Exit::Done)
    }
}

impl ImportArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            file,
            export_password_file,
            store,
        } = self;
        let shown = file.display().to_string();
        let unreadable = |error| local("read", &file, error);
        let password = match &export_password_file {
            Some(path) => context::password_of(path)?,
            None => store.password()?,
        };
        let to = store.open(context).await?;
        let meta = std::fs::metadata(&file).map_err(unreadable)?;
        let work = tempfile::tempdir().map_err(unreadable)?;
        let folder = match meta.is_dir() {
            true => file.clone(),
            false => {
                let (from, to) = (file.clone(), work.path().to_path_buf());
                let unpacked = tokio::task::spawn_blocking(move || unpack(&from, &to)).await;
                unpacked
                    .map_err(|error| Failure::plain(Exit::Internal, error))?
                    .map_err(unreadable)?;
                work.path().to_path_buf()
            }
        };
        let from = Store::open(&folder.display().to_string(), &password).await?;
        let mut imported = Vec::new();
        for capture in from.list_captures().await? {
            imported.push(carry(context, &shown, &from, &capture.id, &to).await?);
        }
        if imported.is_empty() {
            return Err(Failure::input(
                format!("{shown} holds no capture"),
                "name what `ferry captures export` wrote",
            ));
        }
        context.report.data(&imported, || {
            let line = |summary: &CaptureSummary| {
                let id = paint(Role::Name, &summary.id);
                let data = bytes(summary.bytes);
                format!("{} {id} imported, {data} of data", paint(Role::Good, "✓"))
            };
            imported.iter().map(line).collect::<Vec<_>>().join("\n")
        });
        Ok(Exit::Done)
    }
}

async fn carry(
    context: &Context,
    shown: &str,
    from: &Store,
    capture: &str,
    to: &Store,
) -> Result<CaptureSummary, Failure> {
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let work = async { Ok(from.carry_capture(capture, to, theirs).await?) };
    watched(context, shown, Direction::Save, progress, work).await
}

fn pack(folder: &Path, archive: &Path) -> std::io::Result<()> {
    let file = File::create_new(archive)?;
    let mut builder = tar::Builder::new(std::io::BufWriter::new(file));
    builder.append_dir_all(".", folder)?;
    let file = builder
        .into_inner()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()
}

fn unpack(archive: &Path, folder: &Path) -> std::io::Result<()> {
    // Names that would leave the folder are passed over by the archive's reader.
    tar::Archive::new(std::io::BufReader::new(File::open(archive)?)).unpack(folder)
}

fn parent(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path).map_err(|error| local("find", path, error))?;
    Ok(path.parent().map(Into::into).unwrap_or(path))
}

fn local(operation: &str, path: &Path, error: std::io::Error) -> Failure {
    Failure::input(
        format!("cannot {operation} {}: {error}", path.display()),
        "check the path and its permissions, and that the disk has room",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_gives_back_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive, target) = (
            folder.path().join("source"),
            folder.path().join("archive"),
            folder.path().join("target"),
        );
        std::fs::create_dir_all(source.join("repo/data/ab")).unwrap();
        std::fs::write(source.join("repo/data/ab/abc"), "pack").unwrap();
        pack(&source, &archive).unwrap();
        unpack(&archive, &target).unwrap();
        let there = std::fs::read(target.join("repo/data/ab/abc")).unwrap();
        assert_eq!(there, b"pack");
        assert!(pack(&source, &archive).is_err(), "nothing is written over");
    }
}
