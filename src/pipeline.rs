//! The stages, called in order: what `migrate`, `check`, `plan` and `graph` share.
//!
//! ```text
//! capture ─▶ transform ─▶ survey and probe of B ─▶ graph ─▶ check ─▶ plan
//! ```
//!
//! Nothing here decides anything about an object; it brings values from one stage to the next, reads
//! what B holds, and never writes to a cluster.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::capture::{self, Capture, Captured, Consistency, DropClass, Dropped, Owner};
use crate::check::{self, CheckInput};
use crate::cluster::rights::{self, Freezes, Lacking, Right};
use crate::cluster::{Cluster, ClusterError, Place, probe, survey};
use crate::data;
use crate::event::{Events, Stage};
use crate::exit::Exit;
use crate::finding::{Finding, Verdict};
use crate::graph::{self, Graph, GraphError, GraphInput};
use crate::hook::Moment;
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::plan::{self, Grouping, Plan, PlanInput, Purpose, Unprivileged, VolumeMove};
use crate::report::units::plural;
use crate::surface::Surface;
use crate::transform::host::HostPattern;
use crate::transform::{self, Recipe, Source, TransformErrors, Transformed};

/// The group and kind of custom resource definitions.
const CRD: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

/// What went wrong on the way to a plan.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Cluster B could not be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A recipe does not fit the capture.
    #[error(transparent)]
    Transform(#[from] TransformErrors),
    /// References that cannot be ordered.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What the user decides about a plan beside the recipes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// Bring the definitions of custom resources that B lacks (C-10). Without their operator the
    /// resources are inert.
    pub install_crds: bool,
    /// What the plan is for.
    pub purpose: Purpose,
    /// Whether a cutover moves A's hosts to B.
    pub switch_hosts: bool,
    /// Where movers have no privileges.
    pub unprivileged: Unprivileged,
    /// Which claims are frozen at one moment.
    pub grouping: Grouping,
    /// Whether the user says that both clusters are on one storage.
    pub shared_storage: bool,
}

/// A plan and what it was made from.
#[derive(Debug)]
pub struct Prepared {
    /// The capture, with the definitions the user chose to bring.
    pub capture: Capture,
    /// The objects after the recipes.
    pub transformed: Transformed,
    /// The decision.
    pub plan: Plan,
}

/// From a capture to a plan for a cluster. Reads the cluster and writes nothing. With a source, whose
/// volumes are still to be saved, what the user may do there counts too.
///
/// # Errors
/// When the cluster does not answer, a recipe does not fit, or objects need each other in a circle.
pub async fn prepare(
    mut capture: Capture,
    source: Option<&Cluster>,
    target: &Cluster,
    recipes: &[Recipe],
    choices: Choices,
    events: &Events,
) -> Result<Prepared, PipelineError> {
    let knowledge = Knowledge::builtin();
    let surface = survey(target, events).await?;
    if choices.install_crds {
        bring_definitions(&mut capture, &surface, knowledge);
    }
    let keeps = match choices.switch_hosts {
        true => switched_hosts(&capture, knowledge),
        false => Vec::new(),
    };
    let transformed = transformed_but(&capture, recipes, keeps, knowledge, events)?;
    events.started(Stage::Check);
    let state = probe(target, &surface, &transformed.objects, events).await?;
    let on_a = rights_on_source(&capture, &transformed, choices);
    let on_b = rights_on_target(&capture, &transformed, choices, &surface);
    let lacking = lacking(source, &on_a, target, &on_b).await?;
    let refused = refused(&capture, choices, source, target).await?;
    let mut on_b: BTreeSet<ObjectId> = surface.objects.iter().map(Object::id).collect();
    on_b.extend(state.live.keys().cloned());
    let mut graph = draw(&capture, &transformed, &on_b, knowledge)?;
    let found = look_up(target, &surface, &graph).await?;
    if !found.is_empty() {
        on_b.extend(found);
        graph = draw(&capture, &transformed, &on_b, knowledge)?;
    }
    let mut findings = check::run(&CheckInput {
        capture: &capture,
        transformed: &transformed,
        graph: &graph,
        surface: &surface,
        target: &state,
        knowledge,
        lacking: &lacking,
    });
    findings.extend(refused);
    let blocking = findings
        .iter()
        .filter(|finding| finding.verdict.blocks())
        .count();
    let warnings = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Warn)
        .count();
    events.finished(
        Stage::Check,
        format!(
            "{}, {}",
            plural(blocking, "blocking finding"),
            plural(warnings, "warning")
        ),
    );
    let digests: Vec<(String, String)> = recipes
        .iter()
        .map(|recipe| (recipe.name.clone(), recipe.digest.clone()))
        .collect();
    let plan = plan::build(&PlanInput {
        capture: &capture,
        transformed: &transformed,
        recipes: &digests,
        graph: &graph.into(),
        surface: &surface,
        target: &state,
        findings: &findings,
        knowledge,
        purpose: choices.purpose,
        switch_hosts: choices.switch_hosts,
        unprivileged: choices.unprivileged,
        grouping: choices.grouping,
        shared_storage: choices.shared_storage,
    });
    events.finished(
        Stage::Plan,
        format!("{} to do", plural(plan.pending(), "step")),
    );
    Ok(Prepared {
        capture,
        transformed,
        plan,
    })
}

