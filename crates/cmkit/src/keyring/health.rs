//! What a keyring knows of a remote key version: whether it works, since when, and when to ask again.
//!
//! ```text
//! Active -> Unavailable -> Active    passing faults
//! Active, Unavailable -> Revoked     a definite no
//! Revoked -> Active                  only by a real unwrap, tried every 30 to 60 s
//! ```
//!
//! A version that has neither unwrapped anything nor wrapped for this keyring is *untracked*: its failures concern the message at hand alone, so that a
//! made-up version in a hostile envelope changes nothing.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::flight::Flight;
use super::freshness::Freshness;
use crate::crypto;
use crate::error::{ProviderError, ProviderErrorKind};
use crate::key_id::KeyId;
use crate::provider::{KeyState, WrapAlgorithm};
use crate::seams::{Moment, SharedMoment};

/// Between two tries of a key that was taken away, and half of that again by chance.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// The longest pause after a passing fault; the first is one second.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// One key version's health.
pub(crate) struct KeyHealth {
    pub(super) key: KeyId,
    /// The provider's place in the keyring.
    pub(super) provider: usize,
    state: AtomicU8,
    /// When the last successful unwrap was sent.
    yes: SharedMoment,
    /// When trouble began for a key that never gave a yes.
    trouble: SharedMoment,
    inner: Mutex<Inner>,
    /// For asking again: one thread asks, others wait for the answer.
    pub(super) flight: Flight,
}

#[derive(Default)]
struct Inner {
    /// Changes of state so far. A reply to a call begun before the last one is dropped.
    changes: u64,
    /// What the key wrapped last, to be unwrapped again.
    evidence: Option<Evidence>,
    /// When to unwrap it again.
    refresh: Option<Timer>,
    /// When a key in trouble may be tried again.
    retry: Option<Timer>,
    /// Whether somebody is trying a key in trouble.
    trying: bool,
    failures: u32,
    reason: Option<ProviderError>,
}

/// A wrapped DEK; not secret.
#[derive(Clone)]
pub(super) struct Evidence {
    pub(super) algorithm: WrapAlgorithm,
    pub(super) wrapped: Vec<u8>,
}

/// Due when `wait` has passed since `from`.
#[derive(Clone, Copy)]
pub(super) struct Timer {
    from: Moment,
    wait: Duration,
}

impl Timer {
    pub(super) fn new(from: Moment, wait: Duration) -> Self {
        Self { from, wait }
    }

    /// How long there is left.
    pub(super) fn left(&self, now: Moment) -> Duration {
        self.wait.saturating_sub(now.age(self.from))
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.left(now).is_zero()
    }
}

/// What a key version is good for at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Said yes within the hard bound.
    Fresh,
    /// Not heard of within the hard bound: it must be asked.
    Old,
    /// A local key that its provider doesn't know.
    Unknown,
    /// Not heard of for so long that another key mustn't serve in its place.
    Lost,
    /// Taken away.
    Gone,
}

/// A call under way.
#[derive(Default)]
pub(super) struct Ticket {
    changes: u64,
    pub(super) sent: Moment,
    /// Whether it is the one try of a key in trouble.
    is_try: bool,
}

/// How a call changed a key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// To this state.
    To(KeyState),
    /// The state changed while the call was under way: its answer doesn't count.
    Overtaken,
}

impl KeyHealth {
    pub(super) fn new(key: KeyId, provider: usize) -> Self {
        Self {
            key,
            provider,
            state: AtomicU8::new(encode(KeyState::Unknown)),
            yes: SharedMoment::default(),
            trouble: SharedMoment::default(),
            inner: Mutex::default(),
            flight: Flight::default(),
        }
    }

    /// `Unknown` for an untracked one.
    pub(super) fn state(&self) -> KeyState {
        match self.state.load(Ordering::Acquire) {
            1 => KeyState::Active,
            2 => KeyState::Unavailable,
            3 => KeyState::Revoked,
            _ => KeyState::Unknown,
        }
    }

    pub(super) fn last_yes(&self) -> Option<Moment> {
        self.yes.get()
    }

