//! One operation under way: the caller's account of it, and how long it may take.

use std::cell::Cell;
use std::time::{Duration, Instant};

use cmkit::Call;

use crate::clock::Clock;

/// What every step of an operation carries along.
pub(crate) struct Operation<'a> {
    pub(crate) call: &'a Call,
    begun: Instant,
    /// For all requests to the vault together.
    limit: Duration,
    /// Time that doesn't count: signing in, which has limits of its own, and waiting for other threads.
    apart: Cell<Duration>,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(call: &'a Call, limit: Duration, clock: &dyn Clock) -> Self {
        Self {
            call,
            begun: clock.now(),
            limit,
            apart: Cell::default(),
        }
    }

    /// When to give up asking the vault.
    pub(crate) fn deadline(&self) -> Instant {
        self.at_most(self.begun + self.limit + self.apart.get())
    }

    /// When to give up something else that may take `limit` from now.
    pub(crate) fn own_deadline(&self, clock: &dyn Clock, limit: Duration) -> Instant {
        self.at_most(clock.now() + limit)
    }

    /// When to stop waiting for another thread that does the same: it may take as long as this one may.
    pub(crate) fn patience(&self, sign_in: Duration) -> Instant {
        self.at_most(self.begun + self.limit + self.apart.get() + sign_in)
    }

    /// So much time was spent on what doesn't count.
    pub(crate) fn waited(&self, time: Duration) {
        self.apart.set(self.apart.get() + time);
    }

    /// The caller's own deadline holds for everything.
    fn at_most(&self, own: Instant) -> Instant {
        self.call.deadline().map_or(own, |caller| own.min(caller))
    }
}
