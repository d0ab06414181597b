//! For unit tests: a network that answers from a function, and a clock that nobody waits for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::http::{Carrier, Fault, FaultKind, Net, Request, Response};

/// The beginning of virtual time, in seconds since 1970.
pub(crate) const EPOCH: u64 = 1_800_000_000;

pub(crate) struct FakeClock {
    begun: Instant,
    milliseconds: AtomicU64,
    /// Seconds for which the machine slept, which the running clock doesn't count.
    slept: AtomicU64,
}

impl FakeClock {
    pub(crate) fn sleep_the_machine(&self, time: Duration) {
        self.slept.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, time: Duration) {
        let more = u64::try_from(time.as_millis()).unwrap();
        self.milliseconds.fetch_add(more, Ordering::SeqCst);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::SeqCst))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.begun + self.elapsed()
    }

    fn unix(&self) -> u64 {
        EPOCH + self.elapsed().as_secs() + self.slept.load(Ordering::SeqCst)
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

type Answer = Result<Response, Fault>;

/// Answers with what a function says, and keeps what was asked: method and URL.
pub(crate) struct Script {
    answer: Box<dyn Fn(&Request) -> Answer + Send + Sync>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|url| url.contains(part))
            .count()
    }
}

impl Carrier for Script {
    fn carry(&self, request: &Request, limit: Duration) -> Answer {
        assert!(!limit.is_zero() && limit <= crate::http::ATTEMPT_LIMIT);
        self.asked.lock().unwrap().push(request.url.clone());
        (self.answer)(request)
    }
}

pub(crate) fn net(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (Net, Arc<Script>, Arc<FakeClock>) {
    let script = Arc::new(Script {
        answer: Box::new(answer),
        asked: Mutex::default(),
    });
    let clock = Arc::new(FakeClock {
        begun: Instant::now(),
        milliseconds: AtomicU64::new(0),
        slept: AtomicU64::new(0),
    });
    let net = Net {
        carrier: Arc::clone(&script) as _,
        clock: Arc::clone(&clock) as _,
    };
    (net, script, clock)
}

pub(crate) fn answer(status: u16, body: &str) -> Answer {
    Ok(Response {
        status,
        retry_after: None,
        challenge: None,
        request_id: None,
        region: None,
        body: Zeroizing::new(body.as_bytes().to_vec()),
    })
}

pub(crate) fn answer_after(status: u16, retry_after: &str) -> Answer {
    let mut response = answer(status, "")?;
    response.retry_after = Some(retry_after.to_owned());
    Ok(response)
}

pub(crate) fn fault(kind: FaultKind) -> Answer {
    Err(Fault::new(kind, "made up"))
}
