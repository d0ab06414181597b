//! Whether a cached DEK may still serve, by what is known of the keys that wrap it.

use std::sync::{Arc, PoisonError};

use super::entry::{DecryptEntry, EncryptEntry, Holder};
use super::health::{Condition, KeyHealth};
use super::{Caches, Shared, revoked};
use crate::chunked::Watch;
use crate::error::{Error, ProviderError, ProviderErrorKind, Result};
use crate::provider::KeyState;
use crate::seams::Moment;

/// What a DEK's keys allow at this moment.
pub(super) enum Standing<'a> {
    Good,
    /// Some key has to be asked first.
    Stale,
    /// This key was taken away.
    Gone(&'a Holder),
}

/// A cached DEK on its way through a message, asked before each run of chunks.
#[derive(Clone)]
pub(crate) enum Guard {
    Sealing(Arc<Shared>, Arc<EncryptEntry>),
    Opening(Arc<Shared>, Arc<DecryptEntry>),
}

impl Watch for Guard {
    /// That the keys still allow it. Asks them where it was too long ago.
    fn check(&self) -> Result<()> {
        match self {
            Self::Sealing(shared, entry) => {
                let standing = |at: &At<'_>| shared.sealing_standing(entry, at);
                shared.check(standing, || shared.ask_any(&entry.recipients))
            }
            Self::Opening(shared, entry) => {
                let standing = |at: &At<'_>| shared.opening_standing(entry, at);
                // The envelope's own wraps: also in a forked child, which has no evidence of its parent's.
                shared.check(standing, || shared.open_header(&entry.header).map(drop))
            }
        }
    }
}

/// A moment, and what this process knows at it.
pub(super) struct At<'a> {
    pub(super) now: Moment,
    pub(super) caches: &'a Caches,
}

impl Shared {
    pub(super) fn at_once(&self) -> At<'_> {
        At {
            now: self.clock.now(),
            caches: self.caches(),
        }
    }

    fn check<'a>(
        &self,
        standing: impl Fn(&At<'_>) -> Standing<'a>,
        ask: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        match standing(&self.at_once()) {
            Standing::Good => return Ok(()),
            Standing::Stale => ask()?,
            Standing::Gone(_) => {}
        }
        match standing(&self.at_once()) {
            Standing::Gone(holder) => Err(self.reason(holder)),
            // Asked just now: what it said counts for this moment.
            Standing::Good | Standing::Stale => Ok(()),
        }
    }

    pub(super) fn sealing_standing<'a>(
        &self,
        entry: &'a EncryptEntry,
        at: &At<'_>,
    ) -> Standing<'a> {
        // Wrapped just now is as good as a yes.
        let is_new = at.now.age(entry.usage.since()) < self.freshness.hard;
        self.standing(&entry.recipients, entry.recipients.len(), is_new, at)
    }

    pub(super) fn opening_standing<'a>(
        &self,
        entry: &'a DecryptEntry,
        at: &At<'_>,
    ) -> Standing<'a> {
        // The key that opened it must still be known; another one may be unknown here, but not taken away.
        self.standing(&entry.holders, 1, false, at)
    }

    /// Of the first `must_know` holders a local provider must still know the key. `serves`: whether the DEK does without anybody's yes.
    fn standing<'a>(
        &self,
        holders: &'a [Holder],
        must_know: usize,
        mut serves: bool,
        at: &At<'_>,
    ) -> Standing<'a> {
        let mut is_stale = false;
        for (place, holder) in holders.iter().enumerate() {
            match self.condition(holder, at) {
                Condition::Fresh => serves = true,
                Condition::Unknown => is_stale |= place < must_know,
                Condition::Old => {}
                Condition::Lost => is_stale = true,
                Condition::Gone if self.is_superseded(holder, holders, at) => {}
                Condition::Gone => return Standing::Gone(holder),
            }
        }
        if serves && !is_stale {
            Standing::Good
        } else {
            Standing::Stale
        }
    }

    pub(super) fn condition(&self, holder: &Holder, at: &At<'_>) -> Condition {
        let Some(health) = &holder.health else {
            return match self.local_state(holder) {
                KeyState::Revoked => Condition::Gone,
                KeyState::Unknown => Condition::Unknown,
                KeyState::Active | KeyState::Unavailable => Condition::Fresh,
            };
        };
        if holder.process == at.caches.process {
            health.condition(at.now, &self.freshness)
        } else {
            let health = at.caches.healths.heir_of(health);
            health.condition(at.now, &self.freshness)
        }
    }

    /// Whether the DEK is also wrapped by a newer version of the same key that is still there: then it is that one's to say.
    pub(super) fn is_superseded(&self, holder: &Holder, holders: &[Holder], at: &At<'_>) -> bool {
        holders.iter().any(|other| {
            other.key.same_key(&holder.key)
                && other.wrapped_at > holder.wrapped_at
                && self.condition(other, at) != Condition::Gone
        })
    }

    /// The health of a holder's key in this process; `None` for a local one.
    pub(super) fn health_here(&self, holder: &Holder) -> Option<Arc<KeyHealth>> {
        let health = holder.health.as_ref()?;
        let caches = self.caches();
        Some(if holder.process == caches.process {
            Arc::clone(health)
        } else {
            caches.healths.heir_of(health)
        })
    }

    /// Why a key that is gone is gone.
    pub(super) fn reason(&self, holder: &Holder) -> Error {
        match self.health_here(holder) {
            Some(health) => Error::Provider(health.reason(self.clock.now())),
            None => revoked(&holder.key).into(),
        }
    }

    /// Unwraps what these keys wrapped last, until one of them says yes.
    fn ask_any(&self, holders: &[Holder]) -> Result<()> {
        let mut failure = None;
        for health in holders.iter().filter_map(|h| self.health_here(h)) {
            match self.ask_again(&health) {
                Ok(()) => return Ok(()),
                Err(e) => failure = Some(e),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Drops, and so zeroizes, every cached DEK that may not serve any more.
    pub(super) fn sweep(&self, caches: &Caches) {
        let now = self.clock.now();
        let at = At { now, caches };
        for slot in caches.seal.slots() {
            let current = slot.current.read().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = current.as_ref().map(Arc::clone) else {
                continue;
            };
            drop(current);
            let serves = matches!(self.sealing_standing(&entry, &at), Standing::Good)
                && !entry.usage.is_used_up(&self.policy, now);
            if !serves {
                slot.retire(&entry);
            }
        }
        caches.open.seen.retain(|entry| {
            matches!(self.opening_standing(entry, &at), Standing::Good)
                && !entry.usage.is_used_up(&self.policy, now)
        });
    }
}

/// The error for an envelope of which one key hasn't answered for so long that another one mustn't open it.
pub(super) fn lost(holder: &Holder) -> Error {
    Error::Provider(
        ProviderError::new(
            ProviderErrorKind::Unavailable,
            "it hasn't answered for longer than another key of the envelope may serve in its place; see whether its vault is still there",
        )
        .on_key(&holder.key),
    )
}
