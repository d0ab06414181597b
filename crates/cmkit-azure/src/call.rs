//! One operation under way: the caller's account of it, and how long it may take.

use std::time::{Duration, Instant};

use cmkit::Call;

use crate::clock::Clock;

/// What every step of an operation carries along.
#[derive(Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) call: &'a Call,
    /// For the requests to the vault of one step.
    pub(crate) limit: Duration,
}

impl Operation<'_> {
    /// When to give up what takes `limit` from now, unless the caller gives up earlier.
    pub(crate) fn deadline(&self, clock: &dyn Clock, limit: Duration) -> Instant {
        let own = clock.now() + limit;
        self.call.deadline().map_or(own, |caller| own.min(caller))
    }
}
