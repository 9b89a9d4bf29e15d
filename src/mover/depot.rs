//! The depot's pod and the pod that tries to reach it: what they are told, and their last words.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{JOB, TERMINATION, terminated};
use crate::causes::in_one_line;
use crate::data::depot::{self, Attempt, PORT};
use crate::exit::Exit;

/// Where a depot finds what lets others in.
pub(crate) const DEPOT_SECRETS: &str = "/depot/secrets/depot.json";
/// Where a depot finds its claim.
pub(crate) const DEPOT_FOLDER: &str = "/depot/volume";
/// The folder in it that is served: the claim's own root may hold a file system's `lost+found`.
const STORE: &str = "store";

/// Options of `ferry mover depot`, which only pods call.
#[derive(Debug, clap::Args)]
pub struct DepotArgs {
    /// What lets others in
    #[arg(long, default_value = DEPOT_SECRETS)]
    secrets: PathBuf,
    /// Where the claim is
    #[arg(long, default_value = DEPOT_FOLDER)]
    folder: PathBuf,
    /// Where to leave a failure for the kubelet
    #[arg(long, default_value = TERMINATION)]
    result: PathBuf,
}

/// Options of `ferry mover reach`, which only pods call.
#[derive(Debug, clap::Args)]
pub struct ReachArgs {
    /// What to try
    #[arg(long, default_value = JOB)]
    job: PathBuf,
    /// Where to leave what came of it for the kubelet
    #[arg(long, default_value = TERMINATION)]
    result: PathBuf,
}

/// Serves a folder until the kubelet asks it to end.
pub async fn depot(args: DepotArgs) -> Exit {
    let DepotArgs {
        secrets,
        folder,
        result,
    } = args;
    let served = async {
        let secrets = read(&secrets)?;
        let served = depot::serve(&secrets, &folder.join(STORE), PORT).await;
        served.map_err(|error| {
            format!(
                "the depot's claim cannot be served: {}; name another class with --direct-storage-class",
                in_one_line(&error)
            )
        })
    };
    tokio::select! {
        served = served => match served {
            Ok(()) => Exit::Done,
            Err(reason) => {
                leave(&result, &reason);
                Exit::Refused
            }
        },
        () = terminated() => Exit::Done,
    }
}

/// Tries to reach a depot and says what came of it.
pub async fn reach(args: ReachArgs) -> Exit {
    let ReachArgs { job, result } = args;
    let (words, exit) = match read::<Attempt>(&job) {
        Ok(attempt) => {
            let attempts = attempt.run().await;
            (
                serde_json::to_string(&attempts).unwrap_or_default(),
                Exit::Done,
            )
        }
        Err(reason) => (reason, Exit::Input),
    };
    leave(&result, &words);
    exit
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    // The message of serde_json shows positions and names of fields and never their values.
    serde_json::from_str(&text)
        .map_err(|error| format!("{} cannot be understood: {error}", path.display()))
}

fn leave(path: &Path, words: &str) {
    if let Err(error) = std::fs::write(path, words) {
        tracing::warn!(path = %path.display(), %error, words, "cannot leave the result");
    }
}
