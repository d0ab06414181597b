//! A reader that decrypts from front to end.

use std::io::{self, Read};

use super::opening_reader::OpeningReader;
use super::{StreamOptions, read_full, read_header};
use crate::chunked::{Message, PREAMBLE_LEN};
use crate::context::EncryptionContext;
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
/// Reads ahead, 16 KiB at first, 256 KiB later and 4 MiB from 64 MiB on, and reads to the end of what it is given: bytes after the envelope
/// make it an error. Interrupted and short reads are coped with. Buffers are zeroized. Long streams are opened by several threads, see
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
    body: OpeningReader<R>,
    key: OpeningKey,
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
        let message = Message::open(key.body_key(), &preamble, &key.body_context(context))?
            .watched_by(key.guard());
        let body = OpeningReader::new(reader, message, options.batch());
        Ok(Decryptor {
            body,
            key,
            failed: None,
        })
    }
}

impl<R: Read> Decryptor<R> {
    /// The reader. It is ahead of the plaintext.
    #[must_use]
    pub fn get_ref(&self) -> &R {
        self.body.reader()
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        match self.body.read(out) {
            Ok(len) => {
                self.key.charge(len as u64);
                Ok(len)
            }
            Err(error) => {
                self.body.wipe();
                self.failed = Some(error.clone());
                Err(error.into())
            }
        }
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
