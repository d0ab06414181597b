//! Work on a file in stripes, over threads.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::options::{FileOptions, Progress};
use crate::chunked::{CHUNK_LEN, RUN_CHUNKS, drain};
use crate::error::{Error, Result};

/// Plaintext bytes that a thread reads, seals and writes at a time. Both buffers together stay in a core's cache.
pub(super) const STRIPE_LEN: usize = RUN_CHUNKS * CHUNK_LEN;
/// Time between two calls of a progress callback.
const REPORT_EVERY: Duration = Duration::from_millis(20);

/// A part of the plaintext: whole chunks, and at the end what is left.
#[derive(Clone, Copy)]
pub(super) struct Stripe {
    /// Number of its first chunk.
    pub(super) number: u64,
    /// Plaintext bytes before it.
    pub(super) offset: u64,
    /// Plaintext bytes in it. 0 only for a message of which nothing but an empty last chunk is left.
    pub(super) len: usize,
    /// Whether the message's last chunk is in it.
    pub(super) is_last: bool,
}

/// Does `each` stripe of a plaintext of `total` bytes, on several threads with a state of their own each.
pub(super) fn for_each_stripe<S>(
    total: u64,
    options: &FileOptions,
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, Stripe) -> Result<()> + Sync,
) -> Result<()> {
    let report = Reporter::new(options, Some(total));
    report.now(0)?;
    let done = AtomicU64::new(0);
    let count = total / STRIPE_LEN as u64 + 1;
    let stripes = (0..count).map(|n| {
        let offset = n * STRIPE_LEN as u64;
        let rest = total - offset;
        let len = usize::try_from(rest).map_or(STRIPE_LEN, |rest| rest.min(STRIPE_LEN));
        Stripe {
            number: n * RUN_CHUNKS as u64,
            offset,
            len,
            is_last: n + 1 == count,
        }
    });
    let threads = usize::try_from(count).map_or(options.thread_count(), |count| {
        count.min(options.thread_count())
    });
    drain(
        stripes,
        threads,
        || (state(), Instant::now()),
        |(state, last), stripe| {
            each(state, stripe)?;
            let done = done.fetch_add(stripe.len as u64, Ordering::Relaxed) + stripe.len as u64;
            report.now_and_then(last, done)
        },
    )?;
    report.now(total)
}

/// Calls the progress callback, on the thread that it was made on.
pub(super) struct Reporter<'a> {
    options: &'a FileOptions,
    total: Option<u64>,
    thread: ThreadId,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(options: &'a FileOptions, total: Option<u64>) -> Self {
        Self {
            options,
            total,
            thread: thread::current().id(),
        }
    }

    pub(super) fn now(&self, done: u64) -> Result<()> {
        match &self.options.on_progress {
            Some(callback) => match callback(Progress {
                done,
                total: self.total,
            }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(Error::Cancelled),
            },
            None => Ok(()),
        }
    }

    /// Does nothing on other threads, and soon after the last time.
    pub(super) fn now_and_then(&self, last: &mut Instant, done: u64) -> Result<()> {
        if self.options.on_progress.is_none()
            || last.elapsed() < REPORT_EVERY
            || thread::current().id() != self.thread
        {
            return Ok(());
        }
        *last = Instant::now();
        self.now(done)
    }
}
