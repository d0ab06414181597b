//! Binding: finding out which version of a key to wrap with, and that it may be used.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cmkit::{KeyId, KeyRef, ProviderError, ProviderErrorKind, WrapAlgorithm};
use zeroize::Zeroizing;

use crate::call::Operation;
use crate::clock::Clock;
use crate::failure::About;
use crate::flight::Flight;
use crate::policy::{self, Fit, Rules};
use crate::process::PerProcess;
use crate::rest::Rest;
use crate::token::FIRST_SIGN_IN;

/// How long a binding stands before the key is looked at again.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Bindings that are kept; beyond, the oldest goes.
const MAX_BINDINGS: usize = 256;

/// A key version that has met the rules, wrapped and unwrapped.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) id: KeyId,
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) created: Option<u64>,
    pub(crate) since: Instant,
    /// The same in seconds since 1970, since the other clock stands still while the machine sleeps.
    since_unix: u64,
}

pub(crate) struct Bindings {
    rules: Rules,
    no_get: bool,
    slots: PerProcess<Mutex<Vec<Arc<Slot>>>>,
}

/// A key, as it was asked for: with or without a version.
struct Slot {
    key: KeyRef,
    bound: Mutex<Option<Bound>>,
    flight: Flight<Bound>,
}

impl Bindings {
    pub(crate) fn new(rules: Rules, no_get: bool) -> Self {
        Self {
            rules,
            no_get,
            slots: PerProcess::new(Mutex::default()),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    pub(crate) fn is_without_get(&self) -> bool {
        self.no_get
    }

    fn slot(&self, key: &KeyRef) -> Arc<Slot> {
        let slots = self.slots.get(Mutex::default);
        let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.iter().find(|slot| slot.key == *key) {
            return Arc::clone(slot);
        }
        if slots.len() == MAX_BINDINGS {
            slots.remove(0);
        }
        let slot = Arc::new(Slot {
            key: key.clone(),
            bound: Mutex::default(),
            flight: Flight::default(),
        });
        slots.push(Arc::clone(&slot));
        slot
    }

    /// What to wrap with for `key`: known for less than an hour, or found out now.
    pub(crate) fn get(
        &self,
        rest: &Rest,
        key: &KeyRef,
        operation: &Operation<'_>,
    ) -> Result<Bound, ProviderError> {
        let slot = self.slot(key);
        if let Some(bound) = slot.fresh(&*rest.net.clock) {
            return Ok(bound);
        }
        self.fly(rest, &slot, operation, |_| true)
    }

    /// The same, found out now, or by a flight that is under way.
    pub(crate) fn renew(
        &self,
        rest: &Rest,
        key: &KeyRef,
        operation: &Operation<'_>,
    ) -> Result<Bound, ProviderError> {
        let asked = rest.net.clock.now();
        self.fly(rest, &self.slot(key), operation, |bound| {
            bound.since > asked
        })
    }

    /// Forgets a binding that turned out to be no good.
    pub(crate) fn forget(&self, key: &KeyRef, bound: &Bound) {
        let slot = self.slot(key);
        let mut state = slot.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_some_and(|b| b.since == bound.since) {
            *state = None;
        }
    }

    fn fly(
        &self,
        rest: &Rest,
        slot: &Slot,
        operation: &Operation<'_>,
        enough: impl Fn(&Bound) -> bool,
    ) -> Result<Bound, ProviderError> {
        let worked = Cell::new(false);
        let ready = || slot.fresh(&*rest.net.clock).filter(&enough);
        let work = || {
            worked.set(true);
            let bound = self.bind(rest, &slot.key, operation);
            // After a failure nothing stands that the vault may have taken back.
            *slot.bound.lock().unwrap_or_else(PoisonError::into_inner) =
                bound.as_ref().ok().cloned();
            bound
        };
        let clock = &*rest.net.clock;
        let until = operation.patience(FIRST_SIGN_IN);
        let begun = clock.now();
        let result = slot.flight.run(|| clock.now(), until, ready, work);
        if !worked.get() {
            operation.waited(clock.now().saturating_duration_since(begun));
        }
        result.unwrap_or_else(|| {
            Err(ProviderError::new(
                ProviderErrorKind::Unavailable,
                "another thread is still asking the vault for it, and there was no time left to wait",
            )
            .on_key(&slot.key)
            .during(operation))
        })
    }

    fn bind(
        &self,
        rest: &Rest,
        key: &KeyRef,
        operation: &Operation<'_>,
    ) -> Result<Bound, ProviderError> {
        let (since, since_unix) = (rest.net.clock.now(), rest.net.clock.unix());
        let bound = |fit: Fit| Bound {
            id: fit.id,
            algorithm: fit.algorithm,
            created: fit.created,
            since,
            since_unix,
        };
        if !self.no_get {
            let bundle = rest.get(key, operation)?;
            let fit = policy::enforce(&bundle, key, self.rules, rest.net.clock.unix());
            let fit = fit.map_err(|e| e.during(operation))?;
            round_trip(rest, &fit.id, fit.algorithm, operation)?;
            return Ok(bound(fit));
        }
        let id = versioned(key)?;
        // Without GET the type isn't known: try what most keys are.
        let mut algorithm = WrapAlgorithm::RsaOaep256;
        match round_trip(rest, &id, algorithm, operation) {
            Err(e) if e.kind == ProviderErrorKind::Unusable => {
                algorithm = WrapAlgorithm::A256Kw;
                round_trip(rest, &id, algorithm, operation)?;
            }
            other => other?,
        }
        Ok(bound(Fit {
            id,
            algorithm,
            created: None,
        }))
    }
}

impl Slot {
    fn fresh(&self, clock: &dyn Clock) -> Option<Bound> {
        let bound = self
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        bound.filter(|bound| {
            clock.now().saturating_duration_since(bound.since) < LIFETIME
                && clock.unix().saturating_sub(bound.since_unix) < LIFETIME.as_secs()
        })
    }
}

/// The exact version that a key must have where GET isn't allowed.
pub(crate) fn versioned(key: &KeyRef) -> Result<KeyId, ProviderError> {
    key.version().and_then(|version| key.with_version(version).ok()).ok_or_else(|| {
        ProviderError::new(
            ProviderErrorKind::Policy,
            "without the permission get its newest version can't be found; name the key with its version",
        )
        .on_key(key)
    })
}

/// Wraps 32 random bytes, unwraps them and compares.
pub(crate) fn round_trip(
    rest: &Rest,
    id: &KeyId,
    algorithm: WrapAlgorithm,
    operation: &Operation<'_>,
) -> Result<(), ProviderError> {
    let probe = probe(id)?;
    let wrapped = rest.wrap(id, algorithm, &*probe, operation)?;
    let unwrapped = rest.unwrap(id, algorithm, &wrapped, operation);
    check_round_trip(id, unwrapped.map(|bytes| bytes.expose() == &probe[..]))
        .map_err(|e| e.during(operation))
}

/// What a trial unwrap says: that of our own wrap must give the same bytes.
pub(crate) fn check_round_trip(
    id: &KeyId,
    same: Result<bool, ProviderError>,
) -> Result<(), ProviderError> {
    match same {
        Ok(true) => Ok(()),
        Ok(false) => Err(unusable(id)),
        Err(e) if e.kind == ProviderErrorKind::Rejected => Err(unusable(id)),
        Err(e) => Err(e),
    }
}

fn unusable(id: &KeyId) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::Unusable,
        "the vault did not unwrap what it had just wrapped; nothing was encrypted under it",
    )
    .on_key(id)
}

pub(crate) fn probe(key: &KeyRef) -> Result<Zeroizing<[u8; 32]>, ProviderError> {
    let mut probe = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *probe).map_err(|_| {
        ProviderError::new(ProviderErrorKind::Other, "the system gives no randomness").on_key(key)
    })?;
    Ok(probe)
}
