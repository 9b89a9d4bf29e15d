//! A store that was there and is away for a while: a server that is restarted or hangs, a network that is mended.
//!
//! All calls of a repository share one [`Outage`]. It begins with a call that nobody answers and ends when every such call
//! was answered; that one other call gets through meanwhile does not end it.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long such a store is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// From when on that is told; a call has been tried several times then.
const TELL: Duration = Duration::from_secs(5);
/// From when on it is told that no call is answered and none fails: a network of 5 Mbit/s needs that long for the packs that
/// are on their way at a time.
const SILENCE: Duration = Duration::from_secs(120);
/// How long one call may last when nobody wants to wait any more: enough to tidy up in a store that is there.
const LAST: Duration = Duration::from_secs(10);

/// Who hears of an outage: why the store is waited for, and `None` when it is there again.
type Listener = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// Whether a repository's calls wait for its store, and who wants to know.
#[derive(Clone)]
pub(crate) struct Outage(Arc<State>);

struct State {
    /// How long the first answer may take.
    first: Duration,
    now: Mutex<Now>,
    listener: OnceLock<Listener>,
    stop: OnceLock<CancellationToken>,
}

#[derive(Default)]
struct Now {
    /// When the store answered anybody for the last time.
    heard: Option<Instant>,
    /// Calls that are made again and again.
    failing: usize,
    /// Why the store is waited for, in words, once that is worth telling.
    reason: Option<String>,
    /// Whether it was waited for in vain, and has not answered since.
    given_up: bool,
}

impl Outage {
    /// None yet, of a store that is given so long for its first answer.
    pub(super) fn new(first: Duration) -> Self {
        Self(Arc::new(State {
            first,
            now: Mutex::default(),
            listener: OnceLock::new(),
            stop: OnceLock::new(),
        }))
    }

    /// Tells one listener from now on; the first one named counts.
    pub(crate) fn tell(&self, listener: impl Fn(Option<&str>) + Send + Sync + 'static) {
        self.0.listener.get_or_init(|| Box::new(listener));
    }

    /// Waits for the store no longer once that is cancelled; the first one named counts.
    pub(crate) fn heed(&self, stop: CancellationToken) {
        self.0.stop.get_or_init(|| stop);
    }

    /// Why the store is waited for, while it is.
    pub(crate) fn reason(&self) -> Option<String> {
        self.now().reason.clone()
    }

    /// Whether the store was ever there.
    pub(super) fn reached(&self) -> bool {
        self.now().heard.is_some()
    }

    /// Whether the store answered anybody since.
    pub(super) fn heard_since(&self, then: Instant) -> bool {
        self.now().heard.is_some_and(|heard| heard > then)
    }

    /// A call was answered.
    pub(super) fn answered(&self) {
        let mut now = self.now();
        now.heard = Some(Instant::now());
        if now.failing == 0 {
            now.given_up = false;
            self.say(&mut now, None);
        }
    }

    /// A call that began then was not answered, and is made again.
    pub(super) fn begin(&self, then: Instant) -> Away {
        self.now().failing += 1;
        Away {
            outage: self.clone(),
            then,
            tries: 0,
        }
    }

