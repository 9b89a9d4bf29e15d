//! Waiting for what somebody else does: a controller, a kubelet, a driver.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The first pause and the longest. Most of what is waited for is there within a tenth of a second, and a save waits
/// for a dozen such things in a row; what takes longer takes much longer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(300));

/// A wait that looks often at first.
pub(super) struct Wait {
    begun: Instant,
    pause: Duration,
}

impl Wait {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            pause: PAUSES.0,
        }
    }

    /// How long it has been.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Pauses until it is time for another look.
    pub(super) async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 3 / 2).min(PAUSES.1);
    }
}

/// A complaint that has to stand for a while before it is believed: who complains tries again by itself.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    since: Option<Instant>,
}

impl Doubt {
    /// The complaint, once there has been one at every look for longer than `limit`.
    pub(super) fn believed<T>(&mut self, complaint: Option<T>, limit: Duration) -> Option<T> {
        let Some(complaint) = complaint else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        (since.elapsed() > limit).then_some(complaint)
    }
}
