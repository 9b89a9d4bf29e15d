//! Where the runs of a store stand, and which of them `latest` means.
//!
//! A run that was killed stays open while newer ones come and go, so what is resumed is the newest that is
//! unfinished, and not the newest. Whether a process is at work on an open run cannot be read from the
//! store: it is shown as running, or killed.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use super::Failure;
use super::context::Context;
use crate::journal::{self, Entry, Record};
use crate::plan::{Plan, Purpose};
use crate::report::units::plural;
use crate::restore::{self, RestoreError};
use crate::store::Store;

/// What stands for a run's name.
const LATEST: &str = "latest";

/// Journals read at once.
const PARALLEL: usize = 8;

/// Which run `latest` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latest {
    /// The newest.
    Any,
    /// The newest that is unfinished.
    Unfinished,
    /// The newest cutover: a sync may have been tried since.
    Cutover,
}

impl Latest {
    /// The run meant.
    pub(super) async fn find(
        self,
        context: &Context,
        store: &Store,
        wanted: &str,
    ) -> Result<String, Failure> {
        match self {
            Self::Unfinished => resumable(context, store, wanted).await,
            Self::Cutover if wanted == LATEST => newest_cutover(store).await,
            Self::Any | Self::Cutover => find(store, wanted).await,
        }
    }
}

/// Where a run stands, in a word for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// A process opened it and has not closed it: it works on it still, or was killed.
    Running,
    /// It was closed with open steps, or has no entry yet.
    Unfinished,
    Complete,
    Undone,
}

/// Where a run stands, by the last entry that speaks of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    state: State,
    /// Steps that failed or were not reached when the run was last closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<u64>,
    /// Objects an undo left on the cluster, once it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

impl Standing {
    pub(super) fn of(records: &[Record]) -> Self {
        let whole = records.iter().rev().find_map(|record| match &record.entry {
            Entry::Undone { left } => Some((State::Undone, None, *left)),
            Entry::Closed { open: 0, .. } => Some((State::Complete, Some(0), None)),
            Entry::Closed { open, .. } => Some((State::Unfinished, Some(*open), None)),
            Entry::Opened { .. } => Some((State::Running, None, None)),
            _ => None,
        });
        let (state, open, left) = whole.unwrap_or((State::Unfinished, None, None));
        Self { state, open, left }
    }

    pub(super) async fn read(store: &Store, run: &str) -> Result<Self, Failure> {
        let records = journal::read(store, run).await;
        Ok(Self::of(&records.map_err(RestoreError::from)?))
    }

    /// Whether `ferry runs resume` has something to go on with.
    pub(super) fn unfinished(self) -> bool {
        matches!(self.state, State::Running | State::Unfinished)
    }

    fn warns(self, run: &str, namespaces: &[&str], reads_source: bool) -> String {
        let leftovers = match reads_source {
            true => "; its snapshots and movers stay on the source until then",
            false => "",
        };
        format!(
            "run {run} on namespaces {} is unfinished ({}): `ferry runs resume {run}` finishes it, \
             `ferry runs undo {run}` takes it back{leftovers}",
            namespaces.join(", "),
            self.text(),
        )
    }

    pub(super) fn text(self) -> String {
        match (self.state, self.open) {
            (State::Running, _) => "running, or killed".into(),
            (State::Unfinished, Some(open)) => format!("{} open", plural(open as usize, "step")),
            (State::Unfinished, None) => "not begun".into(),
            (State::Complete, _) => "complete".into(),
            (State::Undone, _) => match self.left {
                Some(0) => "undone".into(),
                Some(left) => format!("undone, {left} left"),
                None => "undone, but not to the end".into(),
            },
        }
    }
}

/// The names of the runs in the store, newest first.
pub(super) async fn names(store: &Store) -> Result<Vec<String>, Failure> {
    let mut runs = store.list_runs().await?;
    runs.sort();
    runs.reverse();
    Ok(runs)
}

