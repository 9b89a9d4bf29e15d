//! The links of who asks, each lent to one request at a time: those the CLI opened to a mover, or those that were
//! opened to a depot.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, interval, sleep, timeout};

use super::frame::Kind;
use super::link::{Link, LinkError, STALL, Token, Wire};

/// An idle link is asked for a sign of life this often: load balancers cut connections that are
/// silent for some minutes.
const IDLE: Duration = Duration::from_secs(15);
/// How long a request waits for the CLI to come back. A resumed run starts movers of its own, so
/// waiting longer would only keep a claim busy.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a request waits for a link to a depot: its container may be starting anew. The engine asks some times.
const DIALLING: Duration = Duration::from_secs(45);
/// Pause before a link is dialled again, doubled up to the second figure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Links that wait for work.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    idle: Mutex<Vec<(Link, Instant)>>,
    /// One permit for each idle link.
    available: Semaphore,
    /// How long a request waits for a link.
    patience: Duration,
    /// Why there is none.
    absence: Mutex<String>,
}

/// What dials for a pool.
struct Dialling<D> {
    pool: Weak<Inner>,
    peer: String,
    token: Token,
    dial: D,
}

impl<D, F, W> Dialling<D>
where
    D: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<W>> + Send,
    W: Wire + 'static,
{
    /// Opens one link, however long it takes, unless nobody uses the pool any more.
    async fn open(&self, slot: OwnedSemaphorePermit) {
        let mut pause = PAUSE.0;
        loop {
            let linked = async {
                let wire = (self.dial)().await?;
                Link::connect(wire, &self.token).await
            };
            let linked = linked.await;
            let Some(pool) = self.pool.upgrade().map(Pool) else {
                return;
            };
            match linked {
                Ok(link) => return pool.put(link.holding(slot)),
                Err(error) => {
                    tracing::debug!(%error, "a link could not be opened");
                    let why = crate::causes::in_one_line(&error);
                    pool.absent(format!("{} does not answer ({why})", self.peer));
                }
            }
            drop(pool);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

impl Pool {
    /// A pool without links.
    pub(crate) fn new() -> Self {
        Self::waiting(PATIENCE, "ferry has not connected")
    }

    fn waiting(patience: Duration, absence: &str) -> Self {
        Self(Arc::new(Inner {
            idle: Mutex::default(),
            available: Semaphore::new(0),
            patience,
            absence: Mutex::new(absence.into()),
        }))
    }

    /// A pool that keeps some links open by itself, over connections that `dial` opens, for as long as anybody has
    /// it. `peer` is who is dialled, for messages.
    pub(crate) fn dialled<D, F, W>(peer: &str, links: usize, token: Token, dial: D) -> Self
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<W>> + Send,
        W: Wire + 'static,
    {
        let pool = Self::waiting(DIALLING, &format!("{peer} has not answered"));
        let slots = Arc::new(Semaphore::new(links));
        let dialling = Arc::new(Dialling {
            pool: Arc::downgrade(&pool.0),
            peer: peer.to_owned(),
            token,
            dial,
        });
        tokio::spawn(async move {
            let mut tick = interval(IDLE);
            loop {
                tokio::select! {
                    slot = Arc::clone(&slots).acquire_owned() => if let Ok(slot) = slot {
                        let dialling = Arc::clone(&dialling);
                        tokio::spawn(async move { dialling.open(slot).await });
                    },
                    _ = tick.tick() => match dialling.pool.upgrade() {
                        Some(pool) => Self(pool).tend(),
                        None => return,
                    },
                }
            }
        });
        pool
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
        let permit = timeout(self.0.patience, self.0.available.acquire())
            .await
            .ok()?
            .ok()?;
        permit.forget();
        self.idle().pop().map(|(link, _)| link)
    }

    /// Why there is no link, and for how long that was waited.
    pub(super) fn absence(&self) -> String {
        let why = self
            .0
            .absence
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        format!("{why} for {} s", self.0.patience.as_secs())
    }

    fn absent(&self, why: String) {
        *self
            .0
            .absence
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = why;
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
