//! `ferry recipe list`: the recipes that come with Ferry.

use serde::Serialize;

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::exit::Exit;
use crate::report::palette::Role;
use crate::report::table::{Cell, render};
use crate::transform::builtin::{PREFIX, RECIPES};
use crate::yaml;

/// One of them.
#[derive(Serialize)]
struct Listed {
    name: String,
    description: String,
    variables: Vec<String>,
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let listed: Vec<Listed> = RECIPES.iter().map(|(name, text)| one(name, text)).collect();
    context.report.data(&listed, || {
        let row = |one: &Listed| -> Vec<Cell> {
            vec![
                Cell::new(Role::Name, one.name.clone()),
                one.variables.join(", ").into(),
                one.description.clone().into(),
            ]
        };
        let rows: Vec<Vec<Cell>> = listed.iter().map(row).collect();
        render(&["NAME", "VARIABLES", "WHAT IT DOES"], &rows)
    });
    Ok(Exit::Done)
}

fn one(name: &str, text: &str) -> Listed {
    // They are sound: a test lints each.
    let recipe = yaml::parse(text).unwrap_or_default();
    let variables = recipe["variables"].as_object();
    Listed {
        name: format!("{PREFIX}{name}"),
        description: recipe["metadata"]["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        variables: variables
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default(),
    }
}
