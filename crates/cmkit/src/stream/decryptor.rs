//! A reader that decrypts from front to end.

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::options::Batch;
use super::{StreamOptions, read_full, read_header};
use crate::chunked::{CHUNK_LEN, Message, PREAMBLE_LEN, SLOT_LEN, text_len};
use crate::context::EncryptionContext;
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};
use crate::keyring::{Keyring, OpeningKey};

/// Decrypts an envelope that is read once, from front to end: a pipe, a socket, a file.
///
/// Plaintext of a chunk (16 KiB) comes out only after the chunk was authenticated. That the envelope was whole is known at its end: `Ok(0)` means
/// just that, and a stream that is cut or damaged gives an error instead, after the chunks before. Discard what came out before an error, or
/// read from something [seekable](crate::Reader), whose length is authenticated first. After an error every read gives that error again.
///
/// Errors of cmkit travel inside [`io::Error`]; [`error_from_io`](crate::error_from_io) gets them out.
///
/// Reads ahead up to 4 MiB (256 KiB with one thread), beginning with one chunk, and reads to the end of what it is given: bytes after the envelope
/// make it an error. Interrupted and short reads are coped with. Buffers are zeroized. Batches are opened by several threads, see
/// [`StreamOptions::threads`]; large reads straight into the caller's buffer. A `Decryptor` belongs to one thread at a time.
///
/// ```
/// use std::io::Read;
///
/// # let dir = tempfile::tempdir()?;
/// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
/// # provider.create_key("team", cmkit::KeyType::Oct256)?;
/// # let keyring = cmkit::Keyring::builder().provider(std::sync::Arc::new(provider))
/// #     .wrap_with(cmkit::KeyRef::parse("local:team")?).build()?;
/// let context = cmkit::EncryptionContext::new([("doc", "42")])?;
/// let envelope = keyring.encrypt(b"attack at dawn", &context)?;
/// let mut plaintext = String::new();
/// keyring.decryptor(&envelope[..], &context)?.read_to_string(&mut plaintext)?;
/// assert_eq!(plaintext, "attack at dawn");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Decryptor<R: Read> {
    reader: R,
    key: OpeningKey,
    message: Message,
    batch: Batch,
    /// A batch of chunks: opened ones up to `opened`, then sealed ones up to `have`.
    slots: Zeroizing<Vec<u8>>,
    opened: usize,
    have: usize,
    /// Plaintext bytes of the batch that were given out.
    taken: usize,
    /// Number of the first chunk in the batch.
    number: u64,
    /// Whether the batch ends with the last chunk.
    is_last: bool,
    failed: Option<Error>,
}

impl Keyring {
    /// A stream that decrypts what it reads from `reader`. The header is read and checked at once.
    ///
    /// # Errors
    /// * [`Error::Io`]: `reader` failed.
    /// * Those of [`decrypt`](Self::decrypt), as far as the header goes.
    pub fn decryptor<R: Read>(
        &self,
        reader: R,
        context: &EncryptionContext,
    ) -> Result<Decryptor<R>> {
        self.decryptor_with(reader, context, StreamOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// * Those of [`decryptor`](Self::decryptor).
    pub fn decryptor_with<R: Read>(
        &self,
        mut reader: R,
        context: &EncryptionContext,
        options: StreamOptions,
    ) -> Result<Decryptor<R>> {
        let header = read_header(&mut reader)?;
        let key = self.opening_key(&header)?;
        let mut preamble = [0; PREAMBLE_LEN];
        if read_full(&mut reader, &mut preamble).map_err(|e| Error::from_io("read", e))?
            < PREAMBLE_LEN
        {
            return Err(Error::Truncated);
        }
        let message = Message::open(key.body_key(), &preamble, &key.body_context(context))?;
        Ok(Decryptor {
            reader,
            key,
            message,
            batch: options.batch(),
            slots: Zeroizing::default(),
            opened: 0,
            have: 0,
            taken: 0,
            number: 0,
            is_last: false,
            failed: None,
        })
    }
}

impl<R: Read> Decryptor<R> {
    /// The reader. It is ahead of the plaintext.
    #[must_use]
    pub fn get_ref(&self) -> &R {
        &self.reader
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
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
        let max = self.batch.max_slots_len();
        if self.have == self.slots.len() && self.slots.len() < max {
            // Begins small and grows with the stream. Nothing in it is needed any more.
            self.slots = Zeroizing::new(vec![0; (2 * self.slots.len()).clamp(SLOT_LEN, max)]);
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
        self.key.charge(text_len(self.have) as u64);
        Ok(())
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        self.fill(out).map_err(|error| {
            // Zeroizes what was opened and not yet given out.
            self.slots = Zeroizing::default();
            (self.have, self.opened, self.taken) = (0, 0, 0);
            self.failed = Some(error.clone());
            error.into()
        })
    }
}

/// Shows whether it failed, and nothing of the plaintext.
impl<R: Read> std::fmt::Debug for Decryptor<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decryptor")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
