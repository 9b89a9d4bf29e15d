//! `ferry data`: the engine on a local folder or device. It is exactly what a mover runs beside a volume, for people,
//! tests and measurements.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::{Context, StoreArgs};
use super::{Failure, watch};
use crate::capture::{Consistency, Proof, VolumeMode};
use crate::event::Direction;
use crate::exit::Exit;
use crate::mover::Trouble;
use crate::mover::engine::{self, Loaded, Saved, Source, Target};
use crate::report::palette::{Role, paint};
use crate::report::units::{bytes, count, plural};
use crate::repository::{LossClass, Progress, Repository, Snapshot};

/// Differences and losses shown to people; JSON has all of them.
const SHOWN: usize = 20;

/// Save, restore and verify a folder or a device of this machine
#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Save a folder, a device or an image file into the store
    ///
    /// Only what changed since the last save of the same path is read and sent. A save that was
    /// interrupted is finished by running it again: what arrived is not sent twice, and most of
    /// what was read of a folder is not read twice.
    ///
    /// Example: `ferry data save /srv/files --store s3://backups/ferry --tag nightly`
    Save {
        /// The folder, block device, or image file
        source: PathBuf,
        /// Word to find the snapshot by; may be given several times
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Where the data is from, as the snapshot says; without it, this machine's name
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// Save files that change or go while they are read as they were found; without it, they
        /// fail the save
        #[arg(long)]
        accept_torn: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Restore a snapshot into a folder or onto a device, then read it back and compare
    ///
    /// The target is asked first what it takes. What is there already and right is kept, so an
    /// interrupted restore goes on where it was.
    ///
    /// Example: `ferry data restore latest /srv/files --accept-loss owner`
    Restore {
        #[command(flatten)]
        wanted: Wanted,
        /// The folder or device to restore to; a folder or file that is not there is made
        target: PathBuf,
        /// What may be lost on a target that does not take it; may be given several times
        #[arg(long = "accept-loss", value_name = "CLASS")]
        accept: Vec<LossClass>,
        /// Delete what is in the folder and not in the snapshot; without it, such entries fail the
        /// comparison
        #[arg(long)]
        delete_extra: bool,
    },
    /// Compare every entry, attribute and byte of a folder or device with a snapshot
    ///
    /// Example: `ferry data verify latest /srv/files`
    Verify {
        #[command(flatten)]
        wanted: Wanted,
        /// The folder or device to compare
        target: PathBuf,
        /// Differences that do not count; may be given several times
        #[arg(long = "accept-loss", value_name = "CLASS")]
        accept: Vec<LossClass>,
    },
}

/// Which snapshot, and where it is.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The snapshot's id, a beginning of it, or `latest`
    snapshot: String,
    /// With `latest`: the newest that carries this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// A save's result as JSON.
#[derive(Serialize)]
struct SavedDocument {
    snapshot: String,
    entries: u64,
    bytes: u64,
    digest: String,
    unchanged: u64,
    bytes_added: u64,
    bytes_adopted: u64,
    torn: Vec<String>,
    seconds: f64,
}

/// A restore's result as JSON.
#[derive(Serialize)]
struct LoadedDocument {
    snapshot: String,
    entries: u64,
    bytes: u64,
    digest: String,
    bytes_written: u64,
    bytes_reused: u64,
    losses: Vec<Lost>,
    seconds: f64,
}

#[derive(Serialize)]
struct Lost {
    path: String,
    class: LossClass,
    cause: String,
}

/// A comparison's result as JSON.
#[derive(Serialize)]
struct VerifiedDocument {
    snapshot: String,
    equal: bool,
    entries: u64,
    bytes: u64,
    digest: String,
    differences: Vec<Differs>,
}

#[derive(Serialize)]
struct Differs {
    path: String,
    detail: String,
}

impl DataCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Save {
                source,
                tags,
                host,
                accept_torn,
                store,
            } => save(context, &source, tags, host, accept_torn, &store).await,
            Self::Restore {
                wanted,
                target,
                accept,
                delete_extra,
            } => {
                let work = wanted.work(context, target, accept, delete_extra).await?;
                restore(context, work).await
            }
            Self::Verify {
                wanted,
                target,
                accept,
            } => verify(context, wanted.work(context, target, accept, false).await?).await,
        }
    }
}

