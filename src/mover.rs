//! The mover: this same binary in a short-lived pod, a process beside each volume.
//!
//! ```text
//! job (mounted Secret) ─▶ open store ─▶ engine on the volume ─▶ result: store, termination message, log
//! ```
//!
//! It knows one job, one volume and the repository's master key; it has no Kubernetes account and never
//! learns the password. A pod's log may be cut anywhere and nobody may be listening, so the result is
//! written to the store first, where a later run finds it, then to the pod's termination message,
//! which the kubelet keeps, and only then to the log.

mod depot;
pub(crate) mod engine;
mod job;
mod outcome;
mod report;
mod trouble;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::event::VolumeProgress;
use crate::exit::Exit;
use crate::repository::Progress;

pub(crate) use depot::{DEPOT_FOLDER, DEPOT_SECRETS};
pub use depot::{DepotArgs, ReachArgs, depot, reach};
pub(crate) use job::{Job, Order, StoreAccess, Task};
pub(crate) use outcome::{Done, Outcome};
pub(crate) use report::{Line, read_line};
pub(crate) use trouble::Trouble;

/// Where a pod finds its jobs, one for each container.
pub(crate) const JOBS: &str = "/job";
/// Where a pod finds its job, if there is one alone.
pub(crate) const JOB: &str = "/job/job.json";
/// Where a pod finds its volume: a folder, or a device.
pub(crate) const VOLUME: &str = "/volume";
/// Where a kubelet takes a container's last words from.
pub(crate) const TERMINATION: &str = "/dev/termination-log";

/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// Options of `ferry mover run`, which only pods call.
#[derive(Debug, clap::Args)]
pub struct MoverArgs {
    /// The job description
    #[arg(long, default_value = JOB)]
    job: PathBuf,
    /// Where to leave the result for the kubelet
    #[arg(long, default_value = TERMINATION)]
    result: PathBuf,
}

/// Does the job and says how it went: on standard output line by line, and with the exit code, which
/// is [`Exit::Done`], [`Exit::Input`] for a job that is none, [`Exit::Refused`] for a store that
/// cannot be used, [`Exit::Incomplete`] for data that could not be carried whole.
pub async fn run(args: MoverArgs) -> Exit {
    let MoverArgs { job, result } = args;
    let progress = Arc::new(Progress::default());
    let mut out = report::Writer::new(std::io::stdout());
    let outcome = match job::read(&job) {
        Ok(job) => {
            let work = tokio::spawn(work::run(job, Arc::clone(&progress)));
            watch(work, &progress, &mut out).await
        }
        Err(reason) => Outcome::failed(Exit::Input, reason),
    };
    leave(&result, &outcome);
    out.line(&Line::Outcome(outcome.clone()));
    outcome.exit()
}

/// Tells the progress until the work is over; a pod that is deleted stops it first.
async fn watch(
    mut work: tokio::task::JoinHandle<Outcome>,
    progress: &Progress,
    out: &mut report::Writer<impl std::io::Write>,
) -> Outcome {
    let mut tick = tokio::time::interval(TELL);
    let mut told = None;
    let mut stop = std::pin::pin!(terminated());
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut work => {
                out.line(&Line::Progress(snapshot(progress)));
                return ended.unwrap_or_else(|error| {
                    Outcome::failed(Exit::Internal, format!("a defect in the mover: {error}"))
                });
            }
            _ = tick.tick() => {
                let now = snapshot(progress);
                if let Some(reason) = progress.waits_for_store() {
                    out.line(&Line::Away(reason));
                    told = None;
                } else if told != Some(now) {
                    out.line(&Line::Progress(now));
                    told = Some(now);
                }
            }
            () = &mut stop, if !stopping => {
                stopping = true;
                progress.cancel();
            }
        }
    }
}

/// Waits until the kubelet asks the container to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Leaves the outcome as the container's last words. They are a second way to tell it: the first, in
/// the store, has succeeded already or is itself the failure told here.
fn leave(path: &Path, outcome: &Outcome) {
    if let Err(error) = std::fs::write(path, outcome.to_message()) {
        tracing::warn!(path = %path.display(), %error, "cannot leave the result");
    }
}

/// The figures of this moment.
pub(crate) fn snapshot(progress: &Progress) -> VolumeProgress {
    use std::sync::atomic::Ordering::Relaxed;
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    VolumeProgress {
        files_done: progress.files_done.load(Relaxed),
        bytes_done: progress.bytes_done.load(Relaxed),
        files_total: some(progress.files_total.load(Relaxed)),
        bytes_total: some(progress.bytes_total.load(Relaxed)),
        bytes_stored: progress.bytes_transferred.load(Relaxed),
    }
}

/// Where a mover that stands by finds its order in the store, sealed.
pub(crate) fn order_path(name: &str) -> String {
    format!("state/{name}/order")
}

/// Where a job's outcome is kept in the store, sealed.
pub(crate) fn result_path(job: &str) -> String {
    format!("state/{job}/result")
}
