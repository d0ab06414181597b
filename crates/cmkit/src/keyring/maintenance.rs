//! Asking before it is needed: with this, a DEK in use never waits for its key's provider.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::health::{KeyHealth, Timer, Verdict, jittered, verdict};
use super::{Caches, Keyring, Shared};
use crate::audit::AuditOperation;
use crate::error::{Error, ProviderErrorKind, Result};
use crate::key_id::KeyRef;
use crate::provider::{KeyState, NewestKey, NewestRequest};

/// The longest sleep of a maintenance thread: a key that comes into use meanwhile is asked about long after.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The shortest, so that a provider in trouble doesn't keep it busy.
const SHORTEST_SLEEP: Duration = Duration::from_secs(1);

/// What one round of maintenance did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Maintenance {
    /// Calls to providers that were made.
    pub calls: usize,
    /// What went wrong, at most one error a key. DEKs of keys that were taken away are zeroized already.
    pub problems: Vec<Error>,
    /// When to call again: one second to half a minute.
    pub next: Duration,
}

impl Keyring {
    /// Does what is due: asks remote keys whose DEKs are in use to unwrap again, tries keys in trouble, asks for the newest version of wrapping keys once an
    /// hour, and drops (zeroizes) DEKs that may not serve any more.
    ///
    /// Call it about every [`next`](Maintenance::next), or have [`maintenance_thread`](Self::maintenance_thread) do it. Without, every bound of
    /// [`Freshness`](crate::Freshness) is still kept, on use: what lacks is that keys are asked before a message has to wait for it, and that DEKs of a key that was taken
    /// away are zeroized before the next call. It blocks as long as the providers do; may be called from several threads.
    pub fn maintain(&self) -> Maintenance {
        self.shared().maintain()
    }

    /// A thread that calls [`maintain`](Self::maintain) until its handle is dropped or the keyring is. It sleeps in between.
    ///
    /// A forked child has no such thread: it may ask for one of its own.
    ///
    /// # Errors
    /// * [`Error::Io`]: the system gives no thread.
    pub fn maintenance_thread(&self) -> Result<MaintenanceThread> {
        let stop = Arc::new(Stop::default());
        let (shared, stopped) = (Arc::downgrade(self.shared()), Arc::clone(&stop));
        std::thread::Builder::new()
            .name("cmkit-maintain".into())
            .spawn(move || run(&shared, &stopped))
            .map_err(|e| Error::from_io("start a thread", e))?;
        Ok(MaintenanceThread { stop })
    }
}

/// Keeps a keyring's maintenance going until it is dropped. Dropping doesn't wait for a call under way.
#[must_use = "the thread ends when this is dropped"]
pub struct MaintenanceThread {
    stop: Arc<Stop>,
}

impl Drop for MaintenanceThread {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::SeqCst);
        // So that the bell doesn't ring between the thread's look and its sleep. Not waited for: in a forked child the lock may be held by a thread that
        // isn't there.
        drop(self.stop.sleep.try_lock());
        self.stop.bell.notify_all();
    }
}

impl std::fmt::Debug for MaintenanceThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaintenanceThread")
    }
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    sleep: Mutex<()>,
    bell: Condvar,
}

