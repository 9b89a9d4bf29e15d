//! `ferry recipe`: check recipes before they meet a capture.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::context::Context;
use crate::exit::Exit;
use crate::pipeline::LoadedRecipe;
use crate::report::palette::{Role, paint};
use crate::report::units::plural;
use crate::transform::Recipe;

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
}

#[derive(Serialize)]
struct Linted {
    file: PathBuf,
    transforms: usize,
}

impl RecipeCommand {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self::Lint { files } = self;
        let mut linted = Vec::new();
        let mut wrong = None;
        for file in files {
            match load(&file) {
                Ok(recipe) => linted.push(Linted {
                    file,
                    transforms: recipe.recipe.entries.len(),
                }),
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
}

/// Reads and parses one recipe file.
pub(super) fn load(file: &Path) -> Result<LoadedRecipe, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::input(
            format!("cannot read the recipe {}: {error}", file.display()),
            "name a recipe file with -r",
        )
    })?;
    let name = file.display().to_string();
    let recipe = Recipe::parse(&name, &text)?;
    let digest = crate::repository::Id::of(text.as_bytes()).to_string();
    Ok(LoadedRecipe {
        recipe,
        name,
        digest,
    })
}
