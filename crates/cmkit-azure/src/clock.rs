//! Time, so that tests need not wait for it.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    /// Seconds since 1970.
    fn unix(&self) -> u64;
    fn sleep(&self, time: Duration);
}

pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs())
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}
