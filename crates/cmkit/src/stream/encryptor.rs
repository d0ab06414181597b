//! A writer that encrypts.

use std::io::{self, Write};

use zeroize::{Zeroize as _, Zeroizing};

use super::StreamOptions;
use super::options::Batch;
use crate::chunked::{CHUNK_LEN, MAX_PLAINTEXT_LEN, Message, SLOT_LEN};
use crate::context::EncryptionContext;
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};
use crate::keyring::{Keyring, SealingKey};

/// Encrypts what is written to it and writes the envelope on: 0 bytes to 4 PiB - 1.
///
/// [`finish`](Self::finish) writes the end. Without it, when the `Encryptor` is dropped or the process dies, what was written is no
/// envelope: every reader refuses it. After any error the stream stays failed, and it works only in the process that made it, not in one forked from that.
///
/// Plaintext is buffered a chunk of 16 KiB at least and a batch of 4 MiB at most (256 KiB with one thread), and zeroized when the stream
/// ends in whichever way. Large writes are encrypted from the caller's buffer. Batches are sealed by several threads; see
/// [`StreamOptions::threads`]. An `Encryptor` belongs to one thread at a time.
///
/// ```
/// use std::io::Write;
///
/// # let dir = tempfile::tempdir()?;
/// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
/// # provider.create_key("team", cmkit::KeyType::Oct256)?;
/// # let keyring = cmkit::Keyring::builder().provider(std::sync::Arc::new(provider))
/// #     .wrap_with(cmkit::KeyRef::parse("local:team")?).build()?;
/// let context = cmkit::EncryptionContext::new([("doc", "42")])?;
/// let mut encryptor = keyring.encryptor(Vec::new(), &context)?;
/// encryptor.write_all(b"attack ")?;
/// encryptor.write_all(b"at dawn")?;
/// let envelope = encryptor.finish()?;
/// assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Encryptor<W: Write> {
    writer: W,
    key: SealingKey,
    message: Message,
    /// Plaintext standing in the slots that it is sealed in.
    slots: Zeroizing<Vec<u8>>,
    /// Plaintext bytes in `slots`.
    filled: usize,
    /// Number of the first chunk in `slots`.
    number: u64,
    /// Plaintext bytes written so far.
    total: u64,
    batch: Batch,
    failed: bool,
}

