//! `ferry capture` and `ferry captures`: recording namespaces, and looking after the records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::Failure;
use super::carry::{ExportArgs, ImportArgs};
use super::context::{Context, FreezeArgs, MoverArgs, PrivilegeArgs, StoreArgs};
use super::select::SelectArgs;
use crate::capture::{self, Archive, Capture, CaptureError, Consistency, Kept, SavedVolume};
use crate::data::{ClusterMovers, DataError, Movers};
use crate::event::{Direction, Stage};
use crate::exit::Exit;
use crate::finding::Finding;
use crate::knowledge::Knowledge;
use crate::object::ObjectId;
use crate::plan::{self, VolumeMove};
use crate::report::palette::{Role, paint};
use crate::report::plan_view;
use crate::report::table::{Cell, render};
use crate::report::units::{bytes, plural};
use crate::store::{CaptureSummary, Store};
use crate::surface::ClusterIdentity;

/// Record namespaces and their data in the store
///
/// Without access to the cluster, its objects can come from files. What only the cluster knows is then
/// unknown, and volumes have no data; graph, recipes, checks and plans work.
///
/// Examples:
///   ferry capture --from prod -n shop --store s3://bucket/ferry
///   ferry capture --from-dir manifests/ --store ./store
///   helm template shop ./chart | ferry capture --from-file - -n shop --store ./store
///   ferry capture --from-velero nightly.tar.gz -n shop --store ./store
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Namespace to capture; may be given several times. Of files, all that are in them without this,
    /// and with one, also the namespace of objects that name none
    #[arg(long = "namespace", short, required_unless_present_any = OFFLINE, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// Record the objects and leave the volumes' data behind
    #[arg(long)]
    objects_only: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    mover: MoverArgs,
    #[command(flatten)]
    privileges: PrivilegeArgs,
    #[command(flatten)]
    freeze: FreezeArgs,
}

/// Options that name files instead of a cluster.
const OFFLINE: [&str; 3] = ["from_dir", "from_file", "from_velero"];

/// Where objects come from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SourceArgs {
    /// Context of the cluster to capture
    #[arg(long, value_name = "CONTEXT")]
    from: Option<String>,
    /// Folder of YAML and JSON manifests instead of a cluster
    #[arg(long, value_name = "FOLDER")]
    from_dir: Option<PathBuf>,
    /// File of manifests instead of a cluster, - for stdin: what kustomize and helm render
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Tarball of a Velero backup instead of a cluster: backups/NAME/NAME.tar.gz
    #[arg(long, value_name = "FILE")]
    from_velero: Option<PathBuf>,
}

impl SourceArgs {
    /// The archive, when it is one.
    fn archive(&self) -> Result<Option<Archive>, CaptureError> {
        let Self {
            from: _,
            from_dir,
            from_file,
            from_velero,
        } = self;
        let folder = from_dir.as_deref().map(Archive::folder);
        let file = from_file.as_deref().map(Archive::file);
        let velero = from_velero.as_deref().map(Archive::velero);
        folder.or(file).or(velero).transpose()
    }
}

/// List, show and remove captures
#[derive(Debug, Subcommand)]
pub(super) enum CapturesCommand {
    /// List the captures in the store, newest first
    ///
    /// Example: `ferry captures list --store s3://bucket/ferry`
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show what a capture holds
    ///
    /// Example: `ferry captures show latest --dropped`
    Show {
        /// The capture's id, or `latest`
        capture: String,
        /// Show what stayed behind, and why
        #[arg(long)]
        dropped: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    Export(ExportArgs),
    Import(ImportArgs),
    /// Remove a capture; `ferry store prune` frees its data
    ///
    /// Example: `ferry captures rm 20260314-091500-7c1d --yes`
    Rm {
        /// The capture's id, or `latest`
        capture: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
}

impl CaptureArgs {
    /// Whether a cluster is captured, with data perhaps, and not files.
    pub(super) fn is_live(&self) -> bool {
        self.source.from.is_some()
    }

    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            source,
            namespaces,
            select,
            objects_only,
            store,
            mover,
            privileges,
            freeze,
        } = self;
        let selection = select.within(namespaces);
        let (knowledge, events) = (Knowledge::builtin(), &context.events);
        let archive = source.archive()?;
        let store = store.open(context).await?;
        let mut capture;
        if let Some(archive) = archive {
            capture = archive.capture(&selection, knowledge, events)?;
        } else {
            let cluster = context
                .cluster(source.from.as_deref().unwrap_or_default())
                .await?;
            capture = capture::take(&cluster, &selection, knowledge, events).await?;
            if objects_only {
                capture.volumes.clear();
            } else {
                let (unprivileged, grouping) = (privileges.choice(), freeze.choice());
                let moves = VolumeMove::saving(&capture, unprivileged, grouping, knowledge);
                let volumes = moves.iter().zip(&capture.volumes);
                let groups = plan::group_findings(volumes, grouping);
                capture.findings.extend(groups);
                let all: Vec<&VolumeMove> = moves.iter().collect();
                let settings = mover.settings(&capture.id, &capture.id, &capture.namespaces, &all);
                let movers = context.movers(&store, Some(cluster), None, settings);
                movers.admitted(all).await?;
                save_volumes(context, &mut capture, &moves, &movers).await?;
            }
        }
        keep(context, &store, &capture).await?;
        Ok(Exit::Done)
    }
}

