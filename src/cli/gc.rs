//! `ferry gc`: removes what runs left on a cluster that nobody is going to finish.

use clap::Args;
use serde::Serialize;

use super::Failure;
use super::context::Context;
use crate::data::{Leftover, LeftoverOf, leftovers};
use crate::exit::Exit;
use crate::object::ObjectId;
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render};
use crate::report::units::plural;

/// Remove what runs left on a cluster that nobody will finish
///
/// A run that was killed is finished by `ferry runs resume`, or taken back by `ferry runs undo`, and
/// both clean up. This is for when that is not wanted or the store is gone. Only what movers worked
/// with goes: pods, Secrets, copies of claims, snapshots, Ferry's own namespaces, its label on claims
/// it froze together; nothing of an application, and no data of a claim that is in use. What may still be at work (a pod that has not
/// ended, anything made in the last hour) stays unless it is named with --run.
///
/// Example: `ferry gc --context prod --dry-run`
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Context of the cluster
    #[arg(long, value_name = "CONTEXT")]
    context: String,
    /// Only what this run or depot left, also when it may still be at work; may be given several times
    #[arg(long = "run", value_name = "ID")]
    runs: Vec<String>,
    /// Show what would be removed and stop
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// One owner's leftovers as JSON.
#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    kind: &'static str,
    newest: Option<jiff::Timestamp>,
    works: bool,
    removed: bool,
    objects: &'a [ObjectId],
    /// Claims of an application that only a label is taken off.
    labelled: &'a [ObjectId],
}

impl GcArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let cluster = context.cluster(&self.context).await?;
        let found = leftovers(&cluster).await?;
        let known: Vec<&str> = found.iter().map(|left| left.owner.id()).collect();
        if let Some(unknown) = self.runs.iter().find(|run| !known.contains(&run.as_str())) {
            return Err(Failure::input(
                format!("{unknown} left nothing on cluster {}", cluster.name()),
                match known.as_slice() {
                    [] => "nothing was left there by anybody".into(),
                    known => format!("there is something of: {}", known.join(", ")),
                },
            ));
        }
        let now = jiff::Timestamp::now();
        let goes: Vec<bool> = found.iter().map(|left| self.goes(left, now)).collect();
        let count = goes.iter().filter(|goes| **goes).count();
        let show = |removed: bool| {
            let documents: Vec<Document<'_>> = found
                .iter()
                .zip(&goes)
                .map(|(left, goes)| document(left, removed && *goes))
                .collect();
            let text = || table(&found, &goes, &self.context);
            context.report.data(&documents, text);
        };
        if count == 0 || self.dry_run {
            show(false);
            return Ok(if count == 0 {
                Exit::Done
            } else {
                Exit::Changes
            });
        }
        context.report.say(&table(&found, &goes, &self.context));
        let owners = plural(count, "owner");
        let question = format!(
            "Remove what was left by {owners} on cluster {}?",
            cluster.name()
        );
        if !context.agreed(self.yes, &question, "the removal", "")? {
            return Ok(Exit::Changes);
        }
        for (left, _) in found.iter().zip(&goes).filter(|(_, goes)| **goes) {
            left.remove(&cluster).await?;
            let (name, objects) = (left.owner.id(), plural(left.objects.len(), "object"));
            context.events.notice(format!("{name}: {objects} removed"));
        }
        if context.report.is_json() {
            show(true);
        }
        Ok(Exit::Done)
    }

    /// Whether it is to be removed.
    fn goes(&self, left: &Leftover, now: jiff::Timestamp) -> bool {
        match self.runs.is_empty() {
            true => !left.may_be_in_use(now) && !matches!(left.owner, LeftoverOf::Depot(_)),
            false => self.runs.iter().any(|run| run == left.owner.id()),
        }
    }
}

fn document(left: &Leftover, removed: bool) -> Document<'_> {
    Document {
        id: left.owner.id(),
        kind: match left.owner {
            LeftoverOf::Run(_) => "run",
            LeftoverOf::Depot(_) => "depot",
            LeftoverOf::Attempt(_) => "attempt",
        },
        newest: left.newest,
        works: left.works,
        removed,
        objects: &left.objects,
        labelled: &left.labelled,
    }
}

fn table(found: &[Leftover], goes: &[bool], context: &str) -> String {
    if found.is_empty() {
        return format!("{} nothing was left", paint(Role::Good, "✓"));
    }
    let row = |(left, goes): (&Leftover, &bool)| -> Vec<Cell> {
        let newest = left.newest.map(|at| at.strftime("%F %T").to_string());
        let state = match (&left.owner, goes) {
            (_, true) => "is removed".to_owned(),
            (LeftoverOf::Depot(name), _) => {
                format!("stays: ferry store remove --store cluster://{context}/{name}")
            }
            _ if left.works => "stays: its pod works; --run takes it".into(),
            _ => "stays: it is of the last hour; --run takes it".into(),
        };
        vec![
            Cell::new(Role::Name, left.owner.id()),
            newest.unwrap_or_default().into(),
            what(left).into(),
            state.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = found.iter().zip(goes).map(row).collect();
    render(&["LEFT BY", "NEWEST (UTC)", "WHAT", "IT"], &rows)
}

fn what(left: &Leftover) -> String {
    match left.labelled.len() {
        0 => kinds(&left.objects),
        count if left.objects.is_empty() => format!("a label on {}", plural(count, "claim")),
        count => format!(
            "{}, a label on {}",
            kinds(&left.objects),
            plural(count, "claim")
        ),
    }
}

/// How many of each kind.
fn kinds(objects: &[ObjectId]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for object in objects {
        match counted.iter_mut().find(|(kind, _)| *kind == object.kind) {
            Some((_, count)) => *count += 1,
            None => counted.push((&object.kind, 1)),
        }
    }
    let words = counted.iter().map(|(kind, count)| plural(*count, kind));
    words.collect::<Vec<_>>().join(", ")
}