/// A run by its name, or the newest.
pub(super) async fn find(store: &Store, wanted: &str) -> Result<String, Failure> {
    choose(names(store).await?, wanted)
}

async fn newest_cutover(store: &Store) -> Result<String, Failure> {
    for run in names(store).await? {
        if restore::plan_of(store, &run).await?.purpose == Purpose::Cutover {
            return Ok(run);
        }
    }
    Err(Failure::input(
        "the store holds no cutover",
        "`ferry runs list` shows the runs it has; `--store` or FERRY_STORE name another store",
    ))
}

/// A run to go on with: by its name, or the newest that is unfinished.
async fn resumable(context: &Context, store: &Store, wanted: &str) -> Result<String, Failure> {
    let names = names(store).await?;
    if wanted != LATEST || names.is_empty() {
        return choose(names, wanted);
    }
    let runs: Vec<(String, Standing)> = stream::iter(names)
        .map(|run| async move { Standing::read(store, &run).await.map(|found| (run, found)) })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let (run, others) = newest_open(&runs)?;
    if !others.is_empty() {
        context.events.notice(format!(
            "run {run} is gone on with; unfinished as well, and resumed by name: {}",
            others.join(", ")
        ));
    }
    Ok(run.to_owned())
}

/// The newest run that is unfinished and has a plan to go on with; one that was killed before it had written that has
/// done nothing.
pub(super) async fn newest_unfinished(store: &Store) -> Result<Option<String>, Failure> {
    for run in names(store).await? {
        match restore::plan_of(store, &run).await {
            Err(RestoreError::NoRun { .. }) => continue,
            plan => plan?,
        };
        if Standing::read(store, &run).await?.unfinished() {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// Warns of unfinished runs that write to the same namespaces of the same cluster. Neither their leftovers on A
/// nor what they hold back on B is seen to by a new run.
pub(super) async fn tell_unfinished(
    context: &Context,
    store: &Store,
    plan: &Plan,
) -> Result<(), Failure> {
    let names = names(store).await?;
    let mut beside = stream::iter(names)
        .map(|run| async move { (beside(store, &run, plan).await, run) })
        .buffered(PARALLEL);
    while let Some((found, run)) = beside.next().await {
        match found {
            Ok(Some(text)) => context.events.warning(text),
            Ok(None) => {}
            // A new run must not fail because an old one is damaged.
            Err(error) => context.events.warning(format!(
                "run {run} cannot be read, and may be unfinished: {}",
                error.error
            )),
        }
    }
    Ok(())
}

/// What is to be said of one run before another plan is executed.
async fn beside(store: &Store, run: &str, plan: &Plan) -> Result<Option<String>, Failure> {
    let other = restore::plan_of(store, run).await?;
    let shared = shared(plan, &other);
    if shared.is_empty() {
        return Ok(None);
    }
    let standing = Standing::read(store, run).await?;
    Ok(standing
        .unfinished()
        .then(|| standing.warns(run, &shared, other.reads_source())))
}

/// Namespaces of the same cluster B that both plans write to.
fn shared<'a>(plan: &'a Plan, other: &Plan) -> Vec<&'a str> {
    let same = plan.target.is(&other.target);
    let on_b: BTreeSet<&str> = other
        .namespaces
        .iter()
        .map(|(_, on_b)| on_b.as_str())
        .collect();
    let ours = plan.namespaces.iter().map(|(_, on_b)| on_b.as_str());
    ours.filter(|name| same && on_b.contains(name)).collect()
}

/// The one wanted of the runs, newest first.
fn choose(names: Vec<String>, wanted: &str) -> Result<String, Failure> {
    if names.is_empty() {
        return Err(Failure::input(
            "the store holds no runs",
            "`ferry migrate` begins one; `--store` or FERRY_STORE name another store",
        ));
    }
    let found = names
        .into_iter()
        .find(|run| wanted == LATEST || run == wanted);
    found.ok_or_else(|| {
        Failure::input(
            format!("the store has no run {wanted:?}"),
            "`ferry runs list` shows those it has",
        )
    })
}

/// The newest unfinished run, and the others that are.
fn newest_open(runs: &[(String, Standing)]) -> Result<(&str, Vec<&str>), Failure> {
    let mut open = runs
        .iter()
        .filter(|(_, standing)| standing.unfinished())
        .map(|(run, _)| run.as_str());
    let newest = open.next().ok_or_else(|| {
        Failure::input(
            "no run in the store is unfinished",
            "`ferry runs list` shows how each ended; a run named by its id is gone over again",
        )
    })?;
    Ok((newest, open.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(entries: Vec<Entry>) -> Standing {
        let records: Vec<Record> = entries.into_iter().map(Record::of_run).collect();
        Standing::of(&records)
    }

    fn opened() -> Entry {
        Entry::Opened { ferry: "1".into() }
    }

    fn closed(open: u64) -> Entry {
        Entry::Closed { done: 1, open }
    }

    fn undone(left: Option<u64>) -> Entry {
        Entry::Undone { left }
    }

    #[test]
    fn the_state_is_a_word_for_machines_and_a_text_for_people() {
        let cases = [
            (vec![], r#"{"state":"unfinished"}"#, "not begun"),
            (
                vec![closed(3), opened()],
                r#"{"state":"running"}"#,
                "running, or killed",
            ),
            (
                vec![opened(), closed(3)],
                r#"{"state":"unfinished","open":3}"#,
                "3 steps open",
            ),
            (
                vec![opened(), closed(0)],
                r#"{"state":"complete","open":0}"#,
                "complete",
            ),
            (
                vec![closed(0), undone(None)],
                r#"{"state":"undone"}"#,
                "undone, but not to the end",
            ),
            (
                vec![closed(0), undone(None), undone(Some(3))],
                r#"{"state":"undone","left":3}"#,
                "undone, 3 left",
            ),
            (
                vec![undone(Some(3)), undone(Some(0))],
                r#"{"state":"undone","left":0}"#,
                "undone",
            ),
        ];
        for (entries, json, text) in cases {
            let standing = standing(entries);
            assert_eq!(serde_json::to_string(&standing).unwrap(), json);
            assert_eq!(standing.text(), text);
        }
    }

    #[test]
    fn latest_to_resume_is_the_newest_unfinished_run_and_names_the_others() {
        let run = |name: &str, entries| (name.to_owned(), standing(entries));
        let mut runs = vec![
            run("4", vec![closed(0)]),
            run("3", vec![opened()]),
            run("2", vec![closed(0), undone(Some(0))]),
            run("1", vec![closed(2)]),
        ];
        let (newest, others) = newest_open(&runs).ok().unwrap();
        assert_eq!((newest, others), ("3", vec!["1"]));
        runs.retain(|(_, standing)| !standing.unfinished());
        let error = newest_open(&runs).err().unwrap();
        assert!(
            error.error.to_string().contains("is unfinished"),
            "{error:?}"
        );
    }

    #[test]
    fn an_unfinished_run_is_warned_of_with_both_ways_out() {
        let text = standing(vec![opened()]).warns("7", &["shop", "web"], true);
        assert_eq!(
            text,
            "run 7 on namespaces shop, web is unfinished (running, or killed): `ferry runs resume 7` finishes \
             it, `ferry runs undo 7` takes it back; its snapshots and movers stay on the source until then"
        );
        let text = standing(vec![closed(2)]).warns("7", &["shop"], false);
        assert!(text.ends_with("takes it back"), "{text}");
    }

    #[test]
    fn a_store_without_runs_is_told_as_such() {
        let error = choose(vec![], LATEST).err().unwrap();
        assert!(
            error.error.to_string().contains("holds no runs"),
            "{error:?}"
        );
        let names = || vec!["2".to_owned(), "1".to_owned()];
        assert_eq!(choose(names(), LATEST).ok().unwrap(), "2");
        assert_eq!(choose(names(), "1").ok().unwrap(), "1");
        assert!(choose(names(), "3").is_err());
    }
}
