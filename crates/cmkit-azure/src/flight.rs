//! Single flight: of the threads that need the same answer, one asks and the others wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cmkit::ProviderError;

/// A flight whose time was shorter by more than this may have failed for want of it.
const HURRY: Duration = Duration::from_secs(1);

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
    /// Until when the one under way, or else the last one, had time.
    until: Option<Instant>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        let state = State {
            in_the_air: false,
            flights: 0,
            result: None,
            until: None,
        };
        Self {
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// What `ready` finds, else the result of the flight that is under way, else that of `work`. `work` must put its result where `ready` finds
    /// it. `now` is the time, and `until` when the caller gives up.
    ///
    /// Whoever waited for a flight shares its failure, unless that may pass and the flight had less time than the caller has. Whoever comes later starts anew.
    ///
    /// `None`: there was no time left to wait for the flight under way.
    pub(crate) fn run(
        &self,
        now: impl Fn() -> Instant,
        until: Instant,
        ready: impl Fn() -> Option<T>,
        work: impl FnOnce() -> Result<T, ProviderError>,
    ) -> Option<Result<T, ProviderError>> {
        let mut state = self.lock();
        while state.in_the_air {
            let seen = state.flights;
            let hurried = state.until.is_some_and(|theirs| theirs + HURRY < until);
            let patience = until.saturating_duration_since(now());
            let waited = self
                .landed
                .wait_timeout_while(state, patience, |state| state.flights == seen);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && state.flights == seen {
                return None;
            }
            // It is the flight that was waited for, unless this thread woke up late; then there is a younger one.
            match state.result.clone() {
                Some(Err(e)) if hurried && e.retryable => {}
                Some(result) => return Some(result),
                // It crashed.
                None => {}
            }
        }
        state.in_the_air = true;
        state.until = Some(until);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use cmkit::ProviderErrorKind;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn passing() -> Result<u8, ProviderError> {
        Err(ProviderError::new(ProviderErrorKind::Unavailable, "x"))
    }

    /// Two flights at once: the first with `first` of time, ended once the second waits for it; what the second got, and
    /// how often it did the work itself.
    fn second(first: Duration, result: fn() -> Result<u8, ProviderError>) -> (Option<u8>, usize) {
        let flight = Flight::default();
        let work = AtomicUsize::new(0);
        let now = Instant::now();
        thread::scope(|scope| {
            let (sender, started) = std::sync::mpsc::channel();
            let flight = &flight;
            scope.spawn(move || {
                flight.run(
                    Instant::now,
                    now + first,
                    || None,
                    || {
                        sender.send(()).unwrap();
                        thread::sleep(Duration::from_millis(200));
                        result()
                    },
                )
            });
            started.recv().unwrap();
            let got = flight.run(
                Instant::now,
                now + LONG,
                || None,
                || {
                    work.fetch_add(1, Ordering::SeqCst);
                    Ok(2)
                },
            );
            (got.unwrap().ok(), work.load(Ordering::SeqCst))
        })
    }

    #[test]
    fn results_are_shared_but_not_the_haste_of_others() {
        assert_eq!(second(LONG, || Ok(1)), (Some(1), 0));
        assert_eq!(second(LONG, passing), (None, 0));
        assert_eq!(second(Duration::from_secs(5), passing), (Some(2), 1));
        let definite = || Err(ProviderError::new(ProviderErrorKind::Denied, "x"));
        assert_eq!(second(Duration::from_secs(5), definite), (None, 0));
    }

    #[test]
    fn nobody_waits_longer_than_he_has() {
        let flight = Flight::default();
        flight.lock().in_the_air = true;
        let got = flight.run(Instant::now, Instant::now(), || None, || Ok(1));
        assert!(got.is_none());
    }

    #[test]
    fn a_crash_lets_the_next_one_go() {
        let flight = Flight::<u8>::default();
        let until = Instant::now() + LONG;
        let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flight.run(
                Instant::now,
                until,
                || None,
                || panic!("a callback's fault"),
            )
        }));
        assert!(crash.is_err());
        assert!(matches!(
            flight.run(Instant::now, until, || None, || Ok(1)),
            Some(Ok(1))
        ));
    }
}