    /// Takes no lock, so that it can be asked for each chunk, and in a forked child.
    pub(super) fn condition(&self, now: Moment, bounds: &Freshness) -> Condition {
        match self.state() {
            KeyState::Revoked => return Condition::Gone,
            KeyState::Unknown => return Condition::Old,
            _ => {}
        }
        let age = match (self.yes.get(), self.trouble.get()) {
            (Some(yes), _) => now.age(yes),
            // Never a yes: it counts from when it was first asked for one.
            (None, Some(trouble)) if now.age(trouble) >= bounds.failover => return Condition::Lost,
            (None, _) => return Condition::Old,
        };
        if age < bounds.hard {
            Condition::Fresh
        } else if age < bounds.failover {
            Condition::Old
        } else {
            Condition::Lost
        }
    }

    /// Lets a call go out. A key in trouble is tried by one thread at a time, and not at once again: until then, why it is in trouble.
    pub(super) fn admit(&self, now: Moment) -> Result<Ticket, ProviderError> {
        let mut inner = self.lock();
        let in_trouble = matches!(self.state(), KeyState::Unavailable | KeyState::Revoked);
        if in_trouble {
            let wait = inner.retry.map_or(Duration::ZERO, |r| r.left(now));
            if inner.trying || !wait.is_zero() {
                return Err(self.refusal(&inner, wait));
            }
            inner.trying = true;
        }
        Ok(Ticket {
            changes: inner.changes,
            sent: now,
            is_try: in_trouble,
        })
    }

    /// Why it is taken away or out of reach.
    pub(super) fn reason(&self, now: Moment) -> ProviderError {
        let inner = self.lock();
        let wait = inner.retry.map_or(Duration::ZERO, |r| r.left(now));
        self.refusal(&inner, wait)
    }

    fn refusal(&self, inner: &Inner, wait: Duration) -> ProviderError {
        let mut error = inner.reason.clone().unwrap_or_else(|| {
            // Known from the parent of a forked process, which kept why.
            if self.state() == KeyState::Revoked {
                return super::revoked(&self.key);
            }
            ProviderError::new(
                ProviderErrorKind::Unavailable,
                "it hasn't answered for longer than this keyring allows",
            )
            .on_key(&self.key)
        });
        if error.retryable {
            let wait = wait.max(Duration::from_secs(1));
            error.retry_after = Some(error.retry_after.map_or(wait, |r| r.min(wait)));
        }
        error
    }

    /// A wrap of this version succeeded: now it is a wrapping key, and there is something to ask it for.
    pub(super) fn wrapped(&self, sent: Moment, evidence: Evidence, bounds: &Freshness) {
        let mut inner = self.lock();
        if self.state() == KeyState::Unknown {
            self.change(&mut inner, KeyState::Active);
            self.trouble.set(sent);
        }
        inner.evidence = Some(evidence);
        if inner.refresh.is_none() {
            inner.refresh = Some(Timer::new(sent, jittered(bounds.soft)));
        }
    }

    /// An unwrap succeeded. Heals whatever trouble there was.
    pub(super) fn said_yes(
        &self,
        ticket: &Ticket,
        now: Moment,
        evidence: impl FnOnce() -> Evidence,
        bounds: &Freshness,
    ) -> Change {
        let mut inner = self.lock();
        if ticket.is_try {
            inner.trying = false;
        }
        if inner.changes != ticket.changes {
            return Change::Overtaken;
        }
        // A later call may have answered before.
        if self
            .yes
            .get()
            .is_none_or(|yes| now.age(ticket.sent) <= now.age(yes))
        {
            self.yes.set(ticket.sent);
            inner.refresh = Some(Timer::new(ticket.sent, jittered(bounds.soft)));
        }
        inner.evidence = Some(evidence());
        (inner.retry, inner.failures, inner.reason) = (None, 0, None);
        if self.state() == KeyState::Active {
            return Change::None;
        }
        self.change(&mut inner, KeyState::Active);
        Change::To(KeyState::Active)
    }

