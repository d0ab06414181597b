//! When to ask again, and when to stop.

use std::time::{Duration, Instant};

use super::date::http_date;
use super::{ATTEMPT_LIMIT, Fault, FaultKind, Net, Request, Response};

/// Whether to ask again after this, the n-th attempt, counted from 1, this long after the first one.
pub(crate) type RetryRule = fn(&Result<Response, Fault>, u32, Duration) -> bool;

/// The longest pause of our own choice; a service may ask for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// What the last attempt gave.
pub(crate) struct Sent {
    pub(crate) result: Result<Response, Fault>,
    /// What the service asks to wait, where it does.
    pub(crate) retry_after: Option<Duration>,
}

/// 408, 429, 5xx and what never arrived.
pub(crate) fn retry_passing(
    result: &Result<Response, Fault>,
    _attempt: u32,
    _since: Duration,
) -> bool {
    match result {
        Ok(response) => matches!(response.status, 408 | 429 | 500..=599),
        Err(fault) => fault.may_pass(),
    }
}

/// Sends a request until it has an answer that stands, or there is no time for another attempt. `before_each` is told of every attempt.
///
/// Pauses are 1, 2, 4, 8 and then 16 s, each a quarter longer or shorter, or what `Retry-After` says. One that wouldn't end before the deadline isn't
/// begun.
pub(crate) fn send(
    net: &Net,
    request: &Request,
    again: RetryRule,
    deadline: Instant,
    mut before_each: impl FnMut(),
) -> Sent {
    let begun = net.clock.now();
    let mut attempt = 0;
    loop {
        let now = net.clock.now();
        let remaining = deadline.saturating_duration_since(now);
        if remaining.is_zero() {
            return Sent {
                result: Err(Fault::new(
                    FaultKind::Timeout,
                    "there was no time left to ask",
                )),
                retry_after: None,
            };
        }
        attempt += 1;
        before_each();
        let result = net.carrier.carry(request, remaining.min(ATTEMPT_LIMIT));
        let retry_after = match &result {
            Ok(response) => asked_pause(response.retry_after.as_deref(), net.clock.unix()),
            Err(_) => None,
        };
        let now = net.clock.now();
        let pause = match retry_after {
            Some(asked) if !asked.is_zero() => asked,
            _ => own_pause(attempt),
        };
        let stop = !again(&result, attempt, now.saturating_duration_since(begun))
            || pause >= deadline.saturating_duration_since(now);
        if stop {
            return Sent {
                result,
                retry_after,
            };
        }
        net.clock.sleep(pause);
    }
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn asked_pause(header: Option<&str>, unix: u64) -> Option<Duration> {
    let header = header?.trim();
    let seconds = match header.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => http_date(header)?.saturating_sub(unix),
    };
    // Beyond a day it is no advice for a program; and additions must not overflow.
    Some(Duration::from_secs(seconds.min(86_400)))
}

fn own_pause(attempt: u32) -> Duration {
    let pause = Duration::from_secs(1 << (attempt - 1).min(4)).min(LONGEST_PAUSE);
    let mut random = [0; 1];
    // Without randomness all nodes pause alike, which is no more than impolite.
    let _ = getrandom::fill(&mut random);
    pause.mul_f64(0.75 + f64::from(random[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_sixteen_seconds() {
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (9, 16.0)] {
            let pause = own_pause(attempt).as_secs_f64();
            assert!((seconds * 0.75..seconds * 1.25).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn both_forms_of_retry_after() {
        let pause = |header| asked_pause(Some(header), 784_111_770).map(|pause| pause.as_secs());
        assert_eq!(pause("7"), Some(7));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(pause("18446744073709551615"), Some(86_400));
        for header in ["", "-1", "soon", "1.5"] {
            assert_eq!(pause(header), None, "{header}");
        }
    }
}
