//! A plan as people and programs review it: on the terminal, as JSON, and as the three files to hand to
//! a reviewer. Values of Secrets are in none of them.

use std::path::Path;

use serde::Serialize;

use super::Failure;
use crate::diff::{self, MaskKey, ObjectDiff};
use crate::exit::Exit;
use crate::finding::Finding;
use crate::graph::{Phase, render};
use crate::hook::Hook;
use crate::object::ObjectId;
use crate::plan::{Action, Need, Plan};
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render as table};
use crate::report::units::plural;
use crate::report::{diff_view, plan_view};
use crate::surface::ClusterIdentity;
use crate::transform::Lookalike;
use crate::whole;

/// A plan ready to be shown.
pub(super) struct Review<'a> {
    plan: &'a Plan,
    lookalikes: &'a [Lookalike],
    diffs: Vec<ObjectDiff>,
}

/// A plan as JSON: everything but the objects' content, which is in the diff.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    capture: &'a str,
    source: &'a ClusterIdentity,
    target: &'a ClusterIdentity,
    namespaces: &'a [(String, String)],
    recipes: &'a [(String, String)],
    pending: usize,
    blocked: bool,
    steps: Vec<ShownStep<'a>>,
    findings: &'a [Finding],
    lookalikes: &'a [Lookalike],
    diff: &'a [ObjectDiff],
}

#[derive(Serialize)]
struct ShownStep<'a> {
    number: u32,
    wave: u32,
    phase: Phase,
    action: &'a str,
    object: &'a ObjectId,
    needs: &'a [Need],
    #[serde(skip_serializing_if = "Option::is_none")]
    hook: Option<&'a Hook>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hosts: &'a [String],
}

impl<'a> Review<'a> {
    /// Prepares a plan to be shown.
    pub(super) fn new(plan: &'a Plan) -> Result<Self, Failure> {
        let key = MaskKey::random().map_err(|error| Failure::plain(Exit::Internal, error))?;
        Ok(Self {
            plan,
            lookalikes: &[],
            diffs: diff::plan(plan, &key),
        })
    }

    /// Adds what the recipes left alone though it looks like what they change (T-11).
    #[must_use]
    pub(super) fn with_lookalikes(mut self, lookalikes: &'a [Lookalike]) -> Self {
        self.lookalikes = lookalikes;
        self
    }

    /// The plan as JSON.
    pub(super) fn document(&self) -> Document<'_> {
        let Plan {
            capture,
            source,
            target,
            namespaces,
            recipes,
            steps,
            findings,
            ..
        } = self.plan;
        let step = |step: &'a crate::plan::Step| ShownStep {
            number: step.number,
            wave: step.wave,
            phase: step.phase,
            action: step.action.word(),
            object: &step.object,
            needs: &step.needs,
            hook: match &step.action {
                Action::Hook(hook) => Some(hook),
                _ => None,
            },
            hosts: match &step.action {
                Action::GiveUp { hosts, .. } => hosts,
                _ => &[],
            },
        };
        Document {
            capture,
            source,
            target,
            namespaces,
            recipes,
            pending: self.plan.pending(),
            blocked: self.plan.blocked(),
            steps: steps.iter().map(step).collect(),
            findings,
            lookalikes: self.lookalikes,
            diff: &self.diffs,
        }
    }

    /// The plan's table and findings, after its diff if that is asked for.
    pub(super) fn text(&self, with_diff: bool) -> String {
        let mut out = String::new();
        if with_diff {
            out.push_str(&diff_view::render(&self.diffs));
        }
        out.push_str(&plan_view::table(self.plan));
        out.push_str(&plan_view::findings(&self.plan.findings));
        out.push_str(&lookalikes(self.lookalikes));
        out.push_str(&self.verdict());
        out
    }

    /// The last line, where the plan itself says how it ends.
    fn verdict(&self) -> String {
        if self.plan.blocked() {
            let blocking = |finding: &&Finding| finding.verdict.blocks();
            let count = self.plan.findings.iter().filter(blocking).count();
            return format!(
                "{} blocked by {}: nothing was written\n",
                paint(Role::Bad, "✗"),
                plural(count, "finding")
            );
        }
        if self.plan.pending() > 0 {
            return String::new();
        }
        let mark = paint(Role::Good, "✓");
        format!("{mark} no changes: the target is as the plan wants it\n")
    }

    /// Writes `plan.txt`, `diff.patch` and `graph.svg` into a folder, made if need be.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let failed = |what: &str, path: &Path, error: std::io::Error| {
            Failure::input(
                format!("cannot {what} {}: {error}", path.display()),
                "name a folder that can be written with --save-report",
            )
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| failed("make the folder", folder, error))?;
        let table = anstream::adapter::strip_str(&self.text(false)).to_string();
        for (name, text) in [
            ("plan.txt", table),
            ("diff.patch", diff::render_plain(&self.diffs)),
            ("graph.svg", render::svg(&self.plan.graph)),
        ] {
            let path = folder.join(name);
            whole::write(&path, text.as_bytes()).map_err(|error| failed("write", &path, error))?;
        }
        Ok(())
    }
}

/// What looks like something a recipe changes and was left alone.
pub(super) fn lookalikes(lookalikes: &[Lookalike]) -> String {
    if lookalikes.is_empty() {
        return String::new();
    }
    let row = |one: &Lookalike| -> Vec<Cell> {
        let object = Cell::new(Role::Name, one.object.to_string());
        vec![
            one.rule.clone().into(),
            object,
            one.path.clone().into(),
            one.excerpt.clone().into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = lookalikes.iter().map(row).collect();
    format!(
        "\nlooks alike and stays as it is:\n{}",
        table(&["RULE", "OBJECT", "PATH", "TEXT"], &rows)
    )
}

/// The object a user means by `KIND/NAME` or `KIND/NAMESPACE/NAME`; kinds in any case. `place` is
/// where the objects are, as in "the graph".
pub(super) fn find<'a>(
    ids: impl Iterator<Item = &'a ObjectId>,
    wanted: &str,
    place: &str,
) -> Result<&'a ObjectId, Failure> {
    let parts: Vec<&str> = wanted.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, name] => (*kind, None, *name),
        [kind, namespace, name] => (*kind, Some(*namespace), *name),
        _ => {
            return Err(Failure::input(
                format!("{wanted:?} names no object"),
                "write KIND/NAME or KIND/NAMESPACE/NAME, as in Deployment/web",
            ));
        }
    };
    let meant = |id: &&ObjectId| {
        let named = id.kind.eq_ignore_ascii_case(kind)
            || id.group_kind().to_string().eq_ignore_ascii_case(kind);
        named && id.name == name && (namespace.is_none() || id.namespace.as_deref() == namespace)
    };
    let found: Vec<&ObjectId> = ids.filter(meant).collect();
    match found.as_slice() {
        [id] => Ok(id),
        [] => Err(Failure::input(
            format!("{place} has no {wanted}"),
            "run the command without naming an object to see what there is",
        )),
        many => {
            let many: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(Failure::input(
                format!("{wanted} may be any of: {}", many.join(", ")),
                "add the namespace, as KIND/NAMESPACE/NAME, or the group, as KIND.GROUP/NAME",
            ))
        }
    }
}