/// Keeps a new capture in the store, and tells the user its name.
pub(super) async fn keep(
    context: &Context,
    store: &Store,
    capture: &Capture,
) -> Result<(), Failure> {
    let summary = &store.save_capture(capture).await?;
    let findings = &capture.findings;
    context.report.data(&Taken { summary, findings }, || {
        format!(
            "{}{} captured as {}",
            plan_view::findings(findings),
            paint(Role::Good, "✓"),
            paint(Role::Name, &summary.id)
        )
    });
    Ok(())
}

/// A new capture as JSON.
#[derive(Serialize)]
struct Taken<'a> {
    #[serde(flatten)]
    summary: &'a CaptureSummary,
    findings: &'a [Finding],
}

/// Freezes every volume, then carries each into the store; leftovers are removed either way.
async fn save_volumes(
    context: &Context,
    capture: &mut Capture,
    moves: &[VolumeMove],
    movers: &ClusterMovers,
) -> Result<(), Failure> {
    if capture.volumes.is_empty() {
        return Ok(());
    }
    context.events.started(Stage::Save);
    let saved = async {
        stream::iter(moves)
            .map(|volume| movers.snapshot(volume))
            .buffered(8)
            .try_collect::<()>()
            .await?;
        stream::iter(parties(moves))
            .map(|party| save(movers, party))
            .buffered(8)
            .try_concat()
            .await
    }
    .await;
    let cleaned = movers.clean().await;
    let saved = saved?;
    if let Err(error) = cleaned {
        context.events.warning(error.to_string());
    }
    let total: u64 = saved.iter().map(|(_, saved)| saved.proof.bytes).sum();
    let volumes = plural(saved.len(), "volume");
    context
        .events
        .finished(Stage::Save, format!("{volumes}, {}", bytes(total)));
    let mut saved: BTreeMap<ObjectId, SavedVolume> = saved.into_iter().collect();
    for volume in &mut capture.volumes {
        volume.saved = saved.remove(&volume.claim);
    }
    Ok(())
}

/// Those that one mover carries, together.
fn parties(moves: &[VolumeMove]) -> Vec<Vec<&VolumeMove>> {
    let mut parties = BTreeMap::<_, Vec<_>>::new();
    for volume in moves {
        parties.entry(volume.party()).or_default().push(volume);
    }
    parties.into_values().collect()
}

async fn save(
    movers: &ClusterMovers,
    party: Vec<&VolumeMove>,
) -> Result<Vec<(ObjectId, SavedVolume)>, DataError> {
    let saved = movers.save(&party).await;
    let saved: Vec<_> = saved.into_iter().collect::<Result<_, _>>()?;
    let tidied = party
        .iter()
        .map(|volume| movers.tidy(volume, Direction::Save));
    for error in join_all(tidied).await.into_iter().filter_map(Result::err) {
        // The end tries again.
        tracing::debug!(%error, "a mover's traces are left for later");
    }
    let claims = party.iter().map(|volume| volume.source.clone());
    Ok(claims.zip(saved).collect())
}

impl CapturesCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Export(args) => return args.run(context).await,
            Self::Import(args) => return args.run(context).await,
            Self::List { store } => {
                let captures = store.open(context).await?.list_captures().await?;
                context.report.data(&captures, || list(&captures));
            }
            Self::Show {
                capture,
                dropped,
                store,
            } => {
                let capture = store.open(context).await?.load_capture(&capture).await?;
                context
                    .report
                    .data(&Document::of(&capture), || show(&capture, dropped));
            }
            Self::Rm {
                capture,
                yes,
                store,
            } => remove(context, &store.open(context).await?, &capture, yes).await?,
        }
        Ok(Exit::Done)
    }
}

/// A capture as JSON: names and reasons. Its objects are in the store, where Secrets stay sealed.
#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    created: jiff::Timestamp,
    cluster: &'a ClusterIdentity,
    namespaces: &'a [String],
    objects: Vec<ObjectId>,
    volumes: &'a [capture::Volume],
    dropped: &'a [capture::Dropped],
    kept: Vec<Kept>,
    findings: &'a [Finding],
}

