//! Long work on the store: telling how far it is, and stopping it when the user asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Failure;
use super::context::Context;
use crate::event::{Direction, Event};
use crate::exit::Exit;
use crate::mover::{self, Trouble};
use crate::repository::Progress;

/// How often progress is told.
const TELL: Duration = Duration::from_millis(500);

/// How work ends that the user asked to stop.
fn stopped() -> Failure {
    Failure::job(
        Trouble::new(Exit::Incomplete, "stopped as asked"),
        "run the same command again: it goes on where it was",
    )
}

/// Waits for work that can be left at any point, unless the user asks to stop.
pub(super) async fn unless_stopped<T, E>(
    context: &Context,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    tokio::select! {
        done = work => Ok(done?),
        () = context.cancel.cancelled() => Err(stopped()),
    }
}

/// Waits for work that counts in `progress`, and tells it as that of `name`. When the user asks to stop, the work is
/// asked to, and what it ends with then is told as that.
pub(super) async fn watched<T>(
    context: &Context,
    name: &str,
    direction: Direction,
    progress: Arc<Progress>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let started = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut tick = tokio::time::interval(TELL);
    let mut asked = false;
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            () = context.cancel.cancelled(), if !asked => {
                asked = true;
                progress.cancel();
            }
            _ = tick.tick() => context.events.send(Event::Volume {
                claim: name.to_owned(),
                direction,
                progress: mover::snapshot(&progress),
            }),
        }
    };
    if asked && ended.is_err() {
        return Err(stopped());
    }
    let done = ended?;
    context.events.send(Event::VolumeFinished {
        claim: name.to_owned(),
        direction,
        progress: mover::snapshot(&progress),
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(done)
}