async fn save(
    context: &Context,
    source: &Path,
    mut tags: Vec<String>,
    host: Option<String>,
    accept_torn: bool,
    store: &StoreArgs,
) -> Result<Exit, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::input(
            format!("cannot read {}: {error}", source.display()),
            "name a folder, a block device or an image file that this user may read",
        )
    };
    let path = std::fs::canonicalize(source).map_err(unreadable)?;
    let mode = match std::fs::metadata(&path).map_err(unreadable)?.is_dir() {
        true => VolumeMode::Filesystem,
        false => VolumeMode::Block,
    };
    let store = store.open(context).await?;
    let repository = store.repository().clone();
    let host = host.unwrap_or_else(|| repository.host_name().to_owned());
    // The engine finds the last state of the same source by its last tag.
    tags.push(format!("dir={}", path.display()));
    let (shown, started) = (path.display().to_string(), Instant::now());
    let saved = watched(context, &shown, Direction::Save, move |progress| {
        let source = Source {
            path: &path,
            mode,
            consistency: Consistency::Live,
            host: &host,
            tags: &tags,
            accept_torn,
            frozen: None,
        };
        engine::save(&repository, &source, progress)
    })
    .await?;
    let document = SavedDocument::of(saved, started.elapsed());
    context.report.data(&document, || document.text());
    Ok(Exit::Done)
}

impl SavedDocument {
    fn of(saved: Saved, took: Duration) -> Self {
        let Saved { volume, result } = saved;
        let Proof {
            files,
            bytes,
            digest,
        } = volume.proof;
        let torn = result.problems.iter().map(|one| one.path.clone());
        Self {
            snapshot: volume.snapshot,
            entries: files,
            bytes,
            digest,
            unchanged: result.unchanged,
            bytes_added: result.bytes_added,
            bytes_adopted: result.bytes_adopted,
            torn: torn.collect(),
            seconds: took.as_secs_f64(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} saved as {}\n  {} entries, {}; {} unchanged, {} sent",
            paint(Role::Good, "✓"),
            paint(Role::Name, &self.snapshot[..8.min(self.snapshot.len())]),
            count(self.entries),
            bytes(self.bytes),
            count(self.unchanged),
            bytes(self.bytes_added),
        );
        if self.bytes_adopted > 0 {
            let adopted = bytes(self.bytes_adopted);
            text.push_str(&format!(", {adopted} taken over from an interrupted save"));
        }
        if !self.torn.is_empty() {
            let torn = plural(self.torn.len(), "entry");
            let line = format!("{torn} changed while being read");
            text.push_str(&format!("\n  {}", paint(Role::Warn, line)));
            text.push_str(&indented(self.torn.iter().map(|path| format!("/{path}"))));
        }
        text
    }
}

/// A snapshot and a place on this machine.
struct Work {
    repository: Repository,
    wanted: String,
    tags: Vec<String>,
    target: PathBuf,
    accept: Vec<LossClass>,
    delete_extra: bool,
}

impl Wanted {
    async fn work(
        self,
        context: &Context,
        target: PathBuf,
        accept: Vec<LossClass>,
        delete_extra: bool,
    ) -> Result<Work, Failure> {
        Ok(Work {
            repository: self.store.open(context).await?.repository().clone(),
            wanted: self.snapshot,
            tags: self.tags,
            target,
            accept,
            delete_extra,
        })
    }
}

impl Work {
    /// The snapshot that was asked for.
    fn snapshot(&self) -> Result<Snapshot, Trouble> {
        if self.wanted != "latest" {
            return Ok(self.repository.snapshot(&self.wanted)?);
        }
        let newest = self.repository.snapshots(&self.tags)?.pop();
        newest.ok_or_else(|| {
            Trouble::new(
                Exit::Input,
                "the store has no snapshot with all of these tags",
            )
        })
    }

    fn target(&self) -> Target<'_> {
        Target {
            path: &self.target,
            accept: &self.accept,
            delete_extra: self.delete_extra,
            foreign_root: false,
        }
    }

    /// Makes what is to be restored into if it is not there: a folder, or an image file of the device's size.
    fn make_target(&self, snapshot: &Snapshot) -> Result<(), Trouble> {
        if self.target.exists() {
            return Ok(());
        }
        let made = match self.repository.device_size(snapshot, engine::ROOT)? {
            Some(size) => {
                std::fs::File::create_new(&self.target).and_then(|file| file.set_len(size))
            }
            None => std::fs::create_dir_all(&self.target),
        };
        made.map_err(|error| {
            let target = self.target.display();
            Trouble::new(Exit::Input, format!("cannot make {target}: {error}"))
        })
    }
}

async fn restore(context: &Context, work: Work) -> Result<Exit, Failure> {
    let (shown, started) = (work.target.display().to_string(), Instant::now());
    let events = context.events.clone();
    let (snapshot, loaded) = watched(context, &shown, Direction::Load, move |progress| {
        let snapshot = work.snapshot()?;
        work.make_target(&snapshot)?;
        for loss in engine::expected_losses(&work.repository, &snapshot, &work.target())? {
            if work.accept.contains(&loss.class) {
                let words = engine::in_words(&loss);
                events.warning(format!("the target does not take {words}; accepted"));
            }
        }
        let loaded = engine::load(&work.repository, &snapshot, &work.target(), progress)?;
        Ok((snapshot, loaded))
    })
    .await?;
    let document = LoadedDocument::of(&snapshot, loaded, started.elapsed());
    context.report.data(&document, || document.text());
    Ok(Exit::Done)
}

