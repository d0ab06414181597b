//! The clock and the generator, so that tests can hold them still. Never public.

use std::time::{Duration, Instant, SystemTime};

use crate::crypto;
use crate::error::{Error, Result};

/// A point in time by two clocks. The monotonic one doesn't count while the machine sleeps, the wall clock can be set:
/// an age is the larger of the two, so that neither a sleep nor a clock set back makes an old key young.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

/// Where the time comes from.
#[derive(Clone)]
pub(crate) enum Clock {
    System,
    /// A fixed start plus these seconds.
    #[cfg(test)]
    Manual(Moment, std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    pub(crate) fn now(&self) -> Moment {
        match self {
            Self::System => Moment {
                monotonic: Instant::now(),
                wall: SystemTime::now(),
            },
            #[cfg(test)]
            Self::Manual(start, seconds) => {
                let passed = Duration::from_secs(seconds.load(std::sync::atomic::Ordering::SeqCst));
                Moment {
                    monotonic: start.monotonic + passed,
                    wall: start.wall + passed,
                }
            }
        }
    }

    pub(crate) fn age(&self, since: Moment) -> Duration {
        let now = self.now();
        let wall = now.wall.duration_since(since.wall).unwrap_or_default();
        now.monotonic
            .saturating_duration_since(since.monotonic)
            .max(wall)
    }

    /// A clock at `unix_seconds` that moves when the counter does.
    #[cfg(test)]
    pub(crate) fn manual(
        unix_seconds: u64,
    ) -> (Self, std::sync::Arc<std::sync::atomic::AtomicU64>) {
        let start = Moment {
            monotonic: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds),
        };
        let seconds = std::sync::Arc::default();
        (
            Self::Manual(start, std::sync::Arc::clone(&seconds)),
            seconds,
        )
    }
}

impl Moment {
    /// Seconds since 1970; 0 for a clock that is set before.
    pub(crate) fn unix_seconds(self) -> u64 {
        self.wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    }
}

/// Where random bytes come from.
pub(crate) enum Random {
    System,
    /// SHA-256(seed, counter), for golden vectors.
    #[cfg(test)]
    Fixed {
        seed: u8,
        counter: std::sync::atomic::AtomicU64,
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
                    let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    block.copy_from_slice(
                        &crypto::sha256(&[&[*seed], &n.to_be_bytes()])[..block.len()],
                    );
                }
                Ok(())
            }
        }
    }
}
