//! `ferry recipe explain`: which rule touched what, in all objects or in one.

use clap::Args;
use serde_json::Value;

use crate::capture::Capture;
use crate::cli::Failure;
use crate::cli::context::{Context, RecipeArgs, StoreArgs};
use crate::cli::show::{find, lookalikes};
use crate::diff::text_lines;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::pipeline;
use crate::report::diff_view;
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render};
use crate::transform;
use crate::transform::explain::{Explanation, RuleUse};
use crate::yaml;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The capture's id, or `latest`
    capture: String,
    /// Only this object, in full, as KIND/NAME or KIND/NAMESPACE/NAME on the source
    #[arg(long, value_name = "KIND/NAME")]
    object: Option<String>,
    #[command(flatten)]
    recipes: RecipeArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl ExplainArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            capture,
            object,
            recipes,
            store,
        } = self;
        let recipes = recipes.load()?;
        let capture: Capture = store.open(context).await?.load_capture(&capture).await?;
        let knowledge = Knowledge::builtin();
        let transformed = pipeline::transformed(&capture, &recipes, knowledge, &context.events)?;
        let mut explanation = transform::explain(&transformed, &recipes);
        if let Some(wanted) = &object {
            let ids: Vec<_> = capture.objects.iter().map(|one| one.object.id()).collect();
            explanation = explanation.of(find(ids.iter(), wanted, "the capture")?);
        }
        context.report.data(&explanation, || match object {
            Some(_) => one(&explanation),
            None => all(&explanation),
        });
        Ok(Exit::Done)
    }
}

/// Every change, a line each.
fn all(explanation: &Explanation) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for rule in &explanation.rules {
        for change in &rule.changes {
            rows.push(vec![
                rule.rule.clone().into(),
                entry(rule).into(),
                Cell::new(Role::Name, change.object.to_string()),
                change.path.clone().into(),
                Cell::new(Role::Bad, short(&change.before)),
                Cell::new(Role::Good, short(&change.after)),
            ]);
        }
    }
    let mut out = match rows.is_empty() {
        true => "the recipes change nothing\n".to_owned(),
        false => render(
            &["RULE", "ENTRY", "OBJECT", "PATH", "BEFORE", "AFTER"],
            &rows,
        ),
    };
    for idle in &explanation.idle {
        let mark = paint(Role::Warn, "!");
        let (recipe, rule) = (&idle.recipe, &idle.rule);
        out.push_str(&format!("{mark} {recipe}: {rule} matches nothing\n"));
    }
    out.push_str(&lookalikes(&explanation.lookalikes));
    out
}

/// Every change of one object, in full.
fn one(explanation: &Explanation) -> String {
    let mut out = String::new();
    for rule in &explanation.rules {
        for change in &rule.changes {
            let path = match change.path.as_str() {
                "" => "the whole object",
                path => path,
            };
            let by = format!("{} {}", rule.rule, entry(rule));
            out.push_str(&format!(
                "{} {}\n",
                paint(Role::Heading, path),
                paint(Role::Dim, by)
            ));
            let lines = text_lines(&full(&change.before), &full(&change.after));
            out.push_str(&diff_view::lines(&lines));
        }
    }
    if out.is_empty() {
        out.push_str("no rule changes the object\n");
    }
    out.push_str(&lookalikes(&explanation.lookalikes));
    out
}

/// The entry as the user finds it: by its name, or its place in the list.
fn entry(rule: &RuleUse) -> String {
    let RuleUse {
        recipe,
        entry,
        transform,
        name,
        ..
    } = rule;
    match name {
        Some(name) => format!("{recipe}: {name}"),
        None => format!("{recipe}: {transform} (entry {entry})"),
    }
}

/// A value as lines; nothing where there is none.
fn full(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => format!("{text}\n"),
        other => yaml::emit(other).unwrap_or_else(|_| format!("{other:#}\n")),
    }
}

/// A value on one line, cut where a table would break.
fn short(value: &Value) -> String {
    const WIDTH: usize = 48;
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\n', "⏎"),
        other => other.to_string(),
    };
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
