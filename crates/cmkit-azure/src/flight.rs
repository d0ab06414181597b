//! Single flight: of the threads that need the same answer, one asks and the others wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cmkit::ProviderError;

/// Lets one thread at a time do the work. No lock is held while it does.
pub(crate) struct Flight<T> {
    state: Mutex<State<T>>,
    landed: Condvar,
}

struct State<T> {
    in_the_air: bool,
    /// Flights that have ended.
    flights: u64,
    /// What the last one brought.
    result: Option<Result<T, ProviderError>>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        let state = State {
            in_the_air: false,
            flights: 0,
            result: None,
        };
        Self {
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// What `ready` finds, else the result of the flight that is under way, else that of `work`. `work` must put its result where `ready` finds
    /// it. Whoever waited for a flight shares its failure; whoever comes later starts anew.
    ///
    /// `None`: the flight under way took longer than `patience`.
    pub(crate) fn run(
        &self,
        patience: Duration,
        ready: impl Fn() -> Option<T>,
        work: impl FnOnce() -> Result<T, ProviderError>,
    ) -> Option<Result<T, ProviderError>> {
        let mut state = self.lock();
        if state.in_the_air {
            let seen = state.flights;
            let waited = self
                .landed
                .wait_timeout_while(state, patience, |state| state.flights == seen);
            let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && state.flights == seen {
                return None;
            }
            if let Some(result) = state.result.clone() {
                return Some(result);
            }
            // The flight crashed.
            drop(state);
            return Some(ready().map_or_else(work, Ok));
        }
        state.in_the_air = true;
        drop(state);
        let mut landing = Landing {
            flight: self,
            result: None,
        };
        // Between the caller's look and this flight another one may have landed.
        let result = ready().map_or_else(work, Ok);
        landing.result = Some(result.clone());
        Some(result)
    }

    /// Whether a flight is under way.
    pub(crate) fn is_in_the_air(&self) -> bool {
        self.lock().in_the_air
    }
}

impl<T> Flight<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the flight, also when the work panics.
struct Landing<'a, T> {
    flight: &'a Flight<T>,
    result: Option<Result<T, ProviderError>>,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.in_the_air = false;
        state.flights += 1;
        state.result = self.result.take();
        self.flight.landed.notify_all();
    }
}
