//! `ferry recipe`: check recipes before they meet a capture.

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use super::context::{Context, RecipeArgs, StoreArgs, ValueArgs};
use super::show::lookalikes;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline;
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render};
use crate::report::units::plural;
use crate::transform;
use crate::transform::explain::Explanation;

/// Check recipes
#[derive(Debug, Subcommand)]
pub(super) enum RecipeCommand {
    /// Read recipes and report every mistake with its line
    ///
    /// Example: `ferry recipe lint recipe.yaml`
    Lint {
        /// The recipe files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
        #[command(flatten)]
        values: ValueArgs,
    },
    /// Show what recipes change in a capture, rule by rule, and what looks alike and stays
    ///
    /// Example: `ferry recipe explain latest -r recipe.yaml`
    Explain {
        /// The capture's id, or `latest`
        capture: String,
        #[command(flatten)]
        recipes: RecipeArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Serialize)]
struct Linted {
    file: String,
    transforms: usize,
}

impl RecipeCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Lint { files, values } => lint(context, files, &values),
            Self::Explain {
                capture,
                recipes,
                store,
            } => {
                let recipes = recipes.load()?;
                let capture = store.open().await?.load_capture(&capture).await?;
                let knowledge = Knowledge::builtin();
                let transformed =
                    pipeline::transformed(&capture, &recipes, knowledge, &context.events)?;
                let explanation = transform::explain(&transformed);
                context.report.data(&explanation, || explain(&explanation));
                Ok(Exit::Done)
            }
        }
    }
}

fn lint(context: &Context, files: Vec<String>, values: &ValueArgs) -> Result<Exit, Failure> {
    let values = values.read()?;
    let mut linted = Vec::new();
    let mut wrong = None;
    for file in files {
        match transform::load(std::slice::from_ref(&file), &values) {
            Ok(recipes) => {
                for recipe in &recipes {
                    for advice in transform::lint(recipe, None, Knowledge::builtin()) {
                        context.report.error(&advice);
                    }
                }
                linted.push(Linted {
                    file,
                    transforms: recipes.iter().map(|recipe| recipe.entries.len()).sum(),
                });
            }
            Err(errors) => {
                if let Some(earlier) = wrong.replace(Failure::from(errors)) {
                    context.report.error(&*earlier.error);
                }
            }
        }
    }
    if let Some(failure) = wrong {
        return Err(failure);
    }
    context.report.data(&linted, || {
        let line = |recipe: &Linted| {
            let size = plural(recipe.transforms, "transform");
            format!("{} {}: {size}\n", paint(Role::Good, "✓"), recipe.file)
        };
        linted.iter().map(line).collect()
    });
    Ok(Exit::Done)
}

fn explain(explanation: &Explanation) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for rule in &explanation.rules {
        for change in &rule.changes {
            rows.push(vec![
                rule.rule.clone().into(),
                Cell::new(Role::Name, change.object.to_string()),
                change.path.clone().into(),
                Cell::new(Role::Bad, short(&change.before)),
                Cell::new(Role::Good, short(&change.after)),
            ]);
        }
    }
    let changes = render(&["RULE", "OBJECT", "PATH", "BEFORE", "AFTER"], &rows);
    format!("{changes}{}", lookalikes(&explanation.lookalikes))
}

/// A value on one line, cut where a table would break.
fn short(value: &Value) -> String {
    const WIDTH: usize = 48;
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
        .replace('\n', "⏎");
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