impl Keyring {
    /// A stream that encrypts into `writer`. The header is written at once.
    ///
    /// # Errors
    /// * [`Error::Io`]: `writer` failed.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encryptor<W: Write>(
        &self,
        writer: W,
        context: &EncryptionContext,
    ) -> Result<Encryptor<W>> {
        self.encryptor_with(writer, context, StreamOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// * Those of [`encryptor`](Self::encryptor).
    pub fn encryptor_with<W: Write>(
        &self,
        mut writer: W,
        context: &EncryptionContext,
        options: StreamOptions,
    ) -> Result<Encryptor<W>> {
        let key = self.sealing_key(options.form())?;
        let (message, preamble) = Message::seal(
            key.body_key(),
            &key.draw_salt()?,
            &key.body_context(context),
        );
        let start = [key.header(), &preamble].concat();
        writer
            .write_all(&start)
            .map_err(|e| Error::from_io("write", e))?;
        Ok(Encryptor {
            writer,
            key,
            message,
            slots: Zeroizing::default(),
            filled: 0,
            number: 0,
            total: 0,
            batch: options.batch(),
            failed: false,
        })
    }
}

impl<W: Write> Encryptor<W> {
    /// Writes the end, flushes the writer and gives it back.
    ///
    /// On failure the writer is dropped, and what it got is no envelope.
    ///
    /// # Errors
    /// * [`Error::Io`]: the writer failed.
    /// * [`Error::InvalidState`]: the stream failed before, or belongs to another process.
    pub fn finish(mut self) -> Result<W> {
        self.check()?;
        self.end()?;
        Ok(self.writer)
    }

    /// The writer. What it got so far lags behind what was written.
    #[must_use]
    pub fn get_ref(&self) -> &W {
        &self.writer
    }

    /// Plaintext bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.total
    }

    fn check(&self) -> Result<()> {
        // First, because a failure of the parent's is none of the child's business.
        self.key.check_process()?;
        if self.failed {
            return Err(Error::InvalidState {
                problem: "this stream failed before; begin a new one",
            });
        }
        Ok(())
    }

    fn take_in(&mut self, mut data: &[u8]) -> Result<()> {
        self.total = match self.total.checked_add(data.len() as u64) {
            Some(total) if total <= MAX_PLAINTEXT_LEN => total,
            _ => {
                return Err(Error::invalid(
                    "a message holds at most 4 PiB - 1 bytes (2^52 - 1)",
                ));
            }
        };
        while !data.is_empty() {
            let offset = self.filled % CHUNK_LEN;
            if offset == 0 && data.len() >= self.direct_len() {
                self.seal_whole_chunks()?;
                let (direct, rest) = data
                    .split_at(data.len().min(self.batch.max_text_len()) / CHUNK_LEN * CHUNK_LEN);
                self.seal_directly(direct)?;
                data = rest;
                continue;
            }
            let slot = self.filled / CHUNK_LEN * SLOT_LEN;
            if slot == self.batch.max_slots_len() {
                self.seal_whole_chunks()?;
                continue;
            }
            self.make_room(slot + SLOT_LEN);
            let (now, rest) = data.split_at(data.len().min(CHUNK_LEN - offset));
            self.slots[slot + offset..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            data = rest;
        }
        Ok(())
    }

    /// From this length on, whole chunks are sealed from the caller's buffer: one chunk where a single thread works, a batch worth
    /// spreading where several do.
    fn direct_len(&self) -> usize {
        if self.batch.threads > 1 {
            self.batch.max_text_len() / 4
        } else {
            CHUNK_LEN
        }
    }

    /// Grows the buffer by doubling. The old one is zeroized.
    fn make_room(&mut self, len: usize) {
        if len > self.slots.len() {
            let new_len = (2 * self.slots.len())
                .max(len)
                .min(self.batch.max_slots_len().max(len));
            let mut grown = Zeroizing::new(vec![0; new_len]);
            grown[..self.slots.len()].copy_from_slice(&self.slots);
            self.slots = grown;
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
        self.write_out(len, chunks * CHUNK_LEN)?;
        self.number += chunks as u64;
        self.slots.copy_within(len..len + left, 0);
        self.slots[len..len + left].zeroize();
        self.filled = left;
        Ok(())
    }

    fn seal_directly(&mut self, chunks: &[u8]) -> Result<()> {
        let len = chunks.len() / CHUNK_LEN * SLOT_LEN;
        self.make_room(len);
        self.message.seal_chunks(
            self.number,
            chunks,
            &mut self.slots[..len],
            self.batch.threads,
        )?;
        self.write_out(len, chunks.len())?;
        self.number += (chunks.len() / CHUNK_LEN) as u64;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.seal_whole_chunks()?;
        let len = self.filled + TAG_LEN;
        self.make_room(len);
        self.message
            .seal_slots(self.number, &mut self.slots[..len], 1)?;
        self.write_out(len, self.filled)?;
        self.writer.flush().map_err(|e| Error::from_io("write", e))
    }

    fn write_out(&mut self, len: usize, plaintext_len: usize) -> Result<()> {
        self.key.charge(plaintext_len as u64);
        self.writer
            .write_all(&self.slots[..len])
            .map_err(|e| Error::from_io("write", e))
    }

    fn run(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> io::Result<()> {
        self.check()?;
        // Also what panics on its way through a writer leaves a failed stream behind.
        self.failed = true;
        let done = step(self);
        self.failed = done.is_err();
        if self.failed {
            self.slots.zeroize();
            self.filled = 0;
        }
        Ok(done?)
    }
}

/// All of the buffer is taken, or the stream has failed.
impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.run(|this| this.take_in(data))?;
        Ok(data.len())
    }

    /// Writes on what is whole chunks; the rest stays buffered until [`finish`](Encryptor::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.run(|this| {
            this.seal_whole_chunks()?;
            this.writer.flush().map_err(|e| Error::from_io("write", e))
        })
    }
}

/// Shows how much was written, and nothing of it.
impl<W: Write> std::fmt::Debug for Encryptor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor")
            .field("written", &self.total)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