impl<'a> Document<'a> {
    fn of(capture: &'a Capture) -> Self {
        let Capture {
            id,
            created,
            namespaces,
            objects,
            dropped,
            volumes,
            surface,
            findings,
        } = capture;
        Self {
            id,
            created: *created,
            cluster: &surface.cluster,
            namespaces,
            objects: objects.iter().map(|one| one.object.id()).collect(),
            volumes,
            dropped,
            kept: capture.kept(),
            findings,
        }
    }
}

async fn remove(context: &Context, store: &Store, capture: &str, yes: bool) -> Result<(), Failure> {
    let summary = store.capture_summary(capture).await?;
    let question = format!(
        "Remove capture {} of {} on cluster {}?",
        paint(Role::Name, &summary.id),
        summary.namespaces.join(", "),
        summary.cluster.name
    );
    if !context.agreed(yes, &question, "the removal", "")? {
        return Ok(());
    }
    let removed = store.remove_capture(&summary.id).await?;
    context.report.data(&removed, || {
        format!("{} {removed} removed", paint(Role::Good, "✓"))
    });
    Ok(())
}

fn list(captures: &[CaptureSummary]) -> String {
    let row = |capture: &CaptureSummary| -> Vec<Cell> {
        vec![
            Cell::new(Role::Name, &capture.id),
            capture.created.strftime("%F %T").to_string().into(),
            capture.cluster.name.clone().into(),
            capture.namespaces.join(",").into(),
            capture.objects.to_string().into(),
            format!("{} of {}", capture.saved, capture.volumes).into(),
            bytes(capture.bytes).into(),
        ]
    };
    let header = [
        "CAPTURE",
        "TAKEN (UTC)",
        "CLUSTER",
        "NAMESPACES",
        "OBJECTS",
        "VOLUMES",
        "DATA",
    ];
    render(&header, &captures.iter().map(row).collect::<Vec<_>>())
}

/// What stays, and what travels though another object owns it, each with its class and reason.
fn stays(capture: &Capture) -> String {
    let row = |rule: &str, class: String, id: &ObjectId, why: String| -> Vec<Cell> {
        let object = Cell::new(Role::Name, id.to_string());
        vec![rule.to_owned().into(), class.into(), object, why.into()]
    };
    let made = |one: &capture::Dropped| match &one.produced_by {
        Some(owner) => format!("{} ({owner})", one.reason),
        None => one.reason.clone(),
    };
    let dropped = capture.dropped.iter();
    let dropped: Vec<_> = dropped
        .map(|one| row(&one.rule, one.class.to_string(), &one.id, made(one)))
        .collect();
    let kept: Vec<_> = capture
        .kept()
        .into_iter()
        .map(|one| row(one.rule, one.class.to_string(), &one.id, one.reason))
        .collect();
    let mut text = render(&["RULE", "CLASS", "OBJECT", "WHY IT STAYS"], &dropped);
    if !kept.is_empty() {
        text.push('\n');
        text.push_str(&render(
            &["RULE", "CLASS", "OBJECT", "WHY IT TRAVELS"],
            &kept,
        ));
    }
    text
}

fn show(capture: &Capture, dropped: bool) -> String {
    if dropped {
        return stays(capture);
    }
    let objects: Vec<Vec<Cell>> = capture
        .objects
        .iter()
        .map(|one| vec![one.object.id().to_string().into()])
        .collect();
    let volume = |volume: &capture::Volume| -> Vec<Cell> {
        let (data, consistency) = match &volume.saved {
            Some(saved) if saved.held.is_some() => {
                ("carried by the storage".into(), "not in the store")
            }
            Some(saved) => (
                format!(
                    "{} entries, {}",
                    saved.proof.files,
                    bytes(saved.proof.bytes)
                ),
                match saved.consistency {
                    Consistency::Snapshot => "point in time",
                    Consistency::Together => "one point in time, together",
                    Consistency::Clone => "point in time, by a clone",
                    Consistency::Quiet => "while nothing ran",
                    Consistency::Live => "live copy",
                },
            ),
            None => ("not saved".into(), ""),
        };
        vec![
            volume.claim.to_string().into(),
            bytes(volume.capacity).into(),
            data.into(),
            consistency.into(),
        ]
    };
    let volumes: Vec<_> = capture.volumes.iter().map(volume).collect();
    format!(
        "{} of {} on {}\n\n{}\n{}\n{}{} stayed behind; --dropped shows why\n",
        paint(Role::Name, &capture.id),
        capture.namespaces.join(", "),
        capture.surface.cluster.name,
        render(&["OBJECT"], &objects),
        render(&["VOLUME", "SIZE", "DATA", "SHOWS"], &volumes),
        plan_view::findings(&capture.findings),
        plural(capture.dropped.len(), "object"),
    )
}
