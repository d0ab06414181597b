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
    /// `None`: its DEK was never anywhere else.
    origin: Option<Origin<C>>,
    process: u32,
}

enum State<C> {
    Ready(C),
    /// Zeroized because a key was taken away, and made again from the same DEK when the key is back.
    Suspended,
    Destroyed,
}

struct Origin<C> {
    hold: VolumeHold,
    derivation: Derivation,
    make: fn(&Derivation, &Dek) -> Result<C>,
    /// Milliseconds of this process until which the last yes counts; 0 for never.
    good_until: AtomicU64,
}

impl<C> Live<C> {
    /// One that no key can bring back.
    pub(super) fn new(cipher: C) -> Self {
        Self {
            state: RwLock::new(State::Ready(cipher)),
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
            origin: Some(Origin {
                hold,
                derivation,
                make,
                good_until: AtomicU64::new(milliseconds() + millis(RECHECK)),
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
            State::Suspended => Err(Error::InvalidState {
                problem: "the volume's key was taken away; check it again when its owner has enabled it",
            }),
            State::Destroyed => Err(destroyed()),
        }
    }

    /// That the keys which wrap the DEK still allow its use. Asks them where that was long ago.
    ///
    /// Zeroizes the cipher when they don't, and makes it again when they do again.
    pub(super) fn check(&self) -> Result<()> {
        self.check_process()?;
        if self.is_destroyed() {
            return Err(destroyed());
        }
        let Some(origin) = &self.origin else {
            return Ok(());
        };
        let now = milliseconds();
        if now < origin.good_until.load(Ordering::Acquire) {
            return Ok(());
        }
        match origin.hold.check().and_then(|()| self.resume(origin)) {
            Ok(()) => {
                let until = milliseconds() + millis(RECHECK);
                origin.good_until.store(until, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.suspend();
                Err(error)
            }
        }
    }

    fn resume(&self, origin: &Origin<C>) -> Result<()> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(_) => return Ok(()),
            State::Destroyed => return Err(destroyed()),
            State::Suspended => {}
        }
        // Asks a provider: without the lock.
        let cipher = (origin.make)(&origin.derivation, &origin.hold.unwrap_again()?)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Suspended) {
            *state = State::Ready(cipher);
        }
        Ok(())
    }

    fn suspend(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Ready(_)) {
            *state = State::Suspended;
        }
        if let Some(origin) = &self.origin {
            origin.good_until.store(0, Ordering::Release);
        }
    }

    /// Zeroizes the cipher for good. In a forked child only that child's copy.
    pub(super) fn destroy(&self) {
        if self.is_foreign() {
            // Who held the lock when the child was forked isn't there to let it go. Then this copy goes when it is dropped.
            if let Ok(mut state) = self.state.try_write() {
                *state = State::Destroyed;
            }
            return;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Destroyed;
    }

    /// In a forked child: always, as it can't be used there.
    pub(super) fn is_destroyed(&self) -> bool {
        if self.is_foreign() {
            return true;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Destroyed)
    }

    fn is_foreign(&self) -> bool {
        std::process::id() != self.process
    }

    /// A forked child that went on would use its parent's nonces again.
    fn check_process(&self) -> Result<()> {
        if self.is_foreign() {
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
