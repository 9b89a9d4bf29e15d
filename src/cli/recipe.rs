//! `ferry recipe`: everything about recipes but using them.

mod explain;
mod lint;
mod list;
mod new;
mod test;

use clap::Subcommand;

use super::Failure;
use super::context::Context;
use crate::exit::Exit;
use crate::transform::grammar;

/// Check, test and explain recipes
#[derive(Debug, Subcommand)]
pub(super) enum RecipeCommand {
    /// Read recipes and report every mistake with its line, and what is likely not meant
    ///
    /// Exits with 0 when nothing is wrong, 5 when something is.
    ///
    /// Example: `ferry recipe lint recipe.yaml --to prod-b`
    Lint(lint::LintArgs),
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
    /// List the recipes that come with Ferry
    ///
    /// Example: `ferry recipe list`, then `ferry plan latest --to prod-b -r builtin:NAME`
    List,
    /// Write a recipe to begin with, from a capture and what the target offers
    ///
    /// Names found in the capture are in it; what only you can decide waits in comments.
    ///
    /// Example: `ferry recipe new latest --to prod-b --out shop.yaml`
    New(new::NewArgs),
    /// Print the JSON Schema of recipes, for editors
    ///
    /// Example: `ferry recipe schema > recipe.schema.json`
    Schema,
}

impl RecipeCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Lint(args) => args.run(context).await,
            Self::Test(args) => args.run(context),
            Self::Explain(args) => args.run(context).await,
            Self::List => list::run(context),
            Self::New(args) => args.run(context).await,
            Self::Schema => {
                // JSON whatever the output: it is for a file.
                context.report.text(&format!("{:#}", grammar::schema()));
                Ok(Exit::Done)
            }
        }
    }
}
