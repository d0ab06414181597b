//! Runs of chunks over several threads.
//!
//! Threads live only inside the call (`std::thread::scope`): nothing outlives it that a fork would break.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use super::SLOT_LEN;
use crate::crypto::CryptoError;

/// Threads that one call uses at most: beyond it memory is the limit.
pub(crate) const MAX_THREADS: usize = 8;
/// Chunks that a thread takes at a time: short enough that a thread that was held up doesn't hold up the end.
pub(crate) const RUN_CHUNKS: usize = 16;
/// Bytes for each thread below which another one costs more than it gains: to begin one takes as long as to seal 300 KiB or more.
const MIN_PER_THREAD: usize = 1 << 20;

/// As many threads as there are CPUs for this process, at most [`MAX_THREADS`]. Asked once: the answer takes reading files.
pub(crate) fn default_threads() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| {
        thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS)
    })
}

/// How many of `threads` are worth using on `len` bytes; at least one.
pub(crate) fn threads_for(len: usize, threads: usize) -> usize {
    (len / MIN_PER_THREAD).clamp(1, threads.max(1))
}

/// Does all of `work`, on `threads` threads counting this one, each with a state of its own from `state`. After a failure no more is
/// begun, and the first error is the answer.
///
/// A thread that the system doesn't give is done without.
pub(crate) fn drain<T: Send, S, E: Send>(
    mut work: impl Iterator<Item = T> + Send,
    threads: usize,
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads <= 1 {
        let mut state = state();
        return work.try_for_each(|item| each(&mut state, item));
    }
    let queue = Mutex::new(work);
    let failed = AtomicBool::new(false);
    let first_error = Mutex::new(None);
    let worker = || {
        let mut state = state();
        while !failed.load(Ordering::Relaxed) {
            // The guard goes at the end of this statement: the work itself is done unlocked.
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(next) = next else { return };
            if let Err(error) = each(&mut state, next) {
                failed.store(true, Ordering::Relaxed);
                first_error
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            if thread::Builder::new().spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    first_error
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// Calls `run` for pieces of whole chunks, from the one buffer to the other. One of them has an empty last chunk less at its end, so
/// the pieces are counted on the longer one: the slots.
pub(super) fn runs_between(
    first: u64,
    from: &[u8],
    from_chunk: usize,
    to: &mut [u8],
    to_chunk: usize,
    threads: usize,
    run: impl Fn(u64, &[u8], &mut [u8]) -> Result<(), CryptoError> + Sync,
) -> Result<(), CryptoError> {
    let threads = threads_for(from.len(), threads);
    if threads <= 1 {
        return run(first, from, to);
    }
    let (mut from, mut to, mut number) = (from, to, first);
    let pieces = std::iter::from_fn(move || {
        if from.is_empty() && to.is_empty() {
            return None;
        }
        let (from_piece, from_rest) = from.split_at(from.len().min(RUN_CHUNKS * from_chunk));
        let whole = std::mem::take(&mut to);
        let middle = whole.len().min(RUN_CHUNKS * to_chunk);
        let (to_piece, to_rest) = whole.split_at_mut(middle);
        let piece = (number, from_piece, to_piece);
        (from, to, number) = (from_rest, to_rest, number + RUN_CHUNKS as u64);
        Some(piece)
    });
    drain(
        pieces,
        threads,
        || (),
        |(), (number, from, to)| run(number, from, to),
    )
}

/// Calls `chunk` for every slot.
pub(super) fn runs_in_place(
    first: u64,
    slots: &mut [u8],
    threads: usize,
    chunk: impl Fn(u64, &mut [u8]) -> Result<(), CryptoError> + Sync,
) -> Result<(), CryptoError> {
    let threads = threads_for(slots.len(), threads);
    let run = |(first, run): (u64, &mut [u8])| {
        (first..)
            .zip(run.chunks_mut(SLOT_LEN))
            .try_for_each(|(number, slot)| chunk(number, slot))
    };
    if threads <= 1 {
        return run((first, slots));
    }
    let numbers = (first..).step_by(RUN_CHUNKS);
    drain(
        numbers.zip(slots.chunks_mut(RUN_CHUNKS * SLOT_LEN)),
        threads,
        || (),
        |(), piece| run(piece),
    )
}
