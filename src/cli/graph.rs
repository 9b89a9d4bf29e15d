//! `ferry graph`: what refers to what, as text or a picture.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::Failure;
use super::context::{Context, RecipeArgs, StoreArgs};
use super::show;
use crate::capture::{self, Selection};
use crate::exit::Exit;
use crate::graph::{Edge, Graph, Link, render};
use crate::knowledge::Knowledge;
use crate::object::ObjectId;
use crate::pipeline;
use crate::report::palette::{Role, paint};
use crate::whole;

/// Draw what refers to what
///
/// Example: `ferry graph --from prod -n shop --format svg -O shop.svg`
#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// A capture in the store; or give --from and -n
    #[arg(
        value_name = "CAPTURE",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    capture: Option<String>,
    /// Context of the cluster to look at
    #[arg(long, value_name = "CONTEXT", requires = "namespaces")]
    from: Option<String>,
    /// Namespace to look at; may be given several times
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// The form
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// File to write to instead of stdout
    #[arg(long = "out", short = 'O', value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only this object and what is near it, as KIND/NAME or KIND/NAMESPACE/NAME
    #[arg(long, value_name = "KIND/NAME")]
    focus: Option<String>,
    /// How many references away from --focus
    #[arg(long, default_value_t = 2)]
    depth: u32,
    /// Why this object travels: the shortest chain of references that leads to it
    #[arg(long, value_name = "KIND/NAME", conflicts_with_all = ["focus", "impact"])]
    why: Option<String>,
    /// What would not work without this object
    #[arg(long, value_name = "KIND/NAME", conflicts_with = "focus")]
    impact: Option<String>,
    #[command(flatten)]
    recipes: RecipeArgs,
    /// The store of CAPTURE: a folder, or s3://, az:// or gs://bucket/prefix with its cloud's usual variables
    #[arg(long, value_name = "URL", env = "FERRY_STORE")]
    store: Option<String>,
    /// File whose first line is the store's password; or set FERRY_PASSWORD
    #[arg(long, value_name = "FILE", env = "FERRY_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A tree for the terminal
    #[default]
    Text,
    /// Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture that needs nothing else
    Svg,
    /// For other programs
    Json,
}

/// The chain or the surroundings of one object.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Why(Vec<&'a Edge>),
    Impact(Vec<Link>),
}

impl GraphArgs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            capture,
            from,
            namespaces,
            format,
            out,
            focus,
            depth,
            why,
            impact,
            recipes,
            store,
            password_file,
        } = self;
        let recipes = recipes.load()?;
        let source = match &from {
            Some(from) => Some(context.cluster(from).await?),
            None => None,
        };
        let capture = match (&source, capture) {
            (Some(source), _) => {
                let selection = Selection {
                    namespaces,
                    ..Selection::default()
                };
                capture::take(source, &selection, Knowledge::builtin(), &context.events).await?
            }
            (None, Some(id)) => {
                let store = store.ok_or_else(|| {
                    Failure::input(
                        "no store was named",
                        "say where the capture is with --store, or look at a cluster with --from",
                    )
                })?;
                StoreArgs {
                    store,
                    password_file,
                }
                .open(context)
                .await?
                .load_capture(&id)
                .await?
            }
            (None, None) => {
                return Err(Failure::input(
                    "nothing to look at",
                    "name a capture, or --from and -n",
                ));
            }
        };
        let mut graph =
            pipeline::graph_of(&capture, &recipes, source.as_ref(), &context.events).await?;
        if let Some(name) = why {
            let id = find(&graph, &name)?;
            let chain = Answer::Why(graph.why(&id));
            context.report.data(&chain, || explain(&id, &chain));
            return Ok(Exit::Done);
        }
        if let Some(name) = impact {
            let id = find(&graph, &name)?;
            let reached = Answer::Impact(graph.impact(&id));
            context.report.data(&reached, || explain(&id, &reached));
            return Ok(Exit::Done);
        }
        if let Some(name) = focus {
            graph = graph.focus(&find(&graph, &name)?, depth);
        }
        let format = if context.report.is_json() {
            Format::Json
        } else {
            format
        };
        let text = match format {
            Format::Text => render::text(&graph),
            Format::Dot => render::dot(&graph),
            Format::Mermaid => render::mermaid(&graph),
            Format::Svg => render::svg(&graph),
            Format::Json => render::json(&graph),
        };
        match out {
            None => context.report.text(&text),
            Some(path) => whole::write(&path, text.as_bytes()).map_err(|error| {
                Failure::input(
                    format!("cannot write {}: {error}", path.display()),
                    "name a file that can be written",
                )
            })?,
        }
        Ok(Exit::Done)
    }
}

fn find(graph: &Graph, wanted: &str) -> Result<ObjectId, Failure> {
    let ids = graph.nodes.iter().map(|node| &node.id);
    show::find(ids, wanted, "the graph").cloned()
}

fn explain(id: &ObjectId, answer: &Answer<'_>) -> String {
    let edge = |edge: &Edge| {
        format!(
            "{} {} ({}{})",
            edge.from,
            paint(Role::Dim, "needs"),
            edge.rule,
            at(&edge.path)
        )
    };
    match answer {
        Answer::Why(chain) if chain.is_empty() => {
            format!("nothing refers to {id}; it is captured for itself")
        }
        Answer::Why(chain) => {
            let lines: String = chain
                .iter()
                .map(|link| format!("{}\n", edge(link)))
                .collect();
            format!("{lines}{}", paint(Role::Name, id))
        }
        Answer::Impact(links) if links.is_empty() => {
            format!("nothing needs {id} to be created or to run")
        }
        Answer::Impact(links) => links
            .iter()
            .map(|link| {
                format!(
                    "{}{}\n",
                    "  ".repeat(link.distance.saturating_sub(1) as usize),
                    edge(&link.edge)
                )
            })
            .collect(),
    }
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" at {path}")
    }
}
