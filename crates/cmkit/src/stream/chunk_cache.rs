//! Opened chunks, kept for the next small read.

use std::sync::Mutex;

use crate::chunked::{PlainBuffer, SLOT_LEN};
use crate::crypto::TAG_LEN;
use crate::error::Result;

/// Chunks that a reader keeps: enough for one that goes back and forth between an index and the data.
const MAX_KEPT: usize = 4;

/// The chunks used last, the newest at the end.
///
/// A chunk in use is taken out, so nobody waits for another's reading and opening. The lock is only ever tried: a reader that doesn't get it does
/// without the cache, and so does a forked child in which it stays locked for ever.
#[derive(Default)]
pub(super) struct ChunkCache(Mutex<Vec<Opened>>);

struct Opened {
    number: u64,
    text_len: usize,
    /// Plaintext in the slot that it was opened in. On the heap, so that moving it leaves no copy.
    slot: PlainBuffer,
}

impl ChunkCache {
    /// Hands over the plaintext of a chunk whose slot has `len` bytes, opened by `open` unless it is here already.
    pub(super) fn with_chunk<T>(
        &self,
        number: u64,
        len: usize,
        open: impl FnOnce(&mut [u8]) -> Result<()>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let kept = self.take_out(number);
        let chunk = match kept {
            Some(chunk) if chunk.number == number => chunk,
            other => {
                let mut slot = other.map_or_else(|| PlainBuffer::new(SLOT_LEN), |old| old.slot);
                open(&mut slot[..len])?;
                Opened {
                    number,
                    text_len: len - TAG_LEN,
                    slot,
                }
            }
        };
        let taken = take(&chunk.slot[..chunk.text_len]);
        self.put_back(chunk);
        Ok(taken)
    }

    /// This chunk if it is here, else one that has to make way, else none.
    fn take_out(&self, number: u64) -> Option<Opened> {
        let mut kept = self.0.try_lock().ok()?;
        match kept.iter().position(|c| c.number == number) {
            Some(place) => Some(kept.remove(place)),
            None if kept.len() >= MAX_KEPT => Some(kept.remove(0)),
            None => None,
        }
    }

    fn put_back(&self, chunk: Opened) {
        if let Ok(mut kept) = self.0.try_lock()
            && kept.len() < MAX_KEPT
        {
            kept.push(chunk);
        }
    }
}