    /// Waits for the answer to a call, and tells it if nothing at all comes.
    ///
    /// # Errors
    /// The call's, and a timeout when it takes longer than anybody waits.
    pub(super) async fn attend<T>(
        &self,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let (mut call, mut limit) = (pin!(call), pin!(self.limit()));
        let mut next = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                biased;
                answer = &mut call => return answer,
                limit = &mut limit => return Err(late(limit)),
                () = sleep_until(next) => next = self.listen(next),
            }
        }
    }

    /// Tells it if the store has been silent until `then`; returns when to listen again.
    fn listen(&self, then: Instant) -> Instant {
        let mut now = self.now();
        match now.heard.map(|heard| heard + SILENCE) {
            Some(later) if later > then => later,
            _ => {
                let silent = format!("no answer for {} seconds", SILENCE.as_secs());
                self.say(&mut now, Some(silent));
                then + SILENCE
            }
        }
    }

    /// Ends when a call lasts too long for a store that was never there, or that nobody waits for any more; returns how
    /// long that is.
    async fn limit(&self) -> Duration {
        let (reached, given_up) = {
            let now = self.now();
            (now.heard.is_some(), now.given_up)
        };
        let limit = if reached { LAST } else { self.0.first };
        if reached && !given_up {
            self.stopped().await;
        }
        sleep(limit).await;
        limit
    }

    /// Waits until the user asks to stop.
    async fn stopped(&self) {
        match self.0.stop.get() {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        let now = self.0.now.lock();
        now.unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that an outage begins or ends; of one that lasts, the first reason counts.
    fn say(&self, now: &mut Now, reason: Option<String>) {
        if now.reason.is_some() == reason.is_some() {
            return;
        }
        now.reason = reason;
        if let Some(listener) = self.0.listener.get() {
            listener(now.reason.as_deref());
        }
    }
}

/// A call that was not answered in the time anybody waits for it.
fn late(limit: Duration) -> object_store::Error {
    let source = format!("no answer within {} seconds", limit.as_secs());
    object_store::Error::Generic {
        store: "store",
        source: Box::new(HttpError::new_boxed(HttpErrorKind::Timeout, source.into())),
    }
}

/// A call that nobody answers. Dropped when it was answered, or is not made again.
pub(super) struct Away {
    outage: Outage,
    then: Instant,
    tries: u32,
}

impl Away {
    /// Whether the call is to be made once more after it was not answered for that reason. False: it has been tried for
    /// too long, and twice at least, or another one was; whoever tidies up after it does not wait as long again.
    pub(super) fn goes_on(&mut self, reason: impl FnOnce() -> String) -> bool {
        let stop = self.outage.0.stop.get();
        if stop.is_some_and(CancellationToken::is_cancelled) {
            return false;
        }
        self.tries += 1;
        let so_long = self.then.elapsed();
        let mut now = self.outage.now();
        if so_long >= PATIENCE && self.tries > 1 {
            now.given_up = true;
        } else if so_long >= TELL && now.reason.is_none() {
            self.outage.say(&mut now, Some(reason()));
        }
        !now.given_up
    }

    /// Waits before the call is made once more, but no longer than the user does.
    pub(super) async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.outage.stopped() => {}
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.outage.now().failing -= 1;
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outage").field(&self.reason()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use object_store::memory::InMemory;
    use tokio::runtime::Handle;

    use super::super::backend::Backend;
    use super::super::error::Error;
    use super::*;

    type Told = Arc<Mutex<Vec<Option<String>>>>;

    /// A backend whose store was there, and what it tells.
    async fn reached() -> (Backend, Told) {
        let backend = backend();
        let told = Told::default();
        let theirs = told.clone();
        let note = move |reason: Option<&str>| theirs.lock().unwrap().push(reason.map(Into::into));
        backend.outage().tell(note);
        answer(&backend).await;
        (backend, told)
    }

    fn backend() -> Backend {
        let store = Arc::new(InMemory::new());
        Backend::new(store, Handle::current(), Duration::from_secs(30))
    }

    async fn answer(backend: &Backend) {
        let answer = || async { Ok(()) };
        backend.retry("read", "x", answer).await.unwrap();
    }

    fn broken(kind: HttpErrorKind, text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(kind, std::io::Error::other(text))),
        }
    }

    fn refused() -> object_store::Error {
        broken(HttpErrorKind::Connect, "connection refused")
    }

    /// A fault of the server's own, which is an answer.
    fn confused() -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: "500 Internal Server Error".into(),
        }
    }

    /// How long a call is tried that always ends so, in seconds.
    async fn tried(backend: &Backend, error: fn() -> object_store::Error) -> u64 {
        let begun = Instant::now();
        let call = || async { Err::<(), _>(error()) };
        backend.retry("write", "x", call).await.unwrap_err();
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_there_is_waited_for_once_and_that_is_told() {
        let never = backend();
        assert_eq!(tried(&never, refused).await, 0, "it was never there");
        let (backend, told) = reached().await;
        let waited = tried(&backend, refused).await;
        let limit = PATIENCE.as_secs();
        assert!((limit..limit + 11).contains(&waited), "{waited} s");
        let again = tried(&backend, refused).await;
        assert_eq!(again, 0, "whoever tidies up does not wait again");
        answer(&backend).await;
        assert_eq!(
            *told.lock().unwrap(),
            [Some("connection refused".into()), None]
        );
        assert!(tried(&backend, refused).await >= limit, "it was back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_swallows_everything_is_waited_for_too() {
        let (backend, told) = reached().await;
        let begun = Instant::now();
        let call = || async {
            sleep(Duration::from_secs(20)).await;
            match begun.elapsed().as_secs() {
                0..200 => Err(broken(HttpErrorKind::Timeout, "deadline has elapsed")),
                _ => Ok(()),
            }
        };
        backend.retry("write", "x", call).await.unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            [Some("no answer came in time".into()), None]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_for_as_long_as_anybody_waits_is_made_once_more() {
        let (backend, _) = reached().await;
        let calls = AtomicUsize::new(0);
        let call = || async {
            if calls.fetch_add(1, Ordering::Relaxed) > 0 {
                return Ok(());
            }
            sleep(PATIENCE).await;
            Err(broken(HttpErrorKind::Timeout, "deadline has elapsed"))
        };
        backend.retry("write", "x", call).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_cut_off_while_others_are_answered_is_no_outage() {
        let (backend, told) = reached().await;
        let call = || async {
            sleep(Duration::from_secs(1)).await;
            answer(&backend).await;
            Err::<(), _>(broken(HttpErrorKind::Interrupted, "connection reset"))
        };
        let begun = Instant::now();
        backend.retry("write", "x", call).await.unwrap_err();
        assert!(begun.elapsed().as_secs() < 10);
        assert!(told.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_slow_while_others_are_answered_is_no_outage() {
        let (backend, told) = reached().await;
        let others = backend.clone();
        let other = tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(30)).await;
                answer(&others).await;
            }
        });
        let calls = AtomicUsize::new(0);
        let call = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(300)).await;
            Err::<(), _>(broken(HttpErrorKind::Timeout, "deadline has elapsed"))
        };
        backend.retry("write", "x", call).await.unwrap_err();
        other.abort();
        assert_eq!(calls.into_inner(), 4);
        assert!(told.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_has_never_said_anything_is_not_waited_for_long() {
        let begun = Instant::now();
        let never = std::future::pending::<object_store::Result<()>>;
        let error = backend().retry("read", "x", never).await.unwrap_err();
        let said = format!("{error:?}");
        assert!(said.contains("no answer within 30 seconds"), "{said}");
        assert_eq!(begun.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_says_nothing_is_told_and_left_when_the_user_asks_to_stop() {
        let (backend, told) = reached().await;
        let stop = CancellationToken::new();
        backend.outage().heed(stop.clone());
        tokio::spawn(async move {
            sleep(Duration::from_secs(200)).await;
            stop.cancel();
        });
        let begun = Instant::now();
        let never = std::future::pending::<object_store::Result<()>>;
        let error = backend.retry("write", "x", never).await.unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{error:?}");
        assert_eq!(begun.elapsed().as_secs(), 210);
        let silent = "no answer for 120 seconds".to_owned();
        assert_eq!(*told.lock().unwrap(), [Some(silent)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_waited_for_no_longer_once_the_user_asked_to_stop() {
        let (backend, _) = reached().await;
        let stop = CancellationToken::new();
        backend.outage().heed(stop.clone());
        tokio::spawn(async move {
            sleep(Duration::from_secs(60)).await;
            stop.cancel();
        });
        assert_eq!(tried(&backend, refused).await, 60);
        answer(&backend).await;
        let again = tried(&backend, refused).await;
        assert_eq!(again, 0, "nor in another outage");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_during_an_outage_does_not_count_when_the_store_is_back() {
        let (backend, _) = reached().await;
        let calls = AtomicUsize::new(0);
        let call = || async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0..9 => Err(refused()),
                9..12 => Err(confused()),
                _ => Ok(()),
            }
        };
        backend.retry("write", "x", call).await.unwrap();
        let limited = tried(&backend, confused).await;
        assert!(limited < 10, "{limited} s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_when_every_call_was_answered_and_not_with_the_first() {
        let (backend, told) = reached().await;
        let begun = Instant::now();
        let call = || async {
            match begun.elapsed().as_secs() {
                0..60 => Err(refused()),
                _ => Ok(()),
            }
        };
        let others = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(2)).await;
                answer(&backend).await;
            }
        };
        let (done, ()) = tokio::join!(backend.retry("read", "y", call), others);
        done.unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            [Some("connection refused".into()), None]
        );
    }
}