fn run(shared: &Weak<Shared>, stop: &Stop) {
    loop {
        // Not kept over the sleep: the keyring ends when its last user lets go of it.
        let Some(keyring) = shared.upgrade() else {
            return;
        };
        let next = keyring.round();
        drop(keyring);
        let sleep = stop.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stop
            .bell
            .wait_timeout_while(sleep, next, |()| !stop.asked.load(Ordering::SeqCst));
        if stop.asked.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// When the newest version of each wrapping key was last asked for.
#[derive(Default)]
pub(super) struct Polls(Mutex<Vec<Option<Timer>>>);

impl Shared {
    /// A thread's round of maintenance, and when the next one is due: also after a panic in a provider or an audit sink, which must not end it for good.
    pub(super) fn round(&self) -> Duration {
        let round = std::panic::AssertUnwindSafe(|| self.maintain().next);
        std::panic::catch_unwind(round).unwrap_or(LONGEST_SLEEP)
    }

    fn maintain(&self) -> Maintenance {
        let caches = self.caches();
        let mut done = Maintenance::default();
        self.sweep(caches);
        caches.healths.forget_untracked();
        let mut next = LONGEST_SLEEP;
        for health in caches.healths.tracked() {
            // The map and this loop hold it; else a cached DEK does.
            let in_use = Arc::strong_count(&health) > 2;
            if !in_use && health.state() != KeyState::Revoked {
                continue;
            }
            match health.due_in(self.clock.now()) {
                Some(wait) if wait.is_zero() => {
                    done.calls += 1;
                    if let Err(e) = self.ask_again(&health) {
                        done.problems.push(e);
                    }
                }
                Some(wait) => next = next.min(wait),
                None => {}
            }
        }
        for place in 0..self.wrap_with.len() {
            if let Some(result) = self.poll(caches, place) {
                done.calls += 1;
                done.problems.extend(result.err());
            }
        }
        self.sweep(caches);
        done.next = next.max(SHORTEST_SLEEP);
        done
    }

    /// Asks for the newest version of a wrapping key if that is due; the next DEK is wrapped by it.
    fn poll(&self, caches: &Caches, place: usize) -> Option<Result<()>> {
        let key = &self.wrap_with[place];
        let provider = self.provider_of(key).ok()?;
        // A key that nothing was wrapped with yet is checked when something is, and one that is given with its version has no newer one.
        if key.version().is_some()
            || !self.providers[provider].is_remote()
            || caches.healths.versions_of(key).is_empty()
            || !caches.polls.take(place, self)
        {
            return None;
        }
        Some(self.newest_by(provider, key).map(|newest| {
            let Some(newest) = newest else { return };
            for slot in caches.seal.slots() {
                slot.retire_if(|entry| {
                    let mut recipients = entry.recipients.iter();
                    recipients.any(|h| h.key.same_key(key) && h.key != newest.key)
                });
            }
        }))
    }

    /// The newest version of a key, from its provider. A no makes the versions in use be asked.
    pub(crate) fn newest_by(&self, provider: usize, key: &KeyRef) -> Result<Option<NewestKey>> {
        let result = self.account(
            AuditOperation::Newest,
            provider,
            key,
            |call| self.providers[provider].newest(&NewestRequest::new(key).in_call(call)),
            |newest| newest.as_ref().map(|n| &*n.key),
        );
        if let Err(e) = &result {
            self.suspect(key, e.kind);
        }
        Ok(result?)
    }

    /// A call other than an unwrap was refused. Only an unwrap tells whether the key was taken away, so that is asked for now.
    pub(super) fn suspect(&self, key: &KeyRef, kind: ProviderErrorKind) {
        if verdict(kind) != Verdict::DefiniteNo {
            return;
        }
        for health in self.caches().healths.versions_of(key) {
            if health.state() != KeyState::Revoked {
                let _ = self.ask_again(&health);
            }
        }
    }

    /// Has a key unwrap what it wrapped last. One thread asks, others wait for its answer.
    pub(super) fn ask_again(&self, health: &KeyHealth) -> Result<()> {
        let Some(evidence) = health.evidence() else {
            return Ok(());
        };
        self.refuse_reentry()?;
        let begun = self.clock.now();
        let answered = || {
            // A yes to what another thread asked after this call began is one to this call too.
            let (yes, now) = (health.last_yes()?, self.clock.now());
            (now.age(yes) < now.age(begun)).then_some(Ok(()))
        };
        health.flight.run(answered, || {
            self.unwrap_evidence(health, &evidence).map(drop)
        })
    }
}

impl Polls {
    /// Whether it is due, and if so, not any more.
    fn take(&self, place: usize, shared: &Shared) -> bool {
        let now = shared.clock.now();
        let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if polls.len() <= place {
            polls.resize(place + 1, None);
        }
        match polls[place] {
            Some(timer) if !timer.is_due(now) => false,
            Some(_) => {
                polls[place] = Some(Timer::new(now, shared.freshness.poll));
                true
            }
            // It was checked when it was first wrapped with.
            None => {
                let first = jittered(shared.freshness.poll);
                polls[place] = Some(Timer::new(now, first.min(shared.freshness.poll)));
                false
            }
        }
    }
}
