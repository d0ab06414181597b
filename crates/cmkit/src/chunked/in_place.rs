//! Sealing and opening where the data is.
//!
//! Ciphertext is longer than plaintext, so chunks move: away from the front while sealing (the last one first), towards it while
//! opening (the first one first). With one thread each chunk is moved when it is sealed or opened, while it is in the cache. With more
//! all are moved in one pass and sealed or opened in another.

use super::parallel::threads_for;
use super::{CHUNK_LEN, Message, SLOT_LEN};
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};

impl Message {
    /// Seals the plaintext at the front of `buffer` so that the slots begin at `start` and end where `buffer` ends.
    ///
    /// On failure all of `buffer` is zero.
    pub(crate) fn seal_in_place(
        &self,
        buffer: &mut [u8],
        plaintext_len: usize,
        start: usize,
        threads: usize,
    ) -> Result<()> {
        let slots_len = plaintext_len + TAG_LEN * (plaintext_len / CHUNK_LEN + 1);
        if start.checked_add(slots_len) != Some(buffer.len()) {
            buffer.fill(0);
            return Err(Error::Internal {
                problem: "a message doesn't fit its buffer",
            });
        }
        let together = threads_for(slots_len, threads) > 1;
        for number in (0..=plaintext_len / CHUNK_LEN).rev() {
            let from = number * CHUNK_LEN..plaintext_len.min((number + 1) * CHUNK_LEN);
            let to = start + number * SLOT_LEN;
            let end = to + from.len() + TAG_LEN;
            buffer.copy_within(from, to);
            if !together && let Err(error) = self.seal_slots(number as u64, &mut buffer[to..end], 1)
            {
                buffer.fill(0);
                return Err(error);
            }
        }
        if together && let Err(error) = self.seal_slots(0, &mut buffer[start..], threads) {
            buffer.fill(0);
            return Err(error);
        }
        Ok(())
    }

    /// Opens the slots from `start` to the end of `buffer` and moves the plaintext to its front, with zeros after it. Gives the
    /// plaintext's length. The caller has checked that this is a possible length.
    ///
    /// On failure all of `buffer` is zero.
    pub(crate) fn open_in_place(
        &self,
        buffer: &mut [u8],
        start: usize,
        threads: usize,
    ) -> Result<usize> {
        let opened = self.open_and_move(buffer, start, threads);
        match opened {
            Ok(len) => buffer[len..].fill(0),
            Err(_) => buffer.fill(0),
        }
        opened
    }

    fn open_and_move(&self, buffer: &mut [u8], start: usize, threads: usize) -> Result<usize> {
        let together = threads_for(buffer.len() - start, threads) > 1;
        if together {
            self.open_slots(0, &mut buffer[start..], threads)?;
        }
        let mut done = 0;
        for (number, slot) in (0..).zip((start..buffer.len()).step_by(SLOT_LEN)) {
            let end = buffer.len().min(slot + SLOT_LEN);
            if !together {
                self.open_slots(number, &mut buffer[slot..end], 1)?;
            }
            buffer.copy_within(slot..end - TAG_LEN, done);
            done += end - TAG_LEN - slot;
        }
        Ok(done)
    }
}
