//! A store that was there and is away for a while: a server that is restarted, a network that is mended.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long such a store is waited for.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// From when on that is told; a call has been tried several times then.
const TELL: Duration = Duration::from_secs(5);

/// Who hears of an outage: why the store is waited for, and `None` when it is there again.
type Listener = Box<dyn Fn(Option<&str>) + Send + Sync>;

/// Whether a repository's calls wait for its store, and who wants to know.
#[derive(Clone, Default)]
pub(crate) struct Outage(Arc<State>);

#[derive(Default)]
struct State {
    /// Why, in words, once that is worth telling.
    reason: Mutex<Option<String>>,
    listener: OnceLock<Listener>,
    /// Whether it was waited for in vain, and has not answered since.
    given_up: AtomicBool,
    /// Whether nobody wants to wait any more.
    hurried: AtomicBool,
}

impl Outage {
    /// Tells one listener from now on; the first one named counts.
    pub(crate) fn tell(&self, listener: impl Fn(Option<&str>) + Send + Sync + 'static) {
        self.0.listener.get_or_init(|| Box::new(listener));
    }

    /// Why the store is waited for, while it is.
    pub(crate) fn reason(&self) -> Option<String> {
        let reason = self.0.reason.lock();
        reason.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call has been without an answer for so long, for that reason. False: that was too long, for this call or for
    /// another one; whoever tidies up after it does not wait once more.
    pub(super) fn goes_on(&self, so_long: Duration, reason: impl FnOnce() -> String) -> bool {
        if so_long >= PATIENCE {
            self.0.given_up.store(true, Ordering::Relaxed);
        } else if so_long >= TELL {
            self.change(|now| now.is_none().then(|| Some(reason())));
        }
        !self.0.given_up.load(Ordering::Relaxed) && !self.0.hurried.load(Ordering::Relaxed)
    }

    /// Waits for the store no longer, from now on: the user asked to stop.
    pub(crate) fn hurry(&self) {
        self.0.hurried.store(true, Ordering::Relaxed);
    }

    /// A call was answered.
    pub(super) fn ends(&self) {
        self.0.given_up.store(false, Ordering::Relaxed);
        self.change(|now| now.is_some().then_some(None));
    }

    fn change(&self, next: impl FnOnce(&Option<String>) -> Option<Option<String>>) {
        let mut now = self.0.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = next(&now) {
            if let Some(tell) = self.0.listener.get() {
                tell(next.as_deref());
            }
            *now = next;
        }
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outage").field(&self.reason()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::client::{HttpError, HttpErrorKind};
    use object_store::memory::InMemory;
    use tokio::runtime::Handle;
    use tokio::time::Instant;

    use super::super::backend::Backend;
    use super::*;

    fn refused() -> object_store::Error {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        object_store::Error::Generic {
            store: "S3",
            source: Box::new(HttpError::new(HttpErrorKind::Connect, cause)),
        }
    }

    /// How long a call to a store that is away is tried, in seconds.
    async fn patience(backend: &Backend) -> u64 {
        let begun = Instant::now();
        let call = || async { Err::<(), _>(refused()) };
        backend.retry("write", "x", call).await.unwrap_err();
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_was_there_is_waited_for_once_and_that_is_told() {
        let backend = Backend::new(Arc::new(InMemory::new()), Handle::current());
        let told: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let theirs = told.clone();
        let note = move |reason: Option<&str>| theirs.lock().unwrap().push(reason.map(Into::into));
        backend.outage().tell(note);
        assert_eq!(patience(&backend).await, 0, "it was never there");
        let answer = || async { Ok(()) };
        backend.retry("write", "x", answer).await.unwrap();
        let waited = patience(&backend).await;
        let limit = PATIENCE.as_secs();
        assert!((limit..limit + 11).contains(&waited), "{waited} s");
        assert_eq!(
            patience(&backend).await,
            0,
            "whoever tidies up does not wait again"
        );
        backend.retry("write", "x", answer).await.unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            [Some("connection refused".into()), None]
        );
        assert!(patience(&backend).await >= limit, "it was there again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_is_waited_for_no_longer_once_the_user_asked_to_stop() {
        let backend = Backend::new(Arc::new(InMemory::new()), Handle::current());
        let answer = || async { Ok(()) };
        backend.retry("write", "x", answer).await.unwrap();
        let user = backend.outage().clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            user.hurry();
        });
        let waited = patience(&backend).await;
        assert!((60..72).contains(&waited), "{waited} s");
        backend.retry("write", "x", answer).await.unwrap();
        assert_eq!(patience(&backend).await, 0, "nor in another outage");
    }
}
