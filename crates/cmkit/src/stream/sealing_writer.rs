//! The chunks of a message, sealed as they are written.

use std::io::Write;

use zeroize::Zeroize as _;

use super::options::Batch;
use crate::chunked::{CHUNK_LEN, MAX_PLAINTEXT_LEN, Message, PlainBuffer, SLOT_LEN, too_long};
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};

/// What an [`Encryptor`](super::Encryptor) does behind the preamble. After an error it must not be used again.
pub(super) struct SealingWriter<W: Write> {
    writer: W,
    message: Message,
    batch: Batch,
    /// Plaintext standing in the slots that it is sealed in.
    slots: PlainBuffer,
    /// Plaintext bytes in `slots`.
    filled: usize,
    /// Number of the first chunk in `slots`.
    number: u64,
    total: u64,
}

impl<W: Write> SealingWriter<W> {
    pub(super) fn new(writer: W, message: Message, batch: Batch) -> Self {
        Self {
            writer,
            message,
            batch,
            slots: PlainBuffer::default(),
            filled: 0,
            number: 0,
            total: 0,
        }
    }

    /// Takes all of `data` in; seals and writes on what is ready.
    pub(super) fn write(&mut self, mut data: &[u8]) -> Result<()> {
        self.total = match self.total.checked_add(data.len() as u64) {
            Some(total) if total <= MAX_PLAINTEXT_LEN => total,
            _ => return Err(too_long()),
        };
        while !data.is_empty() {
            let offset = self.filled % CHUNK_LEN;
            if offset == 0 && data.len() >= self.batch.direct_len(self.total) {
                self.seal_whole_chunks()?;
                let max = self.batch.max_chunks(self.total) * CHUNK_LEN;
                let (direct, rest) = data.split_at(data.len().min(max) / CHUNK_LEN * CHUNK_LEN);
                self.seal_directly(direct)?;
                data = rest;
                continue;
            }
            let slot = self.filled / CHUNK_LEN * SLOT_LEN;
            if slot == self.slots.len() {
                self.seal_whole_chunks()?;
                self.grow();
                continue;
            }
            let (now, rest) = data.split_at(data.len().min(CHUNK_LEN - offset));
            self.slots[slot + offset..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            data = rest;
        }
        Ok(())
    }

    /// A longer buffer in place of one that has nothing in it, so that no plaintext is copied about.
    fn grow(&mut self) {
        let len = self.batch.next_slots_len(self.slots.len(), self.total);
        if len > self.slots.len() {
            self.slots = PlainBuffer::new(len);
        }
    }

    /// Seals the whole chunks in the buffer and moves what is left to its front.
    fn seal_whole_chunks(&mut self) -> Result<()> {
        let chunks = self.filled / CHUNK_LEN;
        let left = self.filled % CHUNK_LEN;
        let len = chunks * SLOT_LEN;
        if chunks == 0 {
            return Ok(());
        }
        self.message
            .seal_slots(self.number, &mut self.slots[..len], self.batch.threads)?;
        self.write_out(len)?;
        self.number += chunks as u64;
        self.slots.copy_within(len..len + left, 0);
        self.slots[len..len + left].zeroize();
        self.filled = left;
        Ok(())
    }

    fn seal_directly(&mut self, chunks: &[u8]) -> Result<()> {
        let len = chunks.len() / CHUNK_LEN * SLOT_LEN;
        if self.slots.len() < len {
            self.slots = PlainBuffer::new(len);
        }
        self.message.seal_chunks(
            self.number,
            chunks,
            &mut self.slots[..len],
            self.batch.threads,
        )?;
        self.write_out(len)?;
        self.number += (chunks.len() / CHUNK_LEN) as u64;
        Ok(())
    }

    /// Seals whole chunks and flushes the writer. A part of a chunk stays.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.seal_whole_chunks()?;
        self.writer.flush().map_err(|e| Error::from_io("write", e))
    }

    /// Writes the last chunk and flushes the writer.
    pub(super) fn finish(mut self) -> Result<W> {
        self.seal_whole_chunks()?;
        let len = self.filled + TAG_LEN;
        if self.slots.is_empty() {
            self.slots = PlainBuffer::new(len);
        }
        self.message
            .seal_slots(self.number, &mut self.slots[..len], 1)?;
        self.write_out(len)?;
        self.writer
            .flush()
            .map_err(|e| Error::from_io("write", e))?;
        Ok(self.writer)
    }

    /// Forgets what is buffered.
    pub(super) fn wipe(&mut self) {
        self.slots = PlainBuffer::default();
        self.filled = 0;
    }

    #[cfg(test)]
    pub(super) fn pretend_written(&mut self, total: u64) {
        self.total = total;
    }

    pub(super) fn writer(&self) -> &W {
        &self.writer
    }

    /// Plaintext bytes written so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn write_out(&mut self, len: usize) -> Result<()> {
        self.writer
            .write_all(&self.slots[..len])
            .map_err(|e| Error::from_io("write", e))
    }
}
