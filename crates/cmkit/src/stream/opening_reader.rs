//! The chunks of a message, opened as they are read.

use std::io::Read;

use super::options::Batch;
use super::read_full;
use crate::chunked::{CHUNK_LEN, Message, PlainBuffer, SLOT_LEN, text_len};
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};

/// What a [`Decryptor`](super::Decryptor) does behind the preamble. After an error it must not be used again.
pub(super) struct OpeningReader<R: Read> {
    reader: R,
    message: Message,
    batch: Batch,
    /// A batch of chunks: opened ones up to `opened`, then sealed ones up to `have`.
    slots: PlainBuffer,
    opened: usize,
    have: usize,
    /// Plaintext bytes of the batch that were given out.
    taken: usize,
    /// Number of the first chunk in the batch.
    number: u64,
    /// Whether the batch ends with the last chunk.
    is_last: bool,
}

impl<R: Read> OpeningReader<R> {
    pub(super) fn new(reader: R, message: Message, batch: Batch) -> Self {
        Self {
            reader,
            message,
            batch,
            slots: PlainBuffer::default(),
            opened: 0,
            have: 0,
            taken: 0,
            number: 0,
            is_last: false,
        }
    }

    /// Gives some of the plaintext; 0 bytes for a non-empty `out` only at the authenticated end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        // Also for chunks that were opened before and not given out yet.
        self.message.watch()?;
        loop {
            let ready = text_len(self.opened);
            if self.taken < ready {
                return Ok(self.give(out, ready));
            }
            if self.opened < self.have {
                let given = self.open_some(out)?;
                if given > 0 {
                    return Ok(given);
                }
            } else if self.is_last {
                return Ok(0);
            } else {
                self.read_batch()?;
            }
        }
    }

    /// Copies opened plaintext out, up to the end of its chunk.
    fn give(&mut self, out: &mut [u8], ready: usize) -> usize {
        let offset = self.taken % CHUNK_LEN;
        let len = out.len().min(CHUNK_LEN - offset).min(ready - self.taken);
        let from = self.taken / CHUNK_LEN * SLOT_LEN + offset;
        out[..len].copy_from_slice(&self.slots[from..from + len]);
        self.taken += len;
        len
    }

    /// Opens sealed chunks: into `out` as many as it holds, else all of them where they are.
    fn open_some(&mut self, out: &mut [u8]) -> Result<usize> {
        let number = self.number + (self.opened / SLOT_LEN) as u64;
        let rest = text_len(self.have - self.opened);
        if out.len() < rest.min(CHUNK_LEN) {
            self.message.open_slots(
                number,
                &mut self.slots[self.opened..self.have],
                self.batch.threads,
            )?;
            self.opened = self.have;
            return Ok(0);
        }
        let (end, len) = if out.len() >= rest {
            (self.have, rest)
        } else {
            let chunks = out.len() / CHUNK_LEN;
            (self.opened + chunks * SLOT_LEN, chunks * CHUNK_LEN)
        };
        self.message.open_chunks(
            number,
            &self.slots[self.opened..end],
            &mut out[..len],
            self.batch.threads,
        )?;
        self.opened = end;
        self.taken += len;
        Ok(len)
    }

    fn read_batch(&mut self) -> Result<()> {
        let done = self.number * CHUNK_LEN as u64;
        let len = self.batch.next_slots_len(self.slots.len(), done);
        if len > self.slots.len() {
            // Nothing in the old one is needed any more.
            self.slots = PlainBuffer::new(len);
        }
        self.number += (self.have / SLOT_LEN) as u64;
        (self.have, self.opened, self.taken) = (0, 0, 0);
        self.have =
            read_full(&mut self.reader, &mut self.slots).map_err(|e| Error::from_io("read", e))?;
        if self.have < self.slots.len() {
            // The last chunk is the one that is shorter than the others; nothing or a part of a tag is none.
            if self.have % SLOT_LEN < TAG_LEN {
                return Err(Error::Truncated);
            }
            self.is_last = true;
        }
        Ok(())
    }

    /// Zeroizes what was opened and not yet given out.
    pub(super) fn wipe(&mut self) {
        self.slots = PlainBuffer::default();
        (self.have, self.opened, self.taken) = (0, 0, 0);
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }
}
