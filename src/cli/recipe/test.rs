//! `ferry recipe test`: whether recipes still do what their fixtures say.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::diff::MaskKey;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::report::diff_view;
use crate::report::palette::{Role, paint};
use crate::report::units::plural;
use crate::transform::fixture::{self, CaseReport, Outcome, SuiteReport};

#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// Recipes, or folders of recipes; the fixtures of x.yaml are the folders in x.tests
    #[arg(value_name = "FILE|FOLDER", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Write the expectations anew where they are not met; review what changed
    #[arg(long)]
    update: bool,
    /// Fail when no case makes a rule match
    #[arg(long)]
    all_rules: bool,
}

impl TestArgs {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            paths,
            update,
            all_rules,
        } = self;
        let key = MaskKey::random().map_err(|error| Failure::plain(Exit::Internal, error))?;
        let run = |suite: &fixture::Suite| suite.run(update, Knowledge::builtin(), &key);
        let reports: Vec<SuiteReport> = fixture::suites(&paths)?.iter().map(run).collect();
        context
            .report
            .data(&reports, || reports.iter().map(shown).collect());
        let failed = reports
            .iter()
            .any(|report| report.failed() > 0 || (all_rules && !report.unexercised.is_empty()));
        Ok(if failed { Exit::Blocked } else { Exit::Done })
    }
}

fn shown(report: &SuiteReport) -> String {
    let recipe = report.recipe.display();
    let (cases, rules) = (plural(report.cases.len(), "case"), report.rules);
    let (mark, cases) = match report.failed() {
        0 => (paint(Role::Good, "✓"), cases),
        failed => (paint(Role::Bad, "✗"), format!("{failed} of {cases} failed")),
    };
    let matched = rules - report.unexercised.len();
    let mut out = format!(
        "{mark} {recipe}: {cases}, {matched} of {} matched\n",
        plural(rules, "rule")
    );
    out.extend(report.cases.iter().map(case));
    for rule in &report.unexercised {
        let line = format!("line {}: no case makes {} match", rule.line, rule.rule);
        out.push_str(&format!("  {} {line}\n", paint(Role::Warn, "!")));
    }
    out
}

fn case(case: &CaseReport) -> String {
    let name = paint(Role::Name, &case.name);
    let bad = paint(Role::Bad, "✗");
    match &case.outcome {
        Outcome::Passed => String::new(),
        Outcome::Updated { files } => {
            let mark = paint(Role::Warn, "~");
            format!("  {mark} {name}: wrote {}\n", files.join(", "))
        }
        Outcome::Broken { reason } => format!("  {bad} {name}: {reason}\n"),
        Outcome::Failed { objects, texts } => {
            let mut out = format!("  {bad} {name}: - is expected, + is what the recipe makes\n");
            out.push_str(&diff_view::render(objects));
            for text in texts {
                out.push_str(&format!("{}\n", paint(Role::Heading, &text.file)));
                out.push_str(&diff_view::lines(&text.lines));
                out.push('\n');
            }
            out
        }
    }
}
