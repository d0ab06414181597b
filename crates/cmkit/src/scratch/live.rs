//! A cipher that can be taken away at any moment: by its owner, by a revocation, by a fork.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::derive::Derivation;
use crate::error::{Error, Result};
use crate::keyring::VolumeHold;
use crate::secret::Dek;

/// How long what the keys said is believed before they are asked again. Asking costs more than encrypting a block does.
const RECHECK: Duration = Duration::from_secs(1);

/// A cipher, and where it comes from.
pub(super) struct Live<C> {
    /// Held for as long as the cipher works, and not for I/O: what waits for a disk can't keep it from being destroyed.
    state: RwLock<State<C>>,
    /// Milliseconds of this process until which it is known to be ready and allowed; 0 for never.
    good_until: AtomicU64,
    /// `None`: its DEK was never anywhere else.
    origin: Option<Origin<C>>,
    process: u32,
}

enum State<C> {
    Ready(C),
    /// Zeroized because a key was taken away, which is why, and made again from the same DEK when the key is back.
    Suspended(Error),
    Destroyed,
}

struct Origin<C> {
    hold: VolumeHold,
    derivation: Derivation,
    make: fn(&Derivation, &Dek) -> Result<C>,
}

/// What is good until it is destroyed.
const FOR_EVER: u64 = u64::MAX;

impl<C> Live<C> {
    /// One that no key can bring back.
    pub(super) fn new(cipher: C) -> Self {
        Self {
            state: RwLock::new(State::Ready(cipher)),
            good_until: AtomicU64::new(FOR_EVER),
            origin: None,
            process: std::process::id(),
        }
    }

    /// One of a keyring's DEK.
    pub(super) fn of_keyring(
        dek: &Dek,
        hold: VolumeHold,
        derivation: Derivation,
        make: fn(&Derivation, &Dek) -> Result<C>,
    ) -> Result<Self> {
        Ok(Self {
            state: RwLock::new(State::Ready(make(&derivation, dek)?)),
            good_until: AtomicU64::new(milliseconds() + millis(RECHECK)),
            origin: Some(Origin {
                hold,
                derivation,
                make,
            }),
            process: std::process::id(),
        })
    }

    pub(super) fn hold(&self) -> Option<&VolumeHold> {
        self.origin.as_ref().map(|origin| &origin.hold)
    }

    pub(super) fn derivation(&self) -> Option<&Derivation> {
        self.origin.as_ref().map(|origin| &origin.derivation)
    }

    /// Does some work with the cipher, if it is there.
    pub(super) fn with<T>(&self, work: impl FnOnce(&C) -> Result<T>) -> Result<T> {
        self.check_process()?;
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(cipher) => work(cipher),
            State::Suspended(reason) => Err(reason.clone()),
            State::Destroyed => Err(destroyed()),
        }
    }

    /// That the keys which wrap the DEK still allow its use. Asks them where that was long ago.
    ///
    /// Zeroizes the cipher when they don't, and makes it again when they do again.
    pub(super) fn check(&self) -> Result<()> {
        self.check_process()?;
        if self.is_known_good() {
            return Ok(());
        }
        let Some(origin) = &self.origin else {
            return Err(destroyed());
        };
        if self.is_destroyed() {
            return Err(destroyed());
        }
        let asked = origin.hold.check().and_then(|()| self.resume(origin));
        asked.inspect_err(|error| self.suspend(error))
    }

    fn is_known_good(&self) -> bool {
        let until = self.good_until.load(Ordering::Acquire);
        until == FOR_EVER || milliseconds() < until
    }

    /// Makes the cipher again if it was zeroized, and notes that it may be used for a while.
    fn resume(&self, origin: &Origin<C>) -> Result<()> {
        let is_suspended = |state: &State<C>| matches!(state, State::Suspended(_));
        let made = if is_suspended(&self.state.read().unwrap_or_else(PoisonError::into_inner)) {
            // Asks a provider: without the lock.
            Some((origin.make)(
                &origin.derivation,
                &origin.hold.unwrap_again()?,
            )?)
        } else {
            None
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cipher) = made
            && is_suspended(&state)
        {
            *state = State::Ready(cipher);
        }
        match *state {
            State::Ready(_) => {
                let until = milliseconds() + millis(RECHECK);
                self.good_until.store(until, Ordering::Release);
                Ok(())
            }
            State::Suspended(ref reason) => Err(reason.clone()),
            State::Destroyed => Err(destroyed()),
        }
    }

    pub(super) fn suspend(&self, reason: &Error) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Ready(_)) {
            *state = State::Suspended(reason.clone());
        }
        self.good_until.store(0, Ordering::Release);
    }

    /// Zeroizes the cipher for good. In a forked child only that child's copy.
    pub(super) fn destroy(&self) {
        if self.check_process().is_err() {
            // The lock may be held by a thread of the parent's, which isn't here to let go of it. Then the copy goes when it is dropped.
            if let Ok(mut state) = self.state.try_write() {
                *state = State::Destroyed;
            }
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Destroyed;
        self.good_until.store(0, Ordering::Release);
    }

    /// In a forked child, where it can't be used and locks can't be waited for: always.
    pub(super) fn is_destroyed(&self) -> bool {
        if self.check_process().is_err() {
            return true;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Destroyed)
    }

    /// A forked child that went on would use its parent's nonces again.
    fn check_process(&self) -> Result<()> {
        if std::process::id() != self.process {
            return Err(Error::InvalidState {
                problem: "this volume belongs to the process that forked this one; make one of your own",
            });
        }
        Ok(())
    }
}

fn destroyed() -> Error {
    Error::InvalidState {
        problem: "the volume's key was destroyed: what it encrypted can't be read any more",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Since this process first asked, from 1.
fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    millis(START.get_or_init(Instant::now).elapsed()) + 1
}
