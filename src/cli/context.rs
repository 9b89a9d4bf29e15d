//! What commands share: the report, the kubeconfig, and the ways to open a store and a cluster.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::cluster::{Cluster, ConnectOptions};
use crate::event::Events;
use crate::report::Report;

/// Handed to every command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) report: Report,
    pub(crate) events: Events,
    pub(crate) cancel: CancellationToken,
    kubeconfig: Option<PathBuf>,
}

impl Context {
    pub(super) fn new(report: Report, kubeconfig: Option<PathBuf>) -> Self {
        Self {
            report,
            events: report.events(),
            cancel: cancel_on_signals(),
            kubeconfig,
        }
    }

    /// Connects to the cluster of a kubeconfig context.
    pub(crate) async fn cluster(&self, context: &str) -> Result<Cluster, Failure> {
        let options = ConnectOptions {
            context: Some(context.to_owned()),
            kubeconfig: self.kubeconfig.clone(),
        };
        Ok(Cluster::connect(&options).await?)
    }
}

/// The first Ctrl-C or SIGTERM asks the pipeline to stop where it can be resumed; the second ends it.
fn cancel_on_signals() -> CancellationToken {
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        if interrupted().await {
            crate::report::talk("stopping where the run can be resumed; once more to stop at once");
            asked.cancel();
        }
        if interrupted().await {
            std::process::exit(130);
        }
    });
    token
}

/// Waits for Ctrl-C or SIGTERM; false when signals cannot be watched.
async fn interrupted() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return false;
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.is_ok(),
        received = terminated.recv() => received.is_some(),
    }
}
