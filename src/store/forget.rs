//! Retention over a store: captures as wholes, and snapshots that belong to none.
//!
//! A capture is its manifest and the snapshots of its objects and volumes: they are kept or forgotten together. What
//! carries a capture's tag and has no manifest is a capture under way, or one that failed: it is left alone for two
//! days, and longer while a run in the store names it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::retention::{self, Policy, State};
use super::{Store, StoreError};
use crate::repository::{Id, Snapshot};

/// What has no manifest is somebody's work in progress for this long: twice a mover's longest life.
const UNFINISHED: SignedDuration = SignedDuration::from_hours(48);

/// Something that is kept or forgotten as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// A capture's name, or a snapshot's id.
    pub id: String,
    /// When it was taken.
    pub time: String,
    /// Whether it is a capture.
    pub capture: bool,
    /// Why it is kept; empty when it is forgotten.
    pub reasons: Vec<String>,
}

/// The states of one thing: an application, or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it is.
    pub name: String,
    /// Its states, newest first.
    pub states: Vec<Kept>,
}

/// What a store keeps and what it forgets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// By thing, sorted.
    pub groups: Vec<Group>,
}

impl Retention {
    /// What is forgotten.
    pub fn forgotten(&self) -> impl Iterator<Item = &Kept> {
        let states = self.groups.iter().flat_map(|group| &group.states);
        states.filter(|state| state.reasons.is_empty())
    }
}

struct Member {
    group: String,
    id: String,
    capture: bool,
    state: State,
    /// What is kept or forgotten whatever the policy says.
    fixed: Option<Vec<String>>,
}

impl Store {
    /// What `policy` keeps and forgets, of everything that carries all tags of one of the lists in `only`, if there are
    /// any. Changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn retention(
        &self,
        policy: &Policy,
        only: &[Vec<String>],
    ) -> Result<Retention, StoreError> {
        let members = self.members().await?;
        let chosen = members.into_iter().filter(|member| {
            let has_all = |tags: &Vec<String>| tags.iter().all(|t| member.state.tags.contains(t));
            only.is_empty() || only.iter().any(has_all)
        });
        let mut groups: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        for member in chosen {
            groups.entry(member.group.clone()).or_default().push(member);
        }
        let groups = groups
            .into_iter()
            .map(|(name, members)| decide(policy, name, members));
        Ok(Retention {
            groups: groups.collect(),
        })
    }

    /// Forgets captures by their names and snapshots by their ids, each as [`Store::load_capture`] and restic name them.
    /// Returns what was forgotten.
    ///
    /// # Errors
    /// [`StoreError::PartOfCapture`] for a snapshot that a capture needs: forget the capture instead.
    pub async fn forget(&self, wanted: &str) -> Result<String, StoreError> {
        match self.remove_capture(wanted).await {
            Err(StoreError::NoCapture { .. }) => {}
            other => return other,
        }
        let name = wanted.to_owned();
        let snapshot = self
            .with(move |repository| repository.snapshot(&name))
            .await?;
        let names: BTreeSet<String> = self.capture_names().await?.into_iter().collect();
        let owner = capture_of(&snapshot).filter(|capture| names.contains(*capture));
        if let Some(capture) = owner {
            return Err(StoreError::PartOfCapture {
                snapshot: wanted.into(),
                capture: capture.into(),
            });
        }
        let id = snapshot.id.unwrap_or(snapshot.tree);
        self.with(move |repository| repository.forget(&id)).await?;
        Ok(id.to_string())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let runs: BTreeSet<String> = self.list_runs().await?.into_iter().collect();
        // The manifests after the snapshots: a capture that is finished in between has its manifest then.
        let snapshots = self
            .with(|repository| repository.snapshots::<&str>(&[]))
            .await?;
        let captures = self.list_captures().await?;
        let mut tags: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for snapshot in &snapshots {
            if let Some(capture) = capture_of(snapshot) {
                let own = tags.entry(capture).or_default();
                own.extend(snapshot.tags.iter().cloned());
            }
        }
        let mut members: Vec<Member> = captures
            .iter()
            .map(|capture| Member {
                group: format!(
                    "{} on {}",
                    capture.namespaces.join(","),
                    capture.cluster.name
                ),
                id: capture.id.clone(),
                capture: true,
                state: State {
                    time: capture.created.to_string(),
                    tags: tags.get(capture.id.as_str()).cloned().unwrap_or_default(),
                },
                fixed: None,
            })
            .collect();
        let whole: BTreeSet<&str> = captures.iter().map(|capture| capture.id.as_str()).collect();
        for snapshot in &snapshots {
            match capture_of(snapshot) {
                Some(capture) if whole.contains(capture) => {}
                Some(capture) => members.push(unfinished(snapshot, capture, &runs)),
                None => members.push(Member {
                    group: group_of(snapshot),
                    id: id_of(snapshot).to_string(),
                    capture: false,
                    state: state_of(snapshot),
                    fixed: None,
                }),
            }
        }
        Ok(members)
    }
}

fn decide(policy: &Policy, name: String, members: Vec<Member>) -> Group {
    let states: Vec<State> = members.iter().map(|member| member.state.clone()).collect();
    let reasons = retention::apply(policy, &states);
    let mut states: Vec<(Timestamp, Kept)> = members
        .into_iter()
        .zip(reasons)
        .map(|(member, reasons)| {
            let reasons = reasons.into_iter().map(Into::into).collect();
            let kept = Kept {
                id: member.id,
                capture: member.capture,
                reasons: member.fixed.unwrap_or(reasons),
                time: member.state.time,
            };
            (kept.time.parse().unwrap_or(Timestamp::MIN), kept)
        })
        .collect();
    states.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    Group {
        name,
        states: states.into_iter().map(|(_, kept)| kept).collect(),
    }
}

/// A snapshot of a capture that has no manifest.
fn unfinished(snapshot: &Snapshot, capture: &str, runs: &BTreeSet<String>) -> Member {
    let run = snapshot
        .tags
        .iter()
        .find_map(|tag| tag.strip_prefix("run="));
    let state = state_of(snapshot);
    let taken = state.time.parse().unwrap_or(Timestamp::MIN);
    let young = Timestamp::now().duration_since(taken) < UNFINISHED;
    let fixed = match run.filter(|run| runs.contains(*run)) {
        Some(run) => vec![format!("of run {run}")],
        None if young => vec!["of a capture that may be under way".into()],
        None => Vec::new(),
    };
    Member {
        group: format!("unfinished capture {capture}"),
        id: id_of(snapshot).to_string(),
        capture: false,
        state,
        fixed: Some(fixed),
    }
}

fn capture_of(snapshot: &Snapshot) -> Option<&str> {
    snapshot
        .tags
        .iter()
        .find_map(|tag| tag.strip_prefix("capture="))
}

/// As restic groups them, by host and paths; those of `ferry data` by the folder they are of.
fn group_of(snapshot: &Snapshot) -> String {
    let folder = snapshot
        .tags
        .iter()
        .find_map(|tag| tag.strip_prefix("dir="));
    let what = folder.map_or_else(|| snapshot.paths.join(","), Into::into);
    format!("{what} on {}", snapshot.hostname)
}

fn state_of(snapshot: &Snapshot) -> State {
    State {
        time: snapshot.time.clone(),
        tags: snapshot.tags.clone(),
    }
}

fn id_of(snapshot: &Snapshot) -> Id {
    snapshot.id.unwrap_or(snapshot.tree)
}
