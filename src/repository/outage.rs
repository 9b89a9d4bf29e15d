//! A store that was there and is away for a while: a server that is restarted, a network that is mended.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How long such a store is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);
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

    /// A call has been without an answer for so long, for that reason.
    pub(super) fn lasts(&self, so_long: Duration, reason: impl FnOnce() -> String) {
        if so_long >= TELL {
            self.change(|now| now.is_none().then(|| Some(reason())));
        }
    }

    /// A call was answered.
    pub(super) fn ends(&self) {
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