/// What the user lacks on either cluster (C-61).
async fn lacking(
    source: Option<&Cluster>,
    on_a: &[Right],
    target: &Cluster,
    on_b: &[Right],
) -> Result<Vec<Lacking>, ClusterError> {
    let mut found = Vec::new();
    if let Some(source) = source {
        found.extend(rights::lacking(source, on_a).await?);
    }
    found.extend(rights::lacking(target, on_b).await?);
    Ok(found)
}

/// Clusters that refuse the namespace in which movers with privileges work.
async fn refused(
    capture: &Capture,
    choices: Choices,
    source: Option<&Cluster>,
    target: &Cluster,
) -> Result<Vec<Finding>, ClusterError> {
    let Unprivileged {
        source: on_a,
        target: on_b,
        user: _,
    } = choices.unprivileged;
    let mut asked: Vec<&Cluster> = Vec::new();
    if !capture.volumes.is_empty() {
        asked.extend(source.filter(|_| !on_a));
        asked.extend(Some(target).filter(|_| !on_b));
    }
    let mut found = Vec::new();
    for cluster in asked {
        if let Some(answer) = data::refuses_namespace(cluster).await? {
            let message = format!(
                "cluster {} refuses the privileged namespace that movers work in",
                cluster.name()
            );
            found.push(
                Finding::new(Verdict::Abort, "C-70", message)
                    .because(answer)
                    .remedy(data::WITHOUT_NAMESPACE),
            );
        }
    }
    Ok(found)
}

/// The movers' rights on A, and those that a cutover needs to make it stand still.
fn rights_on_source(capture: &Capture, transformed: &Transformed, choices: Choices) -> Vec<Right> {
    let mut on_a = Vec::new();
    if !capture.volumes.is_empty() {
        let saving = VolumeMove::saving(
            capture,
            choices.unprivileged,
            choices.grouping,
            Knowledge::builtin(),
        );
        let ways: Vec<Consistency> = saving.iter().map(|volume| volume.consistency).collect();
        let freezes = Freezes {
            claims: ways.iter().any(|way| way.is_snapshot()),
            groups: ways.contains(&Consistency::Together),
            clones: ways.contains(&Consistency::Clone),
        };
        let namespaces = capture.volumes.iter();
        let namespaces = namespaces.filter_map(|volume| volume.claim.namespace.as_deref());
        on_a.extend(match choices.unprivileged.source {
            false => rights::to_move(freezes),
            true => rights::to_move_beside(namespaces, freezes),
        });
    }
    if choices.purpose == Purpose::Cutover {
        let held = plan::quiesced(capture, Knowledge::builtin());
        on_a.extend(rights::to_hold(held.keys(), &capture.surface));
        if choices.switch_hosts {
            let exposed = plan::exposed(capture, Knowledge::builtin());
            on_a.extend(rights::to_hold(exposed.keys(), &capture.surface));
        }
        let hooked = plan::hooked(capture, transformed, Moment::BeforeHold);
        on_a.extend(rights::to_run_hooks(hooked.iter().map(SmolStr::as_str)));
    }
    on_a
}

