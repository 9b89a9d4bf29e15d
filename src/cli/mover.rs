//! `ferry mover`: the movers' image, which holds nothing but this binary.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::context::Context;
use crate::exit::Exit;
use crate::image::Image;
use crate::mover::{self, DepotArgs, MoverArgs, ReachArgs};
use crate::report::palette::{Role, paint};

/// Build and push the movers' image
#[derive(Debug, Subcommand)]
pub(super) enum MoverCommand {
    /// Build the image from this very binary and push it; needs no container engine
    ///
    /// Example: `ferry mover push registry.example.com/tools/ferry:0.1`
    Push {
        /// Where to, as REGISTRY/REPOSITORY:TAG
        reference: String,
        /// Speak HTTP without TLS
        #[arg(long)]
        plain_http: bool,
        /// Static binaries to put in, one for each architecture; this one when none is given
        #[arg(long = "binary", value_name = "FILE")]
        binaries: Vec<PathBuf>,
    },
    /// Build the image and write it as an archive for `ctr -n k8s.io images import`
    ///
    /// Example: `ferry mover save ferry.tar registry.example.com/tools/ferry:0.1`
    Save {
        /// The archive to write
        file: PathBuf,
        /// What the image shall be called, as REGISTRY/REPOSITORY:TAG
        reference: String,
        /// Static binaries to put in, one for each architecture; this one when none is given
        #[arg(long = "binary", value_name = "FILE")]
        binaries: Vec<PathBuf>,
    },
    /// Do one job beside a volume; pods call it
    #[command(hide = true)]
    Run(MoverArgs),
    /// Serve a folder to movers; pods call it
    #[command(hide = true)]
    Depot(DepotArgs),
    /// Try to reach a depot; pods call it
    #[command(hide = true)]
    Reach(ReachArgs),
}

#[derive(Serialize)]
struct Made {
    image: String,
}

impl MoverCommand {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let made = match self {
            Self::Push {
                reference,
                plain_http,
                binaries,
            } => {
                let image = Image::build(&binaries_or_own(binaries)?)?;
                Made {
                    image: image.push(&reference, plain_http).await?,
                }
            }
            Self::Save {
                file,
                reference,
                binaries,
            } => {
                Image::build(&binaries_or_own(binaries)?)?.save(&file, &reference)?;
                Made { image: reference }
            }
            Self::Run(args) => return Ok(mover::run(args).await),
            Self::Depot(args) => return Ok(mover::depot(args).await),
            Self::Reach(args) => return Ok(mover::reach(args).await),
        };
        context.report.data(&made, || {
            format!(
                "{} {}\n  use it with {}",
                paint(Role::Good, "✓"),
                made.image,
                paint(Role::Hint, format!("--mover-image {}", made.image)),
            )
        });
        Ok(Exit::Done)
    }
}

fn binaries_or_own(binaries: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    if !binaries.is_empty() {
        return Ok(binaries);
    }
    let own = std::env::current_exe().map_err(|error| Failure::plain(Exit::Internal, error))?;
    Ok(vec![own])
}