    /// An unwrap failed.
    pub(super) fn failed(&self, ticket: &Ticket, now: Moment, error: &ProviderError) -> Change {
        let mut inner = self.lock();
        if ticket.is_try {
            inner.trying = false;
        }
        if inner.changes != ticket.changes {
            return Change::Overtaken;
        }
        let state = self.state();
        let new = match verdict(error.kind) {
            _ if state == KeyState::Unknown => return Change::None,
            Verdict::OfTheMessage => {
                // The next try is as good as this one.
                return Change::None;
            }
            Verdict::Passing if state == KeyState::Revoked => KeyState::Revoked,
            Verdict::Passing => KeyState::Unavailable,
            Verdict::DefiniteNo => KeyState::Revoked,
        };
        inner.failures = inner.failures.saturating_add(1);
        let wait = match new {
            KeyState::Revoked => PROBE_EVERY + scaled(PROBE_EVERY, chance()),
            _ => pause(inner.failures, error.retry_after),
        };
        inner.retry = Some(Timer::new(now, wait));
        // A fault on the way to a key that was taken away is no news of the key.
        if !(state == KeyState::Revoked && verdict(error.kind) == Verdict::Passing) {
            inner.reason = Some(error.clone());
        }
        if new == state {
            return Change::None;
        }
        self.change(&mut inner, new);
        Change::To(new)
    }

    /// A call ended without an answer, by a panic.
    pub(super) fn abandon(&self, ticket: &Ticket) {
        if ticket.is_try {
            self.lock().trying = false;
        }
    }

    pub(super) fn evidence(&self) -> Option<Evidence> {
        self.lock().evidence.clone()
    }

    /// How long until it is to be asked again; `None` when there is nothing to ask it for.
    pub(super) fn due_in(&self, now: Moment) -> Option<Duration> {
        let inner = self.lock();
        inner.evidence.as_ref()?;
        let timer = match self.state() {
            KeyState::Active => inner.refresh,
            KeyState::Unavailable | KeyState::Revoked => inner.retry,
            _ => None,
        };
        timer.map(|t| t.left(now))
    }

    /// What a forked child takes over of its parent's, without a lock of it.
    pub(super) fn inherit(&self, parent: &KeyHealth) {
        if let Some(yes) = parent.yes.get() {
            self.yes.set(yes);
        }
        if let Some(trouble) = parent.trouble.get() {
            self.trouble.set(trouble);
        }
        self.state
            .store(parent.state.load(Ordering::Acquire), Ordering::Release);
    }

    fn change(&self, inner: &mut Inner, to: KeyState) {
        inner.changes += 1;
        self.state.store(encode(to), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The key was taken away.
    DefiniteNo,
    /// Nothing is known of the key.
    Passing,
    /// The key is as it was.
    OfTheMessage,
}

pub(super) fn verdict(kind: ProviderErrorKind) -> Verdict {
    use ProviderErrorKind as Kind;
    match kind {
        Kind::NotFound | Kind::Deleted | Kind::Disabled | Kind::Denied | Kind::WrongVault => {
            Verdict::DefiniteNo
        }
        Kind::Rejected | Kind::Unusable | Kind::Policy => Verdict::OfTheMessage,
        Kind::Throttled | Kind::Unavailable | Kind::Identity | Kind::Other => Verdict::Passing,
    }
}

/// The pause after so many failures in a row: 1, 2, 4 ... 32 s, give or take a fifth, and no less than the provider asks for within that.
pub(super) fn pause(failures: u32, asked: Option<Duration>) -> Duration {
    let seconds = 1_u64 << failures.saturating_sub(1).min(5);
    jittered(Duration::from_secs(seconds))
        .max(asked.unwrap_or_default())
        .min(LONGEST_PAUSE)
}

/// Give or take a fifth.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration * 4 / 5 + scaled(duration * 2 / 5, chance())
}

fn scaled(duration: Duration, of_256: u8) -> Duration {
    duration * u32::from(of_256) / 256
}

/// Any number: so that many nodes don't ask at once. No secret hangs on it.
fn chance() -> u8 {
    let mut byte = [128];
    let _ = crypto::random(&mut byte);
    byte[0]
}

fn encode(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 1,
        KeyState::Unavailable => 2,
        KeyState::Revoked => 3,
        KeyState::Unknown => 0,
    }
}
