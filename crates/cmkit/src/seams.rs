//! The clock and the generator, so that tests can hold them still. Never public.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::crypto;
use crate::error::{Error, Result};

/// A point in time by two clocks, in nanoseconds. The one that runs since the machine started counts its sleep too but not a restored snapshot's; the
/// wall clock can be set: an age is the larger of the two, so that neither a sleep nor a clock set back makes an old key young.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moment {
    running: u64,
    wall: u64,
}

/// Where the time comes from.
#[derive(Clone)]
pub(crate) enum Clock {
    System,
    /// A fixed start plus these seconds, for the one clock and the other.
    #[cfg(test)]
    Manual(Moment, std::sync::Arc<AtomicU64>, std::sync::Arc<AtomicU64>),
}

impl Clock {
    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => Moment {
                running: running(),
                wall: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0, nanoseconds),
            },
            #[cfg(test)]
            Self::Manual(start, running, wall) => {
                let passed = |seconds: &AtomicU64| seconds.load(Ordering::SeqCst) * SECOND;
                Moment {
                    running: start.running + passed(running),
                    wall: start.wall + passed(wall),
                }
            }
        }
    }

    /// A clock at `unix_seconds` that moves when the counter does.
    #[cfg(test)]
    pub(crate) fn manual(unix_seconds: u64) -> (Self, std::sync::Arc<AtomicU64>) {
        let seconds = std::sync::Arc::<AtomicU64>::default();
        let start = Moment {
            running: SECOND,
            wall: unix_seconds * SECOND,
        };
        let clock = Self::Manual(
            start,
            std::sync::Arc::clone(&seconds),
            std::sync::Arc::clone(&seconds),
        );
        (clock, seconds)
    }

    /// The same with a counter for each of the two clocks: the one that runs, and the one on the wall.
    #[cfg(test)]
    pub(crate) fn manual_apart(
        unix_seconds: u64,
    ) -> (Self, std::sync::Arc<AtomicU64>, std::sync::Arc<AtomicU64>) {
        let (clock, running) = Self::manual(unix_seconds);
        let Self::Manual(start, _, _) = clock else {
            unreachable!("made just now")
        };
        let wall = std::sync::Arc::<AtomicU64>::default();
        let clock = Self::Manual(
            start,
            std::sync::Arc::clone(&running),
            std::sync::Arc::clone(&wall),
        );
        (clock, running, wall)
    }
}

impl Moment {
    /// How long ago `since` was, at this moment.
    pub(crate) fn age(self, since: Moment) -> Duration {
        Duration::from_nanos(
            self.running
                .saturating_sub(since.running)
                .max(self.wall.saturating_sub(since.wall)),
        )
    }

    /// Seconds since 1970; 0 for a clock that is set before.
    pub(crate) fn unix_seconds(self) -> u64 {
        self.wall / SECOND
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_milliseconds(self) -> u64 {
        self.wall / 1_000_000
    }
}

const SECOND: u64 = 1_000_000_000;

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the machine started, its sleep included.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn running() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * SECOND + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Nanoseconds since this process first asked; whether sleep counts is up to the system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn running() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    nanoseconds(START.get_or_init(std::time::Instant::now).elapsed())
}

/// A moment that threads share. One that is read while it is being set is as old as the older of the two.
#[derive(Default)]
pub(crate) struct SharedMoment {
    running: AtomicU64,
    wall: AtomicU64,
}

impl SharedMoment {
    /// A clock that stands at zero, or before 1970, says one nanosecond, since zero is for never.
    pub(crate) fn set(&self, moment: Moment) {
        self.running.store(moment.running.max(1), Ordering::Release);
        self.wall.store(moment.wall.max(1), Ordering::Release);
    }

    /// `None` before it was set.
    pub(crate) fn get(&self) -> Option<Moment> {
        let moment = Moment {
            running: self.running.load(Ordering::Acquire),
            wall: self.wall.load(Ordering::Acquire),
        };
        (moment.running > 0 && moment.wall > 0).then_some(moment)
    }
}

/// Where random bytes come from.
pub(crate) enum Random {
    System,
    /// SHA-256(seed, counter), for golden vectors.
    #[cfg(test)]
    Fixed {
        seed: u8,
        counter: AtomicU64,
    },
}

impl Random {
    pub(crate) fn fill(&self, out: &mut [u8]) -> Result<()> {
        match self {
            Self::System => crypto::random(out).map_err(|_| Error::Internal {
                problem: "the system gave no random bytes; nothing was encrypted",
            }),
            #[cfg(test)]
            Self::Fixed { seed, counter } => {
                for block in out.chunks_mut(32) {
                    let n = counter.fetch_add(1, Ordering::SeqCst);
                    block.copy_from_slice(
                        &crypto::sha256(&[&[*seed], &n.to_be_bytes()])[..block.len()],
                    );
                }
                Ok(())
            }
        }
    }
}
