//! `ferry recipe`: everything about recipes but using them.

mod explain;
mod test;

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::context::{Context, ValueArgs};
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::report::palette::{Role, paint};
use crate::report::units::plural;
use crate::transform::{self, grammar};

/// Check, test and explain recipes
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
    /// Run recipes on their fixtures and compare with what is expected of them
    ///
    /// Exits with 0 when all cases pass, 3 when one fails, 5 when there is nothing to run.
    ///
    /// Example: `ferry recipe test recipes/`
    Test(test::TestArgs),
    /// Show what recipes change in a capture, rule by rule, and what looks alike and stays
    ///
    /// Example: `ferry recipe explain latest -r recipe.yaml --object Deployment/web`
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of recipes, for editors
    ///
    /// Example: `ferry recipe schema > recipe.schema.json`
    Schema,
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
            Self::Test(args) => args.run(context),
            Self::Explain(args) => args.run(context).await,
            Self::Schema => {
                // JSON whatever the output: it is for a file.
                context.report.text(&format!("{:#}", grammar::schema()));
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
