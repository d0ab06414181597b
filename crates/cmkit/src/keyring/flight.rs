//! Single flight: of the threads that need the same DEK, one asks the provider and the others wait for its answer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// Lets one thread at a time do the work. No lock is held while it does.
#[derive(Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    landed: Condvar,
}

#[derive(Default)]
struct State {
    in_the_air: bool,
    /// Flights that have ended.
    flights: u64,
    /// How the last one failed.
    failure: Option<Error>,
}

impl Flight {
    /// What `ready` finds, else what `work` makes. `work` must put its result where `ready` finds it.
    ///
    /// Threads that waited for a flight share its failure; whoever comes later starts anew.
    pub(crate) fn run<T>(
        &self,
        ready: impl Fn() -> Option<Result<T>>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        while state.in_the_air {
            let seen = state.flights;
            while state.flights == seen {
                state = self
                    .landed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // `ready` takes the cache's lock; never both at once.
            let failure = if state.flights == seen + 1 {
                state.failure.clone()
            } else {
                None
            };
            drop(state);
            if let Some(result) = ready() {
                return result;
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
            state = self.lock();
        }
        state.in_the_air = true;
        drop(state);
        let mut landing = Landing {
            flight: self,
            failure: None,
        };
        // Between the caller's look and this flight another one may have landed.
        let result = ready().unwrap_or_else(work);
        landing.failure = result.as_ref().err().cloned();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the flight, also when the work panics.
struct Landing<'a> {
    flight: &'a Flight,
    failure: Option<Error>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.in_the_air = false;
        state.flights += 1;
        state.failure = self.failure.take();
        self.flight.landed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn many_threads_make_one_flight() {
        let (flight, made, slot) = (Flight::default(), AtomicUsize::new(0), Mutex::new(None));
        thread::scope(|s| {
            for _ in 0..16 {
                s.spawn(|| {
                    let got = flight.run(
                        || slot.lock().unwrap().map(Ok),
                        || {
                            thread::sleep(Duration::from_millis(30));
                            made.fetch_add(1, Ordering::SeqCst);
                            *slot.lock().unwrap() = Some(7);
                            Ok(7)
                        },
                    );
                    assert_eq!(got.unwrap(), 7);
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_panic_in_flight_lets_the_next_one_go() {
        let flight = Flight::default();
        let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flight.run::<u8>(|| None, || panic!("provider bug"))
        }));
        assert!(crash.is_err());
        assert_eq!(flight.run(|| None, || Ok(1)).unwrap(), 1);
    }
}