/// The objects' rights on B, and the movers'.
fn rights_on_target(
    capture: &Capture,
    transformed: &Transformed,
    choices: Choices,
    surface: &Surface,
) -> Vec<Right> {
    let mut on_b = rights::to_apply(&transformed.objects, surface);
    if !capture.volumes.is_empty() {
        let claims = capture.volumes.iter();
        let claims = claims.map(|volume| transformed.on_b(&volume.claim));
        let namespaces = claims.filter_map(|claim| claim.namespace.as_deref());
        on_b.extend(match choices.unprivileged.target {
            // B's volumes are made of snapshots then.
            false => rights::to_move(Freezes {
                claims: choices.shared_storage && plan::takes_snapshots(surface),
                ..Freezes::default()
            }),
            true => rights::to_move_beside(namespaces, Freezes::default()),
        });
    }
    if choices.purpose != Purpose::Sync {
        let hooked = plan::hooked(capture, transformed, Moment::AfterRelease);
        on_b.extend(rights::to_run_hooks(hooked.iter().map(SmolStr::as_str)));
    }
    on_b
}

/// The graph of a capture by itself, after recipes. Without a B, what A offers is what can be relied
/// on: its surface, and what `live` finds when the cluster is at hand.
///
/// # Errors
/// When a recipe does not fit, objects need each other in a circle, or the cluster does not answer.
pub async fn graph_of(
    capture: &Capture,
    recipes: &[Recipe],
    live: Option<&Cluster>,
    events: &Events,
) -> Result<Graph, PipelineError> {
    let knowledge = Knowledge::builtin();
    let transformed = transformed(capture, recipes, knowledge, events)?;
    let mut on_a: BTreeSet<ObjectId> = capture.surface.objects.iter().map(Object::id).collect();
    let mapped = capture.dropped.iter();
    let mapped = mapped.filter(|dropped| dropped.class == DropClass::Mapped);
    on_a.extend(mapped.map(|dropped| dropped.id.clone()));
    let graph = draw(capture, &transformed, &on_a, knowledge)?;
    let Some(cluster) = live else {
        return Ok(graph);
    };
    on_a.extend(look_up(cluster, &capture.surface, &graph).await?);
    Ok(draw(capture, &transformed, &on_a, knowledge)?)
}

/// The hosts by which A is reached, which B is to take as they are.
fn switched_hosts(capture: &Capture, knowledge: &Knowledge) -> Vec<HostPattern> {
    let exposed = plan::exposed(capture, knowledge).into_values();
    let hosts = exposed.flat_map(|(_, hosts)| hosts);
    hosts
        .filter_map(|host| HostPattern::parse(&host).ok())
        .collect()
}

/// What recipes make of a capture's objects.
///
/// # Errors
/// When a recipe does not fit.
pub fn transformed(
    capture: &Capture,
    recipes: &[Recipe],
    knowledge: &Knowledge,
    events: &Events,
) -> Result<Transformed, TransformErrors> {
    transformed_but(capture, recipes, Vec::new(), knowledge, events)
}

/// The same, but for hosts that stay as they are.
fn transformed_but(
    capture: &Capture,
    recipes: &[Recipe],
    keeps: Vec<HostPattern>,
    knowledge: &Knowledge,
    events: &Events,
) -> Result<Transformed, TransformErrors> {
    let objects: Vec<Object> = capture
        .objects
        .iter()
        .map(|one| one.object.clone())
        .collect();
    let source = Source {
        keeps,
        ..Source::of(capture, &objects)
    };
    let transformed = transform::apply_to(&source, recipes, knowledge)?;
    let changed: BTreeSet<&ObjectId> = transformed
        .changes
        .iter()
        .map(|change| &change.object)
        .collect();
    let mut summary = format!(
        "{} in {}",
        plural(transformed.changes.len(), "change"),
        plural(changed.len(), "object"),
    );
    if !transformed.lookalikes.is_empty() {
        summary.push_str(&format!(
            ", {} left alone",
            plural(transformed.lookalikes.len(), "look-alike")
        ));
    }
    events.finished(Stage::Transform, summary);
    Ok(transformed)
}

