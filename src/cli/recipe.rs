//! `ferry recipe`: check recipes before they meet a capture.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::Failure;
use super::context::{Context, RecipeArgs, StoreArgs};
use super::show::lookalikes;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline;
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render};
use crate::report::units::plural;
use crate::transform::explain::Explanation;
use crate::transform::{self, Recipe};

/// Check recipes
#[derive(Debug, Subcommand)]
pub(super) enum RecipeCommand {
    /// Read recipes and report every mistake with its line
    ///
    /// Example: `ferry recipe lint recipe.yaml`
    Lint {
        /// The recipe files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
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
    file: PathBuf,
    transforms: usize,
}

impl RecipeCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Lint { files } => lint(context, files),
            Self::Explain {
                capture,
                recipes,
                store,
            } => {
                let recipes = recipes.load(context)?;
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

fn lint(context: &Context, files: Vec<PathBuf>) -> Result<Exit, Failure> {
    let mut linted = Vec::new();
    let mut wrong = None;
    for file in files {
        match load(&file) {
            Ok(recipe) => {
                for advice in transform::lint(&recipe, None, Knowledge::builtin()) {
                    context.report.error(&advice);
                }
                linted.push(Linted {
                    file,
                    transforms: recipe.entries.len(),
                });
            }
            Err(failure) => {
                if let Some(earlier) = wrong.replace(failure) {
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
            format!(
                "{} {}: {size}\n",
                paint(Role::Good, "✓"),
                recipe.file.display()
            )
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

/// Reads and parses one recipe file.
pub(super) fn load(file: &Path) -> Result<Recipe, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::input(
            format!("cannot read the recipe {}: {error}", file.display()),
            "name a recipe file with -r",
        )
    })?;
    Ok(Recipe::parse(&file.display().to_string(), &text)?)
}
