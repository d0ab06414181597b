//! For how long a remote provider's last yes counts.

use std::time::Duration;

use crate::error::{Error, Result};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How often keys of a [remote](crate::KeyProvider::is_remote) provider are asked about, and how soon their DEKs stop serving when no answer comes.
///
/// A key's last *yes* is when its last successful unwrap was sent. Ages are the larger of what the wall clock and the clock since the machine's
/// start say, so that a sleeping machine counts and a clock set back doesn't. Keys of local providers are looked at on each use instead.
///
/// ```
/// use std::time::Duration;
/// use cmkit::Freshness;
///
/// let strict = Freshness::default()
///     .soft(Duration::from_secs(60))
///     .hard(Duration::from_secs(120));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub(crate) soft: Duration,
    pub(crate) hard: Duration,
    pub(crate) failover: Duration,
    pub(crate) poll: Duration,
}

impl Default for Freshness {
    /// Asked again after 5 minutes, let go after 10; another vault serves for 24 hours; the newest version is asked for every hour.
    fn default() -> Self {
        Self {
            soft: 5 * MINUTE,
            hard: 10 * MINUTE,
            failover: 24 * HOUR,
            poll: HOUR,
        }
    }
}

impl Freshness {
    /// A key whose DEKs are in use is asked to unwrap again this long after its last yes, give or take a fifth, by
    /// [`Keyring::maintain`](crate::Keyring::maintain). At least 10 seconds, and less than five sixths of [`hard`](Self::hard). Default: 5 minutes.
    #[must_use]
    pub fn soft(mut self, after: Duration) -> Self {
        self.soft = after;
        self
    }

    /// DEKs stop serving this long after the last yes of their key, and are zeroized at the next call at the latest. One minute to 2 hours. Default: 10 minutes.
    #[must_use]
    pub fn hard(mut self, after: Duration) -> Self {
        self.hard = after;
        self
    }

    /// An envelope for several keys opens by any of them that answers, but no longer than this after the last yes of one that doesn't: a vault that was
    /// deleted looks like one that is out of reach. At least [`hard`](Self::hard), at most 7 days. Default: 24 hours.
    #[must_use]
    pub fn failover(mut self, after: Duration) -> Self {
        self.failover = after;
        self
    }

    /// How often [`Keyring::maintain`](crate::Keyring::maintain) asks for the newest version of wrapping keys and checks it. One minute to 24 hours. Default: one hour.
    #[must_use]
    pub fn poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let within = |what: &str, value: Duration, from: Duration, to: Duration| {
            if (from..=to).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!(
                "Freshness: {what} must be {} to {} seconds",
                from.as_secs(),
                to.as_secs()
            )))
        };
        within("hard", self.hard, MINUTE, 2 * HOUR)?;
        within("soft", self.soft, MINUTE / 6, 2 * HOUR)?;
        within("failover", self.failover, self.hard, 7 * 24 * HOUR)?;
        within("poll", self.poll, MINUTE, 24 * HOUR)?;
        // With its fifth on top, so that an answer comes before the bound.
        if self.soft * 6 / 5 >= self.hard {
            return Err(Error::invalid(
                "Freshness: soft, and a fifth of it, must be less than hard",
            ));
        }
        Ok(())
    }
}