/// Adds the definitions that the capture uses and B lacks to what travels.
fn bring_definitions(capture: &mut Capture, surface: &Surface, knowledge: &Knowledge) {
    let wanted = |dropped: &Dropped| {
        dropped.rule == "C-10" && surface.find(CRD.0, CRD.1, &dropped.id.name).is_none()
    };
    let (brought, stay): (Vec<Dropped>, Vec<Dropped>) = std::mem::take(&mut capture.dropped)
        .into_iter()
        .partition(wanted);
    capture.dropped = stay;
    for dropped in brought {
        match capture.surface.find(CRD.0, CRD.1, &dropped.id.name) {
            Some(raw) => capture.objects.push(Captured {
                object: capture::sanitise(raw, &knowledge.sanitize),
                raw: raw.clone(),
                owners: Vec::new(),
            }),
            None => capture.dropped.push(dropped),
        }
    }
    capture.objects.sort_by_cached_key(|one| one.object.id());
}

/// Draws the graph with B's names.
fn draw(
    capture: &Capture,
    transformed: &Transformed,
    on_b: &BTreeSet<ObjectId>,
    knowledge: &Knowledge,
) -> Result<Graph, GraphError> {
    let moved = |id: &ObjectId| {
        let mut id = transformed.on_b(id).clone();
        if let Some(name) = id
            .namespace
            .as_ref()
            .and_then(|name| transformed.namespaces.get(name.as_str()))
        {
            id.namespace = Some(name.into());
        }
        id
    };
    let produced: Vec<Dropped> = capture
        .dropped
        .iter()
        .map(|dropped| Dropped {
            id: moved(&dropped.id),
            produced_by: dropped.produced_by.as_ref().map(moved),
            ..dropped.clone()
        })
        .collect();
    let owners: BTreeMap<ObjectId, Vec<Owner>> = transformed
        .from(&capture.objects)
        .filter(|(captured, _)| !captured.owners.is_empty())
        .map(|(captured, object)| {
            let owners = captured.owners.iter().map(|owner| Owner {
                id: moved(&owner.id),
                ..owner.clone()
            });
            (object.id(), owners.collect())
        })
        .collect();
    let crds: Vec<Object> = capture.surface.of_kind(CRD.0, CRD.1).cloned().collect();
    graph::build(&GraphInput {
        objects: &transformed.objects,
        crds: &crds,
        produced: &produced,
        owners: &owners,
        on_b,
        knowledge,
    })
}

/// Which of the graph's missing objects are on B after all.
async fn look_up(
    target: &Cluster,
    surface: &Surface,
    graph: &Graph,
) -> Result<Vec<ObjectId>, ClusterError> {
    let mut found = Vec::new();
    for id in graph.missing().into_keys() {
        let Some(resource) = surface.resource(&id.group_kind(), None) else {
            continue;
        };
        let place = Place {
            resource,
            namespace: id.namespace.as_deref(),
            name: &id.name,
        };
        match target.get(place).await {
            Ok(Some(_)) => found.push(id.clone()),
            Ok(None) => {}
            Err(error) if error.is_forbidden() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

impl PipelineError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => error.help(),
            Self::Transform(_) => None,
            Self::Graph(_) => Some("leave one of them out, or apply it by hand first".into()),
        }
    }

    /// Whose fault it is, as an exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Cluster(error) => error.exit(),
            Self::Transform(_) => Exit::Input,
            Self::Graph(_) => Exit::Blocked,
        }
    }
}
