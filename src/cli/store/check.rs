//! `ferry store check` and `stats`.

use std::sync::Arc;

use serde::Serialize;

use super::watch::watched;
use super::{Context, Exit, Failure, Role, StoreArgs, paint};
use crate::event::Direction;
use crate::report::table::{Cell, render};
use crate::report::units::{bytes, count, plural};
use crate::repository::{CheckReport, Progress, Statistics};

#[derive(Serialize)]
struct Checked {
    sound: bool,
    captures: u64,
    snapshots: u64,
    trees: u64,
    packs: u64,
    bytes_read: u64,
    faults: Vec<Fault>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Fault {
    place: String,
    what: String,
}

pub(super) async fn check(
    context: &Context,
    args: &StoreArgs,
    read_data: bool,
) -> Result<Exit, Failure> {
    let store = args.open(context).await?;
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let work = async { Ok(store.check(read_data, theirs).await?) };
    let (captures, report) =
        watched(context, &args.store, Direction::Examine, progress, work).await?;
    let checked = Checked::of(captures, report);
    context.report.data(&checked, || checked.text());
    Ok(match checked.sound {
        true => Exit::Done,
        false => Exit::Refused,
    })
}

impl Checked {
    fn of(captures: u64, report: CheckReport) -> Self {
        let CheckReport {
            snapshots,
            trees,
            packs,
            bytes_read,
            faults,
            notes,
        } = report;
        let fault = |fault: crate::repository::Fault| Fault {
            place: fault.place,
            what: fault.what,
        };
        Self {
            sound: faults.is_empty(),
            captures,
            snapshots,
            trees,
            packs,
            bytes_read,
            faults: faults.into_iter().map(fault).collect(),
            notes,
        }
    }

    fn text(&self) -> String {
        let mut text = match self.sound {
            true => format!("{} the store is sound", paint(Role::Good, "✓")),
            false => {
                let faults = plural(self.faults.len(), "fault");
                format!("{} {faults} in the store", paint(Role::Bad, "✗"))
            }
        };
        text.push_str(&format!(
            "\n  {}, {}, {}, {}",
            plural(self.captures as usize, "capture"),
            plural(self.snapshots as usize, "snapshot"),
            plural(self.trees as usize, "directory"),
            plural(self.packs as usize, "pack"),
        ));
        text.push_str(&match self.bytes_read {
            0 => "; their content was not read: --read-data does".to_owned(),
            read => format!("; {} read and proven", bytes(read)),
        });
        for Fault { place, what } in &self.faults {
            text.push_str(&format!("\n  {} {place}: {what}", paint(Role::Bad, "✗")));
        }
        for note in &self.notes {
            text.push_str(&format!("\n  {} {note}", paint(Role::Hint, "note:")));
        }
        text
    }
}

#[derive(Serialize)]
struct Figures {
    captures: u64,
    #[serde(flatten)]
    repository: Statistics,
}

pub(super) async fn stats(context: &Context, args: &StoreArgs) -> Result<Exit, Failure> {
    let store = args.open(context).await?;
    let captures = store.list_captures().await?.len() as u64;
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let work = async { Ok(store.with(move |one| one.statistics(&theirs)).await?) };
    let repository = watched(context, &args.store, Direction::Examine, progress, work).await?;
    let figures = Figures {
        captures,
        repository,
    };
    context.report.data(&figures, || figures.text());
    Ok(Exit::Done)
}

impl Figures {
    fn text(&self) -> String {
        let Statistics {
            snapshots,
            index_files,
            packs,
            stored_bytes,
            blobs,
            plain_bytes,
            unused_blobs,
            unused_bytes,
            unindexed_packs,
            unindexed_bytes,
        } = self.repository;
        let ratio = plain_bytes as f64 / stored_bytes.max(1) as f64;
        let row = |name: &str, value: String, note: String| -> Vec<Cell> {
            vec![name.into(), value.into(), Cell::new(Role::Dim, note)]
        };
        let no_note = String::new;
        let rows = [
            row("captures", count(self.captures), no_note()),
            row("snapshots", count(snapshots), no_note()),
            row(
                "stored",
                bytes(stored_bytes),
                format!("{} packs, {} index files", count(packs), count(index_files)),
            ),
            row(
                "content",
                bytes(plain_bytes),
                format!("{} blobs, {ratio:.2} times what is stored", count(blobs)),
            ),
            row(
                "unused",
                bytes(unused_bytes),
                format!(
                    "{} blobs; `ferry store prune` frees them",
                    count(unused_blobs)
                ),
            ),
            row(
                "unindexed",
                bytes(unindexed_bytes),
                format!("{} packs of interrupted saves", count(unindexed_packs)),
            ),
        ];
        render(&["WHAT", "SIZE", ""], &rows)
    }
}
