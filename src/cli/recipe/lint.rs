//! `ferry recipe lint`: what is wrong with recipes, and what is likely not meant.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use miette::{Diagnostic, Severity};
use serde::Serialize;

use crate::capture::Capture;
use crate::cli::Failure;
use crate::cli::context::{Context, StoreArgs, ValueArgs};
use crate::cluster::survey;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::report::palette::{Role, paint};
use crate::report::units::plural;
use crate::transform::fault::{Advice, Spot};
use crate::transform::lint::schema::{TypeSchema, of_definitions, of_document, wanted};
use crate::transform::{self, Against, Fault, Recipe, RecipeErrors};

#[derive(Debug, Args)]
pub(in crate::cli) struct LintArgs {
    /// The recipe files, or builtin:NAME
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    values: ValueArgs,
    /// Also whether all of them together fit this capture: its id, or `latest`
    #[arg(long, value_name = "CAPTURE", requires = "store")]
    capture: Option<String>,
    /// Also whether patches fit the types of this cluster, a context
    #[arg(long, value_name = "CONTEXT")]
    to: Option<String>,
    /// Fail on advice too
    #[arg(long)]
    strict: bool,
    /// The store of --capture: a folder, or s3://, az:// or gs://bucket/prefix with its cloud's usual variables
    #[arg(long, value_name = "URL", env = "FERRY_STORE")]
    store: Option<String>,
    /// File whose first line is the store's password; or set FERRY_PASSWORD
    #[arg(long, value_name = "FILE", env = "FERRY_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
}

/// What is to be said of one recipe.
#[derive(Serialize)]
struct Linted {
    file: String,
    transforms: usize,
    hooks: usize,
    problems: Vec<Problem>,
}

/// One problem as JSON.
#[derive(Serialize)]
struct Problem {
    severity: &'static str,
    message: String,
    help: Option<String>,
    places: Vec<Spot>,
}

impl LintArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let values = self.values.read()?;
        let mut read = Vec::new();
        for file in &self.files {
            read.push(transform::load(std::slice::from_ref(file), &values));
        }
        let sound: Vec<Recipe> = read.iter().flatten().flatten().cloned().collect();
        let capture = self.capture(context, &sound).await?;
        let schemas = self.schemas(context, &sound, capture.as_ref()).await?;
        let mut linted: Vec<Linted> = Vec::new();
        for (file, read) in self.files.iter().zip(&read) {
            let faults = match read {
                Ok(recipes) => {
                    let against = Against {
                        capture: None,
                        schemas: &schemas,
                    };
                    transform::lint(recipes, against, Knowledge::builtin())
                }
                Err(errors) => errors.faults.clone(),
            };
            let recipes: Vec<&Recipe> = read.iter().flatten().collect();
            tell(context, file, &faults);
            linted.push(Linted::new(file, &recipes, &faults));
        }
        // Recipes of one command act together, so what fits the capture is said of all of them.
        if let Some(capture) = &capture
            && read.iter().all(Result::is_ok)
        {
            let faults = fitting(&sound, capture);
            tell(context, &self.files.join(", "), &faults);
            linted.push(Linted::new(&self.files.join(", "), &[], &faults));
        }
        context
            .report
            .data(&linted, || linted.iter().map(shown).collect());
        let wrong = |problem: &Problem| self.strict || problem.severity == "error";
        let failed = linted.iter().flat_map(|one| &one.problems).any(wrong);
        Ok(if failed { Exit::Input } else { Exit::Done })
    }

    async fn capture(
        &self,
        context: &Context,
        sound: &[Recipe],
    ) -> Result<Option<Capture>, Failure> {
        let (Some(id), Some(store), false) = (&self.capture, &self.store, sound.is_empty()) else {
            return Ok(None);
        };
        let store = StoreArgs {
            store: store.clone(),
            password_file: self.password_file.clone(),
        };
        Ok(Some(store.open(context).await?.load_capture(id).await?))
    }

    /// The types that patches are about, as A (when captured) and B have them.
    async fn schemas(
        &self,
        context: &Context,
        recipes: &[Recipe],
        capture: Option<&Capture>,
    ) -> Result<Vec<TypeSchema>, Failure> {
        let mut schemas = capture.map_or_else(Vec::new, |one| of_definitions(&one.surface));
        let Some(to) = &self.to else {
            return Ok(schemas);
        };
        let cluster = context.cluster(to).await?;
        let surface = survey(&cluster, &context.events).await?;
        schemas.extend(of_definitions(&surface));
        let defined: BTreeSet<_> = surface
            .of_kind("apiextensions.k8s.io", "CustomResourceDefinition")
            .filter_map(|one| one.pointer("/spec/group")?.as_str())
            .collect();
        let mut documents = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        for resource in wanted(recipes, &surface) {
            // Definitions say more than what the server publishes of them.
            if !defined.contains(resource.group.as_str()) {
                documents.insert((resource.group.as_str(), resource.version.as_str()));
                kinds.insert(resource.group_kind());
            }
        }
        for (group, version) in documents {
            let document = cluster.openapi(group, version).await?;
            schemas.extend(of_document(cluster.name(), document, &kinds));
        }
        Ok(schemas)
    }
}

/// What keeps the recipes from fitting the capture.
fn fitting(recipes: &[Recipe], capture: &Capture) -> Vec<Fault> {
    let against = Against {
        capture: Some(capture),
        schemas: &[],
    };
    let faults = transform::lint(recipes, against, Knowledge::builtin());
    // Advice was given file by file.
    faults.into_iter().filter(is_error).collect()
}

fn is_error(fault: &Fault) -> bool {
    fault.severity() == Some(Severity::Error)
}

impl Linted {
    fn new(file: &str, recipes: &[&Recipe], faults: &[Fault]) -> Self {
        let problem = |fault: &Fault| Problem {
            severity: match is_error(fault) {
                true => "error",
                false => "warning",
            },
            message: fault.to_string(),
            help: fault.help().map(|help| help.to_string()),
            places: fault.spots(),
        };
        Self {
            file: file.to_owned(),
            transforms: recipes.iter().map(|recipe| recipe.entries.len()).sum(),
            hooks: recipes.iter().map(|recipe| recipe.hooks.len()).sum(),
            problems: faults.iter().map(problem).collect(),
        }
    }
}

/// Draws the problems for people; JSON has them in its document.
fn tell(context: &Context, file: &str, faults: &[Fault]) {
    if context.report.is_json() {
        return;
    }
    let (errors, advice): (Vec<Fault>, Vec<Fault>) = faults.iter().cloned().partition(is_error);
    let name = file.to_owned();
    if !errors.is_empty() {
        let (name, faults) = (name.clone(), errors);
        context.report.error(&RecipeErrors { name, faults });
    }
    if !advice.is_empty() {
        let faults = advice;
        context.report.error(&Advice { name, faults });
    }
}

fn shown(linted: &Linted) -> String {
    if linted.problems.iter().any(|one| one.severity == "error") {
        return String::new();
    }
    let mark = paint(Role::Good, "✓");
    let parts = [(linted.transforms, "transform"), (linted.hooks, "hook")];
    let parts = parts.iter().filter(|(size, _)| *size > 0);
    let parts: Vec<String> = parts.map(|(size, what)| plural(*size, what)).collect();
    match parts.as_slice() {
        [] => String::new(),
        parts => format!("{mark} {}: {}\n", linted.file, parts.join(", ")),
    }
}
