//! `ferry recipe new`: a recipe to begin with.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::context::{Context, StoreArgs};
use crate::cluster::survey;
use crate::exit::Exit;
use crate::knowledge::Knowledge;
use crate::report::palette::{Role, paint};
use crate::transform::starter;
use crate::whole;

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// The capture's id, or `latest`
    capture: String,
    /// Context of the cluster to restore to: its classes are proposed
    #[arg(long, value_name = "CONTEXT")]
    to: Option<String>,
    /// File to write
    #[arg(
        long = "out",
        short = 'O',
        value_name = "FILE",
        default_value = "recipe.yaml"
    )]
    out: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl NewArgs {
    pub(in crate::cli) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self {
            capture,
            to,
            out,
            force,
            store,
        } = self;
        let taken = || {
            Failure::input(
                format!("{} exists", out.display()),
                "name another file with --out, or overwrite it with --force",
            )
        };
        // Better now than after all the reading.
        if !force && out.exists() {
            return Err(taken());
        }
        let capture = store.open(context).await?.load_capture(&capture).await?;
        let target = match &to {
            Some(to) => Some(survey(&context.cluster(to).await?, &context.events).await?),
            None => None,
        };
        let name = capture.namespaces.join("-");
        let text = starter(&name, &capture, target.as_ref(), Knowledge::builtin());
        let write = if force {
            whole::write
        } else {
            whole::write_new
        };
        match write(&out, text.as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
            Err(error) => {
                return Err(Failure::input(
                    format!("cannot write {}: {error}", out.display()),
                    "name a file that can be written with --out",
                ));
            }
        }
        let mark = paint(Role::Good, "✓");
        context.report.data(&out, || {
            format!(
                "{mark} wrote {}; edit it, then `ferry recipe lint` it\n",
                out.display()
            )
        });
        Ok(Exit::Done)
    }
}