impl LoadedDocument {
    fn of(snapshot: &Snapshot, loaded: Loaded, took: Duration) -> Self {
        let Loaded {
            proof,
            losses,
            lost: _,
            reused,
            written,
        } = loaded;
        let lost = losses.into_iter().map(|loss| Lost {
            path: loss.path,
            class: loss.class,
            cause: loss.cause,
        });
        Self {
            snapshot: id_of(snapshot),
            entries: proof.files,
            bytes: proof.bytes,
            digest: proof.digest,
            bytes_written: written,
            bytes_reused: reused,
            losses: lost.collect(),
            seconds: took.as_secs_f64(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} restored and verified: {} entries, {}; {} written, {} were there",
            paint(Role::Good, "✓"),
            count(self.entries),
            bytes(self.bytes),
            bytes(self.bytes_written),
            bytes(self.bytes_reused),
        );
        if !self.losses.is_empty() {
            let lost = format!("{} accepted", plural(self.losses.len(), "loss"));
            text.push_str(&format!("\n  {}", paint(Role::Warn, lost)));
            let line = |loss: &Lost| format!("/{}: {}: {}", loss.path, loss.class, loss.cause);
            text.push_str(&indented(self.losses.iter().map(line)));
        }
        text
    }
}

async fn verify(context: &Context, work: Work) -> Result<Exit, Failure> {
    let shown = work.target.display().to_string();
    if !work.target.exists() {
        return Err(Failure::input(
            format!("there is no {shown}"),
            "name the folder or device to compare with the snapshot",
        ));
    }
    let document = watched(context, &shown, Direction::Verify, move |progress| {
        let (repository, snapshot) = (&work.repository, work.snapshot()?);
        if repository.device_size(&snapshot, engine::ROOT)?.is_some() {
            let proof = engine::compare_device(repository, &snapshot, &work.target, progress)?;
            return Ok(VerifiedDocument::of(&snapshot, proof, Vec::new()));
        }
        let compared = engine::compare(repository, &snapshot, &work.target(), progress)?;
        let differences = compared.differences.into_iter().map(|one| Differs {
            path: one.path,
            detail: one.detail,
        });
        Ok(VerifiedDocument::of(
            &snapshot,
            compared.proof,
            differences.collect(),
        ))
    })
    .await?;
    context.report.data(&document, || document.text());
    Ok(match document.equal {
        true => Exit::Done,
        false => Exit::Incomplete,
    })
}

impl VerifiedDocument {
    fn of(snapshot: &Snapshot, proof: Proof, differences: Vec<Differs>) -> Self {
        Self {
            snapshot: id_of(snapshot),
            equal: differences.is_empty(),
            entries: proof.files,
            bytes: proof.bytes,
            digest: proof.digest,
            differences,
        }
    }

    fn text(&self) -> String {
        if self.equal {
            return format!(
                "{} equal: {} entries, {}",
                paint(Role::Good, "✓"),
                count(self.entries),
                bytes(self.bytes),
            );
        }
        let line = |one: &Differs| {
            let path = one.path.trim_start_matches('/');
            format!("/{path}: {}", one.detail)
        };
        format!(
            "{} {}{}",
            paint(Role::Bad, "✗"),
            plural(self.differences.len(), "difference"),
            indented(self.differences.iter().map(line)),
        )
    }
}

fn id_of(snapshot: &Snapshot) -> String {
    snapshot.id.map(|id| id.to_string()).unwrap_or_default()
}

/// Lines below a heading, the first of many.
fn indented(lines: impl ExactSizeIterator<Item = String>) -> String {
    let rest = lines.len().saturating_sub(SHOWN);
    let mut text = String::new();
    for line in lines.take(SHOWN) {
        text.push_str(&format!("\n    {line}"));
    }
    if rest > 0 {
        text.push_str(&format!("\n    and {rest} more; --output json has all"));
    }
    text
}

/// Runs blocking work of the engine's under [`watch::watched`].
pub(super) async fn watched<T: Send + 'static>(
    context: &Context,
    name: &str,
    direction: Direction,
    work: impl FnOnce(&Progress) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Failure> {
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let work = async move {
        let ended = tokio::task::spawn_blocking(move || work(&theirs)).await;
        let done = ended.map_err(|error| Failure::plain(Exit::Internal, error))?;
        done.map_err(|trouble| Failure::job(trouble, ""))
    };
    watch::watched(context, name, direction, progress, work).await
}
