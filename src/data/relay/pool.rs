//! The mover's links: as many as the CLI opened, each lent to one request at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, interval, timeout};

use super::frame::Kind;
use super::link::{Link, LinkError, STALL, Token};

/// An idle link is asked for a sign of life this often: load balancers cut connections that are
/// silent for some minutes.
const IDLE: Duration = Duration::from_secs(15);
/// How long a request waits for the CLI to come back. A resumed run starts movers of its own, so
/// waiting longer would only keep a claim busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// Links that wait for work.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    idle: Mutex<Vec<(Link, Instant)>>,
    /// One permit for each idle link.
    available: Semaphore,
}

impl Pool {
    /// A pool without links.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            idle: Mutex::default(),
            available: Semaphore::new(0),
        }))
    }

    /// Takes connections in and keeps idle links alive, for as long as it is polled. A stranger at the
    /// door is turned away without a word.
    pub(crate) async fn listen(&self, listener: &TcpListener, token: &Token) {
        let mut tick = interval(IDLE);
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((wire, _)) = accepted {
                    wire.set_nodelay(true).ok();
                    let (pool, token) = (self.clone(), token.clone());
                    tokio::spawn(async move {
                        match Link::accept(wire, &token).await {
                            Ok(link) => pool.put(link),
                            Err(error) => tracing::warn!(%error, "a relay connection was refused"),
                        }
                    });
                },
                _ = tick.tick() => self.tend(),
            }
        }
    }

    /// Gives a link back, or a new one in.
    pub(super) fn put(&self, link: Link) {
        self.idle().push((link, Instant::now()));
        self.0.available.add_permits(1);
    }

    /// The link used last, which is the likeliest to be alive.
    pub(super) async fn take(&self) -> Option<Link> {
        let permit = timeout(PATIENCE, self.0.available.acquire())
            .await
            .ok()?
            .ok()?;
        permit.forget();
        self.idle().pop().map(|(link, _)| link)
    }

    /// Pings every link that was idle for long; those that do not answer are dropped.
    fn tend(&self) {
        let old: Vec<Link> = {
            let mut idle = self.idle();
            let count = idle
                .iter()
                .filter(|(_, since)| since.elapsed() >= IDLE)
                .count();
            // A permit may be on its way to a waiting request already: take no more than are free.
            let free = (0..count).map_while(|_| self.0.available.try_acquire().ok());
            let taken = free.map(SemaphorePermit::forget).count();
            idle.sort_by_key(|(_, since)| *since);
            idle.drain(..taken).map(|(link, _)| link).collect()
        };
        for mut link in old {
            let pool = self.clone();
            tokio::spawn(async move {
                match ping(&mut link).await {
                    Ok(()) => pool.put(link),
                    Err(error) => tracing::debug!(%error, "an idle relay link is gone"),
                }
            });
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Link, Instant)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ping(link: &mut Link) -> Result<(), LinkError> {
    link.send(Kind::Ping, 0, &[]).await?;
    match link.receive(STALL).await?.kind {
        Kind::Pong => Ok(()),
        _ => Err(LinkError::Garbled("a ping was answered by something else")),
    }
}
