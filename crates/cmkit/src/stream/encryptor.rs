//! A writer that encrypts.

use std::io::{self, Write};

use super::StreamOptions;
use super::sealing_writer::SealingWriter;
use crate::chunked::Message;
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::keyring::{Keyring, SealingKey};

/// Encrypts what is written to it and writes the envelope on: 0 bytes to 4 PiB - 1.
///
/// [`finish`](Self::finish) writes the end. Without it, when the `Encryptor` is dropped or the process dies, what was written is no
/// envelope: every reader refuses it. After any error the stream stays failed, and it works only in the process that made it, not in
/// one forked from that.
///
/// Plaintext is buffered, 16 KiB at first, 256 KiB later and 4 MiB from 64 MiB on, and zeroized when the stream ends in whichever
/// way. Large writes are encrypted from the caller's buffer. Long streams are sealed by several threads; see [`StreamOptions::threads`].
/// An `Encryptor` belongs to one thread at a time.
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
    body: SealingWriter<W>,
    key: SealingKey,
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
        let message = message.watched_by(key.guard());
        let body = SealingWriter::new(writer, message, options.batch());
        Ok(Encryptor {
            body,
            key,
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
    pub fn finish(self) -> Result<W> {
        self.check()?;
        self.body.finish()
    }

    /// The writer. What it got so far lags behind what was written.
    #[must_use]
    pub fn get_ref(&self) -> &W {
        self.body.writer()
    }

    /// Plaintext bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.body.total()
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

    fn run(&mut self, step: impl FnOnce(&mut SealingWriter<W>) -> Result<()>) -> io::Result<()> {
        self.check()?;
        // Also what panics on its way through a writer leaves a failed stream behind.
        self.failed = true;
        let done = step(&mut self.body);
        self.failed = done.is_err();
        if self.failed {
            self.body.wipe();
        }
        Ok(done?)
    }
}

/// All of the buffer is taken, or the stream has failed.
impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.run(|body| body.write(data))?;
        self.key.charge(data.len() as u64);
        Ok(data.len())
    }

    /// Writes on what is whole chunks; the rest stays buffered until [`finish`](Encryptor::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.run(SealingWriter::flush)
    }
}

/// Shows how much was written, and nothing of it.
impl<W: Write> std::fmt::Debug for Encryptor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encryptor")
            .field("written", &self.body.total())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
